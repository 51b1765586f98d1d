//! Does with keys and timers what its event lists: each argument is one operation, `["append", "key", "x"]`, and the
//! answer has the result of each. The event's name does not matter. A timer that is due adds 1 to the key `fired/NAME`, and to `fired` if its payload says `sum`,
//! appends its name to the list that its payload names, and tells the room `timers`.

use parlance_guest::broadcast::Audience;
use parlance_guest::messages::{self, Draft};
use parlance_guest::{
    Arguments, Context, EventHandler, HttpRequest, Payload, Rejection, ResponseHandler, ResponsePart, Serialize,
    TimerHandler, TypingHandler, ambient, emit, kv, log, requests, rooms, timers,
};
use serde_json::{Value, json};

struct Keys;

impl EventHandler for Keys {
    fn handle(_: &Context, name: &str, arguments: Arguments) -> Result<impl Serialize, Rejection> {
        let operations: Vec<Value> = arguments.parse()?;
        log::write(log::Level::Info, &format!("{name}: {} operations", operations.len()));
        let results: Result<Vec<Value>, Rejection> = operations.iter().map(run).collect();
        Ok(json!({ "results": results? }))
    }
}

fn run(operation: &Value) -> Result<Value, Rejection> {
    let text = |at: usize| operation[at].as_str().unwrap_or_default();
    let shown = |value: Option<Vec<u8>>| value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let key = text(1);
    Ok(match text(0) {
        "get" => json!(shown(kv::get(key)?)),
        // What careless handlers do with a read that fails.
        "get-or-null" => json!(kv::get(key).ok().flatten().is_some()),
        "get-or-panic" => json!(shown(kv::get(key).expect("the store to answer"))),
        "get-many" => {
            let keys: Vec<String> = serde_json::from_value(operation[1].clone()).unwrap_or_default();
            json!(kv::get_many(&keys)?.into_iter().map(shown).collect::<Vec<_>>())
        }
        "scan" => {
            let limit = operation[3].as_u64().and_then(|limit| u32::try_from(limit).ok());
            let page = kv::scan(key, operation[2].as_str(), limit.unwrap_or(100))?;
            json!(
                page.into_iter()
                    .map(|entry| (entry.key, shown(Some(entry.value))))
                    .collect::<Vec<_>>()
            )
        }
        "set" => json!(kv::set(key, text(2).as_bytes(), operation[3].as_u64())?),
        "delete" => json!(kv::delete(key)?),
        "increment" => json!(kv::increment(key, operation[2].as_i64().unwrap_or(1))?),
        "swap" => json!(kv::swap(
            key,
            operation[2].as_str().map(str::as_bytes),
            text(3).as_bytes(),
            None
        )?),
        "set-if-absent" => json!(kv::set_if_absent(key, text(2).as_bytes(), None)?),
        // Reads a list and writes it with one more word.
        "append" => {
            let before = shown(kv::get(key)?).unwrap_or_default();
            let after = format!("{before} {}", text(2));
            kv::set(key, after.trim_start().as_bytes(), None)?;
            json!(before)
        }
        // Appends by compare and set, which is safe at every isolation level.
        "swap-append" => loop {
            let before = shown(kv::get(key)?);
            let after = format!("{} {}", before.clone().unwrap_or_default(), text(2));
            let expected = before.as_ref().map(String::as_bytes);
            if kv::swap(key, expected, after.trim_start().as_bytes(), None)? {
                break json!(before.unwrap_or_default());
            }
        },
        "timer" => {
            let due = ambient::now_ms().saturating_add(operation[2].as_u64().unwrap_or(0));
            json!(timers::set(key, due, operation[3].as_u64(), &operation[4].to_string())?)
        }
        // `["request", URL, TAG, {parts, body, timeout, attempts, headers}]`
        "request" => {
            let options = &operation[3];
            let number = |name: &str| options[name].as_u64();
            let mut request = match options["body"].as_str() {
                Some(body) => HttpRequest::post(key).body(body),
                None => HttpRequest::new(options["method"].as_str().unwrap_or("GET"), key),
            };
            for (name, value) in options["headers"].as_object().into_iter().flatten() {
                request = request.header(name, value.as_str().unwrap_or_default());
            }
            request = match options["parts"].as_str() {
                Some("lines") => request.lines(),
                Some("events") => request.server_sent_events(),
                _ => request,
            };
            if let Some(timeout) = number("timeout") {
                request = request.timeout(std::time::Duration::from_millis(timeout));
            }
            if let Some(attempts) = number("attempts") {
                request = request.attempts(u8::try_from(attempts).unwrap_or(u8::MAX));
            }
            json!(request.tag(text(2)).send()?)
        }
        "cancel-request" => json!(requests::cancel(key)?),
        "cancel-timer" => json!(timers::cancel(key)?),
        "leave" => json!(rooms::leave(key)?),
        "random" => json!(ambient::random_u64() % 1000),
        #[allow(clippy::empty_loop, reason = "it is stopped")]
        "loop" => loop {},
        "refuse" => return Err(Rejection::Denied("as asked".into())),
        other => return Err(Rejection::Invalid(format!("no such operation: {other}"))),
    })
}

