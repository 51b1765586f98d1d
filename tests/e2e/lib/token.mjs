// Mints tokens as an application's back end does.
import jwt from 'jsonwebtoken';
import { SECRET } from './server.mjs';

/** A token for `user`. `claims` replace the usual ones; `options` are jsonwebtoken's. */
export function token(user, claims = {}, { secret = SECRET, ...options } = {}) {
  const expiry = 'exp' in claims || options.expiresIn === null ? {} : { expiresIn: options.expiresIn ?? '1h' };
  const { expiresIn: _, ...rest } = options;
  const subject = user === undefined ? {} : { sub: user, name: `${user}'s name` };
  return jwt.sign({ ...subject, ...claims }, secret, { ...rest, ...expiry });
}

/** A time for `exp` and `nbf`: seconds since the epoch, `offset` from now. */
export function seconds(offset = 0) {
  return Math.floor(Date.now() / 1000) + offset;
}
