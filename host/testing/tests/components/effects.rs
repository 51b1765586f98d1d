//! Promise 1: each kind of effect happens if the handler accepts the event, and does not if it fails.

use parlance_testing::{Change, Effect, Event, Message, Outcome, Status, TestHost, Write};
use serde_json::{Value, json};

use crate::built::hostile;

/// Alice and bob in one room with a message, bob in another, and a key with a number.
struct Scene {
    host: TestHost,
    message: String,
}

/// Everything that a client could observe.
#[derive(Debug, PartialEq)]
struct Visible {
    messages: Vec<Message>,
    value: Option<Vec<u8>>,
    members: [Vec<String>; 2],
    status: Status,
    received: [usize; 2],
}

impl Scene {
    fn new() -> Self {
        let mut host = hostile()
            .kv("key", "1")
            .member("alice", "general")
            .member("bob", "general")
            .member("bob", "side");
        let message = host.post("bob", "general", "hello");
        Self { host, message }
    }

    fn event(&mut self, effect: &str, end: &str) -> Outcome {
        let room = if effect == "join" { "side" } else { "general" };
        let action = json!([{"roomId": room, "messageId": self.message, "key": "key"}]);
        self.host
            .dispatch(Event::custom(format!("{effect}-then-{end}"), &action))
    }

    fn visible(&self) -> Visible {
        let host = &self.host;
        Visible {
            messages: host.history("general"),
            value: host.value("key"),
            members: [host.members("general"), host.members("side")],
            status: host.presence("alice", "alice").status,
            received: [host.received("alice").len(), host.received("bob").len()],
        }
    }
}

const EFFECTS: [&str; 13] = [
    "post",
    "kv-set",
    "kv-delete",
    "kv-increment",
    "emit",
    "join",
    "leave",
    "presence",
    "mark-read",
    "edit",
    "append",
    "remove",
    "mark",
];

#[test]
fn promise_1_all_or_nothing_accepted() {
    for effect in EFFECTS {
        let mut scene = Scene::new();
        let before = scene.visible();
        let outcome = scene.event(effect, "ok");
        outcome.assert_ok();
        assert_eq!(outcome.reply, json!({"ok": true}));
        let [happened] = outcome.effects.as_slice() else {
            panic!("{effect}: {:?}", outcome.effects)
        };
        assert_eq!(name(happened), effect);
        assert_ne!(scene.visible(), before, "{effect} is to be seen");
    }
}

#[test]
fn promise_1_all_or_nothing_refused() {
    for effect in EFFECTS {
        for (end, code) in [("reject", "denied"), ("trap", "handler-failed")] {
            let mut scene = Scene::new();
            let before = scene.visible();
            let outcome = scene.event(effect, end);
            assert_eq!(outcome.reply["error"]["code"], code, "{effect}, then {end}");
            assert!(outcome.effects.is_empty(), "{effect}, then {end}");
            assert_eq!(scene.visible(), before, "{effect}, then {end}");
        }
    }
}

#[test]
fn promise_1_all_or_nothing_not_committed() {
    for effect in EFFECTS {
        let mut scene = Scene::new();
        let before = scene.visible();
        scene.host.store_down(true);
        let outcome = scene.event(effect, "ok");
        scene.host.store_down(false);
        match effect {
            // These write nothing, so they do not need the store.
            "emit" | "join" | "leave" | "presence" => drop(outcome.assert_ok()),
            _ => {
                assert_eq!(outcome.reply["error"]["code"], "unavailable", "{effect}");
                assert!(outcome.effects.is_empty(), "{effect}");
                assert_eq!(scene.visible(), before, "{effect}");
            }
        }
    }
}

#[test]
fn the_next_event_sees_the_effects_of_this_one() {
    let mut scene = Scene::new();
    let value = |scene: &mut Scene| -> Value {
        scene
            .host
            .dispatch(Event::custom("kv-get", &json!([{"key": "key"}])))
            .reply["value"]
            .clone()
    };
    assert_eq!(value(&mut scene), "1");
    scene.event("kv-increment", "ok").assert_ok();
    assert_eq!(value(&mut scene), "2");
    scene.event("kv-set", "reject");
    assert_eq!(value(&mut scene), "2");
    scene.event("kv-set", "ok").assert_ok();
    assert_eq!(value(&mut scene), "an action");
    // The value is no longer a number.
    assert_eq!(scene.event("kv-increment", "ok").reply["error"]["code"], "invalid");
    scene.event("kv-delete", "ok").assert_ok();
    assert_eq!(value(&mut scene), Value::Null);
    scene.event("leave", "ok").assert_ok();
    assert_eq!(scene.event("post", "ok").reply["error"]["code"], "denied");
}

fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::Write(write) => match &**write {
            Write::Append(_) => "post",
            Write::MarkRead { .. } => "mark-read",
            Write::Revise(revise) => match revise.change {
                Change::Edit { .. } => "edit",
                Change::Append { .. } => "append",
                Change::Delete => "remove",
                Change::Mark { .. } => "mark",
            },
            Write::KvSet { .. } => "kv-set",
            Write::DueSet { .. } => "timer-set",
            Write::KvDelete { .. } => "kv-delete",
            Write::KvIncrement { .. } => "kv-increment",
            Write::KvRaise { .. } => "kv-raise",
        },
        Effect::Emit { .. } => "emit",
        Effect::Kick { .. } => "kick",
        Effect::Disconnect { .. } => "disconnect",
        Effect::Join(_) => "join",
        Effect::Leave(_) => "leave",
        Effect::SetPresence(_) => "presence",
        Effect::SetData(_) => "set-data",
    }
}
