/// <reference path="./globals.d.ts" />
// The types of `parlance-handlers`.
//
// A source file exports a function for each kind of event that it handles, under the name of its type in lower camel
// case: `export const onMessage: OnMessage = (context, message) => { … }`. A function may be async.
//
// What a function returns accepts the event; what it throws refuses it:
// - a `Rejection`, such as `new Denied('…')`: the client gets its code and message;
// - a `Fault`, with which the host refused a call, not caught: likewise;
// - anything else is a mistake: it is logged with its place, and the client gets `handler-failed`.
// Effects (posts, emits, keys, joins …) happen after the function has returned, all of them or none.

/** A value that JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** An argument of an event: JSON, in which bytes may stand anywhere. */
export type Argument =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Argument[]
  | { readonly [key: string]: Argument | undefined };

/** What a handler returns for the acknowledgement: nothing, or data that JSON can hold. */
export type Reply = Json | void | Promise<Json | void>;

/** Who caused the event, and when. */
export interface Context {
  /** The user, from the verified token and never from the client's event. */
  readonly user: string;
  /** The connection that sent the event: the client's `socket.id`, new for each connection. */
  readonly connection: string;
  /** When the event arrived, in milliseconds since the Unix epoch. `Date.now()` says the same. */
  readonly receivedAt: number;
}

/** What a client sent with `send-message`. Whether the user is in the room has not been checked yet. */
export interface IncomingMessage {
  /** The room to which the client posts. */
  readonly room: string;
  /** The text: 1 byte to 16 KiB, unless the operator set another limit. */
  readonly content: string;
  /** Data of the client's application; null if there is none. */
  readonly metadata: Json;
  /** The client's own id of the message. Pass it on to `messages.post`. */
  readonly clientId: string | null;
}

/**
 * Handles `send-message`. To accept the message, post it: `messages.post(message)`. The acknowledgement is
 * `{ok: true, message}` with the event's first post, and `data` with the result.
 */
export type OnMessage = (context: Context, message: IncomingMessage) => Reply;

/** Handles `typing`. Whether the user is in the room has not been checked yet. */
export type OnTyping = (context: Context, room: string, typing: boolean) => void | Promise<void>;

/** Handles `read-message`; `message` is its id. To accept it, call `messages.markRead`. */
export type OnReceipt = (context: Context, message: string) => void | Promise<void>;

/** A status of a connection or a user. A user is online while any of their connections is, else away, else offline. */
export type Status = 'online' | 'away' | 'offline';

/**
 * A connection has opened (it is in no room yet), or closed (it is still in its rooms; a rejection is only logged), or
 * the client asks for a status.
 */
export type PresenceChange = { readonly type: 'connected' } | { readonly type: 'disconnected' } | { readonly type: 'set'; readonly status: Status };

/** Handles opened and closed connections, and `set-presence`. To show the status to others, call `presence.set`. */
export type OnPresence = (context: Context, change: PresenceChange) => void | Promise<void>;

/**
 * Handles a client that wants to connect, before its connection opens. The result names the rooms in which it begins. A
 * rejection refuses it: the client gets a `connect_error` that begins with the code. `identity` tells what it has sent.
 */
export type OnConnect = (context: Context) => string[] | void | Promise<string[] | void>;

/** To join a room, or to leave it. */
export interface RoomRequest {
  readonly type: 'join' | 'leave';
  readonly room: string;
}

/** Handles `join-room` and `leave-room`. To grant the request, call `rooms.join` or `rooms.leave`. */
export type OnRoom = (context: Context, request: RoomRequest) => Reply;

/**
 * Handles every custom event: one whose name is none of the host's own. `args` are its arguments in order, with bytes as
 * `Uint8Array`. The result is the acknowledgement, unchanged; `{ok: true}` if there is none.
 */
export type OnEvent = (context: Context, name: string, args: Argument[]) => Reply;

/**
 * Handles custom events as `OnEvent` does, with all of Socket.IO's acknowledgements: the result is the array of its
 * arguments, which may hold bytes. Without a result there is no acknowledgement.
 */
export type OnEventAck = (context: Context, name: string, args: Argument[]) => readonly Argument[] | void | Promise<readonly Argument[] | void>;

/**
 * Handles clients' answers to `ask`: `context` is that of the client that was asked, `tag` that of the question, and
 * `answer` has the arguments, or is null if the client did not answer. A rejection is only logged.
 */
export type OnAnswer = (context: Context, tag: string, answer: Argument[] | null) => void | Promise<void>;

