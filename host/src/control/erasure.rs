//! Has a user erased: what the operator asks for, and how far it has come. The work is done by `due`, on the node that has
//! the tenant's slot, since the order to erase is a key with a due time. So it survives the end of any process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::api::ErasureView;
use super::{Actor, Control, ControlError, ControlResult};
use crate::dispatch::now_ms;
use crate::tenant::Tenant;
use parlance_store::{KvKey, ReadSet, Rejected, RequestDigest, StorageQuota, Write, WriteSet};
use parlance_types::id::{RoomId, TenantId, UserId};

/// How long a request that has a user erased waits for the end, before it is answered that this goes on.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The setting of a handler that says which of its keys are named by a user.
const USER_KEYS: &str = "user_keys";
/// What stands for the user in it.
const PLACEHOLDER: &str = "{user}";

/// The erasure of a user, as the store has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// The user's id; `None` once the user is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When it was asked for, in milliseconds since the Unix epoch.
    pub asked_at: u64,
    /// When it ended.
    #[serde(default)]
    pub done_at: Option<u64>,
    /// Rooms up to this one are done.
    #[serde(default)]
    pub done_room: Option<String>,
    /// The room that follows it, of which the messages up to `seq` are done.
    #[serde(default)]
    pub in_room: Option<String>,
    /// See `in_room`.
    #[serde(default)]
    pub seq: u64,
    /// Messages of the user that were deleted by it.
    #[serde(default)]
    pub messages: u64,
    /// Marks of the user on messages of others that were taken back.
    #[serde(default)]
    pub marks: u64,
    /// Receipts that were removed.
    #[serde(default)]
    pub receipts: u64,
    /// Handlers' keys that were deleted.
    #[serde(default)]
    pub keys: u64,
}

impl Erasure {
    /// The erasure in a key's value.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// The key's value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Where to go on: after which room, and in which room after which `seq`.
    #[must_use]
    pub fn place(&self) -> (Option<RoomId>, Option<(RoomId, u64)>) {
        let room = |name: &Option<String>| name.as_ref().and_then(|name| RoomId::new(name).ok());
        (room(&self.done_room), room(&self.in_room).map(|room| (room, self.seq)))
    }

    fn view(&self) -> ErasureView {
        ErasureView {
            done: self.done_at.is_some(),
            asked_at: self.asked_at,
            done_at: self.done_at,
            room: self.in_room.clone(),
            messages: self.messages,
            marks: self.marks,
            receipts: self.receipts,
            keys: self.keys,
        }
    }
}

/// The keys of a handler that are named by a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserKeys {
    /// The handler's name.
    pub handler: Arc<str>,
    /// What the user's keys begin with, or are; see [`matches`](Self::matches).
    pub key: String,
}

impl UserKeys {
    /// Whether it names all keys that begin with it, and not one key.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.key.ends_with('/')
    }

    /// Whether a key of the store is one of these.
    #[must_use]
    pub fn matches(&self, key: &KvKey) -> bool {
        let fits = if self.is_prefix() {
            key.key.starts_with(&self.key)
        } else {
            key.key == self.key
        };
        key.handler == self.handler && fits
    }
}

fn add_user_keys(
    keys: &mut Vec<UserKeys>,
    handler: &str,
    settings: &BTreeMap<String, String>,
    user: &UserId,
) -> Result<(), String> {
    let Some(patterns) = settings.get(USER_KEYS) else {
        return Ok(());
    };
    for pattern in patterns.split(',').map(str::trim) {
        if !pattern.contains(PLACEHOLDER) {
            return Err(format!(
                "the setting {USER_KEYS} of the handler {handler:?} has {pattern:?}, which does not contain {PLACEHOLDER}"
            ));
        }
        // As a handler writes it that joins the parts itself, and as the typed keys of the kits do.
        for id in [user.as_str(), &escaped(user.as_str())] {
            let own = UserKeys {
                handler: handler.into(),
                key: pattern.replace(PLACEHOLDER, id),
            };
            if !keys.contains(&own) {
                keys.push(own);
            }
        }
    }
    Ok(())
}

/// A part of a key, as the kits write it.
fn escaped(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F").replace(':', "%3A")
}

