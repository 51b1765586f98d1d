// Payloads of the wrong shape or size: each gets a clear error and changes nothing.
import assert from 'node:assert/strict';
import { assertFailed } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { assertServerWorks } from './lib/raw.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const server = await startServer();

const deep = (levels) => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
const room = freshRoom();
const draft = (more) => [{ roomId: room, content: 'x', ...more }];

const CASES = {
  'join-room': {
    invalid: [[], [null], [7], [''], [{}], [['a']], ['x'.repeat(129)], ['x'.repeat(10_000)], ['a\u0000b'], ['a\nb'],
      [room, { after: -1 }], [room, { after: 'one' }], [room, { after: 1.5 }], [room, 'after']],
  },
  'leave-room': { invalid: [[], [null], [7], ['x'.repeat(10_000)]] },
  'send-message': {
    invalid: [[], [null], ['text'], [[room, 'x']], [{}], [{ roomId: room }], [{ content: 'x' }],
      draft({ content: '' }), draft({ content: 7 }), draft({ content: null }), draft({ content: ['x'] }),
      draft({ roomId: 7 }), draft({ roomId: '' }), draft({ roomId: 'x'.repeat(10_000) }),
      draft({ clientId: 7 }), draft({ clientId: '' })],
    'too-large': [draft({ content: 'x'.repeat(16 * 1024 + 1) }), draft({ content: '\u00e4'.repeat(8 * 1024 + 1) }),
      draft({ metadata: { text: 'x'.repeat(4 * 1024) } })],
  },
  typing: { invalid: [[], [null], [7], [room, 'yes'], [room, 1], ['x'.repeat(10_000), true]] },
  'read-message': { invalid: [[], [null], [7], [{}]], 'not-found': [['no-such-message']] },
  'get-presence': { invalid: [[], [null], ['ann'], [[7]], [{}]] },
  history: { invalid: [[], [null], [room], [{}], [{ roomId: 7 }], [{ roomId: room, before: 'x' }], [{ roomId: room, limit: -1 }]] },
  'refresh-token': { invalid: [[], [null], [7], [{}]] },
  'of-nobody': { unhandled: [[], ['argument'], [Buffer.from([1, 2, 3])]] },
};

for (const [event, wrong] of Object.entries(CASES)) {
  test(`${event} with wrong arguments`, async () => {
    const ann = await connect(server, 'ann');
    const witness = await connect(server, 'witness');
    await ann.join(room);
    await witness.join(room);
    const before = await witness.history(room);
    for (const [code, each] of Object.entries(wrong)) {
      for (const args of each) {
        const answer = await ann.ask(event, ...args);
        assert.equal(answer?.error?.code, code, `${event} ${JSON.stringify(args).slice(0, 200)}: ${JSON.stringify(answer)}`);
        assertFailed(answer, code);
        assert.ok(answer.error.message.length < 300, 'the message does not repeat the input');
      }
    }
    assert.deepEqual(await witness.history(room), before);
    await assertServerWorks(ann, freshRoom());
    assert.equal(ann.disconnects.length, 0);
  });
}

test('the largest content and metadata that are allowed are accepted', async () => {
  const ann = await connect(server, 'ann');
  const longest = 'x'.repeat(128);
  await ann.join(longest);
  const content = '\u00e4'.repeat(8 * 1024);
  const metadata = { text: 'x'.repeat(4 * 1024 - '{"text":""}'.length) };
  const { id } = await ann.post(longest, content, { metadata });
  const message = await ann.next('new-message', (each) => each.id === id);
  assert.equal(message.content, content);
  assert.deepEqual(message.metadata, metadata);
});

test('binary where text belongs is invalid', async () => {
  const ann = await connect(server, 'ann');
  await ann.join(room);
  const bytes = Buffer.from([0, 255, 128]);
  assertFailed(await ann.ask('join-room', bytes), 'invalid');
  assertFailed(await ann.ask('send-message', { roomId: room, content: bytes }), 'invalid');
  assertFailed(await ann.ask('send-message', bytes), 'invalid');
  assertFailed(await ann.ask('typing', room, bytes), 'invalid');
  assertFailed(await ann.ask('send-message', { roomId: room, content: 'x', metadata: { bytes } }), 'invalid');
  await assertServerWorks(ann, freshRoom());
});

test('deep JSON is refused or kept unchanged, and never a crash', async () => {
  const ann = await connect(server, 'ann');
  await ann.join(room);
  const { metadata } = await (async () => {
    const { id } = await ann.post(room, 'thirty levels', { metadata: deep(30) });
    return ann.next('new-message', (each) => each.id === id);
  })();
  assert.deepEqual(metadata, deep(30));
  for (const levels of [500, 2000]) {
    assertFailed(await ann.ask('send-message', { roomId: room, content: 'x', metadata: deep(levels) }), 'invalid');
  }
  assertFailed(await ann.ask('join-room', deep(2000)), 'invalid');
  await assertServerWorks(ann, freshRoom());
});

test('names like those of the protocol or of JavaScript objects are plain unknown events', async () => {
  const ann = await connect(server, 'ann');
  for (const event of ['__proto__', 'constructor', 'toString', 'message', 'error', 'Join-Room', 'join-room ']) {
    assertFailed(await ann.ask(event, room), 'unhandled');
  }
  await assertServerWorks(ann, freshRoom());
});
