// The types of lasting members of rooms.

/** A member of a room. */
export interface Member {
  readonly user: string;
  /** What handlers call the member's role. */
  readonly role: string;
  /** When the user became a member, in milliseconds since the Unix epoch. */
  readonly joinedAt: number;
  /** The `seq` up to which the member has read. */
  readonly readUpTo: number;
  /** How often the member was mentioned since reading the room's last message. */
  readonly mentions: number;
}

/** A room in which the event's user is a member. */
export interface Membership {
  readonly room: string;
  /** What handlers call the user's role. */
  readonly role: string;
  /** When the user became a member, in milliseconds since the Unix epoch. */
  readonly joinedAt: number;
  /** The `seq` of the room's last message; 0 for none. What lies after `readUpTo` is unread. */
  readonly lastSeq: number;
  readonly readUpTo: number;
  readonly mentions: number;
}

/**
 * Lasting members of rooms, connected or not, which the handlers of a tenant share. Whether the user may see or change
 * them is for the handler to decide. Changes are effects; reads do not see this event's own.
 */
export const members: {
  /**
   * Makes the user a member, to whom all messages of now count as read, or gives a member another role: 1 to 64 bytes,
   * `member` unless you say another. The room gets `member-added`, the user's connections `unread-changed`.
   */
  add(room: string, user: string, role?: string): void;
  /** Ends the membership. The room gets `member-removed`, the user's connections `unread-changed`. */
  remove(room: string, user: string): void;
  /** The member; undefined if the user is none. */
  get(room: string, user: string): Member | undefined;
  /** Members after the user `after`, in the order of their ids' bytes; at most 200. */
  list(room: string, options?: { after?: string | null; limit?: number }): Member[];
  /** The rooms after `after` in which the event's user is a member, in the order of their ids' bytes; at most 1,000. */
  rooms(options?: { after?: string | null; limit?: number }): Membership[];
  /** Counts a mention of the member, whose connections get `unread-changed`. */
  mention(room: string, user: string): void;
};
