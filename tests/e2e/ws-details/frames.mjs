// WebSocket frames: valid and invalid ones by RFC 6455, and Engine.IO packets in them.
import { closing, OPCODE } from '../lib/wire.mjs';
import { Socket } from '../lib/sessions.mjs';
import { MAX_PAYLOAD } from './settings.mjs';

const { text, binary, continuation, close, ping, pong } = OPCODE;
/** An event in two fragments. */
const EVENT = ['42["mess', 'age",1]'];

/** Sends these frames in a session and observes what happens to it. */
const send = (...frames) => async (server) => {
  const socket = await Socket.join(server);
  for (const frame of frames) socket.send(...frame);
  return socket.rest();
};
const texts = (...all) => send(...all.map((each) => [text, each]));
/** Like `texts`, before the session is in a namespace. */
const before = (...all) => async (server) => {
  const socket = await Socket.begin(server);
  socket.text(...all);
  return socket.restBeforeConnect();
};

export default {
  'base64 in a text frame': texts('451-["message",{"_placeholder":true,"num":0}]', 'bAQID'),
  'a ping of the client': texts('2'),
  'a pong without a ping': texts('3'),
  'a pong with a word': texts('3probe'),
  'CLOSE': texts('1'),
  'OPEN, UPGRADE and NOOP of the client': texts('0', '5', '6'),
  'an unknown packet type': texts('7'),
  'a letter': texts('x'),
  'an empty text': texts(''),
  'no bytes': send([binary, '']),
  'bytes that were not announced': send([binary, Buffer.from([1, 2, 3])]),
  'a message without content': texts('4'),
  'text that is not UTF-8': send([text, Buffer.from([0x34, 0x32, 0x5b, 0x22, 0x6d, 0xff, 0x22, 0x5d])]),
  'a frame without a mask': send([text, '42["message",1]', { masked: false }]),
  'a reserved bit': send([text, '42["message",1]', { reserved: 0b100 }]),
  'another reserved bit': send([text, '42["message",1]', { reserved: 0b010 }]),
  'an unknown opcode': send([0x3, 'x']),
  'an unknown control opcode': send([0xb, 'x']),
  'a message in pieces': send([text, EVENT[0], { last: false }], [continuation, EVENT[1]]),
  'a message in pieces, some of them empty': send([text, '', { last: false }], [continuation, EVENT.join(''), { last: false }],
    [continuation, '']),
  'a character that is cut in two': send([text, Buffer.from('42["message","é"]').subarray(0, 15), { last: false }],
    [continuation, Buffer.from('42["message","é"]').subarray(15)]),
  'a ping between the pieces': send([text, EVENT[0], { last: false }], [ping, 'between'], [continuation, EVENT[1]]),
  'a message between the pieces': send([text, EVENT[0], { last: false }], [text, '42["message",2]'], [continuation, EVENT[1]]),
  'a piece of nothing': send([continuation, EVENT[1]]),
  'a ping in pieces': send([ping, 'a', { last: false }], [continuation, 'b']),
  'a ping': send([ping, 'hello']),
  'a ping without a word': send([ping, '']),
  'the longest ping': send([ping, 'x'.repeat(125)]),
  'a ping that is too long': send([ping, 'x'.repeat(126)]),
  'a pong that nobody asked for': send([pong, 'hello']),
  'a close frame': send([close, closing(1000)]),
  'a close frame without a code': send([close, '']),
  'a close frame of an application': send([close, closing(4000, 'done')]),
  'a close frame with half a code': send([close, Buffer.from([3])]),
  'a close frame with a code that must not be sent': send([close, closing(1005)]),
  'a close frame with an unknown code': send([close, closing(999)]),
  'a close frame with words that are not UTF-8': send([close, Buffer.concat([closing(1000), Buffer.from([0xff])])]),
  'a close frame that is too long': send([close, closing(1000, 'x'.repeat(124))]),
  'a message that is announced to be too large': send([text, '42["', { length: MAX_PAYLOAD + 1 }]),
  'pieces that are too large together': send([text, `42["message","${'x'.repeat(MAX_PAYLOAD - 100)}`, { last: false }],
    [continuation, 'x'.repeat(200)]),
  'a length that no server has room for': send([text, '', { length: 2 ** 52 }]),
  'an event before the namespace': before('42["message",1]'),
  'an acknowledgement before the namespace': before('431[]'),
  'DISCONNECT before the namespace': before('41'),
  'CLOSE before the namespace': before('1'),
  'bytes before the namespace': async (server) => {
    const socket = await Socket.begin(server);
    socket.send(binary, Buffer.from([1]));
    return socket.restBeforeConnect();
  },
};
