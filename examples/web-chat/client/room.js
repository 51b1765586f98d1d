// One room's messages, without network: which are here, in which order, and which are missing.
//
// The server numbers a room's messages 1, 2, 3 … without gaps (`seq`), and its changes of messages too (`rev`). So order,
// duplicates and gaps follow from the numbers alone. Messages are frozen when they are taken in, and never changed: a
// message that changes is replaced.

/** Events that say what one change has done to a message. */
export const CHANGES = ['message-edited', 'message-appended', 'message-deleted', 'message-marked'];

/** A larger gap is not filled: the messages before it are dropped, and read again when they are asked for. */
export const LARGEST_GAP_FILLED = 1000;

export class Room {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    /** joining, joined, refused or kicked */
    this.state = 'joining';
    /** Why the room cannot be joined or read, or why its last join is repeated. */
    this.error = null;
    /** When the join is tried again, in milliseconds since the Unix epoch; null unless it waits for that. */
    this.retryAt = null;
    /** How many reads of history are under way. */
    this.reads = 0;
    this.clear();
  }

  /** Drops everything, as if the room had never been joined. */
  clear() {
    /** The messages in ascending order of `seq`, each `seq` once. Treat as read-only. */
    this.messages = [];
    /** Whether a join was answered. Until then messages may have come whose data is not known. */
    this.isKnown = false;
    /** The newest `seq` that the server has reported. */
    this.lastSeq = undefined;
    /** All changes up to this one are in the messages that are here. */
    this.rev = 0;
    /** Names the server's data that the messages are from. */
    this.epoch = undefined;
    /** Whether messages before `messages[0]`, if there are any, are missing rather than history that is read later. */
    this.atStart = false;
    /** Whether changes may be missing. Until the answer to a join brings them, newer changes wait. */
    this.lacksChanges = true;
    this.bySeq = new Map();
    this.byId = new Map();
    this.unfillableGaps = new Set();
    this.waitingChanges = [];
    /** Changes of messages that a read of history which is under way may bring, by `seq`. */
    this.changesDuringReads = new Map();
  }

  /**
   * What to ask for in the next `join-room`.
   * @param {number} page how many messages to begin with
   */
  question(page) {
    return this.isKnown ? { after: this.lastSeq, rev: this.rev } : { last: page };
  }

  /** The `before` for the next page of history; undefined asks for the newest page. */
  get before() {
    return this.messages[0]?.seq;
  }

  /** @returns {number | undefined} the number of a message that is here */
  seqOf(messageId) {
    return this.byId.get(messageId)?.seq;
  }

  /** Whether the message with this number is expected among those that are here, but is missing. */
  lacks(seq) {
    const from = this.atStart ? 1 : (this.before ?? Number.POSITIVE_INFINITY);
    if (this.bySeq.has(seq) || seq < from || seq > (this.lastSeq ?? 0)) return false;
    // A message that the server does not have any more is not expected.
    const next = this.messages.find((message) => message.seq > seq)?.seq ?? this.lastSeq + 1;
    return !this.unfillableGaps.has(next);
  }

  /** A message with this number exists, as the acknowledgement of its sender says. */
  noteExists(seq) {
    this.lastSeq = Math.max(this.lastSeq ?? 0, seq);
  }

  /** The room is not joined any more: the next join tells what has changed meanwhile. */
  disconnected() {
    if (this.state === 'joined') this.state = 'joining';
    if (!this.isKnown) this.clear();
    this.retryAt = null;
    this.lacksChanges = true;
    this.waitingChanges = [];
  }

  /**
   * Adds messages in any order. One that is here already is replaced only by a state after a later change. Another
   * message under a known `seq` means that the server's data was replaced: then all earlier messages are dropped.
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
      if (known && (message.rev ?? 0) <= known.rev) continue;
      this.#keep(frozen(message));
      if (known) replaced = true;
      else added.push(message.seq);
    }
    for (const seq of added) this.#catchUp(seq);
    if (added.length > 0 || replaced) this.#sort(added, replaced);
    if (this.before === 1) this.atStart = true;
    added.sort((a, b) => a - b);
    return { added: added.map((seq) => this.bySeq.get(seq)), reset };
  }

  #keep(message) {
    this.bySeq.set(message.seq, message);
    this.byId.set(message.id, message);
  }

  #sort(added, replaced) {
    const appends = !replaced && added.every((seq) => seq > (this.messages.at(-1)?.seq ?? 0));
    const fresh = appends ? added.map((seq) => this.bySeq.get(seq)) : [...this.bySeq.values()];
    fresh.sort((a, b) => a.seq - b.seq);
    this.messages = appends ? this.messages.concat(fresh) : fresh;
    this.lastSeq = Math.max(this.lastSeq ?? 0, this.messages.at(-1).seq);
  }

  /** Applies the changes that overtook the page of history with this message. */
  #catchUp(seq) {
    for (const [event, change] of this.changesDuringReads.get(seq) ?? []) {
      const known = this.bySeq.get(seq);
      if (known.id === change.messageId && change.rev > known.rev) this.#keep(changed(known, event, change));
    }
  }

  /**
   * Takes the answer to `join-room`.
   * @param {{after?: number}} asked what was asked for
   * @returns {{added: object[], reset: boolean, next: 'done' | 'again' | 'unreadable'}} `again`: join again with
   *   `question`, for the rest of the changes or since the server has other data; `unreadable`: leave before joining
   *   again, since the server could not read the past
   */
  joined({ after }, { lastSeq = 0, firstSeq = 1, messages = [], rev = 0, changes = [], complete = true, epoch }) {
    // The server has other data, or fewer messages than were here: its data was replaced.
    const isOther = this.epoch !== undefined && this.epoch !== epoch;
    if (after !== undefined && (isOther || lastSeq < after)) {
      this.clear();
      return { added: [], reset: true, next: 'again' };
    }
    if (!complete && messages.length === 0 && changes.length === 0) return { added: [], reset: false, next: 'unreadable' };
    this.epoch = epoch;
    this.isKnown = true;
    // The server has removed earlier messages, and tells nothing more of them.
    if (this.before < firstSeq) this.keepFrom(firstSeq);
    // Messages that came by themselves before this answer may have changed since, and it tells so only of those on its
    // page: the others are read again.
    const first = messages[0]?.seq ?? lastSeq + 1;
    this.#drop((seq) => seq > (after ?? 0) && seq < first);
    const { added, reset } = this.merge(messages);
    this.merge(changes.filter((message) => this.bySeq.has(message.seq)));
    this.lastSeq = Math.max(this.lastSeq ?? 0, lastSeq);
    if (this.lastSeq === 0) this.atStart = true;
    const isWhole = after === undefined && complete && messages.length > 0;
    if (isWhole || (firstSeq > 1 && this.before <= firstSeq)) this.#startsHere();
    // One answer has only a page of changes. The next one is asked for from the last of these, but not from after the
    // room's `rev`: messages of this answer's page, and later ones, may have changed in between.
    if (!complete && changes.length > 0) {
      this.rev = Math.min(rev, changes.at(-1).rev);
      return { added, reset, next: 'again' };
    }
    this.rev = rev;
    this.lacksChanges = false;
    for (const [event, change] of this.waitingChanges.splice(0)) this.change(event, change);
    return { added, reset, next: 'done' };
  }

  /**
   * Takes one change of a message: one of `CHANGES`, or `message-changed` with the message as it is now.
   * @returns {boolean} false if changes before this one are missing, so that the room must be joined again
   */
  change(event, body) {
    const isNext = event === 'message-changed' ? body.rev > this.rev : body.rev > this.rev && firstRev(body) <= this.rev + 1;
    if (!this.lacksChanges && body.rev <= this.rev) return true;
    if (this.lacksChanges || !isNext) {
      this.waitingChanges.push([event, body]);
      const isNews = !this.lacksChanges;
      this.lacksChanges = true;
      return !isNews;
    }
    this.rev = body.rev;
    const known = this.bySeq.get(body.seq);
    if (known && known.rev < body.rev) this.#replace(changed(known, event, body));
    // A page that was read before this change may still be on its way.
    if (!known && this.reads > 0) {
      const change = event === 'message-changed' ? { ...body, messageId: body.id } : body;
      this.changesDuringReads.set(body.seq, [...(this.changesDuringReads.get(body.seq) ?? []), [event, change]]);
    }
    return true;
  }

  #replace(message) {
    this.#keep(message);
    this.messages = this.messages.map((each) => (each.seq === message.seq ? message : each));
  }

  /** Runs a read of history, with the taking of what it brings. Changes that overtake its answer are applied to that. */
  async reading(read) {
    this.reads += 1;
    try {
      return await read();
    } finally {
      this.reads -= 1;
      if (this.reads === 0) this.changesDuringReads.clear();
    }
  }

  /**
   * Takes a page of history.
   * @param {number | undefined} before what was asked for
   * @returns {{added: object[], reset: boolean}}
   */
  page(before, { messages = [] }) {
    const merged = this.merge(messages);
    // The server has no older messages (they never existed, or were removed): stop asking.
    if (!messages.some((m) => before === undefined || m.seq < before)) this.#startsHere();
    return merged;
  }

  /** The server has no messages before those that are here. */
  #startsHere() {
    this.atStart = true;
    this.unfillableGaps.add(this.before ?? (this.lastSeq ?? 0) + 1);
  }

  /**
   * The newest gap between messages that are here, with exclusive ends. Messages before the first one are not a gap but
   * history, which is read when it is asked for.
   * @returns {{after: number, before: number} | undefined}
   */
  gap() {
    let before = (this.lastSeq ?? 0) + 1;
    for (let i = this.messages.length - 1; i >= 0; i -= 1) {
      const after = this.messages[i].seq;
      if (before - after > 1 && !this.unfillableGaps.has(before)) return { after, before };
      before = after;
    }
    // The room was empty when this client was there before.
    if (this.atStart && before > 1 && !this.unfillableGaps.has(before)) return { after: 0, before };
    return undefined;
  }

  /** All gaps, in the order of the messages. `lost`: the server does not have these messages any more. */
  gaps() {
    const gaps = [];
    if (this.messages.length === (this.lastSeq ?? 0) - (this.before ?? 1) + 1 && this.before === 1) return gaps;
    let after = this.atStart && !this.unfillableGaps.has(this.before) ? 0 : undefined;
    for (const before of [...this.messages.map(({ seq }) => seq), (this.lastSeq ?? 0) + 1]) {
      if (after !== undefined && before - after > 1) gaps.push({ after, before, lost: this.unfillableGaps.has(before) });
      after = before;
    }
    return gaps;
  }

  /**
   * Takes a page of history that was requested to fill a gap.
   * @param {{after: number, before: number}} gap
   * @returns {{added: object[], reset: boolean}}
   */
  fill(gap, { messages = [] }) {
    const merged = this.merge(messages);
    // The server has no messages there (they were removed): asking again would never end.
    if (!messages.some((m) => m.seq > gap.after && m.seq < gap.before)) this.unfillableGaps.add(gap.before);
    return merged;
  }

  /** Keeps the newest `count` messages; older ones are read again when they are asked for. */
  trim(count) {
    if (this.messages.length <= count) return;
    this.keepFrom(this.messages.at(-count).seq);
  }

  /** Drops messages older than this `seq`. */
  keepFrom(from) {
    this.#drop((seq) => seq < from);
    this.atStart = this.before === 1;
  }

  #drop(isOver) {
    const over = this.messages.filter(({ seq }) => isOver(seq));
    if (over.length === 0) return;
    for (const { seq, id } of over) {
      this.bySeq.delete(seq);
      this.byId.delete(id);
    }
    this.messages = this.messages.filter(({ seq }) => this.bySeq.has(seq));
  }
}

