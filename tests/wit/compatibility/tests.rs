#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml exempts test functions, and not their helpers"
)]

use std::path::Path;

use super::{Sources, breaks, report};

/// The contract of this checkout, against which changes are planted.
fn contract() -> Sources {
    Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).unwrap()
}

/// What the check says, as it prints it.
fn lines(released: &Sources, current: &Sources) -> Vec<String> {
    let breaks = breaks(released, current).unwrap();
    breaks.iter().map(ToString::to_string).collect()
}

/// What the check says of a contract in which one text of a file is replaced by another.
fn after(file: &str, old: &str, new: &str) -> Vec<String> {
    let released = contract();
    lines(&released, &released.clone().with(file, old, new))
}

/// Fails unless one of the findings begins with the item and has the text.
#[track_caller]
fn assert_finds(found: &[String], item: &str, text: &str) {
    let is_it = |line: &&String| line.starts_with(&format!("{item}: ")) && line.contains(text);
    assert!(
        found.iter().any(|line| is_it(&line)),
        "no {item:?} with {text:?} in {found:#?}"
    );
}

#[test]
fn the_contract_of_this_checkout_breaks_nothing() {
    let released = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("wit/released")).unwrap();
    let breaks = breaks(&released, &contract()).unwrap();
    assert!(breaks.is_empty(), "{}", report(&breaks));
}

