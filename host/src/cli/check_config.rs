//! `parlance check-config`: prints every error of the configuration at once, the commented defaults, or the JSON Schema.

use std::io::Write;

use anyhow::Context;

use super::{CheckConfigArgs, Failure};
use crate::app;
use crate::config::{Config, Environment, TenantConfig, defaults_toml, schema};

/// In one line, where `parlance serve` says it with an example.
const NO_KEY: &str = "It has no key to verify tokens with: set JWT_SECRET, or [[auth.keys]] in the file; \
                      `parlance serve` shows how";

/// Runs the command. `out` is standard output, `notes` is standard error.
///
/// # Errors
/// When the configuration is wrong, or the output cannot be written.
pub fn run(
    args: &CheckConfigArgs,
    env: &Environment,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), Failure> {
    if args.defaults {
        out.write_all(defaults_toml().as_bytes())
            .context("cannot write to standard output")?;
        return Ok(());
    }
    if args.schema {
        writeln!(out, "{:#}", schema()).context("cannot write to standard output")?;
        return Ok(());
    }
    let config = Config::load(args.config.path.as_deref(), env)?;
    // A note that cannot be written does not fail the check.
    for warning in &config.warnings {
        let _ = writeln!(notes, "warning: {warning}");
    }
    if !config.default_tenant.auth.has_keys() {
        let _ = writeln!(notes, "warning: `parlance serve` will not start. {NO_KEY}");
    }
    for warning in config.tenants.iter().filter_map(TenantConfig::warning) {
        let _ = writeln!(notes, "warning: {warning}");
    }
    if let Err(error) = app::check_path(&config.store) {
        let _ = writeln!(notes, "warning: `parlance serve` will not start. {error}");
    }
    let file = args.config.path.as_deref().map_or_else(
        || "no file, the environment over the defaults".to_owned(),
        |path| format!("{} and the environment", path.display()),
    );
    writeln!(out, "The configuration is right ({file}).").context("cannot write to standard output")?;
    Ok(())
}
