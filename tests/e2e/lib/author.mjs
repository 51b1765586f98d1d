// An author's way: from nothing to a handler in service, in a directory outside the repository.
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { stringify } from 'smol-toml';
import { ADMIN_TOKEN } from './admin.mjs';
import { assertFailed } from './assert.mjs';
import { connect, freshRoom } from './client.mjs';
import { listen } from './http.mjs';
import { owned } from './scope.mjs';
import { BINARY, Process, run, SECRET, startServer, temporaryDirectory } from './server.mjs';
import { eventually } from './wait.mjs';

/** Timeout of a build, which may compile a standard library, or an interpreter on the server. */
export const BUILD_MS = 800_000;
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
 * @param {{language: string, main: string, breaking: [string, string], says: RegExp, grants?: string[], changed?: Function,
 *   served?: Function, deploys?: Function}} options
 *   `main`: the source; `breaking`: a replacement that breaks it; `says`: what is to be shown of that; `grants`: the
 *   servers to which the handler may send requests. What else a test does: `changed(dir)` before the first build, `served(client, server)` in development and after the first deployment,
 *   `deploys(dir)` before it.
 */
export async function authorLoop({ language, main, breaking, says, grants = [], changed = () => {}, served = () => {}, deploys = () => {} }) {
  const dir = await newProject(language);
  const source = join(dir, main);
  changed(dir);
  const config = { grants: { http: grants } };
  appendFileSync(join(dir, 'parlance.toml'), `\n${stringify(config)}`);
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
  const server = await startServer({ config, env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN, PARLANCE_SANDBOX_CACHE: cache } });
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

/** A web service, to which handlers send the requests of `assertRequests`. Returns its origin. */
export async function webService() {
  const authority = await listen((request, response) => {
    const { method, url, headers } = request;
    const answer = (status, type, body) => response.writeHead(status, { 'content-type': type }).end(body);
    if (url === '/lines') return answer(200, 'text/plain', 'eins\nzwölf\n');
    if (url === '/events') return answer(200, 'text/event-stream', 'id: 7\ndata: one\n\nevent: word\ndata: two\n\n');
    if (url === '/gone') return answer(404, 'text/plain', 'no such page');
    if (url === '/broken') return request.socket.destroy();
    let body = '';
    request.setEncoding('utf8').on('data', (text) => (body += text));
    const asked = () => ({ method, url, type: headers['content-type'], own: headers['x-own'], key: headers['idempotency-key'], body });
    return request.on('end', () => answer(201, 'application/json', JSON.stringify(asked())));
  });
  return `http://${authority}`;
}

/**
 * Asserts that the handler sends requests to the service at the event `consult`, and emits `response` to the room for each
 * part that comes back.
 */
export async function assertRequests(client, service) {
  const room = freshRoom('answers');
  await client.join(room);
  const { ids } = await client.askOk('consult', service, room);
  const expected = {
    ask: [{ status: 201, ok: true, type: 'application/json', bytes: true, json: {
      method: 'PUT', url: '/ask', type: 'application/json', own: 'yes', key: ids.ask, body: '{"question":"grüße"}',
    } }],
    text: [{ status: 201, ok: true, type: 'application/json', bytes: true, json: { method: 'POST', url: '/text', key: ids.text, body: 'hi' } }],
    gone: [{ status: 404, ok: false, type: 'text/plain', text: 'no such page' }],
    lines: [{ head: 200, type: 'text/plain' }, { line: 'eins' }, { line: 'zwölf' }, { end: true }],
    events: [
      { head: 200, type: 'text/event-stream' },
      { event: 'message', data: 'one', id: '7' },
      { event: 'word', data: 'two', id: '7' },
      { end: true },
    ],
    broken: [{ reason: 'unreachable', attempts: 1, message: true }],
  };
  const all = () => client.all('response').filter((part) => part.room === room);
  const count = Object.values(expected).flat().length;
  await client.until(() => all().length >= count, `${count} parts, ${JSON.stringify(ids)}`);
  for (const [name, parts] of Object.entries(expected)) {
    const got = all().filter((part) => part.name === name);
    assert.deepEqual(got, parts.map((part, number) => ({ room, name, number, id: ids[name], part })), name);
  }
  assert.equal(all().length, count);
}

