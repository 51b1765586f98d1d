// The tab's user. Each tab is a separate user, so that two tabs can talk to each other.

import { newId } from './client/index.js';
import { tabStore } from './storage.js';

const TEMPERS = [
  'brave',
  'calm',
  'clever',
  'cosy',
  'eager',
  'gentle',
  'jolly',
  'keen',
  'kind',
  'lucky',
  'merry',
  'quick',
  'quiet',
  'sunny',
  'witty',
];
const ANIMALS = [
  'badger',
  'beaver',
  'falcon',
  'ferret',
  'heron',
  'kestrel',
  'lynx',
  'marten',
  'otter',
  'owl',
  'panda',
  'puffin',
  'robin',
  'seal',
  'wombat',
];

/** Longest name that a user may choose, in characters. */
export const LONGEST_NAME = 40;

/** @returns {{userId: string, name: string}} the same at every call in this tab */
export function identity() {
  const known = tabStore.get('identity');
  if (known?.userId && known?.name) return known;
  const [temper, animal] = [pick(TEMPERS), pick(ANIMALS)];
  const suffix = newId().slice(0, 8);
  const made = { userId: `${temper}-${animal}-${suffix}`, name: `${capital(temper)} ${capital(animal)}` };
  tabStore.set('identity', made);
  return made;
}

/** Keeps the id, so it is the same user with another name. */
export function rename(name) {
  const changed = { ...identity(), name: name.trim().slice(0, LONGEST_NAME) };
  tabStore.set('identity', changed);
  return changed;
}

/**
 * Asks the development server for a token.
 * @returns {Promise<{token: string, expiresAt: number}>} `expiresAt` in milliseconds since the epoch
 */
export async function fetchToken() {
  const { userId, name } = identity();
  const response = await fetch('/dev/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user: userId, name }),
    signal: AbortSignal.timeout(5_000),
  });
  if (!response.ok) throw new Error(`The server gave no development token (HTTP ${response.status}).`);
  return response.json();
}

/** The name to show for a user of whom only the id is known: `brave-otter-3f2a`, as made here, becomes "Brave Otter". */
export function readable(userId) {
  const made = /^([a-z]+)-([a-z]+)-[0-9a-f]{4,}$/.exec(userId);
  return made ? made.slice(1).map(capital).join(' ') : userId;
}

function pick(list) {
  const [number] = crypto.getRandomValues(new Uint32Array(1));
  return list[number % list.length];
}

function capital(word) {
  return word[0].toUpperCase() + word.slice(1);
}
