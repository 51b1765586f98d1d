// Asks the guest `keys`, whose events carry operations.
import assert from 'node:assert/strict';
import { eventually } from './wait.mjs';

/** Most keys of one `get-many`. */
const PAGE = 100;

/** The results of operations that `client` sends as `event`. */
export async function results(client, event, ...operations) {
  return resultsOf(await client.ask(event, ...operations));
}

/** Reads keys, again while the store is away. */
export async function read(client, event, ...operations) {
  const answer = await eventually(async () => {
    const given = await client.ask(event, ...operations);
    return given.error?.code === 'unavailable' ? null : given;
  }, 'the store');
  return resultsOf(answer);
}

/** The numbers at keys; 0 for an absent one. */
export async function numbers(client, event, keys) {
  const all = [];
  for (let at = 0; at < keys.length; at += PAGE) {
    const [page] = await read(client, event, ['get-many', keys.slice(at, at + PAGE)]);
    all.push(...page.map(Number));
  }
  return all;
}

function resultsOf(answer) {
  assert.ok(answer.results, JSON.stringify(answer));
  return answer.results;
}
