// Requests that open a session, or should not.
import { exchange, UPGRADE } from '../lib/wire.mjs';
import { PATH, pickHeaders, POLLING, summaryOf, WEBSOCKET } from '../lib/sessions.mjs';

const ask = (method, target, options) => async (server) => summaryOf(await exchange(server, method, target, options));
const get = (target, headers) => ask('GET', target, { headers });
/** The response to a WebSocket handshake without the named headers. */
const websocket = (headers, query = '') => get(WEBSOCKET + query, { ...UPGRADE, ...headers });

export default {
  'polling': get(POLLING),
  'no version': get(`${PATH}?transport=polling`),
  'a version that is no number': get(`${PATH}?EIO=abc&transport=polling`),
  'version 3': get(`${PATH}?EIO=3&transport=polling`),
  'version 5': get(`${PATH}?EIO=5&transport=polling`),
  'no transport': get(`${PATH}?EIO=4`),
  'an unknown transport': get(`${PATH}?EIO=4&transport=pigeon`),
  'a transport by the name of an object\'s method': get(`${PATH}?EIO=4&transport=constructor`),
  'no query': get(PATH),
  'a parameter twice': get(`${POLLING}&transport=polling`),
  'a parameter with an encoded name': get(`${PATH}?EI%4F=4&transport=polling`),
  'a parameter with an encoded value': get(`${PATH}?EIO=4&transport=%70olling`),
  'a path without its last slash': get(`/socket.io?EIO=4&transport=polling`),
  'a path that goes on': get(`${PATH}more?EIO=4&transport=polling`),
  'POST without a session': ask('POST', POLLING, { body: '40' }),
  'PUT without a session': ask('PUT', POLLING, { body: '40' }),
  'DELETE without a session': ask('DELETE', POLLING),
  'HEAD without a session': ask('HEAD', POLLING),
  'a poll of an unknown session': get(`${POLLING}&sid=${'a'.repeat(22)}`),
  'a poll of a session with an odd name': get(`${POLLING}&sid=%00/../`),
  'a poll of a session without a name': get(`${POLLING}&sid=`),
  'a post to an unknown session': ask('POST', `${POLLING}&sid=${'a'.repeat(22)}`, { body: '40' }),
  'a WebSocket for an unknown session': websocket({}, `&sid=${'a'.repeat(22)}`),
  'a WebSocket': websocket({}),
  'a WebSocket without a Connection header': websocket({ Connection: null }),
  'a WebSocket with Connection: close': websocket({ Connection: 'close' }),
  'a WebSocket with Connection: keep-alive, Upgrade': websocket({ Connection: 'keep-alive, Upgrade' }),
  'a WebSocket with Connection: UPGRADE': websocket({ Connection: 'UPGRADE', Upgrade: 'WebSocket' }),
  'a WebSocket without an Upgrade header': websocket({ Upgrade: null }),
  'an upgrade to something else': websocket({ Upgrade: 'h2c' }),
  'a WebSocket of version 8': websocket({ 'Sec-WebSocket-Version': '8' }),
  'a WebSocket of version 12': websocket({ 'Sec-WebSocket-Version': '12' }),
  'a WebSocket without a version': websocket({ 'Sec-WebSocket-Version': null }),
  'a WebSocket without a key': websocket({ 'Sec-WebSocket-Key': null }),
  'a WebSocket with a key that is too short': websocket({ 'Sec-WebSocket-Key': 'c2hvcnQ=' }),
  'a WebSocket by POST': ask('POST', WEBSOCKET, { headers: UPGRADE }),
  'polling with the headers of a WebSocket': get(POLLING, UPGRADE),
  'a WebSocket with protocols': async (server) => {
    const answer = await exchange(server, 'GET', WEBSOCKET, { headers: { ...UPGRADE, 'Sec-WebSocket-Protocol': 'chat, superchat' } });
    return [summaryOf(answer), ...pickHeaders(answer, ['sec-websocket-protocol'])];
  },
  'a WebSocket with compression': async (server) => {
    const headers = { ...UPGRADE, 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' };
    const answer = await exchange(server, 'GET', WEBSOCKET, { headers });
    return [summaryOf(answer), ...pickHeaders(answer, ['sec-websocket-extensions', 'sec-websocket-accept'])];
  },
};
