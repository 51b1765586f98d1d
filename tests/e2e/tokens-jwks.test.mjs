// Published keys: rotation with live sockets, and an issuer that is down, slow or wrong.
import assert from 'node:assert/strict';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import jwt from 'jsonwebtoken';
import { connect, refused } from './lib/client.mjs';
import { as, issuer, key, keySetOf } from './lib/issuer.mjs';
import { test } from './lib/scope.mjs';
import { startServer, temporaryDirectory } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

/** How long a token with an unknown key waits for a refresh of the set: its timeout and one second more. */
const TIMEOUT_MS = 6000;
/** Additional time for a connect on a busy machine. */
const SLACK_MS = 3000;
const UNVERIFIED = 'Authentication error: the token\'s signature is not accepted here';

const serverFor = (from, more) =>
  startServer({ env: { JWT_SECRET: '' }, config: { auth: { jwks: [from.source(more)] } } });

/** Asserts that the token is refused because of its signature, and returns after how long. */
async function unverified(server, options) {
  const began = performance.now();
  assert.equal((await refused(server, options)).message, UNVERIFIED);
  return performance.now() - began;
}

test('tokens of published keys of every kind are accepted, and no others', async () => {
  const keys = [key('rsa'), key('pss', 'PS256'), key('ec', 'ES256'), key('ed', 'EdDSA')];
  const unfit = [
    key('weak', 'RS256', { options: { modulusLength: 1024 } }),
    key('p384', 'ES256', { options: { namedCurve: 'P-256' }, crv: 'P-384' }),
    key('rsa that says ES256', 'RS256', { alg: 'ES256' }),
    key('ec that says RS256', 'ES256', { alg: 'RS256' }),
    key('ed that says HS256', 'EdDSA', { alg: 'HS256' }),
    key('for encryption', 'RS256', { use: 'enc' }),
    key('of a kind of the future', 'EdDSA', { kty: 'XYZ' }),
  ];
  const secret = 'a secret that is published, which is none';
  const published = { kty: 'oct', kid: 'secret', k: Buffer.from(secret).toString('base64url') };
  // More than a set may have: the last one is ignored.
  const many = Array.from({ length: 97 }, (_, n) => key(`further ${n}`, 'EdDSA'));
  const from = await issuer(published, ...unfit, ...keys, ...many);
  const server = await serverFor(from);
  for (const each of [...keys, many[0], many[95]]) await connect(server, 'ann', as(each));
  const forged = { auth: { token: jwt.sign({ sub: 'eve' }, secret, { keyid: 'secret', expiresIn: '1h' }) } };
  const wrong = [...unfit.map((each) => as(each)), as(key('rsa')), forged, as(many[96])];
  await Promise.all(wrong.map((each) => unverified(server, each)));
});

test('keys rotate under live sockets', async () => {
  const [old, fresh, reused] = [key('old'), key('fresh'), key('old')];
  const from = await issuer(old);
  const server = await serverFor(from, { refresh: '1h' });
  const ann = await connect(server, 'ann', as(old));
  from.publish(fresh, reused);
  await connect(server, 'bob', as(fresh, 'bob'));
  await connect(server, 'bob', as(reused, 'bob'));
  await unverified(server, as(old));
  assert.equal((await ann.askOk('refresh-token', fresh.token('ann'))).ok, true);
  assert.equal((await ann.ask('refresh-token', old.token('ann'))).error.code, 'denied');
  assert.deepEqual(ann.disconnects, []);
});

test('the last good set stays while the issuer is down or lying, and a new key is seen once it is not', async () => {
  const [good, fresh] = [key('good'), key('fresh')];
  const from = await issuer(good);
  const server = await serverFor(from);
  await connect(server, 'ann', as(good));
  const lies = {
    down: (response) => response.destroy(),
    'an error': (response) => { response.statusCode = 500; response.end('{"keys":[]}'); },
    'no set': (response) => response.end('<html>'),
    'an empty set': (response) => response.end('{"keys":[]}'),
    'a set of keys for something else': (response) => response.end(keySetOf(key('other', 'RS256', { use: 'enc' }))),
    'a redirect': (response) => { response.statusCode = 302; response.setHeader('location', from.url); response.end(); },
    'without end': (response) => { const more = () => response.write('x'.repeat(65536), () => response.destroyed || setImmediate(more)); more(); },
  };
  for (const [name, answer] of Object.entries(lies)) {
    const before = from.requests;
    from.answer = answer;
    // With the second request, the answer to the first has been processed.
    await eventually(async () => from.requests > before + 1, `requests while it is ${name}`, 20_000);
    await connect(server, 'ann', as(good));
    await unverified(server, as(fresh));
  }
  assert.equal(server.log.match(/the last one stays/g).length, 1, 'it is said once');
  from.publish(fresh);
  await connect(server, 'ann', as(fresh));
  await server.waitForOutput(/the key set can be read again/);
  await unverified(server, as(good));
});

