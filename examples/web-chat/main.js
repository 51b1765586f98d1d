// Wires the parts: storage and identity to the client, the client to the views, and back.

import { followBuilds } from './build-problem.js';
import { createClient } from './client/index.js';
import { Composer } from './composer.js';
import { byId, setText } from './dom.js';
import { fetchToken, identity, LONGEST_NAME, readable, rename } from './identity.js';
import { MessagesView } from './messages-view.js';
import { banner, dropNewestToast, toast } from './notices.js';
import { SideView } from './side-view.js';
import { browserStore, tabStore } from './storage.js';

const FIRST_ROOMS = ['general', 'random', 'help'];
/** Most messages kept of a room, and how many are left after older ones were dropped. */
const [TRIM_ABOVE, TRIM_TO] = [1_500, 800];
/** Most rooms that are opened because the user is a member of them. A server lets a connection into 256 rooms. */
const MOST_OPEN = 100;
/** Interval at which read messages are reported together, in milliseconds. */
const REPORT_SEEN_AFTER = 250;

let me = identity();
/** Rooms that the user has left: whether that ends a membership, the server says later, if it does. */
const left = new Set();
let active = tabStore.get('active');

// The server's Socket.IO path, below which it serves the client library too.
const { path, hasBuilds } = await (await fetch('/dev/settings')).json();
const { io } = await import(`${path}/socket.io.esm.min.js`);

const chat = createClient({
  io,
  userId: me.userId,
  getToken: fetchToken,
  storage: () => sessionStorage,
  socketOptions: { path },
});
chat.subscribe(() => {
  openMemberships();
  draw();
});
chat.on('problem', toast);
chat.on('message', (message) => {
  if (message.roomId === active && message.userId !== me.userId) {
    setText(byId('announce'), `${nameOf(message.userId)}: ${String(message.content)}`);
  }
});

/** The server does not send us our own name, and of those who never were here it has only the id. */
function nameOf(userId) {
  if (userId === me.userId) return me.name;
  const name = chat.nameOf(userId);
  return name === userId ? readable(userId) : name;
}

const messages = new MessagesView({
  older: () => chat.loadOlder(active),
  seen: (seq) => {
    clearTimeout(messages.reporting);
    const room = active;
    messages.reporting = setTimeout(() => chat.markRead(room, seq), REPORT_SEEN_AFTER);
  },
  react: (messageId, value, on) => chat.mark(messageId, 'reaction', value, on),
  change: editMessage,
  remove: (messageId) => chat.delete(messageId),
  retry: (clientId) => chat.retry(clientId),
  edit: (clientId) => {
    const discarded = chat.discard(clientId);
    if (discarded) composer.edit(discarded.content);
  },
  discard: (clientId) => {
    chat.discard(clientId);
    byId('message').focus();
  },
});

const composer = new Composer({
  send: (text) => {
    messages.toEnd();
    chat.send(composer.roomId, text);
  },
  typing: (isTyping) => chat.typing(composer.roomId, isTyping),
});

const side = new SideView({ choose, join: choose });

function choose(roomId) {
  if (active !== undefined) chat.trim(active, TRIM_TO);
  active = roomId;
  left.delete(roomId);
  tabStore.set('active', active);
  if (!chat.getRoom(roomId)) chat.open(roomId);
  remember();
  side.toggle(false);
  draw();
  byId('message').focus();
}

function leave() {
  left.add(active);
  chat.leave(active);
  active = roomIds()[0];
  tabStore.set('active', active);
  remember();
  draw();
  byId(active === undefined ? 'room-name' : 'message').focus();
}

/** Opens the rooms in which the user is a member: only in open rooms the page learns what others post. */
function openMemberships() {
  const { rooms, memberships } = chat.getSnapshot();
  const closed = (memberships ?? []).filter(({ roomId }) => !chat.getRoom(roomId) && !left.has(roomId));
  for (const { roomId } of closed.slice(0, Math.max(0, MOST_OPEN - rooms.length))) chat.open(roomId);
}

function roomIds() {
  return chat.getSnapshot().rooms.map(({ id }) => id);
}

function remember() {
  browserStore.set('rooms', roomIds());
}

// Drawing: many changes, one frame.

