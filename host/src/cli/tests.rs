use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};

use super::*;
use crate::config::{Config, Environment, defaults_toml};
use parlance_types::auth::{Authenticator, dev_key};

const NOW: u64 = 1_800_000_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn no_environment() -> Environment {
    Environment::default()
}

fn secret_in_environment() -> Environment {
    Environment::new([("JWT_SECRET".to_owned(), SECRET.to_owned())])
}

/// Standard output and standard error of `parlance token`.
fn token(args: &[&str], env: Environment, directory: &Path) -> Result<(String, String), Failure> {
    let Command::Token(args) = parse(&[&["token"], args].concat()) else {
        unreachable!()
    };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    token::run(&args, &env, directory, NOW, &mut out, &mut notes)?;
    Ok((String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap()))
}

fn check_config(args: &[&str], env: Environment) -> Result<(String, String), Failure> {
    let Command::CheckConfig(args) = parse(&[&["check-config"], args].concat()) else {
        unreachable!()
    };
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    check_config::run(&args, &env, &mut out, &mut notes)?;
    Ok((String::from_utf8(out).unwrap(), String::from_utf8(notes).unwrap()))
}

fn parse(args: &[&str]) -> Command {
    Cli::try_parse_from([&["parlance"], args].concat()).unwrap().command
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_names_every_command_variable_and_exit_code() {
    let help = Cli::command().render_long_help().to_string();
    for word in ["serve", "dev", "token", "check-config", "inspect", "Exit codes: 0"] {
        assert!(help.contains(word), "{word}");
    }
    for variable in VARIABLES {
        assert!(help.contains(variable.name), "{}", variable.name);
    }
    for command in Cli::command()
        .get_subcommands()
        // Hidden are those that only the server calls.
        .filter(|command| command.get_name() != "help" && !command.is_hide_set())
    {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("Example"), "{}", command.get_name());
    }
}

#[test]
fn a_command_that_is_none_has_the_code_of_a_usage_error() {
    let error = Cli::try_parse_from(["parlance", "sevre"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("serve"));
    assert!(Cli::try_parse_from(["parlance", "token", "--user", "a", "--ttl", "forever"]).is_err());
    assert!(matches!(parse(&["dev", "a.wasm", "b.wasm"]), Command::Dev(args) if args.paths.len() == 2));
}

#[test]
fn which_server_can_be_said_before_and_after_a_command_of_a_command() {
    let tenants = |args: &[&str]| match parse(&[&["tenants"], args].concat()) {
        Command::Tenants(args) => args.server,
        _ => unreachable!(),
    };
    for args in [
        &["list", "--json", "--server", "http://a.example"][..],
        &["--json", "list", "--server", "http://a.example"],
        &["--server", "http://a.example", "--json", "create", "acme", "acme.toml"],
        &["create", "acme", "acme.toml", "--server", "http://a.example", "--json"],
    ] {
        let server = tenants(args);
        assert!(
            server.json && server.server == "http://a.example",
            "{args:?}: {server:?}"
        );
    }
    let file = tenants(&["show", "acme", "--token-file", "token"]).token_file;
    assert_eq!(file.as_deref(), Some(Path::new("token")));
}

#[test]
fn a_revocation_says_whose_tokens_or_which_or_how_old() {
    let revoke = |args: &[&str]| Cli::try_parse_from([&["parlance", "revoke"], args].concat());
    for wrong in [
        &[][..],
        &["--token-id", "a", "--user", "b"],
        &["--token-id", "a", "--issued-before", "now"],
        &["--issued-before", "yesterday"],
        &["--issued-before", "1969-01-01 00:00:00"],
    ] {
        assert!(revoke(wrong).is_err(), "{wrong:?}");
    }
    let Command::Revoke(args) = revoke(&["--issued-before", "2026-03-01T12:00:00Z", "--user", "ann"])
        .unwrap()
        .command
    else {
        unreachable!()
    };
    assert_eq!(
        (args.issued_before, args.user.as_deref()),
        (Some(1_772_366_400_000), Some("ann"))
    );
}

#[test]
fn a_token_is_signed_with_the_configured_key() {
    let directory = tempfile::tempdir().unwrap();
    // A development key lies beside, and is not what the server would use.
    dev_key::load_or_create(directory.path()).unwrap();
    let args = ["--user", "alice", "--name", "Alice", "--ttl", "2h"];
    let (token, notes) = token(&args, secret_in_environment(), directory.path()).unwrap();
    let policy = Config::load(None, &secret_in_environment())
        .unwrap()
        .default_tenant
        .auth;
    let identity = Authenticator::new(DEFAULT_TENANT, &policy)
        .unwrap()
        .verify(token.trim_end(), NOW)
        .unwrap();
    assert_eq!((identity.user().as_str(), &**identity.name()), ("alice", "Alice"));
    assert_eq!(identity.expires_at_ms(), NOW + 2 * 3_600_000);
    assert_eq!(token.lines().count(), 1);
    assert!(
        notes.contains("configured key") && !notes.contains(token.trim_end()),
        "{notes}"
    );
}

#[test]
fn a_token_is_signed_with_the_development_key_when_no_key_is_configured() {
    let directory = tempfile::tempdir().unwrap();
    let failure = token(&["--user", "alice"], no_environment(), directory.path()).unwrap_err();
    assert_eq!(failure.exit_code(), 2);
    for way in ["parlance dev", "JWT_SECRET", "--config"] {
        assert!(failure.to_string().contains(way), "{failure}");
    }

    let key = dev_key::load_or_create(directory.path()).unwrap().key;
    let (token, notes) = token(&["--user", "alice"], no_environment(), directory.path()).unwrap();
    let mut policy = Config::load(None, &no_environment()).unwrap().default_tenant.auth;
    policy.keys.push(key);
    let authenticator = Authenticator::new(DEFAULT_TENANT, &policy).unwrap();
    assert_eq!(
        authenticator.verify(token.trim_end(), NOW).unwrap().user().as_str(),
        "alice"
    );
    assert!(notes.contains("development key"), "{notes}");
}

#[test]
fn a_token_that_the_server_would_refuse_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let long = "u".repeat(129);
    for (args, word) in [
        (vec!["--user", ""], "--user"),
        (vec!["--user", &long], "--user"),
        (vec!["--user", "a", "--name", ""], "--name"),
        (vec!["--user", "a", "--name", &long], "--name"),
        (vec!["--user", "a", "--tenant", "acme"], "--tenant"),
        (vec!["--user", "a", "--ttl", "999ms"], "--ttl"),
        (vec!["--user", "a", "--ttl", "3650days 1s"], "--ttl"),
    ] {
        let failure = token(&args, secret_in_environment(), directory.path()).unwrap_err();
        assert_eq!(failure.exit_code(), 2, "{args:?}");
        assert!(failure.to_string().contains(word), "{failure}");
    }
    for ttl in ["1s", "3650days"] {
        assert!(
            token(
                &["--user", "a", "--ttl", ttl],
                secret_in_environment(),
                directory.path()
            )
            .is_ok(),
            "{ttl}"
        );
    }
}

