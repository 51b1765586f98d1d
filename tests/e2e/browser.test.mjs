// The chat page in a real browser, with a separate user in each tab.
import assert from 'node:assert/strict';
import { profile, skipped, startBrowser, Tab } from './lib/browser.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test as scoped } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { eventually, TIMEOUT_MS } from './lib/wait.mjs';

const test = (name, body) => scoped(name, { skip: skipped }, body);
const server = skipped || (await startServer({ command: 'dev' }));
const browser = skipped || (await startBrowser());

/** Opens tabs in a new room; with `apart` each has its own profile. */
async function tabs(count, { apart = false, room = freshRoom(), ...options } = {}) {
  const opened = [];
  let context;
  for (let i = 0; i < count; i += 1) {
    if (apart || !context) context = await profile(browser, options);
    const tab = await Tab.open(context, server);
    await tab.enter(room);
    opened.push(tab);
  }
  return { room, tabs: opened };
}

function numbered(name, count) {
  return Array.from({ length: count }, (_, i) => `${name} ${i + 1}`);
}

/** Posts from outside the browser, in order. */
async function fill(room, texts) {
  const client = await connect(server, 'archivist');
  await client.join(room);
  for (const text of texts) await client.post(room, text);
  client.close();
}

function assertUnharmed(...opened) {
  assert.deepEqual(opened.flatMap((tab) => tab.faults), []);
}

test('the page works at once: three rooms, a name, somewhere to write', async () => {
  const tab = await Tab.open(await profile(browser), server);
  assert.deepEqual(await tab.page.locator('#rooms .name').allTextContents(), ['# general', '# random', '# help']);
  assert.match(await tab.page.locator('#people li').first().innerText(), /[A-Z][a-z]+ [A-Z][a-z]+/);
  await tab.write('hello');
  await tab.page.locator('#messages [data-seq] .text', { hasText: 'hello' }).waitFor();
  assertUnharmed(tab);
});

test('two tabs are two users and chat', async () => {
  const { tabs: [ann, bob] } = await tabs(2);
  assert.notEqual(await ann.me(), await bob.me());
  await ann.write('hello');
  await bob.shows(['hello']);
  await bob.write('hello yourself');
  await ann.write('how are you?');
  await ann.page.locator('#messages .own').nth(1).waitFor();
  const order = await eventually(async () => {
    const [left, right] = [await ann.texts(), await bob.texts()];
    return left.length === 3 && right.length === 3 && [left, right];
  }, 'three messages in both tabs');
  assert.deepEqual(order[0], order[1]);
  assert.deepEqual([...order[0]].sort(), ['hello', 'hello yourself', 'how are you?']);
  assert.equal(await ann.page.locator('#messages .other').count(), 1);
  assert.equal(await bob.page.locator('#messages .other').count(), 2);
  assertUnharmed(ann, bob);
});

test('typing shows while someone types, and ends with the message', async () => {
  const { tabs: [ann, bob] } = await tabs(2);
  const name = await bob.page.locator('#me .name').evaluate((node) => node.firstChild.textContent);
  await bob.composer().pressSequentially('on my w');
  await ann.page.locator('#typing', { hasText: `${name} is typing` }).waitFor();
  await bob.composer().press('Enter');
  await ann.shows(['on my w']);
  await ann.page.waitForFunction(() => document.querySelector('#typing').textContent === '');
  assert.equal(await bob.page.locator('#typing').textContent(), '');
});

