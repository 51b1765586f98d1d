// Asks the server for users' presence.

import { waitFor } from './outbox.js';

/** Users of one `get-presence`: the server takes 200 (`limits.presence_users`). */
export const PRESENCE_PAGE = 100;
/** How often one page is asked for. */
const TRIES = 8;

/**
 * Asks for these users, and again while the server asks to wait.
 * @param {import('./connection.js').Connection} connection
 * @param {string[]} users
 * @param {(states: object[]) => void} took
 * @param {(error: object) => void} report
 * @returns {Promise<boolean>} whether all were answered
 */
export async function askPresence(connection, users, took, report) {
  const left = [...new Set(users)];
  for (let failures = 0; left.length > 0; ) {
    const answer = await connection.ask('get-presence', left.slice(0, PRESENCE_PAGE));
    if (answer.ok) {
      took(answer.states ?? []);
      left.splice(0, PRESENCE_PAGE);
      failures = 0;
      continue;
    }
    if (answer.error) report(answer.error);
    failures += 1;
    if (!answer.error?.retryable || failures === TRIES) return false;
    await connection.pause(waitFor(answer.error, failures));
  }
  return true;
}