#[test]
fn check_config_reports_errors_and_warnings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("parlance.toml");
    fs::write(&path, "[server]\nport = -1\n[log]\nformat = \"xml\"\n").unwrap();
    let path = path.to_str().unwrap();
    let failure = check_config(&["--config", path], no_environment()).unwrap_err();
    assert_eq!(failure.exit_code(), 2);
    assert!(failure.to_string().contains("server.port") && failure.to_string().contains("log.format"));

    fs::write(path, "").unwrap();
    let (out, notes) = check_config(&["--config", path], secret_in_environment()).unwrap();
    assert!(out.contains("is right") && out.contains(path), "{out}");
    assert_eq!(notes, "");
    let (_, notes) = check_config(&["--config", path], no_environment()).unwrap();
    assert!(
        notes.contains("JWT_SECRET") && notes.contains("[[auth.keys]]") && notes.lines().count() == 1,
        "{notes}"
    );
}

#[test]
fn check_config_prints_the_defaults() {
    let (out, notes) = check_config(
        &["--defaults"],
        Environment::new([("PORT".to_owned(), "wrong".to_owned())]),
    )
    .unwrap();
    assert_eq!((out, notes), (defaults_toml(), String::new()));
}

#[test]
fn check_config_prints_the_schema() {
    let (out, notes) = check_config(&["--schema"], no_environment()).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((schema, notes), (crate::config::schema(), String::new()));
}

#[test]
fn a_deployment_tells_of_events_that_the_version_before_handled() {
    let version = |number: u64, events: &[&str]| {
        serde_json::json!({
            "version": number, "sha256": "", "size": 1, "events": events, "deployedAt": 0, "deployedBy": "ops", "note": null,
            "failed": null, "state": "kept", "eventsHandled": 0, "eventsFailed": 0, "settings": {},
        })
    };
    let lost = |versions: Vec<serde_json::Value>| {
        let view = serde_json::json!({ "name": "h", "active": 2, "canary": null, "versions": versions, "revision": 1 });
        operate::lost_events(&serde_json::from_value(view).unwrap())
    };
    assert_eq!(lost(vec![version(1, &["message"])]), None);
    assert_eq!(
        lost(vec![version(2, &["event", "message"]), version(1, &["message"])]),
        None
    );
    let warning = lost(vec![version(3, &["event"]), version(2, &["message", "event"])]).unwrap();
    assert!(
        warning.contains("version 3 does not handle message events, as version 2 did"),
        "{warning}"
    );
}
