//! Reading the configuration: values, ranges, messages.

mod addresses;
mod handlers;
mod keys;
mod pages;
mod schema;
mod tenants;
mod variables;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use parlance_types::auth::Algorithm;
use parlance_types::settings::format_size;

/// A directory with a configuration file in it.
struct File {
    directory: TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("parlance.toml");
    fs::write(&path, text).unwrap();
    File { directory, path }
}

impl File {
    fn with(self, name: &str, content: &str) -> Self {
        fs::write(self.directory.path().join(name), content).unwrap();
        self
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        self.load_with(&[])
    }

    fn load_with(&self, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        Config::load(Some(&self.path), &environment(env))
    }
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Environment::new(variables.iter().map(owned))
}

fn load_environment(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::load(None, &environment(variables))
}

/// The one error of this text.
fn only_error(text: &str) -> ConfigError {
    let errors = file(text).load().unwrap_err();
    assert_eq!(errors.errors().len(), 1, "{errors}");
    errors.errors()[0].clone()
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let config = load_environment(&[]).unwrap();
    assert_eq!((config.server.host.as_str(), config.server.port), ("0.0.0.0", 3000));
    assert_eq!(config.store.url, StoreUrl::Sqlite("parlance.db".into()));
    assert_eq!(config.default_tenant.limits.call.client.packet, 64 * 1024);
    assert_eq!(config.default_tenant.limits.guest.guest_time, Duration::from_millis(50));
    assert_eq!(config.commit.batch, 512);
    assert_eq!(config.log.format, LogFormat::Text);
    assert!(config.default_tenant.auth.keys.is_empty() && config.warnings.is_empty());
    for (name, handler) in config.default_tenant.handlers.iter() {
        let expected = if ["event", "server_event", "connect"].contains(&name) {
            Component::Absent
        } else {
            Component::Shipped
        };
        assert_eq!((name, &handler.component), (name, &expected));
    }
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    let printed = file(&defaults_toml());
    let read = printed.load().unwrap();
    let defaults = file("").load().unwrap();
    assert_eq!(read.server, defaults.server);
    assert_eq!(read.log, defaults.log);
    assert_eq!(read.connections, defaults.connections);
    let relative = EngineLimits {
        cache: defaults.engine.cache.clone(),
        ..read.engine.clone()
    };
    assert_eq!(relative, defaults.engine);
    assert_eq!(read.commit, defaults.commit);
    assert_eq!(read.redis, defaults.redis);
    let (read_tenant, default_tenant) = (read.default_tenant, defaults.default_tenant);
    assert_eq!(read_tenant.limits, default_tenant.limits);
    assert_eq!(read_tenant.handlers, default_tenant.handlers);
    assert_eq!(read_tenant.auth.rules, default_tenant.auth.rules);
    // Each path is relative to its own file.
    assert_eq!(
        read.store.url,
        StoreUrl::Sqlite(printed.directory.path().join("parlance.db"))
    );
    assert_eq!(
        read.engine.cache,
        Some(printed.directory.path().join(".parlance/cache"))
    );
}

#[test]
fn the_printed_defaults_have_every_key_described() {
    let text = defaults_toml();
    let table: Table = text.parse().unwrap();
    let lines: Vec<_> = text.lines().collect();
    for (section, keys) in table.iter().filter(|(name, _)| *name != "handlers") {
        for (key, _) in keys.as_table().unwrap() {
            let start = format!("{key} = ");
            let at = lines.iter().position(|line| line.starts_with(&start)).unwrap();
            assert!(lines[at - 1].starts_with("# Allowed: "), "{section}.{key}");
            assert!(lines[at - 2].starts_with("# "), "{section}.{key}");
        }
    }
    let handlers = table["handlers"].as_table().unwrap();
    assert_eq!(handlers.len(), 9);
    for line in text.lines() {
        assert!(line.len() <= 130, "{line}");
    }
}

