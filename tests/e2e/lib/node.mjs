// A single Node Socket.IO server in the test's process.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { Server } from 'socket.io';
import { owned } from './scope.mjs';

const CLOSE_MS = 1000;

/** Starts a server with these options of `Server`: `{url, io}`. */
export async function startNode(options) {
  // Any other path returns 404.
  const http = createServer((_, response) => response.writeHead(404).end());
  const connections = new Set();
  http.on('connection', (socket) => connections.add(socket.on('close', () => connections.delete(socket))));
  const io = new Server(http, options);
  // How long a session that the server closes waits for a poll. The default is half a minute.
  io.engine.on('connection', ({ transport }) => (transport.closeTimeout = CLOSE_MS));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  owned({
    close: () => {
      // Otherwise it waits for clients that do not answer its close frames.
      for (const socket of connections) socket.destroy();
      return io.close();
    },
  });
  return { url: `http://127.0.0.1:${http.address().port}`, io };
}
