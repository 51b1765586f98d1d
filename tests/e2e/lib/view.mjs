// What a client shows of a room, made of the answers to its joins and of events, as the guide for clients says (promise 10).
import assert from 'node:assert/strict';

const CHANGES = ['message-edited', 'message-appended', 'message-deleted', 'message-marked'];

/** What is shown of a message. */
function shownOf({ id, seq, userId, content, metadata, rev = 0, deletedAt, marks = [] }) {
  return {
    id, seq, userId, rev,
    text: deletedAt === undefined ? { content, metadata } : 'deleted',
    marks: new Map(marks.map(({ kind, value, count, userIds }) => [`${kind} ${value}`, { count, users: new Set(userIds) }])),
  };
}

export class View {
  #messages = new Map();
  /** Which data of the server's it is of. */
  #epoch;
  /** The place up to which it has the room. */
  after = 0;
  rev = 0;

  constructor(roomId) {
    this.roomId = roomId;
  }

  /** What to ask for in a join. */
  get place() {
    return { after: this.after, rev: this.rev };
  }

  /** Takes the answer to a join with `place`, and returns whether it could: if not, the view has begun anew. */
  joined({ epoch, lastSeq, rev, firstSeq = 1, messages, changes, complete }) {
    const isOther = this.#epoch !== undefined && this.#epoch !== epoch;
    this.#epoch = epoch;
    if (isOther) {
      Object.assign(this, { after: 0, rev: 0 });
      this.#messages.clear();
      return false;
    }
    assert.equal(complete, true);
    // What retention has removed is shown no more.
    for (const seq of this.#messages.keys()) if (seq < firstSeq) this.#messages.delete(seq);
    for (const message of [...messages, ...changes]) this.#messages.set(message.seq, shownOf(message));
    this.after = Math.max(this.after, lastSeq);
    this.rev = rev;
    return true;
  }

  /** Takes an event of any room. */
  event(event, body) {
    if (body?.roomId !== this.roomId) return;
    const known = this.#messages.get(body.seq);
    if (event === 'new-message') {
      assert.equal(body.seq, this.after + 1, 'no message is missing');
      this.after = body.seq;
      this.#messages.set(body.seq, shownOf(body));
    } else if (event === 'message-changed') {
      assert.ok(body.rev > this.rev, `${body.rev} comes after ${this.rev}`);
      this.rev = body.rev;
      if (known) this.#messages.set(body.seq, shownOf(body));
    } else if (CHANGES.includes(event)) {
      const { rev, fragments = [''] } = body;
      assert.ok(rev > this.rev && rev - fragments.length <= this.rev, 'no change is missing');
      this.rev = body.rev;
      if (known && known.rev < body.rev) this.#change(known, event, body);
    }
  }

  #change(known, event, body) {
    // Each fragment is a change; the message may have the first ones already.
    if (event === 'message-appended') known.text.content += body.fragments.slice(known.rev - body.rev).join('');
    known.rev = body.rev;
    if (event === 'message-edited') known.text = { content: body.content, metadata: body.metadata };
    if (event === 'message-deleted') Object.assign(known, { text: 'deleted', marks: new Map() });
    if (event !== 'message-marked') return;
    const key = `${body.kind} ${body.value}`;
    const mark = known.marks.get(key) ?? { count: 0, users: new Set() };
    mark.count = body.count;
    if (body.on) mark.users.add(body.userId);
    else mark.users.delete(body.userId);
    if (mark.count > 0) known.marks.set(key, mark);
    else known.marks.delete(key);
  }

  /** All that is shown, to be compared. */
  shown() {
    const messages = [...this.#messages.values()].sort((a, b) => a.seq - b.seq);
    return {
      ...this.place,
      messages: messages.map(({ marks, ...message }) => ({
        ...message,
        marks: [...marks].sort().map(([key, { count, users }]) => [key, count, [...users].sort()]),
      })),
    };
  }

  messageIds() {
    return [...this.#messages.values()].map(({ id }) => id);
  }
}
