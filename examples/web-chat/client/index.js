// The public names of the package.

import { ChatClient } from './client.js';

export { LARGEST_PACKET_BYTES } from './outbox.js';
export { newId } from './id.js';
export { readersOf } from './snapshot.js';
export { jsonStorage } from './storage.js';

/**
 * Makes a client. It connects when its `connect` is called.
 * @param {import('./index.d.ts').ClientOptions} options
 * @returns {import('./index.d.ts').ChatClient}
 */
export function createClient(options) {
  return new ChatClient(options);
}
