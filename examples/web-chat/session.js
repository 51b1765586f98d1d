// The session: the connection, and the rooms, outbox and people that it updates. It knows the protocol, not the page.

import { payload } from './outbox.js';
import { LARGEST_GAP_FILLED, Room } from './room.js';

/** How long to wait for an acknowledgement, in milliseconds. After that the event counts as lost. */
const ANSWER_WITHIN = 10_000;
/** Messages per page of history, and the most that the server returns. */
const PAGE = 50;
const LARGEST_PAGE = 200;
/** Users per `get-presence`. */
const PRESENCE_PAGE = 100;
const TRY_AGAIN_AFTER = 1_500;

export class Session {
  /**
   * @param {object} parts
   * @param {object} parts.socket a socket.io-client socket that is not connected yet
   * @param {string} parts.me this user's id
   * @param {import("./outbox.js").Outbox} parts.outbox
   * @param {import("./people.js").People} parts.people
   * @param {(change: {rooms?: boolean}) => void} parts.changed something shown may have changed
   * @param {(problem: {event: string, code: string, message: string}) => void} parts.problem
   * @param {(message: object) => void} parts.arrived a new message came while connected
   * @param {Map<string, number>} parts.lastRead by room, the newest `seq` this user has seen
   */
  constructor(parts) {
    Object.assign(this, parts);
    /** connecting, catching-up, live or reconnecting */
    this.state = 'connecting';
    /** @type {Map<string, Room>} in the order shown */
    this.rooms = new Map();
    this.joined = new Set();
    /** By room: why it cannot be joined or its history cannot be read. */
    this.refusals = new Map();
    this.away = false;
    /** Counts connections, so that answers that belong to an earlier one are recognised. */
    this.connection = 0;
    this.refusedConnections = 0;
    this.busy = new Set();
    this.owedReads = new Map();
    this.#listen();
  }

  // Rooms

  /** Adds a room to the list, and joins it as soon as there is a connection. */
  open(roomId) {
    if (this.rooms.has(roomId)) return;
    const room = new Room(roomId);
    this.rooms.set(roomId, room);
    if (this.socket.connected) this.#join(room).then((members) => this.#askPresence(members));
    this.changed({ rooms: true });
  }

  leave(roomId) {
    this.rooms.delete(roomId);
    this.refusals.delete(roomId);
    this.lastRead.delete(roomId);
    this.people.forgetReads(roomId);
    if (this.joined.delete(roomId)) {
      this.#tell('leave-room', roomId);
      // Users who share only this room appear offline from now on, and no event announces that.
      this.#askPresence(this.people.here().map(({ userId }) => userId));
    }
    this.changed({ rooms: true });
  }

  unread(roomId) {
    const room = this.rooms.get(roomId);
    return Math.max(0, (room?.lastSeq ?? 0) - (this.lastRead.get(roomId) ?? room?.lastSeq ?? 0));
  }

