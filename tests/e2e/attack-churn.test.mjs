// Clients that connect and disconnect faster than the server cleans up after them.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { Client, connect, refused } from './lib/client.mjs';
import { listen } from './lib/http.mjs';
import { Raw } from './lib/raw.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

/** A web server that answers only when the test tells it to. */
async function patientServer() {
  const waiting = [];
  const authority = await listen((_, response) => waiting.push(response));
  return { authority, waiting };
}

test('churn: a disconnected client keeps its connection permit until its last event has ended', async () => {
  const web = await patientServer();
  const server = await startServer({
    env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
    config: { sandbox: { wall_time: '60s' } },
  });
  const api = admin(server);
  const configuration = configurationOf('acme', {
    grants: { http: [`http://${web.authority}`] },
    quota: { connections_per_user: 1 },
  });
  await api.requestOk('POST', '/tenants', { body: { name: 'acme', configuration } });
  await api.deploy('acme', 'web', guest('web'));
  const connections = async () => {
    const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
    return Number(text.match(/^parlance_connections (\d+)$/m)[1]);
  };

  const ann = await connect(server, 'ann', at('acme', 'ann'));
  ann.socket.emit('fetch', [{ authority: web.authority, path: '/' }]);
  await eventually(async () => web.waiting.length === 1, 'the event to ask the web server');
  ann.socket.disconnect();
  await eventually(async () => (await connections()) === 0, 'the server to notice that she has gone');
  assert.match((await refused(server, at('acme', 'ann'))).message, /^quota-exceeded: the user has no room/);
  await connect(server, 'bob', at('acme', 'bob'));

  web.waiting[0].end('at last');
  const again = await eventually(async () => {
    const client = owned(new Client(server.url, 'ann', at('acme', 'ann')));
    await client.until(() => client.connects > 0 || client.refusals.length > 0, 'an answer');
    return client.connects > 0 && client;
  }, 'her seat to be free');
  await again.askOk('get-presence', []);
});

test('churn: a transport that asks to be connected over and over is refused, and others are not', async () => {
  const server = await startServer({ config: { limits: { connects_per_second: 1, connect_burst: 3 } } });
  const raw = owned(new Raw(server));
  await raw.frame('0{');
  const again = () => raw.send(`40${JSON.stringify({ token: token('eve') })}`);
  const isAnswer = (frame) => /^4[04]\{/.test(frame);
  const asked = async () => {
    again();
    await raw.until(() => raw.frames.some(isAnswer), 'an answer');
    return raw.frames.splice(0).find(isAnswer);
  };
  let answer = await asked();
  let admitted = 0;
  // On a slow machine more are admitted: another one for each second.
  for (; answer.startsWith('40') && admitted < 100; admitted += 1) {
    raw.send('41');
    answer = await asked();
  }
  assert.ok(admitted >= 3, `${admitted} times`);
  const [, refusal] = answer.match(/^44(.*)$/);
  assert.match(JSON.parse(refusal).message, /^rate-limited: this transport asks .*; retryAfterMs=\d+$/);
  // A client that sends requests faster than they are refused is disconnected.
  for (let n = 0; n < 100; n += 1) again();
  await raw.until(() => raw.closed, 'the cut');
  const ann = await connect(server, 'ann');
  await ann.askOk('get-presence', []);
});
