// The fleet for the suites of the Redis adapter and the emitter: a node and a Redis.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { ADMIN_TOKEN, configurationOf, secretOf } from '../e2e/lib/admin.mjs';
import { UNLIMITED } from '../e2e/lib/fleet.mjs';
import { startRedis } from '../e2e/lib/redis.mjs';
import { startServer, temporaryDirectory } from '../e2e/lib/server.mjs';
import { token } from '../e2e/lib/token.mjs';

const HERE = join(import.meta.dirname, 'fleet');
// The packages are those of the end-to-end tests.
const { componentize } = createRequire(new URL('../e2e/package.json', import.meta.url))('componentize-qjs');
/** The user whom `fleet/handler.js` tells of server events. */
const USER = 'suite';
/**
 * How long the node waits for answers of Node servers. A test that reads the rooms of a socket takes that long: the Node
 * servers are in its own process, which is blocked meanwhile.
 */
const REQUEST_TIMEOUT = '500ms';

/** Which of the three servers of the adapter's suite is the node. */
export const PLACES = ['first', 'second', 'third'];

const sharded = (name, mode) => ({
  adapter: `redis-adapter sharded ${name}`,
  only: `\\[sharded\\] redis@5 standalone \\(${mode}\\)`,
  redis: { adapter: 'sharded' },
});
/** The adapters that the suite has: which of its tests are theirs, and `[redis]` of a node that is to understand them. */
export const ADAPTERS = [
  { adapter: 'redis-adapter', only: 'redis-adapter redis@5 standalone (\\(specific response channel\\) )?(common|specifics)' },
  sharded('dynamic', 'dynamic subscription mode'),
  sharded('dynamic-private', 'dynamic subscription mode & dynamic private channels'),
  sharded('static', 'static subscription mode'),
];

/** Builds the handler: the component's path. */
async function handler() {
  const dir = temporaryDirectory();
  const wit = join(dir, 'wit');
  cpSync(join(HERE, '../../../wit'), join(wit, 'deps/parlance-chat'), { recursive: true });
  cpSync(join(HERE, 'handler.wit'), join(wit, 'handler.wit'));
  const jsSource = readFileSync(join(HERE, 'handler.js'), 'utf8');
  const { component } = await componentize({ witPath: wit, world: 'guest', jsSource, optSize: true, sync: true });
  const path = join(dir, 'handler.wasm');
  writeFileSync(path, component);
  return path;
}

/**
 * Starts a node over a Redis of its own, with the namespaces `/` and `/custom`.
 * @param {object} redisSettings more keys of `[redis]`
 * @returns {Promise<object>} the value of PARLANCE_FLEET, but for `servers` and `place`
 */
export async function startNode(redisSettings = {}) {
  const [redis, component] = await Promise.all([startRedis(), handler()]);
  const handlers = { event: { component }, server_event: { component } };
  const { url, adminUrl } = await startServer({
    config: {
      ...UNLIMITED,
      server: { host: '127.0.0.1' },
      redis: { request_timeout: REQUEST_TIMEOUT, ...redisSettings },
      handlers,
      tenants: { custom: configurationOf('custom', { handlers }) },
    },
    env: { REDIS_URL: redis.url, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  });
  const tokens = { '/': token(USER), '/custom': token(USER, {}, { secret: secretOf('custom') }) };
  return { url, adminUrl, adminToken: ADMIN_TOKEN, redisUrl: redis.url, tokens };
}
