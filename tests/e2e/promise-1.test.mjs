// Promise 1. The component `hostile` asks for each kind of effect and then ends in each way.
// ARCHITECTURE.md#1-all-or-nothing says what makes it true.
import assert from 'node:assert/strict';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const EFFECTS = ['post', 'kv-set', 'emit', 'join', 'leave', 'presence', 'mark-read', 'edit', 'append', 'remove', 'mark'];
const ENDS = { trap: 'handler-failed', memory: 'handler-failed', loop: 'timeout', reject: 'denied' };

// Operators need not read rejections, so they are logged at level debug.
const server = await startServer({
  config: { log: { level: 'info,parlance=debug' } },
  handlers: { event: guest('hostile') },
});

/** A room with two members and a message, a second room with only the witness, and a key. */
async function scene() {
  const room = freshRoom();
  const side = freshRoom('side');
  const actor = await connect(server, `actor-${room}`);
  const witness = await connect(server, `witness-${room}`);
  await actor.join(room);
  await witness.join(room);
  await witness.join(side);
  const message = await witness.post(room, 'the first');
  await actor.next('new-message', (each) => each.id === message.id);
  return { room, side, actor, witness, messageId: message.id, key: `key-${room}` };
}

const isMark = ({ event, args }) => event === 'new-message' && args[0].content === 'a mark';

/** Everything observable about the rooms, the users and the keys. */
async function visible({ room, side, actor, witness, key }) {
  const history = (await witness.history(room)).filter((each) => each.content !== 'a mark');
  const answer = await witness.ask('kv-get', { key });
  assert.ok('value' in answer, JSON.stringify(answer));
  const members = async (id) => [...(await witness.join(id)).data.members].sort();
  const { states } = await witness.askOk('get-presence', [actor.user]);
  const mayRead = async (id) => (await actor.ask('history', { roomId: id })).ok;
  return {
    history: history.map((each) => each.id),
    value: answer.value,
    members: [await members(room), await members(side)],
    joined: [await mayRead(room), await mayRead(side)],
    status: states.map((each) => each.status),
    heard: [actor, witness].map((client) => client.received.filter((each) => !isMark(each))),
  };
}

/** Waits until a later event has arrived on the same path, so nothing earlier is in flight. */
async function waitInFlight(at) {
  for (const id of [at.room, at.side]) {
    const mark = await at.witness.post(id, 'a mark');
    await at.witness.next('new-message', (each) => each.id === mark.id);
  }
  await at.actor.ask('get-presence', []);
}

function action(at, effect, end) {
  // The actor is in `room` already, so it joins `side`.
  const roomId = effect === 'join' ? at.side : at.room;
  return at.actor.ask(`${effect}-then-${end}`, { roomId, messageId: at.messageId, key: at.key });
}

for (const effect of EFFECTS) {
  for (const [end, code] of Object.entries(ENDS)) {
    test(`promise 1: all or nothing: ${effect}, then ${end}: nothing is left of it`, async () => {
      const at = await scene();
      await waitInFlight(at);
      const before = await visible(at);
      assertFailed(await action(at, effect, end), code);
      await waitInFlight(at);
      assert.deepEqual(await visible(at), before);
      // The log takes another way than the answer.
      await eventually(() => server.log.includes(`${effect}-then-${end}`), 'the log has a line about it');
    });
  }
  test(`promise 1: all or nothing: ${effect}, then ok: all of it happens`, async () => {
    const at = await scene();
    await waitInFlight(at);
    const before = await visible(at);
    const answer = await action(at, effect, 'ok');
    assert.equal(answer.ok, true, JSON.stringify(answer));
    await waitInFlight(at);
    assert.notDeepEqual(await visible(at), before, 'the probe sees the effect');
  });
}

test('a rejection says when to try again, like the host’s refusals, for codes that allow it', async () => {
  const ann = await connect(server, 'ann');
  const slow = await ann.ask('slow-down', { count: 1500 });
  assert.deepEqual(slow.error, { code: 'rate-limited', message: 'slow down', retryable: true, retryAfterMs: 1500 });
  const denied = await ann.ask('reject-for', { message: 'denied', count: 1500 });
  assert.equal(denied.error.code, 'denied');
  assert.deepEqual([denied.error.retryable, denied.error.retryAfterMs], [false, undefined], JSON.stringify(denied));
  const never = await ann.ask('slow-down', { count: 4_000_000_000 });
  assert.equal(never.error.retryAfterMs, 86_400_000, 'a day at most');
});
