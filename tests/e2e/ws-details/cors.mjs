// Requests of pages from other origins.
import { exchange, UPGRADE } from '../lib/wire.mjs';
import { pickHeaders, Polling, POLLING, summaryOf, WEBSOCKET } from '../lib/sessions.mjs';
import { ALLOWED_ORIGIN } from './settings.mjs';

const OTHER_ORIGIN = 'http://other.example';
const seen = (answer) => [summaryOf(answer), ...pickHeaders(answer, ['access-control-allow-origin', 'access-control-allow-headers'])];
/** The headers of a preflight's response, whose status must be 200 or 204. */
const preflight = (headers) => async (server) => seen(await exchange(server, 'OPTIONS', POLLING, { headers })).slice(1);
const asked = { Origin: ALLOWED_ORIGIN, 'Access-Control-Request-Method': 'POST' };

export default {
  'a preflight of a page that may connect': preflight(asked),
  'a preflight that asks for headers': preflight({ ...asked, 'Access-Control-Request-Headers': 'authorization,x-custom' }),
  'a preflight of another page': preflight({ ...asked, Origin: OTHER_ORIGIN }),
  'OPTIONS without an origin': preflight({}),
  'the methods that a page may use': async (server) =>
    pickHeaders(await exchange(server, 'OPTIONS', POLLING, { headers: asked }), ['access-control-allow-methods']),
  'cookies of a page that may connect': async (server) =>
    pickHeaders(await exchange(server, 'GET', POLLING, { headers: asked }), ['access-control-allow-credentials']),
  'polling of a page that may connect': async (server) => seen(await exchange(server, 'GET', POLLING, { headers: { Origin: ALLOWED_ORIGIN } })),
  'polling of another page': async (server) => seen(await exchange(server, 'GET', POLLING, { headers: { Origin: OTHER_ORIGIN } })),
  'a post of a page that may connect': async (server) => {
    const session = await Polling.open(server);
    return seen(await session.post('3', { Origin: ALLOWED_ORIGIN }));
  },
  'an error for a page that may connect': async (server) =>
    seen(await exchange(server, 'GET', `${POLLING}&sid=unknown`, { headers: { Origin: ALLOWED_ORIGIN } })),
  'a WebSocket of a page that may connect': async (server) =>
    summaryOf(await exchange(server, 'GET', WEBSOCKET, { headers: { ...UPGRADE, Origin: ALLOWED_ORIGIN } })),
  'a WebSocket of another page': async (server) =>
    summaryOf(await exchange(server, 'GET', WEBSOCKET, { headers: { ...UPGRADE, Origin: OTHER_ORIGIN } })),
};
