// The operators' commands.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'smol-toml';
import { ADMIN_TOKEN, admin, at, configurationOf, operate } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { listen } from './lib/http.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, Process, startServer, temporaryDirectory } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
const operateOk = async (...args) => {
  const { code, output, stdout } = await operate(server, args);
  assert.equal(code, 0, `parlance ${args.join(' ')}:\n${output}`);
  return { output, stdout };
};

/** The component with an additional instance of a core module that only has a memory of 1 MiB. */
function withMoreMemory(component) {
  let [at, modules] = [8, 0];
  while (at < component.length) {
    modules += component[at] === 1;
    let [size, shift, byte] = [0, 0];
    do {
      at += 1;
      byte = component[at];
      size |= (byte & 0x7f) << shift;
      shift += 7;
    } while (byte & 0x80);
    at += 1 + size;
  }
  const module = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 5, 3, 1, 0, 16];
  return Buffer.concat([component, Buffer.from([1, module.length, ...module, 2, 4, 1, 0, modules, 0])]);
}

/** Starts a server that answers each request with `respond`, and returns its address. */
async function pretend(respond) {
  const authority = await listen((request, response) => {
    request.resume();
    respond(response, request);
  });
  return `http://${authority}`;
}

test('a tenant is made from a file, shown, listed, suspended, resumed and deleted', async () => {
  const file = join(temporaryDirectory(), 'acme.toml');
  writeFileSync(file, stringify(configurationOf('acme')));
  assert.match((await operateOk('tenants', 'create', 'acme', file)).stdout, /acme\s+\/acme\s+served/);
  await connect(server, 'ann', at('acme', 'ann'));
  assert.match((await operateOk('tenants')).stdout, /TENANT\s+NAMESPACE.*acme\s+\/acme\s+served\s+1\s+store.*default\s+\/\s+served/s);
  assert.equal(JSON.parse((await operateOk('tenants', 'show', 'acme')).stdout).usage.connections.used, 1);
  await operateOk('tenants', 'set', 'acme', file);
  assert.match((await operateOk('tenants', 'suspend', 'acme')).stdout, /suspended/);
  await operateOk('tenants', 'resume', 'acme');
  assert.match((await operateOk('revoke', '--user', 'ann', '--tenant', 'acme')).stdout, /revoked user:ann/);
  assert.match((await operateOk('tenants', 'delete', 'acme', '--data')).stdout, /deleted acme with its data/);
  assert.match((await operateOk('audit', '--tenant', 'acme')).stdout, /environment\s+acme\s+tenant\.delete/);
});

test('a tenant without keys is served, with a warning that nobody can connect to it', async () => {
  const file = join(temporaryDirectory(), 'keyless.toml');
  writeFileSync(file, '[quota]\nrooms = 5\n');
  const { output } = await operateOk('tenants', 'create', 'keyless', file);
  assert.match(output, /keyless\s+\/keyless\s+served/);
  assert.match(output, /warning: keyless: it has no keys \(auth\.keys, auth\.jwks\), so nobody can connect to it/);
  writeFileSync(file, stringify(configurationOf('keyless')));
  assert.doesNotMatch((await operateOk('tenants', 'set', 'keyless', file)).output, /warning/);
  await operateOk('tenants', 'delete', 'keyless', '--data');
});

