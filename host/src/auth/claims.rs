//! The parts of a token that are JSON. The library that verifies signatures would read them by serde's rules and refuse
//! what JavaScript takes; here they are read by those of [`text`](crate::text).

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

/// The greatest whole number that a double tells from its neighbours.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// A part of a token as JSON. What is not UTF-8 becomes U+FFFD, as in Node.
pub(super) fn decode(part: &str) -> Result<String, AuthError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::Malformed)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(without_lone_surrogates(&text).into_owned())
}

/// The members of a JSON object, each as it is written. Of several with one name the last counts.
struct Members<'t>(HashMap<Cow<'t, str>, &'t RawValue>);

impl<'t> Members<'t> {
    fn read(text: &'t str) -> Result<Self, AuthError> {
        serde_json::from_str(text).map(Self).map_err(|_| AuthError::Malformed)
    }

    /// A member's value; `null` is none.
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

/// A text, or a whole number written out, as JavaScript's `String` would.
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

/// What of a token's header counts.
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
}

impl Header {
    /// Reads the first part of a token.
    ///
    /// # Errors
    /// When it is malformed, or asks for what is not understood here: critical extensions must be refused by who does
    /// not know them (RFC 7515, section 4.1.11), and with `b64: false` other bytes are signed than those that are read
    /// (RFC 7797), also where the header fails to say that this is critical.
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

/// What a token says, once its signature is verified.
pub(super) struct Claims<'t>(Members<'t>);

impl<'t> Claims<'t> {
    /// Reads the object.
    pub(super) fn read(text: &'t str) -> Result<Self, AuthError> {
        Members::read(text).map(Self)
    }

    /// A NumericDate (RFC 7519, section 2) in milliseconds: seconds since the Unix epoch, perhaps with a fraction.
    /// One before the epoch counts as the epoch.
    pub(super) fn time_ms(&self, claim: &'static str) -> Result<Option<u64>, AuthError> {
        let Some(value) = self.0.get(claim) else {
            return Ok(None);
        };
        match Number::parse(value).ok_or(AuthError::NotANumber(claim))? {
            Number::Unsigned(seconds) => Ok(Some(seconds.saturating_mul(1000))),
            // `as` saturates, which is what a date beyond all dates should do.
            other => Ok(Some((other.as_f64() * 1000.0) as u64)),
        }
    }

    /// A text that shows something.
    pub(super) fn visible_text(&self, claim: &str) -> Option<Cow<'t, str>> {
        self.0.text(claim).filter(|text| text.contains(escape::is_visible))
    }

    /// A text, or each of a list of texts.
    pub(super) fn texts(&self, claim: &str) -> Vec<String> {
        let Some(value) = self.0.get(claim) else {
            return Vec::new();
        };
        match text(value) {
            Some(text) => vec![text.into_owned()],
            None => serde_json::from_str(value).unwrap_or_default(),
        }
    }

    /// `sub`, else `id`, as a text or an integer. A `sub` of the wrong shape is refused rather than passed over for
    /// `id`, which might be somebody else.
    pub(super) fn user(&self) -> Result<UserId, AuthError> {
        let value = self.0.get("sub").or_else(|| self.0.get("id"));
        let id = value.and_then(text_or_integer).ok_or(AuthError::NoUser)?;
        UserId::from_token(&id).map_err(|_| AuthError::NoUser)
    }

    /// `jti`, a text or an integer, by which the token can be revoked. An empty one is none.
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