#[test]
fn five_errors_are_reported_at_once_each_with_its_key() {
    let errors = file(
        "[server]\nport = 70000\n[limits]\npakcet = 1\ncontent = \"a lot\"\n\
         [auth]\nleeway = \"1h\"\n[[auth.keys]]\nalgorithm = \"HS265\"\nsecret = \"hush\"\n",
    )
    .load()
    .unwrap_err();
    let keys: Vec<_> = errors.errors().iter().map(|error| error.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "server.port",
            "auth.leeway",
            "auth.keys[0].algorithm",
            "limits.content",
            "limits.pakcet"
        ]
    );
    let text = errors.to_string();
    assert!(text.starts_with("5 errors in the configuration ("), "{text}");
    assert!(text.contains("parlance.toml and the environment):\n"), "{text}");
    for block in [
        "\n  server.port = 70000 (line 2): is not a port\n    allowed: a whole number from 0 to 65535",
        "\n  auth.leeway = \"1h\" (line 7): is too large\n    allowed: a duration from 0s to 5m, in ms, s, m, h or d",
        "\n  auth.keys[0].algorithm = \"HS265\" (line 9): is not an algorithm\n    allowed: HS256, HS384, HS512, RS256,",
        "\n  limits.content = \"a lot\" (line 5): is not a size\n    allowed: a size from 1B to 1MiB in B, KiB, MiB or GiB",
        "\n  limits.pakcet (line 4): is unknown\n    did you mean `packet`?",
    ] {
        assert!(text.contains(block), "{block}\nis not in\n{text}");
    }
    assert!(!text.contains("hush"), "a secret is never shown: {text}");
}

#[test]
fn every_range_has_edges() {
    for (section, key, below, min, max, above) in [
        ("server", "port", "-1", "0", "65535", "65536"),
        (
            "server",
            "shutdown_timeout",
            "\"999ms\"",
            "\"1s\"",
            "\"60s\"",
            "\"60001ms\"",
        ),
        ("auth", "leeway", "\"-1s\"", "\"0s\"", "\"5m\"", "\"300001ms\""),
        ("limits", "room_id", "0", "1", "128", "129"),
        ("limits", "event_name", "15", "16", "1024", "1025"),
        ("limits", "metadata", "\"1B\"", "\"2B\"", "\"64KiB\"", "\"1048577B\""),
        ("limits", "json_depth", "3", "4", "120", "121"),
        ("limits", "connections", "0", "1", "10000000", "10000001"),
        (
            "limits",
            "ping_interval",
            "\"99ms\"",
            "\"100ms\"",
            "\"5m\"",
            "\"5m 1ms\"",
        ),
        ("limits", "presence_grace", "\"-1s\"", "\"0s\"", "\"1m\"", "\"61s\""),
        ("limits", "typing_timeout", "\"0s\"", "\"1s\"", "\"10m\"", "\"601s\""),
        ("limits", "outbound_packets", "7", "8", "65536", "65537"),
        ("sandbox", "memory", "262143", "262144", "\"1GiB\"", "\"2GiB\""),
        ("sandbox", "host_calls", "7", "8", "1000000", "1000001"),
        (
            "sandbox",
            "component_size",
            "\"63KiB\"",
            "\"64KiB\"",
            "\"512MiB\"",
            "\"513MiB\"",
        ),
        ("commit", "batch", "0", "1", "10000", "10001"),
    ] {
        let text = |value| format!("[{section}]\n{key} = {value}\n");
        for value in [min, max] {
            assert!(file(&text(value)).load().is_ok(), "{section}.{key} = {value}");
        }
        for value in [below, above] {
            let error = only_error(&text(value));
            assert_eq!(error.key, format!("{section}.{key}"), "{value}");
            assert!(error.help.is_some(), "{value}");
        }
    }
}

#[test]
fn sizes_and_durations_have_units() {
    let packet = |value: &str| file(&format!("[limits]\ncontent = 1\nmetadata = 2\npacket = {value}\n")).load();
    for (text, bytes) in [
        ("2048", 2048),
        ("\"2048B\"", 2048),
        ("\"2KiB\"", 2048),
        ("\"1 MiB\"", 1 << 20),
    ] {
        assert_eq!(
            packet(text).unwrap().default_tenant.limits.call.client.packet,
            bytes,
            "{text}"
        );
    }
    for text in [
        "\"2K\"",
        "\"2KB\"",
        "\"2kib\"",
        "\"1.5KiB\"",
        "\"-2KiB\"",
        "\"+2KiB\"",
        "\"KiB\"",
        "\"\"",
        "2048.0",
    ] {
        assert!(packet(text).is_err(), "{text}");
    }
    assert!(packet("\"99999999999999999999GiB\"").is_err());
    assert_eq!(
        [0, 1, 1023, 1024, 1536, 3 << 20].map(format_size),
        ["0B", "1B", "1023B", "1KiB", "1536B", "3MiB"]
    );
    assert_eq!(
        only_error("[server]\nshutdown_timeout = 10\n").problem,
        "is not a duration in quotes"
    );
}

