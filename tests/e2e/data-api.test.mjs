// The data API: a back end posts, edits, deletes and reads messages, and lists rooms; clients see it as they see each other.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { ADMIN_TOKEN, admin, at, configurationOf } from './lib/admin.mjs';
import { assertGapless, assertNow } from './lib/assert.mjs';
import { connect, freshRoom, refused } from './lib/client.mjs';
import { metric, startFleet, UNLIMITED } from './lib/fleet.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { View } from './lib/view.mjs';
import { eventually } from './lib/wait.mjs';

const DATA_TOKEN = 'a token for the data of acme alone';
const ALL_DATA_TOKEN = 'a token for the data of all tenants';
const tokenOf = (name, text, more) => ({ name, scope: 'data', token_sha256: createHash('sha256').update(text).digest('hex'), ...more });
const server = await startServer({
  env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN },
  config: {
    ...UNLIMITED,
    admin: { tokens: [tokenOf('back-end', DATA_TOKEN, { tenant: 'acme' }), tokenOf('all', ALL_DATA_TOKEN)] },
    tenants: { acme: configurationOf('acme', { limits: { content: 1000, metadata: '1KiB', packet: '2KiB' } }), globex: configurationOf('globex') },
  },
});

/** What a back end does with a tenant's data, with a token. */
function dataOf(node, tenant, bearer) {
  const { request } = admin(node, bearer);
  const path = (room) => `/tenants/${tenant}/rooms/${encodeURIComponent(room)}/messages`;
  const ok = async (status, ...args) => {
    const answer = await request(...args);
    assert.equal(answer.status, status, answer.text);
    return answer.json;
  };
  return {
    request,
    tryPost: (room, body) => request('POST', path(room), { body }),
    post: (room, body) => ok(201, 'POST', path(room), { body }),
    repeat: (room, body) => ok(200, 'POST', path(room), { body }),
    page: (room, query = '') => ok(200, 'GET', path(room) + query),
    message: (id) => ok(200, 'GET', `/tenants/${tenant}/messages/${id}`),
    edit: (id, body) => ok(200, 'PATCH', `/tenants/${tenant}/messages/${id}`, { body }),
    delete: (id, query = '') => ok(200, 'DELETE', `/tenants/${tenant}/messages/${id}${query}`),
    rooms: (query = '') => ok(200, 'GET', `/tenants/${tenant}/rooms${query}`),
  };
}

const acme = dataOf(server, 'acme', DATA_TOKEN);
const member = async (user, room, options) => {
  const client = await connect(server, user, at('acme', user));
  await client.join(room, options);
  return client;
};

test('SIGTERM while a back end posts: what is stored was answered', async () => {
  const own = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN }, config: UNLIMITED });
  const room = freshRoom();
  const data = dataOf(own, 'default', ADMIN_TOKEN);
  const results = Array.from({ length: 400 }, (_, n) => data.tryPost(room, { bot: 'bot', content: 'x', clientId: `${n}` })
    .then(({ status }) => status, () => 'cut'));
  const first = await Promise.race(results);
  assert.equal(first, 201);
  const { code } = await own.stop();
  assert.equal(code, 0);
  const statuses = await Promise.all(results);
  assert.deepEqual(statuses.filter((status) => ![201, 503, 'cut'].includes(status)), []);
  await own.start();
  const again = dataOf(own, 'default', ADMIN_TOKEN);
  for (const [n, status] of statuses.entries()) {
    // A repetition of what was stored is answered with 200.
    const { status: repeated } = await again.tryPost(room, { bot: 'bot', content: 'x', clientId: `${n}` });
    assert.equal(repeated, status === 201 ? 200 : 201, `post ${n}: ${status}, then ${repeated}`);
  }
});

