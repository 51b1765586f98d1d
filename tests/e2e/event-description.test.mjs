// The AsyncAPI document of all events: it is what the server prints, it is valid, the types are made from it, and it is
// true of the packets of a running server.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import Ajv from 'ajv';
import { connect, freshRoom } from './lib/client.mjs';
import { DOCUMENT, eventTypes, TYPES } from './lib/event-types.mjs';
import { test } from './lib/scope.mjs';
import { BINARY, guest, startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const specs = createRequire(import.meta.url)('@asyncapi/specs');
const document = JSON.parse(readFileSync(DOCUMENT, 'utf8'));
const { messages } = document.components;
const operations = Object.entries(document.operations);
const sent = operations.filter(([, { action }]) => action === 'send').map(([name]) => name);
const received = operations.filter(([, { action }]) => action === 'receive').map(([name]) => name);

test('the committed document is what the server prints', () => {
  const { stdout, stderr } = spawnSync(BINARY, ['events'], { encoding: 'utf8' });
  assert.equal(readFileSync(DOCUMENT, 'utf8'), stdout, `write it anew: parlance events > host/asyncapi.json ${stderr}`);
});

test('the document is valid by the schema of AsyncAPI 3.0, and a mistake in it is not', () => {
  const ajv = new Ajv({ strict: false, validateFormats: false, meta: false, validateSchema: false });
  const valid = ajv.compile(specs.schemas['3.0.0']);
  assert.ok(valid(document), JSON.stringify(valid.errors?.slice(0, 5)));
  const wrong = structuredClone(document);
  wrong.operations['join-room'].action = 'reply';
  assert.ok(!valid(wrong));
});

test('the types are made from the document, and follow a change of it', () => {
  const types = readFileSync(TYPES, 'utf8');
  assert.equal(types, eventTypes(document), 'write them anew: node tests/e2e/lib/event-types.mjs');
  const changes = [
    ({ schemas }) => { delete schemas.Message.properties.username; schemas.Message.required.splice(schemas.Message.required.indexOf('username'), 1); },
    ({ schemas }) => { schemas.Message.properties.seq.type = 'string'; },
    ({ schemas }) => { schemas.Member.required.pop(); },
    ({ schemas }) => { schemas.ErrorCode.oneOf.pop(); },
    (components) => { components.messages.typing.payload.minItems = 2; },
    (components) => { components.messages.kicked.payload.items[0].properties.until.type = 'string'; },
  ];
  for (const change of changes) {
    const changed = structuredClone(document);
    change(changed.components);
    assert.notEqual(eventTypes(changed), types, String(change));
  }
  const unknown = structuredClone(document);
  unknown.components.schemas.Receipt.patternProperties = {};
  assert.throws(() => eventTypes(unknown), /patternProperties/);
});

/** A copy in which no object has other keys, and no array other items, than those that are described. */
function closed(value) {
  if (Array.isArray(value)) return value.map(closed);
  if (value === null || typeof value !== 'object') return value;
  const copy = Object.fromEntries(Object.entries(value).map(([key, each]) => [key, closed(each)]));
  if (copy.type === 'object' && copy.properties) copy.additionalProperties = false;
  if (copy.type === 'array' && Array.isArray(copy.items)) copy.maxItems = copy.items.length;
  return copy;
}

const strict = new Ajv({ strict: false });
strict.addSchema({ $id: 'document', ...closed({ components: document.components }) });

/** Checks the arguments against the schema of a message. */
function check(key, args) {
  assert.ok(messages[key], `${key} is not described`);
  const valid = strict.getSchema(`document#/components/messages/${key}/payload`);
  assert.ok(valid(args), `${key} ${JSON.stringify(args)}: ${JSON.stringify(valid.errors)}`);
}

test('every packet of a session is as it is described', async () => {
  const adding = { component: guest('hostile'), events: ['append-then-ok'] };
  const server = await startServer({
    config: { handlers: { room: { settings: { members: 'lasting' } }, hostile: adding }, auth: { expiring_notice: '1h' } },
  });
  const [room, other] = [freshRoom(), freshRoom()];
  const answered = new Set();
  const ann = await connect(server, 'ann', { auth: { token: token('ann', {}, { expiresIn: '30m' }) } });
  const bob = await connect(server, 'bob');
  const ask = async (client, event, ...args) => {
    check(event, args);
    const answer = await client.ask(event, ...args);
    check(answer.ok ? `${event}.answer` : 'failed', [answer]);
    if (answer.ok) answered.add(event);
    return answer;
  };
  await ask(ann, 'join-room', room);
  await ask(bob, 'join-room', room, { last: 5, rev: 0, after: 0 });
  const { message } = await ask(ann, 'send-message', { roomId: room, content: 'hello', metadata: { a: [1] }, clientId: 'c' });
  await ask(bob, 'mark-message', { messageId: message.id, kind: 'reaction', value: '+1' });
  await ask(ann, 'edit-message', { messageId: message.id, content: 'hello!', metadata: 'more' });
  await ann.askOk('append-then-ok', { messageId: message.id });
  await ann.askOk('append-then-ok', { messageId: message.id, count: 1 });
  await ask(bob, 'read-message', message.id);
  await ask(bob, 'typing', room);
  await ask(bob, 'typing', room, false);
  await ask(bob, 'set-presence', 'away');
  await ask(ann, 'get-presence', ['bob', 'nobody']);
  const { messages: page } = await ask(ann, 'history', { roomId: room, limit: 10 });
  assert.equal(page[0].marks.length, 1);
  await ask(ann, 'unread');
  await ask(ann, 'unread', { limit: 1, after: '!' });
  await ask(ann, 'room-members', { roomId: room });
  await ask(ann, 'delete-message', { messageId: message.id });
  await ask(ann, 'refresh-token', token('ann', {}, { expiresIn: '40m' }));
  const joined = await ask(bob, 'join-room', room, { after: 1, rev: 0 });
  assert.equal(joined.changes[0].deletedAt > 0, true);
  const refused = await ask(ann, 'send-message', { roomId: other, content: 'hello' });
  assert.equal(refused.ok, false);
  ann.emit('send-message', { roomId: other, content: 'hello' });
  await ask(bob, 'leave-room', room);
  const last = (event, client = ann) => client.next(event);
  await Promise.all([last('error-event'), last('user-left'), last('member-removed'), last('token-expiring')]);
  const seen = new Set();
  for (const { event, args } of [...ann.received, ...bob.received]) {
    check(event, args);
    seen.add(event);
  }
  assert.deepEqual(received.filter((event) => !answered.has(event)), []);
  // Moderators' events need a handler of one's own; the other comes where a node has missed changes.
  const elsewhere = ['disconnect-reason', 'kicked', 'message-changed'];
  assert.deepEqual(sent.filter((event) => !seen.has(event)), elsewhere);
});

test('the server takes what is described as optional as such, and refuses what lacks what is required', async () => {
  const server = await startServer();
  const ann = await connect(server, 'ann');
  for (const event of received) {
    const { payload } = messages[event];
    if (payload.minItems > 0) {
      const { error } = await ann.ask(event);
      assert.equal(error?.code, 'invalid', event);
    }
    for (const [n, item] of payload.items.entries()) {
      for (const key of item.required ?? []) {
        const args = payload.items.map(example);
        delete args[n][key];
        const { error } = await ann.ask(event, ...args);
        assert.deepEqual([error?.code, error?.message.includes(key)], ['invalid', true], `${event} without ${key}`);
      }
    }
    const { unknown, error } = await ann.ask(event, ...payload.items.map(example));
    assert.deepEqual([unknown, error?.unknown, error?.code === 'invalid'], [undefined, undefined, false], `${event} ${error?.message}`);
  }
});

/** A value that a schema of a request allows, with all keys. */
function example(schema) {
  if (schema.allOf) return example(schema.allOf[0]);
  if (schema.anyOf) return example(schema.anyOf.find(({ type }) => type !== 'null'));
  if (schema.$ref) return example(document.components.schemas[schema.$ref.split('/').at(-1)]);
  if (schema.enum) return schema.enum[0];
  if (schema.pattern) return '01ARZ3NDEKTSV4RRFFQ69G5FAV';
  const [type] = [schema.type ?? 'null'].flat();
  if (type === 'object') return Object.fromEntries(Object.entries(schema.properties).map(([key, each]) => [key, example(each)]));
  return { array: ['a'], boolean: true, integer: 1, null: { any: true }, string: 'general' }[type];
}
