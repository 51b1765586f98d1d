// A handler in JavaScript, from `parlance new` to a canary.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { addRequestsInJs, addTimerInJs, assertKeys, assertRequests, assertTimer, authorLoop, DevServer, edit, newProject, webService } from './lib/author.mjs';
import { profile, skipped, startBrowser, Tab } from './lib/browser.mjs';
import { connect } from './lib/client.mjs';
import { test } from './lib/scope.mjs';

/** What the handler does at the event `keys`. */
const KEYS = `  if (name === 'keys') {
    const [guests, points] = [new KvSet('guests', 'tea'), new KvMap('points')];
    const set = [kv.setIfAbsent('first', 'a'), kv.setIfAbsent('first', 'b'), kv.swap('first', 'a', 'c')];
    const added = [guests.add('bob'), guests.add('bob')];
    guests.add('alice');
    points.set('bob', 1);
    points.key('bob').update((value = 0) => value + 2);
    const scanned = kv.scan('guests/').map(({ key }) => key);
    return { set, added, guests: [...guests], points: [...points], scanned };
  }
`;

test('an author in JavaScript: new, dev, a mistake, a swap, deploy, canary', async (t) => {
  const service = await webService();
  const timing = await authorLoop({
    language: 'js',
    main: 'src/handler.js',
    breaking: ['const words =', 'const words = ='],
    says: /src\/handler\.js:\d+:\d+/,
    grants: [service],
    changed: (dir) => {
      const source = join(dir, 'src/handler.js');
      edit(source, 'messages, NotFound', 'kv, KvMap, KvSet, messages, NotFound');
      edit(source, "  if (name !== 'hello')", `${KEYS}  if (name !== 'hello')`);
      addTimerInJs(source);
      addRequestsInJs(source);
    },
    served: async (client) => {
      await assertKeys(client);
      await assertTimer(client);
      await assertRequests(client, service);
    },
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

test('a project has one set of keys and settings in development, whichever interfaces its configuration names', async () => {
  const dir = await newProject('js');
  writeFileSync(join(dir, 'src/handler.js'), `
    import { kv, messages, settings } from 'parlance-handlers';
    export const onMessage = (_context, message) => messages.post(message);
    export const onTyping = () => kv.set('typed', settings.get('words') ?? 'no setting');
    export const onEvent = () => kv.getText('typed');
  `);
  const dev = await new DevServer(dir).listens();
  const ann = await connect(dev, 'ann');
  await ann.join('general');
  await ann.askOk('typing', 'general', true);
  assert.equal(await ann.ask('typed'), 'darn blast');
});