test('posts of a bot and on behalf of a user are seen in order, live and after a rejoin, and no handler runs', async () => {
  const room = freshRoom('a room/of acme');
  const [ann, bob] = [await member('ann', room), await member('bob', room)];
  const handled = () => metric(server, 'parlance_events_total{handler="message"}');
  const before = await handled();
  const bot = await acme.post(room, { bot: 'Deploy Bot', content: 'v7 is live', metadata: { build: 7 } });
  const { id, sentAt, ...others } = bot;
  assertNow(sentAt);
  assert.deepEqual(others, {
    seq: 1, roomId: room, userId: 'bot:Deploy Bot', username: 'Deploy Bot', content: 'v7 is live', metadata: { build: 7 },
  });
  assert.equal(await handled(), before, 'no handler has run');
  await ann.post(room, 'thanks');
  const behalf = await acme.post(room, { userId: 'carol', username: 'Carol', content: 'by mail', clientId: 'mail-1' });
  assert.deepEqual([behalf.seq, behalf.userId, behalf.username, behalf.clientId], [3, 'carol', 'Carol', 'mail-1']);
  for (const client of [ann, bob]) {
    await client.until(() => client.messages(room).length === 3, 'three messages');
    assertGapless(client.messages(room));
    assert.deepEqual([client.messages(room)[0], client.messages(room)[2]], [bot, behalf]);
  }
  const later = await connect(server, 'dan', at('acme', 'dan'));
  assert.deepEqual((await later.join(room, { after: 0 })).messages, bob.messages(room));
  const joined = () => ann.received.filter(({ event }) => event === 'user-joined').map(({ args: [{ userId }] }) => userId);
  await ann.until(() => joined().includes('dan'), 'dan, who came last');
  assert.deepEqual(joined(), ['bob', 'dan'], 'no bot');
});

test('back ends and clients that post at once make one order, the same for all members', async () => {
  const room = freshRoom();
  const clients = [await member('ann', room), await member('bob', room)];
  const EACH = 40;
  const rounds = Array.from({ length: EACH }, (_, n) => n);
  await Promise.all([
    ...clients.map(async (client) => { for (const n of rounds) await client.post(room, `${client.user} ${n}`); }),
    ...rounds.map((n) => acme.post(room, { bot: 'b', content: `at once ${n}` })),
    (async () => { for (const n of rounds) await acme.post(room, { bot: 'c', content: `c ${n}` }); })(),
  ]);
  for (const client of clients) {
    await client.until(() => client.messages(room).length >= 4 * EACH, 'all messages');
    assertGapless(client.messages(room), 4 * EACH);
  }
  assert.deepEqual(clients[0].messages(room), clients[1].messages(room));
  const of = (userId) => clients[0].messages(room).filter((message) => message.userId === userId).map(({ content }) => content);
  assert.deepEqual(of('bot:c'), rounds.map((n) => `c ${n}`), 'one after the other');
});

test('a clientId posts once, and anything else under it is a conflict', async () => {
  const room = freshRoom();
  const ann = await member('ann', room);
  const body = { bot: 'b', content: 'once', metadata: { a: [1] }, clientId: room };
  const first = await acme.post(room, body);
  assert.deepEqual(await acme.repeat(room, body), first);
  for (const more of [{ content: 'twice' }, { metadata: { a: [2] } }, { metadata: undefined }]) {
    const refusal = await acme.tryPost(room, { ...body, ...more });
    assert.deepEqual([refusal.status, refusal.json.code, refusal.type], [409, 'conflict', 'application/problem+json']);
  }
  assert.equal((await acme.tryPost(freshRoom(), body)).status, 409);
  const answers = await Promise.all(Array.from({ length: 8 }, () => acme.tryPost(room, { ...body, content: 'raced', clientId: `${room} raced` })));
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 200, 200, 200, 200, 200, 200, 201]);
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1);

  // A user's clientIds are the same for the user's clients and for a back end on their behalf.
  const own = await ann.post(room, 'from a device', { clientId: 'device' });
  const repeated = await acme.repeat(room, { userId: 'ann', content: 'from a device', clientId: 'device' });
  assert.deepEqual([repeated.id, repeated.seq, repeated.username], [own.id, own.seq, own.username]);
  const behalf = await acme.post(room, { userId: 'ann', username: 'Ann', content: 'from the back end', clientId: 'server' });
  assert.equal((await ann.post(room, 'from the back end', { clientId: 'server' })).id, behalf.id);
  await ann.until(() => ann.messages(room).length === 4, 'four messages');
  assertGapless(ann.messages(room), (await acme.page(room)).messages.at(-1).seq);
});

