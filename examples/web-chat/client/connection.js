// The connection: the socket, its tokens, and events with an answer. It knows nothing of rooms.

/** How long to wait for an acknowledgement, in milliseconds. After that the event counts as lost. */
const ANSWER_WITHIN = 10_000;
/** The wait before the first repetition of something that failed, in milliseconds; it grows from there. */
const TRY_AGAIN_AFTER = 1_500;
const LONGEST_WAIT = 30_000;
/** A connection that has lasted for so long is not part of a series of refusals. */
const STEADY_AFTER = 60_000;
/** A token is renewed this long before it expires at the latest, and tried again after this time if that fails. */
const RENEW_BEFORE = 60_000;
const RENEW_AGAIN_AFTER = 5_000;
/** A timer takes at most 2^31 ms. After a day the time left is looked at again. */
const LONGEST_TIMER = 86_400_000;

/** What an event without a connection is answered with. */
export const NO_CONNECTION = Object.freeze({
  code: 'unavailable',
  message: 'There is no connection to the server.',
  retryable: true,
});

export class Connection {
  /**
   * @param {object} parts
   * @param {Function} parts.io of socket.io-client
   * @param {string} parts.url
   * @param {object} parts.options for `io`
   * @param {(why: {reason: 'connect' | 'refresh'}) => Promise<string | {token: string, expiresAt?: number}>} parts.getToken
   * @param {(event: string, error: object) => void} parts.problem
   * @param {() => void} parts.connected
   * @param {() => void} parts.lost
   */
  constructor({ io, url, options = {}, getToken, answerWithin = ANSWER_WITHIN, problem, connected, lost }) {
    Object.assign(this, { getToken, answerWithin, problem });
    /** Counts connections, so that answers that belong to an earlier one are recognised. */
    this.number = 0;
    /** Why the server has refused the latest connection. */
    this.error = null;
    this.wanted = false;
    this.refusals = 0;
    this.pauses = new Set();
    this.socket = io(url, {
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
      // Only this makes the client notice a socket that opens and closes without a handshake. The default is 20 s.
      timeout: 8_000,
      ...options,
      autoConnect: false,
      // Each handshake has a new token, so that a long sleep needs no special case.
      auth: (give) => this.#takeToken('connect').then(() => give({ ...options.auth, token: this.token?.token })),
    });
    this.socket.on('connect', () => {
      this.number += 1;
      this.connectedAt = Date.now();
      this.error = null;
      connected();
    });
    this.socket.on('disconnect', (reason) => {
      this.#lost();
      if (Date.now() - this.connectedAt > STEADY_AFTER) this.refusals = 0;
      lost();
      // After this the library does not reconnect by itself.
      if (reason === 'io server disconnect' && this.wanted) this.#connectLater();
    });
    this.socket.on('connect_error', (error) => {
      // After a refusal by the server the library does not try again by itself.
      if (!this.socket.active) {
        this.error = refusal(error.message);
        this.problem('connect', this.error);
        this.#connectLater();
      }
      lost();
    });
    this.socket.on('disconnect-reason', ({ reason } = {}) => {
      // A moderator wants the user to go: the disconnect that follows is not to be undone by itself.
      this.wanted = false;
      this.error = Object.freeze({ code: 'denied', message: reason || 'The server has closed the connection.', retryable: false });
      this.problem('disconnect-reason', this.error);
    });
    this.socket.on('token-expiring', () => this.#renew());
  }

  get isUp() {
    return this.socket.connected;
  }

  connect() {
    this.wanted = true;
    if (!this.socket.active) this.socket.connect();
  }

  /** Connects at once with a new token, without waiting for the next attempt. */
  reconnect() {
    this.wanted = true;
    this.socket.disconnect();
    this.socket.connect();
  }

  close() {
    this.wanted = false;
    clearTimeout(this.renewal);
    clearTimeout(this.later);
    this.socket.disconnect();
    this.#lost();
  }

  /**
   * Emits an event and waits for its acknowledgement. It never queues: without a connection the event is `lost`.
   * @returns {Promise<{ok: true} | {ok: false, lost?: true, error?: object}>} the acknowledgement, if it is ok
   */
  async ask(event, ...args) {
    if (!this.isUp) return { ok: false, lost: true };
    try {
      const answer = await this.socket.timeout(this.answerWithin).emitWithAck(event, ...args);
      if (answer?.ok === true) return answer;
      const senseless = { code: 'handler-failed', message: 'The answer makes no sense.', retryable: false };
      return { ok: false, error: answer?.error ?? senseless };
    } catch {
      return { ok: false, lost: true };
    }
  }

  /** Emits an event whose answer does not matter. Without a connection nothing is sent. */
  tell(event, ...args) {
    if (this.isUp) this.socket.emit(event, ...args);
  }

  /** Waits for this long, or until the connection is lost. @param {number} [milliseconds] */
  pause(milliseconds = TRY_AGAIN_AFTER) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.pauses.delete(done);
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      this.pauses.add(done);
    });
  }

  #lost() {
    for (const done of [...this.pauses]) done();
  }

  #connectLater() {
    const wait = Math.max(this.error?.retryAfterMs ?? 0, Math.min(LONGEST_WAIT, TRY_AGAIN_AFTER * 2 ** this.refusals));
    this.refusals += 1;
    clearTimeout(this.later);
    this.later = setTimeout(
      () => {
        if (this.wanted && !this.socket.active) this.socket.connect();
      },
      // Up to a half longer, so that the clients of a server that has closed all connections do not come back at once.
      wait * (1 + Math.random() / 2),
    );
  }

  /** @returns {Promise<boolean>} whether there is a new one */
  async #takeToken(reason) {
    try {
      const given = await this.getToken({ reason });
      const token = typeof given === 'string' ? { token: given } : given;
      if (typeof token?.token !== 'string') throw new Error('getToken has returned no token');
      this.token = token;
      if (token.expiresAt !== undefined) this.#renewBefore(token.expiresAt);
      return true;
    } catch (error) {
      // The old token may still be valid; if not, the server refuses it.
      this.problem('token', { code: 'unavailable', message: String(error?.message ?? error), retryable: true });
      return false;
    }
  }

  #renewBefore(expiresAt) {
    const left = expiresAt - Date.now();
    const wait = Math.min(LONGEST_TIMER, Math.max(RENEW_AGAIN_AFTER, left - Math.min(RENEW_BEFORE, left / 4)));
    clearTimeout(this.renewal);
    // Where less than a day was waited for, the time has come.
    this.renewal = setTimeout(() => (wait === LONGEST_TIMER ? this.#renewBefore(expiresAt) : this.#renew()), wait);
  }

  /** Trades the token for a new one on the open connection, and tries that until it succeeds. */
  async #renew() {
    if (this.renewing || !this.isUp) return;
    this.renewing = true;
    clearTimeout(this.renewal);
    const { number } = this;
    try {
      const isNew = await this.#takeToken('refresh');
      const answer = isNew ? await this.ask('refresh-token', this.token.token) : { ok: false, lost: true };
      if (answer.ok || number !== this.number || !this.isUp) return;
      if (answer.error) this.problem('refresh-token', answer.error);
      clearTimeout(this.renewal);
      this.renewal = setTimeout(() => this.#renew(), Math.max(RENEW_AGAIN_AFTER, answer.error?.retryAfterMs ?? 0));
    } finally {
      this.renewing = false;
    }
  }
}

/** Reads the message of a refused connection: `code: text`, perhaps with `; retryAfterMs=` and a number. */
function refusal(message) {
  const [, code, text, retryAfter] = /^([a-z]+(?:-[a-z]+)*): (.*?)(?:; retryAfterMs=(\d+))?$/s.exec(message) ?? [];
  if (code === undefined) return Object.freeze({ code: 'denied', message, retryable: false });
  if (retryAfter === undefined) return Object.freeze({ code, message: text, retryable: false });
  return Object.freeze({ code, message: text, retryable: true, retryAfterMs: Number(retryAfter) });
}
