// Checks that a history of events is serializable: that there is one order of all committed events in which each would
// have read what it did read. Every value is a list of words, each of which is appended once, so a value tells which
// events came before it, and in which order.
import assert from 'node:assert/strict';

const words = (value) => (value ? value.split(' ') : []);

/**
 * What is wrong with a history; empty when nothing is.
 *
 * @param {{id: string, reads: [string, string | null][], appends: [string, string, string][], began: number,
 *   ended: number}[]} events the committed events: what each read (key, value), what it appended to (key, the value that
 *   it saw before, its word), and when it was sent and answered, on one clock
 * @param {Map<string, string>} final the values at the end, by key
 * @param {Set<string>} maybe words of events of which nobody knows whether they were committed
 */
export function anomalies(events, final, maybe = new Set()) {
  const found = [];
  /** The event that appended a word. */
  const writers = new Map();
  for (const event of events) for (const [, , word] of event.appends) writers.set(word, event);
  for (const event of events) {
    for (const [key, , word] of event.appends) {
      const count = words(final.get(key)).filter((each) => each === word).length;
      if (count !== 1) found.push(`${event.id}: ${word} is ${count} times in ${key}`);
    }
  }
  for (const [key, value] of final) {
    for (const word of words(value)) {
      if (!writers.has(word) && !maybe.has(word)) found.push(`${word} in ${key} is of no committed event`);
    }
  }
  // Which events come before which.
  const later = new Map(events.map((event) => [event, new Set()]));
  const before = (one, other) => {
    if (one && other && one !== other) later.get(one)?.add(other);
  };
  for (const [key, value] of final) {
    const list = words(value);
    list.forEach((word, at) => {
      if (at > 0) before(writers.get(list[at - 1]), writers.get(word));
    });
    for (const event of events) {
      const seen = [...event.reads, ...event.appends.map(([at, saw]) => [at, saw])].filter(([at]) => at === key);
      for (const [, saw] of seen) {
        const read = words(saw);
        if (read.some((word, at) => list[at] !== word)) {
          found.push(`${event.id} read "${saw}" at ${key}, which never was there`);
          continue;
        }
        before(writers.get(read.at(-1)), event);
        const next = list[read.length];
        if (next !== undefined) before(event, writers.get(next));
      }
    }
  }
  // An event that was sent after another one was answered comes after it.
  const byEnd = [...events].sort((a, b) => a.ended - b.ended);
  const byBegin = [...events].sort((a, b) => a.began - b.began);
  // The events between two that touch in time suffice: an order of all pairs follows from these.
  let from = 0;
  let latest = null;
  for (const event of byBegin) {
    while (from < byEnd.length && byEnd[from].ended < event.began) {
      if (!latest || byEnd[from].began > latest.began) latest = byEnd[from];
      from += 1;
    }
    if (latest) {
      for (let at = from - 1; at >= 0 && byEnd[at].ended >= latest.began; at -= 1) before(byEnd[at], event);
    }
  }
  const cycle = findCycle(later);
  if (cycle) found.push(`no order: ${cycle.map((event) => event.id).join(' before ')}`);
  return found;
}

/** A cycle in a graph of sets of successors; `null` when there is none. */
function findCycle(successors) {
  const done = new Set();
  for (const start of successors.keys()) {
    if (done.has(start)) continue;
    const path = [start];
    const onPath = new Set(path);
    const left = [[...successors.get(start)]];
    while (path.length > 0) {
      const next = left.at(-1).pop();
      if (next === undefined) {
        left.pop();
        const event = path.pop();
        onPath.delete(event);
        done.add(event);
      } else if (onPath.has(next)) {
        return [...path.slice(path.indexOf(next)), next];
      } else if (!done.has(next)) {
        path.push(next);
        onPath.add(next);
        left.push([...successors.get(next)]);
      }
    }
  }
  return null;
}

/** Fails when a history is not serializable. */
export function assertSerializable(events, final, maybe) {
  assert.deepEqual(anomalies(events, final, maybe).slice(0, 10), []);
}
