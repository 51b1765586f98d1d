// Runs a suite of mocha's and tells what became of each of its tests.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How often a test that fails is tried once more: some race the server, with requests on two connections at once. */
const RETRIES = 2;
/** More than so many that fail are no races. */
const RACES = 5;

/**
 * Runs a suite, and those of its tests that fail and are not `known` to once more.
 * @param {{args: string[], only?: string, env: object, ms: number}} how mocha's arguments; a pattern of the titles of
 *   those tests that are run; variables; for how long at most
 * @returns {Promise<{passed: string[], failed: Map<string, string>, again: string[]}>} as `run`, with the tests that
 *   passed another time.
 */
export async function mocha(directory, { args, only, env, ms }, known) {
  const { passed, failed } = await run(directory, [...(only ? ['--grep', only] : []), ...args], env, ms);
  const again = [];
  const unknown = [...failed.keys()].filter((each) => !(each in known));
  for (const title of unknown.length > RACES ? [] : unknown) {
    for (let n = 0; n < RETRIES && failed.has(title); n += 1) {
      const once = await run(directory, ['--fgrep', title, ...args], env, ms);
      if (!once.passed.includes(title)) continue;
      failed.delete(title);
      passed.push(title);
      again.push(title);
    }
  }
  return { passed, failed, again };
}

/**
 * Runs mocha in `directory`, with its own packages.
 * @returns {Promise<{passed: string[], failed: Map<string, string>, output: string}>} tests by their full titles, those
 *   that failed with the error's message.
 */
async function run(directory, args, env, ms) {
  const report = join(mkdtempSync(join(tmpdir(), 'parlance-suite-')), 'report.json');
  const child = spawn('npx', ['--no-install', 'mocha', '--exit', '--reporter', 'json', '--reporter-option', `output=${report}`, ...args], {
    cwd: directory,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: ms,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  await new Promise((done) => child.on('close', done));
  let all, pending;
  try {
    ({ tests: all, pending } = JSON.parse(readFileSync(report, 'utf8')));
  } catch {
    throw new Error(`mocha left no report:\n${output}`);
  }
  const skipped = new Set(pending.map(({ fullTitle }) => fullTitle));
  const tests = all.filter(({ fullTitle }) => !skipped.has(fullTitle));
  const failed = new Map(tests.filter(({ err }) => err.message !== undefined).map(({ fullTitle, err }) => [fullTitle, err.message]));
  const passed = tests.map(({ fullTitle }) => fullTitle).filter((title) => !failed.has(title));
  return { passed, failed, output };
}
