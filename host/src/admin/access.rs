//! Who may do what: bearer tokens with a role.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::Admin;
use super::problem::Problem;
use crate::control::{Actor, Control};
use crate::tenant::Rate;

/// Wrong tokens in a second, on average and at once, before even right ones are refused for a moment: nobody may try
/// tokens out at will.
const FAILURES: (usize, usize) = (5, 50);

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Operator,
    /// Everything about this tenant, but to create, change, suspend or delete it.
    Tenant(String),
}

/// A token that is accepted; the token itself is known by its hash only.
#[derive(Clone)]
pub struct AdminToken {
    /// Names it in the audit log.
    pub name: Arc<str>,
    /// Of the token's bytes.
    pub sha256: [u8; 32],
    /// What it may do.
    pub role: Role,
}

/// All tokens.
pub(crate) struct Access {
    tokens: Vec<AdminToken>,
    failures: Rate,
}

impl Access {
    pub(super) fn new(tokens: Vec<AdminToken>) -> Self {
        Self {
            tokens,
            failures: Rate::new(FAILURES.0, FAILURES.1),
        }
    }

    fn find(&self, token: &str) -> Option<&AdminToken> {
        let hash = Sha256::digest(token.as_bytes());
        // Every one is compared, so that the time tells nothing of which was nearly right.
        let mut found = None;
        for known in &self.tokens {
            if verify_slices_are_equal(&known.sha256, &hash).is_ok() {
                found = Some(known);
            }
        }
        found
    }
}

/// Whoever makes a request, once the token is known.
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) role: Role,
    pub(super) control: Arc<Control>,
}

impl Caller {
    /// For what operators alone may do.
    pub(super) fn operator(&self) -> Result<(), Problem> {
        match self.role {
            Role::Operator => Ok(()),
            Role::Tenant(_) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "this needs an operator's token",
            )),
        }
    }

    /// For what concerns one tenant. Whether another tenant exists is none of a tenant's business.
    pub(super) fn of(&self, tenant: &str) -> Result<(), Problem> {
        match &self.role {
            Role::Tenant(own) if own != tenant => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "not-found",
                format!("there is no tenant {tenant:?}"),
            )),
            _ => Ok(()),
        }
    }
}

impl FromRequestParts<Admin> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let unauthorized = |why: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", why);
        let given = parts
            .headers
            .get(header::AUTHORIZATION)
            .ok_or_else(|| unauthorized("send a token: Authorization: Bearer …"))?;
        let token = given.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        let Some(known) = token.and_then(|token| admin.access.find(token.trim())) else {
            if let Err(wait) = admin.access.failures.take(1) {
                tracing::warn!("many wrong admin tokens");
                tokio::time::sleep(wait.min(Duration::from_secs(1))).await;
            }
            return Err(unauthorized("the token is not accepted"));
        };
        let control = admin.control.get().cloned().ok_or_else(|| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the server is starting; try again",
            )
        })?;
        Ok(Self {
            actor: Actor(known.name.clone()),
            role: known.role.clone(),
            control,
        })
    }
}