test('edits and deletes are seen live, and by a client that was away', async () => {
  const room = freshRoom();
  const [ann, bob] = [await member('ann', room), await member('bob', room)];
  const view = new View(room);
  const posted = [await ann.post(room, 'helo'), await acme.post(room, { bot: 'b', content: 'spam', metadata: 1 }), await ann.post(room, 'stays')];
  const joined = async (client) => {
    while (!view.joined(await client.join(room, view.place)));
  };
  await joined(bob);
  bob.close();

  const edited = await acme.edit(posted[0].id, { content: 'hello', metadata: { by: 'a back end' }, bot: 'janitor' });
  assert.deepEqual([edited.content, edited.metadata, edited.rev, edited.userId, edited.seq], ['hello', { by: 'a back end' }, 1, 'ann', 1]);
  assert.deepEqual(await ann.next('message-edited'), {
    messageId: edited.id, roomId: room, seq: 1, rev: 1, userId: 'bot:janitor', content: 'hello', metadata: { by: 'a back end' }, editedAt: edited.editedAt,
  });
  const deleted = await acme.delete(posted[1].id);
  assert.deepEqual([deleted.content, deleted.metadata, deleted.rev, deleted.seq], ['', undefined, 2, 2]);
  assert.deepEqual(await ann.next('message-deleted'), {
    messageId: deleted.id, roomId: room, seq: 2, rev: 2, userId: 'bot:b', deletedAt: deleted.deletedAt,
  });
  assert.deepEqual(await acme.delete(posted[1].id, '?userId=moderator'), deleted, 'it stays as it is');
  assert.deepEqual(await acme.message(edited.id), edited);
  const { status, json } = await acme.request('PATCH', `/tenants/acme/messages/${deleted.id}`, { body: { content: 'back' } });
  assert.deepEqual([status, json.code], [404, 'not-found']);

  await joined(await connect(server, 'bob', at('acme', 'bob')));
  const stayed = new View(room);
  assert.ok(stayed.joined(await ann.join(room, { after: 0, rev: 0 })));
  assert.deepEqual(view.shown(), stayed.shown());
  assert.deepEqual((await acme.page(room)).messages, await ann.history(room));
  await ann.askOk('edit-message', { messageId: posted[2].id, content: 'changed by ann' });
  const mine = await acme.message(posted[2].id);
  assert.deepEqual([mine.content, mine.rev], ['changed by ann', 3]);
});

test('rooms and messages are read page by page', async () => {
  const data = dataOf(server, 'globex', ALL_DATA_TOKEN);
  const rooms = Array.from({ length: 7 }, (_, n) => `room ${n}`);
  for (const room of rooms) for (let n = 0; n < 5; n += 1) await data.post(room, { bot: 'b', content: `${room} ${n}` });
  const { id } = (await data.page(rooms[2], '?limit=1')).messages[0];
  await data.delete(id);

  const listed = [];
  let next;
  do {
    const page = await data.rooms(`?limit=3${next ? `&after=${encodeURIComponent(next)}` : ''}`);
    listed.push(...page.rooms);
    next = page.next;
  } while (next);
  assert.deepEqual(listed, rooms.map((roomId, n) => ({ roomId, lastSeq: 5, rev: n === 2 ? 1 : 0 })));

  const seqs = async (query) => {
    const { messages, complete } = await data.page(rooms[0], query);
    return [messages.map(({ seq }) => seq), complete];
  };
  assert.deepEqual(await seqs('?limit=2'), [[4, 5], false]);
  assert.deepEqual(await seqs('?limit=2&before=4'), [[2, 3], false]);
  assert.deepEqual(await seqs('?after=0&limit=3'), [[1, 2, 3], false]);
  assert.deepEqual(await seqs('?after=3&limit=3'), [[4, 5], true]);
  assert.deepEqual(await data.page('no such room'), { messages: [], complete: true });
  for (const query of ['?limit=0', '?limit=x', '?after=-1', '?before=1.5']) {
    const refusal = await data.request('GET', `/tenants/globex/rooms/x/messages${query}`);
    assert.ok([400, 422].includes(refusal.status) && refusal.json.code === 'invalid', refusal.text);
  }
  // A page has at most 256 KiB of text.
  const large = freshRoom();
  for (let n = 0; n < 20; n += 1) await data.post(large, { bot: 'b', content: 'x'.repeat(16_000) });
  const page = await data.page(large, '?after=0');
  assert.deepEqual([page.messages.length, page.complete], [16, false]);
});

