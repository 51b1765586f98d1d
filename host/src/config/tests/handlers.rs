//! `[handlers]`: components, names and settings.

mod custom;

use super::*;

#[test]
fn handlers_are_files_beside_the_configuration() {
    let config = file(
        "[handlers.message]\ncomponent = \"m.wasm\"\n[handlers.message.settings]\nword = \"a\"\n\
         [handlers.typing]\nsettings = { rate = \"2\" }\n",
    )
    .with("m.wasm", "");
    let handlers = config.load().unwrap().default_tenant.handlers;
    assert_eq!(
        handlers.message.component,
        Component::File(config.directory.path().join("m.wasm"))
    );
    assert_eq!(handlers.message.settings["word"], "a");
    assert_eq!(
        (&handlers.typing.component, &*handlers.typing.settings["rate"]),
        (&Component::Shipped, "2")
    );

    let errors = file(
        "[handlers.room]\ncomponent = \"absent.wasm\"\n[handlers.event]\ncomponent = \"shipped\"\n\
         [handlers.typing]\ncomponent = \"none\"\nsettings = { a = 1, b = \"2\", c = true }\n",
    )
    .load()
    .unwrap_err();
    let keys: Vec<_> = errors.errors().iter().map(|error| error.key.as_str()).collect();
    let expected = [
        "handlers.typing.component",
        "handlers.typing.settings.a",
        "handlers.typing.settings.c",
        "handlers.room.component",
        "handlers.event.component",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_component_under_two_events_may_have_one_name_and_two_components_may_not() {
    let one = "[handlers.message]\ncomponent = \"m.wasm\"\nname = \"chat\"\n\
               [handlers.event]\ncomponent = \"m.wasm\"\nname = \"chat\"\n";
    let handlers = file(one).with("m.wasm", "").load().unwrap().default_tenant.handlers;
    assert_eq!((&*handlers.message.name, &*handlers.event.name), ("chat", "chat"));
    assert_eq!(&*handlers.typing.name, "typing", "the table's key");

    let wrong = [
        (
            "[handlers.message]\nname = \"chat\"\n[handlers.event]\ncomponent = \"m.wasm\"\nname = \"chat\"\n",
            "handlers.event.name",
        ),
        (
            "[handlers.event]\ncomponent = \"m.wasm\"\nname = \"message\"\n",
            "handlers.event.name",
        ),
        (
            "[handlers.message]\nname = \"chat\"\n[handlers.room]\nname = \"chat\"\n",
            "handlers.room.name",
        ),
        ("[handlers.message]\nname = \"No Name\"\n", "handlers.message.name"),
    ];
    for (text, key) in wrong {
        let errors = file(text).with("m.wasm", "").load().unwrap_err();
        let keys: Vec<_> = errors.errors().iter().map(|error| error.key.as_str()).collect();
        assert_eq!(keys, [key], "{text}");
    }
    // An event without a component has no keys to share.
    assert!(file("[handlers.message]\nname = \"event\"\n").load().is_ok());
}
