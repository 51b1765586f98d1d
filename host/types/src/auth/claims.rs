//! Parses the header and the claims of a token. The library that verifies signatures would parse them by serde's rules
//! and refuse some JSON that JavaScript accepts, so they are parsed here by the rules of [`text`](crate::text).

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use super::error::AuthError;
use crate::id::{UserId, check_token_id};
use crate::text::json::unquoted;
use crate::text::number::Number;
use crate::text::{escape, without_lone_surrogates};

/// The largest integer up to which doubles are exact.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Decodes a part of a token to JSON text. Invalid UTF-8 becomes U+FFFD, as in Node.
pub(super) fn decode(part: &str) -> Result<String, AuthError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::Malformed)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(without_lone_surrogates(&text).into_owned())
}

/// The members of a JSON object, each as its own text. Of duplicate names the last counts.
struct Members<'t>(HashMap<Cow<'t, str>, &'t RawValue>);

impl<'t> Members<'t> {
    fn read(text: &'t str) -> Result<Self, AuthError> {
        serde_json::from_str(text).map(Self).map_err(|_| AuthError::Malformed)
    }

    /// A member's value; `null` counts as absent.
    fn get(&self, name: &str) -> Option<&'t str> {
        self.0
            .get(name)
            .map(|value| value.get())
            .filter(|value| *value != "null")
    }

    fn text(&self, name: &str) -> Option<Cow<'t, str>> {
        self.get(name).and_then(text)
    }
}

fn text(value: &str) -> Option<Cow<'_, str>> {
    value.starts_with('"').then(|| unquoted(value))
}

/// A string, or an integer as JavaScript's `String` would write it.
fn text_or_integer(value: &str) -> Option<Cow<'_, str>> {
    match Number::parse(value) {
        None => text(value),
        Some(Number::Unsigned(number)) => Some(number.to_string().into()),
        Some(Number::Signed(number)) => Some(number.to_string().into()),
        Some(Number::Float(number)) if number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER => {
            Some((number as i64).to_string().into())
        }
        Some(Number::Float(_)) => None,
    }
}

/// The parts of a token's header that matter.
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
}

impl Header {
    /// Parses the first part of a token.
    ///
    /// # Errors
    /// When it is malformed or uses an unsupported extension. Critical extensions must be refused by an implementation
    /// that does not know them (RFC 7515, section 4.1.11). With `b64: false` other bytes are signed than those that are
    /// parsed here (RFC 7797), so it is refused even if the header does not list it as critical.
    pub(super) fn read(part: &str) -> Result<Self, AuthError> {
        let text = decode(part)?;
        let members = Members::read(&text)?;
        let plain = members.0.get("b64").is_none_or(|b64| b64.get() == "true");
        if members.0.contains_key("crit") || !plain {
            return Err(AuthError::Malformed);
        }
        Ok(Self {
            alg: members.text("alg").ok_or(AuthError::Malformed)?.into_owned(),
            kid: members.text("kid").map(Cow::into_owned),
        })
    }
}

/// The claims of a token whose signature is verified.
pub(super) struct Claims<'t>(Members<'t>);

impl<'t> Claims<'t> {
    /// Parses the claims.
    pub(super) fn read(text: &'t str) -> Result<Self, AuthError> {
        Members::read(text).map(Self)
    }

    /// A NumericDate (RFC 7519, section 2), in milliseconds: in the token it is seconds since the Unix epoch, perhaps
    /// with a fraction. A date before the epoch counts as the epoch.
    pub(super) fn time_ms(&self, claim: &'static str) -> Result<Option<u64>, AuthError> {
        let Some(value) = self.0.get(claim) else {
            return Ok(None);
        };
        match Number::parse(value).ok_or(AuthError::NotANumber(claim))? {
            Number::Unsigned(seconds) => Ok(Some(seconds.saturating_mul(1000))),
            // `as` saturates, which suits a date beyond all dates.
            other => Ok(Some((other.as_f64() * 1000.0) as u64)),
        }
    }

    /// A string with at least one visible character.
    pub(super) fn visible_text(&self, claim: &str) -> Option<Cow<'t, str>> {
        self.0.text(claim).filter(|text| text.contains(escape::is_visible))
    }

    /// A string as a list of one, or a list of strings.
    pub(super) fn texts(&self, claim: &str) -> Vec<String> {
        let Some(value) = self.0.get(claim) else {
            return Vec::new();
        };
        match text(value) {
            Some(text) => vec![text.into_owned()],
            None => serde_json::from_str(value).unwrap_or_default(),
        }
    }

    /// The user: `sub`, else `id`, a string or an integer. A malformed `sub` is refused and not replaced by `id`, which
    /// might name another user.
    pub(super) fn user(&self) -> Result<UserId, AuthError> {
        let value = self.0.get("sub").or_else(|| self.0.get("id"));
        let id = value.and_then(text_or_integer).ok_or(AuthError::NoUser)?;
        let user = UserId::from_token(&id).map_err(|_| AuthError::NoUser)?;
        match user.is_bot() {
            true => Err(AuthError::ReservedUser),
            false => Ok(user),
        }
    }

    /// `jti`, a string or an integer, by which the token can be revoked. An empty one counts as absent.
    pub(super) fn token_id(&self) -> Result<Option<String>, AuthError> {
        let Some(value) = self.0.get("jti") else {
            return Ok(None);
        };
        let id = text_or_integer(value).ok_or(AuthError::TokenId)?;
        if id.is_empty() {
            return Ok(None);
        }
        check_token_id(&id).map_err(|_| AuthError::TokenId)?;
        Ok(Some(id.into_owned()))
    }
}
