// The server with its data in PostgreSQL.
import assert from 'node:assert/strict';
import { assertFailed, assertGapless } from './lib/assert.mjs';
import { ADMIN_TOKEN, admin, at, configurationOf, operate } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { startPostgres } from './lib/postgres.mjs';
import { test } from './lib/scope.mjs';
import { guest, run, SECRET, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const database = await startPostgres();
const server = await startServer({ env: { DATABASE_URL: database.url, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
const readiness = async () => {
  const response = await fetch(`${server.url}/readyz`);
  return { status: response.status, ...(await response.json()) };
};

test('messages survive restarts of the server and of the database', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  const bob = await connect(server, 'bob');
  await ann.join(room);
  await bob.join(room);
  const posted = [];
  for (let n = 0; n < 50; n += 1) posted.push(await ann.post(room, `number ${n} 👋`, { clientId: `c-${n}`, metadata: { n } }));
  await bob.until(() => bob.messages(room).length === 50, 'all messages');
  await bob.askOk('read-message', posted[0].id);
  await server.restart();
  await ann.back();
  await ann.join(room);
  const stored = await ann.history(room);
  assertGapless(stored);
  assert.deepEqual(stored.map(({ id, seq }) => ({ id, seq })), posted.map(({ id, seq }) => ({ id, seq })));
  assert.deepEqual(stored.map((message) => message.metadata), posted.map((_, n) => ({ n })));
  // Sent again with the same id, it is the same message.
  assert.deepEqual(await ann.post(room, 'number 7 👋', { clientId: 'c-7', metadata: { n: 7 } }), posted[7]);
  assertFailed(await ann.ask('send-message', { roomId: room, content: 'number 7', clientId: 'c-7' }), 'conflict');
  assert.deepEqual([stored[7].username, stored[7].clientId], ["ann's name", 'c-7']);
  const page = await ann.askOk('history', { roomId: room, after: 40, limit: 5 });
  assert.deepEqual([page.messages, page.complete], [stored.slice(40, 45), false]);
  await database.restart();
  await eventually(async () => (await readiness()).ready, '/readyz');
  assert.equal((await ann.post(room, 'after', { clientId: 'after' })).seq, 51);
  assert.equal(Number(database.query(`SELECT count(*) FROM messages`)), 51);
});

test('while the database is stopped events are refused as retryable, and repeated ones are there once', async () => {
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  const bob = await connect(server, 'bob');
  await ann.join(room);
  await bob.join(room);
  await ann.post(room, 'before');
  await database.stop();
  for (let n = 0; n < 5; n += 1) {
    const answer = await ann.ask('send-message', { roomId: room, content: `number ${n}`, clientId: `s-${n}` });
    assert.equal(answer.ok, false, JSON.stringify(answer));
    assert.equal(answer.error.code, 'unavailable');
    assert.equal(answer.error.retryable, true);
    assert.doesNotMatch(JSON.stringify(answer), /postgres|SQL|127\.0\.0\.1/i);
  }
  const reads = await Promise.all(Array.from({ length: 40 }, () => ann.ask('history', { roomId: room })));
  assert.deepEqual(reads.map(({ error }) => error?.code), Array(40).fill('unavailable'));
  await server.waitForOutput(/messages cannot be read/);
  const said = server.log.match(/messages cannot be read/g).length;
  assert.ok(said <= 3, `an outage is said once in a while, not ${said} times for 40 reads`);
  await eventually(async () => (await readiness()).status === 503, '/readyz to say so');
  assert.equal((await readiness()).store, 'unavailable');
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200, 'restarting this server would not help');
  assert.match(await (await fetch(`${server.adminUrl}/metrics`)).text(), /parlance_commit_failures_total [1-9]/);
  await database.start();
  await eventually(async () => (await readiness()).ready, '/readyz');
  for (let n = 0; n < 5; n += 1) {
    const message = await ann.post(room, `number ${n}`, { clientId: `s-${n}` });
    assert.equal(message.seq, n + 2);
    assert.deepEqual(await ann.post(room, `number ${n}`, { clientId: `s-${n}` }), message);
  }
  await bob.until(() => bob.messages(room).length === 6, 'each message once');
  assertGapless(bob.messages(room));
  assert.deepEqual(ann.disconnects, [], 'no client lost its connection over it');
});

test('messages in flight when the database crashed are stored once, whatever their senders’ answers', async () => {
  const room = freshRoom();
  const clients = await Promise.all(Array.from({ length: 4 }, (_, n) => connect(server, `user-${n}`)));
  for (const client of clients) await client.join(room);
  const acknowledged = new Map();
  let sending = true;
  // Each client posts one message after another, and repeats each until it is acknowledged.
  const senders = clients.map(async (client) => {
    for (let n = 0; sending; n += 1) {
      const draft = { roomId: room, content: `${client.user} ${n}`, clientId: `k-${client.user}-${n}` };
      for (;;) {
        const answer = await client.ask('send-message', draft);
        if (answer.ok) {
          acknowledged.set(answer.message.id, draft.content);
          break;
        }
        assert.equal(answer.error.retryable, true, JSON.stringify(answer));
      }
    }
  });
  const more = async (count) => {
    const goal = acknowledged.size + count;
    await eventually(() => acknowledged.size >= goal, 'messages', 60_000);
  };
  for (let crashes = 0; crashes < 2; crashes += 1) {
    await more(100);
    await database.kill();
    await database.start();
  }
  await more(100);
  sending = false;
  await Promise.all(senders);
  const stored = await clients[0].history(room);
  assertGapless(stored);
  assert.deepEqual(new Map(stored.map(({ id, content }) => [id, content])), acknowledged);
  assert.equal(stored.length, acknowledged.size);
});

test('a database that does not answer is detected', async () => {
  const room = freshRoom();
  const quick = { store: { connect_time: '2s', statement_time: '2s' } };
  const second = await startServer({ config: quick, env: { DATABASE_URL: database.url } });
  const ann = await connect(second, 'ann');
  await ann.join(room);
  await ann.post(room, 'before');
  database.halt();
  const answer = await ann.ask('send-message', { roomId: room, content: 'meanwhile', clientId: 'm' });
  assert.equal(answer.error?.code, 'unavailable', JSON.stringify(answer));
  assert.equal((await fetch(`${second.url}/readyz`)).status, 503);
  database.resume();
  await eventually(async () => (await fetch(`${second.url}/readyz`)).ok, '/readyz');
  const { seq } = await ann.post(room, 'meanwhile', { clientId: 'm' });
  assert.equal(seq, 2);
  assert.deepEqual((await ann.history(room)).map(({ content }) => content), ['before', 'meanwhile']);
});

test('operators’ decisions survive a restart, and reach another node', async () => {
  const api = admin(server);
  await api.requestOk('POST', '/tenants', { body: { name: 'acme', configuration: configurationOf('acme') } });
  const { active } = await api.deploy('acme', 'stamped', guest('stamped'));
  assert.equal(active, 1);
  const other = await startServer({ env: { DATABASE_URL: database.url, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  for (const node of [server, other]) {
    await node.restart();
    const handler = await admin(node).handler('acme', 'stamped');
    assert.equal(handler.active, 1);
    const ann = await connect(node, 'ann', at('acme', 'ann'));
    const room = freshRoom();
    await ann.join(room);
    await ann.post(room, 'hello');
  }
  // Decided on one node, effective on the other.
  await api.requestOk('DELETE', '/tenants/acme?data=true');
  await eventually(async () => (await admin(other).request('GET', '/tenants/acme')).status === 404, 'the other node to know');
  assert.match((await operate(other, ['audit', '--tenant', 'acme'])).stdout, /tenant\.delete/);
});

test('a failed start reports the cause and advice, and never the password', async () => {
  const cases = [
    [database.url.replace(database.password, 'wrong'), /refuses the login.*pg_hba/],
    [database.url.replace(/chat$/, 'nowhere'), /no such database.*createdb/],
    ['postgres://u:swordfish@127.0.0.1:1/chat', /127\.0\.0\.1:1\/chat cannot be reached/],
    [`${database.url}?sslmode=verify-full`, /cannot be reached.*(TLS|SSL)/i],
  ];
  for (const [url, words] of cases) {
    const { code, output } = await run(['serve'], { env: { DATABASE_URL: url, JWT_SECRET: SECRET, PORT: '0' } });
    assert.notEqual(code, 0);
    assert.match(output, words);
    assert.doesNotMatch(output, /swordfish/);
  }
  assert.doesNotMatch(server.log, /swordfish/);
  assert.match(server.log, /data in PostgreSQL at 127\.0\.0\.1:\d+\/chat/);
  const check = await run(['check-config'], { env: { DATABASE_URL: database.url, JWT_SECRET: SECRET } });
  assert.equal(check.code, 0, check.output);
});
