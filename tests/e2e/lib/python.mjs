// Builds components from Python, with the WASI imports that the tool chain adds.
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { temporaryDirectory } from './server.mjs';

const REPOSITORY = resolve(import.meta.dirname, '../../..');
const GUESTS = join(REPOSITORY, 'tests/guests/python');
/** The interpreter with the packages of `tests/requirements.txt`. */
export const PYTHON = join(REPOSITORY, 'tests/.venv/bin/python');
const COMPONENTIZE = join(REPOSITORY, 'tests/.venv/bin/componentize-py');

/** Builds `NAME.py` of `tests/guests/python` for the world in `NAME.wit`. Returns the component's path. */
export function pythonGuest(name) {
  const dir = temporaryDirectory();
  const wit = join(dir, 'wit');
  mkdirSync(wit);
  cpSync(join(REPOSITORY, 'wit'), join(wit, 'deps/parlance-chat'), { recursive: true });
  copyFileSync(join(GUESTS, `${name}.wit`), join(wit, `${name}.wit`));
  copyFileSync(join(GUESTS, `${name}.py`), join(dir, 'app.py'));
  const path = join(dir, `${name}.wasm`);
  const { status, stdout, stderr, error } = spawnSync(
    COMPONENTIZE,
    ['--wit-path', wit, '--world', 'guest', 'componentize', 'app', '--output', path],
    { cwd: dir, encoding: 'utf8' },
  );
  if (error) throw new Error(`${COMPONENTIZE}: ${error.message}; \`make setup\` installs it`);
  if (status !== 0) throw new Error(`componentize-py: ${stdout}${stderr}`);
  return path;
}