#[test]
fn the_environment_goes_over_the_file() {
    let file = file(
        "[server]\nport = 1\ncors_origins = [\"https://a.example\"]\n[store]\nurl = \"sqlite:a.db\"\n\
         [log]\nlevel = \"warn\"\n",
    );
    let from_file = file.load().unwrap();
    assert_eq!(from_file.server.port, 1);
    assert_eq!(
        from_file.store.url,
        StoreUrl::Sqlite(file.directory.path().join("a.db"))
    );
    let unset = [
        ("PORT", ""),
        ("FRONTEND_URL", ""),
        ("DATABASE_URL", ""),
        ("RUST_LOG", ""),
        ("REDIS_URL", ""),
    ];
    assert_eq!(file.load_with(&unset).unwrap().server, from_file.server);

    let config = file
        .load_with(&[
            ("PORT", " 8080 "),
            ("FRONTEND_URL", "https://B.example:8443/, http://localhost:5173,"),
            ("DATABASE_URL", "sqlite://b.db"),
            ("RUST_LOG", "info,parlance=trace"),
        ])
        .unwrap();
    assert_eq!(config.server.port, 8080);
    assert_eq!(
        config.server.cors_origins,
        ["https://b.example:8443", "http://localhost:5173"]
    );
    assert_eq!(
        config.store.url,
        StoreUrl::Sqlite("b.db".into()),
        "relative to the current directory"
    );
    assert_eq!(config.log.level, "info,parlance=trace");
}

