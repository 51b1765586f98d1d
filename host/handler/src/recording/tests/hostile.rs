//! Files that somebody has made to do harm: well-formed, with values that no server writes.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// How a test changes one value of a line.
#[derive(Debug, Clone)]
enum Edit {
    Put(Value),
    Remove,
    /// Another value of the same line stands there too.
    Copy(Index),
}

fn edits() -> impl Strategy<Value = Edit> {
    let text = |count| Value::from("x".repeat(count));
    let nested = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let values = vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(0.5),
        json!(1e300),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(""),
        json!("\0\u{202e}\n"),
        json!("18446744073709551616"),
        text(5000),
        json!([]),
        json!({}),
        json!(vec![1; 1000]),
        json!({"value": null}),
        json!({"base64": "!"}),
        nested,
    ];
    prop_oneof![
        4 => proptest::sample::select(values).prop_map(Edit::Put),
        1 => Just(Edit::Remove),
        1 => any::<Index>().prop_map(Edit::Copy),
    ]
}

/// The JSON pointers of all values in this one.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{n}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(item, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

fn apply(line: &mut Value, at: Index, edit: &Edit) {
    let mut found = Vec::new();
    places(line, "", &mut found);
    let place = at.get(&found);
    let new = match edit {
        Edit::Put(value) => value.clone(),
        Edit::Copy(from) => line.pointer(from.get::<String>(&found)).unwrap().clone(),
        Edit::Remove => {
            let Some((parent, name)) = place.rsplit_once('/') else {
                return;
            };
            match line.pointer_mut(parent).unwrap() {
                Value::Object(fields) => drop(fields.remove(name)),
                Value::Array(items) => drop(items.remove(name.parse().unwrap())),
                _ => {}
            }
            return;
        }
    };
    *line.pointer_mut(place).unwrap() = new;
}

/// Reads a file, and does with it what the commands do: masks it, replays it and compares.
fn use_all(text: &[u8]) {
    let Ok(mut reader) = Reader::open(Cursor::new(text)) else {
        return;
    };
    let handler = handler();
    // Within the time that a test has.
    let most = GuestLimits {
        wall_time: Duration::from_millis(100),
        ..Limits::most()
    };
    let Ok(replayer) = Replayer::new(handler, reader.header(), Vec::new(), Some(most)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut reporter = Reporter::default();
    while let Ok(Some(entry)) = reader.next_entry() {
        let masked = entry.event.clone().masked(false);
        assert_eq!(masked.clone().masked(false), masked, "masking twice is masking once");
        let _ = Context::clone(&entry.context).masked();
        if !replayer.handles(&entry.event) {
            continue;
        }
        if let Ok(replayed) = runtime.block_on(replayer.replay(&entry, &Quantum::new())) {
            reporter.add(&entry, &replayed, true);
            reporter.add(&entry, &replayed, false);
        }
    }
    assert!(reporter.finish().different_percent() <= 100.0);
}

/// The shipped message handler, which is compiled once.
fn handler() -> Handler {
    static LOADED: std::sync::OnceLock<(Arc<Sandbox>, Handler)> = std::sync::OnceLock::new();
    let (sandbox, _) = LOADED.get_or_init(|| {
        let sandbox = sandbox();
        let handler = shipped(&sandbox, "message");
        (sandbox, handler)
    });
    shipped(sandbox, "message")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever values a file has, reading, masking, replaying and comparing it end, with a result or an error.
    #[test]
    fn a_file_with_values_of_a_strangers_choice_is_used_or_refused(
        changes in proptest::collection::vec((any::<Index>(), any::<Index>(), edits()), 1..6),
        repeated in any::<Index>(),
    ) {
        let text = std::str::from_utf8(sample()).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (line, at, edit) in &changes {
            let line = line.index(lines.len());
            apply(&mut lines[line], *at, edit);
        }
        // Contexts and events may come twice, and in any order.
        let again = repeated.get(&lines).clone();
        lines.push(again);
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        use_all(text.join("\n").as_bytes());
    }
}
