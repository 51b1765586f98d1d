//! Mints tokens, for development and tests. In production another service issues them.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::authenticator::Policy;
use super::key::{Algorithm, Key};

/// Why no token can be minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The key is a public key, which cannot sign.
    #[error("{} keys cannot sign here: the server has the public half only", .0.name())]
    NotASecret(Algorithm),
    /// The claims to sign are not JSON.
    #[error("the claims are not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// The library could not sign.
    #[error("signing failed")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

/// Signs tokens with an HMAC key.
pub struct Minter {
    header: Header,
    key: EncodingKey,
    audience: Option<String>,
    issuer: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

impl Minter {
    /// Takes the signing key and the policy that the tokens must satisfy: they get the first audience and the first
    /// issuer that it accepts, if there are any.
    ///
    /// # Errors
    /// When the key is not an HMAC key.
    pub fn new(key: &Key, policy: &Policy) -> Result<Self, MintError> {
        let encoding = key.encoding.clone().ok_or(MintError::NotASecret(key.algorithm()))?;
        let mut header = Header::new(key.algorithm().to_library());
        header.kid = key.id().map(str::to_owned);
        Ok(Self {
            header,
            key: encoding,
            audience: policy.rules.audience.first().cloned(),
            issuer: policy.rules.issuer.first().cloned(),
        })
    }

    /// Mints a token for this user. It is valid from `now_ms` (milliseconds since the Unix epoch) for `ttl`, both
    /// rounded down to seconds.
    ///
    /// # Errors
    /// When the library cannot sign.
    pub fn mint(&self, user: &str, name: Option<&str>, ttl: Duration, now_ms: u64) -> Result<String, MintError> {
        let iat = now_ms / 1000;
        let claims = Claims {
            sub: user,
            name,
            iat,
            exp: iat.saturating_add(ttl.as_secs()),
            aud: self.audience.as_deref(),
            iss: self.issuer.as_deref(),
        };
        encode(&self.header, &claims, &self.key).map_err(MintError::Signing)
    }

    /// Signs the text of a JSON object as the claims of a token, as it is.
    ///
    /// # Errors
    /// When the text is not JSON, or the library cannot sign.
    pub fn sign(&self, claims: &str) -> Result<String, MintError> {
        let claims: &RawValue = serde_json::from_str(claims).map_err(MintError::NotJson)?;
        encode(&self.header, &claims, &self.key).map_err(MintError::Signing)
    }
}
