//! Revoking tokens, and taking that back.

use serde_json::json;

use super::view::{RevocationView, RevokeRequest};
use super::{Actor, Answer, Control, ControlError, entry};
use crate::auth::Revocation;
use crate::dispatch::now_ms;
use crate::id::UserId;
use crate::store::catalog::{Put, RecordKey, RecordKind};

/// Bytes of a token's id.
const TOKEN_ID_MAX: usize = 512;
/// How long a revocation is kept when it is not said when its tokens expire, in milliseconds.
const KEPT_MS: u64 = 400 * 24 * 60 * 60 * 1000;
/// Revocations of one tenant.
const REVOCATIONS_MAX: usize = 100_000;

fn key(tenant: &str, id: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Revocation,
        tenant: tenant.to_owned(),
        name: id.to_owned(),
    }
}

/// The entry for a request and the id that names it: the same request names the same entry.
fn read(request: RevokeRequest, now: u64) -> Answer<(String, Revocation)> {
    let expires_at = request.expires_at.unwrap_or_else(|| now.saturating_add(KEPT_MS));
    let before = request.issued_before.unwrap_or(now);
    match (request.token_id, request.user) {
        (Some(id), None) if request.issued_before.is_none() => {
            if id.is_empty() || id.len() > TOKEN_ID_MAX {
                return Err(ControlError::invalid(format!(
                    "tokenId: must have 1 to {TOKEN_ID_MAX} bytes"
                )));
            }
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
    let what = match revocation.clone() {
        Revocation::Token { id, expires_at } => RevokeRequest {
            token_id: Some(id),
            expires_at: Some(expires_at),
            ..RevokeRequest::default()
        },
        Revocation::User {
            user,
            before,
            expires_at,
        } => RevokeRequest {
            user: Some(user),
            issued_before: Some(before),
            expires_at: Some(expires_at),
            ..RevokeRequest::default()
        },
        Revocation::All { before, expires_at } => RevokeRequest {
            issued_before: Some(before),
            expires_at: Some(expires_at),
            ..RevokeRequest::default()
        },
    };
    RevocationView {
        id: id.to_owned(),
        what,
    }
}

impl Control {
    /// What is revoked for a tenant.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub async fn revocations(&self, tenant: &str) -> Answer<Vec<RevocationView>> {
        let state = self.state.lock().await;
        let live = state.live(tenant)?;
        Ok(live.revocations.iter().map(|(id, own)| view(id, own)).collect())
    }

    /// Revokes tokens: whoever is connected with one is disconnected, and nobody connects with one any more.
    ///
    /// # Errors
    /// When there is no such tenant, or the request says nothing or too much.
    pub async fn revoke(&self, actor: &Actor, tenant: &str, request: RevokeRequest) -> Answer<RevocationView> {
        let now = now_ms();
        let (id, revocation) = read(request, now)?;
        // Those whose tokens have expired by now are forgotten on this occasion.
        let over: Vec<String> = {
            let state = self.state.lock().await;
            let live = state.live(tenant)?;
            let over = live.revocations.iter().filter(|(_, own)| own.expires_at() < now);
            let over: Vec<_> = over.map(|(id, _)| id.clone()).filter(|other| *other != id).collect();
            if live.revocations.len() - over.len() >= REVOCATIONS_MAX && !live.revocations.contains_key(&id) {
                return Err(ControlError::Conflict(format!(
                    "the tenant has {REVOCATIONS_MAX} revocations; revoke by `issuedBefore` instead"
                )));
            }
            over
        };
        let mut puts: Vec<Put> = over
            .iter()
            .map(|id| Put {
                key: key(tenant, id),
                document: None,
                expect: None,
            })
            .collect();
        puts.push(Put {
            key: key(tenant, &id),
            document: serde_json::to_string(&revocation).ok(),
            expect: None,
        });
        let audit = entry(actor, tenant, "token.revoke", &json!({ "id": id }));
        self.parts.catalog.put(puts, vec![audit]).await??;
        self.decided().await?;
        Ok(view(&id, &revocation))
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn unrevoke(&self, actor: &Actor, tenant: &str, id: &str) -> Answer<()> {
        if !self.state.lock().await.live(tenant)?.revocations.contains_key(id) {
            return Err(ControlError::NotFound(format!("there is no revocation {id:?}")));
        }
        let put = Put {
            key: key(tenant, id),
            document: None,
            expect: None,
        };
        let audit = entry(actor, tenant, "token.unrevoke", &json!({ "id": id }));
        self.parts.catalog.put(vec![put], vec![audit]).await??;
        self.decided().await
    }
}
