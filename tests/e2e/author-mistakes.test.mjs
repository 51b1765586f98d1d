// What an author is told when something is missing or wrong.
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { barePath, newProject } from './lib/author.mjs';
import { ROOT, blocks } from './lib/guides.mjs';
import { test } from './lib/scope.mjs';
import { BINARY, cleanEnvironment, guest, run, temporaryDirectory } from './lib/server.mjs';

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

// The page of mistakes: each is made with the source that the page shows, and has the message that the page shows.
const PAGE = 'guest-handlers/mistakes.md';
const shownIn = (title) => blocks(PAGE).filter(({ heading }) => heading === `## ${title}`);

/** Puts the source of a section into a directory, under the name in its first line. Returns that name. */
function makeSource(cwd, title) {
  const { code } = shownIn(title)[0];
  const [, name] = code.match(/^(?:\/\/|#) (\S+)\n/);
  writeFileSync(join(cwd, name), code);
  return name;
}

/** What a command says, with lines of the log as the handler wrote them. */
async function says(args, options) {
  const { output } = await run(args, options);
  return output.split('\n').map((line) => line.replace(/^ +(?:parlance: )?the handler logged \(\w+\): /, '').replace(/^ +(the handler was stopped)/, '$1').replace(/^parlance: /, '')).join('\n');
}

/** Builds the source of a section. */
async function built(cwd, title) {
  return says(['build', makeSource(cwd, title)], { cwd });
}

/** Mistakes that show when the handler runs: one component makes all of them, since compiling one takes seconds. */
async function ran(titles) {
  const cwd = temporaryDirectory();
  const names = titles.map((title) => makeSource(cwd, title));
  const imports = names.map((name, n) => `import { onEvent as made${n} } from './${name}';\n`);
  const made = names.map((_, n) => `made${n}`);
  writeFileSync(join(cwd, 'all.js'), `${imports.join('')}const made = [${made}];\nexport const onEvent = (context, name, args) => made[name](context, name, args);\n`);
  const cases = names.map((name, n) => `  - {name: ${name}, events: [{event: {"${n}": [darn]}, expect: {ok: true}}]}\n`);
  writeFileSync(join(cwd, 'all.yaml'), `handlers: {all: {component: all.js}}\ncases:\n${cases.join('')}`);
  return says(['test', 'all.yaml'], { cwd });
}

/** What each section's mistake makes Parlance say. */
async function allMade() {
  const cwd = temporaryDirectory();
  const runtime = ['A value of the wrong type', 'A forgotten await', 'A loop without end', 'Too large a reply'];
  const compiled = ['No handler is exported', 'A text is thrown', 'The time at the top level', 'Importing fs', 'A mistake of syntax'];
  const output = await ran(runtime);
  const said = new Map(runtime.map((title) => [title, output]));
  for (const title of compiled) said.set(title, await built(cwd, title));

  const other = Buffer.from(readFileSync(guest('stamped'), 'latin1').replaceAll('@0.1.0', '@0.2.0'), 'latin1');
  writeFileSync(join(cwd, 'other.wasm'), other);
  said.set('Another version of the interfaces', await says(['inspect', 'other.wasm'], { cwd }));

  copyFileSync(guest('web'), join(cwd, 'web.wasm'));
  said.set('Nothing is granted', await says(['test', makeSource(cwd, 'Nothing is granted')], { cwd }));

  const path = barePath();
  writeFileSync(join(path, 'python3'), '#!/bin/sh\necho Python 3.9.2\n', { mode: 0o755 });
  const old = makeSource(cwd, 'Another version of the language');
  said.set('Another version of the language', await says(['build', old], { cwd, env: { PATH: path } }));
  return said;
}

test('the page of mistakes has the messages that are given', async () => {
  const titles = readFileSync(join(ROOT, PAGE), 'utf8').match(/^## .*$/gm).map((heading) => heading.slice(3));
  assert.equal(titles.length, 12);
  const said = await allMade();
  for (const title of titles) {
    const message = shownIn(title).find(({ language }) => language === 'text').code;
    assert.ok(said.get(title)?.includes(message), `## ${title}: ${said.get(title)}`);
  }
});