test('a back end makes members of rooms, gives them roles, and ends memberships', async () => {
  const room = freshRoom('members of');
  const path = `/tenants/acme/rooms/${encodeURIComponent(room)}/members`;
  const put = (user, body) => acme.request('PUT', `${path}/${user}`, { body });
  const ann = await member('ann-member', room);
  await acme.post(room, { bot: 'b', content: 'before' });
  for (const role of ['member', 'moderator', 'moderator']) assert.equal((await put('bob-member', { role })).status, 204);
  for (const role of ['member', 'moderator']) {
    await ann.next('member-added', (told) => told.userId === 'bob-member' && told.role === role);
  }
  assert.equal(ann.all('member-added').length, 2, 'nothing is told where nothing changes');
  await acme.post(room, { bot: 'b', content: 'after' });
  const bob = await connect(server, 'bob-member', at('acme', 'bob-member'));
  const { rooms } = await bob.askOk('unread');
  assert.deepEqual(rooms, [{ roomId: room, role: 'moderator', lastSeq: 2, readUpTo: 1, unread: 1, mentions: 0 }]);
  await put('ann-member', { role: 'owner' });
  const page = await acme.request('GET', `${path}?limit=1`);
  assert.deepEqual([page.json.members.map(({ userId, role }) => [userId, role]), page.json.complete], [[['ann-member', 'owner']], false]);
  const rest = await acme.request('GET', `${path}?after=ann-member`);
  assert.deepEqual([rest.json.members.map(({ userId }) => userId), rest.json.complete], [['bob-member'], true]);
  assert.equal((await acme.request('DELETE', `${path}/bob-member`)).status, 204);
  assert.equal((await bob.next('unread-changed', ({ role }) => role === null)).roomId, room);
  assert.equal((await acme.request('DELETE', `${path}/bob-member`)).status, 204);
  for (const [user, body] of [['bob', { role: '' }], ['bob', {}], ['bot%3Ax', { role: 'member' }]]) {
    assert.ok([400, 422].includes((await put(user, body)).status), user);
  }
  assert.equal((await acme.request('GET', path.replace('acme', 'globex'))).status, 404);
});

test('a token of the data API reaches messages and rooms of its tenant, and nothing else', async () => {
  const room = freshRoom();
  const { id } = await acme.post(room, { bot: 'b', content: 'x' });
  for (const [method, path] of [['GET', '/tenants'], ['GET', '/audit'], ['GET', '/logs'], ['GET', '/tenants/acme'], ['GET', '/tenants/acme/handlers'],
    ['POST', '/tenants/acme/revocations'], ['POST', '/tenants/acme/clients/emit'], ['POST', '/tenants/acme/clients/find'], ['DELETE', '/tenants/acme']]) {
    for (const bearer of [DATA_TOKEN, ALL_DATA_TOKEN]) {
      const refusal = await admin(server, bearer).request(method, path, method === 'POST' ? { body: {} } : {});
      assert.deepEqual([refusal.status, refusal.json.code], [403, 'forbidden'], `${method} ${path}: ${refusal.text}`);
    }
  }
  for (const [method, path, body] of [['POST', `/rooms/${room}/messages`, { bot: 'b', content: 'x' }], ['GET', `/rooms/${room}/messages`], ['GET', '/rooms'],
    ['GET', `/messages/${id}`], ['PATCH', `/messages/${id}`, { content: 'x' }], ['DELETE', `/messages/${id}`]]) {
    const [refusal, absent] = await Promise.all(['globex', 'nobody'].map((tenant) => acme.request(method, `/tenants/${tenant}${path}`, { body })));
    assert.deepEqual([refusal.status, refusal.json.code], [404, 'not-found']);
    assert.equal(refusal.text.replaceAll('globex', 'nobody'), absent.text, 'no tenant learns which others there are');
    assert.equal((await admin(server, 'wrong').request(method, `/tenants/acme${path}`, { body })).status, 401);
  }
  const other = dataOf(server, 'globex', ALL_DATA_TOKEN);
  assert.equal((await other.request('GET', `/tenants/globex/messages/${id}`)).status, 404, 'an id of another tenant names nothing');
  assert.equal((await other.request('DELETE', `/tenants/globex/messages/${id}`)).status, 404);
  assert.equal((await acme.message(id)).content, 'x');
  // An operator's token may use the data API too.
  await dataOf(server, 'acme').post(room, { bot: 'operator', content: 'y' });
  assert.deepEqual(await admin(server).requestOk('GET', '/audit?tenant=acme'), [], 'the audit log has nothing of it');
});

