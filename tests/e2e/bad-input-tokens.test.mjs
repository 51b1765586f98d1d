// Refused tokens, and the errors that clients get.
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { assertServerWorks } from './lib/raw.mjs';
import { SECRET, temporaryDirectory, startServer } from './lib/server.mjs';
import { test } from './lib/scope.mjs';
import { seconds, token } from './lib/token.mjs';

const AUDIENCE = 'parlance-tests';
const ISSUER = 'the tests';

const shared = await startServer();

// The public key of RS256 is public, so it must never be accepted as the secret of an HS256 token.
const rsa = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});
const keyFile = join(temporaryDirectory(), 'public.pem');
writeFileSync(keyFile, rsa.publicKey);
const asymmetric = await startServer({
  config: {
    auth: { audience: [AUDIENCE], issuer: [ISSUER], keys: [{ algorithm: 'RS256', public_key_file: keyFile }] },
  },
  env: { JWT_SECRET: undefined },
});

const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Makes a token of any header, claims and signature. */
function forged(header, claims, sign = () => '') {
  const body = `${base64({ typ: 'JWT', ...header })}.${base64(claims)}`;
  return `${body}.${sign(body)}`;
}

const hmac = (body) => createHmac('sha256', SECRET).update(body).digest('base64url');

const claims = (more = {}) => ({ sub: 'ann', name: 'Ann', exp: seconds(3600), ...more });

/**
 * Asserts that each of `cases` is refused. They are grouped by the reason that the client gets: names and handshakes.
 */
function refuses(title, server, cases) {
  test(title, async (t) => {
    for (const [reason, handshakes] of Object.entries(cases)) {
      for (const [name, auth] of Object.entries(handshakes)) {
        await t.test(`refused: ${name}`, async () => {
          const error = await refused(server, { auth });
          assert.equal(error.message, `Authentication error: ${reason}`);
        });
      }
    }
  });
}

refuses('tokens that an HS256 server refuses', shared, {
  'no token was sent': {
    'no auth at all': {},
    'an empty token': { token: '' },
    'a token that is a number': { token: 7 },
    'a token that is an object': { token: { sub: 'ann' } },
  },
  'the token is too long': {
    '30,000 dots': { token: '.'.repeat(30_000) },
    'a user of 10,000 characters': { token: token('x'.repeat(10_000)) },
  },
  'the token is malformed': {
    'garbage': { token: 'garbage' },
    'three parts of garbage': { token: 'a.b.c' },
    'alg none': { token: forged({ alg: 'none' }, claims()) },
    'alg NONE with a signature': { token: forged({ alg: 'NONE' }, claims(), () => 'c2ln') },
    'alg missing': { token: forged({}, claims()) },
    'b64 false, as critical': { token: token('ann', {}, { header: { b64: false, crit: ['b64'] } }) },
    'b64 false, without a word': { token: token('ann', {}, { header: { b64: false } }) },
    'a critical extension': { token: token('ann', {}, { header: { crit: ['exp'], exp: 1 } }) },
  },
  'the token\'s `exp` is not a number': {
    'exp as text': { token: forged({ alg: 'HS256' }, claims({ exp: '4102444800' }), hmac) },
  },
  'the token\'s `nbf` is not a number': {
    'nbf as text': { token: forged({ alg: 'HS256' }, claims({ nbf: '0' }), hmac) },
  },
  'the token\'s `iat` is not a number': {
    'iat as text': { token: forged({ alg: 'HS256' }, claims({ iat: '2026-01-01' }), hmac) },
  },
  'the token\'s id (claim `jti`) is not valid': {
    'an id with a control character': { token: token('ann', { jti: 'a\u0000b' }) },
    'an id that is an object': { token: forged({ alg: 'HS256' }, claims({ jti: {} }), hmac) },
  },
  'the token\'s signature is not accepted here': {
    'another secret': { token: token('ann', {}, { secret: 'another secret that is longer than 32 bytes' }) },
    'another algorithm of the family': { token: token('ann', {}, { algorithm: 'HS512' }) },
    'changed claims': { token: token('ann').replace(/\.[^.]+\./, `.${base64(claims({ sub: 'bob' }))}.`) },
    'no signature': { token: token('ann').replace(/[^.]+$/, '') },
  },
  'the token has expired': { 'expired': { token: token('ann', { exp: seconds(-3600) }) } },
  'the token has no expiry (claim `exp`)': { 'no expiry': { token: token('ann', {}, { expiresIn: null }) } },
  'the token is not valid yet': { 'not yet valid': { token: token('ann', { nbf: seconds(3600) }) } },
  'the token names no valid user (claim `sub` or `id`)': {
    'no user': { token: token(undefined, { name: 'nobody' }) },
    'an empty user': { token: token(undefined, { sub: '' }) },
    'a user of 129 bytes': { token: token('x'.repeat(129)) },
    'a user with a control character': { token: token('a\nb') },
    'a user of white space': { token: token(' \u00a0') },
    'a user of format characters': { token: token('\u200b\u2060\ufeff') },
    'a user that is shown backwards': { token: token('\u202enna') },
    'a user with a mark of direction': { token: token('ann\u200f') },
    'a user with half an emoji': { token: token('ann\ud83d') },
  },
});

test('the next client with a good token is let in', async () => {
  await assertServerWorks(await connect(shared, 'ann'), freshRoom());
});

test('a namespace without a tenant is refused', async () => {
  const error = await refused(shared, { namespace: '/no-such-tenant', auth: { token: token('ann') } });
  assert.equal(error.message, 'Invalid namespace');
});

const rs = (more = {}, algorithm = 'RS256') =>
  ({ token: token('ann', { aud: AUDIENCE, iss: ISSUER, ...more }, { secret: rsa.privateKey, algorithm }) });
const hmacWith = (secret) => (body) => createHmac('sha256', secret).update(body).digest('base64url');
const forgedWithKey = (secret) =>
  ({ token: forged({ alg: 'HS256' }, claims({ aud: AUDIENCE, iss: ISSUER }), hmacWith(secret)) });

refuses('tokens that an RS256 server refuses', asymmetric, {
  'the token\'s signature is not accepted here': {
    'HS256 with the public key as the secret': forgedWithKey(rsa.publicKey),
    'HS256 with the trimmed public key as the secret': forgedWithKey(rsa.publicKey.trim()),
    'the right key, another algorithm': rs({}, 'PS256'),
  },
  'the token is malformed': {
    'alg none': { token: forged({ alg: 'none' }, claims({ aud: AUDIENCE, iss: ISSUER })) },
  },
  'the token is for another audience': {
    'wrong audience': rs({ aud: 'somebody else' }),
    'no audience': { token: token('ann', { iss: ISSUER }, { secret: rsa.privateKey, algorithm: 'RS256' }) },
  },
  'the token is from another issuer': {
    'wrong issuer': rs({ iss: 'somebody else' }),
    'no issuer': { token: token('ann', { aud: AUDIENCE }, { secret: rsa.privateKey, algorithm: 'RS256' }) },
  },
});

test('RS256 with the right key and audience is let in', async () => {
  await assertServerWorks(await connect(asymmetric, 'ann', { auth: rs() }), freshRoom());
});
