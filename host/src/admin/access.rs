//! Who may do what, and how often: bearer tokens with a role.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use sha2::{Digest as _, Sha256};

use super::Admin;
use super::problem::Problem;
use crate::config::{AdminToken, Role};
use crate::control::{Actor, Control};
use crate::socket::ClientAddress;
use crate::tenant::TokenBucket;
use crate::throttle::LogThrottle;

/// Wrong tokens in a second, on average and at once. The answer to a further one waits for up to a second, which slows
/// down whoever tries tokens out over a few connections. Right tokens are never delayed. What keeps tokens from being
/// found is their length, which the configuration checks.
const FAILURES: (usize, usize) = (5, 50);

/// Requests other than GET that a tenant's tokens may make together on a node: in a second on average, and at once.
/// Most are a transaction, with a sync to disk, beside the events of everybody. Operators are trusted with as many as
/// they like.
const CHANGES: (usize, usize) = (10, 50);

/// All tokens.
pub(crate) struct Access {
    tokens: Vec<AdminToken>,
    failures: TokenBucket,
    /// Of the log lines about wrong tokens.
    wrong: LogThrottle,
    /// What is left of [`CHANGES`] to each tenant that a token is for.
    changes: BTreeMap<String, TokenBucket>,
}

impl Access {
    pub(super) fn new(tokens: Vec<AdminToken>) -> Self {
        let tenants = tokens.iter().filter_map(|token| match &token.role {
            Role::Operator => None,
            Role::Tenant(tenant) => Some(tenant.clone()),
        });
        Self {
            changes: tenants
                .map(|tenant| (tenant, TokenBucket::new(CHANGES.0, CHANGES.1)))
                .collect(),
            tokens,
            failures: TokenBucket::new(FAILURES.0, FAILURES.1),
            wrong: LogThrottle::default(),
        }
    }

    /// Whether somebody of that role may make one more request other than GET.
    fn admit(&self, role: &Role) -> Result<(), Problem> {
        let rate = match role {
            Role::Operator => None,
            Role::Tenant(tenant) => self.changes.get(tenant),
        };
        match rate.map_or(Ok(()), |rate| rate.take(1)) {
            Ok(()) => Ok(()),
            Err(wait) => Err(Problem::limited(
                format!("the tenant's admin tokens may make {} changes in a second", CHANGES.0),
                wait,
            )),
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

/// Whoever makes a request, once the token is known, and its tenant has not made too many.
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

    /// The tenant whose things are asked for: the one of the token, or with an operator's the one named, if any.
    pub(super) fn narrowed(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        let Role::Tenant(own) = &self.role else {
            return Ok(asked);
        };
        if let Some(asked) = asked {
            self.of(&asked)?;
        }
        Ok(Some(own.clone()))
    }

    /// For what concerns one tenant. Whether another tenant exists is none of a tenant's business.
    pub(super) fn of(&self, tenant: &str) -> Result<(), Problem> {
        match &self.role {
            Role::Tenant(own) if own != tenant => Err(Problem::new(
                StatusCode::NOT_FOUND,
                "not-found",
                format!("there is no tenant {tenant:?} for this token, which is for {own:?}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Whoever sends events. Their number is the tenant's own limit, which holds for its clients too, and not that of
/// changes.
pub(super) struct Emitter(pub(super) Caller);

impl FromRequestParts<Admin> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let caller = known(parts, admin).await?;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            admin.access.admit(&caller.role)?;
        }
        Ok(caller)
    }
}

impl FromRequestParts<Admin> for Emitter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        known(parts, admin).await.map(Self)
    }
}

async fn known(parts: &Parts, admin: &Admin) -> Result<Caller, Problem> {
    let unauthorized = |why: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", why);
    let given = parts
        .headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| unauthorized("send a token: Authorization: Bearer …"))?;
    let token = given.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    let Some(known) = token.and_then(|token| admin.access.find(token.trim())) else {
        if let Some(left_out) = admin.access.wrong.pass() {
            let address = parts.extensions.get::<ClientAddress>().map(ToString::to_string);
            tracing::warn!(address, left_out, "a wrong admin token was refused");
        }
        if let Err(wait) = admin.access.failures.take(1) {
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
    Ok(Caller {
        actor: Actor(known.name.clone()),
        role: known.role.clone(),
        control,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changes_of_a_tenants_tokens_are_counted_together_and_those_of_operators_are_not() {
        let token = |name: &str, role: Role| AdminToken {
            name: name.into(),
            sha256: [0; 32],
            role,
        };
        let [acme, globex] = ["acme", "globex"].map(|tenant| Role::Tenant(tenant.to_owned()));
        let access = Access::new(vec![
            token("ci", acme.clone()),
            token("back end", acme.clone()),
            token("other", globex.clone()),
            token("operator", Role::Operator),
        ]);
        assert_eq!(access.changes.len(), 2);
        for _ in 0..CHANGES.1 {
            assert!(access.admit(&acme).is_ok());
        }
        // Some may have come back meanwhile.
        let refused = (0..CHANGES.1).find_map(|_| access.admit(&acme).err()).unwrap();
        assert_eq!((refused.status, refused.code), (429, "rate-limited"));
        assert!((1..=1000).contains(&refused.retry_after_ms.unwrap()));
        assert!(access.admit(&globex).is_ok());
        for _ in 0..10 * CHANGES.1 {
            assert!(access.admit(&Role::Operator).is_ok());
        }
    }
}
