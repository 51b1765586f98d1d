// Promise 7. Versions change while clients keep posting. ARCHITECTURE.md#7-swap-without-a-seam says what makes it true.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const POSTERS = 4;
/** A version is rolled back when this many of its events have failed, and this percentage of them. */
const RULE = { failure_percent: 2, failures: 5, window: '10s' };
/** After that it may stay in service for this long. */
const GOING_BACK_MS = 2000;
const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: {
    limits: { events_per_second: 100000, event_burst: 100000 },
    quota: { guest_cpu: '100s', events_per_second: 1000000, event_burst: 1000000 },
    deploy: RULE,
  },
});
const api = admin(server);

/** Clients that post to one room until they are stopped. */
async function posting(room) {
  const clients = await Promise.all(Array.from({ length: POSTERS }, (_, n) => connect(server, `${room}-${n}`)));
  for (const client of clients) await client.join(room);
  let going = true;
  const answers = [];
  const loops = clients.map(async (client, n) => {
    for (let i = 0; going; i += 1) {
      const answer = await client.ask('send-message', { roomId: room, content: `${n}:${i}` });
      answers.push({ content: `${n}:${i}`, at: Date.now(), ...answer });
    }
  });
  return {
    clients,
    answers,
    stop: async () => {
      going = false;
      await Promise.all(loops);
    },
  };
}

/** Asserts that every acknowledged message exists once and in order for all clients, and that none was disconnected. */
async function check(room, { clients, answers }) {
  const posted = answers.filter((answer) => answer.ok);
  const last = Math.max(...posted.map((answer) => answer.message.seq));
  for (const client of clients) {
    await client.until(() => client.messages(room).length >= last, `${last} messages`);
    assertGapless(client.messages(room), last);
    assert.deepEqual(client.disconnects, []);
  }
  const contents = clients[0].messages(room).map((message) => message.content);
  assert.deepEqual([...contents].sort(), posted.map((answer) => answer.content).sort(), 'none lost, none doubled');
  for (let n = 0; n < clients.length; n += 1) {
    const own = contents.filter((content) => content.startsWith(`${n}:`)).map((content) => Number(content.split(':')[1]));
    assert.deepEqual(own, [...own].sort((a, b) => a - b), 'in the order sent');
  }
  return clients[0].messages(room);
}

test('7. Swap without a seam: versions change under load and no event is lost, doubled or reordered', async () => {
  const room = freshRoom();
  const load = await posting(room);
  await api.deploy('default', 'swapped', guest('stamped'));
  for (let n = 0; n < 10; n += 1) {
    await api.deploy('default', 'swapped', guest('stamped'), `?note=${n}`);
    const seen = load.answers.length;
    await eventually(async () => load.answers.length > seen + 10, 'events between two swaps');
    await api.requestOk('POST', '/tenants/default/handlers/swapped/rollback', { body: {} });
  }
  await api.requestOk('DELETE', '/tenants/default/handlers/swapped');
  await load.stop();
  assert.ok(load.answers.every((answer) => answer.ok), JSON.stringify(load.answers.find((answer) => !answer.ok)));
  const messages = await check(room, load);
  assert.ok(messages.some((message) => message.metadata?.by === 'stamped'), 'the deployed version handled events');
  assert.equal(messages[0].metadata, undefined, 'and so did the one before');
});

test('7. Swap without a seam: a canary handles its rooms and no others', async () => {
  const rooms = Array.from({ length: 40 }, () => freshRoom('canary'));
  const client = await connect(server, 'canary');
  for (const room of rooms) await client.join(room);
  await api.deploy('default', 'tried', guest('stamped'), '?canary=50');
  const chosen = async () => {
    for (const room of rooms) await client.post(room, 'x');
    await client.until(() => client.messages(rooms.at(-1)).length > 0, 'the messages');
    const by = new Map();
    for (const room of rooms) {
      const versions = new Set(client.messages(room).map((message) => message.metadata?.by ?? 'shipped'));
      assert.equal(versions.size, 1, `${room} mixes versions`);
      by.set(room, [...versions][0]);
    }
    return [...by.values()].filter((version) => version === 'stamped').length;
  };
  const first = await chosen();
  assert.ok(first > 5 && first < 35, `${first} of 40 rooms`);
  assert.equal(await chosen(), first, 'the same rooms again');
  const view = await api.requestOk('POST', '/tenants/default/handlers/tried/promote');
  assert.equal(view.active, 1);
  assert.equal(view.canary, null);
  assert.equal((await client.ask('send-message', { roomId: rooms[0], content: 'y' })).ok, true);
  await api.requestOk('DELETE', '/tenants/default/handlers/tried');
});

