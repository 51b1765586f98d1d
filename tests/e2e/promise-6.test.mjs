// Promise 6. A tenant that attacks uses up its own budget, and another tenant is still served.
// ARCHITECTURE.md#6-contained says what makes it true.
import assert from 'node:assert/strict';
import { at, configurationOf } from './lib/admin.mjs';
import { Client, connect, freshRoom, refused } from './lib/client.mjs';
import { metric } from './lib/fleet.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const ATTACKERS = 8;
const server = await startServer({
  config: {
    tenants: {
      attacker: configurationOf('attacker', {
        handlers: { event: { component: guest('hostile') } },
        quota: { guest_cpu: '50ms', connections: ATTACKERS + 1, connections_per_user: 2, message_bytes: '1KiB', rooms: 3 },
        // Enough for its budgets to be what stops it: its clients do not wait when they are told to.
        limits: { events_per_second: 10_000, event_burst: 10_000 },
      }),
      reader: configurationOf('reader', {
        quota: { outbound_bytes_per_second: '512KiB' },
        limits: { events_per_second: 10_000, event_burst: 10_000 },
      }),
      // It posts as fast as it is answered, until the attacker has used up its budget.
      victim: configurationOf('victim', { limits: { events_per_second: 100_000, event_burst: 100_000 } }),
    },
  },
});

const assertLimited = (answer, code) => {
  assert.equal(answer.ok, false, JSON.stringify(answer));
  assert.equal(answer.error.code, code, JSON.stringify(answer));
  assert.equal(answer.error.retryable, true);
  assert.ok(Number.isInteger(answer.error.retryAfterMs) && answer.error.retryAfterMs > 0, JSON.stringify(answer));
};

test('6. Contained: while one tenant loops, grows and traps, every event of another is handled', async () => {
  const attackers = [];
  for (let n = 0; n < ATTACKERS; n += 1) attackers.push(await connect(server, `m-${n}`, at('attacker', `m-${n}`)));
  const victim = await connect(server, 'victim', at('victim', 'victim'));
  const room = freshRoom();
  await victim.join(room);
  let attacking = true;
  const codes = {};
  const attacks = attackers.map(async (client, n) => {
    const actions = ['kv-set-then-loop', 'kv-set-then-memory', 'kv-set-then-trap'];
    for (let i = 0; attacking; i += 1) {
      const answer = await client.ask(actions[(n + i) % actions.length], { key: 'k' });
      codes[answer.error?.code ?? 'ok'] = (codes[answer.error?.code ?? 'ok'] ?? 0) + 1;
    }
  });
  // On a slow machine the attackers exhaust their budget later.
  for (let n = 0; n < 200 || (!codes['rate-limited'] && n < 20_000); n += 1) {
    assert.equal((await victim.post(room, `message ${n}`)).seq, n + 1);
  }
  attacking = false;
  await Promise.all(attacks);
  assert.ok(codes['rate-limited'] > 0, `the attacker ran into its budget: ${JSON.stringify(codes)}`);
  assert.ok(codes.timeout > 0 || codes['handler-failed'] > 0, JSON.stringify(codes));
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
  const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const value = (name) => Number(metrics.match(new RegExp(`^${name} (.*)$`, 'm'))?.[1]);
  assert.ok(value('parlance_tenant_limited_total\\{tenant="attacker"\\}') > 0);
  assert.equal(value('parlance_tenant_limited_total\\{tenant="victim"\\}'), 0);
  assert.equal(value('parlance_tenant_guest_cpu_limit_cores\\{tenant="attacker"\\}'), 0.05);
  assert.equal(value('parlance_tenant_instances_limit\\{tenant="attacker"\\}'), 32);
  assert.equal(value('parlance_tenant_instances\\{tenant="attacker"\\}'), 0);
  // The stored bytes are shown next to their limit.
  assert.equal(value('parlance_tenant_stored_messages_limit_bytes\\{tenant="attacker"\\}'), 1024);
  assert.equal(value('parlance_tenant_stored_messages_bytes\\{tenant="attacker"\\}'), 0);
  for (const client of attackers) client.close();
});

