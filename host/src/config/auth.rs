//! Which keys verify tokens: `[[auth.keys]]` of the file, or `JWT_SECRET`.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};
use toml::Value;

use super::environment::Given;
use super::tables::section;
use parlance_types::auth::{Algorithm, JwksLocation, JwksRules, JwksSource, Key, MIN_SECRET_BYTES, Policy};
use parlance_types::settings::{
    ConfigError, Errors, NonEmptyText, Reader, Secret, Settings as _, Source, Switch, ValueKind, optional, required,
    settings, text,
};

/// The table.
pub(super) const TABLE: &str = "auth";
/// Its list of keys.
pub(super) const KEYS: &str = "keys";
/// Its list of published key sets.
pub(super) const JWKS: &str = "jwks";

/// Fewest bytes of `JWT_SECRET`. Fewer than [`MIN_SECRET_BYTES`] are a warning only, since a server that is to
/// replace another one has to take the secret that is there.
const MIN_ENVIRONMENT_SECRET_BYTES: usize = 16;
const MAKE_SECRET: &str = "make one with: openssl rand -hex 32";

/// What `serve` says when no key is configured.
#[must_use]
pub fn no_key_help() -> String {
    format!(
        "No key to verify tokens with, so nobody could connect. Either\n\
         - set JWT_SECRET to the secret that your tokens are signed with (HS256); {MAKE_SECRET}\n\
         - or name keys in the configuration file:\n\n\
         {KEYS_EXAMPLE}\n\
         To try the server out, `parlance dev` makes a development key and tokens by itself."
    )
}

/// How keys look in the file.
pub(super) const KEYS_EXAMPLE: &str = "\
[[auth.keys]]
algorithm = \"HS256\"                # also HS384, HS512
secret_file = \"jwt-secret\"         # or secret = \"...\"

[[auth.keys]]
algorithm = \"RS256\"                # also PS256, ES256, EdDSA
kid = \"2026-01\"                    # the key that tokens name in their header; optional
public_key_file = \"issuer.pem\"     # or public_key = \"-----BEGIN PUBLIC KEY-----...\"

[[auth.jwks]]                        # a published key set (RFC 7517)
url = \"https://issuer.example.org/.well-known/jwks.json\"   # or file = \"jwks.json\"
refresh = \"10m\"                    # how often it is read
unknown_key_refresh = \"30s\"        # at most as often as this for tokens with a key that is not known
allow_private_addresses = false      # whether the url may lead to this machine and its networks
";

settings! {
    /// A key that verifies tokens.
    pub(super) struct KeyTable of each tenant in "auth.keys" {
        /// The algorithm of its signatures (RFC 7518, and RFC 8037 for EdDSA); a key belongs to one.
        algorithm: Option<Algorithm> = None, required(AlgorithmName);
        /// The name that tokens have for it in their header.
        kid: Option<String> = None, optional(NonEmptyText);
        /// The secret of an HMAC algorithm, at least 32 bytes.
        secret: Option<String> = None, optional(Secret);
        /// A file with the secret; white space around it does not count.
        secret_file: Option<String> = None, optional(NonEmptyText);
        /// The public key of another algorithm, as PEM.
        public_key: Option<String> = None, optional(Secret);
        /// A file with the public key.
        public_key_file: Option<String> = None, optional(NonEmptyText);
    }
}

/// Exactly one of these is the key itself.
pub(super) const KEY_IS: [&str; 4] = ["secret", "secret_file", "public_key", "public_key_file"];

settings! {
    /// Where a published key set (RFC 7517) is.
    pub(super) struct JwksPlace of each tenant in "auth.jwks" {
        /// Its address.
        url: Option<String> = None, optional(NonEmptyText);
        /// Its file.
        file: Option<String> = None, optional(NonEmptyText);
        /// Whether the url may be one of http: whoever is on the way could name any key.
        allow_http: bool = false, Switch;
    }
}

/// Exactly one of these is the place of the set.
pub(super) const JWKS_IS: [&str; 2] = ["url", "file"];

/// Reads `[auth]`; the secret of the environment, if there is one, takes the place of the file's keys.
pub(super) fn read(
    source: &Source,
    environment_secret: Option<Given>,
    errors: &mut Errors,
    warnings: &mut Vec<String>,
) -> Option<Policy> {
    let rules = section(source, errors);
    let mut reader = Reader::of(source, TABLE, errors);
    let jwks = reader.tables(JWKS, jwks_source);
    let keys = match environment_secret {
        Some(secret) => {
            if reader.take(KEYS).is_some() {
                warnings.push(format!(
                    "{} is set, so auth.keys of the file is not used",
                    secret.variable
                ));
            }
            environment_key(&mut reader, &secret, warnings).map(|key| vec![key])
        }
        None => reader.tables(KEYS, key),
    };
    Some(Policy {
        keys: keys?,
        jwks: jwks?,
        rules: rules?,
    })
}

