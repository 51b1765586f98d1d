// Tests that clean up after themselves: what a test opened is closed when it ends, what a file opened when the file
// ends, and a test that fails prints the logs of its servers.
import { after, test as nodeTest } from 'node:test';

const ofFile = [];
let ofTest = null;

/** Registers `thing` (with `close()` and perhaps `diagnosis()`) for the running test, or else for the whole file. */
export function owned(thing) {
  (ofTest ?? ofFile).push(thing);
  return thing;
}

async function closeAll(things) {
  // Clients come after their server; the last opened is the first closed.
  for (const thing of things.splice(0).reverse()) await thing.close();
}

/** node:test's `test`, with the cleaning up. */
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
