//! Erases users: goes through all rooms of the tenant, and deletes there what a user has written, marked and read; then
//! deletes the user's keys.
//!
//! What has been done is noted every now and then, so another process goes on about there. Each step can be repeated. Deleted
//! messages and marks that are taken back reach members as other changes do, through the committer and the hub.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::DueKeys;
use super::retention::pause_after;
use crate::control::{Erasure, UserKeys, empty_log};
use crate::dispatch::{Session, now_ms};
use crate::tenant::Tenant;
use parlance_handler::capability::MembershipChange;
use parlance_store::{
    Change, DueKey, DueSpace, End, KvKey, KvRange, Membership, Message, Range, ReadSet, Revise, RoomSpan, SeqSpan,
    StorageQuota, Write, WriteSet, read_memberships,
};
use parlance_types::id::{RoomId, UserId};

/// Erasures of a tenant that are read at a time.
const AT_A_TIME: u32 = 16;
/// Rooms that are read at a time.
const ROOMS_AT_ONCE: u32 = 100;
/// Messages that one step looks at.
const STEP: u32 = 200;
/// Marks that are read at a time.
const MARKS_AT_ONCE: u32 = 500;
/// Keys that are deleted at a time, and the bytes of their values.
const KEYS_AT_ONCE: (u32, u64) = (200, 1024 * 1024);
/// An erasure takes one part of so many of the time: more than retention does, since somebody waits for it.
const SHARE: u32 = 3;
/// How often it is noted how far an erasure has come.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// After how long an erasure is tried again that has failed.
const RETRY: Duration = Duration::from_secs(5);
/// How long it is known how an erasure has ended, in milliseconds.
const RESULT_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Carries out the erasures of one tenant, one after another, unless the tenant is another node's.
pub(super) async fn erase_all(due_keys: &DueKeys, space: &DueSpace) {
    loop {
        // The store's outage is reported by who looks.
        let Ok(due) = due_keys.schedule.due_keys(space, now_ms(), AT_A_TIME).await else {
            break;
        };
        if due.is_empty() {
            return;
        }
        // A tenant that this node does not serve was deleted, or is not known here yet.
        let Some(tenant) = due_keys.control.served_by_name(&space.tenant).await else {
            break;
        };
        let mut failed = false;
        for due in due {
            if !due_keys.is_own(&tenant).await {
                return;
            }
            if let Err(error) = erase(due_keys, &tenant, due).await {
                tracing::warn!(
                    tenant = space.tenant,
                    error = format!("{error:#}"),
                    "a user could not be erased; the next attempt follows"
                );
                failed = true;
            }
        }
        if failed {
            break;
        }
    }
    // Without the tenant, which may be deleted meanwhile.
    tokio::time::sleep(RETRY).await;
}

async fn erase(due_keys: &DueKeys, tenant: &Arc<Tenant>, due: DueKey) -> anyhow::Result<()> {
    let stored = Erasure::read(&due.value);
    let user = stored
        .as_ref()
        .and_then(|stored| UserId::new(stored.user.as_deref()?).ok());
    let session = Session::without_client(tenant.clone(), due_keys.services.clone());
    let (Some(progress), Some(user), Some(session)) = (stored, user, session) else {
        // It has ended long ago.
        return commit(due_keys, tenant, vec![Write::KvDelete { key: due.key }]).await;
    };
    let keys = due_keys.control.user_keys(tenant, &user).await;
    let keys = keys.map_err(anyhow::Error::msg)?;
    let mut work = Work {
        due_keys,
        tenant,
        session,
        user,
        key: due.key,
        progress,
        noted: Instant::now(),
    };
    work.rooms().await?;
    work.memberships().await?;
    work.keys(&keys).await?;
    work.finish().await
}

/// An erasure under way.
struct Work<'a> {
    due_keys: &'a DueKeys,
    tenant: &'a Arc<Tenant>,
    session: Arc<Session>,
    user: UserId,
    key: KvKey,
    progress: Erasure,
    /// When it was last noted how far it has come.
    noted: Instant,
}

