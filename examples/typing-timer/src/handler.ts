// Shows a room which users type. A timer ends typing `seconds` (a setting) after the user's last `typing`, even if the
// user's node has died meanwhile. A message of the user ends it too.
import { Audience, Denied, emit, identity, KvKey, messages, rooms, settings, timers } from 'parlance-handlers';
import type { OnMessage, OnTimer, OnTyping } from 'parlance-handlers';

/** How long a user types after a `typing`, unless the setting says otherwise. */
const SECONDS = 6;

/** A user who types in a room, as the event `user-typing` names them. */
type Typist = { roomId: string; userId: string; username: string };
/**
 * While the user types in the room, the key says when the timer of the same name is due, in milliseconds since the Unix
 * epoch.
 */
const endOf = (room: string, user: string) => new KvKey<number>(room, user);

export const onTyping: OnTyping = ({ user, receivedAt }, room, typing) => {
  if (!rooms.joined(room)) throw new Denied('join the room before typing in it');
  if (!typing) return stop(room, user);
  const typist = typistOf(room, user);
  postpone(typist, receivedAt);
  // Each `typing` is passed on: to clients that have joined since, and to those that end typing which no event repeats.
  emit(Audience.othersInRoom(room), 'user-typing', { ...typist, typing: true });
};

export const onMessage: OnMessage = ({ user }, message) => {
  messages.post(message);
  stop(message.room, user);
};

export const onTimer: OnTimer = (_name, payload) => {
  const typist = payload as Typist;
  // If an event replaces or cancels the timer at this moment, nothing of this happens.
  endOf(typist.roomId, typist.userId).delete();
  emit(Audience.room(typist.roomId), 'user-typing', { ...typist, typing: false });
};

/** A timer has no user, so the name goes into its payload. */
const typistOf = (roomId: string, userId: string): Typist => ({ roomId, userId, username: identity.username() });

/** Sets the timer, unless it is due late enough. It runs for half as long again as typing lasts, so few events set it. */
function postpone(typist: Typist, now: number): void {
  const lasts = 1000 * (Number(settings.get('seconds')) || SECONDS);
  const end = endOf(typist.roomId, typist.userId);
  if ((end.get() ?? 0) >= now + lasts) return;
  const due = now + Math.round(1.5 * lasts);
  end.set(due);
  timers.set(end.key, due, typist);
}

/** Ends the user's typing in the room, if the user types there. */
function stop(room: string, user: string): void {
  const end = endOf(room, user);
  if (!end.get()) return;
  end.delete();
  timers.cancel(end.key);
  emit(Audience.othersInRoom(room), 'user-typing', { ...typistOf(room, user), typing: false });
}
