// The server for the protocols' cases: the guest `conformance` in the namespaces `/` and `/custom`.
import { guest, startServer } from './server.mjs';
import { token } from './token.mjs';

const secret = 'the secret of custom, longer than 32 bytes';

/** Starts the server: `{url, auth, customAuth, log}`. `auth` and `customAuth` are for clients of the two namespaces. */
export async function startConformance(limits = {}) {
  const component = guest('conformance');
  const handlers = { event: { component }, presence: { component } };
  const server = await startServer({
    config: { limits, handlers, tenants: { custom: { auth: { keys: [{ algorithm: 'HS256', secret }] }, handlers } } },
  });
  return { url: server.url, auth: { token: token('ann') }, customAuth: { token: token('ann', {}, { secret }) } };
}

/** An interval short enough for tests, and times long enough for a busy machine. */
export const FAST = { ping_interval: '300ms', ping_timeout: '2s', connect_timeout: '2s' };
