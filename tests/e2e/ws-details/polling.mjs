// Sessions over polling.
import { exchange, UPGRADE } from '../lib/wire.mjs';
import { pickHeaders, Polling, SEPARATOR, summaryOf } from '../lib/sessions.mjs';
import { MAX_PAYLOAD } from './settings.mjs';

/** Posts a body in a session in a namespace, and observes the response and what happens to the session. */
const post = (body, headers) => async (server) => {
  const session = await Polling.join(server);
  return [summaryOf(await session.post(body, headers)), ...await session.rest()];
};
/** Like `post`, before the session is in a namespace. */
const postBefore = (body, headers) => async (server) => {
  const session = await Polling.open(server);
  return [summaryOf(await session.post(body, headers)), await session.isOpen()];
};
const request = (method, options) => async (server) => {
  const session = await Polling.join(server);
  return [summaryOf(await session.request(method, options)), ...await session.rest()];
};
const BINARY = '451-["message",{"_placeholder":true,"num":0}]';

export default {
  'an event': post('42["message","text"]'),
  'several events': post(['42["message",1]', '42["message",2]'].join(SEPARATOR)),
  'an event with an attachment': post([BINARY, 'bAQID'].join(SEPARATOR)),
  'base64 with a line end': post([BINARY, 'bAQ\r\nID'].join(SEPARATOR)),
  'base64 without its padding': post([BINARY, 'bAQ'].join(SEPARATOR)),
  'base64 of the other alphabet': post([BINARY, 'b-_-_'].join(SEPARATOR)),
  'base64 that is none': post([BINARY, 'b***'].join(SEPARATOR)),
  'an attachment that was not announced': post('bAQID'),
  'an empty body': post(''),
  'nothing but separators': post(SEPARATOR.repeat(2)),
  'an empty packet behind an event': post(`42["message",1]${SEPARATOR}`),
  'an unknown packet type': post('7'),
  'a letter': post('x'),
  'an unknown packet type behind an event': post(['42["message",1]', 'x'].join(SEPARATOR)),
  'an event behind an unknown packet type': post(['x', '42["message",1]'].join(SEPARATOR)),
  'a ping of the client': post('2'),
  'a pong without a ping': post('3'),
  'OPEN, UPGRADE and NOOP of the client': post(['0', '5', '6'].join(SEPARATOR)),
  'a message without content': post('4'),
  'CLOSE': post('1'),
  'CLOSE before an event': post(['1', '42["message",1]'].join(SEPARATOR)),
  'a body that is not UTF-8': post(Buffer.from([0x34, 0x32, 0x5b, 0x22, 0x6d, 0xff, 0x22, 0x5d])),
  'a body of bytes': post('42["message",1]', { 'Content-Type': 'application/octet-stream' }),
  'a body without a type': request('POST', { body: '42["message",1]' }),
  'a body in chunks': request('POST', {
    headers: { 'Transfer-Encoding': 'chunked', 'Content-Length': null },
    body: 'f\r\n42["message",1]\r\n0\r\n\r\n',
  }),
  'a body with a form\'s field': post('d=42["message",1]', { 'Content-Type': 'application/x-www-form-urlencoded' }),
  'a large event': post(`42["message","${'x'.repeat(30_000)}"]`),
  'a body that is announced to be too large': post('x'.repeat(MAX_PAYLOAD + 1)),
  'PUT': request('PUT', { body: '42["message",1]' }),
  'DELETE': request('DELETE'),
  'HEAD': request('HEAD'),
  'PATCH': request('PATCH', { body: '' }),
  'a poll with the headers of a WebSocket': async (server) => {
    const session = await Polling.join(server);
    await session.post('42["message",1]');
    return [summaryOf(await exchange(server, 'GET', session.target, { headers: UPGRADE })), ...await session.rest()];
  },
  'a poll by its headers': async (server) => {
    const session = await Polling.open(server);
    await session.post(`40${JSON.stringify(server.auth)}`);
    return pickHeaders(await session.poll(), ['content-type', 'cache-control']);
  },
  'the headers of an answer to a body': async (server) => {
    const session = await Polling.open(server);
    return pickHeaders(await session.post('3'), ['content-type', 'cache-control']);
  },
  'two polls at once': async (server) => {
    const session = await Polling.join(server);
    const first = await session.begin('GET');
    const second = await session.poll();
    // Whichever the server has taken first.
    return [...[summaryOf(await first.answer()), summaryOf(second)].sort(), ...await session.rest()];
  },
  'two bodies at once': async (server) => {
    const session = await Polling.join(server);
    await session.begin('POST', { headers: { 'Content-Length': 15 } }, '42["me');
    return [summaryOf(await session.post('42["message",2]')), ...await session.rest()];
  },
  'a poll that is cut': async (server) => {
    const session = await Polling.join(server);
    (await session.begin('GET')).close();
    return session.gone();
  },
  'a body that is cut': async (server) => {
    const session = await Polling.join(server);
    (await session.begin('POST', { headers: { 'Content-Length': 15 } }, '42["me')).close();
    return session.gone();
  },
  'CLOSE while a poll waits': async (server) => {
    const session = await Polling.join(server);
    const poll = await session.begin('GET');
    const closed = await session.post('1');
    return [summaryOf(closed), summaryOf(await poll.answer()), ...await session.rest()];
  },
  'an event before the namespace': postBefore('42["message",1]'),
  'an attachment before the namespace': postBefore('bAQID'),
  'DISCONNECT before the namespace': postBefore('41'),
  'CLOSE before the namespace': postBefore('1'),
};
