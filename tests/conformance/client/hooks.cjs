// A test that fails while the clock is a fake one must not fail those behind it.
exports.mochaHooks = {
  afterEach() {
    globalThis.setTimeout.clock?.uninstall();
  },
};
