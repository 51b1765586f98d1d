// The example handlers: each is built, passes its own scenarios, and does what its page says to the official client.
import assert from 'node:assert/strict';
import { ADMIN_TOKEN, admin } from './lib/admin.mjs';
import { assertFailed } from './lib/assert.mjs';
import { connect } from './lib/client.mjs';
import { example, serve } from './lib/examples.mjs';
import { listen } from './lib/http.mjs';
import { test } from './lib/scope.mjs';
import { eventually } from './lib/wait.mjs';

/** How many events come at once. */
const AT_ONCE = 20;

/** As many connections of one user. */
const connections = (server, user, count = AT_ONCE) => Promise.all(Array.from({ length: count }, () => connect(server, user)));

/** Asserts that one of these answers is ok, and that the others have failed with one of the codes. */
function assertOne(answers, ...codes) {
  const failed = answers.filter(({ ok }) => !ok);
  assert.equal(failed.length, answers.length - 1, JSON.stringify(answers));
  for (const { error } of failed) assert.ok(codes.includes(error.code), JSON.stringify(error));
}

test('slow-mode: one message for each user and room in the time', async () => {
  const server = await serve(await example('slow-mode', { isRust: true }), ({ handlers }) => {
    handlers.message.settings.seconds = '60';
  });
  const [alice, bob] = [await connect(server, 'alice'), await connect(server, 'bob')];
  for (const client of [alice, bob]) for (const room of ['general', 'random']) await client.join(room);
  await alice.post('general', 'one');
  const refused = await alice.ask('send-message', { roomId: 'general', content: 'two' });
  assertFailed(refused, 'rate-limited');
  assert.ok(refused.error.retryAfterMs > 30_000 && refused.error.retryAfterMs <= 60_000, JSON.stringify(refused));
  assertFailed(await bob.ask('send-message', { roomId: 'general', content: 'oh darn' }), 'denied');
  await bob.post('general', 'mine');
  await alice.post('random', 'one');

  const flood = await connections(server, 'mallory');
  for (const client of flood) await client.join('general');
  const answers = await Promise.all(flood.map((client, n) => client.ask('send-message', { roomId: 'general', content: `spam ${n}` })));
  assertOne(answers, 'rate-limited');
  assert.equal((await alice.history('general')).length, 3);
});

test('private-rooms: who is invited joins', async () => {
  const server = await serve(await example('private-rooms', { isRust: true }));
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((user) => connect(server, user)));
  const { room } = await alice.askOk('create-room', 'Lunch');
  assert.match(room.roomId, /^private\/[0-9a-f]{32}$/);
  assertFailed(await bob.ask('join-room', room.roomId), 'not-found');
  await alice.askOk('invite', room.roomId, 'bob');
  assert.deepEqual(await bob.next('invitation'), { room, by: "alice's name" });
  const { data } = await bob.join(room.roomId);
  assert.deepEqual({ ...data, members: data.members.toSorted() }, {
    title: 'Lunch', members: ['alice', 'bob'], memberCount: 2, membersComplete: true,
  });
  await alice.post(room.roomId, 'soup?');
  await bob.next('new-message', ({ content }) => content === 'soup?');
  assertFailed(await bob.ask('invite', room.roomId, 'carol'), 'denied');
  for (const attempt of [carol.ask('join-room', room.roomId), carol.ask('history', { roomId: room.roomId })]) {
    assert.equal((await attempt).ok, false);
  }
  await alice.askOk('withdraw', room.roomId, 'bob');
  await bob.next('invitation-withdrawn', (id) => id === room.roomId);
  assertFailed(await (await connect(server, 'bob')).ask('join-room', room.roomId), 'not-found');
  await carol.join('general');
});

test('reminders: one comes after a kill -9, one that is forgotten does not', async () => {
  const server = await serve(await example('reminders', { isRust: true }));
  const [alice, bob] = [await connect(server, 'alice'), await connect(server, 'bob')];
  await alice.askOk('remind', { after: 15, text: 'tea is ready' });
  const { reminders } = await alice.askOk('remind', { after: 4, text: 'nothing' });
  assert.deepEqual(reminders.map(({ text }) => text), ['nothing', 'tea is ready']);
  assertFailed(await bob.ask('forget', reminders[0].id), 'not-found');
  assert.deepEqual(await alice.askOk('forget', reminders[0].id), { ok: true, reminders: reminders.slice(1) });
  await server.kill();
  await server.start();
  const again = await connect(server, 'alice');
  assert.equal(await again.next('reminder'), 'tea is ready');
  assert.deepEqual(await again.askOk('reminders'), { ok: true, reminders: [] });
  assert.deepEqual([...again.all('reminder'), ...bob.all('reminder')].length, 1);
});

