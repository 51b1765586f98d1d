// The chat page with the features of host/features.md that need other handlers, a back end or an operator.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { ADMIN_TOKEN, admin, operate } from './lib/admin.mjs';
import { profile, skipped, startBrowser, Tab } from './lib/browser.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { example } from './lib/examples.mjs';
import { test as scoped } from './lib/scope.mjs';
import { guest, startServer } from './lib/server.mjs';
import { eventually } from './lib/wait.mjs';

const test = (name, body) => scoped(name, { skip: skipped }, body);
const component = skipped || join(await example('team'), 'target/components/team.wasm');
const handlers = Object.fromEntries(['message', 'room', 'connect', 'event'].map((event) => [event, { component, name: 'team' }]));
const server = skipped || (await startServer({
  command: 'dev',
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: {
    store: { retention_every: '100ms' },
    retention: { rooms: [{ prefix: 'short', count: 3 }] },
    grants: { moderate: true },
    handlers,
  },
}));
const browser = skipped || (await startBrowser());

const openTab = async (on = server) => Tab.open(await profile(browser), on);
const entryOf = (tab, room) => tab.page.locator('#rooms li', { hasText: `# ${room}` });
const top = (tab, text) => tab.page.locator('#top', { hasText: text }).waitFor();

/** Makes a room of alice's, and opens it in the tab of a user whom she has invited. */
async function invited() {
  const alice = await connect(server, 'alice');
  const { room: { roomId: room } } = await alice.askOk('create-room', 'Lunch');
  const tab = await openTab();
  await alice.askOk('invite', room, await tab.me());
  await entryOf(tab, room).getByRole('button').click();
  return { room, alice, tab, me: await tab.me() };
}

test('an invitation brings the room, with what the bot has said there, and nobody else can read it', async () => {
  const { room, tab, me } = await invited();
  await tab.shows(["alice's name made the room Lunch", `alice's name invited ${me}`]);
  assert.deepEqual(await tab.page.locator('#messages .name').allTextContents(), ['team']);
  const eve = await openTab();
  await eve.enter(room);
  await top(eve, 'This room cannot be read: there is no such room, or you are not invited (not-found)');
  assert.deepEqual(await eve.texts(), []);
  await entryOf(eve, room).filter({ hasText: 'refused' }).waitFor();
  assert.deepEqual([tab.faults, eve.faults], [[], []]);
});

test('a room in which the user was mentioned has a badge until it is read', async () => {
  const { room, alice, tab, me } = await invited();
  await tab.enter(freshRoom());
  await alice.post(room, 'soup?');
  await alice.post(room, `@${me}?`);
  await entryOf(tab, room).locator('.badge.mentions', { hasText: '@1' }).waitFor();
  await entryOf(tab, room).getByRole('button').click();
  await tab.page.locator('#messages .mention.me').waitFor();
  await entryOf(tab, room).locator('.badge').first().waitFor({ state: 'detached' });
});

test('a message of a muted user says why it waits, and is posted when the mute has ended', async () => {
  const { room, alice, tab, me } = await invited();
  await alice.askOk('mute', room, me, 5);
  await tab.write('hello?');
  await tab.page.locator('.outgoing .meta', { hasText: 'tried again: you are muted (rate-limited)' }).waitFor();
  const { content, userId } = await alice.next('new-message', (message) => message.userId === me);
  assert.deepEqual([content, userId], ['hello?', me]);
  await tab.page.locator('#messages [data-seq] .text', { hasText: 'hello?' }).waitFor();
});

test('slow mode: a second message says why it waits, and follows', async () => {
  const config = { handlers: { message: { component: guest('slow-mode'), settings: { seconds: '8' } } } };
  const tab = await openTab(await startServer({ command: 'dev', config }));
  await tab.enter(freshRoom());
  for (const text of ['one', 'two']) await tab.write(text);
  await tab.page.locator('.outgoing .meta', { hasText: /tried again: slow mode is on.* \(rate-limited\)/ }).waitFor();
  assert.deepEqual([await tab.texts(), await tab.outgoing()], [['one'], ['two']]);
  await tab.shows(['one', 'two']);
});

test('a banned user is told so, and comes back when the ban is lifted', async () => {
  const { room, alice, tab, me } = await invited();
  await alice.askOk('ban', room, me, 3600);
  await top(tab, 'You were removed from this room: you are banned from the room');
  await entryOf(tab, room).filter({ hasText: 'refused' }).waitFor();
  await alice.post(room, 'meanwhile');
  await alice.askOk('unban', room, me);
  await alice.askOk('invite', room, me);
  await tab.page.getByRole('button', { name: 'Leave' }).click();
  await tab.enter(room);
  await tab.page.locator('#messages .text', { hasText: 'meanwhile' }).waitFor();
});

test('a bot of a back end has its name, and what it changes shows', async () => {
  const room = freshRoom();
  const tab = await openTab();
  await tab.enter(room);
  const api = admin(server);
  const { id } = await api.requestOk('POST', `/tenants/default/rooms/${room}/messages`, { body: { bot: 'deploys', content: 'v7 is live' } });
  await tab.shows(['v7 is live']);
  assert.deepEqual(await tab.page.locator('#messages .name').allTextContents(), ['deploys']);
  await api.requestOk('PATCH', `/tenants/default/messages/${id}`, { body: { content: 'v8 is live' } });
  await tab.shows(['v8 is live']);
});

test('messages of an erased user are gone from a page that shows them, and from one that is opened later', async () => {
  const room = freshRoom();
  const tab = await openTab();
  await tab.enter(room);
  const bob = await connect(server, 'bob');
  await bob.join(room);
  await bob.post(room, 'written by bob');
  await tab.shows(['written by bob']);
  assert.equal((await operate(server, ['erase-user', 'bob'])).code, 0);
  await tab.shows(['This message was deleted.']);
  const later = await openTab();
  await later.enter(room);
  await later.shows(['This message was deleted.']);
  assert.deepEqual(await later.page.locator('#messages .name').allTextContents(), ['bob'], 'the id, and not the name');
});

test('messages that retention removes stay on the page until it is loaded again, and the room begins later', async () => {
  const room = freshRoom('short');
  const tab = await openTab();
  await tab.enter(room);
  const texts = ['one', 'two', 'three', 'four', 'five'];
  for (const text of texts) await tab.write(text);
  await tab.shows(texts);
  const bob = await connect(server, 'bob');
  await bob.join(room);
  await eventually(async () => (await bob.history(room)).length === 3, 'the newest three messages');
  await tab.shows(texts);
  await tab.page.reload();
  await tab.shows(texts.slice(2));
  await top(tab, 'This is where the room begins.');
  assert.deepEqual(await tab.seqs(), [3, 4, 5]);
});
