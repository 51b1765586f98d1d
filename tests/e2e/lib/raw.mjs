// Socket.IO by hand: frames that the official client never sends, over a plain WebSocket or plain HTTP.
import WebSocket from 'ws';
import { owned } from './scope.mjs';
import { token } from './token.mjs';
import { Conditions } from './wait.mjs';

export class Raw {
  #conditions = new Conditions();
  /** Received text frames, without pings. */
  frames = [];
  closed = false;
  /** The WebSocket's close code: 1006 if the connection was closed without a close frame. */
  closeCode = null;

  constructor(server) {
    const address = `${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`;
    this.ws = new WebSocket(address);
    this.ws.on('message', (data) => {
      const text = data.toString();
      if (text === '2') this.ws.send('3');
      else this.frames.push(text);
      this.#conditions.changed();
    });
    const end = (code) => {
      this.closed = true;
      if (typeof code === 'number') this.closeCode = code;
      this.#conditions.changed();
    };
    this.ws.on('close', end).on('error', end);
  }

  until(probe, what, ms) {
    return this.#conditions.until(probe, () => `${what}; frames: ${this.frames.slice(-5)}; closed: ${this.closed}`, ms);
  }

  /** Removes and returns the first frame, past or future, that begins with `start`. */
  async frame(start, ms) {
    const found = await this.until(() => {
      const at = this.frames.findIndex((frame) => frame.startsWith(start));
      return at >= 0 && { at };
    }, `a frame ${start}`, ms);
    return this.frames.splice(found.at, 1)[0];
  }

  /** True if `frame` was answered, false if the connection was closed instead. */
  answered(start) {
    return this.until(() => (this.frames.some((frame) => frame.startsWith(start)) && 'answered') || (this.closed && 'closed'),
      `an answer ${start} or the end`);
  }

  /** Sends the bytes as a text frame, even if they are not UTF-8. */
  send(data) {
    this.ws.send(data, { binary: false });
  }

  /** Sends an event packet and returns the arguments of its acknowledgement. */
  async ask(id, text) {
    this.send(`42${id}${text}`);
    return JSON.parse((await this.frame(`43${id}[`)).slice(`43${id}`.length));
  }

  close() {
    this.ws.terminate();
  }
}

/** Opens a raw WebSocket and connects to the namespace `/` as `user`. */
export async function rawConnect(server, user) {
  const raw = owned(new Raw(server));
  await raw.frame('0{');
  raw.send(`40${JSON.stringify({ token: token(user) })}`);
  await raw.frame('40{');
  return raw;
}

/** Asserts that the server works: another client joins, posts and gets its message. */
export async function assertServerWorks(client, room) {
  await client.join(room);
  const { id } = await client.post(room, 'all is well');
  await client.next('new-message', (message) => message.id === id);
}
