// Drives the chat page in Chromium or Chrome as a user would.
import { chromium } from 'playwright-core';
import { findBrowser } from './find-browser.mjs';
import { owned } from './scope.mjs';
import { TIMEOUT_MS } from './wait.mjs';

const FLAGS = [
  // Tests run as root in containers, where Chromium's own sandbox cannot start.
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  // The browser must not depend on, or wait for, external hosts.
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const BROWSER = findBrowser();
const MISSING = 'no Chromium or Chrome is here that tests can drive (the snap of Ubuntu is none)';

/**
 * The `skip` option for `node:test`: why the tests of the page are skipped, or false if there is a browser. In CI they
 * are never skipped.
 */
export const skipped = !BROWSER && !process.env.CI && MISSING;

/** Starts the browser, for the whole file. */
export async function startBrowser() {
  if (!BROWSER) throw new Error(`${MISSING}: apt-get or dnf install chromium, or install Google Chrome`);
  return owned(await chromium.launch({ executablePath: BROWSER, args: FLAGS }));
}

/** A separate browser profile: its tabs have their own storage and network. */
export async function profile(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 760 }, ...options });
  context.setDefaultTimeout(TIMEOUT_MS);
  return owned(context);
}

/** A tab with the chat page. */
export class Tab {
  /** Errors that no page may have: script errors, content that the policy blocks, dialogs. */
  faults = [];

  static async open(context, server) {
    const tab = new Tab();
    const page = await context.newPage();
    tab.page = page;
    page.on('pageerror', (error) => tab.faults.push(String(error)));
    page.on('dialog', (dialog) => {
      tab.faults.push(`dialog: ${dialog.message()}`);
      return dialog.dismiss();
    });
    page.on('console', (entry) => {
      if (/Content Security Policy/i.test(entry.text())) tab.faults.push(entry.text());
    });
    await page.goto(`${server.url}/`);
    await tab.live();
    return tab;
  }

  /** Waits until the page is connected and has caught up. */
  live() {
    return this.page.locator('#banner[data-state=live]').waitFor({ state: 'attached' });
  }

  /** Waits until the page shows that it has no connection. */
  down() {
    return this.page.locator('#banner[data-state=offline], #banner[data-state=reconnecting]').waitFor();
  }

  me() {
    return this.page.locator('#people li', { hasText: 'you' }).getAttribute('data-user');
  }

  /** Opens a room through the form, as a user does. */
  async enter(room) {
    if (await this.page.locator('#menu').isVisible()) await this.page.locator('#menu').click();
    await this.page.getByLabel('Join or create a room').fill(room);
    await this.page.getByRole('button', { name: 'Join', exact: true }).click();
    await this.page.locator('#title', { hasText: room }).waitFor();
    await this.page.locator('#scroll[aria-busy=false]').waitFor();
  }

  composer() {
    return this.page.locator('#message');
  }

  /** Writes a message and presses Enter. */
  async write(text) {
    await this.composer().fill(text);
    await this.composer().press('Enter');
  }

  /** The texts of the posted messages, from top to bottom. */
  texts() {
    return this.page.locator('#messages [data-seq] .text').allTextContents();
  }

  /** The `seq` of the posted messages, from top to bottom. */
  seqs() {
    return this.page.locator('#messages [data-seq]').evaluateAll((rows) => rows.map((row) => Number(row.dataset.seq)));
  }

  /** The texts of the messages that are not posted yet. */
  outgoing() {
    return this.page.locator('#messages .outgoing .text').allTextContents();
  }

  /** Waits until the room shows exactly these posted messages and the outbox is empty. */
  async shows(expected) {
    const wanted = JSON.stringify(expected);
    try {
      await this.page.waitForFunction((texts) => {
        const shown = [...document.querySelectorAll('#messages [data-seq] .text')].map((text) => text.textContent);
        return JSON.stringify(shown) === texts && !document.querySelector('#messages .outgoing');
      }, wanted);
    } catch (cause) {
      const shown = JSON.stringify({ posted: await this.texts(), outgoing: await this.outgoing() });
      throw new Error(`shown ${shown}\ninstead of ${wanted}`, { cause });
    }
  }

  /** Whether anything is wider than the window. */
  scrollsSideways() {
    return this.page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  }
}
