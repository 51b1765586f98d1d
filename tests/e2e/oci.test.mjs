// Components in OCI registries: push, pull, deploy and inspect, against a real registry.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { ADMIN_TOKEN, admin, operate } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { listen } from './lib/http.mjs';
import { freePort } from './lib/port.mjs';
import { NO_REGISTRY, PASSWORD, startRegistry, USER } from './lib/registry.mjs';
import { test as scopedTest } from './lib/scope.mjs';
import { BINARY, guest, run, startServer, temporaryDirectory } from './lib/server.mjs';

const test = (name, body) => scopedTest(name, { skip: NO_REGISTRY }, body);

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const WASM_CONFIG = 'application/vnd.wasm.config.v0+json';
/** A component that has only the type `stream<u8>`, which is for async functions. */
const ASYNC = Buffer.from([0, 0x61, 0x73, 0x6d, 13, 0, 1, 0, 7, 4, 1, 0x66, 1, 0x7d]);
const sha256 = (bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const base64 = (text) => Buffer.from(text).toString('base64');

/** A directory for Docker's configuration, so that the one of this machine's user has no part in the test. */
function dockerConfig(config) {
  const directory = temporaryDirectory();
  if (config) writeFileSync(join(directory, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
  return { DOCKER_CONFIG: directory };
}

const auths = (registry, user, password) => dockerConfig({ auths: { [registry.host]: { auth: base64(`${user}:${password}`) } } });

/** Runs a command that must succeed, and returns its standard output. */
async function ok(args, env = dockerConfig()) {
  const { code, output, stdout } = await run(args, { env });
  assert.equal(code, 0, `parlance ${args.join(' ')}:\n${output}`);
  return stdout.trim();
}

/** Runs a command that must fail with each of these words. */
async function refused(args, words, env = dockerConfig(), expected = 1) {
  const { code, output } = await run(args, { env });
  assert.equal(code, expected, `parlance ${args.join(' ')}:\n${output}`);
  for (const word of words) assert.match(output, word);
  return output;
}

test('a component is pushed as the layout says, and pulled by its tag and by its digest', async () => {
  const registry = await startRegistry();
  const address = `oci://${registry.host}/acme/stamped:1.2`;
  const pinned = await ok(['push', guest('stamped'), address]);
  const component = readFileSync(guest('stamped'));

  const { body, type } = await registry.manifest('acme/stamped', '1.2');
  assert.equal(type, MANIFEST);
  assert.deepEqual([body.schemaVersion, body.mediaType, body.config.mediaType], [2, MANIFEST, WASM_CONFIG]);
  assert.deepEqual(body.layers, [{ mediaType: 'application/wasm', digest: sha256(component), size: component.length }]);
  const config = JSON.parse(readFileSync(registry.file(body.config.digest)));
  assert.deepEqual([config.architecture, config.os, config.layerDigests], ['wasm', 'wasip2', [sha256(component)]]);
  assert.ok(config.component.exports.includes('parlance:chat/on-message@0.1.0'), config.component.exports);
  assert.ok(config.component.imports.includes('parlance:chat/messages@0.1.0'), config.component.imports);
  assert.ok(!Number.isNaN(Date.parse(config.created)), config.created);

  assert.match(pinned, new RegExp(`^oci://${registry.host}/acme/stamped@sha256:[0-9a-f]{64}$`));
  assert.equal(await ok(['push', guest('stamped'), address]), pinned, 'the same file is the same artefact');
  for (const from of [address, pinned]) {
    const file = join(temporaryDirectory(), 'pulled.wasm');
    assert.equal(await ok(['pull', from, '-o', file]), pinned);
    assert.deepEqual(readFileSync(file), component);
  }
});

test('a file that exists is kept unless --force says otherwise', async () => {
  const registry = await startRegistry();
  const pinned = await ok(['push', guest('stamped'), `oci://${registry.host}/stamped:1`]);
  const file = join(temporaryDirectory(), 'mine.wasm');
  writeFileSync(file, 'mine');
  await refused(['pull', pinned, '-o', file], [/mine\.wasm exists/, /--force/]);
  assert.equal(readFileSync(file, 'utf8'), 'mine');
  await ok(['pull', pinned, '-o', file, '--force']);
  assert.deepEqual(readFileSync(file), readFileSync(guest('stamped')));
});

test('a server gets its handler from a registry, and its note says which digest', async () => {
  const [registry, server] = await Promise.all([
    startRegistry(),
    startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } }),
  ]);
  const ann = await connect(server, 'ann');
  const room = freshRoom();
  await ann.join(room);
  const stamp = async () => {
    const { id } = await ann.post(room, 'hello');
    return (await ann.next('new-message', (message) => message.id === id)).metadata?.by;
  };
  assert.equal(await stamp(), undefined);

  const address = `oci://${registry.host}/acme/stamped:latest`;
  const pinned = await ok(['push', guest('stamped'), address]);
  const first = await operate(server, ['deploy', address, '--note', 'a try'], dockerConfig());
  assert.equal(first.code, 0, first.output);
  assert.ok(first.output.includes(`${address} is ${pinned}`), first.output);
  assert.equal(await stamp(), 'stamped');

  // The tag moves on; the digest does not.
  await ok(['push', guest('flaky'), address]);
  const second = await operate(server, ['deploy', pinned, '--setting', 'stamp=again'], dockerConfig());
  assert.equal(second.code, 0, second.output);
  assert.equal(await stamp(), 'again');
  const { versions } = await admin(server).handler('default', 'stamped');
  assert.deepEqual(versions.map(({ note }) => note).sort(), [`a try (${pinned})`, pinned].sort());
});

