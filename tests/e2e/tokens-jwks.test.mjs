// Keys that an issuer publishes: rotation on live sockets, and an issuer that is down, slow or lying.
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';
import jwt from 'jsonwebtoken';
import { connect, refused } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

function key(kid, { algorithm = 'RS256', type = 'rsa', options = { modulusLength: 2048 } } = {}) {
  const { publicKey, privateKey } = generateKeyPairSync(type, options);
  return {
    kid,
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: algorithm },
    token: (user, claims = {}) => jwt.sign({ sub: user, ...claims }, privateKey, { algorithm, keyid: kid, expiresIn: '1h' }),
  };
}

/** An issuer whose answer can be changed; counts the requests. */
async function issuer(...keys) {
  const state = { requests: 0, answer: (response) => response.end(JSON.stringify({ keys: keys.map((each) => each.jwk) })) };
  const http = createServer((request, response) => {
    state.requests += 1;
    state.answer(response, request);
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  owned({ close: () => { http.closeAllConnections(); http.close(); } });
  state.url = `http://127.0.0.1:${http.address().port}/jwks.json`;
  state.publish = (...published) => {
    state.answer = (response) => response.end(JSON.stringify({ keys: published.map((each) => each.jwk ?? each) }));
  };
  return state;
}

const serverFor = (issuer, more = {}) =>
  startServer({
    env: { JWT_SECRET: '' },
    config: { auth: { jwks: [{ url: issuer.url, allow_http: true, refresh: '1s', unknown_key_refresh: '1s', ...more }] } },
  });
const as = (key, user = 'ann') => ({ auth: { token: key.token(user) }, reconnection: false });

test('tokens of published keys of every kind are accepted, and no others', async () => {
  const keys = [
    key('rsa'),
    key('pss', { algorithm: 'PS256' }),
    key('ec', { algorithm: 'ES256', type: 'ec', options: { namedCurve: 'P-256' } }),
  ];
  const weak = key('weak', { options: { modulusLength: 1024 } });
  const stranger = key('rsa');
  const from = await issuer();
  from.publish(...keys, weak, { kty: 'oct', kid: 'secret', k: Buffer.from('a secret that is published, which is none').toString('base64url') });
  const server = await serverFor(from);
  for (const each of keys) await connect(server, 'ann', as(each));
  const secret = jwt.sign({ sub: 'eve' }, 'a secret that is published, which is none', { keyid: 'secret', expiresIn: '1h' });
  for (const wrong of [as(stranger), { auth: { token: secret } }]) {
    assert.match((await refused(server, wrong)).message, /^Authentication error/);
  }
});

test('keys rotate under live sockets', async () => {
  const [old, fresh] = [key('old'), key('fresh')];
  const from = await issuer(old);
  const server = await serverFor(from, { refresh: '1h' });
  const ann = await connect(server, 'ann', as(old));
  from.publish(fresh);
  await connect(server, 'bob', as(fresh, 'bob'));
  assert.match((await refused(server, as(old))).message, /signature/);
  assert.equal((await ann.must('refresh-token', fresh.token('ann'))).ok, true);
  assert.equal((await ann.ask('refresh-token', old.token('ann'))).error.code, 'denied');
  assert.deepEqual(ann.disconnects, []);
});

test('the last good set stays while the issuer is down, slow or lying', async () => {
  const good = key('good');
  const from = await issuer(good);
  const server = await serverFor(from);
  await connect(server, 'ann', as(good));
  const lies = {
    down: (response) => response.destroy(),
    'an error': (response) => { response.statusCode = 500; response.end('{"keys":[]}'); },
    'no set': (response) => response.end('<html>'),
    'an empty set': (response) => response.end('{"keys":[]}'),
    'a redirect': (response) => { response.statusCode = 302; response.setHeader('location', from.url); response.end(); },
    'without end': (response) => { const more = () => response.write('x'.repeat(65536), () => response.destroyed || setImmediate(more)); more(); },
    silent: () => {},
  };
  for (const [name, answer] of Object.entries(lies)) {
    const before = from.requests;
    from.answer = answer;
    await eventually(async () => from.requests > before + (name === 'silent' ? 0 : 1), `requests while it is ${name}`, 20_000);
    await connect(server, 'ann', as(good));
  }
  assert.equal(server.log.match(/the last one stays/g).length, 1, 'it is said once');
});

test('tokens with unknown keys cause few requests', async () => {
  const good = key('good');
  const from = await issuer(good);
  const server = await serverFor(from, { refresh: '1h', unknown_key_refresh: '2s' });
  await connect(server, 'ann', as(good));
  const before = from.requests;
  const began = performance.now();
  const forged = Array.from({ length: 30 }, (_, n) => ({ auth: { token: jwt.sign({ sub: 'eve' }, 'x'.repeat(32), { keyid: `k-${n}`, expiresIn: '1h' }) } }));
  for (const error of await Promise.all(forged.map((each) => refused(server, each)))) assert.match(error.message, /^Authentication error/);
  const allowed = Math.ceil((performance.now() - began) / 2000) + 1;
  assert.ok(from.requests - before <= allowed, `${from.requests - before} requests, ${allowed} allowed`);
});
