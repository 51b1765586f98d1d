// What survives a reload, under keys that begin with `parlance.`.

import { jsonStorage } from './client/index.js';

/** Values of this tab. */
export const tabStore = jsonStorage(() => sessionStorage, 'parlance.');
/** Values of this browser, which its tabs share. */
export const browserStore = jsonStorage(() => localStorage, 'parlance.');
