// A handler as a JavaScript tool chain makes it: with WASI for its console and its clock.
import { write } from 'parlance:chat/log@0.1.0';
import { nowMs } from 'parlance:chat/ambient@0.1.0';

const deeds = {
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
  /** Two draws. */
  chance() {
    return { draws: [Math.random(), Math.random()] };
  },
};

export const onEvent = {
  handle(context, name, args) {
    const deed = deeds[name];
    if (!deed) throw { tag: 'invalid', val: `no such deed: ${name}` };
    return JSON.stringify({ ok: true, ...deed(JSON.parse(args)[0] ?? {}) });
  },
};
