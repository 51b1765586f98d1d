//! Revokes tokens, and takes revocations back.

use std::sync::Arc;

use serde_json::json;

use super::api::{RevocationView, RevokeRequest};
use super::{Actor, Control, ControlError, ControlResult, audit_entry};
use crate::dispatch::now_ms;
use parlance_store::catalog::{Put, RecordKey, RecordKind};
use parlance_types::auth::Revocation;
use parlance_types::id::{UserId, check_token_id};

/// How long a revocation is kept when the request does not say when its tokens expire, in milliseconds.
const DEFAULT_RETENTION_MS: u64 = 400 * 24 * 60 * 60 * 1000;
/// How often a revocation is tried when others change it at the same time.
const MAX_ATTEMPTS: usize = 5;
/// The largest number of revocations of a tenant.
const REVOCATIONS_MAX: usize = 100_000;
/// Most revocations that are removed with a new one.
const REMOVED_AT_ONCE: usize = 100;

fn key(tenant: &str, id: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Revocation,
        tenant: tenant.to_owned(),
        name: id.to_owned(),
    }
}

/// How far the clock of the requester may be ahead, in milliseconds.
const MAX_CLOCK_SKEW_MS: u64 = 60_000;

/// The revocation that a request asks for, and its id. Equal requests have equal ids.
fn revocation_of(request: RevokeRequest, now: u64) -> ControlResult<(String, Revocation)> {
    let expires_at = request
        .expires_at
        .unwrap_or_else(|| now.saturating_add(DEFAULT_RETENTION_MS));
    if expires_at <= now {
        return Err(ControlError::invalid(
            "expiresAt: is over; it must be when the last of the tokens to revoke expires",
        ));
    }
    let before = request.issued_before.unwrap_or(now);
    // A revocation ahead of time would also revoke every token issued until then, without a word about why.
    if before > now.saturating_add(MAX_CLOCK_SKEW_MS) {
        return Err(ControlError::invalid("issuedBefore: lies in the future"));
    }
    match (request.token_id, request.user) {
        (Some(id), None) if request.issued_before.is_none() => {
            // The same rule lets tokens in, so an id that is refused here belongs to no token.
            check_token_id(&id).map_err(|error| ControlError::invalid(format!("tokenId: {error}")))?;
            Ok((format!("token:{id}"), Revocation::Token { id, expires_at }))
        }
        (None, Some(user)) => {
            UserId::new(&user).map_err(|error| ControlError::invalid(format!("user: {error}")))?;
            Ok((
                format!("user:{user}"),
                Revocation::User {
                    user,
                    before,
                    expires_at,
                },
            ))
        }
        (None, None) if request.issued_before.is_some() => {
            Ok(("all".to_owned(), Revocation::All { before, expires_at }))
        }
        _ => Err(ControlError::invalid(
            "send exactly one of tokenId, user (with or without issuedBefore), and issuedBefore",
        )),
    }
}

fn view(id: &str, revocation: &Revocation) -> RevocationView {
    let (token_id, user, issued_before, expires_at) = match revocation.clone() {
        Revocation::Token { id, expires_at } => (Some(id), None, None, expires_at),
        Revocation::User {
            user,
            before,
            expires_at,
        } => (None, Some(user), Some(before), expires_at),
        Revocation::All { before, expires_at } => (None, None, Some(before), expires_at),
    };
    RevocationView {
        id: id.to_owned(),
        token_id,
        user,
        issued_before,
        expires_at,
    }
}

impl Control {
    /// The revocations of a tenant.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub async fn revocations(&self, tenant: &str) -> ControlResult<Vec<RevocationView>> {
        let state = self.state.lock().await;
        state.actual(tenant)?;
        let all = state.desired.revocations(tenant);
        Ok(all.map(|(id, own)| view(id, &own.document)).collect())
    }

    /// Revokes tokens: connections with one are closed, and no client connects with one any more. Earlier revocations
    /// stay in force.
    ///
    /// # Errors
    /// When there is no such tenant, or the request does not say exactly what to revoke.
    pub async fn revoke(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        request: RevokeRequest,
    ) -> ControlResult<RevocationView> {
        let now = now_ms();
        let (id, requested) = revocation_of(request, now)?;
        for _ in 0..MAX_ATTEMPTS {
            // Some of the revocations whose tokens have expired are removed on this occasion.
            let (revocation, expect, expired) = {
                let state = self.state.lock().await;
                state.actual(tenant)?;
                let existing = state.desired.revocation(tenant, &id);
                let all = state.desired.revocations(tenant);
                let expired: Vec<String> = all
                    .filter(|(other, own)| **other != id && own.document.expires_at() < now)
                    .map(|(other, _)| other.clone())
                    .collect();
                let kept = state.desired.revocations(tenant).count() - expired.len();
                if kept >= REVOCATIONS_MAX && existing.is_none() {
                    return Err(ControlError::Conflict(format!(
                        "the tenant has {REVOCATIONS_MAX} revocations; revoke by `issuedBefore` instead"
                    )));
                }
                let revocation = match existing {
                    Some(known) => requested.clone().merge(&known.document),
                    None => requested.clone(),
                };
                (revocation, existing.map_or(0, |existing| existing.revision), expired)
            };
            let put = |id: &str, document, expect| Put {
                key: key(tenant, id),
                document,
                expect,
                component: None,
            };
            let removed = expired.iter().take(REMOVED_AT_ONCE);
            let mut puts: Vec<Put> = removed.map(|id| put(id, None, None)).collect();
            puts.push(put(&id, serde_json::to_string(&revocation).ok(), Some(expect)));
            let audit = audit_entry(actor, tenant, "token.revoke", &json!({ "id": id }));
            match self.apply(tenant, puts, vec![audit], false).await {
                // Somebody else has changed the revocation. The next attempt combines both.
                Err(ControlError::Changed(_)) => self.read_catalog().await?,
                done => return done.map(|()| view(&id, &revocation)),
            }
        }
        Err(ControlError::contended("this revocation"))
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// When the tenant has no revocation of that id.
    pub async fn unrevoke(self: &Arc<Self>, actor: &Actor, tenant: &str, id: &str) -> ControlResult<()> {
        {
            let state = self.state.lock().await;
            state.actual(tenant)?;
            if state.desired.revocation(tenant, id).is_none() {
                return Err(ControlError::NotFound(format!("there is no revocation {id:?}")));
            }
        }
        let put = Put {
            key: key(tenant, id),
            document: None,
            expect: None,
            component: None,
        };
        let audit = audit_entry(actor, tenant, "token.unrevoke", &json!({ "id": id }));
        self.apply(tenant, vec![put], vec![audit], false).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_not_revoked() {
        let of = |expires_at| {
            revocation_of(
                RevokeRequest {
                    token_id: Some("t".to_owned()),
                    expires_at: Some(expires_at),
                    ..RevokeRequest::default()
                },
                1000,
            )
        };
        assert!(of(1000).unwrap_err().to_string().starts_with("expiresAt: is over"));
        assert_eq!(of(1001).unwrap().1.expires_at(), 1001);
    }

    #[test]
    fn an_id_that_no_token_has_is_not_revoked() {
        for id in ["", "a\0b", "a\nb", &"t".repeat(513)] {
            let request = RevokeRequest {
                token_id: Some(id.to_owned()),
                ..RevokeRequest::default()
            };
            let error = revocation_of(request, 1000).unwrap_err().to_string();
            assert!(error.starts_with("tokenId: token id "), "{error}");
        }
    }
}
