// A handler in TypeScript, from `parlance new` to a canary, and on a machine with nothing but Parlance.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { addRequestsInJs, addTimerInJs, assertRequests, assertTimer, authorLoop, barePath, DevServer, newProject, webService } from './lib/author.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';

test('an author in TypeScript: new, dev, a mistake, a swap, deploy, canary', async (t) => {
  const service = await webService();
  const timing = await authorLoop({
    language: 'ts',
    main: 'src/handler.ts',
    breaking: ['const words =', 'const words: = '],
    says: /src\/handler\.ts:\d+:\d+/,
    grants: [service],
    changed: (dir) => {
      const source = join(dir, 'src/handler.ts');
      addTimerInJs(source);
      addRequestsInJs(source);
    },
    served: async (client) => {
      await assertTimer(client);
      await assertRequests(client, service);
    },
  });
  t.diagnostic(timing);
});

test('TypeScript on a machine without Node.js, npm or any compiler', async (t) => {
  const begun = performance.now();
  const path = barePath();
  const dir = await newProject('ts', { path });
  const dev = await new DevServer(dir, { path }).listens();
  const [ann, bob, room] = [await connect(dev, 'ann'), await connect(dev, 'bob'), freshRoom()];
  for (const client of [ann, bob]) await client.join(room);
  await ann.post(room, 'first');
  await bob.next('new-message');
  t.diagnostic(`from parlance new to the first message: ${((performance.now() - begun) / 1000).toFixed(1)} s`);
  assert.deepEqual(await ann.ask('hello'), { greeting: "Hello, ann's name!" });
});
