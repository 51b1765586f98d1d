// Stands in for `node-imports.js` of the Socket.IO protocol's suite: the clients that the suite finds as globals reach the
// server under test, and show a token when they ask for a namespace. The suite itself stays as it is.
import chai from 'chai';
import chaiString from 'chai-string';
import fetch from 'node-fetch';
import { WebSocket } from 'ws';
import { moved, tokenOf } from './parlance.mjs';

/** The suite's own field `token` goes by this name on the wire, where `token` is the server's. */
const THEIRS = 'suite-token';
const CONNECT = /^40(?:(\/[^,]*)(?:,|$))?(\{.*\})?$/s;

/** A CONNECT packet with the token of its namespace; anything else as it is. */
function withToken(data) {
  const parts = typeof data === 'string' && data.match(CONNECT);
  if (!parts) return data;
  const [, namespace = '/', payload = '{}'] = parts;
  const token = tokenOf(namespace);
  if (!token) return data;
  const { token: theirs, ...rest } = JSON.parse(payload);
  const auth = { ...rest, ...(theirs === undefined ? {} : { [THEIRS]: theirs }), token };
  return `40${namespace === '/' ? '' : `${namespace},`}${JSON.stringify(auth)}`;
}

class SuiteWebSocket extends WebSocket {
  constructor(url, ...rest) {
    super(moved(url), ...rest);
  }

  send(data, ...rest) {
    super.send(withToken(data), ...rest);
  }

  emit(name, data, isBinary) {
    if (name !== 'message' || isBinary) return super.emit(name, data, isBinary);
    return super.emit(name, Buffer.from(data.toString().replace(`"${THEIRS}"`, '"token"')), isBinary);
  }
}

chai.use(chaiString);
globalThis.chai = chai;
globalThis.fetch = (url, options) => fetch(moved(url), options);
globalThis.WebSocket = SuiteWebSocket;
