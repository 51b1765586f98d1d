// Makes the TypeScript types of all events from their AsyncAPI document: examples/web-chat/client/events.d.ts from
// host/asyncapi.json. Run it to write the types anew: node tests/e2e/lib/event-types.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '../../..');
export const DOCUMENT = join(ROOT, 'host/asyncapi.json');
export const TYPES = join(ROOT, 'examples/web-chat/client/events.d.ts');

const HEAD = `// The events between Parlance and its clients, as its own handlers answer them. Times are milliseconds since the Unix
// epoch. \`Socket<ServerEvents, ClientEvents>\` of socket.io-client is a socket with these types.
// Made from host/asyncapi.json by tests/e2e/lib/event-types.mjs.

/** A JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** The acknowledgement of an event. */
export type Answer<T = unknown> =
  | ({ readonly ok: true; /** Keys of the request that the server does not know. */ readonly unknown?: readonly string[] } & T)
  | { readonly ok: false; readonly error: EventError };

type Acknowledge<T = unknown> = (answer: Answer<T>) => void;
`;

/** Keywords that a type cannot say, or that are said elsewhere. */
const UNSAID = ['description', 'title', 'default', 'minimum', 'maximum', 'minLength', 'maxLength', 'pattern', 'minItems'];

const nameOf = ($ref) => $ref.match(/^#\/components\/schemas\/(\w+)$/)[1];

function comment(text, indent) {
  if (!text) return '';
  const lines = text.trim().split('\n');
  if (lines.length === 1) return `${indent}/** ${lines[0]} */\n`;
  return `${indent}/**\n${lines.map((line) => `${indent} * ${line}`.trimEnd()).join('\n')}\n${indent} */\n`;
}

const key = (name) => (/^\w+$/.test(name) ? name : `'${name}'`);

/** The members of an object's type: first those that are always there, in the order of the server's struct. */
function fields({ properties = {}, required = [] }, { readonly, indent }) {
  const optional = Object.keys(properties).filter((name) => !required.includes(name)).sort();
  return [...required, ...optional].map((name) => {
    const schema = properties[name];
    const mark = required.includes(name) ? '' : '?';
    return `${comment(schema.description, indent)}${indent}${readonly}${key(name)}${mark}: ${typeOf(schema, { readonly, indent })};\n`;
  });
}

function objectType(schema, { readonly, indent }) {
  const members = fields(schema, { readonly, indent: `${indent}  ` });
  return members.length ? `{\n${members.join('')}${indent}}` : '{}';
}

/** The type of a schema. Throws on a keyword that it does not know, so nothing is left out unseen. */
export function typeOf(schema, options = { readonly: 'readonly ', indent: '' }) {
  if (schema === true) return 'Json';
  const { $ref, allOf, anyOf, oneOf, enum: values, const: value, type, items, properties, required, ...others } = schema;
  const unknown = Object.keys(others).filter((keyword) => !UNSAID.includes(keyword));
  if (unknown.length) throw new Error(`no type is made of ${unknown}`);
  if ($ref) return nameOf($ref);
  if (allOf) return allOf.map((each) => typeOf(each, options)).join(' & ');
  const union = anyOf ?? oneOf;
  if (union) return union.map((each) => typeOf(each, options)).join(' | ');
  if (value !== undefined) return typeof value === 'string' ? `'${value}'` : String(value);
  if (values) return values.map((each) => `'${each}'`).join(' | ');
  if (type === undefined) return 'Json';
  const types = [type].flat().map((each) => {
    if (each === 'object') return objectType({ properties, required }, options);
    if (each === 'array') return `${options.readonly}${typeOf(items ?? true, options)}[]`;
    return { integer: 'number', number: 'number', string: 'string', boolean: 'boolean', null: 'null' }[each];
  });
  return types.join(' | ');
}

function declaration(name, schema, readonly) {
  const about = comment(schema.description, '');
  const whole = typeOf(schema);
  if (schema.type === 'object') return `${about}export interface ${name} ${objectType(schema, { readonly, indent: '' })}\n`;
  const consts = (schema.oneOf ?? []).every((each) => each.const !== undefined || each.enum) && schema.oneOf;
  if (!consts) return `${about}export type ${name} = ${whole};\n`;
  const one = (each) => `${comment(each.description, '  ')}  | ${typeOf(each)}\n`;
  return `${about}export type ${name} =\n${consts.map(one).join('').trimEnd()};\n`;
}

/** The names of all schemas that a value refers to, with those to which these refer. */
function referred(document, value, found = new Set()) {
  for (const [, name] of JSON.stringify(value).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
    if (found.has(name)) continue;
    found.add(name);
    referred(document, document.components.schemas[name], found);
  }
  return found;
}

/** What an answer has besides `ok` and `unknown`, as a type's argument. */
function answerType(document, key) {
  const [item] = document.components.messages[key].payload.items;
  const name = nameOf(item.$ref);
  return name === 'Done' ? '' : `<${name}>`;
}

function clientEvent(document, name) {
  const { summary, payload } = document.components.messages[name];
  const indent = '    ';
  const options = { readonly: '', indent };
  const answer = answerType(document, `${name}.answer`);
  // Who asks for data wants the answer; in TypeScript the arguments before a required one are required too.
  const required = answer ? payload.items.length : payload.minItems;
  const args = payload.items.map((item, n) => `${indent}${item.title}${n < required ? '' : '?'}: ${typeOf(item, options)},\n`);
  args.push(`${indent}acknowledge${answer ? '' : '?'}: Acknowledge${answer},\n`);
  return `${comment(summary, '  ')}  ${key(name)}: (\n${args.join('')}  ) => void;\n`;
}

function serverEvent(document, name) {
  const { summary, payload } = document.components.messages[name];
  const type = typeOf(payload.items[0], { readonly: 'readonly ', indent: '  ' });
  return `${comment(summary, '  ')}  ${key(name)}: (argument: ${type}) => void;\n`;
}

/** The text of the types. */
export function eventTypes(document) {
  const { schemas, messages } = document.components;
  const operations = Object.entries(document.operations);
  const names = (action) => operations.filter(([, each]) => each.action === action).map(([name]) => name);
  const sent = referred(document, names('receive').map((name) => messages[name]));
  const answers = new Set(names('receive').map((name) => nameOf(messages[`${name}.answer`].payload.items[0].$ref)));
  const types = Object.keys(schemas).filter((name) => name !== 'Done' && name !== 'Failed').map((name) => {
    const schema = structuredClone(schemas[name]);
    if (answers.has(name)) {
      for (const common of ['ok', 'unknown']) delete schema.properties[common];
      schema.required = schema.required.filter((each) => each !== 'ok');
    }
    return declaration(name, schema, sent.has(name) ? '' : 'readonly ');
  });
  const server = `/** What the server sends. */\nexport interface ServerEvents {\n${names('send').map((name) => serverEvent(document, name)).join('')}}\n`;
  const client = `/** What a client sends. The last argument gets the acknowledgement. */\nexport interface ClientEvents {\n${names('receive').map((name) => clientEvent(document, name)).join('')}}\n`;
  return [HEAD, ...types, server, client].join('\n');
}

if (process.argv[1] === import.meta.filename) writeFileSync(TYPES, eventTypes(JSON.parse(readFileSync(DOCUMENT, 'utf8'))));
