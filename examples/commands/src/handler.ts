// Slash commands in messages: /me, /roll and /poll. The event `poll-vote` votes in a poll, `poll-results` counts it.
import { Audience, Conflict, Denied, emit, Invalid, KvMap, KvSet, messages, NotFound } from 'parlance-handlers';
import type { Argument, Context, Draft, IncomingMessage, OnEvent, OnMessage, Reply } from 'parlance-handlers';

const DICE_MAX = 20;
const SIDES_MAX = 1000;
const OPTIONS_MAX = 10;
/** Most characters of a poll's question, and of an option. */
const QUESTION_MAX = 200;
const OPTION_MAX = 60;

export const onMessage: OnMessage = (_context, message) => {
  messages.post(message.content.startsWith('/') ? command(message) : plain(message));
};

export const onEvent: OnEvent = (context, name, [id, option]) => {
  switch (name) {
    case 'poll-vote':
      return vote(context, id, option);
    case 'poll-results':
      return results(id);
    default:
      throw new NotFound(`there is no event \`${name}\``);
  }
};

/** The message that a command makes. Its metadata says which command it was. */
function command(message: IncomingMessage): Draft {
  const [name = '', ...words] = message.content.slice(1).split(/\s+/);
  const rest = words.join(' ').trim();
  switch (name) {
    case 'me':
      if (!rest) throw new Invalid('/me takes what you do: /me waves');
      return { ...message, content: rest, metadata: { command: 'me' } };
    case 'roll':
      return roll(message, rest || '1d6');
    case 'poll':
      return poll(message, rest);
    default:
      throw new Invalid(`there is no command /${name}; there are /me, /roll and /poll`);
  }
}

/** A message of a client cannot pretend to be the result of a command. */
function plain(message: IncomingMessage): Draft {
  const { metadata } = message;
  if (typeof metadata === 'object' && metadata !== null && 'command' in metadata) {
    throw new Denied('`command` in the metadata is for the results of commands');
  }
  return message;
}

function roll(message: IncomingMessage, text: string): Draft {
  const [, count = '1', sides = '0'] = /^(\d{0,2})d(\d{1,4})$/.exec(text) ?? [];
  const [n, max] = [Number(count || '1'), Number(sides)];
  if (n < 1 || n > DICE_MAX || max < 2 || max > SIDES_MAX) {
    throw new Invalid(`/roll takes dice such as 2d6: up to ${DICE_MAX} of them, with 2 to ${SIDES_MAX} sides`);
  }
  const dice = Array.from({ length: n }, () => 1 + Math.floor(Math.random() * max));
  const sum = dice.reduce((all, each) => all + each, 0);
  const content = n > 1 ? `rolls ${text}: ${dice.join(' + ')} = ${sum}` : `rolls ${text}: ${sum}`;
  return { ...message, content, metadata: { command: 'roll', dice } };
}

/** The id of the poll's message is the id of the poll. */
function poll(message: IncomingMessage, text: string): Draft {
  const [question = '', ...options] = text.split('|').map((part) => part.trim());
  const fits = (part: string, max: number) => part.length >= 1 && part.length <= max;
  if (!fits(question, QUESTION_MAX) || options.length < 2 || options.length > OPTIONS_MAX || !options.every((each) => fits(each, OPTION_MAX))) {
    throw new Invalid(
      `/poll question | one | other: a question of up to ${QUESTION_MAX} characters, 2 to ${OPTIONS_MAX} options of up to ${OPTION_MAX}`,
    );
  }
  return { ...message, content: question, metadata: { command: 'poll', options } };
}

/** How many votes each option of a poll has. */
const votes = (poll: string) => new KvMap<number>('votes', poll);

/** One vote for each user, which stays. */
function vote(context: Context, id: Argument | undefined, option: Argument | undefined): Reply {
  const { poll, room, options } = found(id);
  if (typeof option !== 'number' || !(option in options)) {
    throw new Invalid(`an option is a number from 0 to ${options.length - 1}`);
  }
  if (!new KvSet('voters', poll).add(context.user)) throw new Conflict('you have voted in this poll already');
  votes(poll).key(String(option)).increment();
  emit(Audience.room(room), 'poll-voted', { poll, option });
  return { ok: true };
}

function results(id: Argument | undefined): Reply {
  const { poll, options } = found(id);
  return { ok: true, votes: options.map((_, option) => votes(poll).get(String(option)) ?? 0) };
}

/** The poll with this id, in a room that the user is in: elsewhere the host finds no message. */
function found(id: Argument | undefined): { poll: string; room: string; options: readonly unknown[] } {
  if (typeof id !== 'string') throw new Invalid('a poll is named by the id of its message');
  const { room, metadata } = messages.get(id);
  const { command, options } = Object(metadata) as { command?: unknown; options?: unknown };
  if (command !== 'poll' || !Array.isArray(options)) throw new NotFound('the message is no poll');
  return { poll: id, room, options };
}
