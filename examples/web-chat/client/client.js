// The client: the rooms, outbox, people and counts, which the server's events and answers update. What a user interface
// shows of it is a snapshot.

import { Connection, NO_CONNECTION } from './connection.js';
import { Counts } from './counts.js';
import { newId } from './id.js';
import { MembersSync } from './members.js';
import { Outbox, payload } from './outbox.js';
import { People } from './people.js';
import { PRESENCE_PAGE, PresenceSync } from './presence.js';
import { Receipts } from './receipts.js';
import { CHANGES, Room } from './room.js';
import { RoomSync } from './room-sync.js';
import { clientSnapshot, roomSnapshot } from './snapshot.js';
import { jsonStorage } from './storage.js';
import { Listeners, Tasks } from './tools.js';
import { TypingEnds, TypingReporter } from './typing.js';

export class ChatClient {
  #rooms = new Map();
  #people;
  #outbox;
  #counts;
  #connection;
  #typing;
  #typingEnds;
  #state = 'idle';
  /** What the user of this interface has said; nothing: the server takes it as online. */
  #presence;
  #sends = new Tasks();
  #membersSync;
  #sync;
  #presenceSync;
  #receipts;
  /** Rooms that were left without a connection. */
  #leaving = new Set();
  #listeners = new Listeners();
  #roomSnapshots = new Map();
  #snapshot;

