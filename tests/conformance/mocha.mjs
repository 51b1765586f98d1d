// Runs a suite of mocha's and tells what became of each of its tests.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Runs mocha in `directory`, with its own packages.
 * @returns {Promise<{passed: string[], failed: Map<string, string>, output: string}>} tests by their full titles, those
 *   that failed with the error's message.
 */
export async function mocha(directory, args, env, ms) {
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
  let tests;
  try {
    ({ tests } = JSON.parse(readFileSync(report, 'utf8')));
  } catch {
    throw new Error(`mocha left no report:\n${output}`);
  }
  const failed = new Map(tests.filter(({ err }) => err.message !== undefined).map(({ fullTitle, err }) => [fullTitle, err.message]));
  const passed = tests.map(({ fullTitle }) => fullTitle).filter((title) => !failed.has(title));
  return { passed, failed, output };
}
