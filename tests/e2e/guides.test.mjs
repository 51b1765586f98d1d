// Runs the examples and the commands of the README and the guides as they are written there. Each block of shell has a
// test here; a command that none can run has its reason here.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse } from 'smol-toml';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { connect } from './lib/client.mjs';
import { ROOT, Shell, commands, shellBlocks, shown } from './lib/guides.mjs';
import { startPostgres } from './lib/postgres.mjs';
import { startRedis } from './lib/redis.mjs';
import { NO_REGISTRY, startRegistry } from './lib/registry.mjs';
import { owned, test } from './lib/scope.mjs';
import { BINARY, SECRET, guest, startServer, temporaryDirectory } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

/** Timeout of a start, which may compile the handlers. */
const START_MS = 600_000;
/** Each answer on a line of its own, and an error of the server's is one of the command. */
const CURL = `PATH=\${PATH#*:} exec curl --silent --show-error --fail-with-body --write-out '\\n' "$@"`;
/** For servers that the commands start: any free port. */
const ANY_PORT = { PORT: '0', PARLANCE_ADMIN_ADDRESS: '127.0.0.1:0' };

/** A scenario of the handler that the page of scenarios has in mind. */
const POLLS = `handlers:
  polls: {component: ../polls.wasm}
cases:
  - name: a vote
    events:
      - event: {open: [lunch]}
      - event: {vote: [lunch, red]}
        expect: {ok: true}
`;

/** Commands that these tests do not run, each with the reason. */
const NOT_RUN = {
  'make run': 'builds the release; then it is `parlance dev`, which these tests run',
  'make setup': 'changes the machine; setup.test.mjs runs its scripts on a pretended one',
  'make test': 'runs these tests, and .ci/run runs it',
  'parlance requests --tenant acme': 'operator-requests.test.mjs runs it',
  'parlance requests retry assistant ID --tenant acme': 'operator-requests.test.mjs runs it, with the id of a request',
  'parlance requests delete assistant ID --tenant acme': 'operator-requests.test.mjs runs it, with the id of a request',
  'make lint': '.ci/run runs it',
  'make docs': '`make lint` runs it',
  'make conformance': 'clones the repositories of others',
  'make fuzz': 'takes minutes; `make test` runs its script for a moment',
  'make bench': 'takes minutes on a machine that does nothing else',
  'cargo fuzz run --fuzz-dir tests/fuzz --features libfuzzer --sanitizer none packet':
    'cargo-fuzz needs a nightly compiler; `make test` runs the same target without it',
  'parlance-build --workspace . --root .': 'compiles for minutes; author-rust.test.mjs builds a project so, by `parlance dev`',
  'make wit-package': 'waits for the lock of cargo; its command runs before the block',
  'WKG_CONFIG_FILE=registries.toml wkg get parlance:chat@0.1.0': 'wkg is not among the tools that `make setup` installs',
  'examples/fleet/run.sh': 'fleet-example.test.mjs runs it, with ports that are free',
};

/** Blocks that these tests do not run: the page, its heading (null: all of the page), and the reason. */
const BLOCKS_NOT_RUN = [
  ...['ask-bot', 'assistant', 'commands', 'polls', 'private-rooms', 'reactions', 'reminders', 'slow-mode', 'team', 'typing-timer'].map((name) => (
    [`examples/${name}/README.md`, null, 'builds in the sources; examples.test.mjs builds, tests and serves copies']
  )),
  ['guest-handlers/README.md', '## From nothing to production', 'compiles for minutes; author-rust.test.mjs goes this way'],
  ['host/templates/rust/README.md', null, 'compiles for minutes; author-rust.test.mjs does, and the run of the TypeScript page has the same commands'],
  ['host/templates/python/README.md', null, 'compiles for minutes; author-python.test.mjs does, and the run of the TypeScript page has the same commands'],
];

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

/** Puts a test's component where the pages have their handler. */
function component(dir, name) {
  const path = join(dir, 'target/components/moderation.wasm');
  mkdirSync(dirname(path), { recursive: true });
  copyFileSync(guest(name), path);
}

