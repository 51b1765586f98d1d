// Reactions to messages: the events `react` and `unreact` with a message's id and an emoji, and `reactions` with a list
// of messages' ids. The setting `emoji` lists what is allowed, separated by spaces.
import { Audience, emit, Invalid, KvSet, messages, NotFound, settings } from 'parlance-handlers';

/** @typedef {import('parlance-handlers').Argument | undefined} Argument */

const EMOJI = '👍 ❤️ 😂 🎉';
/** Most emoji of the setting that count, and most messages of one `reactions`. */
const EMOJI_MAX = 10;
const MESSAGES_MAX = 20;

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

/** The reactions to a message: `EMOJI USER` each. No emoji has a space. @param {string} message */
const given = (message) => new KvSet('reactions', message);

/** @param {string} user @param {Argument} message @param {Argument} emoji @param {boolean} wanted */
function change(user, message, emoji, wanted) {
  const { id, room } = found(message);
  const [all, one] = [given(id), `${oneOfAllowed(emoji)} ${user}`];
  // A client that has lost an acknowledgement sends the event again.
  if (wanted ? !all.add(one) : !all.delete(one)) return { ok: true };
  const count = [...all].filter((each) => each.startsWith(`${emoji} `)).length;
  emit(Audience.room(room), wanted ? 'reaction-added' : 'reaction-removed', { messageId: id, emoji, userId: user, count });
  return { ok: true };
}

/** @param {string} user @param {Argument} ids */
function reactions(user, ids) {
  if (!Array.isArray(ids) || ids.length > MESSAGES_MAX) throw new Invalid(`\`reactions\` takes a list of up to ${MESSAGES_MAX} ids`);
  const palette = allowed();
  const summary = ids.map((each) => {
    const all = [...given(found(each).id)];
    const counts = palette.map((emoji) => {
      const those = all.filter((one) => one.startsWith(`${emoji} `));
      return { emoji, count: those.length, mine: those.includes(`${emoji} ${user}`) };
    });
    return counts.filter(({ count }) => count > 0);
  });
  return { ok: true, reactions: summary };
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
