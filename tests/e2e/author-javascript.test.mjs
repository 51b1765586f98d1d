// A handler in JavaScript, from `parlance new` to a canary.
import { join } from 'node:path';
import { authorLoop, DevServer, edit, newProject, TIMER_IN_JS, withTimer } from './lib/author.mjs';
import { profile, skipped, startBrowser, Tab } from './lib/browser.mjs';
import { test } from './lib/scope.mjs';

test('an author in JavaScript: new, dev, a mistake, a swap, deploy, canary, with a timer', async (t) => {
  const timing = await authorLoop({
    language: 'js',
    main: 'src/handler.js',
    breaking: ['const words =', 'const words = ='],
    says: /src\/handler\.js:\d+:\d+/,
    ...withTimer('src/handler.js', TIMER_IN_JS),
  });
  t.diagnostic(timing);
});

test('a mistake is on the page until it is mended', { skip: skipped }, async () => {
  const dir = await newProject('js');
  const dev = await new DevServer(dir).listens();
  const tab = await Tab.open(await profile(await startBrowser()), dev);
  const shown = tab.page.locator('#build-problem');
  const source = join(dir, 'src/handler.js');
  edit(source, 'const words =', 'const words = =');
  await shown.filter({ hasText: /src\/handler\.js:\d+:\d+/ }).waitFor();
  edit(source, 'const words = =', 'const words =');
  await shown.waitFor({ state: 'hidden' });
});
