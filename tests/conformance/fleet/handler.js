// The handler of the node that takes the place of a Node server.
import { emit } from 'parlance:chat/broadcast@0.1.0';

export const onEvent = {
  /** `send`: emits an event to rooms. Only Node servers take the id of a connection for a room. */
  handle({ connection }, name, args, attachments) {
    if (name !== 'send') throw { tag: 'invalid', val: `no such event: ${name}` };
    const [{ rooms, event }, ...rest] = JSON.parse(args);
    for (const room of rooms) {
      const to = room === connection ? { tag: 'sender' } : { tag: 'room', val: room };
      emit(to, event, JSON.stringify(rest), attachments);
    }
    return undefined;
  },
};

export const onServerEvent = {
  /** Tells the suite's clients what another server has emitted. */
  handle(_, name, args) {
    emit({ tag: 'user', val: 'suite' }, 'server-event', JSON.stringify([name, ...JSON.parse(args)]), []);
    return undefined;
  },
};
