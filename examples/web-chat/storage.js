// Values that survive a reload. If the browser forbids storage or it is full, the page works without.

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
        // Ignored: the value stays in memory until the reload.
      }
    },
  };
}

/** Values of this tab. */
export const tabStore = store(() => sessionStorage);
/** Values of this browser, which its tabs share. */
export const browserStore = store(() => localStorage);
