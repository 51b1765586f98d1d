// Stands in for `node-imports.js` of the Engine.IO protocol's suite, which expects a bare engine that echoes messages. The
// clients that the suite finds as globals reach the server under test; a message goes as the Socket.IO event `message`,
// and the argument of `message-back` comes back as the message. The suite itself stays as it is.
import chai from 'chai';
import chaiString from 'chai-string';
import fetch, { Response } from 'node-fetch';
import { WebSocket } from 'ws';
import { moved, tokenOf } from './parlance.mjs';

const SEPARATOR = '\x1e';
const CONNECT = `40${JSON.stringify({ token: tokenOf('/') })}`;
/** Comes before the attachment that is a binary message. */
const BINARY = '451-["message",{"_placeholder":true,"num":0}]';
const BACK = '42["message-back",';

const isMessage = (packet) => packet.startsWith('4');
const asEvent = (packet) => `42["message",${JSON.stringify(packet.slice(1))}]`;
/** The suite's packet for one of the server's; none for what only Socket.IO has. */
function asMessage(packet) {
  if (packet.startsWith(BACK)) return `4${JSON.parse(packet.slice(BACK.length, -1))}`;
  return isMessage(packet) ? null : packet;
}

class SuiteWebSocket extends WebSocket {
  /** What waits for the namespace; null when there is nothing to wait for. */
  #waiting = null;
  #joined = false;

  constructor(url, ...rest) {
    super(moved(url), ...rest);
  }

  send(data) {
    if (typeof data === 'string' && !isMessage(data)) return super.send(data);
    const frames = typeof data === 'string' ? [asEvent(data)] : [BINARY, data];
    if (this.#joined) {
      for (const frame of frames) super.send(frame);
    } else if (this.#waiting) {
      this.#waiting.push(...frames);
    } else {
      this.#waiting = frames;
      super.send(CONNECT);
    }
    return undefined;
  }

  emit(name, data, isBinary) {
    if (name !== 'message' || isBinary) return super.emit(name, data, isBinary);
    const packet = data.toString();
    if (packet.startsWith('40{')) {
      this.#joined = true;
      for (const frame of this.#waiting) super.send(frame);
    }
    const message = asMessage(packet);
    return message !== null && super.emit(name, Buffer.from(message), isBinary);
  }
}

/** The messages that are on their way back, by session. */
const missing = new Map();

/** Polls until a packet begins so. */
async function pollFor(address, start) {
  for (;;) {
    const text = await (await fetch(address)).text();
    if (text.split(SEPARATOR).some((packet) => packet.startsWith(start))) return;
  }
}

async function post(address, options) {
  const packets = options.body.split(SEPARATOR);
  const messages = packets.filter((packet) => isMessage(packet) || packet.startsWith('b'));
  if (messages.length === 0) return fetch(address, options);
  await fetch(address, { method: 'post', body: CONNECT });
  await pollFor(address, '42["auth"');
  missing.set(new URL(address).searchParams.get('sid'), messages.length);
  const events = packets.flatMap((packet) => isMessage(packet) ? asEvent(packet) : [BINARY, packet]);
  return fetch(address, { ...options, body: events.join(SEPARATOR) });
}

/** A poll; as many as it takes when messages are on their way, since handlers need not have answered all at once. */
async function poll(address, options) {
  const sid = new URL(address).searchParams.get('sid');
  let left = missing.get(sid) ?? 0;
  if (left === 0) return fetch(address, options);
  const messages = [];
  while (left > 0) {
    const answer = await fetch(address, options);
    if (answer.status !== 200) return answer;
    const came = (await answer.text()).split(SEPARATOR).map(asMessage).filter((packet) => packet !== null);
    // Pings are the server's own and come when they come.
    const echoes = came.filter((packet) => packet !== '2');
    messages.push(...echoes);
    left -= echoes.length;
  }
  missing.delete(sid);
  return new Response(messages.join(SEPARATOR));
}

chai.use(chaiString);
globalThis.chai = chai;
globalThis.WebSocket = SuiteWebSocket;
globalThis.fetch = (url, options) => {
  const address = moved(url);
  return options?.body ? post(address, options) : poll(address, options);
};
