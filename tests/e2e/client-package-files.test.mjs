// The client package as others get it: what npm packs, its types, and its hooks for React.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { create } from 'react-test-renderer';
import { createElement } from 'react';
import { io } from 'socket.io-client';
import * as exported from '../../examples/web-chat/client/index.js';
import { freshRoom } from './lib/client.mjs';
import { startChat } from './lib/chat.mjs';
import { installPacked, PACKAGE, packedFiles } from './lib/packed.mjs';
import { owned, test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';
import { eventually } from './lib/wait.mjs';

const { createClient } = exported;
const TSC = join(import.meta.dirname, 'node_modules/typescript/bin/tsc');

test('npm packs the modules, their types, the manifest and the guide, and nothing else', () => {
  const modules = readdirSync(PACKAGE).filter((name) => name.endsWith('.js'));
  assert.ok(modules.length > 5, String(modules));
  const expected = [...modules, 'README.md', 'events.d.ts', 'index.d.ts', 'package.json', 'react.d.ts'].sort();
  assert.deepEqual(packedFiles(), expected);
  const { exports, dependencies, peerDependencies } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8'));
  for (const target of Object.values(exports).flatMap((target) => (typeof target === 'string' ? target : Object.values(target)))) {
    assert.ok(expected.includes(target.slice(2)), target);
  }
  assert.deepEqual([dependencies, Object.keys(peerDependencies)], [undefined, ['react', 'socket.io-client']]);
});

/** The names of what an interface of a file of types has itself. */
function declared(file, name) {
  const body = readFileSync(join(PACKAGE, file), 'utf8').match(new RegExp(`export interface ${name}\\b[^]*?\\{\\n([^]*?)\\n\\}`))[1];
  return [...new Set([...body.matchAll(/^ {2}(?:readonly )?(\w+)\??[:(]/gm)].map(([, member]) => member))].sort();
}

test('the types say what is there: members of clients, snapshots and modules', () => {
  const client = createClient({ io, userId: 'ann', url: 'http://localhost:1', getToken: () => '' });
  client.open('general');
  client.send('general', 'text');
  const members = [...Object.getOwnPropertyNames(Object.getPrototypeOf(client)), ...Object.keys(client)];
  assert.deepEqual(members.filter((name) => name !== 'constructor').sort(), declared('index.d.ts', 'ChatClient'));
  const snapshot = client.getSnapshot();
  assert.deepEqual(Object.keys(snapshot).sort(), declared('index.d.ts', 'ClientSnapshot'));
  assert.deepEqual(Object.keys(snapshot.rooms[0]).sort(), declared('index.d.ts', 'RoomSnapshot'));
  const [outgoing] = snapshot.rooms[0].outgoing;
  assert.deepEqual(Object.keys(outgoing).filter((key) => !declared('index.d.ts', 'OutgoingMessage').includes(key)), []);
  const functions = readFileSync(join(PACKAGE, 'index.d.ts'), 'utf8').matchAll(/export declare (?:function|const) (\w+)/g);
  assert.deepEqual([...functions].map(([, name]) => name).sort(), Object.keys(exported).sort());
});

test('the types have every event and every code of the guide for clients', () => {
  const guide = readFileSync(join(PACKAGE, '../../../host/clients.md'), 'utf8');
  const types = readFileSync(join(PACKAGE, 'events.d.ts'), 'utf8');
  const rows = guide.split('\n## Events\n')[1].split('\n## ')[0].split('\n').filter((line) => line.startsWith('| `'));
  const cells = rows.map((line) => line.split(' | '));
  const has = (list, name) => new RegExp(`^  '?${name}'?: ?\\(`, 'm').test(types.split(`export interface ${list} {`)[1].split('\n}')[0]);
  const asked = cells.map(([first]) => first.match(/`([a-z-]+)`/)[1]);
  const sent = cells.flatMap(([, second]) => [...second.matchAll(/`([a-z-]+)` \{/g)].map(([, name]) => name));
  assert.ok(asked.length > 10 && sent.length > 8, String([asked, sent]));
  assert.deepEqual(asked.filter((name) => !has('ClientEvents', name)), []);
  assert.deepEqual(sent.filter((name) => !has('ServerEvents', name)), []);
  const codes = [...guide.split('| code | meaning |')[1].matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code);
  const typed = [...types.split('export type ErrorCode =')[1].split(';')[0].matchAll(/'([a-z-]+)'/g)].map(([, code]) => code);
  assert.deepEqual(typed, codes);
});

/** A program that uses what a client of the package uses. */
const PROGRAM = `
import { io, type Socket } from 'socket.io-client';
import { createClient, readersOf, type ChatClient, type RoomSnapshot } from '@parlance/client';
import { useChat, useRoom, useUnread } from '@parlance/client/react';
import type { ClientEvents, ServerEvents } from '@parlance/client/events';

export const client: ChatClient = createClient({
  io,
  url: 'http://localhost:3000',
  userId: 'ann',
  getToken: async ({ reason }) => (reason === 'connect' ? 'a' : { token: 'b', expiresAt: 1 }),
  storage: { getItem: () => null, setItem: () => {} },
  socketOptions: { path: '/chat/io' },
});
client.on('message', ({ seq, content, marks }) => console.log(seq + 1, content.length, marks.map(({ value }) => value)));
client.on('problem', ({ event, code, retryable }) => console.log(event, code === 'denied', retryable));
client.socket.on('message-edited', ({ rev, content }) => console.log(rev + 1, content.length));
const room: RoomSnapshot | undefined = client.getRoom('general');
if (room) console.log(readersOf(room, room.messages[0]!).join(), room.outgoing[0]?.error?.retryAfterMs);
const result = await client.edit('id', 'text');
if (!result.ok) console.log(result.error.code);
const socket: Socket<ServerEvents, ClientEvents> = io();
socket.emit('join-room', 'general', { last: 1 }, (answer) => console.log(answer.ok ? answer.epoch : answer.error.code));
export const drawn = () => [useChat(client).state, useRoom(client, 'general')?.unread, useUnread(client)];
`;

/** Mistakes in such a program, each with what the compiler must say. */
const MISTAKES = [
  ['createClient({ io, userId: "ann" });', /getToken/],
  ['client.getSnapshot().rooms.push(room!);', /push/],
  ['client.getRoom("general")!.messages[0]!.content = "";', /read-only/],
  ['client.on("massage", () => {});', /massage/],
  ['socket.emit("leave-rooms", "general");', /leave-rooms/],
];

const OPTIONS = {
  noEmit: true, strict: true, noUncheckedIndexedAccess: true, module: 'nodenext', target: 'es2022', lib: ['es2023', 'dom'], types: [],
};

/** What the compiler says of a program. */
function compile(project, text) {
  writeFileSync(join(project, 'program.ts'), text);
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: OPTIONS, files: ['program.ts'] }));
  return spawnSync(process.execPath, [TSC, '--project', project, '--pretty', 'false'], { cwd: project, encoding: 'utf8' }).stdout;
}

