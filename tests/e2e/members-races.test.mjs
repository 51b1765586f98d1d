// What must hold of members and moderation while users join, connect, read and are removed at the same moment.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertFailed } from './lib/assert.mjs';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { startChat } from './lib/chat.mjs';
import { Client, connect, freshRoom } from './lib/client.mjs';
import { example } from './lib/examples.mjs';
import { UNLIMITED } from './lib/fleet.mjs';
import { owned, test } from './lib/scope.mjs';
import { run as command, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

/** Takes long where a claim says so: between what it reads and its return. `do` does what it is told. */
const HANDLER = `
import { Denied, identity, kv, members, messages, moderate, NotFound, rooms } from 'parlance-handlers';
let sink = 0;
const wait = (name) => { const most = identity.claims()[name] ?? 0; for (let n = 0; n < most; n += 1) sink = (sink + n) | 0; };
export const onConnect = ({ user }) => {
  if (kv.get('blocked/' + user)) throw new Denied('you are blocked');
  wait('connecting');
  return [];
};
export const onRoom = ({ user }, { type, room }) => {
  if (type === 'leave') return void rooms.leave(room);
  if (room.startsWith('private') && !members.get(room, user)) throw new NotFound('there is no such room');
  rooms.join(room);
  wait('joining');
};
export const onMessage = (_, message) => void messages.post(message);
export const onEvent = (_, name, [steps]) => {
  for (const [what, ...args] of steps) {
    if (what === 'wait') wait('working');
    else if (what === 'set') kv.set(...args);
    else (members[what] ?? moderate[what])(...args);
  }
  return { ok: true };
};
`;
const dir = await example('team');
writeFileSync(join(dir, 'src/handler.ts'), `// @ts-nocheck\n${HANDLER}`);
const built = await command(['build'], { cwd: dir });
assert.equal(built.code, 0, built.output);
const component = join(dir, 'target/components/team.wasm');
const handlers = Object.fromEntries(['message', 'room', 'connect', 'event'].map((kind) => [kind, { component, name: 'team' }]));
const server = await startServer({
  config: { ...UNLIMITED, sandbox: { guest_time: '4s', wall_time: '30s' }, grants: { moderate: true }, handlers },
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
});
const api = admin(server);
const root = await connect(server, 'root');
const act = (...steps) => root.askOk('do', steps);
const LONG = 3_000_000;
const with_ = (user, claims) => ({ auth: { token: token(user, claims) } });
let users = 0;
const fresh = (name) => {
  users += 1;
  return `${name}-${users}`;
};
/** Whether the connection is in the room, when all that was decided before has happened. */
const isIn = async (client, roomId) => (await client.ask('history', { roomId })).ok;

test('who is banned while joining does not get in', async () => {
  for (let n = 0; n < 4; n += 1) {
    const [user, room] = [fresh('ann'), freshRoom()];
    const client = await connect(server, user, with_(user, { joining: LONG }));
    const joined = client.ask('join-room', room);
    await act(['ban', room, user, Date.now() + 3_600_000]);
    await joined;
    await client.next('kicked');
    assert.equal(await isIn(client, room), false);
  }
});

test('who is removed and kicked while joining does not get in', async () => {
  for (let n = 0; n < 4; n += 1) {
    const [user, room] = [fresh('ann'), freshRoom('private')];
    await act(['add', room, user, 'member']);
    const client = await connect(server, user, with_(user, { joining: LONG }));
    const joined = client.ask('join-room', room);
    await act(['remove', room, user], ['kick', room, user]);
    await joined;
    await client.next('kicked');
    assert.equal(await isIn(client, room), false);
  }
});

test('who is blocked and disconnected while connecting is not connected afterwards', async () => {
  const user = fresh('ann');
  const client = owned(new Client(server.url, user, { ...with_(user, { connecting: LONG }), reconnection: false }));
  await new Promise((opened) => client.socket.io.on('open', opened));
  await act(['set', `blocked/${user}`, '1'], ['disconnect', user]);
  await client.until(() => client.refusals.length > 0 || client.disconnects.length > 0, 'the end');
});

test('who is kicked gets nothing of the room after that, whatever waits in the queue', async () => {
  const [user, room] = [fresh('ann'), freshRoom()];
  const [client, other] = [await connect(server, user, with_(user, { working: LONG })), await connect(server, fresh('bob'))];
  await client.join(room);
  await other.join(room);
  const busy = client.ask('do', [['wait']]);
  await act(['kick', room, user]);
  await client.next('kicked');
  await other.post(room, 'after the kick');
  await busy;
  await other.next('user-left', ({ userId }) => userId === user);
  assert.deepEqual(client.messages(room), []);
});

test('changes of one member by back ends at the same moment leave a whole member or none', async () => {
  const user = fresh('ann');
  for (let n = 0; n < 40; n += 1) {
    const path = `/tenants/default/rooms/${freshRoom()}/members`;
    const put = (role) => api.requestOk('PUT', `${path}/${user}`, { body: { role } });
    await put('a');
    await Promise.all([put('b'), api.requestOk('DELETE', `${path}/${user}`), put('c')]);
    // Whatever came of it, the user is a member of the room now.
    await put('d');
    assert.deepEqual((await api.requestOk('GET', path)).members.map(({ userId, role }) => [userId, role]), [[user, 'd']]);
  }
});

test('a new membership begins without mentions of an earlier one', async () => {
  const [user, room] = [fresh('ann'), freshRoom()];
  await act(['add', room, user, 'member']);
  await act(['mention', room, user]);
  await act(['remove', room, user]);
  assertFailed(await root.ask('do', [['mention', room, user]]), 'not-found');
  await act(['add', room, user, 'member']);
  const { rooms: [{ mentions }] } = await (await connect(server, user)).askOk('unread');
  assert.equal(mentions, 0);
});

test('what is unread can be read although the last message was deleted', async () => {
  const [user, room] = [fresh('ann'), freshRoom()];
  await act(['add', room, user, 'member']);
  const [client, other] = [await connect(server, user), await connect(server, fresh('bob'))];
  for (const each of [client, other]) await each.join(room);
  const [first, second] = [await other.post(room, 'one'), await other.post(room, 'two')];
  await act(['mention', room, user]);
  await api.requestOk('DELETE', `/tenants/default/messages/${second.id}`);
  await client.next('message-deleted');
  await client.ask('read-message', second.id);
  await client.ask('read-message', first.id);
  const { rooms: [{ unread, mentions }] } = await client.askOk('unread');
  assert.deepEqual([unread, mentions], [0, 0]);
});

test('the client package stays away when a handler has closed the connection', async () => {
  const user = fresh('ann');
  const chat = await startChat(server, user);
  await act(['disconnect', user, 'bye']);
  await chat.until(({ getSnapshot }) => getSnapshot().state === 'closed', 'to be closed');
  assert.equal(chat.client.getSnapshot().error.message, 'bye');
});
