// Web servers in the test's process.
import { createServer } from 'node:http';
import { owned } from './scope.mjs';

/**
 * Starts a server that answers with `handle(request, response)` on a free port until the test is over. Returns its
 * authority.
 */
export async function listen(handle) {
  const http = createServer(handle);
  await new Promise((done) => http.listen(0, '127.0.0.1', done));
  owned({
    close: () => {
      http.closeAllConnections();
      http.close();
    },
  });
  return `127.0.0.1:${http.address().port}`;
}