impl TimerHandler for Keys {
    fn handle(name: &str, due_ms: u64, payload: Payload) -> Result<(), Rejection> {
        let payload: Value = payload.parse()?;
        kv::increment(&format!("fired/{name}"), 1)?;
        if payload["sum"] == true {
            kv::increment("fired", 1)?;
        }
        if let Some(list) = payload["list"].as_str() {
            run(&json!(["append", list, name]))?;
        }
        // The host refuses this: a timer has no user to post for.
        if let Some(room) = payload["post"].as_str() {
            messages::post(&Draft {
                room: room.to_owned(),
                content: "from a timer".to_owned(),
                metadata: None,
                client_id: None,
            })?;
        }
        emit(
            &Audience::Room("timers".into()),
            "timer",
            &(name, due_ms, ambient::now_ms(), &payload),
        )?;
        match payload["end"].as_str() {
            Some("refuse") => Err(Rejection::Denied("as asked".into())),
            Some("trap") => Err(run(&json!(["loop"]))
                .err()
                .unwrap_or(Rejection::Denied("no loop".into()))),
            Some("again") => Ok(timers::set(name, ambient::now_ms() + 300, None, "{}")?),
            _ => Ok(()),
        }
    }
}

/// Each part adds 1 to the key `answered/TAG/NUMBER`, and to `answered` if the tag begins with `sum`, and is told to the room `responses`. A tag with `refuse` or `trap` in
/// it does so, `again URL` sends another request, and `list KEY` appends the part's number to that key.
impl ResponseHandler for Keys {
    fn handle(id: &str, tag: &str, number: u32, part: ResponsePart) -> Result<(), Rejection> {
        kv::increment(&format!("answered/{tag}/{number}"), 1)?;
        if tag.starts_with("sum") {
            kv::increment("answered", 1)?;
        }
        let shown = match &part {
            ResponsePart::Whole(response) => json!({"whole": response.text(), "status": response.status}),
            ResponsePart::Head(head) => json!({"head": head.status}),
            ResponsePart::Line(line) => json!({ "line": line }),
            ResponsePart::Event(event) => json!({"event": event.event, "data": event.data, "id": event.id}),
            ResponsePart::End => json!("end"),
            ResponsePart::Failed(failure) => {
                json!({"failed": format!("{:?}", failure.reason).trim_start_matches("Reason::"), "message": failure.message, "attempts": failure.attempts})
            }
        };
        emit(
            &Audience::Room("responses".into()),
            "response",
            &(id, tag, number, shown),
        )?;
        if tag.contains("trap") {
            run(&json!(["loop"]))?;
        }
        if tag.contains("refuse") {
            return Err(Rejection::Denied("as asked".into()));
        }
        if let Some(list) = tag.strip_prefix("list ") {
            run(&json!(["append", list, number.to_string()]))?;
        }
        if let Some(url) = tag.strip_prefix("again ") {
            HttpRequest::get(url).tag("second").send()?;
        }
        Ok(())
    }
}

/// The handler of typing is this one too, so both have the same keys.
impl TypingHandler for Keys {
    fn handle(context: &Context, room: String, typing: bool) -> Result<(), Rejection> {
        kv::increment("typing", 1)?;
        Ok(emit(
            &Audience::OthersInRoom(room),
            "user-typing",
            &(&context.user, typing),
        )?)
    }
}

parlance_guest::export!(Keys: event, timer, response, typing);
