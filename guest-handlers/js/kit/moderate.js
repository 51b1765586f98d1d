// Power over other users, and messages of bots. `moderate.d.ts` says what each function does.
import * as moderateHost from 'parlance:chat/moderate@0.1.0';
import { call, moment, optionalText, text } from 'parlance-handlers/host.js';
import { json } from 'parlance-handlers/json.js';

const named = (name, room, user) => [text(`the room of moderate.${name}()`, room), text(`the user of moderate.${name}()`, user)];
const because = (name, reason) => optionalText(`the reason of moderate.${name}()`, reason);

export const moderate = {
  kick: (room, user, reason) => call('moderate.kick', moderateHost.kick, ...named('kick', room, user), because('kick', reason)),
  ban: (room, user, until, reason) =>
    call('moderate.ban', moderateHost.ban, ...named('ban', room, user), moment('the time of moderate.ban()', until), because('ban', reason)),
  unban: (room, user) => call('moderate.unban', moderateHost.unban, ...named('unban', room, user)),
  bannedUntil: (room, user) =>
    call('moderate.bannedUntil', moderateHost.bannedUntil, ...named('bannedUntil', room, user)) ?? undefined,
  disconnect: (user, reason) =>
    call(
      'moderate.disconnect',
      moderateHost.disconnect,
      text('the user of moderate.disconnect()', user),
      because('disconnect', reason),
    ),
  postAs: (bot, room, content, metadata) =>
    call(
      'moderate.postAs',
      moderateHost.postAs,
      text('the bot of moderate.postAs()', bot),
      text('the room of moderate.postAs()', room),
      text('the content of moderate.postAs()', content),
      metadata === null || metadata === undefined ? null : json('the metadata of moderate.postAs()', metadata),
    ),
};
