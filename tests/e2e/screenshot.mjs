// Takes the README's screenshot of the chat page: `node screenshot.mjs [FILE]`.
import { resolve } from 'node:path';
import { profile, startBrowser, Tab } from './lib/browser.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';

const FILE = resolve(process.argv[2] ?? resolve(import.meta.dirname, '../../examples/web-chat/screenshot.png'));

/** Opens a tab for a user with this name. */
async function user(context, server, name) {
  const tab = await Tab.open(context, server);
  await tab.page.locator('#me').click();
  await tab.page.getByRole('textbox', { name: 'Name' }).fill(name);
  await tab.page.getByRole('button', { name: 'Save' }).click();
  await tab.page.locator('#people', { hasText: name }).waitFor();
  await tab.live();
  return tab;
}

test(`the picture ${FILE}`, async () => {
  const server = await startServer({ command: 'dev' });
  const context = await profile(await startBrowser(), { viewport: { width: 1000, height: 660 }, colorScheme: 'light' });
  const ann = await user(context, server, 'Ann Marsh');
  const bob = await user(context, server, 'Ben Okoro');
  const talk = [
    [ann, 'Morning! Does anyone have the key to the boat shed?'],
    [bob, 'It hangs behind the door of the workshop.'],
    [bob, 'If not, ask Noor, she was out last.'],
    [ann, 'I was in the tunnel for half of that, but it is all here. Found it, thank you!'],
    [bob, 'Wind from the west until noon, then calm.'],
    [ann, 'Then let us leave at one.'],
  ];
  const said = [];
  for (const [tab, text] of talk) {
    await tab.write(text);
    said.push(text);
    for (const each of [ann, bob]) await each.shows(said);
  }
  await ann.page.locator('.ticks', { hasText: '✓✓ Read by Ben Okoro' }).waitFor();
  const message = (tab, seq) => tab.page.locator(`#messages [data-seq="${seq}"]`);
  for (const [tab, seq, emoji] of [[bob, 4, '❤️'], [ann, 3, '😂']]) {
    await message(tab, seq).locator('summary').click();
    await message(tab, seq).getByRole('button', { name: emoji, exact: true }).click();
    await message(ann, seq).locator('.mark', { hasText: `${emoji} 1` }).waitFor();
  }
  await bob.page.locator('#rooms button', { hasText: 'help' }).click();
  await bob.write('How do I add my own rooms?');
  await bob.page.locator('#rooms button', { hasText: 'general' }).click();
  await bob.composer().pressSequentially('See you at the pier');
  await ann.page.locator('#typing', { hasText: 'Ben Okoro is typing' }).waitFor();
  await ann.page.locator('.badge').waitFor();
  await ann.page.screenshot({ path: FILE });
});
