// The commands that the pages show, and a shell that runs them as they are written there.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { owned } from './scope.mjs';
import { BINARY, cleanEnvironment, temporaryDirectory } from './server.mjs';
import { Conditions } from './wait.mjs';

export const ROOT = resolve(import.meta.dirname, '../../..');
/** Directories of tools and builds, which have pages of others. */
const FOREIGN = new Set(['.git', '.venv', 'node_modules', 'target']);
/** A program beside the one under test. */
const beside = (name) => join(dirname(BINARY), name);

/** The paths of all pages. The changelog tells of the past. */
function pages(dir = '') {
  return readdirSync(join(ROOT, dir), { withFileTypes: true }).flatMap((entry) => {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) return FOREIGN.has(entry.name) ? [] : pages(path);
    return path.endsWith('.md') && path !== 'CHANGELOG.md' ? [path] : [];
  });
}

/** Every fenced block of a page: `{page, heading, language, code}`. */
export function blocks(page) {
  const found = [];
  let [heading, block] = ['', null];
  for (const line of readFileSync(join(ROOT, page), 'utf8').split('\n')) {
    const fence = line.match(/^ *```(\w*)/);
    if (fence) {
      block = block ? null : { page, heading, language: fence[1], code: '' };
      if (block) found.push(block);
    } else if (block) block.code += `${line}\n`;
    else if (/^#+ /.test(line)) heading = line;
  }
  return found;
}

/** The first block in this language below the heading. */
export function shown(page, heading, language) {
  const found = blocks(page).find((block) => block.heading === heading && block.language === language);
  assert.ok(found, `${page} shows ${language} below ${heading}`);
  return found.code;
}

/** Every block of shell in the pages. */
export function shellBlocks() {
  return pages().flatMap(blocks).filter(({ language }) => ['sh', 'bash', 'shell', 'console'].includes(language));
}

/** The commands of a block of shell, without comments. A here-document is part of its command. */
export function commands(code) {
  const found = [];
  let end = null;
  for (const line of code.split('\n')) {
    if (end) {
      found[found.length - 1] += `\n${line}`;
      if (line === end) end = null;
      continue;
    }
    const command = line.replace(/(^|\s)#\s.*$/, '').trimEnd();
    if (command) found.push(command);
    end = command.match(/<<'?(\w+)'?$/)?.[1] ?? null;
  }
  return found;
}

/** A command that goes on until it is stopped. */
class Following {
  #conditions = new Conditions();
  #child;
  #ended;
  output = '';

  constructor(command, options) {
    // A process group of its own, since the shell may stay beside the program.
    this.#child = spawn('bash', ['-euo', 'pipefail', '-c', command], { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    let open = true;
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.output += text;
        this.#conditions.changed();
      });
    }
    this.#ended = new Promise((done) => this.#child.on('close', () => {
      open = false;
      this.#conditions.changed();
      done();
    }));
    this.isOpen = () => open;
  }

  /** The first match of the pattern in what the command prints. */
  waitForOutput(pattern, ms) {
    return this.#conditions.until(() => {
      const found = this.output.match(pattern);
      if (!found && !this.isOpen()) throw new Error(`it ended before ${pattern}:\n${this.output}`);
      return found;
    }, () => `${pattern} in the output:\n${this.output}`, ms);
  }

  async close() {
    if (this.isOpen()) process.kill(-this.#child.pid, 'SIGKILL');
    await this.#ended;
  }

  diagnosis() {
    return this.output;
  }
}

/**
 * A shell in a directory. `parlance` and `target/release/parlance` are the program under test, and `parlance-js` is the
 * one beside it; `cargo run -p parlance-build` runs the one that is built already, without cargo's lock.
 */
export class Shell {
  #options;

  /**
   * @param {string} dir
   * @param {{env?: Record<string, string>, programs?: Record<string, string>}} options `programs`: more of them, each
   *   a line of shell by its name
   */
  constructor(dir, { env = {}, programs = {} } = {}) {
    const bin = temporaryDirectory();
    const program = (path, line) => {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, `#!/bin/sh\n${line}\n`);
      chmodSync(path, 0o755);
    };
    const all = {
      parlance: `exec '${BINARY}' "$@"`,
      'parlance-js': `exec '${beside('parlance-js')}' "$@"`,
      cargo: `PATH=\${PATH#*${delimiter}}
        [ "$1 $2 $3 $4" = "run -p parlance-build --" ] || exec cargo "$@"
        shift 4
        exec '${beside('parlance-build')}' "$@"`,
      ...programs,
    };
    for (const [name, line] of Object.entries(all)) program(join(bin, name), line);
    program(join(dir, 'target/release/parlance'), all.parlance);
    const path = [bin, process.env.PATH].join(delimiter);
    this.#options = { cwd: dir, env: { ...cleanEnvironment(), ...env, PATH: path } };
  }

  /** Runs commands, of which none may fail, and returns what they print. */
  run(list) {
    const text = list.join('\n');
    const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', text], {
      ...this.#options,
      stdio: ['ignore', 'pipe', 'pipe'],
      encoding: 'utf8',
    });
    assert.equal(status, 0, `${text}\n${stdout}${stderr}`);
    return stdout;
  }

  /** Starts a command that goes on. */
  follow(command) {
    return owned(new Following(command, this.#options));
  }
}
