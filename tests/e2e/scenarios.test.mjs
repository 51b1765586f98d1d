// `parlance test` and `parlance fuzz`: what the terminal shows, exit codes, and running again on a change.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { owned, test } from './lib/scope.mjs';
import { guest, Process, run, temporaryDirectory } from './lib/server.mjs';

const scenario = (expect) => `handlers:
  hostile: {component: ${guest('hostile')}}
cases:
  - name: one
    events:
      - event: {kv-get: [{key: k}]}
        expect: ${expect}
`;

function written(text) {
  const cwd = temporaryDirectory();
  const file = join(cwd, 'one.yaml');
  writeFileSync(file, text);
  return { cwd, file };
}

test('a case that is as expected passes', async () => {
  const { cwd, file } = written(scenario('{ok: true}'));
  const { code, stdout } = await run(['test', file, '--junit', 'report.xml'], { cwd });
  assert.equal(code, 0, stdout);
  assert.match(stdout, /1 case: 1 passed, 0 failed/);
  assert.match(readFileSync(join(cwd, 'report.xml'), 'utf8'), /<testcase name="one"/);
});

test('a case that is not as expected shows the difference without colours, and the exit code is 1', async () => {
  const { cwd, file } = written(scenario('{ok: false}'));
  const { code, stdout, output } = await run(['test', file], { cwd });
  assert.equal(code, 1, output);
  assert.match(stdout, /failed one .*one\.yaml:4\n.*event 1 \(event "kv-get"\): expect\.ok .*one\.yaml:7\n.*- expected: false\n.*\+ actual: {3}true/);
  assert.ok(!stdout.includes('\x1b'), stdout);
});

test('a file that is wrong has the exit code 2', async () => {
  const { cwd, file } = written('cases:\n  - nam: one\n');
  const { code, output } = await run(['test', file], { cwd });
  assert.equal(code, 2, output);
  assert.match(output, /one\.yaml:2: the key `nam` is unknown; did you mean `name`\?/);
  const none = await run(['test'], { cwd });
  assert.equal(none.code, 2);
  assert.match(none.output, /scenarios names no scenario file/);
});

test('--update rewrites what does not hold', async () => {
  const { cwd, file } = written(scenario('{ok: false}   # why'));
  const updated = await run(['test', file, '--update'], { cwd });
  assert.equal(updated.code, 0, updated.output);
  assert.match(readFileSync(file, 'utf8'), /expect: \{ok: true\} {3}# why/);
  assert.equal((await run(['test', file], { cwd })).code, 0);
});

test('--watch runs again when the file changes', async () => {
  const { cwd, file } = written(scenario('{ok: false}'));
  const watching = owned(new Process(['test', file, '--watch'], { cwd }));
  await watching.waitForOutput(/1 failed[\s\S]*waiting for changes/);
  writeFileSync(file, scenario('{ok: true}'));
  await watching.waitForOutput(/1 passed[\s\S]*waiting for changes/);
});

test('fuzz writes a scenario on which test then fails', async () => {
  const { cwd, file } = written(scenario('{ok: true}').replace('cases:', 'invariants:\n  - keys: {hostile: {k: null}}\ncases:')
    .replace('kv-get', 'kv-set-then-ok'));
  const fuzz = (...args) => run(['fuzz', file, '--seed', '1', '--seconds', '60', ...args], { cwd });
  const { code, stdout, output } = await fuzz();
  assert.equal(code, 1, output);
  assert.match(stdout, /invariants\[0\]\.keys\.hostile\.k does not hold/);
  assert.ok(existsSync(join(cwd, 'fuzz-1.yaml')));
  const again = await run(['test', 'fuzz-1.yaml'], { cwd });
  assert.equal(again.code, 1, again.output);
  // In the directory of scenarios, if there is one, from where it finds the component too.
  mkdirSync(join(cwd, 'scenarios'));
  assert.equal((await fuzz()).code, 1);
  assert.match(readFileSync(join(cwd, 'scenarios/fuzz-1.yaml'), 'utf8'), /component: ["']?\.\.\//);
  const usual = await run(['test'], { cwd });
  assert.deepEqual([usual.code, /fuzz-1\.yaml: 0 of 1 case passed/.test(usual.output)], [1, true], usual.output);
  const nowhere = await fuzz('--output', 'missing/found.yaml');
  assert.equal(nowhere.code, 2);
  assert.match(nowhere.output, /the directory missing, .* does not exist/);
});
