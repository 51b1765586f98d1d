//! Names and keys that would collide if their parts were joined as text.

use parlance_testing::{Event, TestHost};
use serde_json::{Value, json};

use crate::built::hostile;

fn ask(host: &mut TestHost, event: &str, key: &str) -> Value {
    let outcome = host.dispatch(Event::custom(event, &json!([{"key": key}])));
    outcome.assert_ok();
    outcome.reply.clone()
}

#[test]
fn a_handlers_name_and_a_key_are_never_joined() {
    let mut host = hostile().named("a:b").member("alice", "general");
    ask(&mut host, "kv-set-then-ok", "c");
    for (name, key) in [("a", "b:c"), ("a:", "b:c"), ("a:b:", "c"), ("ab", ":c"), ("a:b", ":c")] {
        host = host.named(name);
        assert_eq!(ask(&mut host, "kv-get", key)["value"], Value::Null, "{name} {key}");
        ask(&mut host, "kv-delete-then-ok", key);
    }
    host = host.named("a:b");
    assert_eq!(ask(&mut host, "kv-get", "c")["value"], "an action");
}
