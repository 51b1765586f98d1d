// A tenant whose processor time is used up: events that no client can repeat are delayed, but not lost.
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually, within } from './lib/wait.mjs';

/** Concurrent events of the client that uses up the processor time. */
const AT_ONCE = 40;

/** Uses up the tenant's processor time until it is stopped; returns once events are refused because of that. */
async function flood(client, room) {
  let goes = true;
  let noticed;
  const refused = new Promise((resolve) => (noticed = resolve));
  const events = (async () => {
    while (goes) {
      const answers = await Promise.all(Array.from({ length: AT_ONCE }, () => client.ask('typing', room, false)));
      if (answers.some(({ error }) => /processor time is used up/.test(error?.message ?? ''))) noticed();
    }
  })();
  await within(refused, 'the time to be used up');
  return async () => {
    goes = false;
    await events;
  };
}

const config = { quota: { guest_cpu: '20ms' } };

test('a user who connects without processor time left appears once there is some', async () => {
  const server = await startServer({ config });
  const room = freshRoom();
  const ann = await connect(server, 'ann');
  const eve = await connect(server, 'eve');
  for (const each of [ann, eve]) await each.join(room);
  const stop = await flood(eve, room);
  const late = await Promise.all(Array.from({ length: 4 }, (_, n) => connect(server, `late-${n}`)));
  await stop();
  for (const each of late) {
    // Its events follow its connect event, which waits for processor time.
    await eventually(async () => (await each.ask('join-room', room)).ok, 'to be let in');
    await ann.next('presence', ({ userId, status }) => userId === each.user && status === 'online');
  }
});

test('typing ends when the tab crashes without processor time left', async () => {
  const server = await startServer({ config });
  const room = freshRoom();
  const [ann, bob, eve] = await Promise.all(['ann', 'bob', 'eve'].map((user) => connect(server, user, { reconnection: false })));
  for (const each of [ann, bob, eve]) await each.join(room);
  await bob.askOk('typing', room, true);
  await ann.next('user-typing', ({ typing }) => typing);
  const stop = await flood(eve, room);
  bob.socket.io.engine.close();
  await stop();
  await ann.next('user-typing', ({ userId, typing }) => userId === 'bob' && !typing);
});
