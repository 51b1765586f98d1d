// A Node Socket.IO server in the test's own process, alone.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { Server } from 'socket.io';
import { owned } from './scope.mjs';

/** Starts one with `options` of the `Server`: `{url, io}`. */
export async function startNode(options) {
  // What is not Socket.IO's is not there.
  const http = createServer((_, response) => response.writeHead(404).end());
  const connections = new Set();
  http.on('connection', (socket) => connections.add(socket.on('close', () => connections.delete(socket))));
  const io = new Server(http, options);
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  owned({
    close: () => {
      // It would wait half a minute for clients that do not answer its close frames.
      for (const socket of connections) socket.destroy();
      return io.close();
    },
  });
  return { url: `http://127.0.0.1:${http.address().port}`, io };
}
