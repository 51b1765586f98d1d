// Custom events go by name or prefix to different handlers of a tenant, configured and deployed ones.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ADMIN_TOKEN, admin, operate } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, run, startServer, temporaryDirectory } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const SECRET = 'a secret for tests only, longer than 32 bytes';
const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: {
    limits: { events_per_second: 100000, event_burst: 100000 },
    quota: { guest_cpu: '100s', events_per_second: 1000000, event_burst: 1000000 },
    deploy: { failure_percent: 2, failures: 5, window: '10s' },
    handlers: {
      event: { component: guest('hostile') },
      notes: { component: guest('hostile'), events: ['kv-set-*'] },
      asking: { component: guest('acknowledging'), events: ['ask', 'named-*'] },
    },
  },
});
const api = admin(server);

/** Deploys a component with patterns. Returns the response. */
const deploy = (handler, file, events, query = '') => api.request(
  'POST',
  `/tenants/default/handlers/${handler}/versions?events=${encodeURIComponent(JSON.stringify(events))}${query}`,
  { raw: readFileSync(file), headers: { 'content-type': 'application/wasm' } },
);
const deployOk = async (...args) => {
  const answer = await deploy(...args);
  assert.equal(answer.status, 201, answer.text);
  return answer.json;
};
const remove = (handler) => api.requestOk('DELETE', `/tenants/default/handlers/${handler}`);
const operateOk = async (...args) => {
  const { code, output, stdout } = await operate(server, args);
  assert.equal(code, 0, `parlance ${args.join(' ')}:\n${output}`);
  return stdout;
};

test('configured handlers share the custom events, each with its own keys', async () => {
  const client = await connect(server, 'sharing');
  await client.askOk('kv-set-then-ok', { key: 'k' });
  assert.equal((await client.askOk('kv-get', { key: 'k' })).value, null, 'the handler of other events has no such key');
  assert.equal(await client.ask('named-x', {}), 'named-x');
  assert.equal((await client.ask('named', {})).error.code, 'invalid', 'no prefix selects it');
  await client.askOk('nothing-then-ok', {});
  assert.match(server.log, /ask, named-\*: handler asking/);
  assert.match(server.log, /kv-set-\*: handler notes/);
});

test('a question is answered to the handler of the event that asked it', async () => {
  const room = freshRoom();
  const [asker, listener] = [await connect(server, 'asker'), await connect(server, 'listener')];
  await asker.join(room);
  await listener.join('listeners');
  asker.socket.on('question', (_tag, answer) => answer('yes'));
  await asker.ask('ask', room, 'by-route', 60_000);
  await listener.until(() => listener.received.some(({ event, args }) => event === 'answered' && args[1] === 'by-route'), 'the answer');
});

test('overlapping claims are refused with both names', async () => {
  await deployOk('first', guest('hostile'), ['nothing-*', 'vote']);
  for (const [handler, events, words] of [
    ['second', ['nothing-then-ok'], /nothing-then-ok.* of .*second.* overlap .*nothing-\*.* of .*first.*deployed too/],
    ['second', ['other', 'vo*'], /vo\*.* of .*second.* overlap .*vote.* of .*first.*deployed too/],
    ['second', ['kv-*'], /kv-\*.* of .*second.* overlap .*kv-set-\*.* of .*notes.*configured/],
  ]) {
    const refused = await deploy(handler, guest('acknowledging'), events);
    assert.equal(refused.status, 409, refused.text);
    assert.match(refused.text, words);
  }
  for (const [events, words] of [
    [['send-message'], /send-message.*not a custom event/],
    [['*', 'a'], /selects every custom event/],
    [[], /0 patterns/],
  ]) {
    const refused = await deploy('second', guest('acknowledging'), events);
    assert.equal(refused.status, 422, refused.text);
    assert.match(refused.text, words);
  }
  const noList = await api.request('POST', '/tenants/default/handlers/second/versions?events=vote', { raw: 'x' });
  assert.equal(noList.status, 422, noList.text);
  const otherEvents = await deploy('second', guest('stamped'), ['second']);
  assert.match(otherEvents.text, /does not handle custom events/);
  assert.equal(await api.handler('default', 'second'), undefined);
  // The handler without patterns leaves claimed events to their handlers.
  await deployOk('rest', guest('acknowledging'), ['*']);
  const client = await connect(server, 'overlapping');
  await client.askOk('nothing-then-ok', {});
  assert.equal(await client.ask('anything', {}), 'anything');
  const two = await deploy('second', guest('acknowledging'), ['*']);
  assert.match(two.text, /event events are handled by .*rest/);
  await remove('rest');
  await remove('first');
});

