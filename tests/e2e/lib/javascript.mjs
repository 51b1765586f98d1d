// Builds components from JavaScript, with the WASI imports that the tool chain adds.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { componentize } from 'componentize-qjs';
import { temporaryDirectory } from './server.mjs';

const REPOSITORY = resolve(import.meta.dirname, '../../..');
const GUESTS = join(REPOSITORY, 'tests/guests');
/** The WIT packages that the worlds in `tests/guests/javascript` use. */
const WASI = ['io', 'cli'];

/** Builds `NAME.js` of `tests/guests/javascript` for the world in `NAME.wit`. Returns the component's path. */
export async function javascriptGuest(name) {
  const dir = temporaryDirectory();
  const wit = join(dir, 'wit');
  cpSync(join(REPOSITORY, 'wit'), join(wit, 'deps/parlance-chat'), { recursive: true });
  for (const part of WASI) {
    mkdirSync(join(wit, 'deps', part));
    cpSync(join(GUESTS, 'wit', `${part}.wit`), join(wit, 'deps', part, `${part}.wit`));
  }
  cpSync(join(GUESTS, 'javascript', `${name}.wit`), join(wit, `${name}.wit`));
  const { component } = await componentize({
    witPath: wit,
    world: 'guest',
    jsSource: readFileSync(join(GUESTS, 'javascript', `${name}.js`), 'utf8'),
    optSize: true,
    sync: true,
  });
  const path = join(dir, `${name}.wasm`);
  writeFileSync(path, component);
  return path;
}
