// Floods in either direction.
import assert from 'node:assert/strict';
import { assertFailed, assertGapless } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { rawConnect, assertServerWorks } from './lib/raw.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { residentBytes } from './lib/tenants.mjs';

// This tests the queue, not the rate. Without a grace period a disconnected user is offline at once.
const limits = { events_per_second: 1_000_000, event_burst: 1_000_000, byte_burst: '64MiB', bytes_per_second: '64MiB', presence_grace: '0s' };
const server = await startServer({
  config: { limits, quota: { events_per_second: 1_000_000, event_burst: 1_000_000, guest_cpu: '100s' } },
});

test('of 10,000 events at once every one is answered, and the next client is unharmed', async (t) => {
  const room = freshRoom();
  const witness = await connect(server, 'witness');
  const eve = await connect(server, 'eve');
  await witness.join(room);
  await eve.join(room);
  const answers = [];
  for (let i = 0; i < 10_000; i += 1) {
    eve.emit('send-message', { roomId: room, content: `${i}` }, (answer) => {
      answers.push({ i, answer });
    });
  }
  await assertServerWorks(await connect(server, 'meanwhile'), freshRoom());
  await eve.until(() => answers.length === 10_000, '10,000 answers', 60_000).catch((error) => {
    throw new Error(`${answers.length} answers, disconnects: ${eve.disconnects}`, { cause: error });
  });
  assert.equal(eve.disconnects.length, 0);
  const accepted = answers.filter(({ answer }) => answer.ok);
  for (const { answer } of answers.filter((each) => !each.answer.ok)) {
    assertFailed(answer, 'rate-limited');
    assert.equal(answer.error.retryable, true);
  }
  assert.ok(accepted.length >= 1000, `${accepted.length} were accepted`);
  t.diagnostic(`${accepted.length} accepted, ${10_000 - accepted.length} rate-limited`);
  await witness.until(() => witness.messages(room).length === accepted.length, 'every accepted message');
  assertGapless(witness.messages(room));
  assert.deepEqual(witness.messages(room).map((each) => each.content), accepted.map(({ i }) => `${i}`));
  await assertServerWorks(eve, freshRoom());
});

test('a client that stops reading is disconnected in bounded time, and the others keep receiving', async () => {
  const room = freshRoom();
  const sender = await connect(server, 'sender');
  const reader = await connect(server, 'reader');
  await sender.join(room);
  await reader.join(room);
  const stalled = await rawConnect(server, 'stalled');
  await stalled.ask(1, `["join-room","${room}"]`);
  stalled.ws.pause();

  // Enough to fill the kernel's buffers on both sides.
  const content = 'x'.repeat(16 * 1024);
  const begun = performance.now();
  let posted = 0;
  const gone = () => reader.all('presence').some((each) => each.userId === 'stalled' && each.status === 'offline');
  while (!gone()) {
    await Promise.all(Array.from({ length: 20 }, () => sender.post(room, content)));
    posted += 20;
    await reader.until(() => reader.messages(room).length >= posted, `${posted} messages`);
    assert.ok(performance.now() - begun < 40_000, `still connected after ${posted} messages`);
  }
  stalled.ws.resume();
  await stalled.until(() => stalled.closed, 'the end at the other side, too');
  assertGapless(reader.messages(room), posted);
  await assertServerWorks(await connect(server, 'next'), freshRoom());
});

test('a stalled client of a quiet room does not hold up the end of the server', async () => {
  const own = await startServer();
  const stalled = await rawConnect(own, 'stalled');
  stalled.ws.pause();
  const { code, ms } = await own.stop();
  assert.equal(code, 0);
  assert.ok(ms < 10_000, `${ms} ms`);
});

test('a client that requests many pages without reading has few of them queued, and gets all when it reads', async () => {
  const own = await startServer({
    config: { limits, quota: { events_per_second: 1_000_000, event_burst: 1_000_000, guest_cpu: '100s', outbound_bytes_per_second: '1GiB' } },
  });
  const [room, pages, clients] = [freshRoom(), 60, 8];
  const writer = await connect(own, 'writer');
  await writer.join(room);
  for (let n = 0; n < 200; n += 1) await writer.post(room, 'x'.repeat(1_200));
  const before = residentBytes(own);
  const stalled = await Promise.all(Array.from({ length: clients }, async () => {
    const raw = await rawConnect(own, 'stalled');
    await raw.ask(1, `["join-room","${room}"]`);
    raw.ws.pause();
    for (let n = 0; n < pages; n += 1) raw.send(`42${100 + n}["history",{"roomId":"${room}","limit":200}]`);
    return raw;
  }));
  // The others can read pages meanwhile: the stalled ones do not block the queue.
  for (let n = 0; n < pages; n += 1) assert.equal((await writer.askOk('history', { roomId: room, limit: 200 })).messages.length, 200);
  const held = residentBytes(own) - before;
  assert.ok(held < 48 * 1024 * 1024, `${clients} clients hold ${held} bytes`);
  for (const raw of stalled) {
    raw.ws.resume();
    for (let n = 0; n < pages; n += 1) assert.ok((await raw.frame(`43${100 + n}[`)).length > 200_000);
  }
});