/// The key under which the store has the erasure of a user. It does not name the user, since it stays for a while.
fn key(user: &UserId) -> KvKey {
    let digest = RequestDigest::of(user.as_str(), "", None).to_bytes();
    KvKey::erasure(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Control {
    /// The user's keys by the settings of the handlers in service, those too that this node has not loaded yet.
    ///
    /// # Errors
    /// Which setting is wrong.
    pub async fn user_keys(&self, tenant: &Tenant, user: &UserId) -> Result<Vec<UserKeys>, String> {
        let mut keys = Vec::new();
        for handler in tenant.routes().handlers() {
            let info = handler.info();
            add_user_keys(&mut keys, &info.name, &info.settings, user)?;
        }
        let state = self.state.lock().await;
        for (name, stored) in state.desired.handlers(tenant.id().as_str()) {
            for version in stored.document.in_service() {
                add_user_keys(&mut keys, name, &version.settings, user)?;
            }
        }
        Ok(keys)
    }

    /// Has a user erased, or joins an erasure that is under way, and waits a moment for the end.
    ///
    /// # Errors
    /// When there is no such tenant here, the user is not an id, a handler's setting is wrong, or the store cannot serve.
    pub async fn erase_user(&self, actor: &Actor, tenant: &str, user: &str) -> ControlResult<ErasureView> {
        let user = user_id(user)?;
        let tenant = self.served_tenant(tenant).await?;
        self.user_keys(&tenant, &user).await.map_err(ControlError::Conflict)?;
        let key = key(&user);
        let now = now_ms();
        let before = self.deps.reader.kv_get(tenant.id(), &key, now).await?;
        let is_under_way = before
            .as_deref()
            .and_then(Erasure::read)
            .is_some_and(|own| own.done_at.is_none());
        if !is_under_way {
            self.record_audit(actor, &tenant, "user.erase", &json!({ "user": user.as_str() }))
                .await?;
            let erasure = Erasure {
                user: Some(user.as_str().to_owned()),
                asked_at: now,
                ..Erasure::default()
            };
            let mut reads = ReadSet {
                at: now,
                ..ReadSet::default()
            };
            reads.add_key(&key, before.as_deref());
            let order = Write::DueSet {
                key: key.clone(),
                value: erasure.to_bytes(),
                due_at: now,
            };
            self.commit_order(tenant.id(), reads, order).await?;
        }
        let until = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let erasure = self.stored_erasure(tenant.id(), &key).await?;
            if erasure.done_at.is_some() || Instant::now() >= until {
                return Ok(erasure.view());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// How far the erasure of a user has come. A day after its end it is forgotten.
    ///
    /// # Errors
    /// When there is no such tenant here or no such erasure, or the store cannot serve.
    pub async fn erasure(&self, tenant: &str, user: &str) -> ControlResult<ErasureView> {
        let user = user_id(user)?;
        let tenant = self.served_tenant(tenant).await?;
        Ok(self.stored_erasure(tenant.id(), &key(&user)).await?.view())
    }

    /// Notes in the audit log that a user is erased. It names the order by its time, and not the user.
    ///
    /// # Errors
    /// When the store cannot serve.
    pub async fn note_erased(&self, tenant: &Tenant, erasure: &Erasure) -> ControlResult<()> {
        let counts = json!({
            "askedAt": erasure.asked_at,
            "messages": erasure.messages,
            "marks": erasure.marks,
            "receipts": erasure.receipts,
            "keys": erasure.keys,
        });
        self.record_audit(&Actor::server(), tenant, "user.erased", &counts)
            .await
    }

    async fn stored_erasure(&self, tenant: &TenantId, key: &KvKey) -> ControlResult<Erasure> {
        let value = self.deps.reader.kv_get(tenant, key, now_ms()).await?;
        let erasure = value.as_deref().and_then(Erasure::read);
        erasure.ok_or_else(|| ControlError::NotFound("no erasure of this user is under way".to_owned()))
    }

    pub(super) async fn commit_order(&self, tenant: &TenantId, reads: ReadSet, write: Write) -> ControlResult<()> {
        let write_set = WriteSet {
            tenant: tenant.clone(),
            reads,
            writes: vec![Arc::new(write)],
            quota: StorageQuota::UNLIMITED,
        };
        match self.deps.writer.commit(vec![write_set]).await?.pop() {
            // Another request has asked for the same meanwhile.
            None | Some(Ok(_) | Err(Rejected::ReadsChanged)) => Ok(()),
            Some(Err(rejected)) => Err(ControlError::Host(rejected.to_string())),
        }
    }
}

pub(super) fn user_id(user: &str) -> ControlResult<UserId> {
    UserId::new(user).map_err(|error| ControlError::invalid(format!("user: {error}")))
}
