import type { ManagerOptions, Socket, SocketOptions } from 'socket.io-client';
import type { ClientEvents, ErrorCode, EventError, Json, Mark, Member, Membership, Message, PresenceStatus, ServerEvents } from './events.js';

export type * from './events.js';

/**
 * Makes a client. It connects when its `connect` is called. `S` and `C` are events of one's own that the server and the
 * client send, for `socket`: `{ 'poll-changed': (poll: Poll) => void }`.
 */
export declare function createClient<S extends object = object, C extends object = object>(options: ClientOptions): ChatClient<S, C>;

/** Users who have read a message of the room, its sender and those who became members later left out. */
export declare function readersOf(
  room: RoomSnapshot,
  message: { readonly seq: number; readonly userId: string; readonly sentAt: number },
): string[];

/** A random UUID, also where `crypto.randomUUID` is missing. */
export declare function newId(): string;

/**
 * Keeps JSON values in a storage. What fails is ignored: `get` returns undefined then.
 * @param area called at each use, since a browser that forbids storage throws at the mere mention of it
 */
export declare function jsonStorage(
  area: () => StorageLike | undefined,
  prefix: string,
): { get(key: string): unknown; set(key: string, value: unknown): void };

/** The largest message that is sent, in bytes of JSON, if `largestPacket` does not say otherwise. */
export declare const LARGEST_PACKET_BYTES: number;

/** A place for values that outlive the page, such as `localStorage`. */
export interface StorageLike {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** A token, perhaps with the time of its end in milliseconds since the Unix epoch. */
export type Token = string | { readonly token: string; readonly expiresAt?: number };

export interface ClientOptions {
  /** `io` of socket.io-client. */
  io: (url: string, options: Partial<ManagerOptions & SocketOptions>) => Socket;
  /** The server's address, with the namespace of the tenant: `https://chat.example/acme`. By default that of the page. */
  url?: string;
  /** The user that the tokens are for. */
  userId: string;
  /**
   * Returns a new token. Called at each connection, and before a token expires: at its `expiresAt`, or when the server
   * says so. What it throws is reported as a problem, and it is called again.
   */
  getToken: (why: { readonly reason: 'connect' | 'refresh' }) => Token | Promise<Token>;
  /**
   * Keeps messages and read receipts that are not sent yet, and what was seen, over restarts. Without one they live as
   * long as the client. A function is called at each use.
   */
  storage?: StorageLike | (() => StorageLike | undefined);
  /** Begins the storage's keys; the user id follows. By default `parlance.`. */
  storagePrefix?: string;
  /** Further options for `io`, such as `path`. */
  socketOptions?: Partial<ManagerOptions & SocketOptions>;
  /** How long to wait for an acknowledgement, in milliseconds, before an event counts as lost. By default 10,000. */
  answerWithin?: number;
  /** How long a user counts as typing without a repetition, in milliseconds. By default 10,000, as on the server. */
  typingLasts?: number;
  /** The largest message that is sent, in bytes of JSON. By default 61,440, below the server's `limits.packet`. */
  largestPacket?: number;
}

/**
 * - `idle`: `connect` was not called yet
 * - `connecting`: there was no connection yet
 * - `catching-up`: connected, and the rooms are being joined
 * - `live`: connected, and every room was joined or refused, or waits for its join to be tried again: its `retryAt`
 * - `reconnecting`: the connection was lost
 * - `closed`: `close` was called, or a moderator has closed the connection, see `error`; `connect` makes a new one
 */
export type ClientState = 'idle' | 'connecting' | 'catching-up' | 'live' | 'reconnecting' | 'closed';

/**
 * - `joining`: not in the room yet, or not any more since the connection was lost; messages wait in the outbox. With
 *   `retryAt` the last try has failed, and the next one comes then
 * - `joined`
 * - `refused`: the server has refused the join for good, see `error`; `open` tries again
 * - `kicked`: a moderator has removed the user, see `error`; `open` tries again
 */
export type RoomState = 'joining' | 'joined' | 'refused' | 'kicked';

/** Why something failed. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  /** Whether it may succeed later. */
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
  /** With `kicked`: joins are refused up to this time. */
  readonly until?: number;
}

/** A failure, and where it happened. */
export interface Problem extends Omit<Failure, 'code'> {
  readonly code: ErrorCode | 'unknown';
  /** The event that failed; also `connect`, `disconnect-reason`, `token` and `kicked`. */
  readonly event: string;
  readonly roomId?: string;
}

/** A message as a snapshot has it. */
export interface RoomMessage extends Message {
  /** 0 if it never changed. */
  readonly rev: number;
  readonly marks: readonly Mark[];
}

/** A message that is not in its room yet. */
export interface OutgoingMessage {
  readonly clientId: string;
  readonly roomId: string;
  readonly content: string;
  readonly metadata?: Json;
  readonly writtenAt: number;
  /**
   * - `waiting`: for the room, for its turn, or for the next try; then `error` says why the last one failed
   * - `sending`
   * - `posted`: acknowledged, and about to come
   * - `failed`: refused for good, see `error`; `retry` or `discard` it
   */
  readonly state: 'waiting' | 'sending' | 'posted' | 'failed';
  /** How often it was sent. */
  readonly attempts: number;
  readonly error?: EventError;
}

/** Missing messages between those that are here: numbers above `after` and below `before`. */
export interface Gap {
  readonly after: number;
  readonly before: number;
  /** The server does not have them any more. Other gaps are being filled. */
  readonly lost: boolean;
}

