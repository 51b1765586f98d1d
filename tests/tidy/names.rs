//! Who may name what.

use std::collections::BTreeSet;

use crate::modules::quoted;
use crate::source::{self, Source, Token};
use crate::{files, hold};

/// The heading of the table of libraries in `ARCHITECTURE.md`.
const HEADING: &str = "### Where each library is named\n";

/// A library of the host, by the names of its crates, and the only places that name them. The page has the same table.
const LIBRARIES: [(&[&str], &[&str]); 15] = [
    (
        &["socketioxide", "socketioxide_core", "engineioxide"],
        &[
            "host/src/socket/",
            "host/engineioxide/",
            "host/socketioxide-parser-common/",
        ],
    ),
    (
        &["wasmtime", "wasmtime_wasi", "wasmtime_wasi_http"],
        &["host/handler/src/sandbox/"],
    ),
    (&["gimli"], &["host/handler/src/sandbox/lines/"]),
    (
        &["wasm_encoder"],
        &["host/handler/src/sandbox/library", "host/handler/src/sandbox/reset/"],
    ),
    (&["rusqlite"], &["host/store/src/sqlite"]),
    (
        &["tokio_postgres", "deadpool_postgres", "tokio_postgres_rustls"],
        &["host/store/src/postgres"],
    ),
    (&["refinery"], &["host/store/src/sqlite", "host/store/src/postgres"]),
    // Tests of handlers sign tokens, to have them verified as any other.
    (&["jsonwebtoken"], &["host/types/src/auth/", "host/testing/"]),
    (&["toml"], &["host/src/config/", "host/types/src/settings/"]),
    (
        &["rmp"],
        &[
            "host/hub/src/bus",
            "host/hub/src/msgpack/",
            "host/src/socket/msgpack.rs",
        ],
    ),
    (&["clap"], &["host/src/cli/", "host/src/main.rs"]),
    (
        &["axum", "tower_http"],
        &["host/src/admin/", "host/src/app", "host/src/socket/"],
    ),
    (
        &["utoipa", "utoipa_axum"],
        &["host/src/admin/", "host/src/control/", "host/src/logs.rs"],
    ),
    (&["prometheus"], &["host/types/src/metrics.rs"]),
    (&["tracing_subscriber"], &["host/src/cli/", "host/src/config/"]),
];

/// What is told apart by its tokens alone: a function or a type, the only places that may name it outside tests, and why.
const GUARDED: [(&[&str], &[&str], &str); 9] = [
    (
        &["from_trusted_name"],
        &["host/types/src/id.rs", "host/types/src/auth/"],
        "only `auth` makes a tenant's id, from a verified token or from what the operator has named",
    ),
    (
        &["operator_tenant"],
        &["host/types/src/auth/", "host/src/control/"],
        "only control names tenants without a token",
    ),
    (
        &["for_tests"],
        &["host/types/src/id.rs", "host/types/src/auth/identity.rs"],
        "an identity nobody verified is for tests",
    ),
    (
        &["SqliteStore"],
        &["host/store/src/sqlite", "host/src/app"],
        "only `app` knows which store it is",
    ),
    (
        &["PostgresStore"],
        &["host/store/src/postgres", "host/src/app"],
        "only `app` knows which store it is",
    ),
    (
        &["RedisBus"],
        &["host/hub/src/bus", "host/src/app"],
        "only `app` knows which bus it is",
    ),
    (
        &["dyn", "Writer"],
        &[
            "host/store/src/",
            "host/hub/src/commit/",
            "host/src/control/mod.rs",
            "host/src/due/mod.rs",
            "host/src/app/",
        ],
        "only the committer commits, but for requests that an operator or time has forgotten",
    ),
    (
        &["dyn", "Maintenance"],
        &["host/store/src/", "host/src/control/", "host/src/due/", "host/src/app/"],
        "only control and due delete what tenants store",
    ),
    (
        &["SocketSink"],
        &[
            "host/src/socket/",
            "host/engineioxide/",
            "host/socketioxide-parser-common/",
        ],
        "the rest knows the trait `ClientSink`",
    ),
];

