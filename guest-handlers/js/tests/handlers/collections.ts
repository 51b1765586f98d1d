// Typed keys, maps and sets, and the functions beneath them.
import { kv, KvKey, KvMap, KvSet, type Argument, type OnEvent } from 'parlance-handlers';

type Score = { points: number };

const members = (prefix: string) => kv.scan(prefix).map(({ key }) => key);

const events: Record<string, (args: Argument[]) => Argument | Promise<Argument>> = {
  raw() {
    const swapped = [kv.swap('k', null, 'one'), kv.swap('k', null, 'two'), kv.swap('k', 'one', 'three'), kv.setIfAbsent('k', 'four')];
    const many = kv.getMany(['none', 'k']).map((value) => value && [...value]);
    const rest = kv.scan('', { after: 'j', limit: 1 }).map(({ key, value }) => [key, value.length]);
    return { swapped, many, rest };
  },
  key() {
    const title = new KvKey<string>('title', 'a/b');
    const before = title.get() ?? null;
    const taken = [title.setIfAbsent('one'), title.setIfAbsent('two', { ttlMs: 1000 })];
    const count = new KvKey<number>('count');
    count.set(5);
    const sum = count.increment(-7);
    const at = title.get()!;
    title.delete();
    return [title.key, before, taken, at, title.get() ?? null, sum, count.get()!];
  },
  update([name]) {
    return new KvKey<Score>('score', String(name)).update((score) => ({ points: (score?.points ?? 0) + 1 }));
  },
  async map() {
    const scores = new KvMap<Score>('scores');
    for (const [user, points] of [['bob', 2], ['alice', 1], ['carol:x/y%', 3]] as const) scores.set(user, { points });
    const all = [...scores].map(([user, { points }]) => [user, points]);
    const awaited: string[] = [];
    for await (const [user] of scores) awaited.push(user);
    const there = [scores.has('bob'), scores.delete('bob'), scores.delete('bob')];
    return { all, awaited, there, taken: scores.key('alice').setIfAbsent({ points: 9 }), size: scores.size, gone: scores.get('bob') ?? null };
  },
  add([name, ...given]) {
    const set = new KvSet(String(name));
    return [given.map((each) => set.add(String(each))), set.size, [...set].at(-1) ?? null];
  },
  names() {
    for (const name of [['a'], ['a', 'b'], ['a/b'], ['a:b'], ['a%2Fb']] as const) new KvSet(...(name as [string])).add(`b:${name.join()}`);
    return [members(''), [...new KvSet('a')], [...new KvSet('a', 'b')]];
  },
};

export const onEvent: OnEvent = (_, name, args) => events[name]!(args) as never;
