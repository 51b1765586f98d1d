// A handler in Python, from `parlance new` to a canary.
import { join } from 'node:path';
import { assertKeys, authorLoop, edit } from './lib/author.mjs';
import { test } from './lib/scope.mjs';

/** What the handler does at the event `keys`. */
const KEYS = `    if name == "keys":
        guests, points = kv.Set("guests", "tea"), kv.Map[int]("points")
        was_set = [kv.set_if_absent("first", "a"), kv.set_if_absent("first", "b"), kv.swap("first", b"a", "c")]
        added = [guests.add("bob"), guests.add("bob")]
        guests.add("alice")
        points.set("bob", 1)
        points.key("bob").update(lambda value: (value or 0) + 2)
        assert kv.get_many(["first", "none"]) == [b"c", None] and "bob" in guests and points.count() == 1
        assert guests.remove("eve") is False and points.key("bob").increment(0) == 3
        scanned = [key for key, _ in kv.scan("guests/")]
        return {
            "set": was_set, "added": added, "guests": list(guests), "points": list(points.items()), "scanned": scanned
        }
`;

test('an author in Python: new, dev, a mistake, a swap, deploy, canary', async (t) => {
  const timing = await authorLoop({
    language: 'python',
    main: 'src/handler.py',
    breaking: ['words = settings', 'words == = settings'],
    says: /handler\.py[^\n]*line \d+[\s\S]*SyntaxError/,
    changed: (dir) => {
      const source = join(dir, 'src/handler.py');
      edit(source, '    messages,\n', '    kv,\n    messages,\n');
      edit(source, '    if name != "hello":', `${KEYS}    if name != "hello":`);
    },
    served: assertKeys,
  });
  t.diagnostic(timing);
});
