// Finds the browser for the tests of the page. `node find-browser.mjs` prints its path, or fails if there is none.
import { accessSync, constants, openSync, readSync, closeSync, realpathSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Names of Chromium and related browsers on Debian, Fedora and other systems. */
const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
/** How many bytes of a script are examined. */
const SCRIPT_BYTES = 8192;

/** The first browser on the search path that a test can drive; null if there is none. */
export function findBrowser(path = process.env.PATH ?? '') {
  for (const name of NAMES) {
    for (const directory of path.split(delimiter).filter(Boolean)) {
      const file = join(directory, name);
      if (isExecutable(file) && !isSnap(file)) return file;
    }
  }
  return null;
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Whether this is a snap, as on Ubuntu, or a script that starts one: a snap does not see the profiles of tests in /tmp. */
function isSnap(file) {
  const real = realpathSync(file);
  if (real.includes('/snap/') || real.endsWith('/bin/snap')) return true;
  const start = Buffer.alloc(SCRIPT_BYTES);
  const opened = openSync(real, 'r');
  try {
    readSync(opened, start, 0, SCRIPT_BYTES, 0);
  } finally {
    closeSync(opened);
  }
  return start.toString('latin1').startsWith('#!') && start.includes('/snap/');
}

if (process.argv[1] === import.meta.filename) {
  const found = findBrowser();
  if (!found) process.exit(1);
  console.log(found);
}
