// All errors of a configuration and its environment are reported at once.
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { owned, test } from './lib/scope.mjs';
import { run, SECRET, temporaryDirectory } from './lib/server.mjs';

const FIVE_ERRORS = `
[server]
port = 123456

[limits]
history_page_max = -1
content = "a lot"
no_such_limit = 5

[handlers.event]
component = "/no/such/component.wasm"
`;
const KEYS = ['server.port', 'limits.history_page_max', 'limits.content', 'limits.no_such_limit', 'handlers.event.component'];

function configured(text) {
  const cwd = temporaryDirectory();
  writeFileSync(join(cwd, 'parlance.toml'), text);
  return { cwd, env: { PORT: undefined, JWT_SECRET: SECRET } };
}

for (const command of ['check-config', 'serve']) {
  test(`${command} names all five errors of a config, each by its key`, async () => {
    const { code, output } = await run([command, '--config', 'parlance.toml'], configured(FIVE_ERRORS));
    assert.ok(code > 0, `exit code ${code}`);
    for (const key of KEYS) assert.ok(output.includes(key), `${key} is not named in:\n${output}`);
    assert.doesNotMatch(output, /panicked|listening on/);
  });
}

test('a configuration that is not TOML is refused with the line', async () => {
  const { code, output } = await run(['check-config', '--config', 'parlance.toml'], configured('[server]\nport = = 3\n'));
  assert.ok(code > 0);
  assert.match(output, /line 2|:2\b/);
});

test('a config file that is not there is named', async () => {
  const { code, output } = await run(['serve', '--config', 'absent.toml'], { cwd: temporaryDirectory() });
  assert.ok(code > 0);
  assert.match(output, /absent\.toml/);
});

test('check-config accepts a good config', async () => {
  const { code, output } = await run(['check-config', '--config', 'parlance.toml'], configured('[limits]\nhistory_page_max = 100\n'));
  assert.equal(code, 0, output);
});

test('wrong values in the environment are named by their variable', async () => {
  const { code, output } = await run(['serve'], {
    cwd: temporaryDirectory(),
    env: { PORT: 'http', JWT_SECRET: 'short', DATABASE_URL: 'carrier-pigeon://loft' },
  });
  assert.ok(code > 0);
  for (const name of ['PORT', 'JWT_SECRET', 'DATABASE_URL']) assert.ok(output.includes(name), `${name} is not named in:\n${output}`);
  assert.ok(!output.includes('short\n') && !output.includes('"short"'), 'a secret is not printed');
});

test('a port in use stops the start and is named', async () => {
  const holder = createServer();
  await new Promise((listening) => holder.listen(0, '0.0.0.0', listening));
  owned({ close: () => new Promise((closed) => holder.close(closed)) });
  const { port } = holder.address();
  const cwd = temporaryDirectory();
  const env = { PORT: String(port), JWT_SECRET: SECRET, DATABASE_URL: `sqlite:${join(cwd, 'chat.db')}` };
  const { code, output } = await run(['serve'], { cwd, env });
  assert.ok(code > 0);
  assert.ok(output.includes(String(port)), output);
  assert.match(output, /in use/i);
  assert.doesNotMatch(output, /panicked/);
});

test('an invalid component stops the start and is named', async () => {
  const options = configured('[handlers.event]\ncomponent = "letter.wasm"\n');
  writeFileSync(join(options.cwd, 'letter.wasm'), 'Dear reader, this is no component.');
  options.env.PORT = '0';
  const { code, output } = await run(['serve', '--config', 'parlance.toml'], options);
  assert.ok(code > 0);
  assert.match(output, /letter\.wasm/);
  assert.doesNotMatch(output, /panicked/);
});
