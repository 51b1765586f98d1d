// The checker of histories finds what is planted.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { anomalies } from './lib/serializable.mjs';

/** An event that overlaps with all others, unless it is told when it happened. */
const event = (id, { reads = [], appends = [], began = 0, ended = 1000 }) => ({ id, reads, appends, began, ended });
const check = (events, final) => anomalies(events, new Map(Object.entries(final)));

test('a serial history is serializable', () => {
  const events = [
    event('a', { appends: [['k', '', 'a1']] }),
    event('b', { reads: [['l', null]], appends: [['k', 'a1', 'b1']] }),
    event('c', { reads: [['k', 'a1 b1']], appends: [['l', '', 'c1']] }),
  ];
  assert.deepEqual(check(events, { k: 'a1 b1', l: 'c1' }), []);
});

test('a lost update is found', () => {
  const events = [event('a', { appends: [['k', '', 'a1']] }), event('b', { appends: [['k', '', 'b1']] })];
  assert.match(check(events, { k: 'b1' })[0], /a1 is 0 times/);
});

test('write skew is found', () => {
  const events = [
    event('a', { reads: [['l', null]], appends: [['k', '', 'a1']] }),
    event('b', { reads: [['k', null]], appends: [['l', '', 'b1']] }),
  ];
  assert.match(check(events, { k: 'a1', l: 'b1' })[0], /no order: (a before b|b before a)/);
});

test('a read of two moments is found', () => {
  const events = [
    event('w', { appends: [['k', '', 'w1'], ['l', '', 'w2']] }),
    event('r', { reads: [['k', 'w1'], ['l', null]] }),
  ];
  assert.match(check(events, { k: 'w1', l: 'w2' })[0], /no order/);
});

test('a read of what was undone is found', () => {
  const events = [event('r', { reads: [['k', 'ghost']] }), event('a', { appends: [['k', '', 'a1']] })];
  assert.match(check(events, { k: 'a1' })[0], /never was there/);
});

test('an answer that a later event does not see is found', () => {
  const events = [
    event('a', { appends: [['k', '', 'a1']], began: 0, ended: 10 }),
    event('r', { reads: [['k', null]], began: 20, ended: 30 }),
  ];
  assert.match(check(events, { k: 'a1' })[0], /no order/);
});
