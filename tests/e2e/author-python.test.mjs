// A handler in Python, from `parlance new` to a canary.
import { authorLoop, withTimer } from './lib/author.mjs';
import { test } from './lib/scope.mjs';

test('an author in Python: new, dev, a mistake, a swap, deploy, canary, with a timer', async (t) => {
  const timing = await authorLoop({
    language: 'python',
    main: 'src/handler.py',
    breaking: ['words = settings', 'words == = settings'],
    says: /handler\.py[^\n]*line \d+[\s\S]*SyntaxError/,
    ...withTimer('src/handler.py', [
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
    ]),
  });
  t.diagnostic(timing);
});
