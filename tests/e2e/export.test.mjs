// A tenant and a user are exported, and a tenant is imported.
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ADMIN_TOKEN, admin, at, configurationOf, operate } from './lib/admin.mjs';
import { connect, freshRoom } from './lib/client.mjs';
import { test } from './lib/scope.mjs';
import { guest, startServer, temporaryDirectory } from './lib/server.mjs';

const server = await startServer({ env: { PARLANCE_ADMIN_TOKEN: ADMIN_TOKEN } });
const api = admin(server);
const DIR = temporaryDirectory();
const SETTINGS = encodeURIComponent(JSON.stringify({ user_keys: '{user}/' }));

/** Makes a tenant whose custom events have a handler with keys. */
async function tenant(name) {
  await api.requestOk('POST', '/tenants', { body: { name, configuration: configurationOf(name) } });
  await api.deploy(name, 'keys', guest('keys'), `?settings=${SETTINGS}`);
}

async function command(...args) {
  const { code, output, stdout } = await operate(server, args);
  assert.equal(code, 0, output);
  return stdout;
}

/** The records of an export without its first line, which names the tenant and the time. */
const records = (text) => text.trimEnd().split('\n').slice(1).map((line) => JSON.parse(line));

await tenant('acme');
const rooms = [freshRoom(), freshRoom()];
const [ann, bob] = [await connect(server, 'ann', at('acme', 'ann', { name: 'Ann' })), await connect(server, 'bob', at('acme', 'bob'))];
for (const client of [ann, bob]) for (const room of rooms) await client.join(room);
const posted = [];
for (let n = 0; n < 250; n += 1) {
  posted.push(await (n % 5 ? bob : ann).post(rooms[n % 2], `text ${n} \u2028 "é"`, n % 3 ? {} : { metadata: { n }, clientId: `id-${n}` }));
}
await ann.askOk('edit-message', { messageId: posted[0].id, content: 'edited' });
await ann.askOk('delete-message', { messageId: posted[5].id });
for (const client of [ann, bob]) await client.askOk('mark-message', { messageId: posted[1].id, kind: 'reaction', value: '👍' });
for (const client of [ann, bob]) await client.askOk('read-message', posted[1].id);
for (const [user, role] of [['ann', 'owner'], ['bob', 'member']]) {
  const { status } = await api.request('PUT', `/tenants/acme/rooms/${rooms[0]}/members/${user}`, { body: { role } });
  assert.equal(status, 204);
}
await bob.askOk('read-message', posted[2].id);
await ann.ask('keys', ['set', 'ann/one', 'of ann'], ['set', 'bob/one', 'of bob'], ['set', 'late', 'x', 3_600_000]);

test('an export is imported into another tenant, whose export is equal, and which goes on', async () => {
  const file = join(DIR, 'acme.ndjson');
  await command('export', '--tenant', 'acme', '--output', file);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const again = await operate(server, ['export', '--tenant', 'acme', '--output', file]);
  assert.deepEqual([again.code, /acme\.ndjson exists already; .*--force/.test(again.output)], [2, true], again.output);
  await command('export', '--tenant', 'acme', '--output', file, '--force');
  const exported = readFileSync(file, 'utf8');
  const [header] = exported.split('\n').map((line) => line && JSON.parse(line));
  assert.deepEqual([header.format, header.version, header.tenant, header.user], ['parlance-export', 1, 'acme', undefined]);
  const last = records(exported).at(-1).end;
  assert.deepEqual(last, { rooms: 2, messages: 250, marks: 2, receipts: 3, keys: 3, members: 2, bans: 0 });
  await tenant('copy');
  assert.match(await command('import', file, '--tenant', 'copy'), /imported 2 rooms, 250 messages, 2 marks, 3 receipts, 3 keys, 2 members and 0 bans/);
  assert.deepEqual(records(await command('export', '--tenant', 'copy')), records(exported));
  const usage = async (name) => (({ messageBytes, kvBytes, rooms }) => [messageBytes.used, kvBytes.used, rooms.used])(await api.requestOk('GET', `/tenants/${name}/usage`));
  assert.deepEqual(await usage('copy'), await usage('acme'));

  const there = await connect(server, 'ann', at('copy', 'ann', { name: 'Ann' }));
  const joined = await there.join(rooms[1], { after: 0, rev: 0 });
  const here = await ann.join(rooms[1], { after: 0, rev: 0 });
  assert.deepEqual([joined.messages, joined.changes, joined.lastSeq, joined.rev], [here.messages, here.changes, here.lastSeq, here.rev]);
  assert.equal((await there.post(rooms[1], 'next')).seq, 126);
  await there.askOk('mark-message', { messageId: posted[1].id, kind: 'pin', value: 'x' });
  assert.equal((await there.next('message-marked')).rev, here.rev + 1);
  const { results } = await there.ask('keys', ['get-many', ['ann/one', 'late']]);
  assert.deepEqual(results[0], ['of ann', 'x']);

  const refused = await operate(server, ['import', file, '--tenant', 'copy']);
  assert.equal(refused.code, 1);
  assert.match(refused.output, /has data already/);
});

