// A handler in Rust, from `parlance new` to a canary.
import { authorLoop } from './lib/author.mjs';
import { test } from './lib/scope.mjs';

test('an author in Rust: new, dev, a mistake, a swap, deploy, canary', async (t) => {
  const timing = await authorLoop({
    language: 'rust',
    main: 'src/lib.rs',
    breaking: ['let words =', 'let words: u32 ='],
    says: /mismatched types[\s\S]*src\/lib\.rs:\d+:\d+/,
  });
  t.diagnostic(timing);
});
