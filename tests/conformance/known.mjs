// What is known of the suites: how many tests each has, and which of them fail, each with the reason.
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
};
