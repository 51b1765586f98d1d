// Wires the parts: storage and identity to the session, the session to the views, and back.

import { followBuilds } from './build-problem.js';
import { Composer } from './composer.js';
import { byId, setText } from './dom.js';
import { fetchToken, identity, LONGEST_NAME, newId, rename } from './identity.js';
import { MessagesView } from './messages-view.js';
import { banner, dropNewestToast, toast } from './notices.js';
import { Outbox } from './outbox.js';
import { People, TYPING_LASTS } from './people.js';
import { Session } from './session.js';
import { SideView } from './side-view.js';
import { browserStore, tabStore } from './storage.js';

const FIRST_ROOMS = ['general', 'random', 'help'];
/** Most messages kept of a room, and how many are left after older ones were dropped. */
const [TRIM_ABOVE, TRIM_TO] = [1_500, 800];
/** Interval at which read messages are reported together, in milliseconds. */
const REPORT_SEEN_AFTER = 250;

let me = identity();
let active = tabStore.get('active');
let token;
let refreshTimer;

// The server's Socket.IO path, below which it serves the client too.
const { path, hasBuilds } = await (await fetch('/dev/settings')).json();
const { io } = await import(`${path}/socket.io.esm.min.js`);

// Every handshake uses a new token, so that a long sleep or a new name needs no special case.
const socket = io({
  path,
  autoConnect: false,
  transports: ['websocket', 'polling'],
  tryAllTransports: true,
  reconnectionDelay: 500,
  reconnectionDelayMax: 5_000,
  // Only this timeout makes the client notice a socket that opens and closes without a handshake. Its default is 20 s.
  timeout: 8_000,
  auth: (give) => takeToken().then(() => give({ token: token?.token })),
});

const people = new People();
// The server does not send us our own name.
people.saw({ userId: me.userId, username: me.name });
const outbox = new Outbox(
  { load: () => tabStore.get('outbox'), save: (entries) => tabStore.set('outbox', entries) },
  newId,
);
const session = new Session({
  socket,
  me: me.userId,
  outbox,
  people,
  lastRead: new Map(tabStore.get('lastRead') ?? []),
  changed: ({ rooms }) => {
    if (rooms) remember();
    draw();
  },
  problem: toast,
  arrived: (message) => {
    if (message.roomId === active && message.userId !== me.userId) {
      setText(byId('announce'), `${people.name(message.userId)}: ${String(message.content)}`);
    }
  },
});

const messages = new MessagesView({
  older: () => session.older(active),
  seen: (seq) => {
    clearTimeout(messages.reporting);
    const room = active;
    messages.reporting = setTimeout(() => session.markRead(room, seq), REPORT_SEEN_AFTER);
  },
  react: (messageId, value, on) => session.change('mark-message', { messageId, kind: 'reaction', value, on }),
  change: editMessage,
  remove: (messageId) => session.change('delete-message', { messageId }),
  retry: (clientId) => session.retry(clientId),
  edit: (clientId) => {
    const entry = outbox.remove(clientId);
    if (entry) composer.edit(entry.content);
    draw();
  },
  discard: (clientId) => {
    outbox.remove(clientId);
    byId('message').focus();
    draw();
  },
});

const composer = new Composer({
  send: (text) => {
    messages.toEnd();
    session.send(composer.roomId, text);
  },
  typing: (isTyping) => session.typing(composer.roomId, isTyping),
});

const side = new SideView({ choose, join: choose });

function choose(roomId) {
  const left = session.rooms.get(active);
  if (left) left.trim(TRIM_TO);
  active = roomId;
  tabStore.set('active', active);
  session.open(roomId);
  side.toggle(false);
  draw();
  byId('message').focus();
}

function leave() {
  session.leave(active);
  active = session.rooms.keys().next().value;
  tabStore.set('active', active);
  draw();
  byId(active === undefined ? 'room-name' : 'message').focus();
}

