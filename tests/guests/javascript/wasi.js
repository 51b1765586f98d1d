// A handler as a JavaScript tool chain builds it: with WASI for its clock, its engine's panics and its output.
import { nowMs } from 'parlance:chat/ambient@0.1.0';
import { write } from 'parlance:chat/log@0.1.0';
import { getStderr } from 'wasi:cli/stderr@0.2.0';
import { getStdout } from 'wasi:cli/stdout@0.2.0';

/** What other engines have. The texts here are ASCII. */
function print(stream, text) {
  stream.blockingWriteAndFlush(Uint8Array.from(`${text}\n`, (character) => character.charCodeAt(0)));
  stream[Symbol.dispose]();
}
const console = {
  log: (text) => print(getStdout(), text),
  error: (text) => print(getStderr(), text),
};

const actions = {
  /** Prints in several ways, and logs between them. */
  print() {
    console.log('printed first');
    write('info', 'logged second');
    console.log('printed third,\nin two lines');
    console.error('printed as an error');
  },
  /** Prints `count` lines. */
  flood({ count }) {
    for (let n = 0; n < count; n += 1) console.log(`line ${n} `.padEnd(1000, 'x'));
  },
  /** Both clocks of the host, in milliseconds. */
  clock() {
    return { clock: Date.now(), ambient: Number(nowMs()) };
  },
  /** An error nobody expects. */
  fail() {
    undefined.property;
  },
};

export const onEvent = {
  handle(_, name, args) {
    const action = actions[name];
    if (!action) throw { tag: 'invalid', val: `no such action: ${name}` };
    return JSON.stringify({ ok: true, ...action(JSON.parse(args)[0] ?? {}) });
  },
};
