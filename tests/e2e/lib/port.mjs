import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * Ports are chosen below the range that the system uses for outgoing connections. Otherwise a client that retries while
 * its server is down could connect to itself, and occupy the server's port.
 */
const [FROM, TO] = [15_000, 32_000];
const TRIES = 100;

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer().on('error', () => resolve(false)).listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** A free port. */
export async function freePort() {
  for (let n = 0; n < TRIES; n += 1) {
    const port = randomInt(FROM, TO);
    if (await isFree(port)) return port;
  }
  throw new Error(`none of ${TRIES} ports between ${FROM} and ${TO} is free`);
}