test('a component with async functions is refused with the remedy, by a server too', async () => {
  const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const file = join(temporaryDirectory(), 'async.wasm');
  writeFileSync(file, ASYNC);
  const remedy = /made for WASI 0\.3 or has async functions.*wasm32-wasip2/;
  await refused(['push', file, `oci://127.0.0.1:${await freePort()}/x:1`], [remedy]);
  await refused(['inspect', file], [remedy]);
  const { code, output } = await operate(server, ['deploy', file], dockerConfig());
  assert.equal(code, 1, output);
  assert.match(output, remedy);
});

test('inspect shows the artefact and its component', async () => {
  const registry = await startRegistry();
  const pinned = await ok(['push', guest('stamped'), `oci://${registry.host}/acme/stamped:1`]);
  const shown = await ok(['inspect', `oci://${registry.host}/acme/stamped:1`]);
  assert.ok(shown.includes(`artefact ${pinned}`), shown);
  assert.ok(shown.includes(`layer    ${sha256(readFileSync(guest('stamped')))}`), shown);
  assert.match(shown, /^created {2}\d{4}-/m);
  assert.match(shown, /^handles {2}message$/m);
});

test('what was tampered with is refused, by its tag too, and nothing is written', async () => {
  const registry = await startRegistry();
  const address = `oci://${registry.host}/stamped:1`;
  const pinned = await ok(['push', guest('stamped'), address]);
  const layer = sha256(readFileSync(guest('stamped')));
  const file = join(temporaryDirectory(), 'pulled.wasm');
  registry.tamper(layer);
  for (const from of [address, pinned]) {
    await refused(['pull', from, '-o', file], [/the component of .* is not what its digest says/, new RegExp(layer)]);
  }
  registry.tamper(layer);
  await ok(['pull', pinned, '-o', file, '--force']);
  const digest = pinned.split('@')[1];
  const manifest = readFileSync(registry.file(digest));
  writeFileSync(registry.file(digest), Buffer.concat([manifest, Buffer.from(' ')]));
  await refused(['deploy', pinned, '--server', 'http://127.0.0.1:9'], [/the manifest of .* is not what its digest says/], { ...dockerConfig(), PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN });
});

test('a missing name, tag or digest is named, and so is a registry that is away', async () => {
  const registry = await startRegistry();
  const pinned = await ok(['push', guest('stamped'), `oci://${registry.host}/stamped:1`]);
  const output = join(temporaryDirectory(), 'none.wasm');
  for (const name of ['stamped:2', 'stampd:1', `stamped@sha256:${'0'.repeat(64)}`]) {
    await refused(['pull', `oci://${registry.host}/${name}`, '-o', output], [new RegExp(`has no oci://.*${name}`), /look at the name and at the tag/]);
  }
  assert.ok(!existsSync(output));
  await registry.stop();
  await refused(['pull', pinned, '-o', output], [/cannot be reached \(.*refused.*\): is it running\?/]);
  await refused(['pull', 'oci://registry.invalid/stamped:1', '-o', output], [/registry\.invalid cannot be reached/, /--plain-http/]);
});

