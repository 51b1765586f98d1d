// A handler in Rust, from `parlance new` to a canary.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertFailed } from './lib/assert.mjs';
import { authorLoop, edit } from './lib/author.mjs';
import { test } from './lib/scope.mjs';
import { eventually } from './lib/wait.mjs';

/** A function that the handler calls for the event `fail`. */
const CALL = 'fail(name);';
const FAIL = 'panic!("told to {name}");';

test('an author in Rust: new, dev, a mistake, a swap, deploy, canary, and traps with the lines of the source', async (t) => {
  let lines;
  const timing = await authorLoop({
    language: 'rust',
    main: 'src/lib.rs',
    breaking: ['let words =', 'let words: u32 ='],
    says: /mismatched types[\s\S]*src\/lib\.rs:\d+:\d+/,
    changed: (dir) => {
      const source = join(dir, 'src/lib.rs');
      edit(source, 'if name != "hello" {', `if name == "fail" {\n            ${CALL}\n        }\n        if name != "hello" {`);
      edit(source, 'parlance_guest::export!', `fn fail(name: &str) {\n    ${FAIL}\n}\n\nparlance_guest::export!`);
      const all = readFileSync(source, 'utf8').split('\n');
      lines = [FAIL, CALL].map((text) => all.findIndex((line) => line.includes(text)) + 1);
    },
    // In a frame of its own or inlined into the handler's: the function's line, and that of its call.
    served: async (client, server) => {
      assertFailed(await client.ask('fail'), 'handler-failed');
      const [own, called] = lines.map((line) => new RegExp(`\\n +\\d+: .* at .*src/lib\\.rs:${line}(, inlined at | \\(0x)`));
      await eventually(() => own.test(server.log) && called.test(server.log), () => `src/lib.rs:${lines} in ${server.log}`);
    },
    // As guest-handlers/README.md says.
    deploys: (dir) => edit(join(dir, 'Cargo.toml'), '[profile.release]', '[package.metadata.parlance]\nlines = true\n\n[profile.release]'),
  });
  t.diagnostic(timing);
});