/** A room as it is now. Frozen; another object once something in it has changed. */
export interface RoomSnapshot {
  readonly id: string;
  readonly state: RoomState;
  /** Why the room is refused, why its history cannot be read, or why the last try of a join that is repeated failed. */
  readonly error: Failure | null;
  /**
   * When a join that has failed is tried again, in milliseconds since the Unix epoch: after longer each time, up to 30 s,
   * or when the server says. Null unless the room waits for that.
   */
  readonly retryAt: number | null;
  /** Ascending by `seq`. Deleted messages have `deletedAt` and no content. */
  readonly messages: readonly RoomMessage[];
  readonly gaps: readonly Gap[];
  /** Messages of this client that are not in `messages` yet, in the order written. */
  readonly outgoing: readonly OutgoingMessage[];
  /** The newest message that is known; 0: none. */
  readonly lastSeq: number;
  /** Whether there are no messages before `messages[0]`. */
  readonly atStart: boolean;
  readonly canLoadOlder: boolean;
  readonly loadingOlder: boolean;
  /** The newest message that the user has seen. */
  readonly readUpTo: number;
  readonly unread: number;
  /** How often the user was mentioned since reading the room's last message, where the server counts it. */
  readonly mentions: number;
  /** The users who type, in the order they began. */
  readonly typing: readonly string[];
  /** Up to which message users have read, as far as is known. `readersOf` tells who has read a message. */
  readonly reads: readonly { readonly userId: string; readonly seq: number }[];
  /** The lasting members, at most 1,000; null where the server does not name any. */
  readonly members: readonly Member[] | null;
}

/** A user who is here. */
export interface Person {
  readonly userId: string;
  readonly name: string;
  readonly status: PresenceStatus;
  readonly since?: number;
}

/** The client as it is now. Frozen; another object once something in it has changed. */
export interface ClientSnapshot {
  readonly state: ClientState;
  /** Why the server has refused or closed the latest connection. */
  readonly error: Failure | null;
  readonly userId: string;
  /** In the order in which they were opened. */
  readonly rooms: readonly RoomSnapshot[];
  /** Users who are online or away and share a room with this one, online ones first, by name. */
  readonly people: readonly Person[];
  /** How many messages are on their way out, in all rooms. */
  readonly waiting: number;
  /**
   * The rooms in which the user is a lasting member, open or not; null where the server does not answer `unread`. What
   * others post in a room that is not open is counted when the client connects again.
   */
  readonly memberships: readonly Membership[] | null;
}

/** The result of a change: done, or why not. */
export type Result = { readonly ok: true } | { readonly ok: false; readonly error: Failure };

/** A client. `S` and `C` are events of one's own. */
export interface ChatClient<S extends object = object, C extends object = object> {
  readonly userId: string;
  /** The socket, for events of one's own. */
  readonly socket: Socket<ServerEvents & S, ClientEvents & C>;

  /** Calls the listener after changes, once for many of the same moment. Returns a function that ends it. Bound. */
  readonly subscribe: (listener: () => void) => () => void;
  /** The client as it is now: the same object until something has changed. Bound. */
  readonly getSnapshot: () => ClientSnapshot;
  /** A room as it is now: the same object until something in it has changed. */
  getRoom(roomId: string): RoomSnapshot | undefined;
  /** How many messages the user has not read, in all rooms that are open or that the user is a member of. */
  getUnread(): number;
  /** The user's name, or the user id while no name is known. */
  nameOf(userId: string): string;
  /** Calls the listener for each message that arrives while the client is connected. Returns a function that ends it. */
  on(name: 'message', listener: (message: RoomMessage) => void): () => void;
  /** Calls the listener for everything that was refused or has failed. Returns a function that ends it. */
  on(name: 'problem', listener: (problem: Problem) => void): () => void;

  /** Connects, and stays connected until `close`. */
  connect(): void;
  /** Connects anew at once, with a new token. */
  reconnect(): void;
  /** Ends the connection. `connect` makes a new one. */
  close(): void;
  /** Says whether the user is here. Repeated at each connection. */
  setPresence(status: 'online' | 'away'): void;

  /** Adds a room, and joins it at each connection. Joins a refused room again. */
  open(roomId: string): void;
  /** Leaves a room and forgets it. Its unsent messages stay in the outbox until the room is opened again. */
  leave(roomId: string): void;
  /** Reads the next older messages. Ends when they are here. */
  loadOlder(roomId: string): Promise<void>;
  /** Keeps only the newest `count` messages of a room in memory. */
  trim(roomId: string, count: number): void;
  /** The user has seen the room up to this `seq`. The others get a receipt. */
  markRead(roomId: string, seq: number): void;
  /** The user has pressed a key, or, with false, has stopped writing. Ends by itself after 4 s without a key. */
  typing(roomId: string, isTyping?: boolean): void;

  /** Puts a message into the outbox. It is sent until the server has it, once in effect. Returns its `clientId`. */
  send(roomId: string, content: string, more?: { metadata?: Json }): string;
  /** Sends a failed message again. */
  retry(clientId: string): void;
  /** Takes a message out of the outbox, and returns what it said. If it was sent already, it may still be posted. */
  discard(clientId: string): { readonly content: string; readonly metadata?: Json } | undefined;
  /** Replaces the content and the metadata of the user's own message. Not repeated when it fails. */
  edit(messageId: string, content: string, more?: { metadata?: Json }): Promise<Result>;
  /** Deletes the user's own message. Not repeated when it fails. */
  delete(messageId: string): Promise<Result>;
  /** Sets a mark, or takes it back. Not repeated when it fails. */
  mark(messageId: string, kind: string, value: string, on?: boolean): Promise<Result>;
}