test('commands: commands become messages, and a poll counts each user once', async () => {
  const server = await serve(await example('commands'));
  const [alice, bob] = [await connect(server, 'alice'), await connect(server, 'bob')];
  for (const client of [alice, bob]) await client.join('general');
  await alice.post('general', '/me waves');
  await bob.next('new-message', ({ content, metadata }) => content === 'waves' && metadata.command === 'me');
  await alice.post('general', '/roll 3d6');
  const { metadata: { dice } } = await bob.next('new-message', ({ metadata }) => metadata?.command === 'roll');
  assert.ok(dice.length === 3 && dice.every((each) => each >= 1 && each <= 6), JSON.stringify(dice));
  assertFailed(await alice.ask('send-message', { roomId: 'general', content: '/shout' }), 'invalid');

  const { id } = await alice.post('general', '/poll Lunch? | soup | pasta');
  const voters = await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => connect(server, `voter-${n}`)));
  const stuffing = await connections(server, 'mallory');
  for (const client of [...voters, ...stuffing]) await client.join('general');
  const [votes, stuffed] = await Promise.all([voters, stuffing].map((clients, option) => (
    Promise.all(clients.map((client) => client.ask('poll-vote', id, option)))
  )));
  assert.deepEqual(votes, votes.map(() => ({ ok: true })));
  assertOne(stuffed, 'conflict');
  assert.deepEqual(await bob.askOk('poll-results', id), { ok: true, votes: [AT_ONCE, 1] });
  await bob.until(() => bob.all('poll-voted').length === AT_ONCE + 1, 'each vote');
});

test('typing-timer: typing ends by a timer, also after a kill -9, and by a message', async () => {
  const server = await serve(await example('typing-timer'), (config) => {
    // The server itself does not end it during this test.
    config.limits = { typing_timeout: '10m' };
    for (const handler of Object.values(config.handlers)) handler.settings.seconds = '7';
  });
  const [alice, bob] = [await connect(server, 'alice'), await connect(server, 'bob')];
  const joinAll = async () => {
    for (const client of [alice, bob]) for (const room of ['general', 'random']) await client.join(room);
  };
  const told = (room) => bob.all('user-typing').filter(({ roomId }) => roomId === room).map(({ typing }) => typing);
  await joinAll();
  await alice.askOk('typing', 'general');
  const typing = { roomId: 'general', userId: 'alice', username: "alice's name" };
  assert.deepEqual(await bob.next('user-typing'), { ...typing, typing: true });

  await server.restart();
  for (const client of [alice, bob]) await client.connected(2);
  await joinAll();
  await alice.askOk('typing', 'random');
  assert.deepEqual(await bob.next('user-typing', (each) => !each.typing), { ...typing, typing: false });
  await bob.until(() => told('random').length === 2, 'the end of typing without a kill');

  await alice.askOk('typing', 'general');
  await alice.post('general', 'hello');
  await bob.until(() => told('general').length === 4, 'the end of typing by the message');
  assert.deepEqual([told('general'), told('random')], [[true, false, true, false], [true, false]]);
});

