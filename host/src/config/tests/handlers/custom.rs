//! `[handlers.NAME]`: handlers of the custom events that they name.

use super::*;

const POLL: &str = "[handlers.poll]\ncomponent = \"poll.wasm\"\n";

/// The errors of a configuration beside the files `poll.wasm` and `vote.wasm`, each with its key.
fn errors(text: &str) -> Vec<(String, String)> {
    let loaded = file(text).with("poll.wasm", "").with("vote.wasm", "").load();
    let errors = loaded.err().map(|errors| errors.errors().to_vec()).unwrap_or_default();
    errors.into_iter().map(|error| (error.key, error.problem)).collect()
}

fn assert_error(text: &str, key: &str, words: &str) {
    let errors = errors(text);
    let is_expected = matches!(errors.as_slice(), [(at, why)] if at == key && why.contains(words));
    assert!(is_expected, "{text}: {errors:?}");
}

#[test]
fn handlers_share_the_custom_events() {
    let text = format!(
        "{POLL}events = [\"poll-*\", \"vote\"]\nisolation = \"warm\"\nsettings = {{ most = \"3\" }}\n\
         [handlers.likes]\ncomponent = \"vote.wasm\"\nevents = [\"like\"]\nname = \"hearts\"\n\
         [handlers.event]\ncomponent = \"vote.wasm\"\n"
    );
    let config = file(&text).with("poll.wasm", "").with("vote.wasm", "");
    let handlers = config.load().unwrap().default_tenant.handlers;
    let poll = &handlers.custom["poll"];
    let events: Vec<_> = poll.events.iter().map(ToString::to_string).collect();
    assert_eq!(events, ["poll-*", "vote"]);
    assert_eq!(&*poll.handler.name, "poll");
    assert_eq!(poll.handler.settings["most"], "3");
    assert_eq!(poll.handler.isolation, parlance_handler::capability::Isolation::Warm);
    assert_eq!(&*handlers.custom["likes"].handler.name, "hearts");
}

#[test]
fn a_handler_of_custom_events_needs_a_component_and_patterns() {
    let events = |list: &str| format!("{POLL}events = {list}\n");
    let at = "handlers.poll.events";
    assert_error(POLL, "handlers.poll", "is unknown");
    assert_error(&events("[]"), at, "has 0 patterns");
    assert_error(&events("\"vote\""), at, "is not a list");
    assert_error(&events("[1]"), at, "not a text");
    assert_error(&events("[\"*\"]"), at, "selects every custom event");
    assert_error(&events("[\"a*b\"]"), at, "not at its end");
    assert_error(&events("[\"send-message\"]"), at, "is not a custom event");
    assert_error(&events(&format!("[\"{}\"]", "v".repeat(129))), at, "limits.event_name");
    assert_error(&events(&format!("[{}]", "\"vote\",".repeat(65))), at, "has 65 patterns");
    let component = "handlers.poll.component";
    assert_error("[handlers.poll]\nevents = [\"vote\"]\n", component, "is missing");
    let shipped = "[handlers.poll]\ncomponent = \"shipped\"\nevents = [\"vote\"]\n";
    assert_error(shipped, component, "is not a component of custom events");
    assert_error(
        "[handlers.Poll]\ncomponent = \"poll.wasm\"\nevents = [\"vote\"]\n",
        "handlers.Poll",
        "name",
    );
    assert_error(
        &format!("{}isolations = 1\n", events("[\"vote\"]")),
        "handlers.poll.isolations",
        "is unknown",
    );
    let built_in = "[handlers.event]\ncomponent = \"poll.wasm\"\nevents = [\"vote\"]\n";
    assert_error(built_in, "handlers.event.events", "has its events by its name");
}

#[test]
fn two_handlers_may_not_claim_the_same_events() {
    let both = |poll: &str, vote: &str| {
        format!("{POLL}events = [{poll}]\n[handlers.vote]\ncomponent = \"vote.wasm\"\nevents = [{vote}]\n")
    };
    for (poll, vote) in [
        ("\"vote\"", "\"vote\""),
        ("\"poll-*\"", "\"x\", \"poll-create\""),
        ("\"poll-create\"", "\"poll-*\""),
        ("\"poll-*\"", "\"poll*\""),
    ] {
        let text = both(poll, vote);
        assert_error(&text, "handlers.vote.events", "of handlers.poll");
    }
    assert!(errors(&both("\"poll\"", "\"poll-*\"")).is_empty());
    let one_component = "[handlers.message]\ncomponent = \"vote.wasm\"\nname = \"poll\"\n";
    assert_error(
        &format!("{POLL}events = [\"vote\"]\n{one_component}"),
        "handlers.poll.name",
        "share its keys",
    );
}

#[test]
fn the_number_of_handlers_is_limited() {
    let of = |count: usize| -> String {
        (0..count)
            .map(|n| format!("[handlers.h{n}]\ncomponent = \"poll.wasm\"\nevents = [\"e{n}\"]\n"))
            .collect()
    };
    assert!(errors(&of(64)).is_empty());
    assert_error(&of(65), "handlers", "has 65 handlers of custom events");
}

#[test]
fn a_tenant_of_the_admin_api_cannot_name_the_file_of_a_component() {
    let defaults = TenantDefaults::default();
    let handlers = serde_json::json!({ "handlers": { "poll": { "component": "/etc/poll.wasm", "events": ["vote"] } } });
    let errors = defaults.read("acme", &handlers).unwrap_err();
    let named = |error: &ConfigError| error.key == "handlers.poll.component" && error.problem.contains("names a file");
    assert!(errors.errors().iter().any(named), "{errors}");
}