test('presence shows users who connect, are away, change their name and leave', async () => {
  const { tabs: [ann, bob] } = await tabs(2);
  const who = await bob.me();
  const entry = ann.page.locator(`#people [data-user="${who}"]`);
  await ann.page.locator(`#people [data-user="${who}"][data-status=online]`).waitFor();

  // A headless tab is never hidden, so simulate it.
  const hide = (state) => bob.page.evaluate((value) => {
    Object.defineProperty(document, 'visibilityState', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);
  await hide('hidden');
  await ann.page.locator(`#people [data-user="${who}"][data-status=away]`).waitFor();
  await hide('visible');
  await ann.page.locator(`#people [data-user="${who}"][data-status=online]`).waitFor();

  await bob.page.locator('#me').click();
  await bob.page.getByRole('textbox', { name: 'Name' }).fill('Bobby <b>Tables</b>');
  await bob.page.getByRole('button', { name: 'Save' }).click();
  await entry.getByText('Bobby <b>Tables</b>').waitFor();
  await bob.page.locator(`#people [data-user="${who}"]`, { hasText: 'Bobby <b>Tables</b>' }).waitFor();

  await bob.page.close();
  await entry.waitFor({ state: 'detached' });
  assertUnharmed(ann, bob);
});

test('a message is ticked as posted, then with its readers', async () => {
  const { tabs: [ann, bob] } = await tabs(2, { apart: true });
  const name = await bob.page.locator('#me .name').evaluate((node) => node.firstChild.textContent);
  await bob.page.locator('#rooms button', { hasText: 'general' }).click();
  await ann.write('seen this?');
  await ann.shows(['seen this?']);
  assert.equal(await ann.page.locator('.ticks').textContent(), '✓');
  const unread = bob.page.locator('#rooms li', { hasText: '1 unread' });
  await unread.waitFor();
  await unread.getByRole('button').click();
  await ann.page.locator('.ticks', { hasText: `Read by ${name}` }).waitFor();
  await unread.waitFor({ state: 'detached' });
});

test('a message is edited, reacted to and deleted, and every tab shows it, one that was away too', async () => {
  const { tabs: [ann, bob] } = await tabs(2, { apart: true });
  await ann.write('helo');
  await ann.write('second');
  await bob.shows(['helo', 'second']);
  const first = (tab) => tab.page.locator('#messages [data-seq="1"]');
  const act = async (tab, name) => {
    await first(tab).locator('summary').click();
    await first(tab).getByRole('button', { name, exact: true }).click();
  };
  await act(ann, 'Edit');
  await ann.page.locator('#edited').fill('hello');
  await ann.page.locator('#editing').getByRole('button', { name: 'Save' }).click();
  await bob.shows(['hello', 'second']);
  assert.match(await first(bob).locator('.meta').innerText(), /edited/);
  assert.equal(await first(bob).getByRole('button', { name: 'Edit', exact: true }).count(), 0, 'it is not his');
  await act(bob, '🎉');
  const mark = (tab, pressed) => first(tab).locator(`.mark[aria-pressed="${pressed}"]`, { hasText: '🎉 1' });
  await mark(ann, false).waitFor();
  await mark(bob, true).waitFor();
  await mark(ann, false).click();
  await first(bob).locator('.mark', { hasText: '🎉 2' }).waitFor();

  await bob.page.context().setOffline(true);
  await bob.down();
  await act(ann, 'Delete');
  await ann.shows(['This message was deleted.', 'second']);
  await ann.write('third');
  await bob.page.context().setOffline(false);
  await bob.live();
  await bob.shows(['This message was deleted.', 'second', 'third']);
  assert.equal(await first(bob).locator('.mark, summary').count(), 0);
  assertUnharmed(ann, bob);
});

test('offline and back: nothing is lost, doubled or out of order', async () => {
  const { tabs: [ann, bob] } = await tabs(2, { apart: true });
  await ann.write('before');
  await bob.shows(['before']);
  await bob.page.context().setOffline(true);
  await bob.down();
  const [missed, queued] = [numbered('missed', 30), numbered('queued', 3)];
  for (const text of queued) await bob.write(text);
  for (const text of missed) await ann.write(text);
  await ann.shows(['before', ...missed]);
  assert.deepEqual(await bob.texts(), ['before']);
  assert.deepEqual(await bob.outgoing(), queued);
  assert.match(await bob.page.locator('#banner').textContent(), /offline.*3 waiting/);

  await bob.page.context().setOffline(false);
  const all = ['before', ...missed, ...queued];
  await bob.shows(all);
  await ann.shows(all);
  await bob.live();
  // A repeated message would arrive before this one.
  await bob.write('after');
  for (const tab of [ann, bob]) {
    await tab.shows([...all, 'after']);
    assert.deepEqual(await tab.seqs(), [...all, 'after'].map((_, i) => i + 1));
  }
  assertUnharmed(ann, bob);
});

test('a connection that comes and goes while both write: both see the same, each once', async () => {
  const { tabs: [ann, bob] } = await tabs(2, { apart: true });
  const network = bob.page.context();
  for (let round = 1; round <= 5; round += 1) {
    // The connection is cut without waiting, so that a message may or may not get through.
    await Promise.all([bob.write(`bob ${round}.1`), ann.write(`ann ${round}.1`), network.setOffline(true)]);
    await bob.down();
    await Promise.all([bob.write(`bob ${round}.2`), ann.write(`ann ${round}.2`), network.setOffline(false)]);
    await bob.live();
  }
  const rounds = [1, 2, 3, 4, 5].flatMap((round) => [`${round}.1`, `${round}.2`]);
  // The page considers an answer lost after 10 s and sends again, which exceeds the usual timeout.
  let seen;
  const shown = await eventually(async () => {
    const [left, right] = [await ann.texts(), await bob.texts()];
    seen = { left, right, outgoing: { ann: await ann.outgoing(), bob: await bob.outgoing() } };
    return left.length >= 20 && right.length >= 20 && seen.outgoing.bob.length === 0 && seen;
  }, () => `all messages in both tabs; they show ${JSON.stringify(seen)}`, 4 * TIMEOUT_MS);
  assert.deepEqual(shown.left, shown.right);
  for (const name of ['ann', 'bob']) {
    assert.deepEqual(shown.left.filter((text) => text.startsWith(name)), rounds.map((round) => `${name} ${round}`));
  }
  assert.deepEqual(await bob.seqs(), shown.left.map((_, i) => i + 1));
  assertUnharmed(ann, bob);
});

test('an acknowledgement lost with its connection: the message is posted once', async () => {
  const context = await profile(browser);
  let cuts = 0;
  let armed = false;
  await context.routeWebSocket(/\/socket\.io\//, (near) => {
    const far = near.connectToServer();
    let acknowledgement;
    near.onMessage((frame) => {
      const id = armed && String(frame).match(/^42(\d+)\["send-message"/)?.[1];
      if (id) [armed, acknowledgement] = [false, `43${id}[`];
      far.send(frame);
    });
    far.onMessage((frame) => {
      // After the post, the page receives nothing; once the server has acknowledged it, the connection closes.
      if (!acknowledgement) return near.send(frame);
      if (!String(frame).startsWith(acknowledgement)) return undefined;
      assert.match(String(frame), /"ok":true/);
      cuts += 1;
      return near.close();
    });
  });
  const room = freshRoom();
  const ann = await Tab.open(context, server);
  const bob = await Tab.open(await profile(browser), server);
  for (const tab of [ann, bob]) await tab.enter(room);
  armed = true;
  await ann.write('once');
  await ann.write('next');
  for (const tab of [ann, bob]) await tab.shows(['once', 'next']);
  assert.equal(cuts, 1);
});

test('more missed than one answer holds is fetched page by page', async () => {
  const { room, tabs: [ann] } = await tabs(1);
  await ann.write('before');
  await ann.shows(['before']);
  await ann.page.context().setOffline(true);
  await ann.down();
  // A page of a join has 200 messages.
  const missed = numbered('missed', 450);
  await fill(room, missed);
  await ann.page.context().setOffline(false);
  await ann.shows(['before', ...missed]);
});

test('a server that dies and restarts: acknowledged messages are there, others are sent again', async () => {
  const own = await startServer({ command: 'dev' });
  const room = freshRoom();
  const [ann, bob] = [await Tab.open(await profile(browser), own), await Tab.open(await profile(browser), own)];
  for (const tab of [ann, bob]) await tab.enter(room);
  await ann.write('before');
  await bob.shows(['before']);
  await own.kill();
  for (const tab of [ann, bob]) await tab.down();
  await ann.write('meanwhile');
  await own.restart();
  for (const tab of [ann, bob]) await tab.shows(['before', 'meanwhile']);
  assertUnharmed(ann, bob);
});

test('a reload loses nothing: room, name and unsent messages', async () => {
  const { room, tabs: [ann] } = await tabs(1);
  await ann.write('sent');
  await ann.shows(['sent']);
  const [who, context] = [await ann.me(), ann.page.context()];
  // The page loads, but gets no token until `blocked` ends: the server refuses the connection.
  let blocked = true;
  await context.route('**/dev/token', (route) => (blocked ? route.abort() : route.continue()));
  await ann.page.reload();
  await ann.page.locator('#title', { hasText: room }).waitFor();
  await ann.write('written in the dark');
  await ann.page.reload();
  await ann.page.locator('.outgoing', { hasText: 'written in the dark' }).waitFor();
  blocked = false;
  await ann.shows(['sent', 'written in the dark']);
  await ann.live();
  assert.equal(await ann.me(), who);
});

test('history loads on scroll, in order, and keeps the reader in place', async () => {
  const room = freshRoom();
  const texts = numbered('line', 180);
  await fill(room, texts);
  const { tabs: [ann] } = await tabs(1, { room });
  await ann.page.locator('#messages [data-seq="180"]').waitFor();
  assert.ok((await ann.seqs()).length < 180, 'the whole history came at once');

  const scroll = ann.page.locator('#scroll');
  for (;;) {
    const oldest = (await ann.seqs())[0];
    if (oldest === 1) break;
    const row = ann.page.locator(`[data-seq="${oldest}"]`);
    // The position of the oldest row on the screen while scrolling, and after the next page was inserted above it.
    const before = await scroll.evaluate((area, seq) => {
      area.scrollTop = 0;
      return area.querySelector(`[data-seq="${seq}"]`).getBoundingClientRect().top;
    }, oldest);
    await ann.page.waitForFunction((seq) => Number(document.querySelector('[data-seq]').dataset.seq) < seq, oldest);
    await ann.page.locator('#scroll[aria-busy=false]').waitFor();
    const after = await row.evaluate((node) => node.getBoundingClientRect().top);
    assert.ok(Math.abs(after - before) < 2, `row ${oldest} moved from ${before} to ${after}`);
  }
  assert.deepEqual(await ann.texts(), texts);
  await ann.page.getByText('This is where the room begins.').waitFor();
});

test('new messages do not move a reader of old ones, and are announced', async () => {
  const room = freshRoom();
  await fill(room, numbered('line', 60));
  const { tabs: [ann] } = await tabs(1, { room });
  await ann.page.locator('[data-seq="60"]').waitFor();
  const scroll = ann.page.locator('#scroll');
  const place = await scroll.evaluate((area) => (area.scrollTop = area.scrollHeight / 2));
  await ann.page.locator('#jump', { hasText: 'Newest' }).waitFor({ state: 'attached' });
  await fill(room, ['news']);
  await ann.page.getByRole('button', { name: '1 new' }).click();
  assert.ok(place < (await scroll.evaluate((area) => area.scrollHeight - area.clientHeight)));
  await ann.page.locator('#messages .text', { hasText: 'news' }).waitFor();
  assert.ok(await scroll.evaluate((area) => area.scrollHeight - area.scrollTop - area.clientHeight < 2));
});

test('a message that is too long is refused with code and reason, and can be shortened', async () => {
  const { tabs: [ann] } = await tabs(1);
  await ann.write('x'.repeat(16 * 1024 + 1));
  const alert = ann.page.getByRole('alert');
  await alert.waitFor();
  assert.match(await alert.innerText(), /too-large/);
  const failed = ann.page.locator('.outgoing.failed');
  assert.match(await failed.locator('.meta').innerText(), /Not sent: .+ \(too-large\)/);
  await ann.write('the next one passes');
  await ann.page.locator('[data-seq] .text', { hasText: 'the next one passes' }).waitFor();
  await failed.getByRole('button', { name: 'Edit' }).click();
  assert.equal((await ann.composer().inputValue()).length, 16 * 1024 + 1);
  await ann.write('short');
  await ann.shows(['the next one passes', 'short']);
  // A message larger than a packet would close the connection, so the page must prevent that.
  await ann.write('x'.repeat(200_000));
  await failed.waitFor();
  await failed.getByRole('button', { name: 'Discard' }).click();
  await ann.write('still here');
  await ann.shows(['the next one passes', 'short', 'still here']);
  await ann.page.keyboard.press('Escape');
  await alert.first().waitFor();
  assertUnharmed(ann);
});

test('a refused room name is reported', async () => {
  const tab = await Tab.open(await profile(browser), server);
  // 128 characters with more than 128 bytes.
  await tab.page.getByLabel('Join or create a room').fill('ü'.repeat(128));
  await tab.page.getByRole('button', { name: 'Join', exact: true }).click();
  await tab.page.getByRole('alert').filter({ hasText: 'invalid' }).waitFor();
  await tab.page.getByRole('button', { name: 'Leave' }).click();
  await tab.page.locator('#title', { hasText: 'general' }).waitFor();
});

test('a token is renewed before it ends, on the open connection', async () => {
  const context = await profile(browser);
  // The page is told that the token expires soon; the token itself is valid for longer.
  await context.route('**/dev/token', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), expiresAt: Date.now() + 6_000 } });
  });
  const frames = [];
  context.on('page', (page) => page.on('websocket', (socket) => {
    socket.on('framesent', ({ payload }) => frames.push(String(payload)));
    socket.on('framereceived', ({ payload }) => frames.push(String(payload)));
  }));
  const tab = await Tab.open(context, server);
  const renewed = await eventually(() => {
    const [, ack] = frames.map((frame) => frame.match(/^42(\d+)\["refresh-token"/)).find(Boolean) ?? [];
    return ack && frames.find((frame) => frame.startsWith(`43${ack}[`));
  }, 'the answer to refresh-token');
  assert.match(renewed, /"ok":true/);
  assert.equal(frames.filter((frame) => /^40/.test(frame)).length, 2, 'one handshake, there and back');
  assertUnharmed(tab);
});