test('what is not allowed is refused with a stable code, and nothing is posted', async () => {
  const room = freshRoom();
  const refusals = [
    [{ bot: 'b', content: 'x'.repeat(1001) }, 413, 'too-large'],
    [{ bot: 'b', content: 'x'.repeat(2048) }, 413, 'too-large'],
    [{ bot: 'b', content: '' }, 422, 'invalid'],
    [{ content: 'x' }, 422, 'invalid'],
    [{ bot: 'b', userId: 'u', content: 'x' }, 422, 'invalid'],
    [{ userId: 'bot:b', content: 'x' }, 422, 'invalid'],
    [{ bot: 'b' }, 400, 'invalid'],
    [{ bot: 'b', content: 'x', unknown: 1 }, 400, 'invalid'],
    [{ bot: 'b', content: 'x', metadata: JSON.parse(`${'['.repeat(65)}${']'.repeat(65)}`) }, 422, 'invalid'],
  ];
  for (const [body, status, code] of refusals) {
    const refusal = await acme.tryPost(room, body);
    assert.deepEqual([refusal.status, refusal.json.code, refusal.type], [status, code, 'application/problem+json'], JSON.stringify(body).slice(0, 80));
  }
  const path = `/tenants/acme/rooms/${room}/messages`;
  assert.equal((await acme.request('POST', path, { raw: '{}', headers: { 'content-type': 'text/plain' } })).status, 415);
  assert.equal((await acme.request('POST', path, { raw: '{', headers: { 'content-type': 'application/json' } })).status, 400);
  assert.equal((await acme.tryPost('x'.repeat(129), { bot: 'b', content: 'x' })).status, 422);
  for (const id of ['01ARZ3NDEKTSV4RRFFQ69G5FAV', 'nonsense']) assert.equal((await acme.request('GET', `/tenants/acme/messages/${id}`)).status, 404);
  for (const query of ['?atfer=1', '?after=x', '?limit=1&page=2']) {
    const refusal = await acme.request('GET', `${path}${query}`);
    assert.deepEqual([refusal.status, refusal.json.code], [400, 'invalid'], query);
  }
  assert.equal((await acme.request('DELETE', '/tenants/acme/messages/01ARZ3NDEKTSV4RRFFQ69G5FAV?user=ann')).status, 400);
  assert.deepEqual(await acme.page(room), { messages: [], complete: true });
});

test('no client can be a bot', async () => {
  assert.match((await refused(server, at('acme', 'bot:Deploy Bot'))).message, /`bot:` is reserved for bots/);
  assert.match((await refused(server, { auth: { token: token('bot:x') } })).message, /reserved/);
});

