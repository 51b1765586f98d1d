// The rooms of a team: who makes one owns it, invites others, and gives roles. Whoever may moderate a room mutes, removes
// and bans. The handler posts what happens as the bot `team`. All other rooms are open to everybody.
import {
  Denied,
  identity,
  Invalid,
  kv,
  members,
  messages,
  moderate,
  NotFound,
  RateLimited,
  rooms,
  settings,
} from 'parlance-handlers';
import type { Argument, Context, Json, OnConnect, OnEvent, OnMessage, OnRoom } from 'parlance-handlers';

/** How the ids of team rooms begin. */
const PREFIX = 'team/';
const BOT = 'team';
/** Rooms in which a connection begins. */
const ROOMS_AT_ONCE = 100;
/** Most mentions in a message that count. */
const MENTIONS_MAX = 20;
const TITLE_MAX = 100;
const ROLES = ['member', 'moderator'];
/** Longest mute, ban and block: a year. */
const SECONDS_MAX = 365 * 24 * 3600;

/** A connection begins in the user's rooms, unless the user is blocked. */
export const onConnect: OnConnect = ({ user }) => {
  if (kv.get(`blocked/${user}`) !== null) throw new Denied('you are blocked');
  return members.rooms({ limit: ROOMS_AT_ONCE }).map(({ room }) => room);
};

export const onRoom: OnRoom = ({ user }, { type, room }) => {
  if (type === 'leave') {
    rooms.leave(room);
    return undefined;
  }
  const own = isTeam(room) ? memberOf(room, user) : undefined;
  rooms.join(room);
  return own ? { title: title(room), role: own.role } : undefined;
};

export const onMessage: OnMessage = ({ user, receivedAt }, message) => {
  const { room } = message;
  if (isTeam(room)) {
    const muted = Number(kv.getText(`muted/${room}/${user}`) ?? 0);
    if (muted > receivedAt) throw new RateLimited('you are muted', { retryAfterMs: muted - receivedAt });
    slowDown(room, user, receivedAt);
  }
  messages.post(message);
  if (isTeam(room)) mention(room, message.content);
};

export const onEvent: OnEvent = (context, name, args) => {
  const [room, user] = args;
  switch (name) {
    case 'create-room':
      return create(context, room);
    case 'leave-team':
      leave(text('the room', room), context.user);
      break;
    case 'invite':
      invite(context, text('the room', room), text('the user', user));
      break;
    case 'set-role':
      setRole(context, text('the room', room), text('the user', user), text('the role', args[2]));
      break;
    case 'mute':
    case 'remove':
    case 'ban':
    case 'unban':
      sanction(name, context, text('the room', room), text('the user', user), args[2]);
      break;
    case 'block':
      block(text('the user', room), args[1]);
      break;
    default:
      throw new NotFound(`there is no event \`${name}\``);
  }
  return { ok: true };
};

const isTeam = (room: string): boolean => room.startsWith(PREFIX);
const title = (room: string): string => kv.getText(`title/${room}`) ?? '';

/** What the user is in the room. The refusal is the same for a room that does not exist. */
function memberOf(room: string, user: string) {
  const found = members.get(room, user);
  if (!found) throw new NotFound('there is no such room, or you are not invited');
  return found;
}

/** Refuses what only these roles may do. */
function requireRole(room: string, user: string, ...roles: string[]): void {
  if (!roles.includes(memberOf(room, user).role)) throw new Denied(`only ${roles.join(' and ')} may do this`);
}

function create({ user }: Context, wanted: Argument | undefined): Json {
  const name = text('the title', wanted).trim();
  if (!name || name.length > TITLE_MAX) throw new Invalid(`a title has 1 to ${TITLE_MAX} characters`);
  const room = PREFIX + [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  kv.set(`title/${room}`, name);
  members.add(room, user, 'owner');
  rooms.join(room);
  say(room, `${identity.username()} made the room ${name}`);
  return { ok: true, room: { roomId: room, title: name } };
}

function invite({ user }: Context, room: string, guest: string): void {
  requireRole(room, user, 'owner', 'moderator');
  if (members.get(room, guest)) return;
  members.add(room, guest, 'member');
  say(room, `${identity.username()} invited ${guest}`);
}

function leave(room: string, user: string): void {
  if (memberOf(room, user).role === 'owner') throw new Denied('the owner stays');
  members.remove(room, user);
  rooms.leave(room);
  say(room, `${identity.username()} left`);
}

function setRole({ user }: Context, room: string, other: string, role: string): void {
  requireRole(room, user, 'owner');
  if (!ROLES.includes(role)) throw new Invalid(`a role is ${ROLES.join(' or ')}`);
  if (memberOf(room, other).role === 'owner') throw new Denied('the owner stays the owner');
  members.add(room, other, role);
  say(room, `${other} is a ${role} now`);
}

/** Mutes, removes or bans somebody, or ends a ban. Nobody does that to the owner. */
function sanction(what: 'mute' | 'remove' | 'ban' | 'unban', context: Context, room: string, other: string, time: Argument | undefined) {
  requireRole(room, context.user, 'owner', 'moderator');
  if (members.get(room, other)?.role === 'owner') throw new Denied('nobody does that to the owner');
  switch (what) {
    case 'mute': {
      const until = context.receivedAt + 1000 * seconds(time);
      kv.set(`muted/${room}/${other}`, String(until), { ttlMs: until - context.receivedAt });
      say(room, `${other} is muted`);
      break;
    }
    case 'remove':
      members.remove(room, other);
      moderate.kick(room, other, 'you were removed from the room');
      say(room, `${other} was removed`);
      break;
    case 'ban':
      members.remove(room, other);
      moderate.ban(room, other, context.receivedAt + 1000 * seconds(time), 'you are banned from the room');
      say(room, `${other} is banned`);
      break;
    default:
      moderate.unban(room, other);
  }
}

/** Keeps somebody out of the whole chat. Only for tokens with `role: admin`. */
function block(user: string, time: Argument | undefined): void {
  const claims = identity.claims() as { role?: unknown };
  if (claims.role !== 'admin') throw new Denied('only an admin may do this');
  kv.set(`blocked/${user}`, '1', { ttlMs: 1000 * seconds(time) });
  moderate.disconnect(user, 'you are blocked');
}

/** At most one message of a user in so many seconds, by the setting `slow_seconds`. */
function slowDown(room: string, user: string, now: number): void {
  const wait = 1000 * Number(settings.get('slow_seconds') ?? 0);
  if (!wait) return;
  const key = `last/${room}/${user}`;
  const next = Number(kv.getText(key) ?? 0) + wait;
  if (next > now) throw new RateLimited('slow mode is on', { retryAfterMs: next - now });
  kv.set(key, String(now), { ttlMs: wait });
}

/** Counts a mention for each member who is named as `@USER`. */
function mention(room: string, content: string): void {
  const names = new Set(Array.from(content.matchAll(/@([\w.-]+)/g), ([, name = '']) => name));
  for (const name of [...names].slice(0, MENTIONS_MAX)) {
    try {
      members.mention(room, name);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'not-found')) throw error;
    }
  }
}

const say = (room: string, content: string): string => moderate.postAs(BOT, room, content, { system: true });

function text(what: string, value: Argument | undefined): string {
  if (typeof value !== 'string' || !value) throw new Invalid(`${what} must be a text`);
  return value;
}

function seconds(value: Argument | undefined): number {
  if (typeof value !== 'number' || !(value >= 1 && value <= SECONDS_MAX)) {
    throw new Invalid(`the time must be 1 to ${SECONDS_MAX} seconds`);
  }
  return value;
}