fn is_at(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

#[test]
fn each_library_is_named_in_one_place() {
    let sources = source::below(&["host/"]);
    let mut broken = Vec::new();
    for (crates, places) in LIBRARIES {
        let mut at_home = 0;
        for source in &sources {
            let found = source
                .tokens
                .iter()
                .filter(|token| crates.contains(&token.text.as_str()));
            if is_at(&source.path, places) {
                at_home += found.count();
            } else {
                broken.extend(found.map(|token| format!("{}:{}: {}", source.path, token.line, token.text)));
            }
        }
        if at_home == 0 {
            broken.push(format!(
                "nothing in {places:?} names any of {crates:?}: strike the rule"
            ));
        }
    }
    hold("A library is named only in the part that wraps it.", &broken);
}

#[test]
fn the_page_has_the_libraries_and_their_places() {
    let page = files::one("ARCHITECTURE.md");
    let section = page.split(HEADING).nth(1).unwrap().split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let claimed: BTreeSet<_> = rows
        .map(|row| {
            let (library, places) = row.trim_matches(['|', ' ']).split_once(" | ").unwrap();
            (quoted(library), quoted(places))
        })
        .collect();
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let held: BTreeSet<_> = LIBRARIES
        .iter()
        .map(|(crates, places)| (owned(crates), owned(places)))
        .collect();
    let only_here = held.difference(&claimed).map(|row| format!("not on the page: {row:?}"));
    let only_there = claimed
        .difference(&held)
        .map(|row| format!("not in LIBRARIES: {row:?}"));
    let broken: Vec<String> = only_here.chain(only_there).collect();
    hold(
        "ARCHITECTURE.md says where each library is named, as this test holds it.",
        &broken,
    );
}

#[test]
fn each_guarded_name_stays_where_it_belongs() {
    let sources = source::below(&["host/"]);
    let mut broken = Vec::new();
    for (name, places, why) in GUARDED {
        let named = |tokens: &[Token]| source::places(tokens, name);
        let at_home = |source: &&Source| is_at(&source.path, places) && !named(&source.tokens).is_empty();
        if !sources.iter().any(|source| at_home(&source)) {
            broken.push(format!(
                "nothing in {places:?} is called {}: strike the rule",
                name.join(" ")
            ));
        }
        for source in sources.iter().filter(|source| !is_at(&source.path, places)) {
            let lines = named(&source.product);
            broken.extend(
                lines
                    .iter()
                    .map(|line| format!("{}:{line}: {}; {why}", source.path, name.join(" "))),
            );
        }
    }
    hold("What must not be made elsewhere is not named elsewhere.", &broken);
}

#[test]
fn the_environment_is_read_in_main_alone() {
    let mut broken = Vec::new();
    let mut in_main = 0;
    for source in source::below(&source::HOST) {
        for name in ["var", "var_os", "vars", "vars_os"] {
            let lines = source::places(&source.product, &["env", ":", ":", name]);
            if source.path == "host/src/main.rs" {
                in_main += lines.len();
            } else {
                broken.extend(lines.iter().map(|line| format!("{}:{line}: env::{name}", source.path)));
            }
        }
    }
    assert_eq!(in_main, 1, "host/src/main.rs reads the environment in one place");
    hold(
        "The environment is read once, in main.rs, and passed on as a function.",
        &broken,
    );
}

#[test]
fn there_are_no_globals() {
    let mut broken = Vec::new();
    for source in source::below(&[&source::HOST[..], &["host/testing/src/"]].concat()) {
        for (at, token) in source.product.iter().enumerate() {
            let lifetime = at > 0 && source.product[at - 1].text == "'";
            let names = |name| source.product.get(at + 1).is_some_and(|next| next.text == name);
            // Rust has no other way to name one.
            let allocator = source.path == "host/src/main.rs" && names("ALLOCATOR");
            // What a thread has read of its own clock is the thread's, whatever it runs.
            let clock =
                source.path == "host/scheduler/src/cpu_timer.rs" && (token.text == "thread_local" || names("LAST"));
            if ((token.text == "static" && !lifetime && !allocator) || token.text == "thread_local") && !clock {
                broken.push(format!("{}:{}: {}", source.path, token.line, token.text));
            }
        }
    }
    hold("The host has no global state: one function wires everything.", &broken);
}