test('TypeScript accepts a program that uses the package, and finds its mistakes', () => {
  const project = installPacked(['socket.io-client', 'socket.io-parser', 'engine.io-client', '@socket.io', 'debug', 'ms']);
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
  assert.equal(compile(project, PROGRAM), '');
  const all = compile(project, PROGRAM + MISTAKES.map(([line]) => line).join('\n'));
  const first = PROGRAM.split('\n').length;
  MISTAKES.forEach(([line, says], n) => {
    const found = all.split(/^(?=program\.ts)/m).find((each) => each.startsWith(`program.ts(${first + n},`));
    assert.match(found ?? `nothing; the compiler says:\n${all}`, says, line);
  });
});

/** A room's texts, and how many users have read them. */
function Shown({ hooks, client, room, drawn }) {
  const shown = hooks.useRoom(client, room);
  drawn();
  const texts = (shown?.messages ?? []).map(({ content }) => content);
  return createElement('p', {}, `${texts} ${shown?.reads.length ?? 0}`);
}

/** The client's state, and how much is unread. */
function Head({ hooks, client }) {
  return createElement('h1', {}, `${hooks.useChat(client).state} ${hooks.useUnread(client)}`);
}

test('the hooks draw a component again when what it shows has changed', async () => {
  const project = installPacked(['react', 'socket.io-client']);
  const load = (file) => import(pathToFileURL(join(project, 'node_modules/@parlance/client', file)));
  const [packed, hooks] = [await load('index.js'), await load('react.js')];
  const server = await startServer();
  const room = freshRoom();
  const client = packed.createClient({ io, url: server.url, userId: 'ann', getToken: () => token('ann'), socketOptions: { forceNew: true } });
  owned(client);
  let drawings = 0;
  const drawn = () => {
    drawings += 1;
  };
  const root = create(createElement('div', {}, createElement(Head, { hooks, client }), createElement(Shown, { hooks, client, room, drawn })));
  owned({ close: () => root.unmount() });
  const text = (type) => root.root.findByType(type).children.join();
  const shows = (type, wanted) =>
    eventually(() => root.toJSON() && text(type) === wanted, () => `<${type}> ${wanted}; it shows ${text(type)}`);
  await shows('h1', 'idle 0');
  client.connect();
  await shows('h1', 'live 0');
  const bob = await (await startChat(server, 'bob')).joined(room);
  bob.client.send(room, 'hello');
  await shows('p', 'hello 0');
  await shows('h1', 'live 1');
  client.markRead(room, 1);
  await shows('h1', 'live 0');
  await shows('p', 'hello 1');
  const before = drawings;
  const other = freshRoom();
  client.open(other);
  await eventually(() => client.getRoom(other).state === 'joined', 'the other room');
  await bob.joined(other);
  bob.client.send(other, 'elsewhere');
  await shows('h1', 'live 1');
  assert.equal(drawings, before, 'another room is nothing to it');
});
