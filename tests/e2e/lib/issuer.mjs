// A token issuer: signs tokens and publishes its keys as a JSON Web Key Set over HTTP.
import { generateKeyPairSync, sign } from 'node:crypto';
import jwt from 'jsonwebtoken';
import { listen } from './http.mjs';

const KINDS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};

const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A key pair: the public key as it is published, and tokens signed by the private key. `more` has further members. */
export function key(kid, algorithm = 'RS256', { options = {}, ...more } = {}) {
  const [type, usual] = KINDS[algorithm];
  const { publicKey, privateKey } = generateKeyPairSync(type, { ...usual, ...options });
  const token = (user, claims = {}) => {
    const all = { sub: user, exp: Math.floor(Date.now() / 1000) + 3600, ...claims };
    if (algorithm !== 'EdDSA') return jwt.sign(all, privateKey, { algorithm, keyid: kid, allowInsecureKeySizes: true });
    // The library does not support EdDSA.
    const body = `${base64({ typ: 'JWT', alg: algorithm, kid })}.${base64(all)}`;
    return `${body}.${sign(null, Buffer.from(body), privateKey).toString('base64url')}`;
  };
  return { kid, jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: algorithm, ...more }, token };
}

/** The key set with these keys, as text. */
export const keySetOf = (...keys) => JSON.stringify({ keys: keys.map((each) => each.jwk ?? each) });

/** An issuer whose response can be changed. It counts the requests. */
export async function issuer(...keys) {
  const state = { requests: 0 };
  state.publish = (...published) => {
    state.answer = (response) => response.end(keySetOf(...published));
  };
  /** Holds requests until the returned function is called with the response. */
  state.hold = () => {
    const waiting = [];
    state.answer = (response) => waiting.push(response);
    return (...published) => {
      state.publish(...published);
      for (const response of waiting) state.answer(response);
    };
  };
  /** The table `[[auth.jwks]]` with which a server reads its keys. */
  state.source = (more = {}) =>
    ({ url: state.url, allow_http: true, allow_private_addresses: true, refresh: '1s', unknown_key_refresh: '1s', ...more });
  state.publish(...keys);
  const authority = await listen((request, response) => {
    state.requests += 1;
    state.answer(response, request);
  });
  state.url = `http://${authority}/jwks.json`;
  return state;
}

/** The options with which `connect` connects as a user with a token of this key. */
export const as = (key, user = 'ann', claims) => ({ auth: { token: key.token(user, claims) }, reconnection: false });