test('markup in messages, names and rooms is text', async () => {
  const markup = '<img src=x onerror="alert(1)"><script>alert(2)</script><b>bold</b> &amp; "quotes"';
  const room = `${freshRoom()} <img src=x onerror=alert(3)>`;
  const { tabs: [ann, bob] } = await tabs(2, { room });
  await ann.write(markup);
  for (const tab of [ann, bob]) {
    await tab.shows([markup]);
    assert.equal(await tab.page.locator('img, script:not([src="main.js"]), #messages b').count(), 0);
  }
  assert.equal(await bob.page.locator('#title').textContent(), `# ${room}`);
  assertUnharmed(ann, bob);
});

test('Shift and Enter starts a new line, and white space alone is not sent', async () => {
  const { tabs: [ann] } = await tabs(1);
  await ann.composer().pressSequentially('   ');
  await ann.page.keyboard.press('Enter');
  await ann.composer().fill('');
  await ann.composer().pressSequentially('one');
  await ann.page.keyboard.press('Shift+Enter');
  await ann.page.keyboard.type('two');
  await ann.page.keyboard.press('Enter');
  await ann.shows(['one\ntwo']);
});

test('at 375 px nothing scrolls sideways, and the keyboard alone is enough', async () => {
  const context = await profile(browser, { viewport: { width: 375, height: 667 } });
  const tab = await Tab.open(context, server);
  const { page } = tab;
  const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent);
  const tabTo = async (wanted) => {
    for (let i = 0; i < 40; i += 1) {
      if ((await focused())?.includes(wanted)) return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`the Tab key never reaches ${wanted}; it is at ${await focused()}`);
  };

  await tabTo('menu');
  await page.keyboard.press('Enter');
  await page.locator('#side').waitFor();
  assert.match(await focused(), /general/);
  assert.equal(await tab.scrollsSideways(), false);
  await page.keyboard.press('Escape');
  await page.locator('#side').waitFor({ state: 'hidden' });
  assert.equal(await focused(), 'menu');

  await page.keyboard.press('Enter');
  await tabTo('room-name');
  const room = freshRoom('by-keyboard');
  await page.keyboard.type(room);
  await page.keyboard.press('Enter');
  await page.locator('#title', { hasText: room }).waitFor();
  await page.waitForFunction(() => document.activeElement?.id === 'message');
  const long = `${'unbreakable'.repeat(40)} and a few words`;
  await page.keyboard.type(long);
  await page.keyboard.press('Enter');
  await tab.shows([long]);
  assert.equal(await tab.scrollsSideways(), false);
  const box = await tab.composer().boundingBox();
  assert.ok(box.width > 180 && box.y + box.height <= 667, JSON.stringify(box));
  // The focus is visible.
  assert.notEqual(await tab.composer().evaluate((input) => getComputedStyle(input).outlineStyle), 'none');
});

test('new messages of others are announced, own ones and old ones are not', async () => {
  const room = freshRoom();
  await fill(room, ['old']);
  const { tabs: [ann, bob] } = await tabs(2, { room });
  await ann.write('mine');
  await ann.shows(['old', 'mine']);
  assert.equal(await ann.page.locator('#announce').textContent(), '');
  await bob.write('yours');
  await ann.page.locator('#announce[aria-live=polite]', { hasText: /: yours$/ }).waitFor({ state: 'attached' });
});
