// Runs the examples of the README and the guides as they are written there. Other tests cover what needs adaptation.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { owned, test } from './lib/scope.mjs';
import { BINARY, cleanEnvironment, guest, startServer, temporaryDirectory } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const ROOT = resolve(import.meta.dirname, '../..');

/** The first code block in this language below the heading. */
function shown(page, heading, language) {
  const [, section = ''] = readFileSync(join(ROOT, page), 'utf8').split(`\n${heading}\n`);
  const [, code] = section.match(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'ms')) ?? [];
  assert.ok(code, `${page} shows ${language} below ${heading}`);
  return code;
}

/** Runs a client's code until it has printed all this. */
async function client(code, server, ...patterns) {
  const here = code.replace('http://localhost:3000', server.url);
  assert.notEqual(here, code, 'the client connects to the server of `make run`');
  const text = `const token = ${JSON.stringify(token('alice'))};\n${here}`;
  // In this directory, since the client's library is found from here.
  const child = spawn(process.execPath, ['--input-type=module', '--eval', text], { cwd: import.meta.dirname });
  const ended = new Promise((done) => child.on('close', done));
  owned({
    close: () => {
      child.kill('SIGKILL');
      return ended;
    },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (more) => (output += more));
  await eventually(() => patterns.every((pattern) => pattern.test(output)), () => `${patterns.join(', ')} in:\n${output}`);
}

/** Runs commands in a shell, where `parlance` is the program under test, and returns their output. */
function shell(commands, dir, env = {}) {
  const bin = temporaryDirectory();
  const program = (name, line) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${line}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  program('parlance', `exec '${BINARY}' "$@"`);
  program('openssl', `echo '${ADMIN_TOKEN}'`);
  const path = [bin, process.env.PATH].join(delimiter);
  const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', commands], {
    cwd: dir,
    env: { ...cleanEnvironment(), ...env, PATH: path },
    encoding: 'utf8',
  });
  assert.equal(status, 0, `${commands}\n${stdout}${stderr}`);
  return stdout;
}

test('the client of the README joins, posts and receives its message', async () => {
  const server = await startServer();
  await client(shown('README.md', '## Connect a client', 'js'), server, /lastSeq: 0/, /^1 alice's name Hello!$/m, /seq: 1/);
});

test('the client of the guide joins, posts and receives its message', async () => {
  const server = await startServer();
  await client(shown('host/clients.md', '## A client that misses nothing', 'js'), server, /^1 alice's name Hello!$/m, /^posted as 1$/m);
});

test('the commands of the guide write a configuration and check it', () => {
  const dir = temporaryDirectory();
  const commands = shown('host/README.md', '## Configure', 'sh').split('\n').filter((line) => !line.includes('parlance serve'));
  assert.equal(commands.filter(Boolean).length, 3);
  shell(commands.join('\n'), dir);
  assert.match(readFileSync(join(dir, 'parlance.toml'), 'utf8'), /^\[limits\]$/m);
  assert.ok(JSON.parse(readFileSync(join(dir, 'parlance.schema.json'), 'utf8')).properties.limits);
});

test('the commands of the guide make a tenant, revoke tokens, and change its handlers', async () => {
  const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const dir = temporaryDirectory();
  const env = { PARLANCE_SERVER: server.adminUrl };
  const said = shell(shown('host/README.md', '## Host many tenants', 'sh'), dir, env);
  assert.match(said, /mallory/);
  assert.equal((await admin(server).requestOk('GET', '/tenants')).filter(({ name }) => name === 'acme').length, 1);

  // Any message handler is suitable.
  mkdirSync(join(dir, 'target/components'), { recursive: true });
  copyFileSync(guest('stamped'), join(dir, 'target/components/moderation.wasm'));
  const changes = shown('host/README.md', '## Change handlers while the server runs', 'sh').split('\n');
  const ending = changes.filter((line) => !line.includes('logs -f'));
  assert.equal(ending.length, changes.length - 1);
  shell(ending.join('\n'), dir, { ...env, PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN });
  assert.deepEqual(await admin(server).requestOk('GET', '/tenants/acme/handlers'), []);
});