/**
 * Asserts that the handler changes messages as clients ask, acknowledges that with the user, and says at the event
 * `revision` what has become of a message.
 */
export async function assertRevise(client) {
  const room = freshRoom('changed');
  await client.join(room);
  const { id: messageId } = await client.post(room, 'first');
  const changed = async (event, body) => {
    assert.deepEqual(await client.askOk(event, { messageId, ...body }), { ok: true, data: { by: client.user } });
  };
  assert.deepEqual(await client.ask('revision', messageId), { rev: 0, edited: false, marks: [] });
  await changed('edit-message', { content: 'grüße', metadata: { a: [1] } });
  await changed('mark-message', { kind: 'reaction', value: '👍' });
  await changed('mark-message', { kind: 'pin', value: '1' });
  await changed('mark-message', { kind: 'pin', value: '1', on: false });
  const marks = [['reaction', '👍', 1, [client.user]]];
  assert.deepEqual(await client.ask('revision', messageId), { rev: 4, edited: true, marks });
  const [{ content, metadata }] = await client.history(room);
  assert.deepEqual([content, metadata], ['grüße', { a: [1] }]);
  await changed('edit-message', { content: 'no metadata' });
  assert.equal((await client.history(room))[0].metadata, undefined);
  await client.ask('add', messageId, ' at all');
  const { fragments, done } = await client.next('message-appended');
  assert.deepEqual([fragments, done], [[' at all'], true]);
  assert.equal((await client.history(room))[0].content, 'no metadata at all');
  await changed('delete-message');
  assertFailed(await client.ask('revision', messageId), 'not-found');
}

/** Makes a handler that `addTimerInJs` has changed do what `assertRequests` expects. */
export function addRequestsInJs(source) {
  edit(source, 'timers, Audience, emit } from', 'requests, timers, Audience, emit } from');
  edit(source, '(_context, name)', '(_context, name, args)');
  edit(source, "  if (name !== 'hello')", `  if (name === 'consult') {
    const [service, room] = args;
    const ids = {
      ask: requests.send(service + '/ask', { method: 'put', json: { question: 'grüße' }, headers: { 'X-Own': 'yes' }, tag: room + '/ask' }),
      text: requests.send(new URL('/text', service), { body: 'hi', timeoutMs: 60_000, tag: room + '/text' }),
      gone: requests.send(service + '/gone', { parts: 'lines', tag: room + '/gone' }),
      lines: requests.send(service + '/lines', { parts: 'lines', tag: room + '/lines' }),
      events: requests.send(service + '/events', { parts: 'server-sent-events', tag: room + '/events' }),
      broken: requests.send(service + '/broken', { attempts: 1, tag: room + '/broken' }),
    };
    requests.cancel(requests.send(service + '/ask', { tag: room + '/cancelled' }));
    return { ok: true, ids };
  }
  if (name !== 'hello')`);
  edit(source, 'export const onEvent', `const shown = {
  whole: (part) => ({
    status: part.status,
    ok: part.ok,
    type: part.header('Content-Type'),
    ...(part.ok ? { json: part.json(), bytes: part.body instanceof Uint8Array } : { text: part.text() }),
  }),
  head: ({ status, headers }) => ({ head: status, type: headers.find(([name]) => name === 'content-type')[1] }),
  line: ({ line }) => ({ line }),
  event: ({ event, data, id }) => ({ event, data, id }),
  end: () => ({ end: true }),
  failed: ({ reason, message, attempts }) => ({ reason, message: message.length > 0, attempts }),
};

export const onResponse = ({ id, tag, number, part }) => {
  const [room, name] = tag.split('/');
  emit(Audience.room(room), 'response', { room, name, number, id, part: shown[part.kind](part) });
};

export const onEvent`);
}
