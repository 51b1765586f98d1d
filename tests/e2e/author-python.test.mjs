// A handler in Python, from `parlance new` to a canary.
import { authorLoop } from './lib/author.mjs';
import { test } from './lib/scope.mjs';

test('an author in Python: new, dev, a mistake, a swap, deploy, canary', async (t) => {
  const timing = await authorLoop({
    language: 'python',
    main: 'src/handler.py',
    breaking: ['words = settings', 'words == = settings'],
    says: /handler\.py[^\n]*line \d+[\s\S]*SyntaxError/,
  });
  t.diagnostic(timing);
});
