// The programs that use the libraries: how each is built, and how one of its cases is run.
import { spawn, spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';

const HERE = import.meta.dirname;
const AT = join(resolve(process.env.CARGO_TARGET_DIR ?? join(HERE, '../../target')), 'clients');
/** For one case. The longest waits for pings, or for a server that starts again. */
const CASE_MS = 90_000;

/** Runs a command of a build: what it prints. Its messages become those of the failure. */
function built(command, args, env = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, ...env } });
  if (error) throw new Error(`${command} cannot be run: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${stderr.slice(-4000)}`);
  return stdout.trim();
}

/** The command of the Java program. */
export function java() {
  const classes = built(join(HERE, 'java/build.sh'), [join(AT, 'java')]);
  // One case is over before compiled code pays.
  return ['java', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', classes, 'Cases'];
}

/** The command of the Rust program that uses this library. */
export function rust(library) {
  const manifest = join(HERE, 'rust/Cargo.toml');
  const args = ['build', '--locked', '--quiet', '--manifest-path', manifest, '--bin', library];
  built('cargo', args, { CARGO_TARGET_DIR: AT });
  return [join(AT, 'debug', library)];
}

/** The names of a program's cases. */
export function casesOf([command, ...args]) {
  return built(command, [...args, '--list']).split('\n');
}

/**
 * Runs a case to its end. `action` is called with the words of each line `do …` that the program prints; the program waits
 * for what follows from the action.
 */
export async function runCase([command, ...args], name, env, action) {
  const child = spawn(command, [...args, name], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), CASE_MS);
  let output = '';
  let rest = '';
  let failed = null;
  child.stderr.setEncoding('utf8').on('data', (text) => (output += text));
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const [, verb, argument] = line.match(/^do (\S+) ?(.*)$/) ?? [];
      if (verb) action(verb, argument).catch((error) => (failed ??= error));
    }
  });
  const exit = await new Promise((done, reject) => {
    child.on('error', reject).on('close', (code, signal) => done(code ?? signal));
  }).finally(() => clearTimeout(timer));
  if (failed) throw failed;
  if (exit !== 0 || !/^done$/m.test(output)) throw new Error(`ended with ${exit}:\n${output.slice(-6000)}`);
}
