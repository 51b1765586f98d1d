// The example handlers.
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { BUILD_MS, builderPath } from './author.mjs';
import { owned } from './scope.mjs';
import { guest, Process, startServer, temporaryDirectory } from './server.mjs';

const EXAMPLES = resolve(import.meta.dirname, '../../../examples');

/**
 * Copies an example, and runs its scenarios, which builds it. Returns its directory. `tests/run.sh` has built those in
 * Rust, with what they share.
 */
export async function example(name, { isRust = false } = {}) {
  const dir = temporaryDirectory();
  cpSync(join(EXAMPLES, name), dir, { recursive: true, filter: (path) => !path.endsWith('/target') });
  if (isRust) {
    mkdirSync(join(dir, 'target/components'), { recursive: true });
    copyFileSync(guest(name), join(dir, `target/components/${name}.wasm`));
    const file = join(dir, `scenarios/${name}.yaml`);
    const before = readFileSync(file, 'utf8');
    const after = before.replace('component: ..', `component: ../target/components/${name}.wasm`);
    assert.notEqual(after, before, 'the scenarios name the project');
    writeFileSync(file, after);
  }
  const tests = owned(new Process(['test'], { cwd: dir, env: { PATH: builderPath() } }));
  const { code } = await tests.end(BUILD_MS);
  assert.equal(code, 0, tests.output);
  return dir;
}

/** Serves an example with its own configuration, changed by `change`. */
export function serve(dir, change = () => {}, options = {}) {
  const config = parse(readFileSync(join(dir, 'parlance.toml'), 'utf8'));
  change(config);
  return startServer({ dir, config, ...options });
}
