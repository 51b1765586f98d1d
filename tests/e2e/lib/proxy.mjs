// A TCP proxy that can be cut and slowed down.
import { connect, createServer } from 'node:net';
import { owned } from './scope.mjs';

class TcpProxy {
  #server;
  #pairs = new Set();
  #cut = false;
  /** Additional latency in each direction, in milliseconds. */
  delay = 0;

  constructor(target) {
    this.#server = createServer((near) => {
      if (this.#cut) return void near.destroy();
      const far = connect(target, '127.0.0.1');
      const pair = [near, far];
      this.#pairs.add(pair);
      const end = () => {
        this.#pairs.delete(pair);
        near.destroy();
        far.destroy();
      };
      for (const [from, to] of [[near, far], [far, near]]) {
        from.setNoDelay(true);
        from.on('data', (bytes) => {
          if (this.delay === 0) return void to.write(bytes);
          setTimeout(() => to.destroyed || to.write(bytes), this.delay);
        });
        from.on('error', end).on('close', end);
      }
    });
  }

  async listen() {
    await new Promise((done, failed) => this.#server.on('error', failed).listen(0, '127.0.0.1', done));
    this.port = this.#server.address().port;
    return this;
  }

  /** Closes every connection and refuses new ones. */
  cut() {
    this.#cut = true;
    for (const [near, far] of this.#pairs) {
      near.destroy();
      far.destroy();
    }
  }

  restore() {
    this.#cut = false;
  }

  close() {
    this.cut();
    return new Promise((done) => this.#server.close(done));
  }
}

/** Starts a proxy to a port of this machine. */
export async function startProxy(port) {
  return owned(new TcpProxy(port)).listen();
}
