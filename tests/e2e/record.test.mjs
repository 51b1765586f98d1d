// What a live server records, its replay in another directory without a server, and recorded events on another version.
// ARCHITECTURE.md#recordings says how.
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ADMIN_TOKEN, admin, at, configurationOf, operate } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { listen } from './lib/http.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, Process, run, SECRET, startServer, temporaryDirectory } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const PLANTED = 'planted-secret-7f3a';
const SCENARIO = `handlers:
  rules: {component: COMPONENT}
before:
  rooms: {general: [alice, bob]}
cases:
  - name: a message reaches the room
    events:
      - send-message: {roomId: general, content: hello}
        expect:
          ok: true
          received: {bob: [{new-message: {content: hello, userId: alice}}]}
`;
const authority = await listen((request, response) => {
  request.resume();
  request.on('end', () => response.writeHead(200, { 'set-cookie': `session=${PLANTED}`, 'x-key': PLANTED }).end('a public answer'));
});
const server = await startServer({
  config: {
    server: { handshake_headers: ['authorization', 'x-device'] },
    grants: { http: [`http://${authority}`] },
    handlers: {
      event: { component: guest('hostile'), settings: { stamp: 'a stamp', api_key: PLANTED } },
    },
  },
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
});
const api = admin(server);

/** A tenant with these handlers. */
async function tenant(name, handlers, more = {}) {
  const components = Object.entries(handlers).map(([handler, component]) => [handler, component]);
  await api.requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name, more) } });
  for (const [handler, component] of components) await api.deploy(name, handler, guest(component));
}

/** The lines of a recording: its header, contexts by number, events. */
function read(text) {
  const [header, ...lines] = text.trim().split('\n').map((line) => JSON.parse(line));
  const contexts = new Map(lines.filter((line) => line.context).map((line) => [line.context, line]));
  return { header, contexts, events: lines.filter((line) => line.event) };
}