/** A server with the tenant acme: the server, its API, and the environment of its operator. */
async function acme(more = {}) {
  const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN, ...more } });
  const api = admin(server);
  await api.requestOk('POST', '/tenants', { body: { name: 'acme', configuration: configurationOf('acme') } });
  return { server, api, env: { PARLANCE_SERVER: server.adminUrl, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } };
}

/**
 * An author's way: commands make a project and serve it until its handler is in service; then the others run in the
 * project, with an operator's server. Returns how the handler is deployed.
 */
async function author(list) {
  const dir = temporaryDirectory();
  const first = list.indexOf('parlance dev') + 1;
  const [, name] = list.slice(0, first).join('\n').match(/^parlance new (\S+) .*\ncd \1\n/);
  const dev = new Shell(dir, { env: ANY_PORT }).follow(list.slice(0, first).join('\n'));
  await dev.waitForOutput(/listening on http:/, START_MS);
  await dev.close();
  const { server, api, env } = await acme();
  const here = list.slice(first).map((command) => command.replace('http://localhost:3001', server.adminUrl).replace('=… ', `='${ADMIN_TOKEN}' `));
  new Shell(join(dir, name), { env }).run(here);
  return api.handler('default', name);
}

/** The page of a template: its commands run in a new project. */
const template = (language) => [`host/templates/${language}/README.md`, null, async (list) => {
  const { active, versions } = await author([`parlance new my-handler --lang ${language}`, 'cd my-handler', ...list]);
  assert.deepEqual([active, versions.length], [2, 2]);
}];

/** A server with a tenant's handler, a shell of its operator with the component, and what causes an event. */
async function recordable() {
  const { server, api, env } = await acme();
  await api.deploy('acme', 'moderation', guest('hostile'));
  const dir = temporaryDirectory();
  component(dir, 'hostile');
  const ann = await connect(server, 'ann', at('acme', 'ann'));
  const shell = new Shell(dir, { env });
  const act = (name) => ann.ask(name, {});
  /** Runs a command that records five of these events. */
  const record = async (command, name) => {
    const recording = shell.follow(command);
    await recording.waitForOutput(/recording on the node/);
    for (let n = 0; n < 5; n += 1) await act(name);
    await recording.waitForOutput(/^ended: 5 of 5 events/m);
  };
  return { dir, shell, act, record };
}

