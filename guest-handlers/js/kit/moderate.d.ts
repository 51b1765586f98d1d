// The types of power over other users, and of messages of bots.
import type { Json } from './index.js';

/**
 * Power over other users, and a voice of its own, where the operator has granted it (`moderate = true` in `[grants]`); all
 * else is refused with `denied`. All but `bannedUntil` are effects. A reason has at most 1 KiB; the user's client gets it.
 */
export const moderate: {
  /** Takes the user's connections out of the room, on all nodes. Each gets `kicked`. The user may join again. */
  kick(room: string, user: string, reason?: string | null): void;
  /** Kicks the user, who cannot join the room again until the time: a Date, or milliseconds since the Unix epoch. */
  ban(room: string, user: string, until: Date | number, reason?: string | null): void;
  /** Ends a ban, if there is one. */
  unban(room: string, user: string): void;
  /** Until when the user is banned, in milliseconds since the Unix epoch; undefined if the user is not. */
  bannedUntil(room: string, user: string): number | undefined;
  /** Closes the user's connections, on all nodes. Each gets `disconnect-reason` first, and does not connect again by itself. */
  disconnect(user: string, reason?: string | null): void;
  /** Posts a message as the bot with this name, in any room, and returns its id. Its sender is `bot:` and the name. */
  postAs(bot: string, room: string, content: string, metadata?: Json): string;
};
