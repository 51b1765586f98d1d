#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy.toml exempts test functions, and not their helpers"
)]

use std::path::Path;

use super::{Contract, INDEX, file, pages};
use crate::contract::Sources;

/// Two interfaces, with one of each kind of item.
const SMALL: &str = r"
package a:b@0.3.1;

/// Types of both.
interface shared {
  /// Text.
  type text = string;
  /// Why not: `store.get` and `text` say it.
  variant fault { /// Not allowed | yet.
    denied, /// Malformed.
    invalid(text) }
}

/// Keeps things. See `shared`.
interface store {
  use shared.{text, fault};
  /// How it is kept.
  enum level { /// Not long.
    low }
  /// A thing.
  record thing { /// Its name.
    name: text, /// Its parts.
    parts: list<tuple<text, option<u8>>>, level: level }
  /// Reads `thing`s, like `store.put`; `key` names one.
  ///
  /// Faults: `denied`; `invalid` if the
  /// key is empty.
  get: func(key: text) -> result<option<thing>, fault>;
  /// Writes.
  put: func();
}

/// Hears.
interface on-store { /// Hears it.
  handle: func(ok: bool); }

/// What there is to call.
world base { import store; }
/// What hears.
world hearer { include base; export on-store; }
";

fn small(page: &str) -> String {
    let contract = Contract::parse(&Sources::of(&[("a.wit", SMALL)])).unwrap();
    pages(&contract).unwrap().remove(page).unwrap()
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn the_list_has_the_version_and_every_interface_by_what_handlers_do_with_it() {
    let text = small(INDEX);
    assert_has(&text, &["The WIT package `a:b@0.3.1`.", "an older version of 0.3 too"]);
    let sections = [
        "## What a handler implements",
        "on-store.md",
        "## What a handler may call",
        "store.md",
        "## What both use",
        "shared.md",
    ];
    let mut rest = text.as_str();
    for section in sections {
        let at = rest
            .find(section)
            .unwrap_or_else(|| panic!("no {section:?} in its place in:\n{text}"));
        rest = &rest[at + section.len()..];
    }
    assert_has(
        rest,
        &[
            "| `base` | What there is to call. | ",
            "| those of `base` | [`on-store`](on-store.md) |",
        ],
    );
}

#[test]
fn types_are_shown_with_their_parts_and_comments() {
    assert_has(
        &small("shared.md"),
        &[
            "## text\n\n`type`: `string`\n\nText.",
            "`variant`",
            "| `denied` |  | Not allowed \\| yet. |",
            "| `invalid` | [`text`](#text) | Malformed. |",
        ],
    );
    assert_has(
        &small("store.md"),
        &[
            "| `name` | [`text`](shared.md#text) | Its name. |",
            "| `parts` | `list<tuple<`[`text`](shared.md#text)`, option<u8>>>` | Its parts. |",
            "| `level` | [`level`](#level) |",
            "| name | |\n| --- | --- |\n| `low` | Not long. |",
        ],
    );
}

#[test]
fn functions_are_shown_with_their_types_comments_and_faults() {
    assert_has(
        &small("store.md"),
        &[
            "# Interface store\n\n`a:b/store@0.3.1`. A handler imports it and calls it.",
            "## get\n\n```wit\nget: func(key: text) -> result<option<thing>, fault>\n```",
            "| `key` | [`text`](shared.md#text) |",
            "| returns | `result<option<`[`thing`](#thing)`>, `[`fault`](shared.md#fault)`>` |",
            "\nFaults:\n\n- `denied`\n- `invalid` if the key is empty.\n",
            "## put\n\n```wit\nput: func()\n```\n\nWrites.\n\n| | type |\n| --- | --- |\n| returns | nothing |",
        ],
    );
}

#[test]
fn names_in_comments_are_links() {
    assert_has(
        &small("store.md"),
        &[
            "See [`shared`](shared.md).",
            "Reads [`thing`](#thing)s, like [`store.put`](store.md#put); `key` names one.",
        ],
    );
    assert_has(
        &small("shared.md"),
        &["[`store.get`](store.md#get) and [`text`](#text) say it"],
    );
}

#[test]
fn every_item_of_the_contract_is_on_its_page() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let contract = Contract::parse(&Sources::read(&wit).unwrap()).unwrap();
    let pages = pages(&contract).unwrap();
    let (mut items, mut faults) = (0, 0);
    for (name, interface) in contract.interfaces() {
        let page = &pages[&file(name)];
        let own = interface.types.iter().filter(|(_, id)| contract.original(**id) == **id);
        for item in own.map(|(name, _)| name).chain(interface.functions.keys()) {
            assert_has(page, &[&format!("\n## {item}\n")]);
            items += 1;
        }
        faults += page.matches("\nFaults:\n").count();
        assert!(
            pages[INDEX].contains(&format!("({})", file(name))),
            "{name} is not in the list"
        );
    }
    assert!(items > 40 && faults > 15, "{items} items, {faults} lists of faults");
}