#[test]
fn wrong_variables_are_named_all_at_once() {
    let errors = load_environment(&[
        ("PORT", "http"),
        ("JWT_SECRET", "hush"),
        ("FRONTEND_URL", "localhost:5173"),
        ("DATABASE_URL", "postgres://user:swordfish@local host/chat"),
        ("REDIS_URL", "http://user:swordfish@localhost"),
        ("RUST_LOG", "a=b=c"),
    ])
    .unwrap_err();
    assert_eq!(errors.errors().len(), 6, "{errors}");
    let text = errors.to_string();
    for part in [
        "server.port = \"http\" (from PORT): is not a whole number",
        "server.cors_origins = [\"localhost:5173\"] (from FRONTEND_URL): has \"localhost:5173\", which is not an origin",
        "store.url (from DATABASE_URL): is not a URL of PostgreSQL",
        "redis.url (from REDIS_URL): is not a URL of Redis",
        "log.level = \"a=b=c\" (from RUST_LOG): is not a log filter",
        "JWT_SECRET: has 4 bytes, which can be guessed",
        "openssl rand -hex 32",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert!(!text.contains("hush") && !text.contains("swordfish"));
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest() {
    let help = |text: &str| only_error(text).help.unwrap();
    assert_eq!(help("[limits]\nhistory_pgae = 1\n"), "did you mean `history_page`?");
    assert_eq!(help("[sever]\n"), "did you mean `server`?");
    assert_eq!(help("port = 1\n"), "it belongs in [server]");
    assert_eq!(help("[handlers.mesage]\n"), "did you mean `message`?");
    assert_eq!(
        help("[handlers.message]\ncomponents = \"x\"\n"),
        "did you mean `component`?"
    );
    assert_eq!(help("[commit]\nzzz = 1\n"), "known here: batch");
    assert_eq!(only_error("server = 3\n").problem, "is not a table");
    assert_eq!(only_error("[handlers]\nmessage = \"a.wasm\"\n").key, "handlers.message");
}

#[test]
fn settings_that_make_no_sense_together_are_refused() {
    for (text, key) in [
        ("[limits]\npacket = \"8KiB\"\n", "limits.content"),
        ("[limits]\nmetadata = \"65KiB\"\n", "limits.metadata"),
        ("[limits]\nhistory_page = 201\n", "limits.history_page"),
        ("[limits]\nqueue_bytes = \"63KiB\"\n", "limits.packet"),
        ("[limits]\noutbound_bytes = \"63KiB\"\n", "limits.packet"),
        ("[sandbox]\nwall_time = \"49ms\"\n", "sandbox.guest_time"),
        ("[sandbox]\ntick = \"51ms\"\n", "sandbox.tick"),
    ] {
        let error = only_error(text);
        assert_eq!(error.key, key);
        assert!(error.problem.starts_with("must not be larger than "));
    }
}

#[test]
fn with_sentinels_redis_has_one_url_and_is_no_cluster() {
    let sentinels = "[redis]\nsentinels = \"redis://a.example:26379, redis://b.example:26379\"\n";
    let config = file(&format!("{sentinels}url = \"rediss://:secret@chat/2\""))
        .load()
        .unwrap();
    assert_eq!(config.redis.sentinels.as_slice().len(), 2);
    for wrong in [
        "",
        "url = \"redis://chat,redis://other\"",
        "url = \"redis://chat\"\ncluster = true",
    ] {
        let error = only_error(&format!("{sentinels}{wrong}")).to_string();
        assert!(
            error.contains("redis.sentinels") && error.contains("redis://NAME"),
            "{error}"
        );
    }
}

#[test]
fn a_store_is_a_file_or_postgresql() {
    let url = |url: &str| load_environment(&[("DATABASE_URL", url)]).map(|config| config.store.url);
    for (text, path) in [
        ("sqlite:a.db", "a.db"),
        ("sqlite:/a.db", "/a.db"),
        ("sqlite:///a/b.db", "/a/b.db"),
    ] {
        assert_eq!(url(text).unwrap(), StoreUrl::Sqlite(path.into()), "{text}");
    }
    for text in ["postgres://u:swordfish@h/d", "postgresql://h:5433/d?sslmode=require"] {
        let StoreUrl::Postgres(found) = url(text).unwrap() else {
            panic!("{text}")
        };
        assert_eq!(found.as_str(), text);
        assert!(!format!("{found:?}").contains("swordfish"));
    }
    for text in [
        "a.db",
        "postgres:",
        "postgres://",
        "sqlite:",
        "sqlite://",
        "sqlite::memory:",
        "sqlite:a.db?mode=rwc",
        "mysql://a",
    ] {
        assert!(url(text).is_err(), "{text}");
    }
}

#[test]
fn grants_are_servers() {
    let config = file("[grants]\nhttp = [\"api.example.org\", \"http://127.0.0.1:8080\"]")
        .load()
        .unwrap();
    let granted: Vec<String> = config
        .default_tenant
        .grants
        .http
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(granted, ["https://api.example.org", "http://127.0.0.1:8080"]);
    let error = only_error("[grants]\nhttp = [\"*\"]");
    assert_eq!(error.key, "grants.http");
    assert!(error.to_string().contains("too wide"), "{error}");
}

#[test]
fn hosts_and_origins_are_checked() {
    for host in ["::", "127.0.0.1", "localhost", "chat.example.org"] {
        assert!(file(&format!("[server]\nhost = \"{host}\"\n")).load().is_ok(), "{host}");
    }
    for host in ["", "localhost:3000", "http://localhost", "a b"] {
        assert_eq!(
            only_error(&format!("[server]\nhost = \"{host}\"\n")).key,
            "server.host",
            "{host}"
        );
    }
    for origin in [
        "*",
        "http://localhost:5173",
        "https://chat.example.org",
        "http://[::1]:80",
    ] {
        assert!(
            file(&format!("[server]\ncors_origins = [\"{origin}\"]\n"))
                .load()
                .is_ok(),
            "{origin}"
        );
    }
    for origin in [
        "",
        "localhost",
        "https://a.example/path",
        "https://*.example",
        "ftp://a",
        "https://",
    ] {
        assert_eq!(
            only_error(&format!("[server]\ncors_origins = [\"{origin}\"]\n")).key,
            "server.cors_origins"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_place() {
    let error = only_error("[auth]\n# é\nsecret = \"hush\n");
    assert!(error.key.ends_with("parlance.toml:3:15"), "{}", error.key);
    assert!(!error.to_string().contains("hush"), "{error}");

    let errors = Config::load(Some(Path::new("/absent/parlance.toml")), &environment(&[("PORT", "x")])).unwrap_err();
    let keys: Vec<_> = errors.errors().iter().map(|error| error.key.as_str()).collect();
    assert_eq!(keys, ["/absent/parlance.toml", "server.port"]);
}

#[test]
fn a_long_value_is_shown_in_part() {
    let error = only_error(&format!("[limits]\npacket = \"{}\"\n", "é".repeat(500)));
    assert_eq!(error.value.unwrap().chars().count(), 81);
}

#[test]
fn a_message_of_the_greatest_size_has_to_fit_the_sandbox() {
    let errors = file("[sandbox]\noutput = \"20KiB\"\ntransfer = \"64KiB\"\n")
        .load()
        .unwrap_err();
    let text = errors.to_string();
    assert!(
        text.contains("limits.content") && text.contains("sandbox.output"),
        "{text}"
    );
    assert!(!text.contains("sandbox.transfer"), "64 KiB are enough: {text}");
}