test('a tenant that is not served is listed and shown with the reason', async () => {
  const problem = 'quotas is unknown';
  const tenant = { name: 'odd', namespace: '/odd', source: 'store', suspended: false, served: false, revision: 1, connections: 0, problem, configuration: {} };
  const answers = {
    '/admin/v1/tenants': [200, [tenant, { ...tenant, name: 'older', served: true }]],
    '/admin/v1/tenants/odd': [200, tenant],
    '/admin/v1/tenants/odd/usage': [409, { status: 409, title: 'Conflict', code: 'conflict', detail: `the tenant "odd" is not served here: ${problem}` }],
  };
  const url = await pretend((response, { url }) => {
    const [status, body] = answers[url];
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  const listed = await operateOk('tenants', '--server', url);
  assert.match(listed.stdout, /odd\s+\/odd\s+not served\s.*older\s+\/odd\s+not as configured\s/s);
  assert.match(listed.output, /^odd: quotas is unknown$/m);
  const shown = JSON.parse((await operateOk('tenants', 'show', 'odd', '--server', url)).stdout);
  assert.deepEqual([shown.tenant.problem, shown.usage], [problem, null]);
  assert.match(shown.usageProblem, /not served here: quotas is unknown/);
});

test('a component is deployed, tried, promoted and taken back', async () => {
  const first = await operateOk('deploy', guest('stamped'));
  for (const step of ['sending', 'received', 'compiling', 'storing', 'activating', 'version 1 is in service']) {
    assert.ok(first.output.includes(step), first.output);
  }
  assert.match(first.stdout, /stamped\s+1\s+active\s+message/);
  assert.match((await operateOk('deploy', guest('flaky'), '--handler', 'stamped', '--canary', '10%', '--note', 'a try')).stdout, /2\s+canary 10%.*a try/s);
  assert.match((await operateOk('canary', '50%')).stdout, /2\s+canary 50%/);
  assert.match((await operateOk('promote')).stdout, /2\s+active/);
  assert.match((await operateOk('rollback', 'stamped')).stdout, /2\s+kept.*1\s+active/s);
  const [view] = JSON.parse((await operateOk('versions', '--json')).stdout);
  assert.equal(view.active, 1);
  assert.match((await operateOk('rollback', '--to', '2')).stdout, /2\s+active/);
  const shown = await operateOk('versions');
  assert.ok(!shown.stdout.includes('node') && /of the node that was asked/.test(shown.output), shown.output);
  assert.match((await operateOk('remove', 'stamped')).stdout, /removed stamped/);
  assert.match((await operateOk('versions')).stdout, /nothing is deployed/);
});

test('a component is tried under the limits of each tenant, known or not, and the refusal names the limit', async () => {
  const api = admin(server);
  const small = { sandbox: { memory: '256KiB' } };
  await api.requestOk('POST', '/tenants', { body: { name: 'roomy', configuration: configurationOf('roomy') } });
  await api.requestOk('POST', '/tenants', { body: { name: 'small', configuration: configurationOf('small', small) } });
  const file = join(temporaryDirectory(), 'hungry.wasm');
  writeFileSync(file, withMoreMemory(readFileSync(guest('stamped'))));
  await operateOk('deploy', file, '--tenant', 'roomy');
  const { code, output } = await operate(server, ['deploy', file, '--tenant', 'small']);
  assert.equal(code, 1, output);
  assert.match(output, /more than 262144 bytes of memory to be instantiated \(sandbox\.memory of the tenant\)/);
  await operateOk('deploy', guest('stamped'), '--tenant', 'small');
});

test('a deployment that has to wait for the server says so', async () => {
  let answer;
  const url = await pretend((response) => {
    response.write('{"step":"compiling"}\n');
    answer = () => response.end('{"problem":{"detail":"not today"}}\n');
  });
  const deploying = owned(new Process(['deploy', guest('stamped'), '--server', url], { env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } }));
  await deploying.waitForOutput(/still compiling and checking; the server compiles two components at a time \(\d+ s\)/);
  answer();
  assert.equal((await deploying.end()).code, 1);
  assert.match(deploying.output, /not today/);
});

test('the options for server and format work before and after a subcommand', async () => {
  const file = join(temporaryDirectory(), 'after.toml');
  writeFileSync(file, stringify(configurationOf('after')));
  const nowhere = { PARLANCE_SERVER: 'http://127.0.0.1:9' };
  for (const args of [
    ['tenants', 'create', 'after', file, '--server', server.adminUrl, '--json'],
    ['tenants', '--json', '--server', server.adminUrl, 'set', 'after', file],
    ['tenants', '--server', server.adminUrl, 'resume', 'after', '--json'],
  ]) {
    const { code, output, stdout } = await operate(server, args, nowhere);
    assert.equal(code, 0, output);
    assert.equal(JSON.parse(stdout).name, 'after');
  }
  assert.ok(JSON.parse((await operateOk('tenants', 'list', '--json')).stdout).some(({ name }) => name === 'after'));
  assert.deepEqual(JSON.parse((await operateOk('tenants', 'delete', 'after', '--json')).stdout), {
    deleted: 'after', data: false, dataBeingRemoved: false,
  });
});

test('tokens are revoked by when they were issued, listed, and let in again', async () => {
  const file = join(temporaryDirectory(), 'revoking.toml');
  writeFileSync(file, stringify(configurationOf('revoking')));
  await operateOk('tenants', 'create', 'revoking', file);
  const of = ['--tenant', 'revoking'];
  assert.match((await operateOk('revoke', '--issued-before', 'now', ...of)).stdout, /revoked all/);
  assert.match((await operateOk('revoke', '--issued-before', '2026-03-01 12:00:00', '--user', 'ann', ...of)).stdout, /revoked user:ann/);
  const listed = (await operateOk('revocations', ...of)).stdout;
  assert.match(listed, /ID\s+ISSUED BEFORE.*all\s+20\d\d-.*user:ann\s+2026-03-01T12:00:00/s);
  await operateOk('unrevoke', 'all', ...of);
  assert.doesNotMatch((await operateOk('revocations', ...of)).stdout, /^all/m);
  await connect(server, 'bob', at('revoking', 'bob'));

  const entries = JSON.parse((await operateOk('audit', ...of, '--json')).stdout);
  const second = entries[1].id;
  assert.deepEqual(JSON.parse((await operateOk('audit', ...of, '--before', String(second), '--json')).stdout), entries.slice(2));
  assert.match((await operateOk('audit', ...of, '--limit', '1')).output, new RegExp(`older ones: --before ${entries[0].id}`));
});

test('log lines are followed with their times', async () => {
  const api = admin(server);
  await api.requestOk('POST', '/tenants', { body: { name: 'followed', configuration: configurationOf('followed') } });
  await api.deploy('followed', 'hostile', guest('hostile'));
  const following = owned(new Process(['logs', '-f', '--tenant', 'followed'], {
    env: { PARLANCE_SERVER: server.adminUrl, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  }));
  await following.waitForOutput(/following the node at http/);
  const ann = await connect(server, 'ann', at('followed', 'ann'));
  await ann.askOk('log', { message: 'a word' });
  await following.waitForOutput(/^\d{4}-\d\d-\d\dT[\d:.]+Z info +followed\/hostile@1 \S+: a word$/m);
});

test('log lines of handlers cannot change the writing direction of a terminal', async () => {
  const line = { at: 1, tenant: 'acme', handler: 'h', version: 1, event: 'e-1', level: 'info', text: 'a\u202eb\u001b[2J' };
  const url = await pretend((response) => response.end(`${JSON.stringify(line)}\n`));
  const env = { env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } };
  const following = owned(new Process(['logs', '-f', '--server', url], env));
  await following.waitForOutput(/: a\\u\{202e\}b\\u\{1b\}\[2J$/m);
  const asJson = owned(new Process(['logs', '-f', '--json', '--server', url], env));
  await asJson.waitForOutput(/"text":"a\\u202eb\\u001b\[2J"/);
});

test('missed lines are reported', async () => {
  const url = await pretend((response) => response.end('{"missed":7,"tenant":"acme"}\n'));
  const following = owned(new Process(['logs', '-f', '--server', url], { env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } }));
  await following.waitForOutput(/^7 lines of acme were missed/m);
});

test('disconnects are in the audit log, events are not, and above the rate there is a retry time', async () => {
  const api = admin(server);
  const quota = { events_per_second: 1, event_burst: 2 };
  await api.requestOk('POST', '/tenants', { body: { name: 'reached', configuration: configurationOf('reached', { quota }) } });
  const room = freshRoom();
  const emit = () => fetch(`${server.adminUrl}/admin/v1/tenants/reached/clients/emit`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify({ event: 'price', arguments: ['a secret'], to: { rooms: [room] }, except: { users: ['bob'] } }),
  });
  assert.equal((await emit()).status, 204);
  await api.requestOk('POST', '/tenants/reached/clients/disconnect', { body: { users: ['mallory'] } });
  const entries = (await api.requestOk('GET', '/audit?tenant=reached')).filter(({ action }) => action.startsWith('clients.'));
  assert.deepEqual(entries.map(({ actor, action, detail }) => [actor, action, detail]), [
    ['environment', 'clients.disconnect', { whose: { rooms: [], users: ['mallory'] } }],
  ]);

  let refused;
  await eventually(async () => {
    const answer = await emit();
    refused = answer.status === 429 && answer;
    return refused;
  }, 'a refusal');
  const { code, retryAfterMs } = await refused.json();
  assert.equal(code, 'rate-limited');
  assert.ok(retryAfterMs > 0 && retryAfterMs <= 1000, String(retryAfterMs));
  assert.equal(refused.headers.get('retry-after'), '1');
});

