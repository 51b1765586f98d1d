// Runs the examples and the commands of the README and the guides as they are written there. Each block of shell has a
// test here; a command that none can run has its reason here.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { connect } from './lib/client.mjs';
import { ROOT, Shell, commands, shellBlocks, shown } from './lib/guides.mjs';
import { startPostgres } from './lib/postgres.mjs';
import { startRedis } from './lib/redis.mjs';
import { owned, test } from './lib/scope.mjs';
import { BINARY, SECRET, guest, startServer, temporaryDirectory } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

/** Timeout of a start, which may compile the handlers. */
const START_MS = 600_000;
/** For servers that the commands start: any free port. */
const ANY_PORT = { PORT: '0', PARLANCE_ADMIN_ADDRESS: '127.0.0.1:0' };

/** Commands that these tests do not run, each with the reason. */
const NOT_RUN = {
  'make run': 'builds the release; then it is `parlance dev`, which these tests run',
  'make setup': 'changes the machine; setup.test.mjs runs its scripts on a pretended one',
  'make test': 'runs these tests, and .ci/run runs it',
  'make lint': '.ci/run runs it',
  'make docs': '`make lint` runs it',
  'make conformance': 'clones the repositories of others',
  'make fuzz': 'takes minutes; `make test` runs its script for a moment',
  'make bench': 'takes minutes on a machine that does nothing else',
  'cargo fuzz run --fuzz-dir tests/fuzz --features libfuzzer --sanitizer none packet':
    'cargo-fuzz needs a nightly compiler; `make test` runs the same target without it',
  'examples/fleet/run.sh': 'fleet-example.test.mjs runs it, with ports that are free',
};

