// What survives a reload. A browser may forbid storage or be full: then the page works without.

function store(area) {
  return {
    get(key) {
      try {
        return JSON.parse(area().getItem(`parlance.${key}`) ?? 'null') ?? undefined;
      } catch {
        return undefined;
      }
    },
    set(key, value) {
      try {
        area().setItem(`parlance.${key}`, JSON.stringify(value));
      } catch {
        // Nothing to be done: the value lives on in memory until the reload.
      }
    },
  };
}

/** Of this tab alone. */
export const tabStore = store(() => sessionStorage);
/** Of this browser, shared by its tabs. */
export const browserStore = store(() => localStorage);
