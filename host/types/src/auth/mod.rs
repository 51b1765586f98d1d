//! Verifies tokens: a token becomes an [`Identity`], and there is no other way to get one.
//!
//! An [`Authenticator`] holds the keys of one tenant. [`Authenticator::verify`] takes a JSON Web Token (RFC 7519) and
//! the time, and returns an [`Identity`] or an [`AuthError`]. Nothing else makes an identity, so code that receives one
//! need not verify it again. Nothing outside this module makes a [`TenantId`](crate::id::TenantId): it comes from a
//! verified token, or from what the operator has named ([`operator_tenant`]).
//!
//! The algorithm belongs to the [`Key`], and a token's header must agree with it. That stops `alg: none`, and a public
//! key that is passed off as an HMAC secret (RFC 8725, section 3.1).

mod authenticator;
mod claims;
pub mod dev_key;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod identity;
mod jwks;
mod key;
mod mint;
mod revocation;
#[cfg(test)]
mod tests;

pub use authenticator::{Authenticator, MAX_TOKEN_BYTES, Policy, TokenRules, operator_tenant};
pub use error::AuthError;
pub use identity::{Identity, MAX_NAME_BYTES, display_name};
pub use jwks::{JwksLocation, JwksRules, JwksSource};
pub use key::{Algorithm, Key, KeyError, MIN_SECRET_BYTES};
pub use mint::{MintError, Minter};
pub use revocation::Revocation;