/**
 * Handles events that servers of the fleet send with `serverSideEmit`. No client causes them: posting, reading history,
 * joining, members, presence and `Audience.sender` are denied. `kv` and `emit` to rooms and users work.
 */
export type OnServerEvent = (receivedAt: number, name: string, args: Argument[]) => Reply;

/**
 * Handles this handler's timers, in the order in which they are due. `dueMs` is when the timer was due, `Date.now()` is
 * later after an outage. No client causes it, so the same is denied as in `OnServerEvent`. A rejection or a mistake is
 * only logged; it ends the timer, or this turn of one that repeats.
 */
export type OnTimer = (name: string, payload: Json, dueMs: number) => void | Promise<void>;

/** The codes of rejections, as clients get them. */
export type Code =
  | 'denied'
  | 'invalid'
  | 'not-found'
  | 'conflict'
  | 'too-large'
  | 'rate-limited'
  | 'quota-exceeded'
  | 'unavailable';

export interface RejectionOptions extends ErrorOptions {
  /**
   * After how many milliseconds the client may try again: 1 to 86,400,000 (a day). The client gets it as `retryAfterMs`
   * with `RateLimited`, `QuotaExceeded` and `Unavailable`.
   */
  retryAfterMs?: number;
}

/** Refuses the event: the client gets the code and the message, and nothing that the handler asked for happens. */
export class Rejection extends Error {
  constructor(code: Code, message: string, options?: RejectionOptions);
  readonly code: Code;
  readonly retryAfterMs: number | undefined;
}

/** The user may not do this. */
export class Denied extends Rejection {
  constructor(message?: string, options?: RejectionOptions);
}
/** The event is malformed or breaks a rule of the handler. */
export class Invalid extends Rejection {
  constructor(message?: string, options?: RejectionOptions);
}
/** What the event refers to does not exist, or this user may not know that it exists. */
export class NotFound extends Rejection {
  constructor(message?: string, options?: RejectionOptions);
}
/** It conflicts with the current state. */
export class Conflict extends Rejection {
  constructor(message?: string, options?: RejectionOptions);
}
/** A size limit is exceeded. */
export class TooLarge extends Rejection {
  constructor(message?: string, options?: RejectionOptions);
}
/** There were too many events in a short time. The client may try again later; `retryAfterMs` says when. */
export class RateLimited extends Rejection {
  constructor(message?: string, options?: RejectionOptions);
}
/** A quota is used up. */
export class QuotaExceeded extends Rejection {
  constructor(message?: string, options?: RejectionOptions);
}
/** Something that the handler needs is down. The client may try again later. */
export class Unavailable extends Rejection {
  constructor(message?: string, options?: RejectionOptions);
}

/**
 * The host refuses a call, which then had no effect; the handler may continue. Its `code` is `denied`, `not-found`,
 * `invalid`, `too-large`, `quota-exceeded` or `unavailable`.
 */
export class Fault extends Rejection {
  private constructor();
  /** The call, such as `messages.post`. */
  readonly call: string;
}

/** A message to post. */
export interface Draft {
  readonly room: string;
  /** 1 byte to 16 KiB, unless the operator set another limit. */
  readonly content: string;
  /** At most 4 KiB as JSON, unless the operator set another limit. */
  readonly metadata?: Json | undefined;
  /** The sender's own id of this message, 1 to 128 bytes. A user's message with a given id is stored once. */
  readonly clientId?: string | null | undefined;
}

/** A message of a room's history. */
export interface Message {
  readonly id: string;
  readonly room: string;
  /** Its position in the room: 1, 2, 3 … without gaps. */
  readonly seq: number;
  /** The user who posted it. */
  readonly sender: string;
  readonly content: string;
  /** null if there is none. */
  readonly metadata: Json;
  /** When it was posted, in milliseconds since the Unix epoch. */
  readonly sentAt: number;
}

/** The tenant's durable history, on behalf of the event's user, who must be in the room. */
export const messages: {
  /** Posts a message, which the room gets as `new-message` once it is durable, and returns its id. This is an effect. */
  post(draft: Draft): string;
  /** Reads one message. Does not see this event's own posts. */
  get(id: string): Message;
  /** The newest messages of the room with a `seq` below `before`, in ascending order; 50, or `limit`, at most 200. */
  history(room: string, options?: { before?: number; limit?: number }): Message[];
  /** Marks the message as read by the user. The first time, its room gets `message-read`. This is an effect. */
  markRead(id: string): void;
};

/** The bytes of a value; text is stored as UTF-8. */
export type Bytes = string | ArrayBuffer | ArrayBufferView;

export interface KvOptions {
  /** The key expires this many milliseconds after the event arrived. */
  readonly ttlMs?: number | undefined;
}

