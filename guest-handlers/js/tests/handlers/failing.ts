// What goes wrong in a handler. The tests name lines of this file.
import { kv, messages, type OnEvent } from 'parlance-handlers';

interface Unused {
  stripped: boolean;
}

function deeper(value: unknown): void {
  (value as { missing: { property: string } }).missing.property;
}

const events: Record<string, () => unknown> = {
  error() {
    kv.set('before', 'x');
    deeper({});
  },
  string() {
    throw 'a string';
  },
  object() {
    throw { code: 7 };
  },
  wrongType() {
    messages.post({ room: 'general', content: 7 as unknown as string });
  },
  bigint() {
    return { count: 7n };
  },
  loop() {
    for (;;);
  },
  memory() {
    const blocks: Uint8Array[] = [];
    for (;;) blocks.push(new Uint8Array(1 << 20).fill(1));
  },
  recursion() {
    const again = (): number => again() + 1;
    return again();
  },
  largeReply() {
    return 'x'.repeat(1 << 20);
  },
};

export const onEvent: OnEvent = (_, name) => events[name]!() as never;
