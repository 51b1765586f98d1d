// What the chat page shows of messages, in a real browser: links, mentions, readers, and why a message waits.
import assert from 'node:assert/strict';
import { profile, skipped, startBrowser, Tab } from './lib/browser.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test as scoped } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';

const test = (name, body) => scoped(name, { skip: skipped }, body);
const adding = { handlers: { hostile: { component: guest('hostile'), events: ['append-then-ok'] } } };
const server = skipped || (await startServer({ command: 'dev', config: adding }));
const browser = skipped || (await startBrowser());

/** Two users in a room. */
async function two(on = server, room = freshRoom()) {
  const tabs = [];
  for (let n = 0; n < 2; n += 1) {
    const tab = await Tab.open(await profile(browser), on);
    await tab.enter(room);
    tabs.push(tab);
  }
  return tabs;
}

const ownName = (tab) => tab.page.locator('#me .name').evaluate((node) => node.firstChild.textContent);

test('addresses of the web can be followed, beside the chat, and nothing else can', async () => {
  const [ann, bob] = await two();
  const text = `see ${server.url}/icon.svg, javascript:alert(1) and <a href="${server.url}/">this</a>`;
  await ann.write(text);
  await bob.shows([text]);
  const links = bob.page.locator('#messages a');
  assert.deepEqual(await links.evaluateAll((all) => all.map(({ href, target, rel }) => [href, target, rel])), [
    [`${server.url}/icon.svg`, '_blank', 'noopener noreferrer'],
    [`${server.url}/`, '_blank', 'noopener noreferrer'],
  ]);
  const [opened] = await Promise.all([bob.page.waitForEvent('popup'), links.first().click()]);
  await opened.waitForURL(`${server.url}/icon.svg`);
  assert.deepEqual(await opened.evaluate(() => [window.opener, document.referrer]), [null, '']);
  assert.deepEqual([ann.faults, bob.faults], [[], []]);
});

test('what can be done with a message stays open while the message changes', async () => {
  const [ann, bob] = await two();
  await ann.write('one');
  await bob.shows(['one']);
  const first = (tab) => tab.page.locator('#messages [data-seq="1"]');
  await first(bob).locator('summary').click();
  await first(ann).locator('summary').click();
  await first(ann).getByRole('button', { name: '🎉', exact: true }).click();
  await first(bob).locator('.mark', { hasText: '🎉 1' }).waitFor();
  await first(bob).getByRole('button', { name: '👍', exact: true }).click();
  await first(ann).locator('.mark', { hasText: '👍 1' }).waitFor();
});

test('text that is added to a message shows as it comes, and is no edit', async () => {
  const room = freshRoom();
  const [ann, bob] = await two(server, room);
  await ann.write('one');
  await bob.shows(['one']);
  const bot = await connect(server, 'writer');
  const { messages: [{ id }] } = await bot.askOk('join-room', room, { last: 1 });
  await bot.askOk('append-then-ok', { messageId: id });
  await bob.shows(['one and more']);
  await bot.askOk('append-then-ok', { messageId: id, count: 1 });
  for (const tab of [ann, bob]) await tab.shows(['one and more and more']);
  assert.doesNotMatch(await bob.page.locator('#messages [data-seq="1"] .meta').innerText(), /edited/);
});

test('a mention is highlighted, that of the reader more so', async () => {
  const [ann, bob] = await two();
  const [annName, bobName] = [await ownName(ann), await ownName(bob)];
  await bob.write(`@${annName}: hello, says @${bobName}, not @nobody`);
  const mentions = async (tab) => {
    await tab.page.locator('#messages .mention').nth(1).waitFor();
    return tab.page.locator('#messages .mention').evaluateAll((all) => all.map((node) => [node.textContent, node.classList.contains('me')]));
  };
  assert.deepEqual(await mentions(ann), [[`@${annName}`, true], [`@${bobName}`, false]]);
  assert.deepEqual(await mentions(bob), [[`@${annName}`, false], [`@${bobName}`, true]]);
});

test('each own message says by how many it was read, and the newest by whom', async () => {
  const [ann, bob] = await two();
  await ann.write('one');
  await ann.write('two');
  await ann.page.locator('.ticks').getByText(`✓✓ Read by ${await ownName(bob)}`, { exact: true }).waitFor();
  const ticks = await ann.page.locator('.ticks').evaluateAll((all) => all.map((node) => node.firstChild.textContent));
  assert.deepEqual(ticks, ['✓✓ 1', `✓✓ Read by ${await ownName(bob)}`]);
});

test('below a message that waits stands why it was refused', async () => {
  const own = await startServer({ command: 'dev', config: { limits: { events_per_second: 1, event_burst: 12 } } });
  const [ann] = await two(own);
  for (let n = 0; n < 16; n += 1) await ann.write(`line ${n}`);
  await ann.page.locator('.outgoing .meta', { hasText: /tried again: .+ \(rate-limited\)/ }).waitFor();
  await ann.page.locator('[data-seq="16"]').waitFor({ timeout: 60_000 });
  assert.deepEqual(await ann.texts(), Array.from({ length: 16 }, (_, n) => `line ${n}`));
});

test('a member finds the room with its unread messages, on whichever device it was joined', async () => {
  const lasting = await startServer({ command: 'dev', config: { handlers: { room: { settings: { members: 'lasting' } } } } });
  const room = freshRoom();
  const ann = await Tab.open(await profile(browser), lasting);
  await ann.enter(freshRoom());
  const phone = await connect(lasting, await ann.me());
  await phone.join(room);
  const entry = ann.page.locator('#rooms li', { hasText: `# ${room}` });
  await entry.waitFor();
  const bob = await connect(lasting, 'bob');
  await bob.join(room);
  for (const text of ['one', 'two']) await bob.post(room, text);
  await entry.filter({ hasText: '2 unread' }).waitFor();
  const { members: [first] } = await bob.askOk('room-members', { roomId: room });
  assert.equal(first.readUpTo, 0);
  await entry.getByRole('button').click();
  await ann.shows(['one', 'two']);
  await phone.next('unread-changed', ({ roomId, unread, readUpTo }) => roomId === room && unread === 0 && readUpTo === 2);
  await entry.filter({ hasNotText: 'unread' }).waitFor();
  await ann.page.getByRole('button', { name: 'Leave' }).click();
  await entry.waitFor({ state: 'detached' });
  await phone.next('unread-changed', ({ roomId, role }) => roomId === room && role === null);
  assert.equal(await entry.count(), 0);
  assert.deepEqual(ann.faults, []);
});
