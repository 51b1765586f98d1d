// The events between Parlance and its clients, as its own handlers answer them. Times are milliseconds since the Unix
// epoch. `Socket<ServerEvents, ClientEvents>` of socket.io-client is a socket with these types.

/** What an event was refused for. */
export type ErrorCode =
  | 'invalid'
  | 'denied'
  | 'not-found'
  | 'conflict'
  | 'too-large'
  | 'rate-limited'
  | 'quota-exceeded'
  | 'timeout'
  | 'handler-failed'
  | 'unhandled'
  | 'unavailable';

/** Why an event was refused. */
export interface EventError {
  readonly code: ErrorCode;
  /** For people. */
  readonly message: string;
  /** Whether the same event may succeed later. */
  readonly retryable: boolean;
  /** After how many milliseconds trying again makes sense. */
  readonly retryAfterMs?: number;
  /** Keys of the request that the server does not know. */
  readonly unknown?: readonly string[];
}

/** The acknowledgement of an event. */
export type Answer<T = unknown> =
  | ({ readonly ok: true; /** Keys of the request that the server does not know. */ readonly unknown?: readonly string[] } & T)
  | { readonly ok: false; readonly error: EventError };

/** A JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** Users who have marked a message in the same way. */
export interface Mark {
  /** `reaction`, `pin`, `flag`, or another word. */
  readonly kind: string;
  /** The emoji of a reaction, for example. */
  readonly value: string;
  /** How many users have set it. */
  readonly count: number;
  /** At most the first 50 of these users. */
  readonly userIds: readonly string[];
}

/** A message of a room. */
export interface Message {
  readonly id: string;
  /** Its number in its room: 1, 2, 3 … without gaps. */
  readonly seq: number;
  readonly roomId: string;
  /** The sender. Messages of bots have `bot:` and a name, which no user can have. */
  readonly userId: string;
  /** The sender's name at that time, as the token said. */
  readonly username: string;
  readonly content: string;
  /** What the sender added. The server does not check it. */
  readonly metadata?: Json;
  readonly sentAt: number;
  /** The sender's own id of the message. */
  readonly clientId?: string;
  /** The number of its latest change in its room. */
  readonly rev?: number;
  readonly editedAt?: number;
  /** When it was deleted. Its content is empty then. */
  readonly deletedAt?: number;
  readonly marks?: readonly Mark[];
}

/** What the sender of a message is told. */
export interface Receipt {
  readonly id: string;
  readonly seq: number;
  readonly sentAt: number;
  readonly username: string;
  readonly clientId?: string;
}

/** Which part of a room's past a join asks for. */
export interface JoinOptions {
  /** Only messages after this `seq`. */
  after?: number;
  /** At most this many messages, the newest ones. */
  last?: number;
  /** Also what has changed of messages up to `after`, since the change with this number. */
  rev?: number;
}

/** What is answered to a join. */
export interface Joined {
  /** Names the server's data. Another name than before: forget the room, and join it again. */
  readonly epoch: string;
  readonly lastSeq: number;
  /** The first message that the server has not removed. Only with `after` above 0, and where messages were removed. */
  readonly firstSeq?: number;
  /** The number of the room's latest change. */
  readonly rev: number;
  readonly messages: readonly Message[];
  /** Older messages that have changed, as they are now, by ascending `rev`. With `rev` only. */
  readonly changes?: readonly Message[];
  /** Whether these are all messages and changes that were asked for. */
  readonly complete: boolean;
  /** What the handler adds. */
  readonly data?: RoomUsers;
}

/** Who is in a room now. */
export interface RoomUsers {
  /** At most 100 user ids. */
  readonly members: readonly string[];
  readonly memberCount: number;
  readonly membersComplete: boolean;
}

export type PresenceStatus = 'online' | 'away' | 'offline';

/** A user's presence. */
export interface Presence {
  readonly userId: string;
  readonly username?: string;
  readonly status: PresenceStatus;
  readonly connections?: number;
  readonly since: number;
}

/** What a lasting member has not read of a room. */
export interface UnreadCounts {
  readonly roomId: string;
  /** The room's newest message. */
  readonly lastSeq: number;
  /** The newest message that the user has read, on any device. */
  readonly readUpTo: number;
  readonly unread: number;
  /** How many of the unread messages mention the user. */
  readonly mentions: number;
}

/** A room in which the user is a lasting member. */
export interface Membership extends UnreadCounts {
  /** A word that handlers give a meaning, such as `member` or `moderator`. */
  readonly role: string;
}

/** A lasting member of a room. */
export interface Member {
  readonly userId: string;
  readonly role: string;
  readonly joinedAt?: number;
  /** Messages up to this `seq` were read by this member. */
  readonly readUpTo: number;
}

/** One change of a message. */
export interface MessageChange {
  readonly messageId: string;
  readonly roomId: string;
  readonly seq: number;
  /** The number of this change in its room: 1, 2, 3 …. */
  readonly rev: number;
  /** Who has made it. */
  readonly userId: string;
}

/** A user in a room. */
export interface RoomUser {
  readonly roomId: string;
  readonly userId: string;
  readonly username: string;
}

