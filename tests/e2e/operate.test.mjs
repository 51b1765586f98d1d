// The operators' commands, as an operator types them.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'smol-toml';
import { ADMIN_TOKEN, at, configurationOf, operate } from './lib/admin.mjs';
import { connect } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer, temporaryDirectory } from './lib/server.mjs';

const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
const must = async (...args) => {
  const { code, output, stdout } = await operate(server, args);
  assert.equal(code, 0, `parlance ${args.join(' ')}:\n${output}`);
  return { output, stdout };
};

test('a tenant is made from a file, shown, listed, suspended, resumed and deleted', async () => {
  const file = join(temporaryDirectory(), 'acme.toml');
  writeFileSync(file, stringify(configurationOf('acme')));
  assert.match((await must('tenants', 'create', 'acme', file)).stdout, /acme\s+\/acme\s+served/);
  await connect(server, 'ann', at('acme', 'ann'));
  assert.match((await must('tenants')).stdout, /TENANT\s+NAMESPACE[^]*acme\s+\/acme\s+served\s+1\s+store[^]*default\s+\/\s+served/);
  assert.equal(JSON.parse((await must('tenants', 'show', 'acme')).stdout).usage.connections.used, 1);
  await must('tenants', 'set', 'acme', file);
  assert.match((await must('tenants', 'suspend', 'acme')).stdout, /suspended/);
  await must('tenants', 'resume', 'acme');
  assert.match((await must('revoke', '--user', 'ann', '--tenant', 'acme')).stdout, /revoked user:ann/);
  assert.match((await must('tenants', 'delete', 'acme', '--data')).stdout, /deleted acme with its data/);
  assert.match((await must('audit', '--tenant', 'acme')).stdout, /environment\s+acme\s+tenant\.delete/);
});

test('a component is deployed, tried, promoted and taken back', async () => {
  const first = await must('deploy', guest('stamped'));
  for (const step of ['received', 'compiling', 'storing', 'activating', 'version 1 is in service']) {
    assert.ok(first.output.includes(step), first.output);
  }
  assert.match(first.stdout, /stamped\s+1\s+active\s+message/);
  assert.match((await must('deploy', guest('flaky'), '--handler', 'stamped', '--canary', '10%', '--note', 'a try')).stdout, /2\s+canary 10%[^]*a try/);
  assert.match((await must('promote')).stdout, /2\s+active/);
  assert.match((await must('rollback', 'stamped')).stdout, /2\s+kept[^]*1\s+active/);
  const [view] = JSON.parse((await must('versions', '--json')).stdout);
  assert.equal(view.active, 1);
  assert.match((await must('rollback', '--to', '2')).stdout, /2\s+active/);
});

test('what goes wrong is said in words, with what to do, and a code', async () => {
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
