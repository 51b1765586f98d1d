// The events between Parlance and its clients, as its own handlers answer them. Times are milliseconds since the Unix
// epoch. `Socket<ServerEvents, ClientEvents>` of socket.io-client is a socket with these types.
// Made from host/asyncapi.json by tests/e2e/lib/event-types.mjs.

/** A JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** The acknowledgement of an event. */
export type Answer<T = unknown> =
  | ({ readonly ok: true; /** Keys of the request that the server does not know. */ readonly unknown?: readonly string[] } & T)
  | { readonly ok: false; readonly error: EventError };

type Acknowledge<T = unknown> = (answer: Answer<T>) => void;

/** A message that has changed, as it is now. */
export interface ChangedMessage {
  readonly id: string;
  /** Its number in its room: 1, 2, 3 … without gaps. */
  readonly seq: number;
  readonly roomId: string;
  /** The sender. Messages of bots have `bot:` and a name, which no user can have. */
  readonly userId: string;
  /** The sender's name at that time, as the token said. */
  readonly username: string;
  readonly content: string;
  readonly sentAt: number;
  /** The number of its latest change in its room: 1, 2, 3 …. */
  readonly rev: number;
  /** The sender's own id of the message. */
  readonly clientId?: string;
  /** When it was deleted. Its content is empty then. */
  readonly deletedAt?: number;
  readonly editedAt?: number;
  readonly marks?: readonly Mark[];
  /** What the sender added. The server does not check it. */
  readonly metadata?: Json;
}

/** The code of a failed event. Codes are kebab-case and stable, since clients decide by them. */
export type ErrorCode =
  /** The event is malformed. */
  | 'invalid'
  /** The user may not do this. */
  | 'denied'
  /** It does not exist, or this user may not know that it exists. */
  | 'not-found'
  /** It conflicts with the current state. */
  | 'conflict'
  /** A size limit is exceeded. */
  | 'too-large'
  /** There were too many events in a short time. */
  | 'rate-limited'
  /** A quota is used up. */
  | 'quota-exceeded'
  /** The handler did not finish in time. */
  | 'timeout'
  /** The handler failed. */
  | 'handler-failed'
  /** No handler is installed for this event. */
  | 'unhandled'
  /** A part of the server is down or overloaded. */
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

/** The acknowledgement of `history`. */
export interface History {
  readonly messages: readonly Message[];
  /** Whether these are all messages that were asked for. */
  readonly complete: boolean;
}

/** Which part of a room's past a join asks for. */
export interface JoinOptions {
  /** Only messages after this `seq`. */
  after?: number | null;
  /** At most this many messages, the newest ones. Zero counts as absent. */
  last?: number | null;
  /** Also what has changed of messages up to `after`, since the change with this number. */
  rev?: number | null;
}

/** The acknowledgement of `join-room`. */
export interface Joined {
  /** Names the server's data. Another name than before: forget the room, and join it again. */
  readonly epoch: string;
  /** The room's newest message. */
  readonly lastSeq: number;
  /** The number of the room's latest change. */
  readonly rev: number;
  readonly messages: readonly Message[];
  /** Whether these are all messages and changes that were asked for. */
  readonly complete: boolean;
  /** Older messages that have changed, as they are now, by ascending `rev`. With `rev` only. */
  readonly changes?: readonly Message[];
  /** What the handler adds. */
  readonly data?: RoomUsers;
  /** Earlier messages were removed. */
  readonly firstSeq?: number;
}

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

/** A lasting member of a room. */
export interface Member {
  readonly userId: string;
  readonly role: string;
  readonly joinedAt: number;
  /** Messages up to this `seq` were read by this member. */
  readonly readUpTo: number;
}

/** The acknowledgement of `room-members`. */
export interface Members {
  readonly members: readonly Member[];
  /** Whether these are all that come after `after`. */
  readonly complete: boolean;
}

/** A room in which the user is a lasting member. */
export interface Membership {
  readonly roomId: string;
  /** A word that handlers give a meaning, such as `member` or `moderator`. */
  readonly role: string;
  /** The room's newest message. */
  readonly lastSeq: number;
  /** The newest message that the user has read, on any device. */
  readonly readUpTo: number;
  /** How many messages lie after that one. */
  readonly unread: number;
  /** How often the user was mentioned since reading the room's last message. */
  readonly mentions: number;
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
  readonly sentAt: number;
  /** The sender's own id of the message. */
  readonly clientId?: string;
  /** When it was deleted. Its content is empty then. */
  readonly deletedAt?: number;
  readonly editedAt?: number;
  readonly marks?: readonly Mark[];
  /** What the sender added. The server does not check it. */
  readonly metadata?: Json;
  /** The number of its latest change in its room: 1, 2, 3 …. */
  readonly rev?: number;
}

/** A user's presence, as others are told. */
export interface Presence {
  readonly userId: string;
  readonly username: string;
  readonly status: PresenceStatus;
  /** Since when it has been so. */
  readonly since: number;
}

