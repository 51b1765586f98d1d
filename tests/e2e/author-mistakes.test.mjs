// What an author is told when something is missing or wrong, before there is anything to serve.
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { barePath, newProject } from './lib/author.mjs';
import { test } from './lib/scope.mjs';
import { BINARY, cleanEnvironment, run, temporaryDirectory } from './lib/server.mjs';

/** Runs a command that must be refused, and checks what it says. */
async function refused(args, says, { code = 2, ...options } = {}) {
  const result = await run(args, options);
  assert.equal(result.code, code, `${args.join(' ')}: ${result.output}`);
  assert.match(result.output, says);
}

test('new: names that no handler can have are refused, and so is what is there already', async () => {
  const cwd = temporaryDirectory();
  mkdirSync(join(cwd, 'taken'));
  const cases = [
    [['Greeter', '--lang', 'ts'], /the name "Greeter": .*lower-case letters/],
    [['gree_ter', '--lang', 'ts'], /lower-case letters/],
    [['7up', '--lang', 'js'], /must begin with a letter/],
    [['fn', '--lang', 'rust'], /a crate cannot have the name "fn"/],
    [['taken', '--lang', 'python'], /taken exists already/],
    [['greeter'], /the language is missing: add --lang rust, --lang ts, --lang js or --lang python/],
    [['greeter', '--lang', 'cobol'], /possible values: rust, ts, js, python/],
  ];
  for (const [args, says] of cases) await refused(['new', ...args], says, { cwd });
  assert.ok(!existsSync(join(cwd, 'greeter')) && !existsSync(join(cwd, 'Greeter')));
});

test('a path without a handler is refused with what would be one', async () => {
  const cwd = temporaryDirectory();
  for (const command of ['build', 'dev', 'deploy']) await refused([command, '.'], /has no handler: .*parlance new NAME/, { cwd });
  for (const command of ['build', 'dev']) await refused([command, 'nowhere'], /nowhere does not exist/, { cwd });
  writeFileSync(join(cwd, 'Cargo.toml'), '[workspace]\n');
  await refused(['build', '.'], /is not the crate of a handler: .*crate-type = \["cdylib"\]/, { cwd });
  const broken = temporaryDirectory();
  writeFileSync(join(broken, 'package.json'), '{ "main": "src/handler.ts" }');
  await refused(['build', '.'], /package\.json: the main module "src\/handler\.ts" does not exist/, { cwd: broken });
  writeFileSync(join(broken, 'package.json'), '{ "main": ');
  await refused(['build', '.'], /package\.json: .*line 1/, { cwd: broken });
});

test('without a tool chain, build and dev say what is missing and how to get it', async () => {
  const path = barePath();
  const env = { PATH: path };
  const rust = await newProject('rust');
  for (const command of ['build', 'dev']) {
    await refused([command], /Rust is not installed: .*rustup target add wasm32-unknown-unknown/, { cwd: rust, env });
  }
  const python = await newProject('python');
  await refused(['build'], /Python is not installed: .*apt-get install python3 python3-venv/, { cwd: python, env });
  const alone = join(temporaryDirectory(), 'parlance');
  copyFileSync(BINARY, alone);
  const typescript = await newProject('ts');
  const { status, stderr } = spawnSync(alone, ['build'], { cwd: typescript, env: { ...cleanEnvironment(), ...env }, encoding: 'utf8' });
  assert.equal(status, 2, stderr);
  assert.match(stderr, /TypeScript handlers are built by parlance-js, which is neither beside parlance nor on the search path/);
});

test('Python sources without a handler are refused with the decorators', async () => {
  const dir = await newProject('python');
  writeFileSync(join(dir, 'src/handler.py'), 'def moderate(context, message):\n    pass\n');
  await refused(['build'], /src\/handler\.py: no function has a handler's decorator; .*@on_message/, { cwd: dir, code: 1 });
});
