// An author's way: from nothing to a handler in service, in a directory outside the repository.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { ADMIN_TOKEN } from './admin.mjs';
import { assertFailed } from './assert.mjs';
import { connect, freshRoom } from './client.mjs';
import { owned } from './scope.mjs';
import { BINARY, Process, run, SECRET, startServer, temporaryDirectory } from './server.mjs';
import { eventually } from './wait.mjs';

/** Timeout of a build, which may compile a standard library, or an interpreter on the server. */
export const BUILD_MS = 600_000;
/** The Python packages of the tests, `componentize-py` among them. */
const VENV = resolve(import.meta.dirname, '../../.venv/bin');

/** The search path with what the tests install for builders. */
export const builderPath = () => [VENV, process.env.PATH].join(delimiter);

/** The environment of builders. Cargo's directory is that of the tests' guests, with the standard library compiled for them. */
const builderEnv = (path = builderPath()) => ({ PATH: path, CARGO_TARGET_DIR: join(dirname(BINARY), '../guests') });

/** A search path with the programs of coreutils that a shell needs, and `setpriv`, with which tests start servers. */
export function barePath() {
  const dir = join(temporaryDirectory(), 'bin');
  mkdirSync(dir);
  for (const name of ['cat', 'cp', 'ls', 'mkdir', 'mv', 'rm', 'setpriv']) {
    const program = process.env.PATH.split(delimiter).map((each) => join(each, name)).find(existsSync);
    symlinkSync(program, join(dir, name));
  }
  return dir;
}

/** Makes a project, and returns its directory. */
export async function newProject(language, { name = 'greeter', path = builderPath() } = {}) {
  const cwd = temporaryDirectory();
  const { code, output } = await run(['new', name, '--lang', language], { cwd, env: { PATH: path } });
  assert.equal(code, 0, output);
  return join(cwd, name);
}

/** A server in development mode that builds the project in its current directory. */
export class DevServer {
  constructor(dir, { path = builderPath(), args = [] } = {}) {
    this.dir = dir;
    this.process = owned(new Process(['dev', '--port', '0', ...args], { cwd: dir, env: { ...builderEnv(path), JWT_SECRET: SECRET } }));
  }

