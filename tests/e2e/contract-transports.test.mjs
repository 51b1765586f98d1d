// All client events, over each transport of the official client.
import assert from 'node:assert/strict';
import { assertNow } from './lib/assert.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { seconds, token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const server = await startServer();

const TRANSPORTS = {
  websocket: { transports: ['websocket'] },
  polling: { transports: ['polling'] },
  upgrade: { transports: ['polling', 'websocket'] },
};

for (const [name, options] of Object.entries(TRANSPORTS)) {
  test(`the client table over ${name}`, async () => {
    const room = freshRoom(name);
    const ann = await connect(server, `ann-${name}`, options);
    const bob = await connect(server, `bob-${name}`, options);
    const transport = () => ann.socket.io.engine.transport.name;
    if (name === 'upgrade') await eventually(() => transport() === 'websocket', 'the upgrade');
    else assert.equal(transport(), name);

    const joined = await ann.join(room);
    assert.equal(joined.lastSeq, 0);
    assert.deepEqual(joined.messages, []);
    assert.equal(joined.complete, true);
    await bob.join(room);
    const online = await ann.next('presence', (each) => each.userId === bob.user && each.status === 'online');
    assertNow(online.since);
    assert.equal(online.username, `${bob.user}'s name`);

    await bob.askOk('typing', room);
    assert.deepEqual(await ann.next('user-typing'), {
      roomId: room, userId: bob.user, username: `${bob.user}'s name`, typing: true,
    });
    await bob.askOk('typing', room, false);
    await ann.next('user-typing', (each) => each.typing === false);
    assert.deepEqual(bob.all('user-typing'), [], 'nobody hears that they type themselves');

    const draft = { roomId: room, content: 'hello \u{1F44B} \u0000', metadata: { reply: [1, 'two', null] } };
    const posted = await bob.post(room, draft.content, { metadata: draft.metadata });
    assert.deepEqual(Object.keys(posted).sort(), ['id', 'sentAt', 'seq', 'username']);
    assert.equal(posted.seq, 1);
    assertNow(posted.sentAt);
    const expected = { ...posted, ...draft, userId: bob.user };
    assert.deepEqual(await ann.next('new-message'), expected);
    assert.deepEqual(await bob.next('new-message'), expected, 'the sender hears it too');

    await ann.askOk('read-message', posted.id);
    const read = await bob.next('message-read');
    assertNow(read.readAt);
    assert.deepEqual(read, { messageId: posted.id, roomId: room, userId: ann.user, readAt: read.readAt });

    const page = await ann.askOk('history', { roomId: room });
    assert.deepEqual(page.messages, [expected]);
    assert.equal(page.complete, true);

    await bob.askOk('set-presence', 'away');
    await ann.next('presence', (each) => each.userId === bob.user && each.status === 'away');
    const { states } = await ann.askOk('get-presence', [bob.user]);
    assert.equal(states.length, 1);
    assert.equal(states[0].userId, bob.user);
    assert.equal(states[0].status, 'away');

    const expiry = seconds(7200);
    const renewed = await ann.askOk('refresh-token', token(ann.user, { exp: expiry }));
    assert.equal(renewed.expiresAt, expiry * 1000);

    await bob.askOk('leave-room', room);
    await ann.post(room, 'after he left');
    bob.close();
    await ann.next('new-message', (message) => message.content === 'after he left');
    assert.equal(bob.messages(room).length, 1);
  });
}
