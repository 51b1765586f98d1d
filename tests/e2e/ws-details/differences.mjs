// The exchanges in which this server answers differently from Node's, each with the reason.
const OPEN = '200 0{"sid":"…","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}';

export const DIFFERENCES = [
  {
    why: 'A query is compared as it is: no client encodes the letters of these names and values.',
    exchanges: {
      'handshake: a parameter with an encoded name': {
        node: OPEN,
        parlance: '400 code 5',
      },
      'handshake: a parameter with an encoded value': {
        node: OPEN,
        parlance: '400 code 0',
      },
    },
  },
  {
    why: 'The path is served with and without its last slash, and no other that begins like it.',
    exchanges: {
      'handshake: a path without its last slash': {
        node: '404',
        parlance: OPEN,
      },
      'handshake: a path that goes on': {
        node: OPEN,
        parlance: '404',
      },
    },
  },
  {
    why: 'A refused WebSocket gets the code as JSON, as over polling; Node\'s server sends words.',
    exchanges: {
      'handshake: a WebSocket for an unknown session': { node: '400 text', parlance: '400 code 1' },
      'handshake: an upgrade to something else': { node: '400 text', parlance: '400 code 3' },
      'handshake: a WebSocket of version 12': { node: '400 text', parlance: '400 code 3' },
      'handshake: a WebSocket without a version': { node: '400 text', parlance: '400 code 3' },
      'handshake: a WebSocket without a key': { node: '400 text', parlance: '400 code 3' },
      'handshake: a WebSocket with a key that is too short': { node: '400 text', parlance: '400 code 3' },
      'handshake: a WebSocket by POST': { node: '400 text', parlance: '400 code 2' },
    },
  },
  {
    why: 'Version 8 is a draft\'s, from before RFC 6455.',
    exchanges: {
      'handshake: a WebSocket of version 8': { node: '101', parlance: '400 code 3' },
    },
  },
  {
    why: 'Only the transport `websocket` makes a WebSocket. Node\'s server makes one that the session does not use.',
    exchanges: {
      'handshake: polling with the headers of a WebSocket': {
        node: '101',
        parlance: OPEN,
      },
      'polling: a poll with the headers of a WebSocket': {
        node: ['101', '42["message-back",1]', 'open'],
        parlance: ['200 42["message-back",1]', 'open'],
      },
    },
  },
  {
    why: 'Pages need GET and POST.',
    exchanges: {
      'cors: the methods that a page may use': {
        node: ['access-control-allow-methods: GET,HEAD,PUT,PATCH,POST,DELETE'],
        parlance: ['access-control-allow-methods: GET,POST'],
      },
    },
  },
  {
    why: 'Pages that may connect may do so behind a proxy that keeps a client at its node by a cookie.',
    exchanges: {
      'cors: cookies of a page that may connect': { node: [], parlance: ['access-control-allow-credentials: true'] },
    },
  },
  {
    why: 'Browsers send the origin of a page with a WebSocket, and the server is the one to look at it.',
    exchanges: {
      'cors: a WebSocket of another page': { node: '101', parlance: '403 text' },
    },
  },
  {
    why: 'A body that is not Engine.IO is answered as such, as the protocol\'s suite has it; Node\'s server answers before it looks. Either way the session ends.',
    exchanges: {
      'polling: an empty body': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: nothing but separators': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: an empty packet behind an event': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: an unknown packet type': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: a letter': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: an unknown packet type behind an event': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: an event behind an unknown packet type': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: a ping of the client': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: a body with a form\'s field': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: an event before the namespace': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
      'polling: an attachment before the namespace': { node: ['200 ok', 'ended'], parlance: ['400 code 3', 'ended'] },
    },
  },
  {
    why: 'Bytes that nobody can read are refused, rather than lost without a word.',
    exchanges: {
      'polling: base64 that is none': {
        node: ['200 ok', '451-["message-back",{"_placeholder":true,"num":0}]', 'b', 'open'],
        parlance: ['400 code 3', 'ended'],
      },
      'polling: a body that is not UTF-8': { node: ['200 ok', 'open'], parlance: ['400 code 3', 'ended'] },
    },
  },
  {
    why: 'A session that the server has ended takes no further body, and tells the next poll; Node\'s server takes bodies until then.',
    exchanges: {
      'polling: an attachment that was not announced': { node: ['200 ok', '6', '1', 'ended'], parlance: ['200 ok', 'ended'] },
      'polling: a message without content': { node: ['200 ok', '6', '1', 'ended'], parlance: ['200 ok', 'ended'] },
    },
  },
  {
    why: 'The type of a body does not matter: packets are text.',
    exchanges: {
      'polling: a body of bytes': { node: ['400', 'ended'], parlance: ['200 ok', '42["message-back",1]', 'open'] },
    },
  },
  {
    why: 'A client that sends more than `maxPayload` says is wrong about the session, which ends.',
    exchanges: {
      'polling: a body that is announced to be too large': { node: ['413', 'open'], parlance: ['413 code 3', 'ended'] },
    },
  },
  {
    why: 'A method that is not the protocol\'s is a bad request; Node\'s server fails.',
    exchanges: {
      'polling: PUT': { node: ['500', 'open'], parlance: ['400 code 3', 'open'] },
      'polling: DELETE': { node: ['500', 'open'], parlance: ['400 code 3', 'open'] },
      'polling: HEAD': { node: ['500', 'open'], parlance: ['400', 'open'] },
      'polling: PATCH': { node: ['500', 'open'], parlance: ['400 code 3', 'open'] },
    },
  },
  {
    why: 'An error has a code and a message; Node\'s server sends none here.',
    exchanges: {
      'polling: two polls at once': { node: ['200 1', '400', 'ended'], parlance: ['200 1', '400 code 3', 'ended'] },
      'polling: two bodies at once': { node: ['400', 'ended'], parlance: ['400 code 3', 'ended'] },
    },
  },
  {
    why: 'A WebSocket takes over after one ping and one pong, as the protocol has it.',
    exchanges: {
      'upgrade: an upgrade without a probe': { node: ['open', 'ended'], parlance: ['close', 'ended', 'open'] },
      'upgrade: the probe twice': { node: ['3probe', '3probe', 'open', 'open'], parlance: ['3probe', 'close', 'ended', 'open'] },
    },
  },
  {
    why: 'CLOSE ends the session over both transports, as the protocol has it; Node\'s server knows it over polling only.',
    exchanges: {
      'frames: CLOSE': { node: ['open'], parlance: ['close', 'ended'] },
      'frames: CLOSE before the namespace': { node: ['40{"sid":"…"}', 'open'], parlance: ['close', 'ended'] },
    },
  },
  {
    why: 'socketioxide passes over packets for a namespace that it does not have, and a second CONNECT.',
    exchanges: {
      'packets: CONNECT twice': { node: ['close', 'ended'], parlance: ['open'] },
      'packets: DISCONNECT of a namespace that is not there': { node: ['close', 'ended'], parlance: ['open'] },
      'packets: an event for a namespace that is not there': { node: ['close', 'ended'], parlance: ['open'] },
    },
  },
  {
    why: 'An event without a name is refused in words.',
    exchanges: {
      'packets: an event whose name is empty': {
        node: ['open'],
        parlance: ['42["error-event",{"event":"","code":"invalid","message":"an event name has 1 to 128 bytes; this one has 0","retryable":false}]', 'open'],
      },
    },
  },
  {
    why: 'An event without a payload has no name. Node\'s server passes over it.',
    exchanges: {
      'packets: an event without a payload': { node: ['open'], parlance: ['close', 'ended'] },
    },
  },
  {
    why: 'White space is not a number: Node\'s server acknowledges an event that did not ask for it.',
    exchanges: {
      'packets: an event with spaces in it': {
        node: ['420["message-back",1]', 'open'],
        parlance: ['42["message-back",1]', 'open'],
      },
    },
  },
  {
    why: 'The names are reserved in JavaScript\'s clients only, which do not send them; a handler may know them.',
    exchanges: {
      'packets: an event named connect': { node: ['close', 'ended'], parlance: ['open'] },
      'packets: an event named connect_error': { node: ['close', 'ended'], parlance: ['open'] },
      'packets: an event named disconnect': { node: ['close', 'ended'], parlance: ['open'] },
      'packets: an event named disconnecting': { node: ['close', 'ended'], parlance: ['open'] },
      'packets: an event named newListener': { node: ['close', 'ended'], parlance: ['open'] },
    },
  },
  {
    why: 'JSON has one rule at every door (host/types/src/text.rs): half of a surrogate pair becomes U+FFFD.',
    exchanges: {
      'packets: half of a surrogate pair': {
        node: ['42["message-back","\\ud800"]', 'open'],
        parlance: ['42["message-back","�"]', 'open'],
      },
    },
  },
  {
    why: 'JSON travels as the text that was sent.',
    exchanges: {
      'packets: a number that is too large for JavaScript': {
        node: ['42["message-back",null]', 'open'],
        parlance: ['42["message-back",1e999]', 'open'],
      },
    },
  },
  {
    why: 'A number that cannot be sent back as it came is refused.',
    exchanges: {
      'packets: an acknowledgement with a number that JavaScript does not have': {
        node: ['43100000000000000000000[]', 'open'],
        parlance: ['close', 'ended'],
      },
    },
  },
  {
    why: 'Attachments go back as they came: two placeholders for one of them are that.',
    exchanges: {
      'packets: an attachment twice': {
        node: ['452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', '<01>', '<01>', 'open'],
        parlance: ['451-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', '<01>', 'open'],
      },
    },
  },
  {
    why: 'A packet for attachments that has none is an event like any other.',
    exchanges: {
      'packets: no attachment in a packet for some': { node: ['close', 'ended'], parlance: ['42["message-back",1]', 'open'] },
      'packets: no number of attachments': { node: ['close', 'ended'], parlance: ['42["message-back",1]', 'open'] },
    },
  },
  {
    why: 'What is wrong with an event\'s attachments is told, and the session goes on.',
    exchanges: {
      'packets: a placeholder for an attachment that is not there': {
        node: ['close', 'ended'],
        parlance: ['42["error-event",{"event":"message","code":"invalid","message":"a _placeholder needs a num below 1, the number of attachments","retryable":false}]', 'open'],
      },
      'packets: a placeholder with a negative number': {
        node: ['close', 'ended'],
        parlance: ['42["error-event",{"event":"message","code":"invalid","message":"a _placeholder needs a num below 1, the number of attachments","retryable":false}]', 'open'],
      },
      'packets: many attachments': {
        node: ['close', 'ended'],
        parlance: ['42["error-event",{"event":"message","code":"too-large","message":"the packet has 11 attachments; at most 10 are allowed","retryable":false}]', 'open'],
      },
    },
  },
];