let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawNow();
  });
  // A hidden tab draws no frames, but its title shows the number of unread messages.
  drawTitle();
}

function drawNow() {
  const snapshot = chat.getSnapshot();
  const room = chat.getRoom(active);
  const here = snapshot.people.map((person) => ({ ...person, name: nameOf(person.userId) }));
  side.render({ rooms: listedRooms(), people: here, me });
  setText(byId('title'), room ? `# ${room.id}` : 'No room');
  byId('leave').hidden = !room;
  banner(snapshot);
  composer.show(room?.id);
  drawTyping(room?.typing ?? []);
  if (!room) return messages.renderNothing('Join or create a room to begin.');
  if (messages.atEnd && room.messages.length > TRIM_ABOVE) chat.trim(room.id, TRIM_TO);
  return messages.render({ room: chat.getRoom(active), people: mentionable(here, room), me: me.userId, nameOf });
}

/** The open rooms, then those in which the user is a member. */
function listedRooms() {
  const { rooms, memberships } = chat.getSnapshot();
  const closed = (memberships ?? []).filter(({ roomId }) => !chat.getRoom(roomId));
  return [...rooms, ...closed.map((membership) => ({ ...membership, id: membership.roomId, state: 'closed' }))].map(
    ({ id, unread, mentions, state }) => ({
      key: id,
      id,
      active: id === active,
      unread,
      mentions,
      refused: state === 'refused' || state === 'kicked',
    }),
  );
}

/** Those who are here, the room's members, and everybody who has written in it. */
function mentionable(here, room) {
  const ids = new Set([
    me.userId,
    ...here.map(({ userId }) => userId),
    ...(room.members ?? []).map(({ userId }) => userId),
    ...room.messages.map(({ userId }) => userId),
  ]);
  return [...ids].map((userId) => ({ userId, name: nameOf(userId) }));
}

function drawTitle() {
  const unread = chat.getUnread();
  document.title = `${unread > 0 ? `(${unread}) ` : ''}${active ? `#${active} · ` : ''}Parlance`;
}

function drawTyping(users) {
  const names = users.map(nameOf);
  const said =
    names.length > 3
      ? 'Several people are typing…'
      : `${names.join(', ')} ${names.length === 1 ? 'is' : 'are'} typing…`;
  setText(byId('typing'), names.length === 0 ? '' : said);
}

// Editing

function editMessage(messageId, text) {
  byId('edited').value = text;
  byId('editing').dataset.message = messageId;
  byId('editing').showModal();
}

byId('editing-cancel').addEventListener('click', () => byId('editing').close());
byId('editing-form').addEventListener('submit', () => {
  const content = byId('edited').value;
  if (content.trim() !== '') chat.edit(byId('editing').dataset.message, content);
});

// Name, keys, tab

byId('leave').addEventListener('click', leave);
byId('me').addEventListener('click', () => {
  byId('name').value = me.name;
  byId('name').maxLength = LONGEST_NAME;
  byId('naming').showModal();
  byId('name').select();
});
byId('naming-cancel').addEventListener('click', () => byId('naming').close());
byId('naming-form').addEventListener('submit', () => {
  const name = byId('name').value.trim();
  if (name === '' || name === me.name) return;
  me = rename(name);
  // The name is in the token, so a new handshake announces it.
  chat.reconnect();
  draw();
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || byId('naming').open || byId('editing').open) return;
  if (side.isOpen) side.toggle(false);
  else if (!dropNewestToast()) byId('message').focus();
});
const sayPresence = () => chat.setPresence(document.visibilityState === 'hidden' ? 'away' : 'online');
document.addEventListener('visibilitychange', sayPresence);
addEventListener('online', () => (chat.socket.connected ? draw() : chat.reconnect()));
addEventListener('offline', draw);

const remembered = browserStore.get('rooms');
for (const roomId of remembered?.length > 0 ? remembered : FIRST_ROOMS) chat.open(String(roomId));
if (!chat.getRoom(active)) active = roomIds()[0];
sayPresence();
draw();
// On a phone this would open the keyboard over the page.
if (matchMedia('(pointer: fine)').matches) byId('message').focus();
chat.connect();
if (hasBuilds) followBuilds();
