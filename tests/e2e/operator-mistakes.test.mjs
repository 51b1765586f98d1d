// Mistakes of operators: each gets an error that says what is wrong and what to do.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ADMIN_TOKEN, admin, configurationOf, operate, secretOf } from './lib/admin.mjs';
import { Client, connect } from './lib/client.mjs';
import { owned, test } from './lib/scope.mjs';
import { guest, run, startServer, temporaryDirectory } from './lib/server.mjs';

const directory = temporaryDirectory();
const file = (name, text) => {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
};
const ACME_TOKEN = 'the admin token of acme alone';
const acme = file('acme-token', ACME_TOKEN);
const server = await startServer({
  config: { admin: { tokens: [{ name: 'acme', token_file: acme, tenant: 'acme' }] } },
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
});
await admin(server).requestOk('POST', '/tenants', { body: { name: 'acme', configuration: configurationOf('acme') } });

for (const [what, args, words] of [
  ['another tenant’s audit log', ['audit', '--tenant', 'other', '--token-file', acme], /no tenant "other" for this token, which is for "acme"/],
  ['another tenant’s log', ['logs', '-f', '--tenant', 'other', '--token-file', acme], /no tenant "other" for this token, which is for "acme"/],
  ['the log of a tenant that does not exist', ['logs', '-f', '--tenant', 'acne'], /there is no tenant "acne"/],
  ['handlers without naming the own tenant', ['versions', '--token-file', acme], /no tenant "default" for this token, which is for "acme"/],
  ['revoking nothing', ['revoke'], /--token-id <ID>\|--user <USER>\|--issued-before <TIME>/],
  ['revoking what is issued in years to come', ['revoke', '--issued-before', '2100-01-01T00:00:00Z'], /issuedBefore: lies in the future/],
]) {
  test(`an operator gets a clear error for ${what}`, async () => {
    const { code, output } = await operate(server, args);
    assert.notEqual(code, 0, output);
    assert.match(output, words);
  });
}

test('a token of a tenant that was made by the admin API is signed with its secret', async () => {
  const args = ['token', '--user', 'ann', '--tenant', 'acme'];
  const without = await run(args, { cwd: directory });
  assert.equal(without.code, 2);
  assert.match(without.output, /no tenant "acme" in the configuration.*--secret-file/s);
  const made = await run([...args, '--secret-file', file('secret', `${secretOf('acme')}\n`)], { cwd: directory });
  assert.equal(made.code, 0, made.output);
  await owned(new Client(server.url, 'ann', { namespace: '/acme', auth: { token: made.stdout.trim() } })).connected();
});

test('a tenant whose clients cannot connect leaves a warning', async () => {
  await admin(server).requestOk('POST', '/tenants', { body: { name: 'keyless', configuration: {} } });
  await server.waitForOutput(/WARN.*tenant keyless has no keys.*nobody can connect to it/);
  const checked = await run(['check-config', '--config', file('keyless.toml', '[tenants.keyless]\n')], {
    cwd: directory,
    env: { JWT_SECRET: secretOf('default') },
  });
  assert.match(checked.output, /warning: tenant keyless has no keys/);
});

test('check-config reports an impossible path of the database', async () => {
  const config = file('nowhere.toml', '[store]\nurl = "sqlite:///no/such/directory/chat.db"\n');
  const { code, output } = await run(['check-config', '--config', config], { cwd: directory, env: { JWT_SECRET: secretOf('default') } });
  assert.equal(code, 0);
  assert.match(output, /warning: `parlance serve` will not start. there is no directory \/no\/such\/directory/);
});

test('restore reports a file that is not a backup', async () => {
  const { code, output } = await run(['restore', file('notes.txt', 'x'.repeat(2000))], { cwd: directory });
  assert.equal(code, 1);
  assert.match(output, /notes.txt is not a backup: it is not an SQLite database.*nothing was changed/);
});

test('inspect lists the grants that a component needs', async () => {
  const { code, output } = await run(['inspect', guest('web')], { cwd: directory });
  assert.equal(code, 0, output);
  assert.match(output, /^handles {2}event$/m);
  assert.match(output, /^needs {4}.*grants\.http/m);
});

test('a status that there is not is named with those that there are', async () => {
  const ann = await connect(server, 'ann');
  for (const status of ['busy', 'offline']) {
    const { error } = await ann.ask('set-presence', status);
    assert.equal(error.code, 'invalid');
    assert.match(error.message, new RegExp(`must be \`online\` or \`away\`, not "${status}"`));
  }
});
