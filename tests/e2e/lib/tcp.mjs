// Plain TCP connections: clients that send little, nothing, or what no HTTP library would send.
import { connect } from 'node:net';
import { owned } from './scope.mjs';
import { Conditions } from './wait.mjs';

export class Tcp {
  #conditions = new Conditions();
  received = '';
  /** When it was closed, as `performance.now()`; null while it is open. */
  closed = null;

  constructor(port, localAddress) {
    this.opened = performance.now();
    this.socket = connect({ port, host: '127.0.0.1', localAddress });
    this.socket.setEncoding('latin1').on('data', (text) => {
      this.received += text;
      this.#conditions.changed();
    });
    const end = () => {
      this.closed ??= performance.now();
      this.#conditions.changed();
    };
    this.socket.on('end', end).on('error', end).on('close', end);
    this.socket.on('connect', () => this.#conditions.changed());
  }

  until(probe, what, ms) {
    return this.#conditions.until(probe, () => `${what}; received ${JSON.stringify(this.received.slice(-300))}`, ms);
  }

  connected() {
    return this.until(() => this.socket.readyState === 'open' || this.closed !== null, 'the connection');
  }

  /** Waits until the server has closed it, and returns after how many milliseconds. */
  async end(ms) {
    await this.until(() => this.closed !== null, 'the end of the connection', ms);
    return this.closed - this.opened;
  }

  /** Sends one byte of `text` after the other, until all are sent or the server has closed the connection. */
  drip(text, pauseMs) {
    let at = 0;
    const timer = setInterval(() => {
      if (this.closed !== null || at === text.length) clearInterval(timer);
      else this.socket.write(text[at++]);
    }, pauseMs);
  }

  close() {
    this.socket.destroy();
  }
}

/** Opens a connection to a server's port for clients. It is closed when the test is over. */
export async function tcp(server, localAddress) {
  const connection = owned(new Tcp(server.port, localAddress));
  await connection.connected();
  return connection;
}