/**
 * A small key-value space that belongs to this handler of this tenant. Reads see what this event wrote; writes are
 * effects. A key has 1 to 512 bytes, a value at most 64 KiB.
 *
 * An event may read and write keys as if it ran alone: if another event changes a key that this one has read, the host
 * runs this one again before anybody has seen what it did. After five more runs it fails with `conflict`. Where the
 * operator has set `isolation_level = "none"`, only `swap`, `setIfAbsent` and `increment` lose no change.
 */
export const kv: {
  /** The bytes; null if the key is absent or has expired. */
  get(key: string): Uint8Array | null;
  /** The value as text; null if the key is absent or has expired. */
  getText(key: string): string | null;
  /** The value that `setJson` set; undefined if the key is absent or has expired. */
  getJson<T = Json>(key: string): T | undefined;
  /** The values of up to 100 keys, in their order, as of one moment. Each counts as a call of the host. */
  getMany(keys: readonly string[]): (Uint8Array | null)[];
  /**
   * A page of the keys that begin with `prefix`, which may be empty, in the order of their bytes: after the key `after`,
   * at most `limit` or 200. A page also ends when its values have 256 KiB together. It is empty only at the end.
   */
  scan(prefix: string, options?: { after?: string | null; limit?: number }): { key: string; value: Uint8Array }[];
  /** Sets text or bytes. */
  set(key: string, value: Bytes, options?: KvOptions): void;
  /** Sets a value as JSON. */
  setJson(key: string, value: Json, options?: KvOptions): void;
  /** Sets the value if the key has the value `expected`, or is absent for null, and returns whether it did. */
  swap(key: string, expected: Bytes | null, value: Bytes, options?: KvOptions): boolean;
  /** Sets the value if the key is absent, and returns whether it did. */
  setIfAbsent(key: string, value: Bytes, options?: KvOptions): boolean;
  /** Removes the key, if it exists. */
  delete(key: string): void;
  /**
   * Adds `by`, or 1, to the decimal integer at the key, where an absent one counts as 0, and returns the sum as this
   * event sees it. The stored sum is right even when events run at once. Numbers above 2^53 lose digits.
   */
  increment(key: string, by?: number): number;
};

/**
 * A key whose value is a `T`, stored as JSON. Its name is the parts, joined by `/`; within a part `/`, `:` and `%` are
 * escaped, so different parts never make one name.
 */
export class KvKey<T extends Json = Json> {
  constructor(...name: [string, ...string[]]);
  /** The key as `kv` takes it. */
  readonly key: string;
  /** The value; undefined if the key is absent or has expired. */
  get(): T | undefined;
  set(value: T, options?: KvOptions): void;
  /** Sets the value if the key is absent, and returns whether it did. */
  setIfAbsent(value: T, options?: KvOptions): boolean;
  /**
   * Replaces the value by what `change` makes of it, and returns the new value, which does not expire. No change of
   * another event is lost. `change` may be called more than once.
   */
  update(change: (value: T | undefined) => T): T;
  /** Adds to the number, as `kv.increment` does. */
  increment(this: KvKey<number>, by?: number): number;
  delete(): void;
}

/** A map of members, which may be any text, to values, stored as JSON: the keys that begin with its name and a `:`. */
export class KvMap<T extends Json = Json> implements Iterable<[member: string, value: T]> {
  constructor(...name: [string, ...string[]]);
  /** The key of a member, to update it, or to set it if it is absent. */
  key(member: string): KvKey<T>;
  /** The value of a member; undefined if there is no such member. */
  get(member: string): T | undefined;
  set(member: string, value: T, options?: KvOptions): void;
  has(member: string): boolean;
  /** Removes a member, and returns whether it was there. */
  delete(member: string): boolean;
  /** How many members there are. All of them are read. */
  readonly size: number;
  /** The members with their values, in the order of the members' bytes. A page of up to 200 is read when it is needed. */
  [Symbol.iterator](): Iterator<[member: string, value: T]>;
}

/** A set of members, which may be any text: the keys that begin with its name and a `:`. */
export class KvSet implements Iterable<string> {
  constructor(...name: [string, ...string[]]);
  /** Adds a member, and returns whether it is new. Of events that add one member at once, one gets true. */
  add(member: string): boolean;
  has(member: string): boolean;
  /** Removes a member, and returns whether it was there. */
  delete(member: string): boolean;
  /** How many members there are. All of them are read. */
  readonly size: number;
  /** The members, in the order of their bytes. A page of up to 200 is read when it is needed. */
  [Symbol.iterator](): Iterator<string>;
}