test('credentials are those of Docker: of its file, or of the program that it names', async () => {
  const registry = await startRegistry({ locked: true });
  const address = `oci://${registry.host}/stamped:1`;
  const push = ['push', guest('stamped'), address];
  const file = () => join(temporaryDirectory(), 'pulled.wasm');
  await refused(push, [/wants credentials/, new RegExp(`docker login ${registry.host}`), /DOCKER_CONFIG/]);
  await refused(push, [/refuses the credentials of the user ann/, /docker login/], auths(registry, USER, 'wrong'));
  await ok(push, auths(registry, USER, PASSWORD));
  await refused(['pull', address, '-o', file()], [/wants credentials/]);
  await ok(['pull', address, '-o', file()], auths(registry, USER, PASSWORD));

  const bin = temporaryDirectory();
  const helper = (body) => {
    writeFileSync(join(bin, 'docker-credential-tests'), `#!/bin/sh\n${body}\n`);
    chmodSync(join(bin, 'docker-credential-tests'), 0o755);
  };
  const PATH = `${bin}${delimiter}${process.env.PATH}`;
  const kept = JSON.stringify({ ServerURL: registry.host, Username: USER, Secret: PASSWORD });
  helper(`[ "$1 $(cat)" = "get ${registry.host}" ] && echo '${kept}'`);
  for (const config of [{ credsStore: 'tests' }, { credHelpers: { [registry.host]: 'tests' } }]) {
    await ok(['pull', address, '-o', file()], { ...dockerConfig(config), PATH });
  }
  const store = () => ({ ...dockerConfig({ credsStore: 'tests' }), PATH });
  helper('cat >/dev/null; echo "credentials not found in native keychain"; exit 1');
  await refused(['pull', address, '-o', file()], [/wants credentials/], store());
  helper(`cat >/dev/null; echo '${kept}' >&2; exit 1`);
  const said = await refused(['pull', address, '-o', file()], [/docker-credential-tests.* failed/], store());
  assert.ok(!said.includes(PASSWORD), said);
  await refused(['pull', address, '-o', file()], [/docker-credential-….* cannot be run/], dockerConfig({ credsStore: 'not-there' }));
  await refused(['pull', address, '-o', file()], [/config\.json is not JSON/], dockerConfig('{'));
});

test('what is not a component for a server is not pushed', async () => {
  const directory = temporaryDirectory();
  const file = (name, bytes) => {
    writeFileSync(join(directory, name), bytes);
    return join(directory, name);
  };
  const address = `oci://127.0.0.1:${await freePort()}/x:1`;
  const header = [0, 0x61, 0x73, 0x6d];
  await refused(['push', file('text.wasm', 'hello'), address], [/text\.wasm.*not a WebAssembly component/]);
  await refused(['push', file('module.wasm', Buffer.from([...header, 1, 0, 0, 0])), address], [/core module, not a component/]);
  await refused(['push', file('empty.wasm', Buffer.from([...header, 13, 0, 1, 0])), address], [/empty\.wasm would not be taken/, /exports none of parlance:chat/]);
  await refused(['push', join(directory, 'none.wasm'), address], [/none\.wasm cannot be read/]);
  await refused(['push', guest('stamped'), address, '--wit'], [/is a component, and --wit takes a WIT package/], dockerConfig(), 2);
  for (const [wrong, word] of [
    ['stamped.wasm', /must be like oci:/],
    ['oci://stamped:1', /names no registry/],
    ['oci://localhost:5000/Stamped:1', /invalid reference/],
    [`oci://localhost:5000/x@sha512:${'0'.repeat(128)}`, /must begin with sha256:/],
    [`oci://localhost:5000/x@sha256:${'0'.repeat(64)}`, /name a tag/],
  ]) {
    await refused(['push', guest('stamped'), wrong], [word], dockerConfig(), 2);
  }
});