test('polls: of users at once all votes count, of a user’s connections one, and none after the end', async () => {
  const server = await serve(await example('polls', { isRust: true }));
  const [alice, bob] = [await connect(server, 'alice'), await connect(server, 'bob')];
  for (const client of [alice, bob]) await client.join('general');
  const { poll } = await alice.askOk('create-poll', 'general', 'Lunch?', ['soup', 'pasta']);
  assert.deepEqual(await bob.next('poll-created', ({ pollId }) => pollId === poll.pollId), poll);
  const voters = await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => connect(server, `voter-${n}`)));
  const stuffing = await connections(server, 'mallory');
  for (const client of [...voters, ...stuffing]) await client.join('general');
  const [votes, stuffed] = await Promise.all([voters, stuffing].map((clients, option) => (
    Promise.all(clients.map((client) => client.ask('vote', poll.pollId, option)))
  )));
  assert.deepEqual(votes, votes.map(() => ({ ok: true })));
  assertOne(stuffed, 'conflict');
  await bob.until(() => bob.all('poll-voted').length === AT_ONCE + 1, 'each vote');
  const { poll: shown } = await stuffing[0].askOk('show-poll', poll.pollId);
  assert.deepEqual([shown.votes, shown.mine], [[AT_ONCE, 1], 1]);

  // Each vote that is ok is in the result.
  const late = await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => connect(server, `late-${n}`)));
  for (const client of late) await client.join('general');
  const [closed, ...answers] = await Promise.all([
    alice.ask('close-poll', poll.pollId),
    ...late.map((client) => client.ask('vote', poll.pollId, 0)),
  ]);
  assert.deepEqual(closed, { ok: true });
  const counted = answers.filter(({ ok }) => ok).length;
  const result = await bob.next('poll-closed', ({ pollId }) => pollId === poll.pollId);
  assert.deepEqual([result.isOpen, result.votes], [false, [AT_ONCE + counted, 1]]);
  for (const answer of answers) if (!answer.ok) assertFailed(answer, 'conflict');
  assertFailed(await bob.ask('vote', poll.pollId, 0), 'conflict');
});

test('reactions: of users at once all count, of a user’s connections one', async () => {
  const server = await serve(await example('reactions'));
  const alice = await connect(server, 'alice');
  await alice.join('general');
  const { id } = await alice.post('general', 'hello');
  const users = await Promise.all(Array.from({ length: AT_ONCE }, (_, n) => connect(server, `user-${n}`)));
  const devices = await connections(server, 'mallory');
  for (const client of [...users, ...devices]) await client.join('general');
  const react = async (clients, event, emoji) => {
    const answers = await Promise.all(clients.map((client) => client.ask(event, id, emoji)));
    assert.deepEqual(answers, answers.map(() => ({ ok: true })));
  };
  await react(users, 'react', '👍');
  const counts = () => alice.all('reaction-added').map(({ count }) => count);
  await alice.until(() => counts().length === AT_ONCE, 'each reaction');
  assert.deepEqual(counts(), users.map((_, n) => n + 1), 'each event has the count at its commit');
  for (const event of ['react', 'unreact', 'react']) await react(devices, event, '🎉');
  const { reactions: [given] } = await devices[0].askOk('reactions', [id]);
  assert.deepEqual(given, [{ emoji: '👍', count: AT_ONCE, mine: false }, { emoji: '🎉', count: 1, mine: true }]);
  await alice.until(() => alice.all('reaction-added').length === AT_ONCE + 2, 'each reaction once');
  assert.equal(alice.all('reaction-removed').length, 1);
});

test('ask-bot: a question goes to the service that is granted, and its answer is posted', async () => {
  const asked = [];
  const authority = await listen((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text) => (body += text));
    request.on('end', () => {
      const { question } = JSON.parse(body);
      asked.push([request.method, request.url, request.headers['content-type'], request.headers.authorization]);
      // Nobody hears of this one.
      if (question !== 'silence') response.end(JSON.stringify({ answer: `${question.length} characters` }));
    });
  });
  const server = await serve(await example('ask-bot'), (config) => {
    config.grants.http = [`http://${authority}`];
    config.handlers.message.settings = { service: `http://${authority}/ask?v=1`, token: 'sesame' };
  });
  const [alice, bob] = [await connect(server, 'alice'), await connect(server, 'bob')];
  for (const client of [alice, bob]) await client.join('general');
  // More than a stream takes at a time, in bytes.
  const long = '¿'.repeat(499);
  await alice.post('general', `!ask ${long}`);
  assert.equal((await bob.next('new-message', ({ metadata }) => metadata?.bot === 'ask')).content, '499 characters');
  assert.deepEqual(asked, [['POST', '/ask?v=1', 'application/json', 'Bearer sesame']]);
  await alice.post('general', '!ask silence');
  await bob.next('new-message', ({ content }) => content === 'I cannot reach my service. Ask me again later.');
  await alice.post('general', 'thanks');
  assert.deepEqual((await alice.history('general')).map(({ seq }) => seq), [1, 2, 3, 4, 5]);
  await server.waitForOutput(/the service cannot be asked: the request failed: HttpResponseTimeout/);
});

