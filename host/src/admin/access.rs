//! Authentication and authorization: bearer tokens with a role, and their rates.

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
use crate::config::{AdminToken, Role, Scope};
use crate::control::{Actor, Control};
use crate::socket::ClientAddress;
use crate::tenant::TokenBucket;
use parlance_types::throttle::LogThrottle;

/// Wrong tokens a second, on average and at once. Beyond that the answer to a wrong token is delayed by up to a second,
/// which slows down guessing over a few connections; right tokens are never delayed. It is their length, which the
/// configuration checks, that keeps tokens from being guessed.
const FAILURE_RATE: (usize, usize) = (5, 50);

/// Requests other than GET that all tokens of a tenant may make on a node, in a second on average and at once. Most are
/// a transaction with a sync to disk, which competes with the events of all tenants. Operators have no such limit.
const CHANGE_RATE: (usize, usize) = (10, 50);

/// The accepted tokens.
pub(crate) struct Access {
    tokens: Vec<AdminToken>,
    failures: TokenBucket,
    /// Throttles log lines about wrong tokens.
    wrong: LogThrottle,
    /// The [`CHANGE_RATE`] of each tenant that has a token.
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
                .map(|tenant| (tenant, TokenBucket::new(CHANGE_RATE.0, CHANGE_RATE.1)))
                .collect(),
            tokens,
            failures: TokenBucket::new(FAILURE_RATE.0, FAILURE_RATE.1),
            wrong: LogThrottle::default(),
        }
    }

    /// Counts a request other than GET, or refuses it.
    fn admit(&self, role: &Role) -> Result<(), Problem> {
        let rate = match role {
            Role::Operator => None,
            Role::Tenant(tenant) => self.changes.get(tenant),
        };
        match rate.map_or(Ok(()), |rate| rate.take(1)) {
            Ok(()) => Ok(()),
            Err(wait) => Err(Problem::limited(
                format!(
                    "the tenant's admin tokens may make {} changes in a second",
                    CHANGE_RATE.0
                ),
                wait,
            )),
        }
    }

    fn find(&self, token: &str) -> Option<&AdminToken> {
        let hash = Sha256::digest(token.as_bytes());
        // Compares all of them, so that the time says nothing about which was nearly right.
        let mut found = None;
        for known in &self.tokens {
            if verify_slices_are_equal(&known.sha256, &hash).is_ok() {
                found = Some(known);
            }
        }
        found
    }
}

/// The author of a request with an accepted token, within the rate of its tenant.
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) role: Role,
    pub(super) control: Arc<Control>,
}

impl Caller {
    /// Refuses all but operators.
    pub(super) fn require_operator(&self) -> Result<(), Problem> {
        match self.role {
            Role::Operator => Ok(()),
            Role::Tenant(_) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                "this needs an operator's token",
            )),
        }
    }

    /// The tenant that a list is narrowed to: that of a tenant's token, or the one that an operator names.
    pub(super) fn tenant_filter(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        let Role::Tenant(own) = &self.role else {
            return Ok(asked);
        };
        if let Some(asked) = asked {
            self.check_tenant(&asked)?;
        }
        Ok(Some(own.clone()))
    }

    /// Refuses a tenant's token for another tenant, with the answer for a tenant that does not exist: a tenant must not
    /// learn which others there are.
    pub(super) fn check_tenant(&self, tenant: &str) -> Result<(), Problem> {
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

/// The author of a request that sends an event. Events are limited by the tenant's rate of events, which its clients
/// share, and not by the rate of changes.
pub(super) struct Emitter(pub(super) Caller);

/// The author of a request to the data API, which tokens of every scope may use. Such requests are limited by the tenant's
/// rate of events.
pub(super) struct DataCaller(pub(super) Caller);

impl FromRequestParts<Admin> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let caller = authenticate(parts, admin, Scope::Admin).await?;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            admin.access.admit(&caller.role)?;
        }
        Ok(caller)
    }
}

impl FromRequestParts<Admin> for Emitter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        authenticate(parts, admin, Scope::Admin).await.map(Self)
    }
}

impl FromRequestParts<Admin> for DataCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        authenticate(parts, admin, Scope::Data).await.map(Self)
    }
}

/// Finds the author of a request that needs `scope`.
async fn authenticate(parts: &Parts, admin: &Admin, scope: Scope) -> Result<Caller, Problem> {
    let unauthorized = |why: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", why);
    let given = parts
        .headers
        .get(header::AUTHORIZATION)
        .ok_or_else(|| unauthorized("send a token: Authorization: Bearer …"))?;
    let token = given.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    let Some(known) = token.and_then(|token| admin.access.find(token.trim())) else {
        if let Some(suppressed) = admin.access.wrong.pass() {
            let address = parts.extensions.get::<ClientAddress>().map(ToString::to_string);
            tracing::warn!(address, suppressed, "a wrong admin token was refused");
        }
        if let Err(wait) = admin.access.failures.take(1) {
            tokio::time::sleep(wait.min(Duration::from_secs(1))).await;
        }
        return Err(unauthorized("the token is not accepted"));
    };
    if scope == Scope::Admin && known.scope == Scope::Data {
        let why = "this token is for the data API alone: messages and rooms";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", why));
    }
    let control = admin
        .control
        .get()
        .cloned()
        .ok_or_else(|| Problem::unavailable("the server is starting; try again"))?;
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
            scope: Scope::Admin,
        };
        let [acme, globex] = ["acme", "globex"].map(|tenant| Role::Tenant(tenant.to_owned()));
        let access = Access::new(vec![
            token("ci", acme.clone()),
            token("back end", acme.clone()),
            token("other", globex.clone()),
            token("operator", Role::Operator),
        ]);
        assert_eq!(access.changes.len(), 2);
        for _ in 0..CHANGE_RATE.1 {
            assert!(access.admit(&acme).is_ok());
        }
        // The rate may have refilled a little meanwhile.
        let refused = (0..CHANGE_RATE.1).find_map(|_| access.admit(&acme).err()).unwrap();
        assert_eq!((refused.status, refused.code), (429, "rate-limited"));
        assert!((1..=1000).contains(&refused.retry_after_ms.unwrap()));
        assert!(access.admit(&globex).is_ok());
        for _ in 0..10 * CHANGE_RATE.1 {
            assert!(access.admit(&Role::Operator).is_ok());
        }
    }
}
