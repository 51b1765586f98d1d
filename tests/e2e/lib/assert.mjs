// Assertions about acknowledgements.
import assert from 'node:assert/strict';

/** Asserts that this is a failed acknowledgement with all its fields, with `code`, and `retryable` or not if that is given. */
export function assertFailed(answer, code, retryable) {
  assert.equal(answer?.ok, false, `expected ${code}, got ${JSON.stringify(answer)?.slice(0, 500)}`);
  const { retryAfterMs, ...error } = answer.error;
  assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'retryable'], JSON.stringify(answer));
  if (retryAfterMs !== undefined) {
    assert.ok(Number.isInteger(retryAfterMs) && retryAfterMs > 0 && error.retryable, JSON.stringify(answer));
  }
  assert.equal(answer.error.code, code, JSON.stringify(answer));
  assert.equal(typeof answer.error.message, 'string');
  assert.ok(answer.error.message.length > 0, 'an error says something');
  assert.equal(typeof answer.error.retryable, 'boolean');
  if (retryable !== undefined) assert.equal(answer.error.retryable, retryable, JSON.stringify(answer));
}

/** Asserts that this is a time in milliseconds since the epoch, within the last minute. */
export function assertNow(value) {
  assert.ok(Number.isInteger(value) && Math.abs(Date.now() - value) < 60_000, `${value} is not now, in milliseconds`);
}

/** Asserts that these are exactly the messages 1 to `count`, in that order. */
export function assertGapless(messages, count = messages.length) {
  assert.deepEqual(messages.map((message) => message.seq), Array.from({ length: count }, (_, i) => i + 1));
}