test('assistant: an answer grows word by word, goes on where it broke off, and can be stopped', async () => {
  const asked = [];
  let breakOff = () => {};
  const authority = await listen(async (request, response) => {
    if (request.url === '/topics') return void response.end(JSON.stringify({ topics: ['words'] }));
    let body = '';
    for await (const text of request.setEncoding('utf8')) body += text;
    const { question } = JSON.parse(body);
    const last = request.headers['last-event-id'];
    asked.push([question, request.headers['idempotency-key'], last]);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const words = question.split(' ');
    for (let n = last === undefined ? 0 : Number(last) + 1; n < words.length; n += 1) {
      response.write(`id: ${n}\ndata: ${JSON.stringify(words[n])}\n\n`);
      // It breaks off once, when its first word was heard; a question that never ends is for `stop`.
      if (last === undefined) {
        breakOff = () => request.socket.destroy();
        return;
      }
    }
    response.end();
  });
  const server = await serve(await example('assistant', { isRust: true }), (config) => {
    config.grants.http = [`http://${authority}`];
    config.handlers.assistant.settings.service = `http://${authority}`;
  });
  const [alice, bob] = [await connect(server, 'alice'), await connect(server, 'bob')];
  for (const client of [alice, bob]) await client.join('general');
  /** What the bot has said, message by message, and whether it has finished. */
  const said = (client) => client.all('new-message').map(({ id, userId, content }) => {
    assert.equal(userId, 'bot:assistant');
    const more = client.all('message-appended').filter(({ messageId }) => messageId === id);
    return [content, ...more.flatMap(({ fragments }) => fragments), ...more.filter(({ done }) => done).map(() => '.')].join('');
  });
  assertOne(await Promise.all([alice, bob].map((client) => client.ask('ask', { roomId: 'general', question: 'do you hear me' }))), 'conflict');
  await bob.until(() => said(bob)[0] === 'do', 'the first word');
  breakOff();
  await bob.until(() => said(bob)[0]?.endsWith('.'), 'the end', 20_000);
  assert.deepEqual(said(bob), ['do you hear me.']);
  assert.deepEqual((await alice.history('general')).map(({ content }) => content), ['do you hear me']);
  assert.deepEqual(asked.map(([question, , last]) => [question, last]), [['do you hear me', undefined], ['do you hear me', '0']]);
  assert.equal(asked[0][1], asked[1][1], 'one key');

  await alice.askOk('ask', { roomId: 'general', question: 'for ever and ever' });
  await bob.until(() => said(bob)[1] === 'for', 'the first word');
  await bob.askOk('stop', 'general');
  await bob.until(() => said(bob)[1] === 'for.', 'the end');
  assertFailed(await bob.ask('stop', 'general'), 'not-found');
  await eventually(async () => (await alice.askOk('topics')).topics?.[0] === 'words', 'the topics');
});

test('assistant: whoever deletes its message has silenced it, at whatever moment, and can ask again', async () => {
  const authority = await listen((_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const words = setInterval(() => response.write('data: "word"\n\n'), 3);
    response.on('close', () => clearInterval(words));
  });
  const server = await serve(await example('assistant', { isRust: true }), (config) => {
    config.grants.http = [`http://${authority}`];
    config.handlers.assistant.settings.service = `http://${authority}`;
  }, { env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const alice = await connect(server, 'alice');
  // The deletion comes before a part of the answer, after it, or between its run and its commit.
  for (let room = 0; room < 8; room += 1) {
    await alice.join(`room-${room}`);
    await alice.askOk('ask', { roomId: `room-${room}`, question: 'for ever' });
    const { messageId } = await alice.next('message-appended', ({ roomId }) => roomId === `room-${room}`);
    await admin(server).requestOk('DELETE', `/tenants/default/messages/${messageId}`);
    await eventually(async () => (await alice.ask('ask', { roomId: `room-${room}`, question: 'again' })).ok, 'the assistant to be silent');
    await alice.askOk('stop', `room-${room}`);
  }
});
