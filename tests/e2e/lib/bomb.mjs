// Compile bombs: small, valid components that are very expensive to compile.

/** Encodes a number as LEB128. */
function leb(number) {
  const bytes = [];
  do {
    const low = number & 0x7f;
    number >>>= 7;
    bytes.push(number ? low | 0x80 : low);
  } while (number);
  return bytes;
}

const section = (id, content) => Buffer.concat([Buffer.from([id, ...leb(content.length)]), content]);

const PREAMBLE = Buffer.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]);

/** Nested components, each of which instantiates the one in it four times: 4 to the power of `levels` in all. */
export function tower(levels) {
  const module = section(1, Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
  // (core instance (instantiate 0))
  const innermost = Buffer.concat([PREAMBLE, module, section(2, Buffer.from([1, 0, 0, 0]))]);
  // (instance (instantiate 0)), four times
  const four = section(5, Buffer.from([4, ...Array.from({ length: 4 }, () => [0, 0, 0]).flat()]));
  return Array.from({ length: levels }).reduce((inner) => Buffer.concat([PREAMBLE, section(4, inner), four]), innermost);
}

const name = (text) => [0, ...leb(text.length), ...Buffer.from(text)];

/**
 * An instance with `width` exports, each an instance with `width` exports …: `width` to the power of `levels` names.
 */
export function nest(levels, width) {
  const letters = Array.from({ length: width }, (_, n) => String.fromCharCode(97 + n));
  // The first instance has no exports.
  const instances = [[1, 0]];
  for (let level = 1; level <= levels; level += 1) {
    instances.push([1, width, ...letters.flatMap((letter) => [...name(letter), 5, ...leb(level - 1)])]);
  }
  const exported = [1, ...name('x'), 5, ...leb(levels), 0];
  return Buffer.concat([PREAMBLE, section(5, Buffer.from([...leb(instances.length), ...instances.flat()])), section(11, Buffer.from(exported))]);
}

/** Nested components. */
export function deep(levels) {
  return Array.from({ length: levels }).reduce((inner) => Buffer.concat([PREAMBLE, section(4, inner)]), PREAMBLE);
}

/** A component with a memory of at least this many pages. */
export function vast(pages) {
  const module = [Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]), section(5, Buffer.from([1, 0, ...leb(pages)]))];
  return Buffer.concat([PREAMBLE, section(1, Buffer.concat(module))]);
}

/** A component around a core module with functions without parameters, each with these bytes as its body. */
function component(bodies) {
  const count = Buffer.from(leb(bodies.length));
  const code = bodies.map((body) => Buffer.concat([Buffer.from(leb(body.length)), body]));
  const module = Buffer.concat([
    Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]),
    section(1, Buffer.from([1, 0x60, 0, 0])),
    section(3, Buffer.concat([count, Buffer.alloc(bodies.length)])),
    section(10, Buffer.concat([count, ...code])),
  ]);
  return Buffer.concat([PREAMBLE, section(1, module)]);
}

/**
 * Functions with many locals that each of many loops changes, so that the compiler must merge every local at the head
 * of each loop. `functions` of them take `functions` times as long as one, and hardly more memory.
 */
export function bomb({ functions, locals = 1000, loops = 1000 }) {
  // (loop (local.set N (i32.add (local.get N) (local.get N + 1))) (br_if 0 (local.get N)))
  const loop = (n) => {
    const [one, next] = [leb(n % locals), leb((n + 1) % locals)];
    return [0x03, 0x40, 0x20, ...one, 0x20, ...next, 0x6a, 0x21, ...one, 0x20, ...one, 0x0d, 0, 0x0b];
  };
  const code = Array.from({ length: loops }, (_, n) => loop(n)).flat();
  const body = Buffer.from([1, ...leb(locals), 0x7f, ...code, 0x0b]);
  return component(Array.from({ length: functions }, () => body));
}
