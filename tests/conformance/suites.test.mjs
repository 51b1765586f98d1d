// The official suites, as they are, against this server. `run.sh` brings them into the directory PARLANCE_SUITES_AT.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from '../e2e/lib/scope.mjs';
import { ADAPTERS, PLACES, startNode } from './fleet.mjs';
import { KNOWN } from './known.mjs';
import { mocha } from './mocha.mjs';
import { slowly, startSuiteServer } from './server.mjs';

const AT = resolve(process.env.PARLANCE_SUITES_AT ?? '');
const HERE = import.meta.dirname;
/** For a whole suite. */
const SUITE_MS = 300_000;

/** For a test with several servers, on a machine that is busy. */
const FLEET_TEST_MS = 5_000;
/** Runs a suite, prints what became of it, and holds it to what is known: no other test fails, and each of those does. */
async function hold(name, directory, { args, only, env }) {
  const known = KNOWN[name];
  const { passed, failed, again } = await mocha(directory, { args, only, env, ms: SUITE_MS }, known.failing);
  console.log(`${name}: ${passed.length} of ${passed.length + failed.size} passed`);
  for (const [title, message] of failed) {
    console.log(`  ${title}\n    ${message.split('\n')[0]}\n    ${known.failing[title] ?? 'NOT KNOWN'}`);
  }
  for (const title of again) console.log(`  ${title}\n    passed another time`);
  assert.equal(passed.length + failed.size, known.tests, 'tests that ran');
  assert.deepEqual([...failed.keys()].filter((title) => !(title in known.failing)), [], 'tests that fail and did not');
  assert.deepEqual(Object.keys(known.failing).filter((title) => !failed.has(title)), [], 'tests that failed and do not');
}

const environment = ({ url, tokens }) => ({ PARLANCE_URL: url, PARLANCE_TOKENS: JSON.stringify(tokens) });

for (const protocol of ['engine.io', 'socket.io']) {
  const name = `${protocol}-protocol`;
  test(name, async () => {
    const directory = join(AT, name);
    const server = await startSuiteServer({ '/custom': {} });
    cpSync(join(HERE, `protocol/${protocol}-imports.mjs`), join(directory, 'node-imports.js'));
    cpSync(join(HERE, 'protocol/parlance.mjs'), join(directory, 'parlance.mjs'));
    await hold(name, directory, { args: ['test-suite.js'], env: environment(server) });
  });
}

test('socket.io-client', async () => {
  const directory = join(AT, 'socket.io-client');
  const nothing = { welcome: 'nothing' };
  const server = await startSuiteServer({
    '/': nothing,
    '/foo': nothing,
    '/valid': nothing,
    '/asd': nothing,
    '/abc': { welcome: 'handshake' },
  }, { limits: { ping_interval: '2s' } });
  const host = await slowly(server);
  const addressed = (file) => {
    const path = join(directory, file);
    writeFileSync(path, readFileSync(path, 'utf8').replaceAll('localhost:3210', host));
  };
  addressed('test/support/util.ts');
  for (const fixture of readdirSync(join(directory, 'test/fixtures'))) addressed(`test/fixtures/${fixture}`);
  mkdirSync(join(directory, 'build/cjs'), { recursive: true });
  cpSync(join(HERE, 'client/index.cjs'), join(directory, 'index.js'));
  cpSync(join(HERE, 'client/url.cjs'), join(directory, 'build/cjs/url.js'));
  const args = ['--import=tsx', '--require', join(HERE, 'client/hooks.cjs'), 'test/index.ts'];
  await hold('socket.io-client', directory, { args, env: environment(server) });
});

/** Runs a suite whose servers are a fleet: `place` of its `servers` is the node. */
async function holdFleet(name, directory, { main, only, redis, servers, place }) {
  const node = await startNode(redis);
  const standIns = join(HERE, 'fleet/stand-ins.cjs');
  // Nothing is gained by checking the suites' types.
  const env = { PARLANCE_FLEET: JSON.stringify({ ...node, servers, place }), TS_NODE_TRANSPILE_ONLY: '1' };
  const args = ['--timeout', String(FLEET_TEST_MS), '--require', 'ts-node/register', '--require', standIns, main];
  await hold(name, join(AT, directory), { args, only, env });
}

for (const { adapter, only, redis } of ADAPTERS) {
  for (const [place, word] of PLACES.entries()) {
    const name = `${adapter}, ${word}`;
    test(name, () => holdFleet(name, 'redis-adapter', { main: 'test/test-runner.ts', only, redis, servers: PLACES.length, place }));
  }
}

test('redis-emitter', () => holdFleet('redis-emitter', 'redis-emitter', { main: 'test/index.ts', servers: 1, place: 0 }));