function remember() {
  browserStore.set('rooms', [...session.rooms.keys()]);
  tabStore.set('lastRead', [...session.lastRead]);
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
  const room = session.rooms.get(active);
  const rooms = [...session.rooms.keys()].map((id) => ({
    key: id,
    id,
    active: id === active,
    unread: session.unread(id),
    refused: session.refusals.has(id),
  }));
  side.render({ rooms, people: people.here(), me });
  setText(byId('title'), room ? `# ${room.id}` : 'No room');
  byId('leave').hidden = !room;
  banner(session.state, outbox.entries.filter((entry) => entry.state !== 'failed').length);
  composer.show(room?.id);
  drawTyping();
  if (!room) return messages.renderNothing('Join or create a room to begin.');
  if (messages.atEnd && room.messages.length > TRIM_ABOVE) room.trim(TRIM_TO);
  return messages.render({
    room,
    outgoing: outbox.of(room.id),
    people,
    me: me.userId,
    loading: session.isLoading(room.id),
    joined: session.joined.has(room.id),
    canLoad: session.canLoad(room.id),
    refusal: session.refusals.get(room.id),
  });
}

function drawTitle() {
  const unread = [...session.rooms.keys()].reduce((sum, id) => sum + session.unread(id), 0);
  document.title = `${unread > 0 ? `(${unread}) ` : ''}${active ? `#${active} · ` : ''}Parlance`;
}

let typingTimer;
function drawTyping() {
  const names = people.typingIn(active, Date.now());
  const said =
    names.length > 3
      ? 'Several people are typing…'
      : `${names.join(', ')} ${names.length === 1 ? 'is' : 'are'} typing…`;
  setText(byId('typing'), names.length === 0 ? '' : said);
  clearTimeout(typingTimer);
  if (names.length > 0) typingTimer = setTimeout(drawTyping, TYPING_LASTS / 4);
}

// Tokens

/** @returns {Promise<boolean>} whether there is a new one */
async function takeToken() {
  try {
    token = await fetchToken();
    refreshBefore(token.expiresAt);
    return true;
  } catch (error) {
    // The old token may still be valid; if not, the server refuses it.
    toast({ event: 'token', code: 'unavailable', message: error.message });
    return false;
  }
}

function refreshBefore(expiresAt) {
  clearTimeout(refreshTimer);
  const left = expiresAt - Date.now();
  // A timer takes at most 2^31 ms. A day is enough: the token is checked again then.
  const wait = Math.min(86_400_000, Math.max(5_000, left - Math.min(60_000, left / 4)));
  refreshTimer = setTimeout(async () => {
    if (!socket.connected) return;
    if (await takeToken()) await session.refresh(token.token);
    // Shortly before the old token expires this tries every few seconds.
    else if (token) refreshBefore(token.expiresAt);
  }, wait);
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
  if (content.trim() !== '') session.change('edit-message', { messageId: byId('editing').dataset.message, content });
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
  people.saw({ userId: me.userId, username: me.name });
  // The name is in the token, so a new handshake announces it.
  session.reconnect();
  draw();
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || byId('naming').open || byId('editing').open) return;
  if (side.isOpen) side.toggle(false);
  else if (!dropNewestToast()) byId('message').focus();
});
document.addEventListener('visibilitychange', () => session.setAway(document.visibilityState === 'hidden'));
addEventListener('online', () => (socket.connected ? draw() : session.reconnect()));
addEventListener('offline', draw);

const remembered = browserStore.get('rooms');
for (const roomId of remembered?.length > 0 ? remembered : FIRST_ROOMS) session.open(String(roomId));
if (!session.rooms.has(active)) active = session.rooms.keys().next().value;
session.away = document.visibilityState === 'hidden';
draw();
// On a phone this would open the keyboard over the page.
if (matchMedia('(pointer: fine)').matches) byId('message').focus();
socket.connect();
if (hasBuilds) followBuilds();
