// A handler in Python, from `parlance new` to a canary.
import { join } from 'node:path';
import { assertKeys, assertRequests, assertRevise, assertTimer, authorLoop, edit, webService } from './lib/author.mjs';
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

/** What makes it send requests at the event `consult`, and emit `response` for each part of an answer. */
const REQUESTS = [
  ['    timers,\n)', '    timers,\n    on_response,\n    requests,\n)'],
  ['    if name != "hello":', `    if name == "consult":
        service, room = str(args[0]), str(args[1])
        own = {"X-Own": "yes"}
        ids = {
            "ask": requests.send(
                f"{service}/ask", method="put", json={"question": "grüße"}, headers=own, tag=f"{room}/ask"
            ),
            "text": requests.send(f"{service}/text", body="hi", timeout_ms=60_000, tag=f"{room}/text"),
            "gone": requests.send(f"{service}/gone", parts="lines", tag=f"{room}/gone"),
            "lines": requests.send(f"{service}/lines", parts="lines", tag=f"{room}/lines"),
            "events": requests.send(f"{service}/events", parts="server-sent-events", tag=f"{room}/events"),
            "broken": requests.send(f"{service}/broken", attempts=1, tag=f"{room}/broken"),
        }
        requests.cancel(requests.send(f"{service}/ask", headers=[("X-Own", "no")], tag=f"{room}/cancelled"))
        return {"ok": True, "ids": ids}
    if name != "hello":`],
  ['@on_message', `def shown(part: requests.Part) -> Json:
    match part:
        case requests.Whole(status, _, body, ok=True):
            kind = part.header("Content-Type")
            return {"status": status, "ok": True, "type": kind, "json": part.json(), "bytes": isinstance(body, bytes)}
        case requests.Whole():
            return {"status": part.status, "ok": part.ok, "type": part.header("Content-Type"), "text": part.text()}
        case requests.Head(status, headers):
            return {"head": status, "type": dict(headers)["content-type"]}
        case requests.Line(line):
            return {"line": line}
        case requests.ServerSentEvent(event, data, id):
            return {"event": event, "data": data, "id": id}
        case requests.End():
            return {"end": True}
        case requests.Failed(reason, message, attempts):
            return {"reason": reason, "message": len(message) > 0, "attempts": attempts}


@on_response
def answered(event: requests.ResponseEvent) -> None:
    room, name = event.tag.split("/")
    answer: Json = {"room": room, "name": name, "number": event.number, "id": event.id, "part": shown(event.part)}
    emit(Audience.room(room), "response", answer)


@on_message`],
];

/** What makes it change messages as clients ask, and say at the event `revision` what has become of one. */
const REVISE = [
  ['    requests,\n)', '    requests,\n    on_revise,\n    revise,\n)'],
  ['    if name != "hello":', `    if name == "revision":
        revision = revise.get(str(args[0]))
        marks: Json = [[each.kind, each.value, each.count, each.users] for each in revision.marks]
        return {"rev": revision.rev, "edited": revision.edited_at is not None, "marks": marks}
    if name == "add":
        revise.append(str(args[0]), str(args[1]), done=True)
        return None
    if name != "hello":`],
  ['@on_message', `@on_revise
def revised(context: Context, message: str, change: revise.Change) -> Json:
    match change:
        case revise.Edit(content, metadata):
            revise.edit(message, content, metadata)
        case revise.Mark(kind, value, on):
            revise.mark(message, kind, value, on)
        case revise.Delete():
            revise.delete(message)
    return {"by": context.user}


@on_message`],
];

test('an author in Python: new, dev, a mistake, a swap, deploy, canary', async (t) => {
  const service = await webService();
  const timing = await authorLoop({
    language: 'python',
    main: 'src/handler.py',
    breaking: ['words = settings', 'words == = settings'],
    says: /handler\.py[^\n]*line \d+[\s\S]*SyntaxError/,
    grants: [service],
    changed: (dir) => {
      const source = join(dir, 'src/handler.py');
      edit(source, '    messages,\n', '    kv,\n    messages,\n');
      edit(source, '    if name != "hello":', `${KEYS}    if name != "hello":`);
      for (const [from, to] of [...TIMER, ...REQUESTS, ...REVISE]) edit(source, from, to);
    },
    served: async (client) => {
      await assertKeys(client);
      await assertTimer(client);
      await assertRequests(client, service);
      await assertRevise(client);
    },
  });
  t.diagnostic(timing);
});
