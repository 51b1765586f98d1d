// Refuses messages with words that the setting `words` lists, and answers the event `hello`.
import { Denied, identity, messages, NotFound, settings } from 'parlance-handlers';

/** @type {import('parlance-handlers').OnMessage} */
export const onMessage = (_context, message) => {
  const words = (settings.get('words') ?? '').split(' ').filter(Boolean);
  const content = message.content.toLowerCase();
  if (words.some((word) => content.includes(word))) throw new Denied('please mind your language');
  messages.post(message);
};

/** @type {import('parlance-handlers').OnEvent} */
export const onEvent = (_context, name) => {
  if (name !== 'hello') throw new NotFound(`there is no event \`${name}\``);
  return { greeting: `Hello, ${identity.username()}!` };
};