/** What the server sends. */
export interface ServerEvents {
  /** A message was posted in a room that this connection is in. */
  'new-message': (message: Message) => void;
  /** An author has edited a message. */
  'message-edited': (change: MessageChange & { readonly content: string; readonly metadata?: Json; readonly editedAt: number }) => void;
  /** A message was deleted. */
  'message-deleted': (change: MessageChange & { readonly deletedAt: number }) => void;
  /** A user has set a mark or taken it back; `count` users have set it now. */
  'message-marked': (
    change: MessageChange & { readonly kind: string; readonly value: string; readonly on: boolean; readonly count: number },
  ) => void;
  /** A message as it is now. Comes instead of single changes where the server has missed some. */
  'message-changed': (message: Message & { readonly rev: number }) => void;
  /** A user has read a message, and those before it. */
  'message-read': (read: { readonly messageId: string; readonly roomId: string; readonly userId: string; readonly readAt: number }) => void;
  /** A user types, or has stopped. */
  'user-typing': (typing: RoomUser & { readonly typing: boolean }) => void;
  /** A user's first connection has joined the room. */
  'user-joined': (user: RoomUser) => void;
  /** A user's last connection has left the room. */
  'user-left': (user: RoomUser) => void;
  /** The presence of a user who shares a room with this one. */
  presence: (presence: Presence) => void;
  /**
   * This user has read on some device, was mentioned, or has another role; null: none any more. `lastSeq` may be one
   * behind for a moment.
   */
  'unread-changed': (counts: UnreadCounts & { readonly role: string | null }) => void;
  /** A user has become a lasting member of a room, or has another role there. */
  'member-added': (member: { readonly roomId: string; readonly userId: string; readonly role: string }) => void;
  /** A user is not a lasting member of a room any more. */
  'member-removed': (member: { readonly roomId: string; readonly userId: string }) => void;
  /** A moderator has removed this user from a room. `until`: joins are refused up to then. */
  kicked: (kick: { readonly roomId: string; readonly reason?: string; readonly until?: number }) => void;
  /** A handler closes the connection. The disconnect follows. */
  'disconnect-reason': (why: { readonly reason?: string }) => void;
  /** The connection's token expires soon: send a new one with `refresh-token`. */
  'token-expiring': (token: { readonly expiresAt: number }) => void;
  /** An event that asked for no acknowledgement has failed. */
  'error-event': (error: EventError & { readonly event: string }) => void;
}

type Acknowledge<T = unknown> = (answer: Answer<T>) => void;

/** What a client sends. The last argument gets the acknowledgement. */
export interface ClientEvents {
  /** Enters a room. */
  'join-room': (roomId: string, options: JoinOptions, acknowledge: Acknowledge<Joined>) => void;
  /** Leaves a room. */
  'leave-room': (roomId: string, acknowledge?: Acknowledge) => void;
  /** Posts a message. The same `clientId` posts once. */
  'send-message': (
    message: { roomId: string; content: string; metadata?: Json; clientId?: string },
    acknowledge: Acknowledge<{ readonly message: Receipt; readonly data?: Json }>,
  ) => void;
  /** The user types, or has stopped. */
  typing: (roomId: string, isTyping?: boolean, acknowledge?: Acknowledge) => void;
  /** The user has read a message, and those before it. */
  'read-message': (messageId: string, acknowledge?: Acknowledge) => void;
  /** Replaces the content and the metadata of one's own message. */
  'edit-message': (edit: { messageId: string; content: string; metadata?: Json }, acknowledge: Acknowledge) => void;
  /** Deletes one's own message. */
  'delete-message': (message: { messageId: string }, acknowledge: Acknowledge) => void;
  /** Sets a mark, or takes it back. */
  'mark-message': (
    mark: { messageId: string; kind: string; value: string; on?: boolean },
    acknowledge: Acknowledge,
  ) => void;
  /** Sets the presence of this connection. */
  'set-presence': (status: 'online' | 'away', acknowledge?: Acknowledge) => void;
  /** Asks for the presence of up to 100 users. */
  'get-presence': (userIds: readonly string[], acknowledge: Acknowledge<{ readonly states: readonly Presence[] }>) => void;
  /** Reads a page of a room's messages: the newest ones before `before`, or the oldest ones after `after`. */
  history: (
    page: { roomId: string; before?: number; after?: number; limit?: number },
    acknowledge: Acknowledge<{ readonly messages: readonly Message[]; readonly complete: boolean }>,
  ) => void;
  /** Replaces the connection's token by a later one of the same user. */
  'refresh-token': (token: string, acknowledge: Acknowledge<{ readonly expiresAt: number }>) => void;
  /** Reads the rooms in which the user is a lasting member, in the order of their ids. */
  unread: (
    page: { after?: string; limit?: number },
    acknowledge: Acknowledge<{ readonly rooms: readonly Membership[]; readonly complete: boolean }>,
  ) => void;
  /** Reads the lasting members of a room that the connection is in, in the order of their ids. */
  'room-members': (
    page: { roomId: string; after?: string; limit?: number },
    acknowledge: Acknowledge<{ readonly members: readonly Member[]; readonly complete: boolean }>,
  ) => void;
}
