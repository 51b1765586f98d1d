//! Which keys verify tokens: `[[auth.keys]]` of the file, or `JWT_SECRET`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use toml::Value;

use super::error::{ConfigError, Errors};
use super::kinds::{Kind, Switch, Time};
use super::reader::{Reader, Source};
use super::sections::{Auth, Section};
use crate::auth::{Algorithm, JwksLocation, JwksSource, Key, MIN_SECRET_BYTES, Policy};

/// Fewest bytes of `JWT_SECRET`. Fewer than [`MIN_SECRET_BYTES`] are a warning only, since a server that is to
/// replace another one has to take the secret that is there.
pub const MIN_ENVIRONMENT_SECRET_BYTES: usize = 16;
/// The longest time between two looks at a published key set.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
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

/// Reads `[auth]`; the secret of the environment, if there is one, takes the place of the file's keys.
pub(super) fn read(
    source: &Source,
    environment_secret: Option<String>,
    errors: &mut Errors,
    warnings: &mut Vec<String>,
) -> Option<Policy> {
    let mut reader = Reader::of(source, Auth::TABLE, errors);
    let auth = Auth::read(&mut reader);
    let file_keys = reader.take("keys");
    let jwks = match reader.take("jwks") {
        None => Some(Vec::new()),
        Some(value) => jwks(&mut reader, value),
    };
    let keys = match environment_secret {
        Some(secret) => {
            if file_keys.is_some() {
                warnings.push("JWT_SECRET is set, so auth.keys of the file is not used".to_owned());
            }
            environment_key(&mut reader, &secret, warnings).map(|key| vec![key])
        }
        None => file_keys.map_or(Some(Vec::new()), |value| keys(&mut reader, value)),
    };
    reader.report_unknown_keys();
    let (auth, keys, jwks) = (auth?, keys?, jwks?);
    Some(Policy {
        keys,
        jwks,
        audience: auth.audience,
        issuer: auth.issuer,
        leeway: auth.leeway,
        expiring_notice: auth.expiring_notice,
    })
}

fn environment_key(reader: &mut Reader<'_, '_>, secret: &str, warnings: &mut Vec<String>) -> Option<Key> {
    let length = secret.len();
    if length < MIN_ENVIRONMENT_SECRET_BYTES {
        let problem = format!("has {length} bytes, which can be guessed");
        let allowed = format!("at least {MIN_ENVIRONMENT_SECRET_BYTES} bytes, better {MIN_SECRET_BYTES}");
        return reader.refuse(ConfigError::new("JWT_SECRET", problem).allowed(format!("{allowed}; {MAKE_SECRET}")));
    }
    if length < MIN_SECRET_BYTES {
        warnings.push(format!(
            "JWT_SECRET has {length} bytes; tokens are safe from guessing with {MIN_SECRET_BYTES}: {MAKE_SECRET}"
        ));
    }
    match Key::from_secret(Algorithm::Hs256, secret.as_bytes()) {
        Ok(key) => Some(key),
        Err(error) => reader.refuse(ConfigError::new("JWT_SECRET", error.to_string())),
    }
}

fn keys(reader: &mut Reader<'_, '_>, value: &Value) -> Option<Vec<Key>> {
    let source = reader.source();
    let Some(items) = source
        .table
        .get(Auth::TABLE)
        .and_then(|auth| auth.get("keys"))
        .and_then(Value::as_array)
    else {
        let error = ConfigError::new("auth.keys", "is not a list of tables").help("write each key as [[auth.keys]]");
        return reader.refuse(error.value(value));
    };
    // Every key is read before the first failure counts, so that all errors are reported.
    let keys: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(at, item)| key(reader.inside(Some(item), format!("auth.keys[{at}]")), &source.base))
        .collect();
    keys.into_iter().collect()
}

fn jwks(reader: &mut Reader<'_, '_>, value: &Value) -> Option<Vec<JwksSource>> {
    let source = reader.source();
    let items = source.table.get(Auth::TABLE).and_then(|auth| auth.get("jwks"));
    let Some(items) = items.and_then(Value::as_array) else {
        let error = ConfigError::new("auth.jwks", "is not a list of tables").help("write each source as [[auth.jwks]]");
        return reader.refuse(error.value(value));
    };
    let sources: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(at, item)| jwks_source(reader.inside(Some(item), format!("auth.jwks[{at}]")), &source.base))
        .collect();
    sources.into_iter().collect()
}

