// Finds links and mentions in a message's text, without DOM: the views make elements of them.

const LINK = /https?:\/\/[^\s<>"'`]+/gi;
/** What ends a sentence rather than an address. */
const AFTER_LINK = /[.,;:!?)\]}]+$/;

/**
 * Divides a text into plain text, links and mentions.
 * @param {string} text
 * @param {{userId: string, name: string}[]} people who can be mentioned, by `@name` or `@id`
 * @param {string} me the reader's user id
 * @returns {({kind: 'text', text: string} | {kind: 'link', text: string, href: string}
 *   | {kind: 'mention', text: string, me: boolean})[]}
 */
export function richText(text, people, me) {
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const link = match[0].replace(AFTER_LINK, (rest) => (isClosing(match[0], rest) ? rest[0] : ''));
    const href = webAddress(link);
    if (!href) continue;
    parts.push(...mentions(text.slice(end, match.index), people, me), { kind: 'link', text: link, href });
    end = match.index + link.length;
  }
  return [...parts, ...mentions(text.slice(end), people, me)];
}

/** `https://example.org/a_(b)`: a parenthesis that was opened within the address belongs to it. */
function isClosing(link, rest) {
  return rest.startsWith(')') && link.slice(0, -rest.length).includes('(');
}

/** The address, if it is one of the web: nothing else may be followed. */
function webAddress(text) {
  if (!URL.canParse(text)) return undefined;
  const { protocol, href } = new URL(text);
  return protocol === 'http:' || protocol === 'https:' ? href : undefined;
}

function mentions(text, people, me) {
  if (!text.includes('@')) return text === '' ? [] : [{ kind: 'text', text }];
  const names = people.flatMap(({ userId, name }) => [{ userId, name }, { userId, name: userId }]);
  // The longest name first: "@Ann Lee" is not a mention of Ann.
  names.sort((a, b) => b.name.length - a.name.length);
  const parts = [];
  let end = 0;
  for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', Math.max(at + 1, end))) {
    // `ann@example.org` is an address.
    if (/[\p{L}\p{N}_.]/u.test(text[at - 1] ?? '')) continue;
    const rest = text.slice(at + 1);
    const named = names.find(({ name }) => name !== '' && startsWithWord(rest, name));
    if (!named) continue;
    if (at > end) parts.push({ kind: 'text', text: text.slice(end, at) });
    end = at + 1 + named.name.length;
    parts.push({ kind: 'mention', text: text.slice(at, end), me: named.userId === me });
  }
  if (end < text.length) parts.push({ kind: 'text', text: text.slice(end) });
  return parts;
}

function startsWithWord(text, word) {
  const start = text.slice(0, word.length);
  return start.toLowerCase() === word.toLowerCase() && !/[\p{L}\p{N}_]/u.test(text[word.length] ?? '');
}