test('the contract is pushed as a WIT package, and only as one', async () => {
  const registry = await startRegistry();
  const directory = temporaryDirectory();
  const wit = join(import.meta.dirname, '../../wit');
  execFileSync(join(dirname(BINARY), 'parlance-build'), ['--wit', wit, '--out', directory]);
  const file = join(directory, 'parlance-chat.wasm');
  const address = `oci://${registry.host}/acme/parlance/chat:0.1.0`;
  await refused(['push', file, address], [/parlance-chat\.wasm is a WIT package.*--wit/], dockerConfig(), 2);
  const pinned = await ok(['push', '--wit', file, address]);
  assert.equal(await ok(['pull', address, '-o', join(directory, 'pulled.wasm')]), pinned);
  assert.deepEqual(readFileSync(join(directory, 'pulled.wasm')), readFileSync(file));
  await refused(['inspect', address], [/would not be taken.*exports none of parlance:chat/s]);
});

test('an artefact of another type says what it is', async () => {
  const registry = await startRegistry();
  const base = `http://${registry.host}/v2/other`;
  const store = async (bytes) => {
    const begun = await fetch(`${base}/blobs/uploads/`, { method: 'POST' });
    const url = new URL(begun.headers.get('location'), base);
    url.searchParams.append('digest', sha256(bytes));
    assert.equal((await fetch(url, { method: 'PUT', body: bytes })).status, 201);
    return { digest: sha256(bytes), size: bytes.length };
  };
  const blob = await store('{}');
  const text = await store('not a component');
  const manifest = { schemaVersion: 2, mediaType: MANIFEST };
  const INDEX = 'application/vnd.oci.image.index.v1+json';
  const wasm = { ...manifest, config: { mediaType: WASM_CONFIG, ...blob } };
  const layer = { mediaType: 'application/wasm', ...text };
  const image = { ...manifest, config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...blob }, layers: [] };
  const cases = {
    image: [image, /another type, application\/vnd\.oci\.image\.config\.v1\+json/],
    index: [{ schemaVersion: 2, mediaType: INDEX, manifests: [] }, /an index of several images/],
    layers: [{ ...wasm, layers: [layer, layer] }, /has 2 layers/],
    tar: [{ ...wasm, layers: [{ ...layer, mediaType: 'application/tar' }] }, /another type, application\/tar/],
  };
  for (const [tag, [body, word]] of Object.entries(cases)) {
    const headers = { 'content-type': body.mediaType };
    const put = await fetch(`${base}/manifests/${tag}`, { method: 'PUT', headers, body: JSON.stringify(body) });
    assert.equal(put.status, 201, `${tag}: ${await put.text()}`);
    await refused(['pull', `oci://${registry.host}/other:${tag}`], [word]);
    await refused(['inspect', `oci://${registry.host}/other:${tag}`], [word]);
  }
});

/** A registry of one artefact that wants a token, which `answers` may change, by method and path. */
async function pretend(answers = {}) {
  const component = readFileSync(guest('stamped'));
  const config = Buffer.from(JSON.stringify({ created: '2026-01-01T00:00:00Z', architecture: 'wasm', os: 'wasip2', layerDigests: [], component: null }));
  const describe = (mediaType, bytes) => ({ mediaType, digest: sha256(bytes), size: bytes.length });
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: describe(WASM_CONFIG, config), layers: [describe('application/wasm', component)] }));
  const requests = [];
  const known = {
    'GET /v2/x/manifests/1': manifest,
    [`GET /v2/x/blobs/${sha256(config)}`]: config,
    [`GET /v2/x/blobs/${sha256(component)}`]: component,
  };
  const host = await listen((request, response) => {
    const { method, url, headers } = request;
    const path = `${method} ${url.split('?')[0]}`;
    requests.push({ path, url, authorization: headers.authorization });
    request.resume();
    const answer = answers[path];
    if (answer) return void answer(response, request);
    if (path === 'GET /token') return void response.end(JSON.stringify({ token: 'a-token' }));
    if (headers.authorization !== 'Bearer a-token') {
      const challenge = `Bearer realm="http://${headers.host}/token",service="tests"`;
      return void response.writeHead(401, { 'www-authenticate': challenge }).end();
    }
    response.writeHead(known[path] ? 200 : 404).end(known[path]);
  });
  return { host, requests, component };
}

