import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/**
 * Where ports are taken from: below those that the system gives to connections. Whoever tries again and again to reach a
 * server that is away would connect to itself, and the server could not have its port again.
 */
const [FROM, TO] = [15_000, 32_000];
const TRIES = 100;

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer().on('error', () => resolve(false)).listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** A port of this machine that nobody uses now. */
export async function freePort() {
  for (let n = 0; n < TRIES; n += 1) {
    const port = randomInt(FROM, TO);
    if (await isFree(port)) return port;
  }
  throw new Error(`none of ${TRIES} ports between ${FROM} and ${TO} is free`);
}