fn jwks_source(mut reader: Reader<'_, '_>, base: &Path) -> Option<JwksSource> {
    if !reader.is_table() {
        return None;
    }
    let (file, url) = (reader.optional("file", &Line), reader.optional("url", &Line));
    let allow_http = reader.setting("allow_http", "false", &Switch);
    let private_addresses = reader.setting("allow_private_addresses", "false", &Switch);
    let refresh = reader.setting("refresh", "\"10m\"", &Time(Duration::from_secs(1), DAY));
    let unknown = reader.setting("unknown_key_refresh", "\"30s\"", &Time(Duration::from_secs(1), DAY));
    let location = match (file?, url?) {
        (Some(file), None) => Some(JwksLocation::File(base.join(file))),
        (None, Some(url)) if url.starts_with("https://") || (allow_http? && url.starts_with("http://")) => {
            Some(JwksLocation::Url(url))
        }
        (None, Some(_)) => {
            let error = ConfigError::new(reader.path_of("url"), "is no address of https");
            reader.refuse(error.help("http:// needs allow_http = true: whoever is on the way could name any key"))
        }
        _ => {
            let error = ConfigError::new(reader.path_of("url"), "is the set, or file is");
            reader.refuse(error.allowed("exactly one of url, file"))
        }
    };
    reader.report_unknown_keys();
    Some(JwksSource {
        location: location?,
        private_addresses: private_addresses?,
        refresh: refresh?,
        unknown_key_refresh: unknown?,
    })
}

/// Where a key's bytes come from.
enum Material {
    Secret(String),
    PublicPem(String),
}

fn key(mut reader: Reader<'_, '_>, base: &Path) -> Option<Key> {
    if !reader.is_table() {
        return None;
    }
    let algorithm = match reader.optional("algorithm", &AlgorithmName) {
        Some(None) => {
            let error = ConfigError::new(reader.path_of("algorithm"), "is missing");
            reader.refuse(error.allowed(AlgorithmName.allowed()))
        }
        found => found.flatten(),
    };
    let id = reader.optional("kid", &Line);
    let material = material(&mut reader, base);
    let key = match (algorithm, material) {
        (Some(algorithm), Some((name, material))) => build(&mut reader, algorithm, name, &material),
        _ => None,
    };
    reader.report_unknown_keys();
    let key = key?;
    Some(match id? {
        Some(id) => key.with_id(&id),
        None => key,
    })
}

/// Exactly one of the four, and the name under which it was given.
fn material(reader: &mut Reader<'_, '_>, base: &Path) -> Option<(&'static str, Material)> {
    const NAMES: [&str; 4] = ["secret", "secret_file", "public_key", "public_key_file"];
    let given: Vec<_> = NAMES
        .into_iter()
        .filter_map(|name| Some((name, reader.take(name)?)))
        .collect();
    let [(name, value)] = given.as_slice() else {
        let problem = if given.is_empty() {
            "has no key"
        } else {
            "has more than one key"
        };
        let error = ConfigError::new(reader.path_of("secret"), problem);
        return reader.refuse(error.allowed(format!("one of {}", NAMES.join(", "))));
    };
    let Some(text) = value.as_str() else {
        return reader.refuse(ConfigError::new(reader.path_of(name), "is not a text in quotes"));
    };
    let text = if name.ends_with("_file") {
        let path = base.join(text);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) => {
                let problem = format!("names a file that cannot be read ({error})");
                return reader.refuse(ConfigError::new(reader.path_of(name), problem).value(value));
            }
        }
    } else {
        text.to_owned()
    };
    Some((
        name,
        if name.starts_with("secret") {
            Material::Secret(text)
        } else {
            Material::PublicPem(text)
        },
    ))
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

struct AlgorithmName;

impl Kind for AlgorithmName {
    type Value = Algorithm;

    fn allowed(&self) -> String {
        Algorithm::ALL.map(Algorithm::name).join(", ")
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Algorithm, String> {
        value
            .as_str()
            .and_then(Algorithm::from_name)
            .ok_or_else(|| "is no algorithm".to_owned())
    }
}

/// A text that is not empty.
struct Line;

impl Kind for Line {
    type Value = String;

    fn allowed(&self) -> String {
        "a text that is not empty".to_owned()
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| "is no text".to_owned())
    }
}
