// What a handler may call, and the errors that it may throw. `index.d.ts` has the types and says what each does.
import * as broadcastHost from 'parlance:chat/broadcast@0.1.0';
import * as identityHost from 'parlance:chat/identity@0.1.0';
import * as messagesHost from 'parlance:chat/messages@0.1.0';
import * as presenceHost from 'parlance:chat/presence@0.1.0';
import * as roomsHost from 'parlance:chat/rooms@0.1.0';
import * as settingsHost from 'parlance:chat/settings@0.1.0';
import * as timersHost from 'parlance:chat/timers@0.1.0';
import { call, kind, moment, optionalText, text, texts, whole } from 'parlance-handlers/host.js';
import { json, parseJson, toWire } from 'parlance-handlers/json.js';

export {
  Conflict,
  Denied,
  Fault,
  Invalid,
  NotFound,
  QuotaExceeded,
  RateLimited,
  Rejection,
  TooLarge,
  Unavailable,
} from 'parlance-handlers/errors.js';
export { kv, KvKey, KvMap, KvSet } from 'parlance-handlers/kv.js';
export { members } from 'parlance-handlers/members.js';
export { moderate } from 'parlance-handlers/moderate.js';
export { requests } from 'parlance-handlers/requests.js';
export { revise } from 'parlance-handlers/revise.js';

const message = (stored) => ({ ...stored, metadata: parseJson(stored.metadata) });

export const messages = {
  post(draft) {
    if (typeof draft !== 'object' || draft === null) {
      throw new TypeError(`messages.post() takes an object with room and content, not ${kind(draft)}`);
    }
    const { metadata } = draft;
    return call('messages.post', messagesHost.post, {
      room: text('the room of messages.post()', draft.room),
      content: text('the content of messages.post()', draft.content),
      metadata: metadata === null || metadata === undefined ? null : json('the metadata of messages.post()', metadata),
      clientId: optionalText('the clientId of messages.post()', draft.clientId),
    });
  },
  get: (id) => message(call('messages.get', messagesHost.get, text('the id of messages.get()', id))),
  history(room, { before, limit = 50 } = {}) {
    const below = before === undefined || before === null ? null : whole('before of messages.history()', before, 0, Number.MAX_SAFE_INTEGER);
    const count = whole('limit of messages.history()', limit, 0, 10_000);
    return call('messages.history', messagesHost.history, text('the room of messages.history()', room), below, count).map(message);
  },
  markRead: (id) => call('messages.markRead', messagesHost.markRead, text('the id of messages.markRead()', id)),
};

export const Audience = {
  room: (room) => ({ tag: 'room', val: text('the room of Audience.room()', room) }),
  othersInRoom: (room) => ({ tag: 'others-in-room', val: text('the room of Audience.othersInRoom()', room) }),
  user: (user) => ({ tag: 'user', val: text('the user of Audience.user()', user) }),
  sender: { tag: 'sender' },
};

const AUDIENCES = ['room', 'others-in-room', 'user', 'sender'];

function audience(what, to) {
  if (AUDIENCES.includes(to?.tag)) return to;
  throw new TypeError(`the first argument of ${what}() says who gets the event, such as Audience.room('general')`);
}

export function emit(to, event, ...args) {
  const wire = toWire('the arguments of emit()', args);
  call('emit', broadcastHost.emit, audience('emit', to), text('the event name of emit()', event), wire.json, wire.attachments);
}

export function ask(to, event, args, { tag, timeMs }) {
  const wire = toWire('the arguments of ask()', args);
  call(
    'ask',
    broadcastHost.ask,
    audience('ask', to),
    text('the event name of ask()', event),
    wire.json,
    wire.attachments,
    text('the tag of ask()', tag),
    whole('timeMs of ask()', timeMs, 0, 60_000),
  );
}

export const rooms = {
  join: (room) => call('rooms.join', roomsHost.join, text('the room of rooms.join()', room)),
  leave: (room) => call('rooms.leave', roomsHost.leave, text('the room of rooms.leave()', room)),
  setData: (data) => call('rooms.setData', roomsHost.setData, json('the data of rooms.setData()', data)),
  joined: (room) => call('rooms.joined', roomsHost.joined, text('the room of rooms.joined()', room)),
  members: (room, { limit = 1000 } = {}) =>
    call('rooms.members', roomsHost.members, text('the room of rooms.members()', room), whole('limit of rooms.members()', limit, 0, 1000)),
  memberCount: (room) => call('rooms.memberCount', roomsHost.memberCount, text('the room of rooms.memberCount()', room)),
};

const STATUSES = ['online', 'away', 'offline'];

export const presence = {
  get: (users) => call('presence.get', presenceHost.get, texts('the users of presence.get()', users)),
  set(status) {
    if (!STATUSES.includes(status)) throw new TypeError(`presence.set() takes 'online', 'away' or 'offline', not ${String(status)}`);
    call('presence.set', presenceHost.set, status);
  },
};

export const identity = {
  username: () => call('identity.username', identityHost.username),
  claims: () => JSON.parse(call('identity.claims', identityHost.claims)),
  handshake() {
    const { auth, query, address, transport, headers } = call('identity.handshake', identityHost.handshake);
    return { auth: JSON.parse(auth), query, address, transport, headers };
  },
};

export const settings = {
  get: (key) => call('settings.get', settingsHost.get, text('the key of settings.get()', key)) ?? undefined,
};

export const timers = {
  set(name, due, payload = null, { everyMs } = {}) {
    const every = everyMs === undefined || everyMs === null ? null : whole('everyMs of timers.set()', everyMs, 0, Number.MAX_SAFE_INTEGER);
    call(
      'timers.set',
      timersHost.set,
      text('the name of timers.set()', name),
      moment('the time of timers.set()', due),
      every,
      json('the payload of timers.set()', payload),
    );
  },
  cancel: (name) => call('timers.cancel', timersHost.cancel, text('the name of timers.cancel()', name)),
};