/** A user's presence, as an asker is answered. */
export interface PresenceState {
  readonly userId: string;
  readonly status: PresenceStatus;
  /** How many connections the user has. */
  readonly connections: number;
  /** Since when it has been so. */
  readonly since: number;
  /** The name of a user who is online or away. */
  readonly username?: string;
}

/** The presence status of a connection or a user. */
export type PresenceStatus =
  /** Connected and active. */
  | 'online'
  /** Connected, but inactive. */
  | 'away'
  /** Not connected, or not visible to the asker. */
  | 'offline';

/** The receipt of a message for its sender. */
export interface Receipt {
  /** Its id. */
  readonly id: string;
  /** Its number in its room. */
  readonly seq: number;
  /** When it was posted, in milliseconds since the Unix epoch. */
  readonly sentAt: number;
  /** The sender's name. */
  readonly username: string;
  /** The sender's own id for it. */
  readonly clientId?: string;
}

/** The acknowledgement of `refresh-token`. */
export interface Refreshed {
  /** When the new token expires. */
  readonly expiresAt: number;
}

/** A user in a room. */
export interface RoomUser {
  readonly roomId: string;
  readonly userId: string;
  readonly username: string;
}

/** Who is in a room now. */
export interface RoomUsers {
  /** At most 100 user ids. */
  readonly members: readonly string[];
  /** How many users are in the room. */
  readonly memberCount: number;
  /** Whether `members` has all of them. */
  readonly membersComplete: boolean;
}

/** The acknowledgement of an event that posted a message. */
export interface Sent {
  readonly message: Receipt;
  /** What the handler adds. */
  readonly data?: Json;
}

/** The acknowledgement of `get-presence`. */
export interface States {
  readonly states: readonly PresenceState[];
}

/** The acknowledgement of `unread`. */
export interface Unread {
  readonly rooms: readonly Membership[];
  /** Whether these are all that come after `after`. */
  readonly complete: boolean;
}

/** What the server sends. */
export interface ServerEvents {
  /** A handler closes the connection. The server's `disconnect` follows. */
  'disconnect-reason': (argument: {
    /** For people. */
    readonly reason?: string;
  }) => void;
  /** An event that asked for no acknowledgement has failed. */
  'error-event': (argument: {
    /** The name of the event. */
    readonly event: string;
    readonly code: ErrorCode;
    /** For people. */
    readonly message: string;
    /** Whether the same event may succeed later. */
    readonly retryable: boolean;
    /** After how many milliseconds trying again makes sense. */
    readonly retryAfterMs?: number;
    /** Keys of the request that the server does not know. */
    readonly unknown?: readonly string[];
  }) => void;
  /** A handler has taken this user out of a room. */
  kicked: (argument: {
    readonly roomId: string;
    /** For people. */
    readonly reason?: string;
    /** Until when joins are refused. */
    readonly until?: number;
  }) => void;
  /** A user has become a lasting member of a room that this connection is in, or has another role there. */
  'member-added': (argument: {
    readonly roomId: string;
    readonly userId: string;
    /** A word that handlers give a meaning, such as `member` or `moderator`. */
    readonly role: string;
  }) => void;
  /** A user is not a lasting member of the room any more. */
  'member-removed': (argument: {
    readonly roomId: string;
    readonly userId: string;
  }) => void;
  /** Text was added to the end of a message, as by a bot that answers word by word. What comes within 40 ms comes as one, unless something else happens in the room. */
  'message-appended': (argument: {
    readonly messageId: string;
    readonly roomId: string;
    /** The number of the message. */
    readonly seq: number;
    /**
     * The number of the last of these changes in its room: 1, 2, 3 …. The last fragment has it, the one before has the
     * number before.
     */
    readonly rev: number;
    /** The user who has made these changes. */
    readonly userId: string;
    /** The texts to add to the end of the content, in this order. */
    readonly fragments: readonly string[];
    /** Whether the text is complete now. */
    readonly done?: boolean;
  }) => void;
  /** A message as it is now. It comes instead of single changes where the server has missed some. */
  'message-changed': (argument: ChangedMessage) => void;
  /** A message was deleted. */
  'message-deleted': (argument: {
    readonly messageId: string;
    readonly roomId: string;
    /** The number of the message. */
    readonly seq: number;
    /** The number of this change in its room: 1, 2, 3 …. */
    readonly rev: number;
    /** The user who has made the change. */
    readonly userId: string;
    readonly deletedAt: number;
  }) => void;
  /** An author has edited a message. */
  'message-edited': (argument: {
    readonly messageId: string;
    readonly roomId: string;
    /** The number of the message. */
    readonly seq: number;
    /** The number of this change in its room: 1, 2, 3 …. */
    readonly rev: number;
    /** The user who has made the change. */
    readonly userId: string;
    readonly content: string;
    readonly editedAt: number;
    readonly metadata?: Json;
  }) => void;
  /** A user has set a mark or taken it back. */
  'message-marked': (argument: {
    readonly messageId: string;
    readonly roomId: string;
    /** The number of the message. */
    readonly seq: number;
    /** The number of this change in its room: 1, 2, 3 …. */
    readonly rev: number;
    /** The user who has made the change. */
    readonly userId: string;
    readonly kind: string;
    readonly value: string;
    /** Whether it was set. */
    readonly on: boolean;
    /** How many users have set it now. */
    readonly count: number;
  }) => void;
  /** A user has read a message, and those before it. */
  'message-read': (argument: {
    readonly messageId: string;
    readonly roomId: string;
    readonly userId: string;
    readonly readAt: number;
  }) => void;
  /** A message was posted in a room that this connection is in. */
  'new-message': (argument: Message) => void;
  /** The presence of a user who shares a room with this one has changed. */
  presence: (argument: Presence) => void;
  /** The connection's token expires soon: send a new one with `refresh-token`. */
  'token-expiring': (argument: {
    readonly expiresAt: number;
  }) => void;
  /** This user has read on some device, was mentioned, or has another role or none. */
  'unread-changed': (argument: {
    readonly roomId: string;
    /** Null if the membership has ended. */
    readonly role: string | null;
    /** The room's newest message. It may be one behind for a moment. */
    readonly lastSeq: number;
    /** The newest message that the user has read, on any device. */
    readonly readUpTo: number;
    /** How many messages lie after that one. */
    readonly unread: number;
    /** How often the user was mentioned since reading the room's last message. */
    readonly mentions: number;
  }) => void;
  /** A user's first connection has joined the room. */
  'user-joined': (argument: RoomUser) => void;
  /** A user's last connection has left the room. */
  'user-left': (argument: RoomUser) => void;
  /** A user types, or has stopped. */
  'user-typing': (argument: {
    readonly roomId: string;
    readonly userId: string;
    readonly username: string;
    readonly typing: boolean;
  }) => void;
}