#[test]
fn a_removed_function_is_found() {
    let found = after("rooms.wit", "joined: func(room: room-id) -> bool;", "");
    assert_finds(&found, "rooms.joined", "removed");
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn a_renamed_function_is_found() {
    let found = after("on-typing.wit", "handle: func", "handle-typing: func");
    assert_finds(&found, "on-typing.handle", "removed");
    assert_finds(&found, "on-typing.handle-typing", "new interface");
}

#[test]
fn a_changed_parameter_is_found() {
    let found = after("kv.wit", "by: s64", "by: u64");
    assert_finds(
        &found,
        "kv.increment",
        "released: increment: func(key: string, by: s64)",
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_finds(&after("kv.wit", "by: s64", "amount: s64"), "kv.increment", "amount");
    assert_finds(
        &after("kv.wit", "by: s64", "by: s64, limit: s64"),
        "kv.increment",
        "limit",
    );
    let found = after("on-typing.wit", "typing: bool", "typing: u8");
    assert_finds(&found, "on-typing.handle", "typing: u8");
}

#[test]
fn a_changed_result_is_found() {
    let found = after(
        "rooms.wit",
        "joined: func(room: room-id) -> bool",
        "joined: func(room: room-id) -> option<bool>",
    );
    assert_finds(
        &found,
        "rooms.joined",
        "now:      joined: func(room: types.room-id) -> option<bool>",
    );
    let found = after("on-receipt.wit", "result<_, rejection>", "result<bool, rejection>");
    assert_finds(&found, "on-receipt.handle", "result<bool, types.rejection>");
}

#[test]
fn a_changed_field_of_a_record_is_found() {
    for new in [
        "text: string",
        "content: list<u8>",
        "content: string, /// Bold.\n bold: bool",
    ] {
        let found = after("on-message.wit", "content: string", new);
        assert_finds(&found, "on-message.incoming", "the type has changed");
        assert_finds(&found, "on-message.handle", "");
    }
    let found = after("messages.wit", "content: string", "text: string");
    assert_finds(&found, "messages.draft", "content: string");
    assert_finds(&found, "messages.post", "");
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn fields_in_another_order_are_found() {
    let released = contract();
    let swapped = released.clone().with("presence.wit", "connections: u32", "since");
    let swapped = swapped.with("presence.wit", "since: u64", "connections: u32");
    let swapped = swapped.with("presence.wit", "since,", "since: u64,");
    let found = lines(&released, &swapped);
    assert_finds(&found, "presence.state", "since: u64, connections: u32");
    assert_finds(&found, "presence.get", "");
    assert_eq!(found.len(), 2, "{found:#?}");
}

/// The server compares types exactly, so that a case more breaks whether the component or the server is to understand it.
#[test]
fn a_changed_case_of_a_variant_is_found() {
    // From the component to the server.
    let found = after("broadcast.wit", "    sender,\n", "    sender,\n /// All.\n everyone,\n");
    assert_finds(&found, "broadcast.audience", "everyone");
    assert_finds(&found, "broadcast.emit", "");
    assert_finds(&found, "broadcast.ask", "");
    // From the server to the component.
    let found = after(
        "on-presence.wit",
        "    disconnected,\n",
        "    disconnected,\n /// Idle.\n idle,\n",
    );
    assert_finds(&found, "on-presence.handle", "");
    // A type of another interface: each function that uses it.
    let found = after(
        "types.wit",
        "    quota-exceeded,\n",
        "    quota-exceeded,\n /// Busy.\n busy,\n",
    );
    assert_finds(&found, "types.fault", "busy");
    for function in [
        "kv.get",
        "messages.post",
        "rooms.join",
        "presence.set",
        "broadcast.emit",
    ] {
        assert_finds(&found, function, "");
    }
    let functions_without_faults = ["rooms.joined", "settings.get", "ambient.now-ms", "on-message.handle"];
    let wrong = |line: &&String| {
        functions_without_faults
            .iter()
            .any(|function| line.starts_with(function))
    };
    assert!(!found.iter().any(|line| wrong(&line)), "{found:#?}");
}

#[test]
fn a_changed_enum_is_found() {
    let found = after("log.wit", "    error,\n", "    error,\n /// Worse.\n fatal,\n");
    assert_finds(&found, "log.level", "fatal");
    assert_finds(&found, "log.write", "");
}

#[test]
fn a_type_that_no_function_uses_is_found() {
    let released = contract().with(
        "settings.wit",
        "interface settings {",
        "interface settings { type unused = u8;",
    );
    let changed = released
        .clone()
        .with("settings.wit", "type unused = u8;", "type unused = u16;");
    let found = lines(&released, &changed);
    assert_finds(&found, "settings.unused", "u16");
}

#[test]
fn an_interface_that_a_world_no_longer_has_is_found() {
    let found = after("worlds.wit", "  export on-typing;\n", "");
    assert_finds(&found, "world handler", "no longer exports `on-typing`");
    let found = after("worlds.wit", "  import refusal;\n", "");
    assert_finds(&found, "world capabilities", "no longer imports `refusal`");
    let found = after(
        "worlds.wit",
        "world room-handler { include capabilities; export on-room; }",
        "",
    );
    assert_finds(&found, "world room-handler", "removed");
}

#[test]
fn a_removed_interface_is_found() {
    let released = contract();
    let changed = released
        .clone()
        .with("refusal.wit", "interface refusal {", "interface refusals {");
    let changed = changed.with("worlds.wit", "import refusal;", "import refusals;");
    let found = lines(&released, &changed);
    assert_finds(&found, "refusal", "the interface is removed");
}

#[test]
fn a_function_more_breaks_only_where_components_must_have_it() {
    let new = "/// Ends.\n stop: func();\n";
    let found = after("on-typing.wit", "  /// Whether", &format!("{new}  /// Whether"));
    assert_finds(&found, "on-typing.stop", "put it into a new interface");
    assert_eq!(
        after("settings.wit", "  /// The value", &format!("{new}  /// The value")),
        [""; 0]
    );
}

#[test]
fn what_is_new_passes() {
    let new = "/// New.\ninterface on-new {\n /// New.\n handle: func();\n}\n/// Everything that";
    let released = contract();
    let changed = released.clone().with("worlds.wit", "/// Everything that", new);
    let everywhere = changed.with(
        "worlds.wit",
        "  export on-message;\n",
        "  export on-message;\n  export on-new;\n",
    );
    assert_eq!(lines(&released, &everywhere), [""; 0]);
    // An author's component for this world would have to export it.
    let forced = everywhere.with(
        "worlds.wit",
        "export on-typing; }",
        "export on-typing; export on-new; }",
    );
    let found = lines(&released, &forced);
    assert_finds(&found, "world typing-handler", "must now also export `on-new`");
}

#[test]
fn comments_do_not_count() {
    assert_eq!(
        after("kv.wit", "/// The value; none", "/// Nothing else; none"),
        [""; 0]
    );
}

#[test]
fn a_version_that_released_components_do_not_find_is_found() {
    let of = |version: &str| {
        Sources::of(&[(
            "a.wit",
            &format!("package a:b@{version};\ninterface i {{ f: func(); }}\nworld w {{ import i; }}"),
        )])
    };
    let found = |from: &str, to: &str| lines(&of(from), &of(to));
    assert_finds(&found("0.1.0", "0.2.0"), "package", "a:b@0.2.0");
    assert_finds(&found("0.1.1", "0.1.0"), "package", "a:b@0.1.1");
    assert_finds(&found("1.0.0", "2.0.0"), "package", "a:b@2.0.0");
    assert_eq!(found("0.1.0", "0.1.1"), [""; 0]);
    assert_eq!(found("1.0.0", "1.3.0"), [""; 0]);
}

#[test]
fn the_report_names_the_function_and_says_what_to_do() {
    let released = contract();
    let changed = released.clone().with("kv.wit", "by: s64", "by: u64");
    let report = report(&breaks(&released, &changed).unwrap());
    for part in [
        "kv.increment: ",
        "released: increment",
        "now:      increment",
        "a new function",
        "tests/wit/released",
    ] {
        assert!(report.contains(part), "{part:?} is not in:\n{report}");
    }
}
