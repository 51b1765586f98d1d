// A fleet: several nodes with one Redis and one PostgreSQL, each with a separate proxy to both.
import { startPostgres } from './postgres.mjs';
import { startProxy } from './proxy.mjs';
import { startRedis } from './redis.mjs';
import { startServer } from './server.mjs';
import { eventually } from './wait.mjs';

/** Rates that no test exceeds. */
export const UNLIMITED = {
  limits: { events_per_second: 100_000, event_burst: 100_000 },
  quota: { guest_cpu: '100s', events_per_second: 1_000_000, event_burst: 1_000_000 },
};

/**
 * Starts a fleet: `{nodes, redis, postgres}`. `nodes[n].toRedis` and `.toPostgres` are proxies that can be cut.
 * @param {{nodes?: number, config?: object, env?: Record<string, string>}} options
 */
export async function startFleet({ nodes: count = 2, config = {}, env = {}, handlers = {} } = {}) {
  const [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  const nodes = [];
  // Start them one after the other: the first creates the tables.
  for (let n = 0; n < count; n += 1) {
    const [toRedis, toPostgres] = [await startProxy(redis.port), await startProxy(postgres.port)];
    const url = new URL(postgres.url);
    url.port = toPostgres.port;
    const node = await startServer({
      config: { ...UNLIMITED, redis: { heartbeat: '300ms', lease: '2s' }, ...config },
      handlers,
      env: { DATABASE_URL: url.href, REDIS_URL: `redis://127.0.0.1:${toRedis.port}`, ...env },
    });
    nodes.push(Object.assign(node, { toRedis, toPostgres }));
  }
  const fleet = { nodes, redis, postgres };
  await eventually(async () => (await Promise.all(nodes.map((node) => peers(node)))).every((known) => known === count - 1),
    'every node to know the others', 20_000);
  return fleet;
}

/** How many other nodes a node knows. */
export async function peers(node) {
  return metric(node, 'parlance_redis_nodes');
}

/** A metric without labels. */
export async function metric(node, name) {
  const text = await (await fetch(`${node.adminUrl}/metrics`)).text();
  return Number(text.match(new RegExp(`^${name} (.*)$`, 'm'))?.[1]);
}
