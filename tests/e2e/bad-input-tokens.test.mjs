// Who is not let in, and what they are told.
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { serverIsWell } from './lib/raw.mjs';
import { temporaryDirectory, startServer } from './lib/server.mjs';
import { test } from './lib/scope.mjs';
import { seconds, token } from './lib/token.mjs';

const AUDIENCE = 'parlance-tests';
const ISSUER = 'the tests';

const shared = await startServer();

// RS256: the public key is public, so it must never do as the secret of an HS256 token.
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

/** A token put together by hand: any header, any claims, any signature. */
function forged(header, claims, sign = () => '') {
  const body = `${base64({ typ: 'JWT', ...header })}.${base64(claims)}`;
  return `${body}.${sign(body)}`;
}

const claims = (more = {}) => ({ sub: 'ann', name: 'Ann', exp: seconds(3600), ...more });

async function assertRefused(server, auth) {
  const error = await refused(server, { auth });
  assert.match(error.message, /^Authentication error/);
  assert.ok(!/secret|key material|panick/i.test(error.message), error.message);
}

/** Refuses each of `cases` (name to handshake), then lets the next in. */
function refuses(title, server, cases) {
  test(title, async (t) => {
    for (const [name, auth] of Object.entries(cases)) {
      await t.test(`refused: ${name}`, () => assertRefused(server, auth));
    }
  });
}

refuses('tokens that an HS256 server refuses', shared, {
  'no auth at all': {},
  'an empty token': { token: '' },
  'a token that is a number': { token: 7 },
  'a token that is an object': { token: { sub: 'ann' } },
  'garbage': { token: 'garbage' },
  'three parts of garbage': { token: 'a.b.c' },
  '30,000 dots': { token: '.'.repeat(30_000) },
  'alg none': { token: forged({ alg: 'none' }, claims()) },
  'alg NONE with a signature': { token: forged({ alg: 'NONE' }, claims(), () => 'c2ln') },
  'alg missing': { token: forged({}, claims()) },
  'another secret': { token: token('ann', {}, { secret: 'another secret that is longer than 32 bytes' }) },
  'another algorithm of the family': { token: token('ann', {}, { algorithm: 'HS512' }) },
  'changed claims': { token: token('ann').replace(/\.[^.]+\./, `.${base64(claims({ sub: 'bob' }))}.`) },
  'expired': { token: token('ann', { exp: seconds(-3600) }) },
  'no expiry': { token: token('ann', {}, { expiresIn: null }) },
  'not yet valid': { token: token('ann', { nbf: seconds(3600) }) },
  'no user': { token: token(undefined, { name: 'nobody' }) },
  'an empty user': { token: token(undefined, { sub: '' }) },
  'a user of 10,000 characters': { token: token('x'.repeat(10_000)) },
  'a user with a control character': { token: token('a\nb') },
});

test('the next client with a good token is let in', async () => {
  await serverIsWell(await connect(shared, 'ann'), freshRoom());
});

test('a namespace without a tenant is refused', async () => {
  const error = await refused(shared, { namespace: '/no-such-tenant', auth: { token: token('ann') } });
  assert.ok(error.message.length > 0);
});

const rs = (more = {}, algorithm = 'RS256') =>
  ({ token: token('ann', { aud: AUDIENCE, iss: ISSUER, ...more }, { secret: rsa.privateKey, algorithm }) });
const hmacWith = (secret) => (body) => createHmac('sha256', secret).update(body).digest('base64url');
const forgedWithKey = (secret) =>
  ({ token: forged({ alg: 'HS256' }, claims({ aud: AUDIENCE, iss: ISSUER }), hmacWith(secret)) });

refuses('tokens that an RS256 server refuses', asymmetric, {
  'HS256 with the public key as the secret': forgedWithKey(rsa.publicKey),
  'HS256 with the trimmed public key as the secret': forgedWithKey(rsa.publicKey.trim()),
  'alg none': { token: forged({ alg: 'none' }, claims({ aud: AUDIENCE, iss: ISSUER })) },
  'the right key, another algorithm': rs({}, 'PS256'),
  'wrong audience': rs({ aud: 'somebody else' }),
  'no audience': { token: token('ann', { iss: ISSUER }, { secret: rsa.privateKey, algorithm: 'RS256' }) },
  'wrong issuer': rs({ iss: 'somebody else' }),
  'no issuer': { token: token('ann', { aud: AUDIENCE }, { secret: rsa.privateKey, algorithm: 'RS256' }) },
});

test('RS256 with the right key and audience is let in', async () => {
  await serverIsWell(await connect(asymmetric, 'ann', { auth: rs() }), freshRoom());
});
