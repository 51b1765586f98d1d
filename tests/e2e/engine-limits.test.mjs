// Limits of unauthenticated clients: sessions, bodies, and requests to connect to a namespace.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import WebSocket from 'ws';
import { connect, freshRoom } from './lib/client.mjs';
import { Raw, rawConnect, assertServerWorks } from './lib/raw.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const MIB = 1024 * 1024;
const SEPARATOR = '\x1e';
const POLLING = '/socket.io/?EIO=4&transport=polling';

/** The resident memory of the server's process, in bytes. */
function memory(server) {
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8');
  return Number(status.match(/VmRSS:\s+(\d+) kB/)[1]) * 1024;
}

/** Opens a polling session without a token and returns its `sid`. */
async function open(server) {
  const answer = await fetch(server.url + POLLING);
  assert.equal(answer.status, 200, await answer.clone().text());
  return JSON.parse((await answer.text()).slice(1)).sid;
}

const post = (server, sid, body) => fetch(`${server.url}${POLLING}&sid=${sid}`, { method: 'POST', body });
const poll = (server, sid) => fetch(`${server.url}${POLLING}&sid=${sid}`);

/** Opens a polling session in the namespace `/` and returns its `sid`. */
async function join(server, user) {
  const sid = await open(server);
  await post(server, sid, `40${JSON.stringify({ token: token(user) })}`);
  assert.match(await (await poll(server, sid)).text(), /^40\{/);
  return sid;
}

test('a body full of requests for a namespace costs a stranger the session and the server nothing', async () => {
  const server = await startServer();
  const before = memory(server);
  const body = `40${SEPARATOR}`.repeat(699_000);
  for (let n = 0; n < 4; n += 1) {
    const sid = await open(server);
    // A client that is still sending when it is refused gets the answer or a closed connection.
    const refused = await post(server, sid, body).then(({ status }) => status, ({ cause }) => cause.code);
    assert.ok([413, 'EPIPE', 'ECONNRESET', 'UND_ERR_SOCKET'].includes(refused), refused);
    assert.equal((await poll(server, sid)).status, 400, 'the session has ended');
  }
  assert.ok(memory(server) - before < 48 * MIB, `${(memory(server) - before) / MIB} MiB more`);
});

test('a stranger asks for a namespace a few times only, over both transports', async () => {
  const server = await startServer();
  const sid = await open(server);
  assert.equal((await post(server, sid, Array(5000).fill('40').join(SEPARATOR))).status, 400);
  assert.equal((await poll(server, sid)).status, 400, 'the session has ended');
  const raw = owned(new Raw(server));
  await raw.frame('0{');
  for (let n = 0; n < 5000; n += 1) raw.send('40');
  await raw.until(() => raw.closed, 'the end of the connection', 10_000);
});

test('a client with a token is held to a few requests for a namespace too', async () => {
  const server = await startServer();
  const sid = await join(server, 'ann');
  const before = memory(server);
  const body = `40${SEPARATOR}`.repeat(600_000);
  assert.equal((await post(server, sid, body)).status, 400);
  assert.ok(memory(server) - before < 48 * MIB, `${(memory(server) - before) / MIB} MiB more`);
});

test('a stranger sends nothing but small packets, and no attachments', async () => {
  const server = await startServer();
  const ends = async (send) => {
    const raw = owned(new Raw(server));
    await raw.frame('0{');
    send(raw);
    await raw.until(() => raw.closed, 'the end of the connection', 10_000);
  };
  await ends((raw) => raw.send(`40${JSON.stringify({ token: 'x'.repeat(65 * 1024) })}`));
  await ends((raw) => raw.send('42["join-room","general"]'));
  await ends((raw) => raw.send('451-["event",{"_placeholder":true,"num":0}]'));
  await ends((raw) => raw.ws.send(Buffer.alloc(10)));
  await assertServerWorks(await connect(server, 'ann'), freshRoom());
});

test('sessions without a token are bounded, and end by themselves', async () => {
  const limits = { unauthenticated: 40, unauthenticated_per_address: 40, connect_timeout: '15s' };
  const server = await startServer({ config: { limits } });
  const answers = await Promise.all(Array.from({ length: 200 }, () => fetch(server.url + POLLING)));
  const opened = answers.filter((answer) => answer.status === 200).length;
  assert.equal(opened, 40);
  for (const answer of answers.filter((each) => each.status !== 200)) {
    assert.equal(answer.status, 503);
    assert.equal(answer.headers.get('retry-after'), '1');
    assert.equal((await answer.json()).code, 4);
  }
  await server.waitForOutput(/new sessions were refused.*reason="?waiting/);
  // The official client retries until there is room.
  await assertServerWorks(await connect(server, 'ann'), freshRoom());
});

test('sessions are bounded by address', async () => {
  const limits = { connections_per_address: 3 };
  const server = await startServer({ config: { limits } });
  const clients = await Promise.all(['ann', 'bob', 'eve'].map((user) => connect(server, user)));
  const refused = await fetch(server.url + POLLING);
  assert.equal(refused.status, 429);
  clients[0].close();
  await eventually(async () => (await fetch(server.url + POLLING)).status === 200, 'room for another session');
});

test('sessions that come and go leave nothing behind', async () => {
  const server = await startServer();
  const round = async () => {
    for (let n = 0; n < 20; n += 1) {
      await Promise.all(Array.from({ length: 50 }, () => new Promise((done, failed) => {
        const ws = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
        ws.on('message', () => ws.close()).on('close', done).on('error', failed);
      })));
    }
  };
  await round();
  const before = memory(server);
  for (let n = 0; n < 3; n += 1) await round();
  const grown = memory(server) - before;
  assert.ok(grown < 3000 * 8 * 1024, `${grown / 3000} bytes a session`);
});

test('a client\'s socket.id gives no access to its session', async () => {
  const server = await startServer();
  const ann = await connect(server, 'ann', { transports: ['polling'] });
  const known = ann.socket.id;
  assert.ok(known);
  assert.notEqual(known, ann.socket.io.engine.id, 'the public id is not the secret');
  assert.equal((await poll(server, known)).status, 400);
  assert.equal((await post(server, known, '42["join-room","general"]')).status, 400);
  const status = await new Promise((done) => {
    const url = `${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket&sid=${known}`;
    new WebSocket(url).on('unexpected-response', (_, response) => done(response.statusCode)).on('open', () => done(101));
  });
  assert.equal(status, 400);
  await assertServerWorks(ann, freshRoom());
});

test('eleven attachments are refused, and the connection stays open', async () => {
  const server = await startServer();
  const ann = await connect(server, 'ann');
  const answer = await ann.ask('of-nobody', ...Array.from({ length: 11 }, () => Buffer.from([1])));
  assert.equal(answer.error.code, 'too-large');
  assert.match(answer.error.message, /11 attachments/);
  await assertServerWorks(ann, freshRoom());
  assert.equal(ann.disconnects.length, 0);
});

test('a client that offers a subprotocol connects', async () => {
  const server = await startServer();
  const ann = await connect(server, 'ann', { protocols: ['chat'] });
  await assertServerWorks(ann, freshRoom());
});

test('the first ping comes after an interval', async () => {
  const server = await startServer({ config: { limits: { ping_interval: '300ms', ping_timeout: '2s' } } });
  const begun = performance.now();
  const raw = await rawConnect(server, 'ann');
  const seen = [];
  raw.ws.on('message', (data) => seen.push([data.toString(), performance.now()]));
  const [, at] = await eventually(() => seen.find(([text]) => text === '2'), 'a ping');
  assert.ok(at - begun >= 300, `${at - begun} ms`);
});