test('a tenant over its budgets or its quota is told when to try again', async () => {
  const { requestOk } = admin(server);
  const create = (name, quota) => requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name, { quota }) } });
  await create('busy', { events_per_second: 1, event_burst: 2 });
  const busy = dataOf(server, 'busy', ALL_DATA_TOKEN);
  const answers = await Promise.all(Array.from({ length: 4 }, () => busy.tryPost('r', { bot: 'b', content: 'x' })));
  const limited = answers.find(({ status }) => status === 429);
  assert.equal(limited.json.code, 'rate-limited');
  assert.ok(limited.json.retryAfterMs > 0 && limited.json.retryAfterMs <= 1000, limited.text);
  assert.equal(limited.retryAfter, '1');
  await create('full', { message_bytes: 1024 });
  const full = await dataOf(server, 'full', ALL_DATA_TOKEN).tryPost('r', { bot: 'b', content: 'x'.repeat(1000) });
  assert.deepEqual([full.status, full.json.code, full.retryAfter], [507, 'quota-exceeded', '60']);
});

test('what was answered survives kill -9, and repeating everything posts each message once', async () => {
  const own = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN }, config: UNLIMITED });
  const [data, room] = [dataOf(own, 'default'), freshRoom()];
  const bodies = Array.from({ length: 100 }, (_, n) => ({ bot: 'b', content: `message ${n}`, clientId: `id ${n}` }));
  let answered = 0;
  const first = await Promise.all(bodies.map(async (body) => {
    const answer = await data.tryPost(room, body).catch(() => ({ json: null }));
    if (answer.json) answered += 1;
    if (answered === 50) own.kill();
    return answer.json;
  }));
  await own.restart();
  const again = await Promise.all(bodies.map((body) => data.tryPost(room, body)));
  assert.ok(answered >= 50);
  for (const [n, message] of first.entries()) {
    assert.ok([200, 201].includes(again[n].status), again[n].text);
    if (message) assert.deepEqual([again[n].status, again[n].json], [200, message]);
  }
  const { messages, complete } = await data.page(room, '?after=0&limit=200');
  assertGapless(messages, bodies.length);
  assert.equal(complete, true);
  assert.deepEqual(messages.map(({ content }) => content).sort(), bodies.map(({ content }) => content).sort());
});

test('in a fleet all nodes see it, and an outage of the database is told with the time to wait', async () => {
  const { nodes: [one, two] } = await startFleet({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
  const [here, there] = [one, two].map((node) => dataOf(node, 'default'));
  const room = freshRoom();
  const [ann, bob] = [await connect(one, 'ann'), await connect(two, 'bob')];
  for (const client of [ann, bob]) await client.join(room);
  const first = await here.post(room, { bot: 'b', content: 'hello', clientId: 'first' });
  assert.deepEqual(await there.repeat(room, { bot: 'b', content: 'hello', clientId: 'first' }), first);
  const second = await there.post(room, { userId: 'carol', content: 'and again' });
  for (const client of [ann, bob]) {
    await client.until(() => client.messages(room).length === 2, 'both');
    assert.deepEqual(client.messages(room), [first, second]);
  }
  await there.edit(first.id, { content: 'hello, all' });
  await here.delete(second.id);
  for (const client of [ann, bob]) {
    assert.deepEqual([(await client.next('message-edited')).rev, (await client.next('message-deleted')).rev], [1, 2]);
  }
  for (const each of [here, there]) {
    assert.deepEqual(await each.rooms(), { rooms: [{ roomId: room, lastSeq: 2, rev: 2 }] });
    assert.deepEqual((await each.page(room)).messages, await ann.history(room));
  }

  one.toPostgres.cut();
  const body = { bot: 'b', content: 'through an outage', clientId: 'outage' };
  for (const failed of [await here.tryPost(room, body), await here.request('GET', '/tenants/default/rooms'), await here.request('GET', `/tenants/default/messages/${first.id}`)]) {
    assert.deepEqual([failed.status, failed.json.code, failed.json.retryAfterMs, failed.retryAfter], [503, 'unavailable', 1000, '1'], failed.text);
  }
  one.toPostgres.restore();
  const posted = await eventually(async () => {
    const answer = await here.tryPost(room, body);
    return answer.status < 300 && answer.json;
  }, 'the database to be back', 20_000);
  assert.deepEqual(await there.repeat(room, body), posted);
  assert.equal(posted.seq, 3);
  for (const client of [ann, bob]) await client.next('new-message', ({ id }) => id === posted.id);
});