test('errors have a message, advice and an exit code', async () => {
  const cases = [
    [['versions', '--tenant', 'nobody'], {}, 1, /there is no tenant "nobody"/],
    [['versions'], { PARLANCE_ADMIN_TOKEN: '' }, 2, /PARLANCE_ADMIN_TOKEN/],
    [['versions'], { PARLANCE_ADMIN_TOKEN: 'wrong' }, 1, /token is not accepted/],
    [['versions', '--server', 'http://127.0.0.1:9'], {}, 1, /cannot be reached/],
    [['versions', '--server', 'nonsense'], {}, 2, /--server/],
    [['deploy', '/no/such/file'], {}, 1, /cannot be read/],
    [['deploy', fileURLToPath(new URL('package.json', import.meta.url))], {}, 1, /not a WebAssembly component/],
    [['deploy', 'x.wasm', '--canary', '100%'], {}, 2, /from 1% to 99%/],
    [['logs'], {}, 2, /logs -f/],
    [['rollback', 'nothing'], {}, 1, /no handler "nothing"/],
  ];
  for (const [args, env, code, words] of cases) {
    const result = await operate(server, args, env);
    assert.equal(result.code, code, `${args.join(' ')}: ${result.output}`);
    assert.match(result.output, words);
  }
});

test('canary and promote without a name mean the only handler that has a canary', async () => {
  const file = join(temporaryDirectory(), 'two.toml');
  writeFileSync(file, stringify(configurationOf('two')));
  await operateOk('tenants', 'create', 'two', file);
  const api = admin(server);
  await api.deploy('two', 'message', guest('stamped'));
  await api.deploy('two', 'event', guest('hostile'));
  const none = await operate(server, ['promote', '--tenant', 'two']);
  assert.notEqual(none.code, 0);
  assert.match(none.output, /no deployed handler has a canary/);
  await api.deploy('two', 'message', guest('stamped'), '?canary=10');
  assert.match((await operateOk('canary', '50%', '--tenant', 'two')).stdout, /message\s+2\s+canary 50%/);
  assert.match((await operateOk('promote', '--tenant', 'two')).stdout, /message\s+2\s+active/);
  const which = await operate(server, ['rollback', '--tenant', 'two']);
  assert.notEqual(which.code, 0);
  assert.match(which.output, /name a handler; deployed are: event, message/);
});
