// A Node Socket.IO server of the fleet, in the test's process, and a back end with an emitter.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { Emitter } from '@socket.io/redis-emitter';
import { createClient } from 'redis';
import { Server } from 'socket.io';
import { owned } from './scope.mjs';

class Peer {
  #clients = [];

  constructor(url, subscriptionMode) {
    this.redis = url;
    this.subscriptionMode = subscriptionMode;
  }

  async start() {
    const client = async () => {
      const made = createClient({ url: this.redis });
      // It reconnects by itself, and reports errors here.
      made.on('error', () => {});
      await made.connect();
      this.#clients.push(made);
      return made;
    };
    this.http = createServer();
    const commands = await client();
    const { subscriptionMode } = this;
    const adapter = subscriptionMode
      ? createShardedAdapter(commands, await client(), { subscriptionMode })
      : createAdapter(commands, await client(), { requestsTimeout: 5_000 });
    this.io = new Server(this.http, { adapter });
    // Its clients choose their rooms.
    this.io.on('connection', (socket) => socket.join(socket.handshake.auth.rooms ?? []));
    this.emitter = new Emitter(commands);
    this.http.listen(0, '127.0.0.1');
    await once(this.http, 'listening');
    this.url = `http://127.0.0.1:${this.http.address().port}`;
    return this;
  }

  async close() {
    await this.io.close();
    // The adapter unsubscribes without awaiting the result. If the connection closed first, this would be an unhandled
    // rejection.
    for (const client of this.#clients) await client.close();
  }
}

/**
 * Starts a server with the Redis at `url`: `{url, io, emitter}`. With a `subscriptionMode` it uses the sharded adapter,
 * which the emitter does not support.
 */
export function startPeer(url, { subscriptionMode } = {}) {
  return owned(new Peer(url, subscriptionMode)).start();
}
