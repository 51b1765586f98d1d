// Acknowledgements that a handler chooses (`on-event-ack`), with the official client.
import assert from 'node:assert/strict';
import { connect } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';

const server = await startServer({ handlers: { event: guest('acknowledging') } });

/** The arguments of the acknowledgement. */
function answers(client, event, ...args) {
  return new Promise((resolve) => client.socket.emit(event, ...args, (...answered) => resolve(answered)));
}

for (const transports of [['websocket'], ['polling']]) {
  const over = transports[0];

  test(`an acknowledgement has as many arguments as the handler gives, over ${over}`, async () => {
    const ann = await connect(server, 'ann', { transports });
    assert.deepEqual(await answers(ann, 'several', {}), ['one', 2, [3]]);
    assert.deepEqual(await answers(ann, 'none', {}), []);
    assert.deepEqual(await answers(ann, 'null', {}), [null]);
  });

  test(`an acknowledgement has binary arguments, over ${over}`, async () => {
    const ann = await connect(server, 'ann', { transports });
    assert.deepEqual(await answers(ann, 'binary', {}), ['bytes', Buffer.from([0, 1, 255])]);
    const sent = [{ deep: [Buffer.from('abc')] }, Buffer.from([]), 'text'];
    assert.deepEqual(await answers(ann, 'echo', ...sent), sent);
  });
}

test('an event that the handler does not acknowledge runs into the client\'s own timeout', async () => {
  const ann = await connect(server, 'ann');
  await assert.rejects(ann.socket.timeout(300).emitWithAck('silent', {}), /timed out/);
  assert.deepEqual(await answers(ann, 'several', {}), ['one', 2, [3]]);
});

test('a refusal and a malformed acknowledgement fail like those of any event', async () => {
  const ann = await connect(server, 'ann');
  const [refused] = await answers(ann, 'refuse', {});
  assert.equal(refused.error.code, 'denied');
  for (const event of ['not-an-array', 'missing-attachment']) {
    const [failed] = await answers(ann, event, {});
    assert.equal(failed.error.code, 'handler-failed', event);
  }
  await server.waitForOutput(/its acknowledgement cannot be sent: the arguments are not a JSON array/);
});
