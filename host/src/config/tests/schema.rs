//! The JSON Schema, held against the reader by a validator of another maker.

use jsonschema::Validator;
use serde_json::{Value as Json, json};

use super::*;
use crate::config::tables;
use parlance_types::settings::{Scope, Setting};

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn json(text: &str) -> Json {
    to_json(text).unwrap()
}

fn is_valid(text: &str) -> bool {
    validator().is_valid(&json(text))
}

/// A file that sets one setting.
fn with(setting: &Setting, value: impl std::fmt::Display) -> String {
    format!("[{}]\n{} = {value}\n", setting.table, setting.name)
}

#[test]
fn the_schema_is_one() {
    assert!(jsonschema::draft202012::meta::is_valid(&schema()));
}

#[test]
fn the_committed_schema_is_the_one_of_the_declarations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("parlance.schema.json");
    let committed: Json = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(
        committed == schema(),
        "write it anew: parlance check-config --schema > host/parlance.schema.json"
    );
}

#[test]
fn the_defaults_and_the_examples_are_valid() {
    let validator = validator();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let fleet = fs::read_to_string(examples.join("fleet/parlance.toml")).unwrap();
    // The keys and tenants that the defaults show in comments.
    let shown: String = defaults_toml()
        .lines()
        .map(|line| {
            format!(
                "{}\n",
                line.strip_prefix("# ").filter(|line| is_toml(line)).unwrap_or(line)
            )
        })
        .collect();
    assert!(
        shown.contains("\n[[auth.jwks]]") && shown.contains("\nevents = ") && shown.contains("\n[tenants.acme.quota]"),
        "{shown}"
    );
    for text in [&defaults_toml(), &shown, &fleet, ""] {
        let errors: Vec<_> = validator
            .iter_errors(&json(text))
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}\n{text}");
    }
    assert!(file(&fleet).load().is_ok());
}

/// Whether a line of the defaults' comments is one of a file: a table, or a key that comes with it.
fn is_toml(line: &str) -> bool {
    let keys = [
        "algorithm",
        "secret_file",
        "kid",
        "public_key_file",
        "url =",
        "refresh",
        "unknown_key",
        "allow_private",
        "component = \"poll",
        "events = ",
    ];
    let tokens = [
        "name = \"deploy",
        "token_file",
        "tenant =",
        "connections = 500",
        "component = \"acme",
    ];
    line.starts_with('[') || keys.iter().chain(&tokens).any(|key| line.starts_with(key))
}

#[test]
fn every_setting_has_a_type_a_description_and_its_default_in_the_schema() {
    let schema = schema();
    for setting in tables::settings() {
        let property = &schema["properties"][setting.table]["properties"][setting.name];
        let description = property["description"].as_str().unwrap();
        for part in [&setting.description(), &setting.allowed, &setting.variable()] {
            assert!(description.contains(part.as_str()), "{}: {description}", setting.path());
        }
        assert!(!property["default"].is_null(), "{}", setting.path());
        let tenant = &schema["properties"]["tenants"]["additionalProperties"]["properties"];
        let of_tenant = &tenant[setting.table]["properties"][setting.name];
        assert_eq!(
            of_tenant.is_null(),
            setting.scope == Scope::Server,
            "{}",
            setting.path()
        );
    }
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_both() {
    for setting in tables::settings() {
        for value in ["{}", "1.5", "1979-05-27", "[[]]"] {
            let text = with(&setting, value);
            assert!(!is_valid(&text), "{text}");
            assert!(file(&text).load().is_err(), "{text}");
        }
    }
}

#[test]
fn a_number_out_of_its_range_is_refused_by_both() {
    let mut checked = 0;
    for setting in tables::settings() {
        let schema = setting.schema.get("anyOf").map_or(&setting.schema, |any| &any[0]);
        let edge = |name: &str| schema.get(name).and_then(Json::as_i64);
        let (Some(min), Some(max)) = (edge("minimum"), edge("maximum")) else {
            continue;
        };
        checked += 1;
        for (value, is_right) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
            let text = with(&setting, value);
            assert_eq!(is_valid(&text), is_right, "{text}");
            // Alone; some make no sense together with the defaults of others.
            let own = |error: &ConfigError| error.key == setting.path() && error.value.is_some();
            let refused = file(&text).load().is_err_and(|errors| errors.errors().iter().any(own));
            assert_eq!(refused, !is_right, "{text}");
        }
    }
    assert!(checked > 50, "only {checked}");
}

