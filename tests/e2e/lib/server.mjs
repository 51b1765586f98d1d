// A Parlance server for the test, with a free port, a separate directory and recorded logs.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stringify } from 'smol-toml';
import { owned } from './scope.mjs';
import { Conditions, eventually, within } from './wait.mjs';

const E2E = resolve(import.meta.dirname, '..');
/** The binary under test. */
export const BINARY = resolve(process.env.PARLANCE_BIN ?? join(E2E, '../../target/debug/parlance'));
/** The secret that signs all valid tokens of these tests. */
export const SECRET = 'a secret for tests only, longer than 32 bytes';
/** Timeout of a start, which may compile the handlers. */
const START_MS = 600_000;
/** Timeout of a command, which may build handlers or run their scenarios. */
const COMMAND_MS = 300_000;
const LOG_LINES_SHOWN = 80;

// A test's server must not depend on variables of the caller's shell. It would refuse the tests' own `PARLANCE_…` as
// unknown.
const OURS = /^(PARLANCE_.*|(PORT|HOST|JWT_SECRET|FRONTEND_URL|REDIS_URL|DATABASE_URL|RUST_LOG)(_FILE)?)$/;

/** The caller's environment without the server's variables. */
export function cleanEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !OURS.test(name)));
}

/** A temporary directory that is removed when the test is over. */
export function temporaryDirectory() {
  const path = mkdtempSync(join(tmpdir(), 'parlance-e2e-'));
  owned({ close: () => rmSync(path, { recursive: true, force: true }) });
  return path;
}

/** The path of a component that was built for these tests. */
export function guest(name) {
  const dir = resolve(process.env.PARLANCE_TEST_GUESTS ?? join(E2E, '../../target/test-guests'));
  const path = join(dir, `${name}.wasm`);
  if (!existsSync(path)) throw new Error(`${path} is missing; \`make test\` builds it`);
  return path;
}

// However this process ends, even by `kill -9`, its servers end too.
const DIE_WITH_US = ['setpriv', '--pdeathsig', 'KILL', '--'];

/** Many servers run at once, so the system chooses each one's port for operators. */
const ADMIN_ANYWHERE = { PARLANCE_ADMIN_ADDRESS: '127.0.0.1:0' };

/** Starts the binary and records its output. The process may end by itself. */
export class Process {
  #conditions = new Conditions();
  output = '';
  exit = null;

  constructor(args, { env = {}, cwd, wrapper = [] } = {}) {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing; \`cargo build\` makes it`);
    const [command, ...rest] = [...DIE_WITH_US, ...wrapper, BINARY, ...args];
    this.child = spawn(command, rest, { cwd, env: { ...cleanEnvironment(), ...ADMIN_ANYWHERE, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.output += text;
        this.#conditions.changed();
      });
    }
    this.stdout = '';
    this.child.stdout.on('data', (text) => (this.stdout += text));
    this.child.on('error', (error) => (this.output += String(error)));
    this.ended = new Promise((done) => {
      this.child.on('close', (code, signal) => {
        this.exit = { code, signal };
        this.#conditions.changed();
        done(this.exit);
      });
    });
  }

  get lines() {
    return this.output.split('\n');
  }

  /** The first match of `pattern` in past or future output. Fails as soon as the process has ended without one. */
  waitForOutput(pattern, ms) {
    return this.#conditions.until(() => {
      const found = this.output.match(pattern);
      if (!found && this.exit) throw new Error(`ended with ${JSON.stringify(this.exit)} before ${pattern}:\n${this.output}`);
      return found;
    }, () => `${pattern} in the output:\n${this.output}`, ms);
  }

  /** Waits for the process to end: `{code, signal}`. */
  end(ms) {
    return within(this.ended, () => `the end of ${BINARY}:\n${this.output}`, ms);
  }

  signal(name) {
    if (!this.exit) this.child.kill(name);
  }

  async close() {
    this.signal('SIGKILL');
    await this.ended;
  }

  diagnosis() {
    const lines = this.lines;
    const left = Math.max(0, lines.length - LOG_LINES_SHOWN);
    return `log of server ${this.child.pid} (${left} lines before these):\n${lines.slice(left).join('\n')}`;
  }
}

