// What is known of the suites: how many tests each has, and which of them fail, each with the reason.

const ELSEWHERE = 'the admin API has no such operation';
const ACKNOWLEDGEMENTS = 'a back end gets no acknowledgements, and a handler gets only those of clients of Parlance';
const OWN_HANDLER = 'an event that a back end sends to the servers reaches the handler of the node too';
const NODES_REDIS = 'takes the Redis clients from the adapter of this server, which is not one of Node';
const ANSWERS = 'the handler answers a server, not a function in the process of the test';
const ALWAYS_ANSWERS = 'a node answers always, with null when its handler returns nothing';

const BY_PLACE = {
  first: {
    'common broadcast broadcasts to local clients only': 'an event goes to the clients of all servers',
    'common broadcast broadcasts with multiple acknowledgements': ACKNOWLEDGEMENTS,
    'common broadcast broadcasts with multiple acknowledgements (binary content)': ACKNOWLEDGEMENTS,
    'common broadcast broadcasts with multiple acknowledgements (no client)': ACKNOWLEDGEMENTS,
    'common broadcast broadcasts with multiple acknowledgements (timeout)': ACKNOWLEDGEMENTS,
    'common socketsJoin makes all socket instances join the specified room': ELSEWHERE,
    'common socketsJoin makes the matching socket instances join the specified room': ELSEWHERE,
    'common socketsJoin makes the given socket instance join the specified room': ELSEWHERE,
    'common socketsLeave makes all socket instances leave the specified room': ELSEWHERE,
    'common socketsLeave makes the matching socket instances leave the specified room': ELSEWHERE,
    'common socketsLeave makes the given socket instance leave the specified room': ELSEWHERE,
    'common fetchSockets returns all socket instances': 'finds the three, and then looks into the adapter of Node',
    'common fetchSockets returns a single socket instance': 'the admin API shows the address, not the handshake',
    'common fetchSockets returns only local socket instances': 'the admin API finds the clients of all servers',
    'common serverSideEmit sends an event to other server instances': OWN_HANDLER,
    'common serverSideEmit sends an event and receives a response from the other server instances': OWN_HANDLER,
    'common serverSideEmit sends an event but timeout if one server does not respond': OWN_HANDLER,
    'specifics ignores messages from unknown channels': NODES_REDIS,
    'specifics ignores messages from unknown channels (2)': NODES_REDIS,
    'specifics allRooms returns all rooms across several nodes': ELSEWHERE,
  },
  second: {
    'common fetchSockets returns a single socket instance':
      'a handler keeps an object with a connection, not a text, and the handshake has fewer fields',
    'common serverSideEmit sends an event and receives a response from the other server instances': ANSWERS,
    'common serverSideEmit sends an event but timeout if one server does not respond': ANSWERS,
    'specifics broadcast broadcasts to a numeric room': 'the name of a room is text, also when it has only digits',
  },
  third: {
    'common serverSideEmit sends an event and receives a response from the other server instances': ANSWERS,
    'common serverSideEmit sends an event but timeout if one server does not respond': ALWAYS_ANSWERS,
    'specifics ignores messages from unknown channels': NODES_REDIS,
    'specifics ignores messages from unknown channels (2)': NODES_REDIS,
  },
};
/** Tests that the suite leaves out for sharded adapters. */
const NOT_SHARDED = ['specifics broadcast broadcasts to a numeric room', 'specifics allRooms returns all rooms across several nodes'];
/** Of each variant, without one that the suite always leaves out. */
const ADAPTER_TESTS = 28;

/** The suite of an adapter in the three places; `variants` are the suite's own names. */
function adapter(name, variants, without = []) {
  return Object.fromEntries(Object.entries(BY_PLACE).map(([place, known]) => {
    const titles = Object.entries(known).filter(([title]) => !without.includes(title));
    const failing = variants.flatMap((variant) => titles.map(([title, why]) => [`@socket.io/redis-adapter ${variant} ${title}`, why]));
    const tests = variants.length * (ADAPTER_TESTS - without.length);
    return [`${name}, ${place}`, { tests, failing: Object.fromEntries(failing) }];
  }));
}

const sharded = (name, mode) => adapter(`redis-adapter sharded ${name}`, [`[sharded] redis@5 standalone (${mode})`], NOT_SHARDED);

export const KNOWN = {
  'engine.io-protocol': { tests: 25, failing: {} },
  'socket.io-protocol': { tests: 32, failing: {} },
  'socket.io-client': {
    tests: 111,
    failing: {
      'socket should fire an error event on middleware failure from custom namespace':
        'a handler cannot refuse a connection in words of its own: the token decides',
      'connection state recovery should have an accessible socket id equal to the server-side socket id (default namespace)':
        'a client that was away joins with `after` instead, which holds for any length of time',
    },
  },
  ...adapter('redis-adapter', ['redis@5 standalone', 'redis@5 standalone (specific response channel)']),
  ...sharded('dynamic', 'dynamic subscription mode'),
  ...sharded('dynamic-private', 'dynamic subscription mode & dynamic private channels'),
  ...sharded('static', 'static subscription mode'),
  'redis-emitter': {
    tests: 17,
    failing: {
      'emitter - custom parser should be able to emit any kind of data': 'Parlance reads MessagePack, as servers do unless configured otherwise',
    },
  },
};
