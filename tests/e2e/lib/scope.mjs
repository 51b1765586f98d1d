// Cleans up after tests: closes what a test opened when it ends, and what a file opened when the file ends. A failed
// test prints the logs of its servers.
import { after, test as nodeTest } from 'node:test';

const ofFile = [];
let ofTest = null;

/**
 * Registers `thing` (with `close()` and perhaps `diagnosis()`) for the running test, or for the whole file if none
 * runs.
 */
export function owned(thing) {
  (ofTest ?? ofFile).push(thing);
  return thing;
}

async function closeAll(things) {
  // Close in reverse order, so that clients close before their server.
  for (const thing of things.splice(0).reverse()) await thing.close();
}

/** node:test's `test` with clean-up. */
export function test(name, ...rest) {
  const body = rest.pop();
  const [options = {}] = rest;
  return nodeTest(name, options, async (t) => {
    ofTest = [];
    const mine = ofTest;
    try {
      return await body(t);
    } catch (error) {
      for (const thing of [...ofFile, ...mine]) {
        const text = thing.diagnosis?.();
        if (text) t.diagnostic(text);
      }
      throw error;
    } finally {
      ofTest = null;
      await closeAll(mine);
    }
  });
}

after(() => closeAll(ofFile));