/** What a client sends. The last argument gets the acknowledgement. */
export interface ClientEvents {
  /** Deletes one's own message. */
  'delete-message': (
    message: {
      messageId: string;
    },
    acknowledge?: Acknowledge,
  ) => void;
  /** Replaces the content and the metadata of one's own message. */
  'edit-message': (
    edit: {
      messageId: string;
      content: string;
      metadata?: Json;
    },
    acknowledge?: Acknowledge,
  ) => void;
  /** Asks for the presence of users. */
  'get-presence': (
    userIds: string[],
    acknowledge: Acknowledge<States>,
  ) => void;
  /** Reads a page of a room's messages: the newest ones before `before`, or the oldest ones after `after`. */
  history: (
    page: {
      roomId: string;
      /** Only messages after this `seq`, the oldest ones first. */
      after?: number | null;
      /** Only messages before this `seq`. */
      before?: number | null;
      /** At most this many. */
      limit?: number | null;
    },
    acknowledge: Acknowledge<History>,
  ) => void;
  /** Enters a room. */
  'join-room': (
    roomId: string,
    options: JoinOptions | null,
    acknowledge: Acknowledge<Joined>,
  ) => void;
  /** Leaves a room. */
  'leave-room': (
    roomId: string,
    acknowledge?: Acknowledge,
  ) => void;
  /** Sets a mark, or takes it back. */
  'mark-message': (
    mark: {
      messageId: string;
      /** `reaction`, `pin`, `flag`, or another word. */
      kind: string;
      /** The emoji of a reaction, for example. */
      value: string;
      /** Whether to set it; by default true. */
      on?: boolean | null;
    },
    acknowledge?: Acknowledge,
  ) => void;
  /** The user has read a message, and those before it. */
  'read-message': (
    messageId: string,
    acknowledge?: Acknowledge,
  ) => void;
  /** Replaces the connection's token by a later one of the same user. */
  'refresh-token': (
    token: string,
    acknowledge: Acknowledge<Refreshed>,
  ) => void;
  /** Reads the lasting members of a room that the connection is in, in the order of their ids. */
  'room-members': (
    page: {
      roomId: string;
      /** Only members after this user. */
      after?: string | null;
      /** At most this many. */
      limit?: number | null;
    },
    acknowledge: Acknowledge<Members>,
  ) => void;
  /** Posts a message. The same `clientId` posts once. */
  'send-message': (
    message: {
      roomId: string;
      content: string;
      /** The sender's own id of the message, such as a UUID. */
      clientId?: string | null;
      /** What the sender adds. The server does not check it. */
      metadata?: Json;
    },
    acknowledge: Acknowledge<Sent>,
  ) => void;
  /** Sets the presence of this connection. */
  'set-presence': (
    status: 'online' | 'away',
    acknowledge?: Acknowledge,
  ) => void;
  /** The user types, or has stopped. */
  typing: (
    roomId: string,
    isTyping?: boolean | null,
    acknowledge?: Acknowledge,
  ) => void;
  /** Reads the rooms in which the user is a lasting member, in the order of their ids. */
  unread: (
    page: {
      /** Only rooms after this one. */
      after?: string | null;
      /** At most this many. */
      limit?: number | null;
    } | null,
    acknowledge: Acknowledge<Unread>,
  ) => void;
}