impl Work<'_> {
    async fn rooms(&mut self) -> anyhow::Result<()> {
        loop {
            let (done, began_in) = self.progress.place();
            let maintenance = &self.due_keys.maintenance;
            let rooms = maintenance
                .rooms(self.tenant.id(), done.as_ref(), ROOMS_AT_ONCE)
                .await?;
            if rooms.is_empty() {
                return Ok(());
            }
            for RoomSpan { room, .. } in rooms {
                if !self.due_keys.control.serves(self.tenant).await {
                    anyhow::bail!("this node does not serve the tenant any more");
                }
                let after = began_in
                    .as_ref()
                    .filter(|(name, _)| *name == room)
                    .map_or(0, |(_, seq)| *seq);
                self.room(&room, after).await?;
                self.progress.done_room = Some(room.as_str().to_owned());
            }
        }
    }

    async fn room(&mut self, room: &RoomId, mut after: u64) -> anyhow::Result<()> {
        loop {
            let began = Instant::now();
            let range = Range {
                after,
                before: None,
                limit: STEP,
                from: End::Oldest,
            };
            let page = self.tenant.store.history(self.tenant.id(), room, range).await?;
            let Some(last) = page.messages.last() else {
                return Ok(());
            };
            let span = SeqSpan { after, up_to: last.seq };
            self.step(room, span, &page.messages).await?;
            after = span.up_to;
            self.progress.in_room = Some(room.as_str().to_owned());
            self.progress.seq = after;
            if self.noted.elapsed() >= NOTE_EVERY {
                self.note(now_ms()).await?;
            }
            pause_after(began, SHARE).await;
        }
    }

    /// Deletes what a part of a room has of the user.
    async fn step(&mut self, room: &RoomId, span: SeqSpan, messages: &[Message]) -> anyhow::Result<()> {
        let revise = |message: &Message, change| Revise {
            id: message.id,
            room: room.clone(),
            seq: message.seq,
            user: self.user.clone(),
            at: now_ms(),
            change,
        };
        let own = messages.iter().filter(|message| message.sender == self.user);
        let deletes: Vec<Revise> = own
            .filter(|message| !message.is_deleted())
            .map(|message| revise(message, Change::Delete))
            .collect();
        self.progress.messages += self.change(deletes).await?;
        // Deleting a message has removed its marks; those that are left are on messages of others.
        let (tenant, maintenance) = (self.tenant.id(), &self.due_keys.maintenance);
        let mut last = None;
        loop {
            let marks = maintenance
                .marks(tenant, room, span, Some(&self.user), last.as_ref(), MARKS_AT_ONCE)
                .await?;
            let changes = marks.iter().filter_map(|mark| {
                let at = messages.binary_search_by_key(&mark.seq, |message| message.seq).ok()?;
                let (kind, value) = (mark.kind.clone(), mark.value.clone());
                Some(revise(messages.get(at)?, Change::Mark { kind, value, on: false }))
            });
            let changes = changes.collect();
            let is_last = marks.len() < MARKS_AT_ONCE as usize;
            last = marks.into_iter().next_back();
            self.progress.marks += self.session.change_messages(changes).await.map_err(failed)?;
            if is_last {
                break;
            }
        }
        self.progress.receipts += maintenance.forget_user(tenant, room, span, &self.user).await?;
        Ok(())
    }

    async fn change(&self, changes: Vec<Revise>) -> anyhow::Result<u64> {
        self.session.change_messages(changes).await.map_err(failed)
    }

    /// Ends the user's memberships, of which rooms are told. Bans stay: a user who comes back would be free of them.
    async fn memberships(&mut self) -> anyhow::Result<()> {
        loop {
            let (store, tenant) = (&*self.tenant.store, self.tenant.id());
            let (rooms, _) = read_memberships(store, tenant, &self.user, None, ROOMS_AT_ONCE).await?;
            if rooms.is_empty() {
                return Ok(());
            }
            for Membership { room, last_seq, state } in rooms {
                let began = Instant::now();
                let change = MembershipChange {
                    room: &room,
                    user: &self.user,
                    role: None,
                    before: Some(&state),
                    last_seq,
                    now_ms: now_ms(),
                };
                self.session.apply_effects(change.effects()).await.map_err(failed)?;
                self.progress.keys += 1;
                pause_after(began, SHARE).await;
            }
        }
    }

    async fn keys(&mut self, keys: &[UserKeys]) -> anyhow::Result<()> {
        for named in keys {
            let handler = named.handler.clone();
            if !named.is_prefix() {
                let key = KvKey {
                    handler,
                    key: named.key.clone(),
                };
                let value = self.tenant.store.kv_get(self.tenant.id(), &key, 0).await?;
                self.progress.keys += u64::from(value.is_some());
                commit(self.due_keys, self.tenant, vec![Write::KvDelete { key }]).await?;
                continue;
            }
            loop {
                let began = Instant::now();
                let range = KvRange::with_prefix(handler.clone(), &named.key);
                let (limit, bytes) = KEYS_AT_ONCE;
                // At time 0 no key has expired: those that have are in the database too.
                let page = self
                    .tenant
                    .store
                    .kv_scan(self.tenant.id(), &range, limit, bytes, 0)
                    .await?;
                let deletes = page.entries.into_iter().map(|(key, _)| Write::KvDelete {
                    key: KvKey {
                        handler: handler.clone(),
                        key,
                    },
                });
                let deletes: Vec<Write> = deletes.collect();
                if deletes.is_empty() {
                    break;
                }
                self.progress.keys += deletes.len() as u64;
                commit(self.due_keys, self.tenant, deletes).await?;
                pause_after(began, SHARE).await;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        empty_log(&*self.due_keys.maintenance).await;
        self.due_keys.control.note_erased(self.tenant, &self.progress).await?;
        let now = now_ms();
        self.progress = Erasure {
            user: None,
            done_at: Some(now),
            done_room: None,
            in_room: None,
            seq: 0,
            ..self.progress.clone()
        };
        self.note(now.saturating_add(RESULT_KEPT_MS)).await?;
        // The order named the user until now.
        empty_log(&*self.due_keys.maintenance).await;
        let Erasure {
            messages,
            marks,
            receipts,
            keys,
            ..
        } = self.progress;
        tracing::info!(tenant = %self.tenant.id(), messages, marks, receipts, keys, "a user is erased");
        Ok(())
    }

    /// Notes how far the erasure has come.
    async fn note(&mut self, due_at: u64) -> anyhow::Result<()> {
        self.noted = Instant::now();
        let note = Write::DueSet {
            key: self.key.clone(),
            value: self.progress.to_bytes(),
            due_at,
        };
        commit(self.due_keys, self.tenant, vec![note]).await
    }
}

fn failed(error: parlance_types::error::EventError) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", error.code.as_str(), error.message)
}

async fn commit(due_keys: &DueKeys, tenant: &Tenant, writes: Vec<Write>) -> anyhow::Result<()> {
    let write_set = WriteSet {
        tenant: tenant.id().clone(),
        reads: ReadSet::default(),
        writes: writes.into_iter().map(Arc::new).collect(),
        quota: StorageQuota::UNLIMITED,
    };
    if let Some(Err(rejected)) = due_keys.writer.commit(vec![write_set]).await?.pop() {
        anyhow::bail!(rejected);
    }
    Ok(())
}
