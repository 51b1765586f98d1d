// A PostgreSQL server for the test, from the installed programs, with its own directory, port and socket.
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './port.mjs';
import { owned } from './scope.mjs';
import { eventually, within } from './wait.mjs';

const USER = 'parlance';
const PASSWORD = 'swordfish';
const START_MS = 60_000;
/** Debian installs the programs of each version in a separate directory that is not on the search path. */
const DEBIAN = '/usr/lib/postgresql';

function programs() {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => b - a) : [];
  const places = [...versions.map((version) => join(DEBIAN, version, 'bin')), ...(process.env.PATH ?? '').split(':')];
  const found = places.find((place) => existsSync(join(place, 'initdb')));
  if (!found) throw new Error("PostgreSQL's programs are needed for this test; `make setup` installs them (the package postgresql)");
  return found;
}

/** The user that runs the server: PostgreSQL refuses to run as root, and its package has created a user for it. */
function account() {
  if (process.getuid() !== 0) return { ids: null, prefix: [] };
  const id = (flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { ids: [id('-u'), id('-g')], prefix: ['--reuid=postgres', '--regid=postgres', '--clear-groups'] };
}

class Postgres {
  #programs = programs();
  #account = account();
  #settings;
  #child = null;

  constructor(settings) {
    this.#settings = settings;
    this.dir = mkdtempSync(join(tmpdir(), 'parlance-pg-'));
    chmodSync(this.dir, 0o755);
    if (this.#account.ids) chownSync(this.dir, ...this.#account.ids);
  }

  /**
   * The command line that runs one of the programs. However this process ends, even by `kill -9`, the program ends too.
   */
  #command(program, args) {
    return ['setpriv', ['--pdeathsig', 'KILL', ...this.#account.prefix, '--', join(this.#programs, program), ...args]];
  }

  async create() {
    const password = join(this.dir, 'password');
    writeFileSync(password, PASSWORD, { mode: 0o644 });
    const args = ['--no-sync', '--encoding=UTF8', '--locale=C', '--auth-local=trust', '--auth-host=scram-sha-256'];
    const [command, words] = this.#command('initdb', [...args, `--username=${USER}`, `--pwfile=${password}`, '-D', join(this.dir, 'data')]);
    execFileSync(command, words, { cwd: this.dir, stdio: 'pipe' });
    this.port = await freePort();
    await this.start();
    this.query('CREATE DATABASE chat', 'postgres');
    return this;
  }

  /** The value for `DATABASE_URL`. */
  get url() {
    return `postgres://${USER}:${PASSWORD}@127.0.0.1:${this.port}/chat`;
  }

  get password() {
    return PASSWORD;
  }

  /** Starts it on its data and port, and waits until it serves. */
  async start() {
    // Shared memory in the server's directory goes with it, also when the server is killed.
    const memory = 'dynamic_shared_memory_type=mmap';
    const settings = ['listen_addresses=127.0.0.1', 'max_connections=100', memory, ...this.#settings];
    const args = ['-D', join(this.dir, 'data'), '-p', String(this.port), '-k', this.dir, ...settings.flatMap((each) => ['-c', each])];
    const launch = () => {
      const [command, words] = this.#command('postgres', args);
      this.#child = spawn(command, words, { cwd: this.dir, stdio: ['ignore', 'ignore', 'pipe'] });
      this.log = '';
      this.#child.stderr.setEncoding('utf8').on('data', (text) => (this.log += text));
      this.ended = new Promise((done) => this.#child.on('close', done));
    };
    launch();
    await eventually(() => {
      // After a kill, processes of the old server may still hold its shared memory; the new one then exits at once.
      if (this.#child.exitCode !== null) launch();
      try {
        return this.query('SELECT 1', 'postgres') === '1';
      } catch {
        return false;
      }
    }, `PostgreSQL to serve: ${this.log}`, START_MS);
  }

  /** Stops it as an administrator does: connections are closed, and committed data is safe. */
  async stop() {
    this.#child.kill('SIGINT');
    await within(this.ended, () => `PostgreSQL to stop: ${this.log}`, START_MS);
  }

  /** Kills it, as a crash would. */
  async kill() {
    this.#child.kill('SIGKILL');
    await within(this.ended, 'PostgreSQL to die');
  }

  async restart() {
    await this.stop();
    await this.start();
  }

  /** Stops all of its processes, so that connections stay open but get no answer; `resume` continues them. */
  halt() {
    this.#signalAll('STOP');
  }

  resume() {
    this.#signalAll('CONT');
  }

  #signalAll(signal) {
    const main = readFileSync(join(this.dir, 'data/postmaster.pid'), 'utf8').split('\n')[0];
    const children = readFileSync(`/proc/${main}/task/${main}/children`, 'utf8').split(' ');
    for (const pid of [main, ...children].map(Number).filter(Boolean)) {
      try {
        process.kill(pid, `SIG${signal}`);
      } catch (error) {
        // It has just exited by itself.
        if (error.code !== 'ESRCH') throw error;
      }
    }
  }

  /** Runs a statement as an administrator and returns its output. */
  query(sql, database = 'chat') {
    const args = ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-U', USER, '-h', this.dir, '-p', String(this.port), '-d', database, '-c', sql];
    return execFileSync(join(this.#programs, 'psql'), args, { encoding: 'utf8', stdio: 'pipe' }).trim();
  }

  async close() {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) {
      this.resume();
      await this.kill();
    }
    // Its other processes exit when they notice that it is gone.
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }

  diagnosis() {
    return `log of PostgreSQL:\n${this.log.split('\n').slice(-40).join('\n')}`;
  }
}

/** Starts a server with an empty database. `settings` are such as `fsync=on`; by default nothing is synced to disk. */
export async function startPostgres(settings = ['fsync=off']) {
  return owned(new Postgres(settings)).create();
}
