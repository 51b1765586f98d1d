// Changes of messages that are posted. `revise.d.ts` says what each does.
import * as reviseHost from 'parlance:chat/revise@0.1.0';
import { call, text } from 'parlance-handlers/host.js';
import { json, parseJson } from 'parlance-handlers/json.js';

export const revise = {
  edit(id, content, metadata) {
    const data = metadata === null || metadata === undefined ? null : json('the metadata of revise.edit()', metadata);
    call('revise.edit', reviseHost.edit, text('the id of revise.edit()', id), text('the content of revise.edit()', content), data);
  },
  append(id, fragment, done = false) {
    if (typeof done !== 'boolean') throw new TypeError('the last argument of revise.append() must be true or false');
    call('revise.append', reviseHost.append, text('the id of revise.append()', id), text('the fragment of revise.append()', fragment), done);
  },
  delete: (id) => call('revise.delete', reviseHost.delete, text('the id of revise.delete()', id)),
  mark(id, kind, value, on = true) {
    if (typeof on !== 'boolean') throw new TypeError('the last argument of revise.mark() must be true or false');
    call(
      'revise.mark',
      reviseHost.mark,
      text('the id of revise.mark()', id),
      text('the kind of revise.mark()', kind),
      text('the value of revise.mark()', value),
      on,
    );
  },
  get: (id) => call('revise.get', reviseHost.get, text('the id of revise.get()', id)),
};

/** What a client asks for, as `onRevise` gets it. */
export function readChange({ tag, val }) {
  if (tag === 'edit') return { type: tag, content: val.content, metadata: parseJson(val.metadata) };
  return tag === 'mark' ? { type: tag, ...val } : { type: tag };
}
