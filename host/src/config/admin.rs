//! Who may use the admin API: `[[admin.tokens]]` of the file, and `PARLANCE_ADMIN_TOKEN`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use toml::Value;

use super::environment::Given;
use parlance_types::id::check_tenant_name;
use parlance_types::settings::{
    Choice, ConfigError, Errors, NonEmptyText, Reader, Settings as _, Source, ValueKind, optional, pattern, required,
    settings, text,
};

/// The table.
pub(super) const TABLE: &str = "admin";
/// Its list of tokens.
pub(super) const TOKENS: &str = "tokens";
/// Fewest bytes of an admin token.
const MIN_ADMIN_TOKEN_BYTES: usize = 16;
/// The name of the environment's token in the audit log.
const ENVIRONMENT: &str = "environment";

/// How tokens look in the file.
pub(super) const TOKENS_EXAMPLE: &str = "\
# Who may use the admin API, besides the environment's PARLANCE_ADMIN_TOKEN, which is an operator's. Without any token
# there is no admin API.
# [[admin.tokens]]
# name = \"deploy-bot\"             # names it in the audit log
# token_file = \"deploy-bot.token\" # or token_sha256 = \"…\", from: printf %s TOKEN | sha256sum
# tenant = \"acme\"                 # what it may reach; without it, everything
# scope = \"data\"                  # only messages and rooms (the data API); without it, all that it may reach";

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Operator,
    /// Everything about this tenant, but to create, change, suspend or delete it.
    Tenant(String),
}

/// What a token may do with what its role reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything that its role may.
    Admin,
    /// Only read and write messages, and list rooms: the data API.
    Data,
}

/// A token that is accepted; the token itself is known by its hash only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// Names it in the audit log.
    pub name: Arc<str>,
    /// The SHA-256 hash of its bytes.
    pub sha256: [u8; 32],
    /// What it reaches.
    pub role: Role,
    /// What it may do there.
    pub scope: Scope,
}

settings! {
    /// A token that is accepted.
    pub(super) struct TokenTable of the server in "admin.tokens" {
        /// Names it in the audit log.
        name: Option<String> = None, required(NonEmptyText);
        /// A file with the token.
        token_file: Option<String> = None, optional(NonEmptyText);
        /// The SHA-256 hash of the token, as `sha256sum` prints it.
        token_sha256: Option<[u8; 32]> = None, optional(Sha256Hash);
        /// The one tenant that it may reach; without it, everything.
        tenant: Option<String> = None, optional(TenantName);
        /// What it may do: "admin" for everything, or "data" for the data API alone, messages and rooms.
        scope: Scope = Scope::Admin, Choice(&[("admin", Scope::Admin), ("data", Scope::Data)]);
    }
}

/// Exactly one of these is the token.
pub(super) const TOKEN_IS: [&str; 2] = ["token_file", "token_sha256"];

/// Reads `[admin]`; the token of the environment is one more.
pub(super) fn read(source: &Source, environment: Option<Given>, errors: &mut Errors) -> Option<Vec<AdminToken>> {
    let of_file = Reader::of(source, TABLE, errors).tables(TOKENS, token);
    let of_environment = environment.map(|Given { variable, text }| match hashed(&text) {
        Ok(sha256) => Some(AdminToken {
            name: ENVIRONMENT.into(),
            sha256,
            role: Role::Operator,
            scope: Scope::Admin,
        }),
        Err(problem) => {
            errors.push(ConfigError::new(variable, problem).help(help()));
            None
        }
    });
    let mut tokens = of_file?;
    if let Some(token) = of_environment {
        tokens.push(token?);
    }
    Some(tokens)
}

fn help() -> String {
    format!("allowed: at least {MIN_ADMIN_TOKEN_BYTES} bytes; make one with: openssl rand -hex 32")
}

fn hashed(token: &str) -> Result<[u8; 32], String> {
    let token = token.trim();
    if token.len() < MIN_ADMIN_TOKEN_BYTES {
        return Err(format!("has {} bytes, which can be guessed", token.len()));
    }
    Ok(Sha256::digest(token.as_bytes()).into())
}

fn token(mut reader: Reader<'_, '_>) -> Option<AdminToken> {
    let table = TokenTable::read(&mut reader);
    let has_one = reader.exactly_one(&TOKEN_IS);
    let token = table.filter(|_| has_one).and_then(|table| {
        let sha256 = match (table.token_sha256, &table.token_file) {
            (Some(hash), _) => hash,
            (None, file) => of_file(&mut reader, file.as_ref()?)?,
        };
        Some(AdminToken {
            name: table.name?.into(),
            sha256,
            role: table.tenant.map_or(Role::Operator, Role::Tenant),
            scope: table.scope,
        })
    });
    reader.report_unknown_keys();
    token
}

fn of_file(reader: &mut Reader<'_, '_>, file: &str) -> Option<[u8; 32]> {
    let text = fs::read_to_string(reader.base().join(file))
        .map_err(|error| format!("names a file that cannot be read ({error})"));
    match text.and_then(|text| hashed(&text)) {
        Ok(hash) => Some(hash),
        Err(problem) => reader.refuse(ConfigError::new(reader.path_of("token_file"), problem).help(help())),
    }
}

/// A SHA-256 hash.
struct Sha256Hash;

impl ValueKind<[u8; 32]> for Sha256Hash {
    fn allowed(&self) -> String {
        "64 hexadecimal digits".to_owned()
    }

    fn schema(&self) -> Json {
        pattern("^[0-9A-Fa-f]{64}$")
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<[u8; 32], String> {
        from_hex(text(value)?).ok_or_else(|| "is not a SHA-256 hash".to_owned())
    }

    fn show(&self, _: &[u8; 32]) -> Option<Value> {
        None
    }
}

/// The name of a tenant.
struct TenantName;

impl ValueKind<String> for TenantName {
    fn allowed(&self) -> String {
        "the name of a tenant".to_owned()
    }

    fn schema(&self) -> Json {
        NonEmptyText.schema()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        let name = text(value)?;
        check_tenant_name(name).map_err(|error| error.to_string())?;
        Ok(name.to_owned())
    }

    fn show(&self, value: &String) -> Option<Value> {
        NonEmptyText.show(value)
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(n * 2..n * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