/** Records while `act` runs. Returns the file's path and its text. */
async function record(args, act) {
  const file = join(temporaryDirectory(), 'events.ndjson');
  const recording = owned(new Process(['record', ...args, '-o', file], {
    env: { PARLANCE_SERVER: server.adminUrl, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  }));
  await recording.waitForOutput(/recording on the node/);
  await act();
  const { code } = await recording.end();
  assert.equal(code, 0, recording.output);
  return { file, text: readFileSync(file, 'utf8') };
}

/** Replays a file in a directory of its own. */
function replay(file, ...args) {
  return run(['replay', file, ...args], { cwd: temporaryDirectory() });
}

test('a trap of a live server is the same trap offline, with its backtrace', async () => {
  const client = await connect(server, 'ann');
  const { file, text } = await record(['--handler', 'event', '--traps', '--limit', '1', '--with-content'], async () => {
    await client.ask('kv-get', { key: 'k' });
    const answer = await client.ask('kv-set-then-trap', { key: 'k' });
    assert.equal(answer.error.code, 'handler-failed');
  });
  const { header, events: [event, ...others] } = read(text);
  assert.deepEqual([header.parlanceRecording, header.tenant, header.withContent], [1, 'default', true]);
  assert.deepEqual([others, event.outcome.end.is, event.outcome.end.trap], [[], 'trapped', 'guest']);
  assert.equal(statSync(file).mode & 0o777, 0o600, 'only its owner reads it');
  // A directory with nothing but the recording and the component, as on a developer's machine.
  const cwd = temporaryDirectory();
  copyFileSync(file, join(cwd, 'traps.ndjson'));
  copyFileSync(guest('hostile'), join(cwd, 'handler.wasm'));
  const replayed = await run(['replay', 'traps.ndjson', '--component', 'handler.wasm'], { cwd });
  assert.equal(replayed.code, 0, replayed.output);
  assert.match(replayed.stdout, /event 1 \(event, event\): the same trap: guest: wasm trap: .*`unreachable`.*\n {4}0: .* at 0x/);
  assert.match(replayed.stdout, /1 event on the component that was recorded: 1 the same to the byte/);

  writeFileSync(file, text.replace(/"trap":"guest"/, '"trap":"memory"'));
  const forged = await replay(file, '--component', guest('hostile'));
  assert.equal(forged.code, 1, forged.output);
  assert.match(forged.stdout, /event 1 .* differs\n {2}outcome\.end\.trap \(traps\)\n {4}recorded: "memory"\n {4}now: {6}"guest"/);
});

test('events of every kind are the same to the byte offline', async () => {
  const client = await connect(server, 'bea');
  const [room, other] = [freshRoom(), freshRoom('other')];
  const { file, text } = await record(['--limit', '14', '--with-content'], async () => {
    await client.join(room);
    const posted = await client.post(room, 'hello "you" é 😀');
    await client.askOk('send-message', { roomId: room, content: 'with an id', metadata: { a: [1] }, clientId: `c-${room}` });
    await client.askOk('read-message', posted.id);
    await client.askOk('typing', room, true);
    await client.askOk('set-presence', 'away');
    await client.ask('spy', { roomId: room, messageId: posted.id, userId: 'bea' });
    await client.ask('kv-increment-then-ok', { roomId: room, key: `n-${room}` });
    await client.ask('kv-increment-then-ok', { roomId: room, key: `n-${room}` });
    await client.ask('emit-then-ok', { roomId: room });
    await client.ask('kv-get', { key: `n-${room}` });
    await client.ask('reject', { message: 'denied' });
    await client.join(other);
    await client.askOk('leave-room', room);
    await client.ask('nothing-then-ok', {});
  });
  const { contexts, events } = read(text);
  assert.ok(contexts.size >= 6, 'a context for each handler');
  assert.equal(events.length, 14);
  assert.ok(events.some((event) => event.answers.some((answer) => answer.of === 'history')), 'a read of history');
  const replayed = await replay(file, '--component', guest('hostile'));
  assert.equal(replayed.code, 0, replayed.output);
  assert.match(replayed.stdout, /14 events on the component that was recorded: 14 the same to the byte/);
});

test('the time, chance and HTTP of WASI are recorded', async () => {
  await tenant('wasi', { event: 'wasi' });
  const client = await connect(server, 'cy', at('wasi', 'cy'));
  const actions = [['print', {}], ['clocks', {}], ['sleep', { count: 20 }], ['random', { count: 16 }], ['random', { count: 7 }]];
  const { file, text } = await record(['--tenant', 'wasi', '--handler', 'event', '--limit', String(actions.length)], async () => {
    for (const [name, action] of actions) await client.ask(name, action);
  });
  const kinds = new Set(read(text).events.flatMap((event) => event.answers.map((answer) => answer.of)));
  assert.ok(kinds.has('elapsed') && kinds.has('random-bytes'), [...kinds].join(', '));
  const replayed = await replay(file, '--component', guest('wasi'));
  assert.equal(replayed.code, 0, replayed.output);

  await tenant('web', { event: 'web' }, { grants: { http: [`http://${authority}`] } });
  const asker = await connect(server, 'dan', at('web', 'dan'));
  const web = await record(['--tenant', 'web', '--handler', 'event', '--limit', '2', '--with-content'], async () => {
    const requests = [{ authority, path: `/${PLANTED}?key=${PLANTED}` }, { authority, path: '/two', body: 5000 }, { authority: '127.0.0.1:1' }];
    const answers = await asker.ask('fetch', requests);
    assert.deepEqual(answers.map((answer) => answer.text || answer.error), ['a public answer', 'a public answer', 'HttpRequestDenied']);
    await asker.ask('fetch', [{ authority, abandon: true }]);
  });
  const seen = JSON.stringify(read(web.text).events.map((event) => event.answers));
  assert.ok(seen.includes('a public answer') && !seen.includes(PLANTED), seen);
  const again = await replay(web.file, '--component', guest('web'));
  assert.equal(again.code, 0, again.output);
});

test('tokens and secrets are in no recording, message text only on request', async () => {
  const credentials = token('eve', { role: 'mod', accessToken: PLANTED, nested: { password: [PLANTED] } });
  const client = await connect(server, 'eve', {
    auth: { token: credentials, refresh: PLANTED, inner: { key: PLANTED } },
    query: { access: PLANTED },
    extraHeaders: { authorization: `Bearer ${PLANTED}`, 'x-device': PLANTED },
  });
  const room = freshRoom();
  const act = async () => {
    await client.join(room);
    await client.post(room, `my token is ${credentials} and Bearer ${PLANTED}, a word`);
    await client.ask('kv-get', { key: 'k', message: 'custom words' });
    await client.ask('log', { message: 'logged words' });
  };
  const whole = await record(['--limit', '4', '--with-content'], act);
  const masked = await record(['--limit', '4'], act);
  for (const { text } of [whole, masked]) {
    for (const secret of [PLANTED, credentials, credentials.split('.')[2], SECRET, ADMIN_TOKEN]) {
      assert.ok(!text.includes(secret), `${secret} is in\n${text}`);
    }
    assert.ok(text.includes('a stamp'), 'a setting that is no secret');
    assert.ok(text.includes('\\"role\\":\\"mod\\"'), 'a claim that is no secret');
  }
  const words = ['my token is', 'a word', 'custom words', 'logged words'];
  assert.deepEqual(words.map((word) => whole.text.includes(word)), [true, true, true, true], whole.text);
  assert.deepEqual(words.map((word) => masked.text.includes(word)), [false, false, false, false], masked.text);
  const replayed = await replay(masked.file, '--component', guest('hostile'));
  assert.equal(replayed.code, 0, replayed.output);
  assert.match(replayed.output, /message text is masked in this recording/);
});

test('nothing is recorded unless it is asked for, and only what is asked for', async () => {
  await tenant('quiet', { event: 'hostile' });
  const path = '/tenants/quiet/recording';
  const client = await connect(server, 'fay', at('quiet', 'fay'));
  await client.ask('kv-get', { key: 'k' });
  for (const [method, where] of [['GET', path], ['GET', `${path}/events`], ['DELETE', path], ['POST', `${path}/stop`]]) {
    assert.equal((await api.request(method, where)).status, 404, where);
  }
  assert.equal((await api.requestOk('POST', path, { body: { handler: 'event', percent: 50, limit: 100_000 } })).on, true);
  assert.equal((await api.request('POST', path, { body: { limit: 1 } })).status, 409, 'one at a time');
  for (let n = 0; n < 200; n += 1) await client.ask('kv-get', { key: 'k' });
  const half = await api.requestOk('POST', `${path}/stop`);
  // The chance of fewer or more is less than one in a billion.
  assert.ok(half.recorded > 55 && half.recorded < 145, JSON.stringify(half));
  await client.ask('kv-get', { key: 'k' });
  assert.deepEqual(await api.requestOk('GET', path), half, 'nothing after its end');
  const newest = await fetch(`${server.adminUrl}/admin/v1${path}/events?last=3`, { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } });
  const { events } = read(await newest.text());
  assert.deepEqual(events.map((event) => event.event), [2, 1, 0].map((n) => half.recorded - n));
  assert.equal((await api.request('DELETE', path)).status, 204);
  assert.equal((await api.request('GET', path)).status, 404);
  for (const body of [{}, { limit: 0 }, { limit: 1, percent: 0 }, { limit: 1, percent: 101 }, { limit: 1, handler: 'No' }, { limit: 1, more: 1 }]) {
    assert.ok([400, 422].includes((await api.request('POST', path, { body })).status), JSON.stringify(body));
  }
  const audit = await api.requestOk('GET', '/audit?tenant=quiet');
  const recorded = audit.filter((entry) => entry.action.startsWith('recording.'));
  assert.deepEqual(recorded.map((entry) => entry.action), ['recording.delete', 'recording.stop', 'recording.start']);
  assert.deepEqual(recorded[2].detail, { handler: 'event', percent: 50, traps: false, limit: 100_000, withContent: false });
});