  /** Reads the next older page of a room, once at a time. */
  async older(roomId) {
    const room = this.rooms.get(roomId);
    if (!room || !this.canLoad(roomId)) return;
    await this.#once(`older ${roomId}`, async () => {
      const before = room.before;
      const answer = await this.#ask('history', { roomId, limit: PAGE, ...(before === undefined ? {} : { before }) });
      if (answer.ok) return this.#took(room, room.page(before, answer));
      if (answer.error) this.#report('history', answer.error);
      if (answer.error && !answer.error.retryable) this.refusals.set(roomId, answer.error);
      else await pause(TRY_AGAIN_AFTER);
    });
    this.changed({});
  }

  /** Whether an older page may exist and can be requested. */
  canLoad(roomId) {
    return this.joined.has(roomId) && !this.refusals.has(roomId) && !this.rooms.get(roomId)?.atStart;
  }

  isLoading(roomId) {
    return this.busy.has(`older ${roomId}`);
  }

  // Messages

  send(roomId, content) {
    const entry = this.outbox.add(roomId, content, Date.now());
    if (entry.state === 'failed') this.#report('send-message', entry.error);
    this.#flush(roomId);
    this.changed({});
  }

  retry(clientId) {
    const entry = this.outbox.get(clientId);
    this.outbox.retry(clientId);
    if (entry) this.#flush(entry.roomId);
    this.changed({});
  }

  /** Changes a message. @returns {Promise<boolean>} whether the server has done so */
  async change(event, body) {
    const answer = await this.#ask(event, body);
    if (!answer.ok) this.#report(event, answer.error ?? { code: 'unavailable', message: 'There is no connection.' });
    return answer.ok;
  }

  /** The user has seen this room up to `seq`. */
  markRead(roomId, seq) {
    const room = this.rooms.get(roomId);
    const before = this.lastRead.get(roomId) ?? 0;
    if (!room || seq <= before) return;
    this.lastRead.set(roomId, seq);
    const newest = room.messages.findLast((m) => m.seq <= seq && m.userId !== this.me);
    if (newest && newest.seq > before) this.owedReads.set(roomId, newest.id);
    this.#payReads(roomId);
    this.changed({ rooms: true });
  }

  typing(roomId, isTyping) {
    if (this.joined.has(roomId)) this.#tell('typing', roomId, isTyping);
  }

  setAway(away) {
    this.away = away;
    if (this.state === 'live') this.#tell('set-presence', away ? 'away' : 'online');
  }

  // Connection

  /** Reconnects at once with a new token, without waiting for the next attempt. */
  reconnect() {
    this.socket.disconnect();
    this.socket.connect();
  }

  #listen() {
    const { socket } = this;
    socket.on('connect', () => this.#connected());
    socket.on('disconnect', (reason) => {
      this.#lost();
      // After this the client does not reconnect by itself.
      if (reason === 'io server disconnect') this.#connectLater();
    });
    socket.on('connect_error', (error) => {
      this.#lost();
      // After a refusal by the server the client does not retry by itself.
      if (socket.active) return;
      this.#report('connect', { code: 'denied', message: error.message });
      this.#connectLater();
    });
    socket.on('new-message', (message) => this.#arrived(message));
    for (const event of ['message-edited', 'message-deleted', 'message-marked']) {
      socket.on(event, (change) => {
        this.rooms.get(change?.roomId)?.change(event, change);
        this.changed({});
      });
    }
    socket.on('message-changed', (message) => {
      this.rooms.get(message?.roomId)?.changed(message);
      this.changed({});
    });
    socket.on('user-typing', ({ roomId, userId, username, typing }) => {
      this.people.saw({ userId, username });
      this.people.setTyping(roomId, userId, typing, Date.now());
      this.changed({});
    });
    socket.on('message-read', ({ roomId, userId, messageId }) => {
      const seq = this.rooms.get(roomId)?.seqOf(messageId);
      if (seq === undefined) return;
      this.people.hasRead(roomId, userId, seq);
      this.changed({});
    });
    socket.on('presence', (state) => {
      this.people.saw(state);
      this.changed({});
    });
    socket.on('error-event', (error) => this.#report(error.event, error));
  }

  #lost() {
    this.joined.clear();
    this.state = this.connection === 0 ? 'connecting' : 'reconnecting';
    this.changed({ rooms: true });
  }

  #connectLater() {
    const wait = Math.min(30_000, TRY_AGAIN_AFTER * 2 ** this.refusedConnections);
    this.refusedConnections += 1;
    setTimeout(() => {
      if (!this.socket.active) this.socket.connect();
    }, wait);
  }

  async #connected() {
    this.connection += 1;
    const connection = this.connection;
    this.refusedConnections = 0;
    this.state = 'catching-up';
    this.people.doubtAll();
    this.changed({ rooms: true });
    const members = await Promise.all([...this.rooms.values()].map((room) => this.#join(room)));
    if (connection !== this.connection || !this.socket.connected) return;
    this.state = 'live';
    if (this.away) this.#tell('set-presence', 'away');
    this.changed({ rooms: true });
    await this.#askPresence(members.flat());
    if (connection === this.connection && this.socket.connected) this.people.dropDoubted();
    this.changed({});
  }

  /** @returns {Promise<string[]>} who is in the room, as far as its handler says */
  async #join(room) {
    const { connection } = this;
    const after = room.after;
    const answer = await this.#ask('join-room', room.id, after === undefined ? { last: PAGE } : { after, rev: room.rev });
    if (connection !== this.connection || this.rooms.get(room.id) !== room) return [];
    if (!answer.ok) {
      if (!answer.lost) this.#report('join-room', answer.error);
      if (answer.lost || answer.error.retryable) {
        if (!this.socket.connected) return [];
        await pause(TRY_AGAIN_AFTER);
        return connection === this.connection && this.socket.connected ? this.#join(room) : [];
      }
      this.refusals.set(room.id, answer.error);
      this.changed({ rooms: true });
      return [];
    }
    this.refusals.delete(room.id);
    this.joined.add(room.id);
    this.#took(room, room.joined(after, answer));
    if (answer.changes?.length > 0 && !answer.complete) return this.#join(room);
    if (!this.lastRead.has(room.id)) this.lastRead.set(room.id, room.lastSeq);
    this.#fillGaps(room);
    this.#flush(room.id);
    this.#payReads(room.id);
    this.changed({ rooms: true });
    return Array.isArray(answer.data?.members) ? answer.data.members : [];
  }

  #arrived(message) {
    const room = this.rooms.get(message?.roomId);
    if (!room) return;
    const result = room.merge([message]);
    this.#took(room, result);
    this.people.setTyping(room.id, message.userId, false, Date.now());
    if (result.added.length > 0) this.arrived(message);
    // While joining, the messages before this one have been requested already.
    if (this.joined.has(room.id)) this.#fillGaps(room);
    this.changed({ rooms: true });
  }

  /** Updates the state for messages that are new. */
  #took(room, { added, reset }) {
    if (reset) {
      this.lastRead.set(room.id, 0);
      this.people.forgetReads(room.id);
    }
    for (const message of added) {
      this.people.met(message);
      // One of our messages whose acknowledgement was lost: it did arrive.
      if (message.userId === this.me) this.outbox.remove(message.clientId);
    }
  }

  #fillGaps(room) {
    return this.#once(`gaps ${room.id}`, async () => {
      for (let gap = room.gap(); gap && this.joined.has(room.id); gap = room.gap()) {
        const missing = gap.before - gap.after - 1;
        if (missing > LARGEST_GAP_FILLED) {
          room.keepFrom(gap.before);
          continue;
        }
        const limit = Math.min(LARGEST_PAGE, missing);
        const answer = await this.#ask('history', { roomId: room.id, before: gap.before, limit });
        if (answer.ok) this.#took(room, room.fill(gap, answer));
        else if (answer.lost || answer.error.retryable) await pause(TRY_AGAIN_AFTER);
        else return this.#report('history', answer.error);
        this.changed({ rooms: true });
      }
    });
  }

  #flush(roomId) {
    return this.#once(`send ${roomId}`, async () => {
      for (let entry = this.outbox.next(roomId); entry && this.joined.has(roomId); entry = this.outbox.next(roomId)) {
        this.outbox.sending(entry);
        this.changed({});
        const answer = await this.#ask('send-message', payload(entry));
        if (answer.ok) {
          this.#posted(entry, answer.message);
        } else {
          if (answer.error && !answer.error.retryable) this.#report('send-message', answer.error);
          const wait = this.outbox.refused(entry.clientId, answer.error);
          this.changed({});
          if (wait !== undefined && this.socket.connected) await pause(wait);
        }
      }
    });
  }

  #posted({ clientId, roomId, content, metadata }, { id, seq, sentAt, username }) {
    this.outbox.remove(clientId);
    const userId = this.me;
    const message = { id, seq, sentAt, roomId, userId, username, content, metadata, clientId, provisional: true };
    const room = this.rooms.get(roomId);
    if (room) {
      this.#took(room, room.merge([message]));
      this.#fillGaps(room);
    }
    this.changed({ rooms: true });
  }

  async #payReads(roomId) {
    const messageId = this.owedReads.get(roomId);
    if (messageId === undefined || !this.joined.has(roomId)) return;
    const answer = await this.#ask('read-message', messageId);
    // Receipts that were lost, or came before the join, are sent after the next join.
    if (!answer.lost && !answer.error?.retryable && this.owedReads.get(roomId) === messageId) this.owedReads.delete(roomId);
    if (answer.error) this.#report('read-message', answer.error);
  }

  async #askPresence(members) {
    const ids = [...new Set(members)];
    for (let i = 0; i < ids.length; i += PRESENCE_PAGE) {
      const answer = await this.#ask('get-presence', ids.slice(i, i + PRESENCE_PAGE));
      if (!answer.ok) return answer.lost || this.#report('get-presence', answer.error);
      for (const state of answer.states) this.people.saw(state);
      this.changed({});
    }
  }

  /** Trades the token for a new one on the open connection. @returns {Promise<boolean>} */
  async refresh(token) {
    const answer = await this.#ask('refresh-token', token);
    if (answer.error) this.#report('refresh-token', answer.error);
    return Boolean(answer.ok);
  }

  /** Emits an event and waits for its acknowledgement. It never queues: without a connection the event is `lost`. */
  async #ask(event, ...args) {
    if (!this.socket.connected) return { ok: false, lost: true };
    try {
      const answer = await this.socket.timeout(ANSWER_WITHIN).emitWithAck(event, ...args);
      if (answer?.ok) return answer;
      return {
        ok: false,
        error: answer?.error ?? { code: 'unhandled', message: 'An answer without sense.', retryable: false },
      };
    } catch {
      return { ok: false, lost: true };
    }
  }

  #tell(event, ...args) {
    if (this.socket.connected) this.socket.emit(event, ...args);
  }

  #report(event, error) {
    this.problem({ event, code: error?.code ?? 'unknown', message: error?.message ?? '' });
  }

  /** Runs `task` unless one with this name is running. */
  async #once(name, task) {
    if (this.busy.has(name)) return;
    this.busy.add(name);
    try {
      await task();
    } finally {
      this.busy.delete(name);
    }
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