/** When the version without a stamp had failed as often as the rule requires. */
function thresholdAt(answers, messages) {
  const stamped = new Set(messages.filter(({ metadata }) => metadata?.by === 'stamped').map(({ content }) => content));
  const its = answers.filter(({ content }) => !stamped.has(content));
  let failed = 0;
  return its.find(({ ok }, n) => {
    failed += ok ? 0 : 1;
    return failed >= RULE.failures && failed * 100 >= (n + 1) * RULE.failure_percent;
  }).at;
}

test('7. Swap without a seam: a version that fails too often goes back by itself', async () => {
  const room = freshRoom();
  await api.deploy('default', 'risky', guest('stamped'));
  const load = await posting(room);
  const view = await api.deploy('default', 'risky', guest('flaky'));
  assert.equal(view.active, 2);
  const back = await eventually(async () => {
    const now = await api.handler('default', 'risky');
    return now.active === 1 && now;
  }, 'the version before is active again');
  await load.stop();
  const failed = back.versions.find((version) => version.version === 2);
  assert.equal(failed.state, 'failed');
  assert.match(failed.failed, /events within 10s ended with a trap/);
  const [entry] = await api.requestOk('GET', '/audit?limit=1');
  assert.deepEqual([entry.actor, entry.action, entry.detail.from, entry.detail.to], ['server', 'handler.rollback', 2, 1]);
  const codes = new Set(load.answers.filter((answer) => !answer.ok).map((answer) => answer.error.code));
  assert.deepEqual([...codes], ['handler-failed']);
  const took = entry.at - thresholdAt(load.answers, await check(room, load));
  assert.ok(took < GOING_BACK_MS, `it was ${took} ms in service after its threshold`);
  await api.requestOk('DELETE', '/tenants/default/handlers/risky');
});

test('7. Swap without a seam: a version that was rolled back can be promoted again, and is judged afresh', async () => {
  for (let n = 0; n < 2; n += 1) await api.deploy('default', 'mended', guest('hostile'));
  const client = await connect(server, 'doer');
  const trapUntilBack = async () => {
    for (let n = 0; n < 20; n += 1) await client.ask('kv-set-then-trap', { key: 'k' });
    await eventually(async () => (await api.handler('default', 'mended')).active === 1, 'going back');
  };
  await trapUntilBack();
  await api.requestOk('POST', '/tenants/default/handlers/mended/rollback', { body: { to: 2 } });
  // Long enough for several checks.
  for (const end = Date.now() + 1500; Date.now() < end;) await client.askOk('kv-set-then-ok', { key: 'k' });
  const view = await api.handler('default', 'mended');
  assert.deepEqual([view.active, view.versions[0].state], [2, 'active'], 'it stays while it is healthy');
  await trapUntilBack();
  await api.requestOk('DELETE', '/tenants/default/handlers/mended');
});

test('7. Swap without a seam: a healthy version never goes back', async () => {
  const room = freshRoom();
  await api.deploy('default', 'healthy', guest('stamped'));
  await api.deploy('default', 'healthy', guest('stamped'));
  const load = await posting(room);
  // A handler may refuse events; refusals do not count as failures.
  const stranger = await connect(server, 'stranger');
  await eventually(async () => {
    await Promise.all(Array.from({ length: 20 }, () => stranger.ask('send-message', { roomId: room, content: 'no' })));
    return load.answers.length > 1000;
  }, 'a thousand events', 60_000);
  await load.stop();
  const view = await api.handler('default', 'healthy');
  assert.equal(view.active, 2);
  assert.equal(view.versions[0].eventsFailed, 0);
  assert.ok(view.versions[0].eventsHandled > 1000);
  await check(room, load);
  await api.requestOk('DELETE', '/tenants/default/handlers/healthy');
});

test('7. Swap without a seam: no rollback to a version whose events another handler has taken over', async () => {
  await api.deploy('default', 'first', guest('stamped'));
  await api.deploy('default', 'first', guest('hostile'));
  await api.deploy('default', 'second', guest('stamped'));
  for (const body of [{}, { to: 1 }]) {
    const refused = await api.request('POST', '/tenants/default/handlers/first/rollback', { body });
    assert.equal(refused.status, 409, refused.text);
    assert.match(refused.text, /message events are handled by .*second/);
  }
  assert.equal((await api.handler('default', 'first')).active, 2);
  // It should be rolled back too, but there is no previous version.
  const client = await connect(server, 'doer');
  const said = () => server.log.includes('the version should be rolled back, but stays');
  await eventually(async () => {
    await client.ask('kv-set-then-trap', { key: 'k' });
    return said();
  }, 'the log says why it stays');
  assert.equal((await api.handler('default', 'first')).active, 2);
  await api.requestOk('DELETE', '/tenants/default/handlers/second');
  await eventually(async () => (await api.handler('default', 'first')).active === 1, 'going back when nothing is in its way');
  await api.requestOk('DELETE', '/tenants/default/handlers/first');
});
