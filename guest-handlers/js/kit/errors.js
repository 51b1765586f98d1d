// The errors that refuse an event, and those with which the host refuses a call.

/** Refuses the event. The client gets `code` and the message; nothing that the handler asked for happens. */
export class Rejection extends Error {
  constructor(code, message, { retryAfterMs, ...options } = {}) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

export class Denied extends Rejection {
  constructor(message = 'not allowed', options = undefined) {
    super('denied', message, options);
  }
}

export class Invalid extends Rejection {
  constructor(message = 'invalid', options = undefined) {
    super('invalid', message, options);
  }
}

export class NotFound extends Rejection {
  constructor(message = 'not found', options = undefined) {
    super('not-found', message, options);
  }
}

export class Conflict extends Rejection {
  constructor(message = 'conflict', options = undefined) {
    super('conflict', message, options);
  }
}

export class TooLarge extends Rejection {
  constructor(message = 'too large', options = undefined) {
    super('too-large', message, options);
  }
}

export class RateLimited extends Rejection {
  constructor(message = 'too many events', options = undefined) {
    super('rate-limited', message, options);
  }
}

export class QuotaExceeded extends Rejection {
  constructor(message = 'a quota is used up', options = undefined) {
    super('quota-exceeded', message, options);
  }
}

export class Unavailable extends Rejection {
  constructor(message = 'unavailable', options = undefined) {
    super('unavailable', message, options);
  }
}

/** The message for the client if the handler does not catch the fault. */
const MESSAGES = {
  denied: 'not allowed',
  'not-found': 'not found',
  'too-large': 'too large',
  'quota-exceeded': 'the event asks for more than it is allowed',
};

/** The host refuses a call, which then had no effect. Not caught, it refuses the event with the same code. */
export class Fault extends Rejection {
  constructor(what, { tag, val }) {
    super(tag, val ?? MESSAGES[tag] ?? tag);
    this.name = 'Fault';
    this.call = what;
  }
}
