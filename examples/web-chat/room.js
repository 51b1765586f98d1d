// One room's messages, without DOM or network: which are here, in which order, and which are missing.
//
// The server numbers a room's messages 1, 2, 3 … without gaps (`seq`), so order, duplicates and gaps follow from the
// numbers alone.

/** A larger gap is not filled: the messages before it are dropped and read again on scroll. */
export const LARGEST_GAP_FILLED = 1000;

export class Room {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.clear();
  }

  /** Drops everything, as if the room had never been joined. */
  clear() {
    /** The messages in ascending order of `seq`, each `seq` once. Treat as read-only. */
    this.messages = [];
    /** The newest `seq` that the server has reported; undefined until the first join. */
    this.lastSeq = undefined;
    /** The number of the last change of a message that is here (`rev`). */
    this.rev = 0;
    /** Which data of the server's the messages are of. */
    this.epoch = undefined;
    /** Whether there is no message before `messages[0]`. */
    this.atStart = false;
    this.bySeq = new Map();
    this.byId = new Map();
    this.unfillableGaps = new Set();
  }

  /** The `after` for the next `join-room`; undefined if the room was never joined. */
  get after() {
    return this.lastSeq;
  }

  /** The `before` for the next page of history; undefined asks for the newest page. */
  get before() {
    return this.messages[0]?.seq;
  }

  /** @returns {number | undefined} the place of a message that is loaded */
  seqOf(messageId) {
    return this.byId.get(messageId)?.seq;
  }

  /**
   * Adds messages in any order. A message that is here already is not added again. A `provisional` message (made from
   * an acknowledgement) is replaced by the one that the server delivers. A different message with a known `seq` means
   * that the server's data was reset, as in development: then all earlier messages are dropped.
   * @returns {{added: object[], reset: boolean}} the new ones, ascending
   */
  merge(incoming) {
    const wellFormed = incoming.filter((m) => m?.roomId === this.id && Number.isSafeInteger(m.seq) && m.seq > 0);
    const reset = wellFormed.some((m) => this.bySeq.has(m.seq) && this.bySeq.get(m.seq).id !== m.id);
    if (reset) this.clear();
    const added = [];
    let replaced = false;
    for (const message of wellFormed) {
      const known = this.bySeq.get(message.seq);
      if (known && !known.provisional && (message.rev ?? 0) <= (known.rev ?? 0)) continue;
      this.bySeq.set(message.seq, message);
      this.byId.set(message.id, message);
      if (known) replaced = true;
      else added.push(message);
    }
    added.sort(bySeq);
    if (added.length > 0 || replaced) {
      const appends = !replaced && added[0].seq > (this.messages.at(-1)?.seq ?? 0);
      this.messages = appends ? this.messages.concat(added) : [...this.bySeq.values()].sort(bySeq);
      this.lastSeq = Math.max(this.lastSeq ?? 0, this.messages.at(-1).seq);
    }
    if (this.before === 1) this.atStart = true;
    return { added, reset };
  }

  /**
   * Takes the answer to `join-room`.
   * @param {number | undefined} after what was asked for
   * @returns {{added: object[], reset: boolean}}
   */
  joined(after, { lastSeq, firstSeq = 1, messages = [], rev = 0, changes = [], complete = true, epoch }) {
    // The server has other data, or knows fewer messages than we have seen: its data was reset.
    const isOther = this.epoch !== undefined && this.epoch !== epoch;
    const reset = after !== undefined && (isOther || lastSeq < after);
    if (reset) this.clear();
    // The server has removed earlier messages, and may have removed what had become of them.
    const forgets = this.messages.length > 0 && this.messages[0].seq < firstSeq;
    if (forgets) this.keepFrom(firstSeq);
    const merged = this.merge(messages);
    this.merge(changes.filter((message) => this.bySeq.has(message.seq)));
    // Where there are more changes than one answer holds, the next join asks for those after the last one.
    this.rev = complete || changes.length === 0 ? rev : changes.at(-1).rev;
    this.lastSeq = Math.max(this.lastSeq ?? 0, lastSeq);
    this.epoch = epoch;
    if (this.lastSeq === 0) this.atStart = true;
    return { added: merged.added, reset: reset || forgets || merged.reset };
  }

  /**
   * Takes one change of a message: `message-edited`, `message-deleted` or `message-marked`. One that is older than what is
   * shown of the message changes nothing.
   */
  change(event, { seq, rev, userId, content, metadata, editedAt, deletedAt, kind, value, on, count }) {
    this.rev = Math.max(this.rev, rev);
    const known = this.bySeq.get(seq);
    if (!known || (known.rev ?? 0) >= rev) return;
    const next = { ...known, rev };
    if (event === 'message-edited') Object.assign(next, { content, metadata, editedAt });
    if (event === 'message-deleted') Object.assign(next, { content: '', metadata: undefined, marks: [], deletedAt });
    if (event === 'message-marked') {
      const marks = known.marks ?? [];
      const before = marks.find((mark) => mark.kind === kind && mark.value === value) ?? { kind, value, userIds: [] };
      const others = before.userIds.filter((id) => id !== userId);
      const after = { ...before, count, userIds: on ? [...others, userId] : others };
      next.marks = marks.includes(before) ? marks.map((mark) => (mark === before ? after : mark)) : [...marks, after];
      next.marks = next.marks.filter((mark) => mark.count > 0);
    }
    this.#replace(next);
  }

  /** Takes a message as it is now (`message-changed`), if it is here. */
  changed(message) {
    this.rev = Math.max(this.rev, message.rev);
    if (this.bySeq.has(message.seq)) this.merge([message]);
  }

  #replace(message) {
    this.bySeq.set(message.seq, message);
    this.byId.set(message.id, message);
    this.messages = this.messages.map((each) => (each.seq === message.seq ? message : each));
  }

  /**
   * Takes a page of history.
   * @param {number | undefined} before what was asked for
   * @returns {{added: object[], reset: boolean}}
   */
  page(before, { messages = [] }) {
    const merged = this.merge(messages);
    // The server has no older messages (they never existed, or were deleted): stop asking.
    if (!messages.some((m) => before === undefined || m.seq < before)) this.atStart = true;
    return merged;
  }

  /**
   * The newest gap between loaded messages, with exclusive ends. Messages before the first loaded one are not a gap but
   * history, which is read on scroll.
   * @returns {{after: number, before: number} | undefined}
   */
  gap() {
    let before = (this.lastSeq ?? 0) + 1;
    for (let i = this.messages.length - 1; i >= 0; i -= 1) {
      const after = this.messages[i].seq;
      if (before - after > 1 && !this.unfillableGaps.has(before)) return { after, before };
      before = after;
    }
    return undefined;
  }

  /**
   * Takes a page of history that was requested to fill a gap.
   * @param {{after: number, before: number}} gap
   * @returns {{added: object[], reset: boolean}}
   */
  fill(gap, { messages = [] }) {
    const merged = this.merge(messages);
    // The server has no messages there (they were deleted): asking again would never end.
    if (!messages.some((m) => m.seq > gap.after && m.seq < gap.before)) this.unfillableGaps.add(gap.before);
    return merged;
  }

  /** Keeps the newest `count` messages; older ones are read again on scroll. */
  trim(count) {
    if (this.messages.length <= count) return;
    this.keepFrom(this.messages.at(-count).seq);
  }

  /** Drops messages older than `seq`; they are read again on scroll. */
  keepFrom(seq) {
    for (const message of this.messages) {
      if (message.seq >= seq) continue;
      this.bySeq.delete(message.seq);
      this.byId.delete(message.id);
    }
    this.messages = this.messages.filter((m) => m.seq >= seq);
    this.atStart = this.before === 1;
  }
}

function bySeq(a, b) {
  return a.seq - b.seq;
}
