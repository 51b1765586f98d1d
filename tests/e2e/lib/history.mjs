// Records what clients did and saw and what the store has, for `parlance-history` to check; tests/history/src/record.rs
// describes the records.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { BINARY, temporaryDirectory } from './server.mjs';

const CHECKER = resolve(process.env.PARLANCE_HISTORY ?? join(dirname(BINARY), 'parlance-history'));

export class History {
  #lines = [];

  constructor() {
    // Fail now, not after the test has run for minutes.
    if (!existsSync(CHECKER)) {
      throw new Error(`${CHECKER} is missing; \`cargo build --workspace\` makes it, and PARLANCE_HISTORY may name another place`);
    }
  }

  push(record) {
    this.#lines.push(`${JSON.stringify(record)}\n`);
  }

  /** Fails with the violations, or returns counts of what was checked. */
  check() {
    const file = join(temporaryDirectory(), 'history.ndjson');
    writeFileSync(file, this.#lines.join(''));
    const { status, stdout, stderr } = spawnSync(CHECKER, [file], { encoding: 'utf8' });
    assert.ok(status === 0, `the history is wrong:\n${stderr}`);
    return JSON.parse(stdout);
  }
}
