// The client python-socketio from PyPI.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { freshRoom } from './lib/client.mjs';
import { PYTHON } from './lib/python.mjs';
import { test } from './lib/scope.mjs';
import { startServer } from './lib/server.mjs';
import { token } from './lib/token.mjs';

const SCRIPTS = resolve(import.meta.dirname, 'python');

const scripts = readdirSync(SCRIPTS).filter((name) => name.endsWith('.py'));

for (const script of scripts) {
  for (const transport of ['websocket', 'polling']) {
    test(`python-socketio over ${transport}: ${script}`, async () => {
      assert.ok(existsSync(PYTHON), `${PYTHON} is missing; make one with the packages of tests/requirements.txt`);
      const server = await startServer();
      const env = {
        ...process.env,
        PARLANCE_URL: server.url,
        PARLANCE_ROOM: freshRoom(),
        PARLANCE_TRANSPORT: transport,
        ANN_TOKEN: token('ann'),
        BOB_TOKEN: token('bob'),
      };
      const { code, output } = await new Promise((done) => {
        execFile(PYTHON, [join(SCRIPTS, script)], { env, timeout: 60_000 }, (error, stdout, stderr) =>
          done({ code: error ? error.code ?? error.signal : 0, output: stdout + stderr }));
      });
      assert.equal(code, 0, output);
      assert.match(output, /^done$/m);
    });
  }
}

test('there are Python tests', () => assert.ok(scripts.length > 0));