test('check-config refuses overlapping claims with the key and the other handler', async () => {
  const dir = temporaryDirectory();
  const handler = (name, events) => `[handlers.${name}]\ncomponent = ${JSON.stringify(guest('hostile'))}\nevents = ${events}\n`;
  writeFileSync(join(dir, 'parlance.toml'), handler('poll', '["poll-*"]') + handler('votes', '["vote", "poll-create"]'));
  const checked = await run(['check-config', '--config', 'parlance.toml'], { cwd: dir, env: { JWT_SECRET: SECRET } });
  assert.notEqual(checked.code, 0, checked.output);
  assert.match(checked.output, /handlers\.votes\.events.*"poll-create", which overlaps "poll-\*" of handlers\.poll/);
});

test('several handlers of a scenario share the custom events', async () => {
  const dir = temporaryDirectory();
  const scenario = (events) => JSON.stringify({
    handlers: {
      rest: { component: guest('hostile') },
      polls: { component: guest('acknowledging'), events: ['poll-*', 'vote'] },
      keys: { component: guest('hostile'), events },
    },
    cases: [{
      name: 'each has its events',
      events: [
        { event: { 'poll-x': [] }, expect: { reply: 'poll-x' } },
        { event: { vote: [] }, expect: { reply: 'vote' } },
        { event: { 'kv-set-then-ok': [{ key: 'k' }] }, expect: { ok: true, keys: { keys: { k: 'an action' }, rest: { k: null } } } },
        { event: { 'nothing-then-ok': [{}] }, expect: { ok: true } },
        { event: { votes: [{}] }, expect: { error: { code: 'invalid' } } },
      ],
    }],
  });
  const tested = (text) => {
    writeFileSync(join(dir, 'routes.yaml'), text);
    return run(['test', 'routes.yaml'], { cwd: dir });
  };
  const passed = await tested(scenario(['kv-*']));
  assert.equal(passed.code, 0, passed.output);
  for (const [events, words] of [
    [['poll-x'], /`keys` and `polls` take the same custom events: `poll-x` overlaps `poll-\*`/],
    [[], /`events` has 0 patterns/],
  ]) {
    const refused = await tested(scenario(events));
    assert.notEqual(refused.code, 0);
    assert.match(refused.output, words);
  }
});

test('a deployment claims events from the command line, and versions keep their patterns', async () => {
  const table = await operateOk('deploy', guest('hostile'), '--handler', 'polls', '--events', 'nothing-*,extra');
  assert.match(table, /polls\s+1\s+active\s+event\(nothing-\*,extra\)/);
  await operateOk('deploy', guest('hostile'), '--handler', 'polls', '--canary', '10%');
  assert.deepEqual((await api.handler('default', 'polls')).versions[0].eventPatterns, ['nothing-*', 'extra'], 'as in the version before');
  assert.match(await operateOk('promote', 'polls'), /polls\s+2\s+active\s+event\(nothing-\*,extra\)/);
  await operateOk('deploy', guest('hostile'), '--handler', 'polls', '--events', 'nothing-then-ok');
  assert.match(await operateOk('rollback', 'polls'), /polls\s+2\s+active\s+event\(nothing-\*,extra\)/);
  await operateOk('deploy', guest('hostile'), '--handler', 'polls', '--events', '*', '--canary', '10%');
  assert.match(await operateOk('versions'), /polls\s+4\s+canary 10%\s+event\s/);
  await remove('polls');
});

test('a deployed handler replaces the configured one of its name, which comes back', async () => {
  const client = await connect(server, 'replacing');
  assert.equal(await client.ask('named-x', {}), 'named-x');
  await deployOk('asking', guest('acknowledging'), ['named-y']);
  assert.equal(await client.ask('named-y', {}), 'named-y');
  assert.equal((await client.ask('named-x', {})).error.code, 'invalid', 'the handler of other events has it now');
  await server.restart();
  await client.back();
  assert.equal((await client.ask('named-x', {})).error.code, 'invalid', 'also after a restart');
  const taken = await deploy('other', guest('hostile'), ['named-x']);
  assert.match(taken.text, /named-x.* of .*other.* overlap .*named-\*.* of .*asking.*configured/);
  await remove('asking');
  assert.equal(await client.ask('named-x', {}), 'named-x');
});

