// A Redis server for the test, without persistence: after a restart it is empty.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { owned } from './scope.mjs';
import { freePort } from './port.mjs';
import { eventually, within } from './wait.mjs';

class Redis {
  #child = null;
  #ended = null;

  constructor(port) {
    this.port = port;
    this.dir = mkdtempSync(join(tmpdir(), 'parlance-redis-'));
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Runs a command and returns its output. */
  command(...words) {
    return execFileSync('redis-cli', ['-p', String(this.port), ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  }

  async start() {
    const args = ['--port', this.port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', this.dir];
    this.#child = spawn('redis-server', args.map(String), { stdio: 'ignore' });
    this.#ended = new Promise((done) => this.#child.on('close', done).on('error', done));
    await eventually(() => {
      try {
        return this.command('PING') === 'PONG';
      } catch {
        return false;
      }
    }, 'redis-server to answer; is it installed? `make setup` does that');
    return this;
  }

  /** Stops it at once. Its data is lost. */
  async stop() {
    this.#child?.kill('SIGKILL');
    await within(this.#ended, () => 'the end of redis-server');
    this.#child = null;
  }

  async close() {
    if (this.#child) await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Starts a server on a free port. */
export async function startRedis() {
  return owned(new Redis(await freePort())).start();
}