#[test]
fn what_is_refused_by_the_reader_is_refused_by_the_schema() {
    let key = "[[auth.keys]]\nalgorithm = \"HS256\"\n";
    let secret = "s".repeat(32);
    for text in [
        "[limits]\nroom_ids = 1\n",
        "[limit]\n",
        "port = 1\n",
        "server = 3\n",
        "[limits]\npacket = \"64K\"\n",
        "[server]\nshutdown_timeout = \"10\"\n",
        "[server]\nshutdown_timeout = \"10 fortnights\"\n",
        "[server]\npath = \"chat\"\n",
        "[server]\nadmin_address = \"3001\"\n",
        "[server]\ncors_origins = [\"https://a.example/path\"]\n",
        "[server]\ntrusted_proxies = [\"proxy.example\"]\n",
        "[log]\nformat = \"xml\"\n",
        "[redis]\nurl = \"http://a\"\n",
        "[redis]\nkey = \"a b\"\n",
        "[store]\nurl = \"mysql://a\"\n",
        "[clients]\nparser = \"json\"\n",
        key,
        &format!("{key}secret = \"{secret}\"\nsecret_file = \"s\"\n"),
        &format!("[[auth.keys]]\nsecret = \"{secret}\"\n"),
        &format!("[[auth.keys]]\nalgorithm = \"HS265\"\nsecret = \"{secret}\"\n"),
        &format!("{key}secret = \"{secret}\"\nsecrets = 1\n"),
        "[auth]\nkeys = [1]\n",
        "[[auth.jwks]]\nrefresh = \"1m\"\n",
        "[[admin.tokens]]\nname = \"a\"\n",
        "[[admin.tokens]]\ntoken_sha256 = \"ab\"\nname = \"a\"\n",
        "[[admin.tokens]]\nname = \"a\"\nscope = \"all\"\ntoken_sha256 = \
         \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n",
        "[handlers.messages]\n",
        "[handlers.poll]\nevents = [\"vote\"]\n",
        "[handlers.poll]\ncomponent = \"poll.wasm\"\nevents = [\"*\"]\n",
        "[handlers.poll]\ncomponent = \"poll.wasm\"\nevents = []\n",
        "[handlers.Poll]\ncomponent = \"poll.wasm\"\nevents = [\"vote\"]\n",
        "[handlers.event]\nevents = [\"vote\"]\n",
        "[handlers.message]\nisolation = \"cold\"\n",
        "[handlers.message]\nname = \"No Name\"\n",
        "[handlers.message]\nsettings = { a = 1 }\n",
        "[tenants.acme.limits]\nconnections = 5\n",
        "[tenants.acme.server]\nport = 5\n",
        "[tenants.acme.quota]\nevents = 5\n",
        "[tenants.default]\n",
        "[tenants.Acme]\n",
    ] {
        assert!(!is_valid(text), "{text}");
        assert!(file(text).load().is_err(), "{text}");
    }
}

#[test]
fn what_the_reader_takes_is_valid() {
    for text in [
        "[limits]\npacket = \"128 KiB\"\ncontent = 16384\n",
        "[server]\nshutdown_timeout = \"1m\"\ndrain_time = \"1h\"\n",
        "[server]\nshutdown_timeout = \"5s 500ms\"\npath = \"/a/b/\"\nhost = \"::\"\nadmin_address = \"[::1]:9\"\n",
        "[server]\ncors_origins = [\"*\", \"http://[::1]:80\"]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n",
        "[sandbox]\ncache = \"none\"\n",
        "[redis]\nurl = \"rediss://:secret@a:1/2, redis://b\"\n",
        "[store]\nurl = \"postgresql://h:5433/d?sslmode=require\"\n",
        "[handlers.message]\nisolation = \"warm\"\nname = \"chat\"\nsettings = { word = \"a\" }\n",
        "[handlers.poll]\ncomponent = \"poll.wasm\"\nevents = [\"poll-*\", \"vote\"]\n[handlers.server_event]\n",
        "[[auth.jwks]]\nurl = \"http://a\"\nallow_http = true\nunknown_key_refresh = \"5s\"\n",
        "[[admin.tokens]]\nname = \"a\"\nscope = \"data\"\ntenant = \"acme\"\ntoken_sha256 = \
         \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n",
        "[tenants.acme.limits]\nroom_id = 5\n[tenants.acme.grants]\nhttp = [\"a.example\"]\n",
    ] {
        file(text).with("poll.wasm", "").load().unwrap();
        assert!(is_valid(text), "{text}");
    }
    assert!(validator().is_valid(&json!({})));
}
