// A banner about the handler under development: why it does not build, as `parlance dev` says it.

import { byId, setText } from './dom.js';

/** How long to wait after a request that failed, in milliseconds: the server may be starting again. */
const RETRY_AFTER = 2_000;

/** Shows what is wrong with the handlers, and follows its changes. Each answer waits for the next change. */
export async function followBuilds() {
  const node = byId('build-problem');
  let seen;
  for (;;) {
    try {
      const response = await fetch(seen === undefined ? '/dev/problem' : `/dev/problem?seen=${seen}`);
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      const { number, problem } = await response.json();
      seen = number;
      node.hidden = problem === null;
      setText(node, problem === null ? '' : `What you saved is not in service; the version before is.\n\n${problem}`);
    } catch {
      seen = undefined;
      await new Promise((done) => setTimeout(done, RETRY_AFTER));
    }
  }
}