/** The number of the first change that an event tells of. Text that is added comes as several changes in one event. */
const firstRev = ({ rev, fragments = [''] }) => rev - fragments.length + 1;

/** A message after one change, or after those of one event. */
function changed(known, event, change) {
  if (event === 'message-changed') {
    const { messageId: _, ...message } = change;
    return frozen(message);
  }
  const { rev, fragments, userId, content, metadata, editedAt, deletedAt, kind, value, on, count } = change;
  const next = { ...known, rev };
  if (event === 'message-edited') Object.assign(next, { content, metadata, editedAt });
  // Each fragment is a change. The message may have the first ones, if it was read from the server meanwhile.
  if (event === 'message-appended') next.content += fragments.slice(known.rev - rev).join('');
  if (event === 'message-deleted') Object.assign(next, { content: '', metadata: undefined, marks: [], deletedAt });
  if (next.metadata === undefined) delete next.metadata;
  if (event === 'message-marked') {
    const { marks } = known;
    const before = marks.find((mark) => mark.kind === kind && mark.value === value) ?? { kind, value, userIds: [] };
    const others = before.userIds.filter((id) => id !== userId);
    const after = { ...before, count, userIds: on ? [...others, userId] : others };
    next.marks = marks.includes(before) ? marks.map((mark) => (mark === before ? after : mark)) : [...marks, after];
    next.marks = next.marks.filter((mark) => mark.count > 0);
  }
  return frozen(next);
}

/** A message as it is kept: it always has `rev` and `marks`. */
function frozen(message) {
  const marks = (message.marks ?? []).map((mark) => Object.freeze({ ...mark, userIds: Object.freeze([...mark.userIds]) }));
  return Object.freeze({ ...message, rev: message.rev ?? 0, marks: Object.freeze(marks) });
}
