//! Revoked tokens: they are refused although their signature and times are valid.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::identity::Identity;

/// One revocation, as it is stored. All times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Revocation {
    /// The token with this id (claim `jti`).
    Token {
        /// The id.
        id: String,
        /// When the token expires.
        expires_at: u64,
    },
    /// All tokens of a user that were issued (claim `iat`) before a time. A token without `iat` counts as issued at the
    /// epoch.
    User {
        /// The user.
        user: String,
        /// The time.
        before: u64,
        /// When the last of these tokens expires.
        expires_at: u64,
    },
    /// All tokens of all users that were issued before a time.
    All {
        /// The time.
        before: u64,
        /// When the last of these tokens expires.
        expires_at: u64,
    },
}

impl Revocation {
    /// Combines this with an earlier revocation of the same kind for the same token or user: what either revokes is
    /// revoked.
    #[must_use]
    pub fn merge(mut self, earlier: &Self) -> Self {
        match (&mut self, earlier) {
            (Self::Token { expires_at, .. }, Self::Token { expires_at: known, .. }) => {
                *expires_at = (*expires_at).max(*known);
            }
            (
                Self::User { before, expires_at, .. },
                Self::User {
                    before: known_before,
                    expires_at: known,
                    ..
                },
            )
            | (
                Self::All { before, expires_at },
                Self::All {
                    before: known_before,
                    expires_at: known,
                },
            ) => {
                *before = (*before).max(*known_before);
                *expires_at = (*expires_at).max(*known);
            }
            _ => {}
        }
        self
    }

    /// When the revocation can be deleted.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        match self {
            Self::Token { expires_at, .. } | Self::User { expires_at, .. } | Self::All { expires_at, .. } => {
                *expires_at
            }
        }
    }
}

/// All revocations of a tenant, indexed for look-up.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    tokens: HashSet<String>,
    users: HashMap<String, u64>,
    all: u64,
}

impl Revocations {
    pub(super) fn from_entries<'a>(entries: impl IntoIterator<Item = &'a Revocation>) -> Self {
        let mut all = Self::default();
        for entry in entries {
            match entry {
                Revocation::Token { id, .. } => {
                    all.tokens.insert(id.clone());
                }
                Revocation::User { user, before, .. } => {
                    let known = all.users.entry(user.clone()).or_default();
                    *known = (*known).max(*before);
                }
                Revocation::All { before, .. } => all.all = all.all.max(*before),
            }
        }
        all
    }

    pub(super) fn revoke(&self, identity: &Identity) -> bool {
        let issued_at = identity.issued_at_ms().unwrap_or(0);
        let of_user = self.users.get(identity.user().as_str()).copied().unwrap_or(0);
        issued_at < self.all.max(of_user) || identity.token_id().is_some_and(|id| self.tokens.contains(&**id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_revocations_never_weakens_one() {
        let all = |before, expires_at| Revocation::All { before, expires_at };
        assert_eq!(all(5, 50).merge(&all(9, 20)), all(9, 50));
        assert_eq!(all(9, 20).merge(&all(5, 50)), all(9, 50));
        let user = |before, expires_at| Revocation::User {
            user: "ann".to_owned(),
            before,
            expires_at,
        };
        assert_eq!(user(5, 50).merge(&user(9, 20)), user(9, 50));
        let token = |expires_at| Revocation::Token {
            id: "t".to_owned(),
            expires_at,
        };
        assert_eq!(token(5).merge(&token(9)), token(9));
        assert_eq!(token(9).merge(&token(5)), token(9));
    }
}
