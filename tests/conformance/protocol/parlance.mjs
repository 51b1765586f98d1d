// The server under test, as `suites.test.mjs` names it.
const { PARLANCE_URL, PARLANCE_TOKENS } = process.env;
const TOKENS = JSON.parse(PARLANCE_TOKENS);

/** A suite's address, moved to the server under test. */
export function moved(url) {
  const address = new URL(url);
  address.host = new URL(PARLANCE_URL).host;
  address.pathname = '/socket.io/';
  return address.href;
}

/** A token for the namespace; none for one that the server does not have. */
export const tokenOf = (namespace) => TOKENS[namespace];
