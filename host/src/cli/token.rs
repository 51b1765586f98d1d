//! `parlance token`: makes a token to try things out with.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::{Failure, TokenArgs};
use crate::config::{Config, Environment};
use parlance_types::auth::dev_key::{self, DEV_SECRET_PATH};
use parlance_types::auth::{Algorithm, Key, MAX_NAME_BYTES, Minter, Policy};
use parlance_types::id::{BOT_PREFIX, DEFAULT_TENANT, UserId};

const MIN_TTL: Duration = Duration::from_secs(1);
/// Ten years of 365 days: long enough for a token in a test fixture.
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Runs the command. `directory` is the current one, `now_ms` the time in milliseconds since the Unix epoch. `out` is
/// standard output and gets the token alone; `notes` is standard error.
///
/// # Errors
/// When the arguments or the configuration are wrong, there is no key, or the output cannot be written.
pub fn run(
    args: &TokenArgs,
    env: &Environment,
    directory: &Path,
    now_ms: u64,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), Failure> {
    check(args)?;
    let config = Config::load(args.config.path.as_deref(), env)?;
    let (policy, key, origin);
    if let Some(file) = &args.secret_file {
        // The issuer and audience of a tenant of the admin API are not known here.
        (policy, key) = (&config.default_tenant.auth, secret(file)?);
        origin = format!("signed with the secret in {}", file.display());
    } else {
        policy = known_policy(&config, &args.tenant)?;
        (key, origin) = if args.tenant == DEFAULT_TENANT {
            signing_key(policy, directory)?
        } else {
            tenant_key(policy, &args.tenant)?
        };
    }
    let minter = Minter::new(&key, policy).context("cannot sign with this key")?;
    let token = minter
        .mint(&args.user, args.name.as_deref(), args.ttl, now_ms)
        .context("cannot make a token")?;
    writeln!(out, "{token}").context("cannot write to standard output")?;
    // A note that cannot be written is not a failure.
    let ttl = humantime::format_duration(args.ttl);
    let _ = writeln!(
        notes,
        "token for user {} of tenant {}, valid for {ttl}, {origin}",
        args.user, args.tenant
    );
    Ok(())
}

/// Refuses arguments that would make a token which the server refuses.
fn check(args: &TokenArgs) -> Result<(), Failure> {
    let user = UserId::from_token(&args.user).map_err(|error| Failure::Usage(format!("--user: {error}")))?;
    if user.is_bot() {
        let why = format!("--user: an id that begins with {BOT_PREFIX:?} is that of a bot, which has no token");
        return Err(Failure::Usage(why));
    }
    if args
        .name
        .as_ref()
        .is_some_and(|name| name.is_empty() || name.len() > MAX_NAME_BYTES)
    {
        return Err(Failure::Usage(format!("--name: must have 1 to {MAX_NAME_BYTES} bytes")));
    }
    if args.ttl < MIN_TTL || args.ttl > MAX_TTL {
        return Err(Failure::Usage("--ttl: must be from 1s to 3650days".to_owned()));
    }
    Ok(())
}

/// The key in a file, without a line end at the end.
fn secret(file: &Path) -> Result<Key, Failure> {
    let bytes = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    Key::from_secret(Algorithm::Hs256, secret).map_err(|error| Failure::Usage(format!("--secret-file: {error}")))
}

/// How the tenant verifies tokens.
fn known_policy<'c>(config: &'c Config, tenant: &str) -> Result<&'c Policy, Failure> {
    if tenant == DEFAULT_TENANT {
        return Ok(&config.default_tenant.auth);
    }
    let known = config.tenants.iter().find(|known| known.name == tenant);
    known.map(|known| &known.auth).ok_or_else(|| {
        let mut names = vec![DEFAULT_TENANT];
        names.extend(config.tenants.iter().map(|known| known.name.as_str()));
        Failure::Usage(format!(
            "--tenant: there is no tenant {tenant:?} in the configuration; known: {}. For one that was made by the admin \
             API name a file with its secret (--secret-file)",
            names.join(", ")
        ))
    })
}

/// The HMAC key of a tenant other than the default one, which has no development key.
fn tenant_key(policy: &Policy, tenant: &str) -> Result<(Key, String), Failure> {
    let key = policy.keys.iter().find(|key| key.algorithm().is_hmac());
    let key = key.ok_or_else(|| {
        Failure::Usage(format!(
            "the tenant {tenant} has no HMAC key in the configuration, and only with such a key a token can be signed"
        ))
    })?;
    Ok((key.clone(), format!("signed with the key of {tenant}")))
}

/// The key that a server with the same configuration, started in the same directory, would accept, and its origin in
/// words.
fn signing_key(policy: &Policy, directory: &Path) -> Result<(Key, String), Failure> {
    if let Some(key) = policy.keys.iter().find(|key| key.algorithm().is_hmac()) {
        return Ok((key.clone(), "signed with the configured key".to_owned()));
    }
    // `parlance dev` uses its own key only when none is configured.
    if !policy.keys.is_empty() {
        return Err(Failure::Usage(
            "the configured keys are public keys, which verify and cannot sign; \
             get a token from whoever holds the private key"
                .to_owned(),
        ));
    }
    match dev_key::load(directory)? {
        Some(found) => Ok((
            found.key,
            format!("signed with the development key {}", found.path.display()),
        )),
        None => Err(Failure::Usage(format!(
            "there is no key to sign with: run `parlance dev` in this directory once, which keeps one in \
             {DEV_SECRET_PATH}, or set JWT_SECRET, or name a configuration file that has an HMAC key (--config FILE)"
        ))),
    }
}
