//! The example `examples/moderation`, as its author would test it.

use parlance_testing::{Code, Event, TestHost};

use crate::built::moderation;

fn host() -> TestHost {
    moderation().setting("words", "darn heck").member("alice", "general")
}

#[test]
fn an_unwanted_word_is_refused_however_it_is_written() {
    let mut host = host();
    for content in ["darn", "oh HECK no", "Darnit"] {
        let outcome = host.dispatch(Event::message("general", content));
        outcome.assert_rejected(Code::Denied);
        assert_eq!(outcome.reply["error"]["message"], "please mind your language");
    }
    assert!(host.history("general").is_empty());
}

#[test]
fn everything_else_is_posted() {
    let mut host = host();
    host.dispatch(Event::message("general", "good morning")).assert_ok();
    assert_eq!(host.history("general")[0].content, "good morning");
    host.dispatch(Event::message("other", "good morning"))
        .assert_rejected(Code::Denied);
}

#[test]
fn without_the_setting_nothing_is_refused() {
    let mut host = moderation().member("alice", "general");
    host.dispatch(Event::message("general", "darn, heck")).assert_ok();
}

#[test]
fn the_readme_shows_the_example() {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let read = |file: &str| std::fs::read_to_string(format!("{repository}/{file}")).unwrap();
    let example = read("examples/moderation/src/lib.rs");
    let (_, code) = example.split_once("\n\n").unwrap();
    assert!(
        read("README.md").contains(&format!("```rust\n{code}```")),
        "README.md shows another one:\n{code}"
    );
}
