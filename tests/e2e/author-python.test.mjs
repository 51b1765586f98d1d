// A handler in Python, from `parlance new` to a canary.
import { join } from 'node:path';
import { assertKeys, assertTimer, authorLoop, edit } from './lib/author.mjs';
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

/** What makes it set a timer at the event `remind`, and emit `reminder` when it is due: replacements in the source. */
const TIMER = [
  ['    settings,\n)', '    settings,\n    Audience,\n    emit,\n    on_timer,\n    timers,\n)'],
  ['    if name != "hello":', `    if name == "remind":
        timers.set("soon", timedelta(milliseconds=300), {"user": context.user, "words": ["a", 1]})
        return None
    if name != "hello":`],
  ['\nfrom parlance_handlers', '\nimport time\nfrom datetime import timedelta\n\nfrom parlance_handlers'],
  ['@on_message', `@on_timer
def remind(name: str, payload: dict[str, Json], due_ms: int) -> None:
    now = time.time_ns() // 1_000_000
    emit(Audience.user(str(payload["user"])), "reminder", {"name": name, "payload": payload, "due": due_ms, "now": now})


@on_message`],
];

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
      for (const [from, to] of TIMER) edit(source, from, to);
    },
    served: async (client) => {
      await assertKeys(client);
      await assertTimer(client);
    },
  });
  t.diagnostic(timing);
});
