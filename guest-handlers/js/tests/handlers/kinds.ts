// A handler of each kind of event, which uses each capability.
import {
  ask,
  Audience,
  Conflict,
  Denied,
  emit,
  Fault,
  identity,
  kv,
  messages,
  NotFound,
  presence,
  RateLimited,
  revise,
  rooms,
  settings,
  timers,
  type Argument,
  type OnAnswer,
  type OnConnect,
  type OnEvent,
  type OnEventAck,
  type OnMessage,
  type OnPresence,
  type OnReceipt,
  type OnResponse,
  type OnRevise,
  type OnRoom,
  type OnServerEvent,
  type OnTimer,
  type OnTyping,
} from 'parlance-handlers';
import { Limit, shout } from './lib/text';
import words from './lib/words.json';

export const onMessage: OnMessage = (context, message) => {
  if (words.some((word: string) => message.content.includes(word))) throw new Conflict('mind your language');
  if (message.content.length > Limit.Content) throw new RateLimited('slow down', { retryAfterMs: 5000 });
  const id = messages.post({ ...message, content: shout(message.content) });
  return { id, metadata: message.metadata, by: context.user };
};

export const onTyping: OnTyping = (context, room, typing) => {
  emit(Audience.othersInRoom(room), 'user-typing', { userId: context.user, typing });
};

export const onReceipt: OnReceipt = (_, message) => messages.markRead(message);

export const onRevise: OnRevise = (_, message, change) => {
  if (change.type === 'edit') revise.edit(message, change.content, change.metadata);
  else if (change.type === 'delete') revise.delete(message);
  else revise.mark(message, change.kind, change.value, change.on);
  return { type: change.type };
};

export const onPresence: OnPresence = (_, change) => {
  presence.set(change.type === 'set' ? change.status : change.type === 'connected' ? 'online' : 'offline');
};

export const onConnect: OnConnect = ({ user }) => {
  if (user === 'mallory') throw new Denied('you are not welcome');
  return user === 'carol' ? ['lobby'] : undefined;
};

export const onRoom: OnRoom = (_, { type, room }) => {
  if (room === 'secret') throw new NotFound();
  rooms[type](room);
  return { [type]: room };
};

/** What each attempt throws: the code of a fault, or the message of a mistake; null for nothing. */
function thrown(attempts: (() => unknown)[]): (string | null)[] {
  return attempts.map((attempt) => {
    try {
      attempt();
      return null;
    } catch (error) {
      return error instanceof Fault ? error.code : (error as Error).message;
    }
  });
}

const events: Record<string, (args: Argument[]) => Argument | void> = {
  keys() {
    kv.setJson('json', { a: [1, 'é'] }, { ttlMs: 60_000 });
    kv.set('text', 'grüße 😀');
    kv.set('bytes', new Uint8Array([0, 255]));
    kv.set('gone', 'x');
    kv.delete('gone');
    const sum = [kv.increment('sum'), kv.increment('sum', -3)];
    return { json: kv.getJson('json') ?? null, text: kv.getText('text'), bytes: [...kv.get('bytes')!], gone: kv.get('gone'), sum } as Argument;
  },
  past([room]) {
    const found = messages.history(String(room), { before: 3, limit: 2 });
    return { found: found.map(({ seq, content, metadata }) => ({ seq, content, metadata })), first: messages.get(found[0]!.id).content } as Argument;
  },
  rooms([room]) {
    rooms.setData({ seen: String(room) });
    return { joined: rooms.joined(String(room)), members: rooms.members(String(room)).sort(), count: rooms.memberCount(String(room)) };
  },
  who() {
    const { transport, auth } = identity.handshake();
    const [state] = presence.get(['alice']);
    return { name: identity.username(), role: identity.claims()['role'] ?? null, transport, auth, status: state!.status, word: settings.get('word') ?? null, none: settings.get('none') ?? null } as Argument;
  },
  fault() {
    try {
      messages.get('0'.repeat(26));
    } catch (error) {
      if (error instanceof Fault) return { code: error.code, call: error.call };
    }
  },
  denied() {
    messages.post({ room: 'elsewhere', content: 'x' });
  },
  revision([id]) {
    return revise.get(String(id)) as never;
  },
  add([id, fragment, done]) {
    revise.append(String(id), String(fragment), done as boolean | undefined);
  },
  badChanges() {
    return thrown([
      () => revise.get('0'.repeat(26)),
      () => revise.mark('0'.repeat(26), '', 'x'),
      () => revise.edit('x', 7 as never),
      () => revise.edit('x', 'y', (() => 1) as never),
      () => revise.mark('x', 'y', 'z', 1 as never),
      () => revise.append('x', 'y', 1 as never),
    ]);
  },
  binary([picture]) {
    emit(Audience.sender, 'picture', { picture: picture!, again: [new Uint8Array([7])] });
    return { bytes: [...(picture as Uint8Array)] };
  },
  timers() {
    timers.set('soon', Date.now() + 1500, { text: 'grüße' });
    timers.set('often', new Date(Date.now() + 1000), undefined, { everyMs: 1000 });
    timers.set('gone', 0);
    timers.cancel('gone');
  },
  badTimers() {
    return thrown([() => timers.set('', 0), () => timers.set('x', new Date(NaN)), () => timers.set('x', 0, null, { everyMs: 999 })]);
  },
  ask() {
    ask(Audience.room('general'), 'question', ['ready?'], { tag: 'poll', timeMs: 1000 });
  },
};

export const onEvent: OnEvent = (_, name, args) => events[name]!(args) as never;

export const onAnswer: OnAnswer = (context, tag, answer) => {
  kv.setJson(`answer:${context.user}`, { tag, answer } as never);
};

export const onServerEvent: OnServerEvent = (receivedAt, name, args) => ({ receivedAt, name, args: args as never });

export const onTimer: OnTimer = (name, payload, dueMs) => {
  kv.setJson(`timer:${name}`, { payload, dueMs, now: Date.now() });
  emit(Audience.room('general'), 'timer', name);
};

export const onResponse: OnResponse = ({ id, tag, number, part }) => {
  kv.setJson(`response:${tag}`, { id, number, kind: part.kind });
};