test('Ctrl-C ends a recording, and the file has what was recorded', async () => {
  await tenant('brief', { event: 'hostile' });
  const file = join(temporaryDirectory(), 'events.ndjson');
  const recording = owned(new Process(['record', '--tenant', 'brief', '--handler', 'event', '--limit', '100', '-o', file], {
    env: { PARLANCE_SERVER: server.adminUrl, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  }));
  await recording.waitForOutput(/recording on the node/);
  const client = await connect(server, 'ida', at('brief', 'ida'));
  await client.ask('kv-get', { key: 'k' });
  recording.signal('SIGINT');
  assert.equal((await recording.end()).code, 0, recording.output);
  assert.equal(read(readFileSync(file, 'utf8')).events.length, 1);
  assert.equal((await api.requestOk('GET', '/tenants/brief/recording')).on, false);
});

test('a recording stays within the quota of its tenant', async () => {
  await tenant('small', { event: 'hostile' }, { quota: { recording_bytes: 16 * 1024, recording_events_per_second: 20 } });
  const client = await connect(server, 'gus', at('small', 'gus'));
  const path = '/tenants/small/recording';
  await api.requestOk('POST', path, { body: { limit: 1000 } });
  await Promise.all(Array.from({ length: 200 }, () => client.ask('reply', { count: 500 })));
  await client.ask('reply', { count: 20_000 });
  const view = await api.requestOk('GET', path);
  assert.ok(view.leftOut > 0 && view.recorded >= 20, JSON.stringify(view));
  assert.ok(view.kept < view.recorded && view.bytes <= 16 * 1024, JSON.stringify(view));
  const configuration = configurationOf('small', { quota: { recording_bytes: 0 } });
  await api.requestOk('DELETE', path);
  await api.requestOk('PUT', '/tenants/small', { body: configuration });
  const refused = await api.request('POST', path, { body: { limit: 1 } });
  assert.deepEqual([refused.status, /quota\.recording_bytes/.test(refused.json.detail)], [409, true], refused.text);
});

test('a backtest shows what another version does otherwise, and a deployment can depend on it', async () => {
  await tenant('acme', { rules: 'strict' });
  const client = await connect(server, 'hal', at('acme', 'hal'));
  const room = freshRoom();
  await client.join(room);
  const { file } = await record(['--tenant', 'acme', '--handler', 'rules', '--limit', '20', '--with-content'], async () => {
    for (let n = 0; n < 20; n += 1) await client.post(room, n === 7 ? 'slow start' : `message ${n}`);
  });
  // Both versions do what the scenarios ask for, so those do not tell them apart.
  const cwd = temporaryDirectory();
  for (const component of ['strict', 'stamped']) {
    writeFileSync(join(cwd, `${component}.yaml`), SCENARIO.replace('COMPONENT', guest(component)));
  }
  const tested = await run(['test', '.'], { cwd });
  assert.equal(tested.code, 0, tested.output);
  assert.match(tested.stdout, /2 cases: 2 passed, 0 failed/);

  const backtest = (component, ...args) => operate(server, ['backtest', guest(component), '--tenant', 'acme', '--handler', 'rules', ...args]);

  const same = await backtest('strict');
  assert.equal(same.code, 0, same.output);
  assert.match(same.stdout, /20 events: 20 the same, 0 differ/);
  const other = await backtest('stamped', '--last', '15', '--json');
  assert.equal(other.code, 1, other.output);
  const report = JSON.parse(other.stdout);
  assert.deepEqual([report.events, report.different], [15, 15]);
  const { posts, emits, keys, replies, missing } = report.groups;
  assert.deepEqual([posts, emits, keys, replies].map((group) => group.events), [15, 15, 15, 15], other.stdout);
  assert.deepEqual([posts.examples.length, missing], [3, undefined]);
  const offline = await run(['backtest', guest('strict'), '--from', file]);
  assert.equal(offline.code, 0, offline.output);

  const deploy = (...args) => operate(server, ['deploy', guest('stamped'), '--tenant', 'acme', '--handler', 'rules', '--backtest', '20', ...args]);
  const refused = await deploy();
  assert.equal(refused.code, 1, refused.output);
  assert.match(refused.output, /of 20 recorded events 20 differ \(100\.0%\); at most 0% may, so nothing was deployed\n {2}/);
  assert.equal((await api.handler('acme', 'rules')).active, 1);
  const allowed = await deploy('--allow-differences', '100%');
  assert.equal(allowed.code, 0, allowed.output);
  assert.equal((await api.handler('acme', 'rules')).active, 2);
  const none = await operate(server, ['backtest', guest('strict'), '--tenant', 'acme']);
  assert.equal(none.code, 1, none.output);
  assert.match(none.output, /no recorded event of the handler "strict"; those that it has are of: rules/);

  const stamped = await record(['--tenant', 'acme', '--handler', 'rules', '--limit', '1'], () => client.post(room, 'slow start'));
  const shown = await replay(stamped.file, '--component', guest('strict'), '--event', '1');
  assert.equal(shown.code, 1, shown.output);
  assert.match(shown.stdout, /event 1 \(rules, message\) differs\n/);
  assert.match(shown.stdout, /asks for something that the recording does not have: "the key \\"count:hal\\""/);
});