test('a token is asked for where the registry says, with the credentials, and only the registry gets it', async () => {
  const elsewhere = [];
  const other = await listen((request, response) => {
    elsewhere.push(request.headers.authorization);
    request.resume();
    if (request.method === 'PUT') response.writeHead(201).end();
    else response.end(readFileSync(guest('stamped')));
  });
  const blob = `/v2/x/blobs/${sha256(readFileSync(guest('stamped')))}`;
  const away = (status) => (response, { headers }) => {
    if (headers.authorization) return void response.writeHead(status, { location: `http://${other}/data` }).end();
    response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${headers.host}/token"` }).end();
  };
  const registry = await pretend({
    [`GET ${blob}`]: away(307),
    'POST /v2/x/blobs/uploads/': away(202),
    'PUT /v2/x/manifests/1': (response) => response.writeHead(201).end(),
  });
  const file = join(temporaryDirectory(), 'pulled.wasm');
  await ok(['pull', `oci://${registry.host}/x:1`, '-o', file], auths(registry, 'bob', 'secret'));
  assert.deepEqual(readFileSync(file), registry.component);
  const asked = () => registry.requests.filter(({ path }) => path === 'GET /token');
  assert.deepEqual(asked(), [{ path: 'GET /token', url: '/token?scope=repository%3Ax%3Apull&service=tests', authorization: `Basic ${base64('bob:secret')}` }]);
  await ok(['push', guest('stamped'), `oci://${registry.host}/x:1`], auths(registry, 'bob', 'secret'));
  assert.equal(new URL(asked()[1].url, 'http://x').searchParams.get('scope'), 'repository:x:pull,push');
  assert.deepEqual(elsewhere, [undefined, undefined, undefined], 'a blob is fetched and two are stored elsewhere');
});

test('an identity token is exchanged, and a refused one is reported', async () => {
  let body = '';
  const registry = await pretend({
    'POST /token': (response, request) => {
      request.on('data', (text) => (body += text));
      request.on('end', () => response.end(JSON.stringify({ access_token: 'a-token' })));
    },
  });
  const env = () => dockerConfig({ auths: { [registry.host]: { identitytoken: 'long-lived' } } });
  await ok(['pull', `oci://${registry.host}/x:1`, '-o', join(temporaryDirectory(), 'x.wasm')], env());
  const form = new URLSearchParams(body);
  assert.deepEqual(['grant_type', 'refresh_token', 'service', 'scope'].map((name) => form.get(name)), ['refresh_token', 'long-lived', 'tests', 'repository:x:pull']);
  const strict = await pretend({ 'GET /token': (response) => response.writeHead(401).end() });
  await refused(['pull', `oci://${strict.host}/x:1`], [/refuses the credentials of the user bob/], auths(strict, 'bob', 'old'));
});

test('answers without an end, too many redirects, and failures of a registry end the command', async () => {
  const endless = (response) => {
    const more = () => {
      while (!response.destroyed && response.write(' '.repeat(65536)));
    };
    response.on('drain', more);
    more();
  };
  const said = (status, code, headers = {}) => (response) => response.writeHead(status, headers).end(JSON.stringify({ errors: [{ code, message: 'not today' }] }));
  const manifest = 'GET /v2/x/manifests/1';
  const component = readFileSync(guest('stamped'));
  for (const [answers, ...words] of [
    [{ [manifest]: endless }, /the manifest of .* has more than 4194304 bytes/],
    [{ 'GET /token': endless }, /the token of .* has more than 262144 bytes/],
    [{ [`GET /v2/x/blobs/${sha256(component)}`]: endless }, new RegExp(`the component of .* has more than ${component.length} bytes`)],
    [{ [manifest]: (response) => response.writeHead(307, { location: '/v2/x/manifests/1' }).end() }, /more than 5 redirects/],
    [{ [manifest]: said(403, 'DENIED') }, /does not allow to fetch .* without credentials.*DENIED not today.*docker login/],
    [{ [manifest]: said(429, 'TOOMANYREQUESTS', { 'retry-after': '7' }) }, /too many requests.*Retry-After: 7/],
    [{ [manifest]: said(503, 'UNAVAILABLE') }, /failed to fetch .*503.*not today.*try again later/],
    [{ [manifest]: (response) => response.end('<html>') }, /is not a manifest: is it an OCI registry\?/],
  ]) {
    const registry = await pretend(answers);
    await refused(['pull', `oci://${registry.host}/x:1`], words);
  }
});
