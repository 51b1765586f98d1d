//! Changes of messages.

use parlance_testing::{Event, TestHost};
use serde_json::json;

use super::ask;

/// Changes a message with `kinds.ts`, and makes mistakes.
pub(crate) fn changes(host: &mut TestHost) {
    for user in ["alice", "bob"] {
        host.dispatch(Event::join("changes").by(user)).assert_ok();
    }
    let id = host.post("alice", "changes", "first");
    let edit = Event::edit(&id, "grüße").metadata(&json!({"a": [1]})).by("alice");
    assert_eq!(
        host.dispatch(edit).assert_ok().reply,
        json!({"ok": true, "data": {"type": "edit"}})
    );
    host.dispatch(Event::mark(&id, "reaction", "👍", true).by("bob"))
        .assert_ok();
    let revision = host.dispatch(Event::custom("revision", &json!([id])).by("alice"));
    let revision = &revision.assert_ok().reply;
    assert_eq!(revision["rev"], 2);
    assert_eq!(
        revision["marks"],
        json!([{"kind": "reaction", "value": "👍", "count": 1, "users": ["bob"]}])
    );
    let message = host.history("changes").pop().unwrap();
    assert_eq!(
        (message.content.as_str(), message.metadata.as_deref()),
        ("grüße", Some(r#"{"a":[1]}"#))
    );
    for arguments in [json!([id, " und"]), json!([id, "", true])] {
        host.dispatch(Event::custom("add", &arguments).by("alice")).assert_ok();
    }
    assert_eq!(host.history("changes").pop().unwrap().content, "grüße und");
    let told = host.received("bob");
    let told = told.iter().rev().take(2).map(|each| each.arguments[0]["done"].clone());
    assert_eq!(told.collect::<Vec<_>>(), [json!(true), json!(null)]);
    host.dispatch(Event::delete(&id).by("alice")).assert_ok();
    assert!(host.history("changes").pop().unwrap().is_deleted());
    let mistakes = json!([
        "not-found",
        "invalid",
        "the content of revise.edit() must be a string, not a value of type number",
        "the metadata of revise.edit() cannot be a function",
        "the last argument of revise.mark() must be true or false",
        "the last argument of revise.append() must be true or false",
    ]);
    assert_eq!(ask(host, "badChanges", &json!([])), mistakes);
}
