// Tries `examples/fleet` as a user would: starts it, chats through the balancer, shuts down a node, and stops
// everything.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { assertGapless } from './lib/assert.mjs';
import { Client, freshRoom } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { BINARY, cleanEnvironment } from './lib/server.mjs';
import { Conditions, eventually, within } from './lib/wait.mjs';

const SCRIPT = resolve(import.meta.dirname, '../../examples/fleet/run.sh');
const NODES = 2;
/** Timeout for three nodes and a database on a busy machine. */
const START_MS = 180_000;

/** A port such that it and the next thirty are free; `lib/port.mjs` says why there. */
async function freePorts() {
  const listen = (port) => new Promise((done, failed) => {
    const server = createServer().on('error', failed).listen(port, '127.0.0.1', () => done(server));
  });
  for (;;) {
    const port = randomInt(15_000, 31_900);
    const servers = [];
    try {
      for (let next = 0; next <= 30; next += 1) servers.push(await listen(port + next));
      return port;
    } catch (error) {
      if (error.code !== 'EADDRINUSE') throw error;
    } finally {
      for (const server of servers) await new Promise((done) => server.close(done));
    }
  }
}

class Example {
  #conditions = new Conditions();
  output = '';
  ended = null;

  async start() {
    this.dir = mkdtempSync(join(tmpdir(), 'parlance-fleet-'));
    chmodSync(this.dir, 0o755);
    this.port = await freePorts();
    this.url = `http://127.0.0.1:${this.port}`;
    const args = ['--nodes', String(NODES), '--port', String(this.port), '--data', this.dir];
    this.child = spawn(SCRIPT, args, { env: { ...cleanEnvironment(), PARLANCE_BIN: BINARY }, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.output += text;
        this.#conditions.changed();
      });
    }
    this.end = new Promise((done) => this.child.on('close', (code) => {
      this.ended = { code };
      this.#conditions.changed();
      done(code);
    }));
    await this.waitForOutput(/Ctrl-C ends it/, START_MS);
    return this;
  }

  waitForOutput(pattern, ms) {
    return this.#conditions.until(() => {
      if (pattern.test(this.output)) return true;
      if (this.ended) throw new Error(`it ended with ${this.ended.code}:\n${this.output}`);
      return false;
    }, () => `${pattern} in its output:\n${this.output}`, ms);
  }

  pid(name) {
    return Number(readFileSync(join(this.dir, `${name}.pid`), 'utf8'));
  }

  async token(user) {
    const response = await fetch(`${this.url}/dev/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user }),
    });
    return (await response.json()).token;
  }

  async client(user, options) {
    return owned(new Client(this.url, user, { auth: { token: await this.token(user) }, ...options })).connected();
  }

  async close() {
    this.child.kill('SIGTERM');
    await within(this.end, 'the end of the example', 60_000);
    rmSync(this.dir, { recursive: true, force: true });
  }

  diagnosis() {
    return this.output;
  }
}

const lives = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test('the example of a fleet: a chat through the balancer, a node that leaves, an end in order', async () => {
  const example = await owned(new Example()).start();
  assert.match(await (await fetch(`${example.url}/`)).text(), /<html/i, 'the page');
  for (const path of ['/metrics', '/admin/v1/tenants', '/%61dmin/v1/tenants', '//metrics', '/Metrics']) {
    assert.equal((await fetch(`${example.url}${path}`)).status, 404, path);
  }
  assert.equal((await fetch(`http://127.0.0.1:${example.port + 21}/metrics`)).status, 200, 'for operators');

  // Polling needs the balancer's cookie to reach its node again.
  const ann = await example.client('ann', { transports: ['polling'], withCredentials: true });
  const bob = await example.client('bob', { transports: ['websocket'] });
  const room = freshRoom();
  for (const client of [ann, bob]) await client.join(room);
  for (let n = 0; n < 10; n += 1) await [ann, bob][n % 2].post(room, `before ${n}`);
  for (const client of [ann, bob]) await client.until(() => client.messages(room).length === 10, 'ten messages');

  // A node that is shut down sends its clients to the other one, and is restarted.
  const before = { ann: ann.connects, bob: bob.connects };
  for (let n = 1; n <= NODES; n += 1) {
    const pid = example.pid(`node-${n}`);
    process.kill(pid, 'SIGTERM');
    await eventually(() => !lives(pid), `the end of node ${n}`, 30_000);
    const ready = async () => (await fetch(`http://127.0.0.1:${example.port + n}/readyz`)).ok;
    await eventually(() => ready().catch(() => false), `node ${n} again`, 60_000);
  }
  await eventually(() => ann.connects > before.ann && bob.connects > before.bob && ann.socket.connected && bob.socket.connected,
    'both to have moved', 30_000);
  for (const client of [ann, bob]) await client.join(room);
  for (let n = 0; n < 10; n += 1) await [ann, bob][n % 2].post(room, `after ${n}`);
  assertGapless(await ann.history(room), 20);
  await bob.until(() => bob.messages(room).length === 20, 'the other ten');

  const pids = ['redis', 'postgres', 'haproxy', 'node-1', 'node-2'].map((name) => example.pid(name));
  example.child.kill('SIGTERM');
  assert.equal(await within(example.end, 'the end of the script', 60_000), 143);
  assert.deepEqual(pids.filter(lives), [], 'nothing is left of it');
});

test('the example reports what prevents it from starting', async () => {
  const server = createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address();
  owned({ close: () => server.close() });
  const run = async (...args) => {
    const child = spawn(SCRIPT, args, { env: { ...cleanEnvironment(), PARLANCE_BIN: BINARY }, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
    const code = await within(new Promise((done) => child.on('close', done)), 'its end', 60_000);
    return { code, output };
  };
  assert.deepEqual(await run('--nodes', '0'), { code: 1, output: 'setup: --nodes is a number from 1 to 9\n' });
  const taken = await run('--port', String(Math.min(port, 65_500)));
  assert.equal(taken.code, 1);
  assert.match(taken.output, new RegExp(`port ${port} is in use; choose others with --port`));
});
