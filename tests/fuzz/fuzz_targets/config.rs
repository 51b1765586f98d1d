//! The configuration: variables, `NAME=value` a line, and after an empty line the TOML file.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use parlance::config::{Config, Environment};
use tempfile::TempDir;

/// Stands in the place of `SECRET` in the variables that have secrets. No other text of the input is this one.
const SECRET: &str = "q7Zk0vXw2JbN5yTcR8mLpD4hSgUeA1fo";
const SECRET_VARIABLES: [&str; 4] = ["DATABASE_URL", "JWT_SECRET", "PARLANCE_ADMIN_TOKEN", "REDIS_URL"];

static DIRECTORY: LazyLock<Option<TempDir>> = LazyLock::new(|| tempfile::tempdir().ok());

fuzz_target!(|input: &str| {
    let (variables, file) = input.split_once("\n\n").unwrap_or(("", input));
    let Some(directory) = DIRECTORY.as_ref() else { return };
    let path: PathBuf = directory.path().join("parlance.toml");
    if fs::write(&path, file).is_err() {
        return;
    }
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let environment = Environment::new(variables.map(|(name, value)| {
        let is_secret = SECRET_VARIABLES.contains(&name);
        (
            name.to_owned(),
            value.replace("SECRET", if is_secret { SECRET } else { "" }),
        )
    }));
    match Config::load(Some(&path), &environment) {
        Ok(config) => {
            let limits = &config.default_tenant.limits;
            assert!(limits.call.client.packet <= limits.call.client.queue_bytes);
            assert!(config.engine.tick <= limits.guest.guest_time);
            assert!(!format!("{config:?}").contains(SECRET), "a secret is shown");
        }
        Err(errors) => assert!(!errors.to_string().contains(SECRET), "a secret is shown: {errors}"),
    }
});