  constructor({ io, url, userId, getToken, storage, storagePrefix = 'parlance.', socketOptions, ...limits }) {
    if (typeof io !== 'function') throw new TypeError('createClient needs io, the function of socket.io-client');
    if (typeof userId !== 'string' || userId === '') throw new TypeError('createClient needs userId');
    if (typeof getToken !== 'function') throw new TypeError('createClient needs getToken');
    this.userId = userId;
    const area = typeof storage === 'function' ? storage : () => storage;
    const kept = jsonStorage(area, `${storagePrefix}${userId}.`);
    this.#people = new People(limits.typingLasts);
    this.#typingEnds = new TypingEnds(this.#people, (roomId) => this.#changed(roomId));
    this.#outbox = new Outbox(kept, newId, limits.largestPacket);
    this.#counts = new Counts(kept);
    this.#typing = new TypingReporter((roomId, isTyping) => {
      if (this.#isJoined(roomId)) this.#connection.tell('typing', roomId, isTyping);
    });
    this.#connection = new Connection({
      io,
      url,
      options: socketOptions,
      getToken,
      answerWithin: limits.answerWithin,
      problem: (event, error) => this.#report(event, error),
      connected: () => this.#connected(),
      lost: () => this.#lost(),
    });
    const [connection, report] = [this.#connection, (event, error, roomId) => this.#report(event, error, roomId)];
    this.#receipts = new Receipts({ connection, report, storage: kept, isJoined: (roomId) => this.#isJoined(roomId) });
    this.#presenceSync = new PresenceSync({ connection, people: this.#people, report, changed: () => this.#changed() });
    const [has, changed] = [(room) => this.#has(room), (roomId) => this.#changed(roomId)];
    this.#membersSync = new MembersSync({
      connection,
      userId,
      counts: this.#counts,
      people: this.#people,
      has,
      changed,
      changedAll: () => this.#changedAll(),
    });
    this.#sync = new RoomSync({
      connection,
      report,
      has,
      changed,
      took: (room, result) => this.#took(room, result),
      dropped: (room) => this.#dropped(room),
    });
    this.#listen();
  }

  /** The socket, for events of one's own. */
  get socket() {
    return this.#connection.socket;
  }

  // What is shown

  subscribe = (listener) => this.on('change', listener);

  getSnapshot = () => {
    this.#snapshot ??= clientSnapshot({
      state: this.#state,
      error: this.#connection.error,
      userId: this.userId,
      rooms: [...this.#rooms.keys()].map((roomId) => this.getRoom(roomId)),
      people: this.#people,
      outbox: this.#outbox,
      counts: this.#counts,
    });
    return this.#snapshot;
  };

  getRoom(roomId) {
    const room = this.#rooms.get(roomId);
    if (room && !this.#roomSnapshots.has(roomId)) {
      const loadingOlder = this.#sync.isLoadingOlder(roomId);
      const parts = { outbox: this.#outbox, people: this.#people, counts: this.#counts, loadingOlder, now: Date.now() };
      this.#roomSnapshots.set(roomId, roomSnapshot(room, parts));
    }
    return room && this.#roomSnapshots.get(roomId);
  }

  getUnread() {
    const closed = [...(this.#counts.memberships?.values() ?? [])].filter(({ roomId }) => !this.#rooms.has(roomId));
    const open = [...this.#rooms.keys()].map((roomId) => this.getRoom(roomId));
    return [...open, ...closed].reduce((sum, { unread }) => sum + unread, 0);
  }

  nameOf(userId) {
    return this.#people.name(userId);
  }

  on(name, listener) {
    return this.#listeners.on(name, listener);
  }

  // The connection

  connect() {
    if (this.#state === 'idle' || this.#state === 'closed') this.#state = 'connecting';
    this.#connection.connect();
    this.#changed();
  }

  reconnect() {
    this.#state = 'reconnecting';
    this.#connection.reconnect();
  }

  close() {
    this.#state = 'closed';
    this.#connection.close();
    this.#typing.forgetAll();
    this.#typingEnds.stop();
    this.#changed();
  }

  setPresence(status) {
    this.#presence = status;
    this.#connection.tell('set-presence', status);
  }

  // Rooms

  open(roomId) {
    let room = this.#rooms.get(roomId);
    this.#leaving.delete(roomId);
    const mayJoin = !room || room.state === 'refused' || room.state === 'kicked';
    if (!room) {
      room = new Room(roomId);
      this.#rooms.set(roomId, room);
    }
    if (mayJoin) {
      room.state = 'joining';
      room.error = null;
      if (this.#connection.isUp) this.#join(room).then((present) => this.#presenceSync.ask(present));
    }
    this.#changed(roomId);
  }

  leave(roomId) {
    const { state } = this.#rooms.get(roomId) ?? {};
    this.#rooms.delete(roomId);
    this.#receipts.forget(roomId);
    this.#counts.forget(roomId);
    this.#people.forgetReads(roomId);
    this.#typing.forget(roomId);
    this.#outbox.removePosted((entry) => entry.roomId === roomId);
    if (state === 'joined' || state === 'joining') {
      // A join that is under way is answered before this.
      if (this.#connection.isUp) this.#connection.tell('leave-room', roomId);
      else this.#leaving.add(roomId);
      // Users who share only this room appear offline from now on, and no event announces that.
      this.#presenceSync.ask(this.#people.here().map(({ userId }) => userId));
    }
    this.#changed(roomId);
  }

  async loadOlder(roomId) {
    const room = this.#rooms.get(roomId);
    if (room && this.getRoom(roomId).canLoadOlder) await this.#sync.older(room);
  }

  trim(roomId, count) {
    const room = this.#rooms.get(roomId);
    if (!room || room.messages.length <= count) return;
    room.trim(count);
    this.#removePosted(room);
    this.#changed(roomId);
  }

  markRead(roomId, seq) {
    const room = this.#rooms.get(roomId);
    const before = this.#counts.readUpTo(roomId);
    if (!room || !this.#counts.saw(roomId, Math.min(seq, room.lastSeq ?? 0), room.epoch)) return;
    const newest = room.messages.findLast((m) => m.seq <= seq && m.userId !== this.userId);
    if (newest && newest.seq > before) this.#receipts.add(roomId, newest.id);
    this.#changed(roomId);
  }

  typing(roomId, isTyping = true) {
    if (isTyping) this.#typing.typed(roomId, Date.now());
    else this.#typing.stopped(roomId);
  }

  // Messages

  send(roomId, content, { metadata } = {}) {
    this.#typing.stopped(roomId);
    const entry = this.#outbox.add(roomId, content, metadata, Date.now());
    if (entry.state === 'failed') this.#report('send-message', entry.error, roomId);
    this.#flush(roomId);
    this.#changed(roomId);
    return entry.clientId;
  }

  retry(clientId) {
    const entry = this.#outbox.get(clientId);
    if (!entry) return;
    this.#outbox.retry(clientId);
    this.#flush(entry.roomId);
    this.#changed(entry.roomId);
  }

  discard(clientId) {
    const entry = this.#outbox.remove(clientId);
    if (entry) this.#changed(entry.roomId);
    return entry && { content: entry.content, metadata: entry.metadata };
  }

  edit(messageId, content, { metadata } = {}) {
    return this.#revise('edit-message', { messageId, content, metadata });
  }

  delete(messageId) {
    return this.#revise('delete-message', { messageId });
  }

  mark(messageId, kind, value, on = true) {
    return this.#revise('mark-message', { messageId, kind, value, on });
  }

  async #revise(event, body) {
    const answer = await this.#connection.ask(event, body);
    const error = answer.error ?? (answer.ok ? undefined : NO_CONNECTION);
    if (error) this.#report(event, error);
    return error ? { ok: false, error } : { ok: true };
  }

  // What the server says

  #listen() {
    const { socket } = this.#connection;
    socket.on('new-message', (message) => this.#arrived(message));
    for (const event of [...CHANGES, 'message-changed']) socket.on(event, (body) => this.#revised(event, body));
    socket.on('user-typing', ({ roomId, userId, username, typing }) => {
      this.#people.saw({ userId, username });
      this.#setTyping(roomId, userId, typing);
    });
    socket.on('user-joined', (user) => this.#presenceSync.saw([user]));
    socket.on('user-left', ({ roomId, userId }) => {
      this.#setTyping(roomId, userId, false);
      if (userId !== this.userId) this.#presenceSync.left(userId);
    });
    socket.on('presence', (state) => this.#presenceSync.saw([state]));
    socket.on('message-read', ({ roomId, userId, messageId }) => {
      const room = this.#rooms.get(roomId);
      const seq = room?.seqOf(messageId);
      if (seq === undefined) return;
      this.#people.hasRead(roomId, userId, seq);
      if (userId === this.userId) this.#counts.saw(roomId, seq, room.epoch);
      this.#changed(roomId);
    });
    socket.on('kicked', (kick) => this.#kicked(kick));
    socket.on('error-event', (error) => this.#report(error.event, error));
  }

  #lost() {
    if (!this.#connection.wanted) this.#state = 'closed';
    else if (this.#state !== 'closed') this.#state = this.#connection.number === 0 ? 'connecting' : 'reconnecting';
    for (const room of this.#rooms.values()) room.disconnected();
    this.#typing.forgetAll();
    this.#changedAll();
  }

  async #connected() {
    const { number } = this.#connection;
    const isCurrent = () => number === this.#connection.number && this.#connection.isUp;
    this.#state = 'catching-up';
    this.#membersSync.reset();
    this.#people.doubtAll();
    this.#changedAll();
    // The server remembers that the user was away, also over a short loss of the connection.
    if (this.#presence !== undefined) this.#connection.tell('set-presence', this.#presence);
    for (const roomId of this.#leaving) this.#connection.tell('leave-room', roomId);
    this.#leaving.clear();
    const unread = this.#membersSync.askUnread();
    const rooms = [...this.#rooms.values()].filter(({ state }) => state !== 'kicked');
    const present = await Promise.all(rooms.map((room) => this.#join(room)));
    if (!isCurrent()) return;
    this.#state = 'live';
    this.#changedAll();
    // Also for those whom no room has named. They read as offline until a room is joined that they are in.
    const [isKnown] = await Promise.all([this.#presenceSync.ask([...present.flat(), ...this.#people.doubted()]), unread]);
    if (isCurrent() && isKnown) this.#people.dropDoubted();
    this.#changedAll();
  }

  /**
   * Joins a room. A room whose join must be tried again later is joined then, but is not waited for: a client with other
   * rooms is of use meanwhile.
   * @returns {Promise<string[]>} who is in the room, as far as its handler says; else its lasting members
   */
  #join(room) {
    const joined = this.#sync.join(room).then((answer) => (answer && this.#has(room) ? this.#entered(room, answer) : []));
    const waits = this.#sync.waiting(room).then(() => {
      // The server shows some of them only to who is in this room.
      const doubted = this.#people.doubted();
      joined.then((present) => this.#presenceSync.ask([...present, ...doubted]));
      return [];
    });
    return Promise.race([joined, waits]);
  }

  async #entered(room, { data }) {
    this.#counts.begins(room.id, room.lastSeq, room.epoch);
    this.#sync.fillGaps(room);
    this.#flush(room.id);
    this.#receipts.send(room.id);
    const members = this.#membersSync.askMembers(room);
    this.#changed(room.id);
    return Array.isArray(data?.members) ? data.members : (await members).slice(0, PRESENCE_PAGE);
  }

  #kicked({ roomId, reason, until }) {
    const room = this.#rooms.get(roomId);
    if (!room) return;
    const message = reason || 'You were removed from this room.';
    room.disconnected();
    Object.assign(room, { state: 'kicked', error: Object.freeze({ code: 'denied', message, retryable: false, until }) });
    this.#typing.forget(roomId);
    this.#report('kicked', room.error, roomId);
    this.#changed(roomId);
  }

  #arrived(message) {
    if (typeof message?.roomId !== 'string') return;
    this.#membersSync.posted(message);
    const room = this.#rooms.get(message.roomId);
    if (!room) return;
    const result = room.merge([message]);
    this.#took(room, result);
    this.#people.setTyping(room.id, message.userId, false, Date.now());
    for (const added of result.added) this.#listeners.emit('message', added);
    // While joining, the messages before this one have been requested already.
    if (this.#isJoined(room.id)) this.#sync.fillGaps(room);
    this.#changed(room.id);
  }

  #revised(event, body) {
    const room = this.#rooms.get(body?.roomId);
    if (room?.state !== 'joined' && room?.state !== 'joining') return;
    if (!room.change(event, body) && this.#isJoined(room.id)) this.#join(room);
    this.#changed(room.id);
  }

  /** Updates the rest for messages that are new. */
  #took(room, { added, reset }) {
    if (reset || this.#counts.isOutdated(room)) {
      this.#counts.forget(room.id);
      this.#people.forgetReads(room.id);
      this.#outbox.removePosted((entry) => entry.roomId === room.id);
    }
    for (const message of added) {
      this.#people.met(message);
      if (message.userId !== this.userId) continue;
      // The user knows the room up to there, whichever device it was. So does the server then.
      this.markRead(room.id, message.seq);
      // A message whose acknowledgement was lost, or is still to come: it did arrive.
      if (message.clientId !== undefined) this.#outbox.remove(message.clientId);
    }
    this.#removePosted(room);
    this.#changed(room.id);
  }

  /** Removes posted messages that will not come: they were dropped here, or the server has removed them. */
  #removePosted(room) {
    this.#outbox.removePosted((entry) => entry.roomId === room.id && !room.lacks(entry.seq));
  }

  #dropped(room) {
    this.#removePosted(room);
    if (room.messages.length === 0 && room.lastSeq > 0) this.#sync.older(room);
  }

  async #flush(roomId) {
    const isDue = () => this.#isJoined(roomId) && this.#outbox.next(roomId) !== undefined;
    await this.#sends.repeat(roomId, isDue, async () => {
      const entry = this.#outbox.next(roomId);
      this.#outbox.sending(entry);
      this.#changed(roomId);
      const answer = await this.#connection.ask('send-message', payload(entry));
      if (answer.ok) return this.#posted(entry, answer.message);
      if (answer.error && !answer.error.retryable) this.#report('send-message', answer.error, roomId);
      const wait = this.#outbox.refused(entry.clientId, answer.error);
      this.#changed(roomId);
      if (wait !== undefined && this.#connection.isUp) await this.#connection.pause(wait);
    });
  }

  /** The server has a message. Usually it has come already; if not, it is shown as posted until it comes. */
  #posted(entry, message) {
    const room = this.#rooms.get(entry.roomId);
    const seq = message?.seq;
    room?.noteExists(seq ?? 0);
    if (room?.lacks(seq)) {
      this.#outbox.posted(entry, seq);
      this.#sync.fillGaps(room);
    } else {
      this.#outbox.remove(entry.clientId);
    }
    this.#changed(entry.roomId);
  }

  // Small things

  #has(room) {
    return this.#rooms.get(room.id) === room;
  }

  #isJoined(roomId) {
    return this.#rooms.get(roomId)?.state === 'joined';
  }

  #setTyping(roomId, userId, isTyping) {
    this.#people.setTyping(roomId, userId, isTyping && userId !== this.userId, Date.now());
    this.#typingEnds.watch();
    this.#changed(roomId);
  }

  #report(event, { code = 'unknown', message = '', retryable = false, retryAfterMs, until }, roomId) {
    this.#listeners.emit('problem', Object.freeze({ event, code, message, retryable, retryAfterMs, roomId, until }));
  }

  /** Something of a room has changed; without one, something else. */
  #changed(roomId) {
    this.#snapshot = undefined;
    if (roomId !== undefined) this.#roomSnapshots.delete(roomId);
    this.#listeners.changed();
  }

  #changedAll() {
    this.#roomSnapshots.clear();
    this.#changed();
  }
}
