// Tests the admin API against its own description with a program that generates requests: valid and invalid ones, with
// and without a token, with every method. https://schemathesis.readthedocs.io
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { stringify } from 'smol-toml';
import { ADMIN_TOKEN, admin, configurationOf } from './lib/admin.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer, temporaryDirectory } from './lib/server.mjs';

const SCHEMATHESIS = resolve(import.meta.dirname, '../.venv/bin/schemathesis');
/** The seed, which alone determines the requests, so that a run can be repeated. */
const SEED = 10;
/** Requests for each operation. */
const REQUESTS = 20;
/** At some hundred requests a second it takes 20 s; a busy machine may need longer. */
const TIMEOUT_MS = 240_000;

/** Existing, missing and invalid names; `share` is how often one of these is used. */
const dictionary = (name, share = 0.8) => ({ dictionary: name, probability: share });

/** Exceptions that the description cannot express. */
const CONFIG = {
  seed: SEED,
  'continue-on-failure': true,
  hooks: join(import.meta.dirname, 'openapi/openapi_hooks.py'),
  generation: { 'max-examples': REQUESTS },
  phases: { stateful: { enabled: false } },
  dictionaries: {
    tenants: { values: ['stored', 'filed', 'nobody', 'Ünmöglich', 'a\u0000b'] },
    doomed: { values: ['doomed', 'filed', 'nobody'] },
    handlers: { values: ['h', 'nobody', 'a/b', '\u0007'] },
    users: { values: ['ann', 'nobody', 'a/b', '\u0007'] },
    ids: { values: ['all', 'user:ann', 'token:\u0001', 'nothing', '0123456789abcdef0123456789abcdef'] },
  },
  parameters: {
    'path.tenant': dictionary('tenants'),
    'path.handler': dictionary('handlers'),
    'path.user': dictionary('users'),
    'path.id': dictionary('ids'),
  },
  checks: {
    // 422: well-formed but not valid, such as an impossible configuration. 429: too many events.
    positive_data_acceptance: { 'expected-statuses': ['2xx', 404, 409, 412, 413, 422, 429] },
    // 412: preconditions are checked before the content (RFC 9110, 13.2.1).
    negative_data_rejection: { 'expected-statuses': [400, 401, 404, 409, 412, 413, 415, 422, 429] },
  },
  operations: [
    // Its response never ends.
    { 'include-name': 'GET /admin/v1/logs', enabled: false },
    // With `follow` it ends with the recording.
    { 'include-name': 'GET /admin/v1/tenants/{tenant}/recording/events', enabled: false },
    // Keep the tenants that other requests use.
    { 'include-name': 'DELETE /admin/v1/tenants/{tenant}', parameters: { 'path.tenant': dictionary('doomed', 1) } },
  ],
};

test('the admin API matches its description', { timeout: TIMEOUT_MS + 60_000 }, async () => {
  assert.ok(existsSync(SCHEMATHESIS), `${SCHEMATHESIS} is missing; \`make setup\` installs it`);
  const server = await startServer({
    env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
    config: { tenants: { filed: configurationOf('filed') } },
  });
  const { requestOk, deploy } = admin(server);
  for (const name of ['stored', 'doomed']) {
    await requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name) } });
  }
  await deploy('stored', 'h', guest('stamped'));
  const cwd = temporaryDirectory();
  const config = join(cwd, 'schemathesis.toml');
  writeFileSync(config, stringify(CONFIG));
  const url = `${server.adminUrl}/admin/v1/openapi.json`;
  const args = ['--no-color', '--config-file', config, 'run', url, '--header', `Authorization: Bearer ${ADMIN_TOKEN}`];
  const done = await promisify(execFile)(SCHEMATHESIS, args, { cwd, timeout: TIMEOUT_MS, maxBuffer: 64 * 1024 * 1024 })
    .then(({ stdout }) => ({ code: 0, stdout }), ({ code, stdout, stderr }) => ({ code, stdout: stdout + stderr }));
  assert.equal(done.code, 0, done.stdout.slice(0, 20_000));
  // Its warnings concern random requests for tenants and handlers that do not exist.
  assert.match(done.stdout, /(\d+) generated, \1 passed/);
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
});