test('6. Contained: processor time is charged, refused with the time to wait, and then granted again', async () => {
  const client = await connect(server, 'burner', at('attacker', 'burner'));
  let limited;
  for (let n = 0; n < 20 && !limited; n += 1) {
    const answer = await client.ask('kv-set-then-loop', { key: 'k' });
    if (answer.error.code === 'rate-limited') limited = answer;
  }
  assertLimited(limited, 'rate-limited');
  assert.match(limited.error.message, /processor time/);
  let answer = limited;
  const deadline = Date.now() + 20_000;
  while (!answer.ok && Date.now() < deadline) {
    await new Promise((again) => setTimeout(again, answer.error.retryAfterMs));
    answer = await client.ask('kv-get', { key: 'k' });
  }
  assert.equal(answer.ok, true, JSON.stringify(answer));
  client.close();
});

test('6. Contained: connections of a tenant and of a user are limited, and a released permit can be used', async () => {
  // The clients of the tests before may still be leaving.
  await eventually(async () => await metric(server, 'parlance_tenant_connections{tenant="attacker"}') === 0, 'the tenant to have no connection');
  const two = [await connect(server, 'u', at('attacker', 'u')), await connect(server, 'u', at('attacker', 'u'))];
  assert.match((await refused(server, at('attacker', 'u'))).message, /the user has no room for another connection; retryAfterMs=\d+$/);
  for (let n = 2; n < ATTACKERS + 1; n += 1) await connect(server, `c-${n}`, at('attacker', `c-${n}`));
  assert.match((await refused(server, at('attacker', 'late'))).message, /the tenant has no room/);
  await connect(server, 'other', at('victim', 'other'));
  two[0].close();
  // The connection's permit is released once the server has noticed.
  await eventually(async () => {
    const again = owned(new Client(server.url, 'u', { ...at('attacker', 'u'), reconnection: false }));
    await again.until(() => again.connects + again.refusals.length > 0, 'an answer');
    if (again.connects === 0) again.close();
    return again.connects > 0;
  }, 'the seat that was left');
});

test('6. Contained: a client that keeps sending although it is refused is cut off, and comes back', async () => {
  // So that more answers are on their way than `limits.outbound_packets`.
  const BURST = 200;
  const other = await startServer({ config: { limits: { events_per_second: 1, event_burst: BURST } } });
  const room = freshRoom();
  const [client, bystander] = [await connect(other, 'hasty'), await connect(other, 'calm')];
  await bystander.join(room);
  const answers = [];
  for (let n = 0; n < 10 * BURST; n += 1) client.emit('history', { roomId: room }, (answer) => answers.push(answer));
  await client.until(() => client.disconnects.length > 0, 'the end of the transport');
  const [last, ...more] = client.all('error-event');
  assert.deepEqual(more, []);
  assert.deepEqual([last.event, last.code, last.retryable, last.retryAfterMs > 0], ['connection', 'rate-limited', true, true]);
  assert.deepEqual(client.disconnects, ['transport close']);
  // Some were let in, and four times as many refused at once. The buckets fill by one and four a second.
  const refusals = answers.filter(({ error }) => error?.code === 'rate-limited');
  assert.ok(refusals.length >= 4 * BURST && refusals.length < 8 * BURST, `${refusals.length} refusals`);
  for (const refusal of refusals) assertLimited(refusal, 'rate-limited');
  await client.back();
  await client.join(room);
  await bystander.post(room, 'still here');
  await client.until(() => client.messages(room).length === 1, 'the message');
  assert.equal(bystander.connects, 1);
});

test('6. Contained: stored bytes and rooms are limited', async () => {
  const other = await startServer({
    config: { quota: { message_bytes: '1KiB', rooms: 2 } },
  });
  const client = await connect(other, 'ann');
  for (const room of ['a', 'b', 'c']) await client.join(room);
  await client.post('a', 'x');
  await client.post('b', 'x');
  assertLimited(await client.ask('send-message', { roomId: 'c', content: 'x' }), 'quota-exceeded');
  assertLimited(await client.ask('send-message', { roomId: 'a', content: 'x'.repeat(1000) }), 'quota-exceeded');
  assert.equal((await client.post('a', 'y')).seq, 2, 'what was refused left no gap');
});

