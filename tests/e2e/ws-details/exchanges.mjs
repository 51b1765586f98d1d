// The exchanges, by name. Each takes a server (`url`, and `auth` for its namespace) and returns what it observed.
import * as cors from './cors.mjs';
import * as frames from './frames.mjs';
import * as handshake from './handshake.mjs';
import * as packets from './packets.mjs';
import * as polling from './polling.mjs';
import * as upgrade from './upgrade.mjs';

export const EXCHANGES = {};
for (const [group, { default: exchanges }] of Object.entries({ handshake, cors, polling, upgrade, frames, packets })) {
  for (const [name, send] of Object.entries(exchanges)) EXCHANGES[`${group}: ${name}`] = send;
}
