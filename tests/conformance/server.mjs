// The server that the suites run against, and the tokens that their clients show.
import { connect, createServer } from 'node:net';
import { owned } from '../e2e/lib/scope.mjs';
import { guest, startServer } from '../e2e/lib/server.mjs';
import { token } from '../e2e/lib/token.mjs';

/** What the protocol suites expect of their server. */
const TIMES = { ping_interval: '300ms', ping_timeout: '200ms', connect_timeout: '1500ms' };
/** A WebSocket message and a body may have 32 times as many bytes: the 1,000,000 that the suites expect. */
const PACKET_BYTES = 31_250;
const USER = 'suite';
/** The suite of the client has a server that waits for so long, so that a timeout of 0 comes before it lets anybody in. */
const CONNECT_DELAY_MS = 10;

const secretOf = (tenant) => `the secret of ${tenant}, longer than 32 bytes`;

/**
 * Starts a server whose handlers are the guest `conformance`. Each of `namespaces` is a tenant besides `/`; the value is
 * the handlers' settings there.
 * @returns {Promise<{url: string, tokens: Record<string, string>}>} `tokens`: a token by namespace.
 */
export async function startSuiteServer(namespaces, { limits = TIMES } = {}) {
  const component = guest('conformance');
  const handlers = (settings) => ({ event: { component, settings }, presence: { component, settings } });
  const { '/': main = {}, ...others } = namespaces;
  const names = Object.keys(others);
  const tenants = Object.fromEntries(names.map((name) => [name.slice(1), {
    auth: { keys: [{ algorithm: 'HS256', secret: secretOf(name) }] },
    handlers: handlers(others[name]),
  }]));
  const config = {
    server: { host: '127.0.0.1' },
    // A suite's clients all are one user, from one address.
    limits: { packet: `${PACKET_BYTES}B`, ...limits },
    handlers: handlers(main),
    tenants,
  };
  const { url } = await startServer({ config });
  const tokens = { '/': token(USER) };
  for (const name of names) tokens[name] = token(USER, {}, { secret: secretOf(name) });
  return { url, tokens };
}

/** An address at which the server is slow to open sessions, and as quick as ever in all else. */
export async function slowly({ url }) {
  const port = Number(new URL(url).port);
  const proxy = createServer((near) => {
    const far = connect({ port, host: '127.0.0.1', noDelay: true });
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => near.destroy()).pipe(near);
    near.once('data', (head) => {
      near.pause();
      const opens = !head.includes('sid=');
      setTimeout(() => {
        far.write(head);
        near.pipe(far);
      }, opens ? CONNECT_DELAY_MS : 0);
    });
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
  owned(proxy);
  return `127.0.0.1:${proxy.address().port}`;
}