/** Runs a command to its end: `{code, output, stdout}`. */
export async function run(args, options) {
  const process = owned(new Process(args, options));
  const { code } = await process.end(COMMAND_MS);
  return { code, output: process.output, stdout: process.stdout };
}

class Server {
  #options;
  #process;

  constructor(options) {
    this.#options = options;
    this.dir = options.dir ?? temporaryDirectory();
    this.port = 0;
    this.adminPort = 0;
  }

  async start() {
    const { config, handlers = {}, env, command = 'serve', args = [], wrapper } = this.#options;
    const sections = Object.entries(handlers).map(([event, component]) => [event, { component }]);
    const parts = [];
    if (typeof config === 'string') parts.push(config);
    else if (config) parts.push(stringify(config));
    if (sections.length > 0) parts.push(stringify({ handlers: Object.fromEntries(sections) }));
    const file = parts.length > 0 ? join(this.dir, 'parlance.toml') : null;
    if (file) writeFileSync(file, parts.join('\n'));
    this.#process = new Process([command, ...(file ? ['--config', file] : []), ...args], {
      cwd: this.dir,
      wrapper,
      env: {
        // A restart uses the same port, so that clients find the server again.
        PORT: String(this.port),
        PARLANCE_ADMIN_ADDRESS: `127.0.0.1:${this.adminPort}`,
        DATABASE_URL: `sqlite:${join(this.dir, 'chat.db')}`,
        JWT_SECRET: SECRET,
        ...env,
      },
    });
    const [, port] = await this.#process.waitForOutput(/listening on http:\/\/[^\s"]*?:(\d+)/, START_MS);
    this.port = Number(port);
    this.url = `http://127.0.0.1:${port}`;
    // Printed before the clients' address, unless the admin listener has the same address or is off.
    const operators = this.log.match(/for operators: http:\/\/[^\s"]*?:(\d+)/);
    this.adminPort = Number(operators?.[1] ?? 0);
    this.adminUrl = operators ? `http://127.0.0.1:${this.adminPort}` : this.url;
    await eventually(async () => (await fetch(`${this.url}/readyz`)).ok, '/readyz', START_MS);
    return this;
  }

  get pid() {
    return this.#process.child.pid;
  }

  /** The output of the current process. */
  get log() {
    return this.#process.output;
  }

  waitForOutput(pattern, ms) {
    return this.#process.waitForOutput(pattern, ms);
  }

  signal(name) {
    this.#process.signal(name);
  }

  /** Sends SIGTERM, as an orchestrator does, and waits: `{code, signal, ms}`. */
  async stop(signal = 'SIGTERM') {
    const begun = performance.now();
    this.#process.signal(signal);
    const exit = await this.#process.end(20_000);
    return { ...exit, ms: performance.now() - begun };
  }

  /** `kill -9`; true if the process was running. */
  kill() {
    this.#process.signal('SIGKILL');
    return this.#process.ended;
  }

  /** Starts again with the same data and port. */
  async restart() {
    await this.kill();
    return this.start();
  }

  async close() {
    await this.#process?.close();
  }

  diagnosis() {
    return this.#process?.diagnosis();
  }
}

/**
 * Starts a server and waits until it is ready.
 * @param {{config?: string | object, handlers?: Record<string, string>, env?: Record<string, string>,
 *   command?: 'serve' | 'dev', args?: string[], dir?: string, wrapper?: string[]}} options
 *   `handlers`: handler name to component path; `wrapper`: a command to start it through.
 */
export async function startServer(options = {}) {
  return owned(new Server(options)).start();
}
