// Socket.IO packets.
import { OPCODE } from '../lib/wire.mjs';
import { Socket } from '../lib/sessions.mjs';

/** Sends these packets in a session and observes what happens to it; buffers are attachments. */
const send = (...packets) => async (server) => {
  const socket = await Socket.join(server);
  for (const packet of packets) socket.send(Buffer.isBuffer(packet) ? OPCODE.binary : OPCODE.text, packet);
  return socket.rest();
};
/** Sends a packet in a session without a namespace and observes the answer. */
const first = (packet) => async (server) => {
  const socket = await Socket.begin(server);
  socket.text(typeof packet === 'function' ? packet(server) : packet);
  return socket.restBelow();
};
const ONE = Buffer.from([1]);
const PLACEHOLDER = '{"_placeholder":true,"num":0}';

export default {
  'CONNECT with an array': first('40[]'),
  'CONNECT with a text': first('40"token"'),
  'CONNECT with half an object': first('40{"token":'),
  'CONNECT to a namespace that is not there': async (server) => {
    const socket = await Socket.begin(server);
    socket.text('40/unknown,{}');
    return [...await socket.frame('44'), ...await socket.restBeforeConnect()];
  },
  'CONNECT to a namespace that is not there, without a comma': async (server) => {
    const socket = await Socket.begin(server);
    socket.text('40/unknown');
    return [...await socket.frame('44'), ...await socket.restBeforeConnect()];
  },
  'CONNECT to a namespace with a query': async (server) => {
    const socket = await Socket.begin(server);
    socket.text(`40/?token=a,${JSON.stringify(server.auth)}`);
    return socket.frame('4');
  },
  'CONNECT twice': async (server) => {
    const socket = await Socket.join(server);
    socket.text(`40${JSON.stringify(server.auth)}`);
    return socket.rest();
  },
  'DISCONNECT': async (server) => {
    const socket = await Socket.join(server);
    socket.text('41');
    return socket.restBelow();
  },
  'DISCONNECT, then CONNECT': async (server) => {
    const socket = await Socket.join(server);
    socket.text('41');
    // Node's server leaves the namespace one turn of its event loop later.
    return [...await socket.restBelow(), ...await socket.restBeforeConnect()];
  },
  'DISCONNECT, then an event': async (server) => {
    const socket = await Socket.join(server);
    socket.text('41');
    return [...await socket.restBelow(), ...await socket.rest()];
  },
  'DISCONNECT with a payload': send('41{}'),
  'DISCONNECT of a namespace that is not there': send('41/unknown,'),
  'an event': send('42["message",1,"2",{"3":[true]}]'),
  'an event for a namespace that is not there': send('42/unknown,["message",1]'),
  'an event without arguments': send('42["message"]'),
  'an event without a name': send('42[]'),
  'an event whose name is a number': send('42[7,1]'),
  'an event whose name is null': send('42[null,1]'),
  'an event whose name is an object': send('42[{},1]'),
  'an event whose name is empty': send('42["",1]'),
  'an event that is an object': send('42{}'),
  'an event without a payload': send('42'),
  'an event that is not JSON': send('42["message",'),
  'an event with words behind it': send('42["message",1]x'),
  'an event with spaces in it': send('42 [ "message" , 1 ]'),
  'an event with an escaped name': send('42["\\u006dessage",1]'),
  'an event named connect': send('42["connect",1]'),
  'an event named connect_error': send('42["connect_error",1]'),
  'an event named disconnect': send('42["disconnect",1]'),
  'an event named disconnecting': send('42["disconnecting",1]'),
  'an event named newListener': send('42["newListener",1]'),
  'an event that nobody handles': send('42["unknown-to-all",1]'),
  'half of a surrogate pair': send('42["message","\\ud800"]'),
  'a number that is too large for JavaScript': send('42["message",1e999]'),
  'the key __proto__': send('42["message",{"__proto__":{"a":1}}]'),
  'an acknowledgement': send('421["message-with-ack",1,"2"]'),
  'an acknowledgement without arguments': send('421["message-with-ack"]'),
  'an acknowledgement with the number 0': send('420["message-with-ack"]'),
  'an acknowledgement with a number with zeros': send('42007["message-with-ack"]'),
  'an acknowledgement with a large number': send('429007199254740991["message-with-ack"]'),
  'an acknowledgement with a number that JavaScript does not have': send('4299999999999999999999["message-with-ack"]'),
  'an acknowledgement with a negative number': send('42-1["message-with-ack"]'),
  'an acknowledgement with letters': send('42abc["message-with-ack",1]'),
  'an acknowledgement with a space behind its number': send('421 ["message-with-ack"]'),
  'an answer that nobody asked for': send('4399[1]'),
  'an answer without a number': send('43[1]'),
  'an answer that is an object': send('431{}'),
  'CONNECT_ERROR of the client': send('44{"message":"no"}'),
  'an unknown packet type': send('47'),
  'a letter': send('4abc'),
  'an attachment': send(`451-["message",${PLACEHOLDER}]`, ONE),
  'an attachment and an acknowledgement': send(`451-1["message-with-ack",${PLACEHOLDER}]`, ONE),
  'an attachment twice': send(`451-["message",${PLACEHOLDER},${PLACEHOLDER}]`, ONE),
  'no attachment in a packet for some': send('450-["message",1]'),
  'no number of attachments': send('45-["message",1]'),
  'no dash behind the number of attachments': send('451["message",1]'),
  'a number of attachments with letters': send('45x-["message",1]'),
  'a placeholder for an attachment that is not there': send('451-["message",{"_placeholder":true,"num":7}]', ONE),
  'a placeholder with a negative number': send('451-["message",{"_placeholder":true,"num":-1}]', ONE),
  'a placeholder in an event without attachments': send(`42["message",${PLACEHOLDER}]`),
  'a text before the last attachment': send(`452-["message",${PLACEHOLDER}]`, ONE, '42["message",2]'),
  'an attachment too many': async (server) => {
    const socket = await Socket.join(server);
    socket.text(`451-["message",${PLACEHOLDER}]`);
    socket.send(OPCODE.binary, ONE);
    const echoed = await socket.rest();
    socket.send(OPCODE.binary, ONE);
    return [...echoed, ...await socket.rest()];
  },
  'many attachments': send(`4511-["message",${PLACEHOLDER}]`, ...Array(11).fill(ONE)),
  'a binary answer that nobody asked for': send('461-99[{"_placeholder":true,"num":0}]', ONE),
};
