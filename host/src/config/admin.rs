//! Who may use the admin API: `[[admin.tokens]]` of the file, and `PARLANCE_ADMIN_TOKEN`.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use toml::Value;

use super::error::{ConfigError, Errors};
use super::kinds::Kind;
use super::reader::{Reader, Source};
use crate::id::check_tenant_name;

/// The table.
pub(super) const TABLE: &str = "admin";
/// Fewest bytes of an admin token.
pub const MIN_ADMIN_TOKEN_BYTES: usize = 16;
/// The name of the environment's token in the audit log.
const ENVIRONMENT: &str = "environment";

/// How tokens look in the file.
pub(super) const TOKENS_EXAMPLE: &str = "\
# Who may use the admin API, besides the environment's PARLANCE_ADMIN_TOKEN, which is an operator's. Without any token
# there is no admin API.
# [[admin.tokens]]
# name = \"deploy-bot\"             # names it in the audit log
# token_file = \"deploy-bot.token\" # or token_sha256 = \"…\", from: printf %s TOKEN | sha256sum
# tenant = \"acme\"                 # what it may reach; without it, everything";

/// A token that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTokenConfig {
    /// Names it in the audit log.
    pub name: String,
    /// The SHA-256 hash of its bytes.
    pub sha256: [u8; 32],
    /// The one tenant that it may reach; `None` for an operator's.
    pub tenant: Option<String>,
}

/// A text that is not empty.
struct Text;

impl Kind for Text {
    type Value = String;

    fn allowed(&self) -> String {
        "a text that is not empty".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| "is no text".to_owned())
    }
}

pub(super) fn read(source: &Source, environment: Option<String>, errors: &mut Errors) -> Option<Vec<AdminTokenConfig>> {
    let mut tokens = Some(Vec::new());
    if let Some(token) = environment {
        match hashed(&token) {
            Ok(sha256) => tokens.get_or_insert_default().push(AdminTokenConfig {
                name: ENVIRONMENT.to_owned(),
                sha256,
                tenant: None,
            }),
            Err(problem) => {
                errors.push(ConfigError::new("PARLANCE_ADMIN_TOKEN", problem).help(help()));
                tokens = None;
            }
        }
    }
    let mut reader = Reader::of(source, TABLE, errors);
    let items = match reader.take("tokens") {
        None => &[][..],
        Some(Value::Array(items)) => items,
        Some(value) => {
            let error = ConfigError::new("admin.tokens", "is not a list of tables").value(value);
            return reader.refuse(error.help("write each token as [[admin.tokens]]"));
        }
    };
    for (at, item) in items.iter().enumerate() {
        let read = token(reader.inside(Some(item), format!("admin.tokens[{at}]")), &source.base);
        match (&mut tokens, read) {
            (Some(tokens), Some(read)) => tokens.push(read),
            _ => tokens = None,
        }
    }
    reader.report_unknown_keys();
    tokens
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

fn token(mut reader: Reader<'_, '_>, base: &Path) -> Option<AdminTokenConfig> {
    if !reader.is_table() {
        return None;
    }
    let name = match reader.optional("name", &Text) {
        Some(None) => {
            let error = ConfigError::new(reader.path_of("name"), "is missing");
            reader.refuse(error.allowed(Text.allowed()))
        }
        found => found.flatten(),
    };
    let tenant = reader.optional("tenant", &Text);
    if let Some(Some(tenant)) = &tenant
        && let Err(error) = check_tenant_name(tenant)
    {
        return reader.refuse(ConfigError::new(reader.path_of("tenant"), error.to_string()));
    }
    let (file, hash) = (
        reader.optional("token_file", &Text),
        reader.optional("token_sha256", &Text),
    );
    let sha256 = match (file?, hash?) {
        (Some(file), None) => match fs::read_to_string(base.join(&file)) {
            Ok(token) => match hashed(&token) {
                Ok(hash) => Some(hash),
                Err(problem) => reader.refuse(ConfigError::new(reader.path_of("token_file"), problem).help(help())),
            },
            Err(error) => {
                let problem = format!("names a file that cannot be read ({error})");
                reader.refuse(ConfigError::new(reader.path_of("token_file"), problem))
            }
        },
        (None, Some(hash)) => match from_hex(&hash) {
            Some(hash) => Some(hash),
            None => {
                let error = ConfigError::new(reader.path_of("token_sha256"), "is no SHA-256 hash");
                reader.refuse(error.allowed("64 hexadecimal digits"))
            }
        },
        _ => {
            let error = ConfigError::new(reader.path_of("token_file"), "is the token, or token_sha256 is");
            reader.refuse(error.allowed("exactly one of token_file, token_sha256"))
        }
    };
    reader.report_unknown_keys();
    Some(AdminTokenConfig {
        name: name?,
        sha256: sha256?,
        tenant: tenant?,
    })
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