/** Runs a client's code until it has printed all this. */
async function client(code, server, ...patterns) {
  const here = code.replace('http://localhost:3000', server.url);
  assert.notEqual(here, code, 'the client connects to the server of `make run`');
  const text = `const token = ${JSON.stringify(token('alice'))};\n${here}`;
  // In this directory, since the client's library is found from here.
  const child = spawn(process.execPath, ['--input-type=module', '--eval', text], { cwd: import.meta.dirname });
  const ended = new Promise((done) => child.on('close', done));
  owned({
    close: () => {
      child.kill('SIGKILL');
      return ended;
    },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (more) => (output += more));
  await eventually(() => patterns.every((pattern) => pattern.test(output)), () => `${patterns.join(', ')} in:\n${output}`);
}

test('the client of the README joins, posts and receives its message', async () => {
  const server = await startServer();
  await client(shown('README.md', '## Connect a client', 'js'), server, /lastSeq: 0/, /^1 alice's name Hello!$/m, /seq: 1/);
});

test('the client of the guide joins, posts and receives its message', async () => {
  const server = await startServer();
  await client(shown('host/clients.md', '## A client that misses nothing', 'js'), server, /^1 alice's name Hello!$/m, /^posted as 1$/m);
});

/**
 * A copy of what building the example needs. It is always in one place, since cargo compiles everything anew for another:
 * the place is part of the compiler's options.
 */
function copySources() {
  const dir = join(dirname(BINARY), '../guides');
  const isSource = (path) => !/\/(target|node_modules|\.venv)$/.test(path);
  for (const path of ['examples/moderation', 'guest-handlers', 'wit', 'rust-toolchain.toml']) {
    rmSync(join(dir, path), { recursive: true, force: true });
    cpSync(join(ROOT, path), join(dir, path), { recursive: true, filter: isSource, preserveTimestamps: true });
  }
  rmSync(join(dir, 'parlance.toml'), { force: true });
  return dir;
}
const SOURCES = copySources();

/** The last command is one that goes on, the others end. */
const lastOf = (list) => [list.slice(0, -1), list.at(-1)];

/** What runs each block of shell: the page, its heading, and how. */
const RUNS = [
  ['README.md', '## Write a handler', async (list) => {
    const shell = new Shell(SOURCES, { env: ANY_PORT });
    const [ending, dev] = lastOf(list);
    assert.match(shell.run(ending), /message/, 'the component is inspected');
    const server = shell.follow(dev);
    const [, port] = await server.waitForOutput(/listening on http:\/\/[^\s"]*?:(\d+)/, START_MS);
    const url = `http://127.0.0.1:${port}`;
    const response = await fetch(`${url}/dev/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user: 'ann' }),
    });
    const ann = await connect({ url }, 'ann', { auth: { token: (await response.json()).token } });
    await ann.join('general');
    const refused = await ann.ask('send-message', { roomId: 'general', content: 'oh darn' });
    assert.equal(refused.error.code, 'denied', JSON.stringify(refused));
  }],
  ['guest-handlers/README.md', '## Build', (list) => {
    const component = join(SOURCES, 'target/components/moderation.wasm');
    rmSync(component, { force: true });
    new Shell(SOURCES).run(list);
    assert.ok(existsSync(component));
  }],
  ['host/clients.md', '## Tokens', async (list) => {
    const dir = temporaryDirectory();
    const server = await startServer({ command: 'dev', dir, env: { JWT_SECRET: undefined } });
    const minted = new Shell(dir).run(list).trim();
    await connect(server, 'alice', { auth: { token: minted } });
  }],
  ['host/README.md', '## Configure', async (list) => {
    const dir = temporaryDirectory();
    const shell = new Shell(dir, { env: ANY_PORT, programs: { openssl: `echo '${SECRET}'` } });
    const [ending, serve] = lastOf(list);
    shell.run(ending);
    assert.match(readFileSync(join(dir, 'parlance.toml'), 'utf8'), /^\[limits\]$/m);
    assert.ok(JSON.parse(readFileSync(join(dir, 'parlance.schema.json'), 'utf8')).properties.limits);
    await shell.follow(serve).waitForOutput(/listening on http:/, START_MS);
  }],
  ['host/README.md', '## Keep the data in PostgreSQL', async (list) => {
    const postgres = await startPostgres();
    const [ending, serve] = lastOf(list);
    const env = { PGHOST: postgres.dir, PGPORT: String(postgres.port), PGUSER: 'parlance', PGDATABASE: 'postgres' };
    // The cluster has the user and the database that its tests use. The prompt reads a terminal where there is one.
    const own = (command) => command.replaceAll('parlance', 'other').replace(/chat\b/, 'chat2');
    const shell = new Shell(temporaryDirectory(), { env: { ...ANY_PORT, ...env } });
    shell.run(ending.map(own).map((command) => command.startsWith('createuser') ? `printf 'swordfish\\nswordfish\\n' | setsid ${command}` : command));
    const here = serve.replace('parlance:PASSWORD@db.example.org/chat', `other:swordfish@127.0.0.1:${postgres.port}/chat2`);
    assert.notEqual(here, serve);
    await shell.follow(here.replace('JWT_SECRET=…', `JWT_SECRET='${SECRET}'`)).waitForOutput(/listening on http:/, START_MS);
    assert.match(postgres.query('SELECT tableowner FROM pg_tables WHERE tablename = $$messages$$', 'chat2'), /^other$/);
  }],
  ['host/README.md', '## Host many tenants', async (list) => {
    const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
    const shell = new Shell(temporaryDirectory(), { env: { PARLANCE_SERVER: server.adminUrl }, programs: { openssl: `echo '${ADMIN_TOKEN}'` } });
    assert.match(shell.run(list), /mallory/);
    assert.equal((await admin(server).requestOk('GET', '/tenants')).filter(({ name }) => name === 'acme').length, 1);
  }],
  ['host/README.md', '## Change handlers while the server runs', async (list) => {
    const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
    const api = admin(server);
    await api.requestOk('POST', '/tenants', { body: { name: 'acme', configuration: configurationOf('acme') } });
    const dir = temporaryDirectory();
    // Any message handler is suitable.
    mkdirSync(join(dir, 'target/components'), { recursive: true });
    copyFileSync(guest('stamped'), join(dir, 'target/components/moderation.wasm'));
    const shell = new Shell(dir, { env: { PARLANCE_SERVER: server.adminUrl, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
    const [ending, follow] = lastOf(list);
    shell.run(ending);
    assert.deepEqual(await api.requestOk('GET', '/tenants/acme/handlers'), []);
    await api.deploy('acme', 'hostile', guest('hostile'));
    const logs = shell.follow(follow);
    await logs.waitForOutput(/following the node/);
    const ann = await connect(server, 'ann', at('acme', 'ann'));
    await ann.ask('nothing-then-trap', {});
    await logs.waitForOutput(/^\S+ trap +acme\/hostile@1/m);
  }],
  ['host/README.md', '## Reach clients from a back end', async (list) => {
    const redis = await startRedis();
    const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN, REDIS_URL: redis.url } });
    const body = { name: 'acme', configuration: configurationOf('acme') };
    await admin(server).requestOk('POST', '/tenants', { body });
    const [alice, bob, mallory] = await Promise.all(['alice', 'bob', 'mallory'].map((user) => connect(server, user, at('acme', user))));
    for (const member of [alice, bob]) await member.join('general');
    const here = list.map((command) => command.replace('http://localhost:3001', server.adminUrl));
    assert.notDeepEqual(here, list, 'the commands reach the server of `make run`');
    // Each answer on a line of its own, and an error of the server's is one of the command.
    const curl = `PATH=\${PATH#*:} exec curl --silent --show-error --fail-with-body --write-out '\\n' "$@"`;
    const answers = new Shell(temporaryDirectory(), { env: { TOKEN: ADMIN_TOKEN }, programs: { curl } }).run(here);
    assert.match(answers, /"alice"/);
    await alice.next('price', (value) => value === 42);
    await eventually(() => !mallory.socket.connected, 'mallory to be disconnected');
    assert.ok(bob.socket.connected);
  }],
];

const found = shellBlocks();
const runnable = ({ code }) => commands(code).filter((command) => !(command in NOT_RUN));
const isOf = ([page, heading]) => (block) => block.page === page && block.heading === heading;

for (const [page, heading, run] of RUNS) {
  test(`the commands of ${page}, ${heading}`, async () => {
    const [block, ...more] = found.filter(isOf([page, heading])).filter((each) => runnable(each).length > 0);
    assert.ok(block, 'the page has commands there');
    assert.deepEqual(more, [], 'one block below a heading');
    await run(runnable(block));
  });
}

test('each command of the pages is run here or has a reason, and each reason a command', () => {
  assert.ok(found.length > 10, `only ${found.length} blocks of shell in all pages`);
  const left = found.filter((block) => !RUNS.some((run) => isOf(run)(block)));
  assert.deepEqual(left.flatMap((block) => runnable(block).map((command) => `${block.page}: ${command}`)), []);
  const all = new Set(found.flatMap(({ code }) => commands(code)));
  assert.deepEqual(Object.keys(NOT_RUN).filter((command) => !all.has(command)), []);
});
