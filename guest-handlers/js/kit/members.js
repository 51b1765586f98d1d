// Lasting members of rooms. `members.d.ts` says what each function does.
import * as membersHost from 'parlance:chat/members@0.1.0';
import { call, optionalText, text, whole } from 'parlance-handlers/host.js';

const named = (name, room, user) => [text(`the room of members.${name}()`, room), text(`the user of members.${name}()`, user)];

export const members = {
  add: (room, user, role = 'member') =>
    call('members.add', membersHost.add, ...named('add', room, user), text('the role of members.add()', role)),
  remove: (room, user) => call('members.remove', membersHost.remove, ...named('remove', room, user)),
  get: (room, user) => call('members.get', membersHost.get, ...named('get', room, user)) ?? undefined,
  list: (room, { after, limit = 200 } = {}) =>
    call(
      'members.list',
      membersHost.list,
      text('the room of members.list()', room),
      optionalText('after of members.list()', after),
      whole('limit of members.list()', limit, 0, 200),
    ),
  rooms: ({ after, limit = 1000 } = {}) =>
    call(
      'members.rooms',
      membersHost.rooms,
      optionalText('after of members.rooms()', after),
      whole('limit of members.rooms()', limit, 0, 1000),
    ),
  mention: (room, user) => call('members.mention', membersHost.mention, ...named('mention', room, user)),
};