test('6. Contained: log lines of handlers are limited, and omitted ones are counted', async () => {
  const other = await startServer({
    handlers: { event: guest('hostile') },
    config: { quota: { log_bytes_per_second: '1KiB' }, sandbox: { log_bytes: '1KiB' } },
  });
  const client = await connect(other, 'talker');
  const text = 'x'.repeat(1000);
  for (let n = 0; n < 50; n += 1) assert.equal((await client.ask('log', { message: text })).ok, true);
  const lines = () => other.log.split('\n').filter((line) => line.includes(text)).length;
  // The burst is 8 KiB, with 256 bytes for each line; a second or two may pass meanwhile.
  assert.ok(lines() >= 6 && lines() < 20, `${lines()} lines`);
  await eventually(async () => {
    await client.ask('log', { message: 'once more' });
    return /lines=\d+.*were left out|were left out.*lines=\d+/.test(other.log);
  }, 'being told');
});

test('6. Contained: events sent without waiting for answers cost no more processor time than the budget', async () => {
  const COUNT = 200;
  const other = await startServer({
    handlers: { event: guest('hostile') },
    config: { quota: { guest_cpu: '50ms', instances: 2 }, sandbox: { guest_time: '50ms' } },
  });
  const client = await connect(other, 'hasty');
  const began = performance.now();
  const answers = await Promise.all(Array.from({ length: COUNT }, () => client.ask('nothing-then-loop', {})));
  const seconds = (performance.now() - began) / 1000;
  const limited = answers.filter(({ error }) => error.code === 'rate-limited');
  const ran = COUNT - limited.length;
  // The budget saves up two seconds' worth, one event may overdraw it, and each second allows one more event.
  assert.ok(ran >= 1 && ran <= 2 + 1 + 1 + Math.ceil(seconds), `${ran} ran in ${seconds} s`);
  for (const answer of limited) assertLimited(answer, 'rate-limited');
});

test('6. Contained: answers of the host itself, above all pages of history, are charged and limited by the quota', async () => {
  const QUOTA = 512 * 1024;
  const SECONDS = 4;
  const room = freshRoom();
  const clients = [];
  for (let n = 0; n < 4; n += 1) clients.push(await connect(server, `r-${n}`, at('reader', `r-${n}`)));
  const [first] = clients;
  await first.join(room);
  for (let n = 0; n < 10; n += 1) await first.post(room, 'x'.repeat(16_000));
  for (const client of clients.slice(1)) await client.join(room);
  const metric = async (name) => {
    const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
    return Number(text.match(new RegExp(`^${name}\\{tenant="reader"\\} (.*)$`, 'm'))?.[1] ?? 0);
  };
  const before = await metric('parlance_tenant_outbound_bytes_total');
  const begun = performance.now();
  let pages = 0;
  let going = true;
  const floods = clients.map(async (client) => {
    while (going) {
      const answers = await Promise.all(Array.from({ length: 4 }, () => client.ask('history', { roomId: room, limit: 200 })));
      pages += answers.filter(({ ok }) => ok).length;
    }
  });
  await eventually(() => performance.now() - begun > SECONDS * 1000, 'the flood to have lasted');
  // An idle tenant is not delayed by busy ones.
  const victim = await connect(server, 'beside', at('victim', 'beside'));
  await victim.join(room);
  await victim.post(room, 'beside a flood');
  going = false;
  await Promise.all(floods);
  const took = (performance.now() - begun) / 1000;
  const sent = pages * 160_000;
  assert.ok(sent > QUOTA, `something was sent: ${pages} pages`);
  assert.ok(sent < QUOTA * (took + 3), `${sent} bytes in ${took} s under a quota of ${QUOTA} a second`);
  // The usage is charged with the tenant's next event.
  await first.askOk('history', { roomId: room, limit: 1 });
  await first.askOk('leave-room', room);
  const charged = await metric('parlance_tenant_outbound_bytes_total') - before;
  assert.ok(charged >= sent, `${charged} bytes are charged of ${sent}`);
  for (const client of clients) client.close();
});
