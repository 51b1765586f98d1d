// Files that are not handlers: refused by `inspect`, and at the start, with the configuration key that names them.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from './lib/scope.mjs';
import { guest, run, SECRET, temporaryDirectory } from './lib/server.mjs';

const COMPONENT = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00];
const whole = readFileSync(guest('hostile'));

const FILES = {
  'an empty file': [Buffer.alloc(0), /empty/],
  'a core module': [Buffer.from([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]), /core module/],
  'a precompiled file': [Buffer.concat([Buffer.from('\x7fELF\x02\x01\x01'), whole]), /precompiled/],
  'WebAssembly text': [readFileSync(new URL('../guests/attacks/harmless.wat', import.meta.url)), /text/],
  'a script': [Buffer.from('#!/bin/sh\nexit 1\n'), /not a WebAssembly component/],
  'a truncated file': [whole.subarray(0, whole.length >> 1), /does not compile/],
  'a component without exports': [Buffer.from(COMPONENT), /exports none of parlance:chat/],
  'a component that wants HTTP and has no grant': [readFileSync(guest('web')), /grants\.http/],
};

for (const [name, [bytes, reason]] of Object.entries(FILES)) {
  test(`attack: ${name} is refused`, async () => {
    const path = join(temporaryDirectory(), 'handler.wasm');
    writeFileSync(path, bytes);
    const inspected = await run(['inspect', path]);
    assert.match(inspected.output, reason);
    const config = join(temporaryDirectory(), 'parlance.toml');
    writeFileSync(config, `[handlers.event]\ncomponent = ${JSON.stringify(path)}\n`);
    const started = await run(['serve', '--config', config], {
      cwd: temporaryDirectory(),
      env: { PORT: '0', JWT_SECRET: SECRET },
    });
    assert.notEqual(started.code, 0, started.output);
    assert.match(started.output, reason);
    assert.match(started.output, /handlers\.event/);
    assert.doesNotMatch(started.output, /panicked|listening/);
  });
}
