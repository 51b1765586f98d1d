// Reactions to messages: the events `react` and `unreact` with a message's id and an emoji, and `reactions` with a list
// of messages' ids. The setting `emoji` lists what is allowed, separated by spaces.
import { Audience, Conflict, emit, Fault, Invalid, kv, messages, NotFound, settings } from 'parlance-handlers';

/** @typedef {import('parlance-handlers').Argument | undefined} Argument */

const EMOJI = '👍 ❤️ 😂 🎉';
/** Most emoji of the setting that count, and most messages of one `reactions`. */
const EMOJI_MAX = 10;
const MESSAGES_MAX = 20;
/** Longer than any event takes, in milliseconds. */
const STEP_MS = 60_000;

/** @type {import('parlance-handlers').OnEvent} */
export const onEvent = ({ user }, name, [first, emoji]) => {
  switch (name) {
    case 'react':
      return change(user, first, emoji, true);
    case 'unreact':
      return change(user, first, emoji, false);
    case 'reactions':
      return reactions(user, first);
    default:
      throw new NotFound(`there is no event \`${name}\``);
  }
};

/** @param {string} user @param {Argument} message @param {Argument} emoji @param {boolean} wanted */
function change(user, message, emoji, wanted) {
  const { id, room } = found(message);
  const { own, count } = keys(id, oneOfAllowed(emoji), user);
  const changes = number(own);
  // As after an acknowledgement that was lost: it is so already.
  if (isThere(changes) === wanted) return { ok: true };
  once(`step ${changes} ${own}`);
  kv.increment(own);
  kv.increment(count, wanted ? 1 : -1);
  emit(Audience.room(room), wanted ? 'reaction-added' : 'reaction-removed', { messageId: id, emoji, userId: user });
  return { ok: true };
}

/** @param {string} user @param {Argument} ids */
function reactions(user, ids) {
  if (!Array.isArray(ids) || ids.length > MESSAGES_MAX) throw new Invalid(`\`reactions\` takes a list of up to ${MESSAGES_MAX} ids`);
  const palette = allowed();
  const given = ids.map((each) => {
    const { id } = found(each);
    const counts = palette.map((emoji) => ({ emoji, count: number(keys(id, emoji, user).count) }));
    const some = counts.filter(({ count }) => count > 0);
    return some.map((each) => ({ ...each, mine: isThere(number(keys(id, each.emoji, user).own)) }));
  });
  return { ok: true, reactions: given };
}

/** The message, if it is in a room that the user is in: elsewhere the host finds none. @param {Argument} id */
function found(id) {
  if (typeof id !== 'string') throw new Invalid('a message is named by its id');
  return messages.get(id);
}

const allowed = () => (settings.get('emoji') ?? EMOJI).split(' ').filter(Boolean).slice(0, EMOJI_MAX);

/** @param {Argument} emoji */
function oneOfAllowed(emoji) {
  if (typeof emoji === 'string' && allowed().includes(emoji)) return emoji;
  throw new Invalid(`a reaction is one of ${allowed().join(' ')}`);
}

/**
 * The keys of how many react so, and of how often the user has added or removed it. Ids of messages and emoji have no
 * spaces, so no two facts have one key. @param {string} message @param {string} emoji @param {string} user
 */
const keys = (message, emoji, user) => ({ count: `${message} ${emoji}`, own: `${message} ${emoji} ${user}` });

/** @param {string} key */
const number = (key) => Number(kv.getText(key) ?? 0);

/** Whether the reaction is there after so many changes. @param {number} changes */
const isThere = (changes) => changes % 2 === 1;

/**
 * Takes the key. A user may send from many connections at once, and then all find the same number of changes.
 * `increment` needs a number at the key, or nothing, when the event is committed: only one of these events succeeds,
 * since it puts a text there. @param {string} key
 */
function once(key) {
  try {
    kv.increment(key, 0);
  } catch (error) {
    throw error instanceof Fault && error.code === 'invalid' ? new Conflict('you are changing this reaction elsewhere') : error;
  }
  kv.set(key, 'taken', { ttlMs: STEP_MS });
}