test('a canary tries other patterns on its share', async () => {
  const clients = await Promise.all(Array.from({ length: 40 }, (_, n) => connect(server, `trying-${n}`)));
  await deployOk('tried', guest('hostile'), ['nothing-*']);
  await deployOk('tried', guest('acknowledging'), ['nothing-*', 'extra'], '&canary=50');
  /** The clients whose event the canary handles: it acknowledges with the event's name. */
  const onTrial = async (event) => {
    const answers = await Promise.all(clients.map((client) => client.ask(event, {})));
    return answers.map((answer) => answer === event);
  };
  const chosen = await onTrial('nothing-then-ok');
  const count = chosen.filter(Boolean).length;
  assert.ok(count > 5 && count < 35, `${count} of 40 users`);
  assert.deepEqual(await onTrial('extra'), chosen, 'the new pattern, for the same users');
  await api.requestOk('POST', '/tenants/default/handlers/tried/promote');
  assert.ok((await onTrial('extra')).every(Boolean));
  await api.requestOk('POST', '/tenants/default/handlers/tried/rollback', { body: {} });
  assert.ok(!(await onTrial('extra')).some(Boolean), 'the version before does not claim it');
  assert.ok(!(await onTrial('nothing-then-ok')).some(Boolean));

  await deployOk('tried', guest('acknowledging'), ['*'], '&canary=50');
  assert.deepEqual(await onTrial('nothing-then-ok'), chosen, 'a canary without patterns takes its own handler’s events');
  assert.deepEqual(await onTrial('any-other'), chosen, 'and those of no handler');
  assert.ok((await onTrial('named-x')).every(Boolean), 'not those of others');
  await remove('tried');
});

test('a canary that traps goes back by itself while two other handlers of the tenant go on and no event is lost', async () => {
  const { active } = await deployOk('polls', guest('hostile'), ['nothing-then-*']);
  await deployOk('counter', guest('hostile'), ['kv-increment-then-ok', 'kv-get']);
  await deployOk('echo', guest('acknowledging'), ['several', 'echo-*']);
  const clients = await Promise.all(Array.from({ length: 12 }, (_, n) => connect(server, `loading-${n}`)));
  let [going, withdrawn] = [true, false];
  const answers = { polls: [], counter: [], echo: [] };
  const loops = clients.map(async (client) => {
    while (going) {
      const sentLater = withdrawn;
      const [poll, count, echo] = await Promise.all([
        client.ask('nothing-then-ok', {}),
        client.ask('kv-increment-then-ok', { key: 'count' }),
        client.ask('echo-x', {}),
      ]);
      answers.polls.push({ ...poll, sentLater });
      answers.counter.push(count);
      answers.echo.push(echo);
    }
  });
  const progress = () => answers.polls.length;
  await eventually(async () => progress() > 50, 'events before the canary');
  assert.ok(answers.polls.every((answer) => answer.ok));
  await deployOk('polls', guest('attack-panic'), ['nothing-then-*'], '&canary=50');
  const back = await eventually(async () => {
    const now = await api.handler('default', 'polls');
    return now.canary === null && now;
  }, 'the canary is out of service');
  assert.equal(back.active, active);
  assert.equal(back.versions[0].state, 'failed');
  assert.match(back.versions[0].failed, /events within 10s ended with a trap/);
  withdrawn = true;
  await eventually(async () => answers.polls.filter(({ sentLater }) => sentLater).length > 50, 'events after the canary');
  going = false;
  await Promise.all(loops);

  const failed = answers.polls.filter((answer) => !answer.ok);
  assert.ok(failed.length >= 5, 'the canary had events');
  assert.deepEqual([...new Set(failed.map((answer) => answer.error.code))], ['handler-failed']);
  assert.ok(answers.polls.every((answer) => answer.ok || !answer.sentLater), 'none that was sent later failed');
  assert.ok(answers.counter.every((answer) => answer.ok));
  assert.ok(answers.echo.every((answer) => answer === 'echo-x'));
  const { value } = await clients[0].askOk('kv-get', { key: 'count' });
  assert.equal(Number(value), answers.counter.length, 'each event counts once');
  for (const client of clients) assert.deepEqual(client.disconnects, []);
  for (const name of ['counter', 'echo']) {
    const { versions: [version] } = await api.handler('default', name);
    assert.deepEqual([version.state, version.eventsFailed], ['active', 0], name);
  }
  for (const name of ['polls', 'counter', 'echo']) await remove(name);
});