/** What runs each block of shell: the page, its heading (null: all of the page), how, and why it is skipped, if it is. */
const RUNS = [
  ['README.md', '## Write a handler', async (list) => {
    const { versions } = await author(list);
    assert.deepEqual(versions.map(({ version }) => version), [1]);
  }],
  ...['ts', 'js'].map(template),
  ['guest-handlers/README.md', '## Build', (list) => {
    const component = join(SOURCES, 'target/components/moderation.wasm');
    rmSync(component, { force: true });
    new Shell(SOURCES).run(list);
    assert.ok(existsSync(component));
  }],
  ['guest-handlers/README.md', '## Test', async (list) => {
    new Shell(SOURCES).run(commands(shown('guest-handlers/README.md', '## Build', 'sh')));
    const dir = join(SOURCES, 'examples/moderation');
    copyFileSync(guest('planted'), join(dir, 'polls.wasm'));
    writeFileSync(join(dir, 'scenarios/polls.yaml'), POLLS);
    const read = (path) => readFileSync(join(dir, path), 'utf8');
    const before = read('scenarios/moderation.yaml');
    const goesOn = (command) => command.endsWith(' --watch');
    // A second of the fuzzer's minute.
    const briefly = (command) => command.startsWith('parlance fuzz') ? `${command.replace(' --seconds 60', '')} --seconds 1` : command;
    const shell = new Shell(dir);
    shell.run(list.filter((command) => !goesOn(command)).map(briefly));
    assert.equal(read('scenarios/moderation.yaml'), before, 'nothing is to be updated');
    assert.match(read('report.xml'), /<testcase/);
    assert.ok(JSON.parse(read('scenario.schema.json')).properties.cases);
    await shell.follow(list.find(goesOn)).waitForOutput(/0 failed[\s\S]*waiting for changes/);
  }],
  ['guest-handlers/README.md', '## Run what happened', async (list) => {
    const { dir, shell, record } = await recordable();
    await record('parlance record --tenant acme --limit 5 -o traps.ndjson', 'nothing-then-ok');
    copyFileSync(join(dir, 'traps.ndjson'), join(dir, 'events.ndjson'));
    assert.match(shell.run(list), /5 the same to the byte[\s\S]*5 events: 5 the same/);
  }],
  ['guest-handlers/js/README.md', '# Handlers in JavaScript and TypeScript', (list) => {
    const dir = temporaryDirectory();
    writeFileSync(join(dir, 'chat.ts'), shown('guest-handlers/js/README.md', '# Handlers in JavaScript and TypeScript', 'ts'));
    assert.match(new Shell(dir).run(list), /^handles +message$/m);
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
    const { server, api, env } = await acme();
    const dir = temporaryDirectory();
    // Any message handler is suitable.
    component(dir, 'stamped');
    copyFileSync(guest('hostile'), join(dir, 'target/components/polls.wasm'));
    const shell = new Shell(dir, { env });
    const [ending, follow] = lastOf(list);
    shell.run(ending);
    const left = await api.requestOk('GET', '/tenants/acme/handlers');
    assert.deepEqual(left.map(({ name, versions }) => [name, versions[0].eventPatterns]), [['polls', ['poll-*', 'vote']]]);
    await api.deploy('acme', 'hostile', guest('hostile'));
    const logs = shell.follow(follow);
    await logs.waitForOutput(/following the node/);
    const ann = await connect(server, 'ann', at('acme', 'ann'));
    await ann.ask('nothing-then-trap', {});
    await logs.waitForOutput(/^\S+ trap +acme\/hostile@1/m);
  }],
  ['host/README.md', '### Handlers from a registry', async (list) => {
    const [registry, { api, env }] = await Promise.all([startRegistry(), acme()]);
    const dir = temporaryDirectory();
    component(dir, 'stamped');
    const shell = new Shell(dir, { env: { ...env, DOCKER_CONFIG: dir } });
    shell.run([`cargo run -p parlance-build -- --wit '${join(ROOT, 'wit')}' --out target/wit`]);
    const here = list.map((command) => command.replace('oci://registry.example.org', `oci://${registry.host}`));
    shell.run(here);
    assert.deepEqual(readFileSync(join(dir, 'moderation.wasm')), readFileSync(guest('stamped')));
    assert.ok(await api.handler('acme', 'moderation'));
    assert.ok(parse(readFileSync(join(dir, 'registries.toml'), 'utf8')).namespace_registries.parlance);
    assert.equal((await registry.manifest('acme/parlance/chat', '0.1.0')).status, 200);
  }, NO_REGISTRY],
  ['host/README.md', '## Record events, and try a version on them', async (list) => {
    const { dir, shell, act, record } = await recordable();
    copyFileSync(guest('hostile'), join(dir, 'moderation.wasm'));
    const [traps, detached, ...others] = list;
    await record(traps, 'nothing-then-trap');
    shell.run([detached]);
    await act('nothing-then-ok');
    assert.match(shell.run(others), /5 the same to the byte[\s\S]*1 events?: 1 the same/);
  }],
  ['host/README.md', '## Reach clients from a back end', async (list) => {
    const redis = await startRedis();
    const { server } = await acme({ REDIS_URL: redis.url });
    const [alice, bob, mallory] = await Promise.all(['alice', 'bob', 'mallory'].map((user) => connect(server, user, at('acme', user))));
    for (const member of [alice, bob]) await member.join('general');
    const here = list.map((command) => command.replace('http://localhost:3001', server.adminUrl));
    assert.notDeepEqual(here, list, 'the commands reach the server of `make run`');
    const answers = new Shell(temporaryDirectory(), { env: { TOKEN: ADMIN_TOKEN }, programs: { curl: CURL } }).run(here);
    assert.match(answers, /"alice"/);
    await alice.next('price', (value) => value === 42);
    await eventually(() => !mallory.socket.connected, 'mallory to be disconnected');
    assert.ok(bob.socket.connected);
  }],
  ...['Post', 'Change', 'Read', 'Members'].map((heading) => ['host/data-api.md', `## ${heading}`, async (list) => {
    const { server, api } = await acme();
    const alice = await connect(server, 'alice', at('acme', 'alice'));
    await alice.join('general');
    const body = { bot: 'deploys', content: 'v7' };
    const { id } = await api.requestOk('POST', '/tenants/acme/rooms/general/messages', { body });
    const here = list.map((command) => command.replace('http://localhost:3001', server.adminUrl));
    const answers = new Shell(temporaryDirectory(), { env: { TOKEN: ADMIN_TOKEN, ID: id }, programs: { curl: CURL } }).run(here);
    if (heading === 'Post') {
      await alice.next('new-message', ({ userId, content }) => userId === 'bot:deploys' && content === 'v7 is live');
      await alice.next('new-message', ({ userId, username }) => userId === 'alice' && username === 'Alice');
    } else if (heading === 'Change') {
      await alice.next('message-edited', ({ messageId }) => messageId === id);
      await alice.next('message-deleted', ({ messageId }) => messageId === id);
    } else if (heading === 'Members') {
      assert.match(answers, /"members":\[\{"userId":"alice","role":"moderator",/);
      await alice.next('member-added', ({ userId, role }) => userId === 'alice' && role === 'moderator');
      await alice.next('member-removed', ({ userId }) => userId === 'alice');
    } else {
      assert.match(answers, /"roomId":"general","lastSeq":1,"rev":0/);
      assert.match(answers, /"complete":true/);
    }
  }]),
  ['host/data-of-people.md', '## Erase a user', async (list) => {
    const { server, api, env } = await acme();
    const [alice, bob] = await Promise.all(['alice', 'bob'].map((user) => connect(server, user, at('acme', user))));
    for (const member of [alice, bob]) await member.join('general');
    const { id } = await alice.post('general', 'a secret');
    const here = list.map((command) => command.replace('http://localhost:3001', server.adminUrl));
    new Shell(temporaryDirectory(), { env: { ...env, TOKEN: ADMIN_TOKEN }, programs: { curl: CURL } }).run(here);
    await bob.next('message-deleted', ({ messageId }) => messageId === id);
    assert.equal((await api.request('GET', `/tenants/acme/messages/${id}`)).json.content, '');
  }],
  ['host/data-of-people.md', '## Export', async (list) => {
    const { server, api, env } = await acme();
    await api.requestOk('POST', '/tenants', { body: { name: 'globex', configuration: configurationOf('globex') } });
    const alice = await connect(server, 'alice', at('acme', 'alice'));
    await alice.join('general');
    const { id } = await alice.post('general', 'hello');
    const shell = new Shell(temporaryDirectory(), { env });
    const [exports, doImport] = lastOf(list);
    shell.run(exports);
    // Another tenant, which is empty.
    shell.run([doImport.replace('--tenant acme', '--tenant globex')]);
    assert.equal((await api.requestOk('GET', `/tenants/globex/messages/${id}`)).content, 'hello');
  }],
];

const found = shellBlocks();
const runnable = ({ code }) => commands(code).filter((command) => !(command in NOT_RUN));
const isOf = ([page, heading]) => (block) => block.page === page && (heading ?? block.heading) === block.heading;

for (const [page, heading, run, skip = false] of RUNS) {
  test(`the commands of ${page}${heading ? `, ${heading}` : ''}`, { skip }, async () => {
    const list = found.filter(isOf([page, heading])).flatMap(runnable);
    assert.ok(list.length > 0, 'the page has commands there');
    await run(list);
  });
}

test('each command of the pages is run here or has a reason, and each reason a command', () => {
  assert.ok(found.length > 10, `only ${found.length} blocks of shell in all pages`);
  const known = [...RUNS, ...BLOCKS_NOT_RUN];
  const left = found.filter((block) => !known.some((each) => isOf(each)(block)));
  assert.deepEqual(left.flatMap((block) => runnable(block).map((command) => `${block.page}: ${command}`)), []);
  const all = new Set(found.flatMap(({ code }) => commands(code)));
  assert.deepEqual(Object.keys(NOT_RUN).filter((command) => !all.has(command)), []);
  assert.deepEqual(BLOCKS_NOT_RUN.filter((each) => !found.some(isOf(each))), []);
});