test('a wrong line is named, and nothing of the import stays', async () => {
  const exported = (await command('export', '--tenant', 'acme')).trimEnd().split('\n');
  await tenant('broken');
  const refused = async (lines, problem) => {
    const file = join(DIR, 'broken.ndjson');
    writeFileSync(file, `${lines.join('\n')}\n`);
    const { code, output } = await operate(server, ['import', file, '--tenant', 'broken']);
    assert.equal(code, 1);
    assert.match(output, problem);
    assert.deepEqual(records(await command('export', '--tenant', 'broken')), [{ end: { rooms: 0, messages: 0, marks: 0, receipts: 0, keys: 0, members: 0, bans: 0 } }]);
  };
  await refused(exported.slice(0, -1), /the export is not whole/);
  await refused(exported.toSpliced(240, 1), /line 241: seq: \d+ does not follow/);
  await refused(exported.with(230, '{"message":{}}'), /line 231: missing field `roomId`/);
  await refused(['{"format":"other","version":1,"tenant":"a","exportedAt":1}'], /line 1: the format is "other"/);
  const twice = exported.find((line) => line.startsWith('{"key"'));
  await refused(exported.toSpliced(-1, 0, twice), /line \d+: counts other records/);
  await refused(exported.slice(-1), /line 1: is not the first line of an export/);
});

test('the export of a user has what is theirs, and of others nothing', async () => {
  const text = await command('export', '--tenant', 'acme', '--user', 'ann');
  const [header] = text.split('\n').map((line) => line && JSON.parse(line));
  assert.equal(header.user, 'ann');
  const all = records(text);
  const of = (kind) => all.filter((record) => record[kind]).map((record) => record[kind]);
  assert.equal(of('message').length, 50);
  assert.ok(of('message').every(({ userId }) => userId === 'ann'));
  assert.deepEqual(of('message').filter(({ editedAt }) => editedAt).map(({ content }) => content), ['edited']);
  assert.deepEqual(of('mark').map(({ userId, value }) => [userId, value]), [['ann', '👍']]);
  assert.deepEqual(of('receipt').map(({ userId }) => userId), ['ann']);
  assert.deepEqual(of('key').map(({ handler, key, text: value }) => [handler, key, value]), [['keys', 'ann/one', 'of ann']]);
  assert.equal(text.includes('bob'), false);
  const refused = await api.request('POST', '/tenants/broken/data', { raw: text, headers: { 'content-type': 'application/x-ndjson' } });
  assert.equal(refused.status, 422);
  assert.match(refused.text, /line 1: is an export of one user/);
});

test('an export goes on beside new messages, and has no gap', async () => {
  const room = freshRoom();
  await ann.join(room);
  let ends = false;
  const posting = (async () => {
    for (let n = 0; !ends; n += 1) await ann.post(room, `live ${n}`);
  })();
  await ann.until(() => ann.messages(room).length > 20, 'some messages');
  const text = await command('export', '--tenant', 'acme');
  ends = true;
  await posting;
  const all = records(text);
  const { lastSeq } = all.find((record) => record.room?.id === room).room;
  const seqs = all.filter((record) => record.message?.roomId === room).map((record) => record.message.seq);
  assert.deepEqual(seqs, Array.from({ length: lastSeq }, (_, n) => n + 1));
  assert.ok(lastSeq > 20);
});