const slow = {
  silent: () => {},
  'dripping bytes': (response) => {
    const drip = setInterval(() => response.write(' '), 50);
    response.on('close', () => clearInterval(drip));
  },
};
for (const [name, answer] of Object.entries(slow)) {
  test(`an issuer that is ${name} times out; meanwhile the last good set is used and no client waits long`, async () => {
    const [good, fresh] = [key('good'), key('fresh')];
    const from = await issuer(good);
    const server = await serverFor(from);
    await connect(server, 'ann', as(good));
    const before = from.requests;
    let given = 0;
    from.answer = (response, request) => {
      response.on('close', () => (given += 1));
      answer(response, request);
    };
    await eventually(async () => from.requests > before, 'a look that gets no answer');
    // A client whose token can be verified does not wait for the issuer.
    const began = performance.now();
    await connect(server, 'ann', as(good));
    assert.ok(performance.now() - began < SLACK_MS && given === 0, 'the issuer is still being asked');
    const waited = await unverified(server, as(fresh));
    assert.ok(waited < TIMEOUT_MS + SLACK_MS, `refused after ${waited} ms`);
    await eventually(async () => given > 0, 'the server to give up');
    await server.waitForOutput(/the last one stays/);
    await eventually(async () => from.requests > before + 1, 'the next look');
    await connect(server, 'ann', as(good));
    from.publish(good, fresh);
    await server.waitForOutput(/the key set can be read again/);
    for (const each of [good, fresh]) await connect(server, 'ann', as(each));
  });
}

test('tokens with unknown keys cause few requests', async () => {
  const good = key('good');
  const from = await issuer(good);
  const server = await serverFor(from, { refresh: '1h', unknown_key_refresh: '2s' });
  await connect(server, 'ann', as(good));
  const before = from.requests;
  const began = performance.now();
  const forged = Array.from({ length: 30 }, (_, n) => ({ auth: { token: jwt.sign({ sub: 'eve' }, 'x'.repeat(32), { keyid: `k-${n}`, expiresIn: '1h' }) } }));
  await Promise.all(forged.map((each) => unverified(server, each)));
  const allowed = Math.ceil((performance.now() - began) / 2000) + 1;
  assert.ok(from.requests - before <= allowed, `${from.requests - before} requests, ${allowed} allowed`);
});

test('a set in a file is replaced while the server runs, and an unusable one is ignored', async () => {
  const [old, fresh] = [key('old'), key('fresh')];
  const dir = temporaryDirectory();
  const file = join(dir, 'jwks.json');
  const replace = (text) => {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };
  replace(keySetOf(old));
  const server = await startServer({
    dir,
    env: { JWT_SECRET: '' },
    config: { auth: { jwks: [{ file: 'jwks.json', refresh: '1s', unknown_key_refresh: '1s' }] } },
  });
  const ann = await connect(server, 'ann', as(old));
  replace(keySetOf(fresh));
  await connect(server, 'ann', as(fresh));
  await unverified(server, as(old));
  const late = key('late');
  const useless = {
    absent: () => rmSync(file),
    'no set': () => replace('<html>'),
    'too large': () => replace(keySetOf(late) + ' '.repeat(256 * 1024)),
  };
  for (const [name, make] of Object.entries(useless)) {
    make();
    // Its token makes the server refresh the keys once more, and wait for that.
    await unverified(server, as(late));
    await connect(server, 'ann', as(fresh)).catch((error) => { throw new Error(name, { cause: error }); });
  }
  await server.waitForOutput(/the last one stays/);
  replace(keySetOf(late));
  await connect(server, 'ann', as(late));
  assert.deepEqual(ann.disconnects, [], 'whoever is in stays');
});

test('a set at a private address is not fetched, unless the operator allows it', async () => {
  const [own, other] = [key('own'), key('other')];
  const from = await issuer(own);
  const named = from.url.replace('127.0.0.1', 'localhost');
  for (const url of [from.url, named, from.url.replace('127.0.0.1', '[::ffff:127.0.0.1]'), from.url.replace('127.0.0.1', '0x7f.1')]) {
    const server = await serverFor(from, { url, allow_private_addresses: false });
    await server.waitForOutput(/the key set cannot be read.*allow_private_addresses = true/);
    await unverified(server, as(own));
  }
  assert.equal(from.requests, 0);
  const server = await serverFor(from, { url: named });
  await connect(server, 'ann', as(own));
  await unverified(server, as(other));
});

test('a set with half an emoji in it is read', async () => {
  const own = key('own');
  const from = await issuer({ kty: 'XYZ', note: '\ud83d' }, { ...own, jwk: { ...own.jwk, '\ud83d': '\udc4b' } });
  await connect(await serverFor(from), 'ann', as(own));
});