  async listens() {
    const [, port] = await this.process.waitForOutput(/listening on http:\/\/[^\s"]*?:(\d+)/, BUILD_MS);
    this.url = `http://127.0.0.1:${port}`;
    return this;
  }

  get log() {
    return this.process.output;
  }

  waitForOutput(pattern) {
    return this.process.waitForOutput(pattern, BUILD_MS);
  }

  /** What the page shows of the handler: why it does not build, or null. */
  async problem() {
    return (await (await fetch(`${this.url}/dev/problem`)).json()).problem;
  }
}

/** Changes a file of a project. */
export function edit(file, from, to) {
  const before = readFileSync(file, 'utf8');
  const after = before.replace(from, to);
  assert.notEqual(after, before, `${file} has ${from}`);
  writeFileSync(file, after);
}

/**
 * Asks for the event `keys`, in which a handler sets a key twice if it is absent, swaps it, adds a member of a set twice,
 * and updates a member of a map.
 */
export async function assertKeys(client) {
  const expected = { set: [true, false, true], added: [true, false], guests: ['alice', 'bob'], points: [['bob', 3]] };
  assert.deepEqual(await client.ask('keys'), { ...expected, scanned: ['guests/tea:alice', 'guests/tea:bob'] });
}

/**
 * From `parlance new` to a version in service, with a broken source on the way.
 * @param {{language: string, main: string, breaking: [string, string], says: RegExp, changed?: Function, served?: Function,
 *   deploys?: Function}} options
 *   `main`: the source; `breaking`: a replacement that breaks it; `says`: what is to be shown of that. What else a test
 *   does: `changed(dir)` before the first build, `served(client, server)` in development and after the first deployment,
 *   `deploys(dir)` before it.
 */
export async function authorLoop({ language, main, breaking, says, changed = () => {}, served = () => {}, deploys = () => {} }) {
  const dir = await newProject(language);
  const source = join(dir, main);
  changed(dir);
  const dev = await new DevServer(dir).listens();
  const [ann, bob, room] = [await connect(dev, 'ann'), await connect(dev, 'bob'), freshRoom()];
  for (const client of [ann, bob]) await client.join(room);
  await ann.post(room, 'first');
  await bob.next('new-message', ({ content }) => content === 'first');
  const refused = async (message) => {
    const answer = await ann.ask('send-message', { roomId: room, content: 'oh darn' });
    assertFailed(answer, 'denied');
    assert.equal(answer.error.message, message);
  };
  await refused('please mind your language');
  assert.deepEqual(await ann.ask('hello'), { greeting: "Hello, ann's name!" });
  assertFailed(await ann.ask('goodbye'), 'not-found');
  await served(ann, dev);
  assert.equal(await dev.problem(), null);

  // A mistake is shown, and the version before goes on serving.
  const good = readFileSync(source, 'utf8');
  edit(source, ...breaking);
  await dev.waitForOutput(/the version before stays in service/);
  assert.match(dev.log, says);
  await eventually(async () => says.test((await dev.problem()) ?? ''), 'the mistake on the page');
  await refused('please mind your language');

  // Once it is mended it takes over, under the same connections.
  writeFileSync(source, good.replace('please mind your language', 'be kind'));
  await dev.waitForOutput(/the new version is in service/);
  await refused('be kind');
  await eventually(async () => (await dev.problem()) === null, 'no mistake on the page');
  await ann.post(room, 'last');
  await bob.next('new-message', ({ content, seq }) => content === 'last' && seq === 2);
  for (const client of [ann, bob]) assert.deepEqual([client.connects, client.disconnects], [1, []]);
  const [timing] = dev.log.match(/the new version is in service.*/);
  await dev.process.close();
  // What development has compiled is the server's too: the code of a component is compiled once.
  const cache = join(dir, '.parlance/cache');
  const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN, PARLANCE_SANDBOX_CACHE: cache } });
  const operator = { PARLANCE_SERVER: server.adminUrl, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN };

  // Its scenarios hold, once they expect the new words.
  const command = async (...args) => {
    const ran = owned(new Process(args, { cwd: dir, env: { ...builderEnv(), ...operator } }));
    const { code } = await ran.end(BUILD_MS);
    assert.equal(code, 0, ran.output);
    return ran.stdout;
  };
  edit(join(dir, 'scenarios/handler.yaml'), 'please mind your language', 'be kind');
  assert.match(await command('test'), /4 cases: 4 passed, 0 failed/);

  // To a server, then the first version to half of the rooms, and to all.
  deploys(dir);
  const deploy = (...args) => command('deploy', dir, '--setting', 'words=darn', ...args);
  assert.match(await deploy(), /greeter\s+1\s+active/);
  const carol = await connect(server, 'carol');
  await carol.join(room);
  await carol.post(room, 'deployed');
  assert.deepEqual(await carol.ask('hello'), { greeting: "Hello, carol's name!" });
  await served(carol, server);
  writeFileSync(source, good);
  assert.match(await deploy('--canary', '50%'), /2\s+canary 50%/);
  assert.match(await command('promote', 'greeter'), /greeter\s+2\s+active/);
  const answer = await carol.ask('send-message', { roomId: room, content: 'oh darn' });
  assertFailed(answer, 'denied');
  assert.equal(answer.error.message, 'please mind your language');
  return timing;
}

/** Asserts that the handler sets a timer at the event `remind`, and emits `reminder` when it is due. */
export async function assertTimer(client) {
  const before = Date.now();
  assert.deepEqual(await client.ask('remind'), { ok: true });
  const { name, payload, due, now } = await client.next('reminder');
  assert.deepEqual([name, payload], ['soon', { user: client.user, words: ['a', 1] }]);
  assert.ok(due >= before + 300 && now >= due, `${before} ${due} ${now}`);
}

/** Makes the new project's handler in JavaScript or TypeScript do what `assertTimer` expects. */
export function addTimerInJs(source) {
  edit(source, 'settings } from', 'settings, timers, Audience, emit } from');
  edit(source, "  if (name !== 'hello')", `  if (name === 'remind') {
    timers.set('soon', Date.now() + 300, { user: _context.user, words: ['a', 1] });
    return undefined;
  }
  if (name !== 'hello')`);
  edit(source, 'export const onEvent', `export const onTimer = (name, payload, due) => {
  emit(Audience.user(payload.user), 'reminder', { name, payload, due, now: Date.now() });
};

export const onEvent`);
}
