// Tells the server when the user of this client begins and stops typing, and ends the typing of others.

/** While the user goes on typing, `typing` is repeated after this time, before it ends for the others. */
const SAY_EVERY = 3_000;
/** The user counts as typing until there was no key press for this long. */
const ENDS_AFTER = 4_000;

export class TypingReporter {
  /** @param {(roomId: string, isTyping: boolean) => void} tell */
  constructor(tell) {
    this.tell = tell;
    this.rooms = new Map();
  }

  /** The user has pressed a key. */
  typed(roomId, now) {
    const room = this.rooms.get(roomId) ?? { saidAt: undefined, quiet: undefined };
    this.rooms.set(roomId, room);
    clearTimeout(room.quiet);
    room.quiet = setTimeout(() => this.stopped(roomId), ENDS_AFTER);
    if (room.saidAt !== undefined && now - room.saidAt < SAY_EVERY) return;
    room.saidAt = now;
    this.tell(roomId, true);
  }

  /** The user has stopped, or has sent the message. */
  stopped(roomId) {
    if (this.forget(roomId)) this.tell(roomId, false);
  }

  /** The server knows already that the user has stopped. @returns {boolean} whether the user was typing */
  forget(roomId) {
    clearTimeout(this.rooms.get(roomId)?.quiet);
    return this.rooms.delete(roomId);
  }

  /** The connection is lost, and with it what the server knew. */
  forgetAll() {
    for (const roomId of [...this.rooms.keys()]) this.forget(roomId);
  }
}

/** Ends the typing of users who have not repeated it, as their server may have died. */
export class TypingEnds {
  /**
   * @param {import('./people.js').People} people
   * @param {(roomId: string) => void} ended somebody's typing in this room
   */
  constructor(people, ended) {
    Object.assign(this, { people, ended });
  }

  /** Waits for the next end. */
  watch() {
    clearTimeout(this.timer);
    const end = this.people.nextTypingEnd();
    if (!Number.isFinite(end)) return;
    this.timer = setTimeout(
      () => {
        for (const roomId of this.people.endTyping(Date.now())) this.ended(roomId);
        this.watch();
      },
      Math.max(0, end - Date.now()),
    );
  }

  stop() {
    clearTimeout(this.timer);
  }
}