declare const audience: unique symbol;
/** The recipients of an event. They are always within the tenant. */
export interface Audience {
  readonly [audience]: true;
}
export const Audience: {
  /** Every connection in the room. */
  room(room: string): Audience;
  /** Every connection in the room except the one that caused the event. */
  othersInRoom(room: string): Audience;
  /** Every connection of one user, on every node. */
  user(user: string): Audience;
  /** The connection that caused the event. */
  readonly sender: Audience;
};

/**
 * Emits an event that is not stored, once the handler has returned and everything it wrote is durable. Arguments may
 * hold at most 10 binary values, and have at most 128 KiB, unless the operator set another limit.
 */
export function emit(to: Audience, event: string, ...args: Argument[]): void;

/**
 * Emits an event as `emit` does, and asks each client that gets it for an acknowledgement: `onAnswer` of this handler is
 * called for each, with this `tag`, and with the answer, or null if it has not come within `timeMs` (100 to 60,000).
 * The file must export `onAnswer`. A connection has at most 16 open questions.
 */
export function ask(to: Audience, event: string, args: readonly Argument[], options: { tag: string; timeMs: number }): void;

/** The rooms of this connection. Joining and leaving are effects. */
export const rooms: {
  /** Puts this connection into the room. Has no effect if it is in it already. */
  join(room: string): void;
  /** Takes this connection out of the room. Has no effect if it is not in it. */
  leave(room: string): void;
  /** Keeps a JSON object of at most 4 KiB with this connection until it closes: `data` of other servers' `fetchSockets`. */
  setData(data: { readonly [key: string]: Json | undefined }): void;
  /** Whether this connection is in the room, with this event's own joins and leaves applied. */
  joined(room: string): boolean;
  /** Users with a connection in the room, each once, in no particular order; at most 1,000. */
  members(room: string, options?: { limit?: number }): string[];
  /** How many users have a connection in the room, the event's own user included. */
  memberCount(room: string): number;
};

/** A user's status over all of their connections. */
export interface PresenceState {
  readonly user: string;
  readonly status: Status;
  /** How many connections the user has. */
  readonly connections: number;
  /** When this status began, in milliseconds since the Unix epoch; 0 for a user not seen since the server started. */
  readonly since: number;
}

export const presence: {
  /** The states of up to 200 users, in their order. A user who shares no room with this user counts as offline. */
  get(users: readonly string[]): PresenceState[];
  /** Sets this connection's status. If that changes the user's, their rooms get `presence`. This is an effect. */
  set(status: Status): void;
};

/** What the client sent when it connected. Nothing of it is verified except the address. */
export interface Handshake {
  /** The client's `auth` without the token. */
  readonly auth: { readonly [key: string]: Json };
  /** The query of the request that opened the connection. */
  readonly query: [string, string][];
  /** The client's IP address, as the server sees it. */
  readonly address: string | null;
  /** The connection's first transport. */
  readonly transport: string;
  /** The request headers that the operator named (`server.handshake_headers`), in lower case. */
  readonly headers: [string, string][];
}

/** The user who caused the event, from the verified token. */
export const identity: {
  /** The display name: the claim `name`, else `username`, else the user's id. */
  username(): string;
  /** All claims of the token. */
  claims(): { readonly [key: string]: Json };
  /** What the client sent when the event's connection opened. */
  handshake(): Handshake;
};

/** The settings that the tenant's operator gave the handler. They are fixed for a version. */
export const settings: {
  /** The value of a setting; undefined if the operator gave none. */
  get(key: string): string | undefined;
};

/**
 * Events that happen later. A timer belongs to this handler of this tenant, survives restarts, and takes effect once: it
 * is removed together with what `onTimer` does. The file must export `onTimer`. A name has 1 to 256 bytes, a payload at
 * most 16 KiB as JSON. A handler has at most 1,000 timers, unless the operator set another limit.
 */
export const timers: {
  /**
   * Sets a timer, or replaces the one with this name. `due` is a Date, or milliseconds since the Unix epoch, such as
   * `Date.now() + 5000`; a time that has passed is due at once. With `everyMs`, at least 1,000, it is due again that many
   * milliseconds later, and so on; what an outage made it miss is made up for once. This is an effect.
   */
  set(name: string, due: number | Date, payload?: Json, options?: { everyMs?: number }): void;
  /** Removes the timer, if there is one. One that is being handled at this moment may still take effect. An effect. */
  cancel(name: string): void;
};

export * from './members.js';
export * from './moderate.js';
export * from './requests.js';
export * from './revise.js';
