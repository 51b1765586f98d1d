// Refuses messages with words that the setting `words` lists, and answers the event `hello`.
import { Denied, identity, messages, NotFound, settings } from 'parlance-handlers';
import type { OnEvent, OnMessage } from 'parlance-handlers';

export const onMessage: OnMessage = (_context, message) => {
  const words = (settings.get('words') ?? '').split(' ').filter(Boolean);
  const content = message.content.toLowerCase();
  if (words.some((word) => content.includes(word))) throw new Denied('please mind your language');
  messages.post(message);
};

export const onEvent: OnEvent = (_context, name) => {
  if (name !== 'hello') throw new NotFound(`there is no event \`${name}\``);
  return { greeting: `Hello, ${identity.username()}!` };
};