fn environment_key(reader: &mut Reader<'_, '_>, secret: &Given, warnings: &mut Vec<String>) -> Option<Key> {
    let (name, length) = (&secret.variable, secret.text.len());
    if length < MIN_ENVIRONMENT_SECRET_BYTES {
        let problem = format!("has {length} bytes, which can be guessed");
        let allowed = format!("at least {MIN_ENVIRONMENT_SECRET_BYTES} bytes, better {MIN_SECRET_BYTES}");
        return reader.refuse(ConfigError::new(name, problem).allowed(format!("{allowed}; {MAKE_SECRET}")));
    }
    if length < MIN_SECRET_BYTES {
        warnings.push(format!(
            "{name} has {length} bytes; tokens are safe from guessing with {MIN_SECRET_BYTES}: {MAKE_SECRET}"
        ));
    }
    match Key::from_secret(Algorithm::Hs256, secret.text.as_bytes()) {
        Ok(key) => Some(key),
        Err(error) => reader.refuse(ConfigError::new(name, error.to_string())),
    }
}

fn jwks_source(mut reader: Reader<'_, '_>) -> Option<JwksSource> {
    let place = JwksPlace::read(&mut reader);
    let rules = JwksRules::read(&mut reader);
    let has_one = reader.exactly_one(&JWKS_IS);
    let place = place.filter(|_| has_one);
    let location = place.and_then(|place| match (place.file, place.url) {
        (Some(file), None) => Some(JwksLocation::File(reader.base().join(file))),
        (None, Some(url)) if url.starts_with("https://") || (place.allow_http && url.starts_with("http://")) => {
            Some(JwksLocation::Url(url))
        }
        (None, Some(_)) => {
            let error = ConfigError::new(reader.path_of("url"), "is not an https address");
            reader.refuse(error.help("http:// needs allow_http = true: whoever is on the way could name any key"))
        }
        _ => None,
    });
    reader.report_unknown_keys();
    Some(JwksSource {
        location: location?,
        rules: rules?,
    })
}

/// Where a key's bytes come from.
enum Material {
    Secret(String),
    PublicPem(String),
}

fn key(mut reader: Reader<'_, '_>) -> Option<Key> {
    let table = KeyTable::read(&mut reader);
    let has_one = reader.exactly_one(&KEY_IS);
    let key = table.filter(|_| has_one).and_then(|table| {
        let (name, material) = material(&mut reader, &table)?;
        let key = build(&mut reader, table.algorithm?, name, &material)?;
        Some(match table.kid {
            Some(id) => key.with_id(&id),
            None => key,
        })
    });
    reader.report_unknown_keys();
    key
}

/// The key itself, and the name under which it was given.
fn material(reader: &mut Reader<'_, '_>, table: &KeyTable) -> Option<(&'static str, Material)> {
    let secret = |text: String| Material::Secret(text);
    let public = |text: String| Material::PublicPem(text);
    if let Some(text) = &table.secret {
        Some(("secret", secret(text.clone())))
    } else if let Some(file) = &table.secret_file {
        Some(("secret_file", secret(content(reader, "secret_file", file)?)))
    } else if let Some(text) = &table.public_key {
        Some(("public_key", public(text.clone())))
    } else {
        let file = table.public_key_file.as_ref()?;
        Some(("public_key_file", public(content(reader, "public_key_file", file)?)))
    }
}

/// What a file has, without white space around it.
fn content(reader: &mut Reader<'_, '_>, name: &str, file: &str) -> Option<String> {
    match fs::read_to_string(reader.base().join(file)) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) => {
            let problem = format!("names a file that cannot be read ({error})");
            reader.refuse(ConfigError::new(reader.path_of(name), problem).value(&file.into()))
        }
    }
}

fn build(reader: &mut Reader<'_, '_>, algorithm: Algorithm, name: &str, material: &Material) -> Option<Key> {
    let key = match material {
        Material::Secret(secret) if algorithm.is_hmac() && secret.len() < MIN_SECRET_BYTES => {
            let problem = format!("has {} bytes, which can be guessed", secret.len());
            let error = ConfigError::new(reader.path_of(name), problem);
            return reader.refuse(error.allowed(format!("at least {MIN_SECRET_BYTES} bytes; {MAKE_SECRET}")));
        }
        Material::Secret(secret) => Key::from_secret(algorithm, secret.as_bytes()),
        Material::PublicPem(pem) => Key::from_public_pem(algorithm, pem),
    };
    match key {
        Ok(key) => Some(key),
        Err(error) => reader.refuse(ConfigError::new(reader.path_of(name), error.to_string())),
    }
}

/// The name of an [`Algorithm`].
struct AlgorithmName;

fn names() -> Vec<&'static str> {
    Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect()
}

impl ValueKind<Algorithm> for AlgorithmName {
    fn allowed(&self) -> String {
        names().join(", ")
    }

    fn schema(&self) -> Json {
        json!({ "enum": names() })
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Algorithm, String> {
        Algorithm::from_name(text(value)?).ok_or_else(|| "is not an algorithm".to_owned())
    }

    fn show(&self, value: &Algorithm) -> Option<Value> {
        Some(value.name().into())
    }
}
