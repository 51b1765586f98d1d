//! Applies a batch in memory: to rows that were locked and loaded before, and whose changes are written afterwards. A
//! rejected write set is undone, so that it leaves no trace.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::key_reads::StoredReads;
use super::revise::{BeforeChange, Revisions};
use crate::quota::{exceeded, message_bytes};
use crate::{
    Draft, FirstPost, KvKey, KvRange, Rejected, RequestDigest, Revise, StorageQuota, Usage, ValueDigest, Write,
    WriteSet, WriteSetResult, Written, counter,
};
use parlance_types::id::{MessageId, RoomId, UserId};

// Keys of rows. The first part is the tenant's row id.
pub(super) type RoomKey<'a> = (i64, &'a RoomId);
pub(super) type KvRowKey<'a> = (i64, &'a KvKey);
pub(super) type ReceiptKey<'a> = (i64, MessageId, &'a UserId);

/// A room's row, which this transaction has locked.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomRow {
    pub(super) row: i64,
    pub(super) last_seq: i64,
    pub(super) last_rev: i64,
    /// `last_seq` and `last_rev` before this batch.
    pub(super) loaded: (i64, i64),
}

/// A message that is stored already, or that this batch has appended.
#[derive(Debug, Clone)]
pub(super) struct MessageRow {
    pub(super) room: i64,
    pub(super) seq: i64,
    pub(super) sent_at: i64,
    pub(super) username: Arc<str>,
    /// The digest of its request. `None` when the batch only marks the message as read.
    pub(super) request: Option<RequestDigest>,
}

/// A key that exists.
#[derive(Debug, Clone)]
pub(super) struct KvEntry<'a> {
    /// The length of the value.
    pub(super) bytes: u64,
    /// The value. `None` when the batch does not need the stored one.
    pub(super) value: Option<Cow<'a, [u8]>>,
    pub(super) expires_at: Option<i64>,
    /// When the key is due, as far as this batch has set it.
    pub(super) due_at: Option<i64>,
    /// This batch has set the key.
    pub(super) changed: bool,
}

/// A message to insert.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewMessage<'a> {
    pub(super) tenant: i64,
    pub(super) room: i64,
    pub(super) seq: i64,
    pub(super) draft: &'a Draft,
}

/// A receipt to insert.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewReceipt<'a> {
    pub(super) room: i64,
    pub(super) seq: i64,
    pub(super) user: &'a UserId,
    pub(super) at: i64,
}

/// How to undo one change of a write set.
enum Undo<'a> {
    Append(RoomKey<'a>, i64, MessageId),
    Receipt(ReceiptKey<'a>),
    Revise(RoomKey<'a>, i64, Box<BeforeChange<'a>>),
    Key(KvRowKey<'a>, Option<KvEntry<'a>>),
}

/// How a batch changes a tenant's usage. It can take off more than there was when the usage was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UsageChange {
    pub(super) message_bytes: i64,
    pub(super) kv_bytes: i64,
    pub(super) rooms: i64,
}

impl UsageChange {
    fn applied_to(self, usage: Usage) -> Usage {
        Usage {
            message_bytes: usage.message_bytes.saturating_add_signed(self.message_bytes),
            kv_bytes: usage.kv_bytes.saturating_add_signed(self.kv_bytes),
            rooms: usage.rooms.saturating_add_signed(self.rooms),
        }
    }
}

/// The rows that a batch touches, as they are after the write sets applied so far. See the [module](self).
///
/// Before the first write set is applied, every row that the batch touches must be loaded.
#[derive(Default)]
pub(super) struct BatchState<'a> {
    pub(super) rooms: BTreeMap<RoomKey<'a>, RoomRow>,
    pub(super) messages: HashMap<(i64, MessageId), MessageRow>,
    pub(super) receipts: HashMap<ReceiptKey<'a>, i64>,
    pub(super) kv: BTreeMap<KvRowKey<'a>, KvEntry<'a>>,
    /// The keys that the database has before this batch.
    pub(super) stored_keys: HashSet<KvRowKey<'a>>,
    /// The tenants' usage before this batch. Another node may change it until the batch has its locks.
    pub(super) usage: HashMap<i64, Usage>,
    pub(super) usage_changes: HashMap<i64, UsageChange>,
    /// How many keys the spaces of keys with a due time have before this batch.
    pub(super) due_keys: HashMap<(i64, &'a str), u64>,
    pub(super) new_messages: Vec<NewMessage<'a>>,
    pub(super) new_receipts: Vec<NewReceipt<'a>>,
    pub(super) revisions: Revisions<'a>,
    undo: Vec<Undo<'a>>,
}

impl<'a> BatchState<'a> {
    /// Applies a write set of the tenant with this row id. When a write rejects it, undoes the writes before. `stored` is
    /// what the database has where its event has read.
    pub(super) fn apply(&mut self, tenant: i64, write_set: &'a WriteSet, stored: &StoredReads) -> WriteSetResult {
        let reads = &write_set.reads;
        let newer = |key: &'a KvKey| self.changed_key((tenant, key), reads.at);
        if !stored.holds(reads, newer, |read| self.has_changed(tenant, &read.range)) {
            return Err(Rejected::ReadsChanged);
        }
        self.undo.clear();
        let before = self.usage_changes.get(&tenant).copied().unwrap_or_default();
        let (new_messages, new_receipts) = (self.new_messages.len(), self.new_receipts.len());
        let mut written = Vec::with_capacity(write_set.writes.len());
        for write in &write_set.writes {
            match self.write(tenant, write, write_set.quota) {
                Ok(one) => written.push(one),
                Err(rejection) => {
                    while let Some(undo) = self.undo.pop() {
                        self.revert(undo);
                    }
                    self.new_messages.truncate(new_messages);
                    self.new_receipts.truncate(new_receipts);
                    self.usage_changes.insert(tenant, before);
                    return Err(rejection);
                }
            }
        }
        Ok(written)
    }

    /// The digest of a key's value, if this batch has changed the key.
    fn changed_key(&self, at: KvRowKey<'a>, now: u64) -> Option<Option<ValueDigest>> {
        match self.kv.get(&at) {
            Some(entry) if entry.changed => {
                let value = entry.value.as_deref().filter(|_| live(entry.expires_at, now));
                Some(value.map(ValueDigest::of))
            }
            Some(_) => None,
            None => self.stored_keys.contains(&at).then_some(None),
        }
    }

    /// Whether this batch has changed a key of the range, to whatever value: the rest of the range is not loaded, so a
    /// range is not read again.
    fn has_changed(&self, tenant: i64, range: &KvRange) -> bool {
        let is_in = |at: &KvRowKey<'_>| at.0 == tenant && range.contains(at.1);
        let mut set = self.kv.iter().filter(|(_, entry)| entry.changed);
        set.any(|(at, _)| is_in(at)) || self.stored_keys.iter().any(|at| is_in(at) && !self.kv.contains_key(at))
    }

    fn write(&mut self, tenant: i64, write: &'a Write, quota: StorageQuota) -> Result<Written, Rejected> {
        match write {
            Write::Append(draft) => self.append(tenant, draft, quota),
            Write::MarkRead { id, user, at, .. } => self.mark_read(tenant, *id, user, *at),
            Write::Revise(revise) => self.revise(tenant, revise, quota),
            Write::KvSet { key, value, expires_at } => {
                let value = Cow::Borrowed(value.as_slice());
                self.set((tenant, key), value, (expires_at.map(u64::cast_signed), None), quota)?;
                Ok(Written::Done)
            }
            Write::DueSet { key, value, due_at } => {
                let at = (tenant, key);
                let (most, kind) = quota.due_keys(&key.handler);
                if !self.kv.contains_key(&at) && self.due_keys_of(at) >= most {
                    return Err(Rejected::QuotaExceeded(kind));
                }
                let due_at = i64::try_from(*due_at).unwrap_or(i64::MAX);
                self.set(at, Cow::Borrowed(value.as_slice()), (None, Some(due_at)), quota)?;
                Ok(Written::Done)
            }
            Write::KvDelete { key } => {
                let at = (tenant, key);
                if let Some(old) = self.kv.remove(&at) {
                    self.usage_changes.entry(tenant).or_default().kv_bytes -= size(key, &old).cast_signed();
                    self.undo.push(Undo::Key(at, Some(old)));
                }
                Ok(Written::Done)
            }
            Write::KvRaise { key, to } => {
                let value = self
                    .kv
                    .get(&(tenant, key))
                    .map(|entry| entry.value.as_deref().unwrap_or_default());
                if let Some(raised) = counter::raise(value, *to)? {
                    let value = Cow::Owned(raised.to_string().into_bytes());
                    self.set((tenant, key), value, (None, None), quota)?;
                }
                Ok(Written::Done)
            }
            Write::KvIncrement { key, by, at } => {
                let old = self.kv.get(&(tenant, key)).filter(|entry| live(entry.expires_at, *at));
                let value = old.map(|entry| entry.value.as_deref().unwrap_or_default());
                let sum = counter::add(value, *by)?;
                let expires_at = old.and_then(|entry| entry.expires_at);
                self.set(
                    (tenant, key),
                    Cow::Owned(sum.to_string().into_bytes()),
                    (expires_at, None),
                    quota,
                )?;
                Ok(Written::Done)
            }
        }
    }

    fn append(&mut self, tenant: i64, draft: &'a Draft, quota: StorageQuota) -> Result<Written, Rejected> {
        if let Some(first) = self.messages.get(&(tenant, draft.id)) {
            let first_post = FirstPost {
                seq: first.seq.cast_unsigned(),
                sent_at: first.sent_at.cast_unsigned(),
                username: first.username.clone(),
            };
            return first.request.map_or(Err(Rejected::ClientIdTaken), |request| {
                draft.resolve_duplicate(request, first_post)
            });
        }
        let at = (tenant, &draft.room);
        let Some(room) = self.rooms.get(&at).copied() else {
            // Cannot happen: every room of the batch was loaded or created.
            return Err(Rejected::NotFound);
        };
        let seq = room.last_seq + 1;
        let more = Usage {
            message_bytes: message_bytes(&draft.content, draft.metadata.as_deref()),
            rooms: u64::from(seq == 1),
            ..Usage::default()
        };
        self.add(tenant, more, quota)?;
        self.rooms.insert(at, RoomRow { last_seq: seq, ..room });
        let message = MessageRow {
            room: room.row,
            seq,
            sent_at: draft.sent_at.cast_signed(),
            username: draft.username.clone(),
            request: Some(draft.request()),
        };
        self.messages.insert((tenant, draft.id), message);
        self.new_messages.push(NewMessage {
            tenant,
            room: room.row,
            seq,
            draft,
        });
        self.undo.push(Undo::Append(at, room.last_seq, draft.id));
        Ok(Written::Appended {
            seq: seq.cast_unsigned(),
            sent_at: draft.sent_at,
            duplicate: false,
        })
    }

    fn mark_read(&mut self, tenant: i64, id: MessageId, user: &'a UserId, at: u64) -> Result<Written, Rejected> {
        let message = self.messages.get(&(tenant, id)).ok_or(Rejected::NotFound)?;
        let (room, seq) = (message.room, message.seq);
        let receipt = (tenant, id, user);
        if let Some(first) = self.receipts.get(&receipt) {
            return Ok(Written::Read {
                at: first.cast_unsigned(),
                first: false,
            });
        }
        self.receipts.insert(receipt, at.cast_signed());
        self.new_receipts.push(NewReceipt {
            room,
            seq,
            user,
            at: at.cast_signed(),
        });
        self.undo.push(Undo::Receipt(receipt));
        Ok(Written::Read { at, first: true })
    }

    fn revise(&mut self, tenant: i64, revise: &'a Revise, quota: StorageQuota) -> Result<Written, Rejected> {
        let key = (tenant, revise.id);
        let message = self.messages.get(&key).ok_or(Rejected::NotFound)?;
        let place = (message.room, message.seq);
        let own = self.new_messages.iter().find(|new| (new.tenant, new.draft.id) == key);
        let own = own.map(|new| new.draft);
        let applied = self.revisions.apply(tenant, revise, place, own, quota.marks)?;
        let count = applied.count;
        if !applied.changes {
            return Ok(Written::Revised { rev: None, count });
        }
        let at = (tenant, &revise.room);
        let last_rev = self.rooms.get(&at).map_or(0, |room| room.last_rev);
        self.undo.push(Undo::Revise(at, last_rev, Box::new(applied.before)));
        match u64::try_from(applied.growth) {
            Ok(message_bytes) => {
                let more = Usage {
                    message_bytes,
                    ..Usage::default()
                };
                self.add(tenant, more, quota)?;
            }
            Err(_) => {
                self.usage_changes.entry(tenant).or_default().message_bytes += applied.growth;
            }
        }
        let Some(room) = self.rooms.get_mut(&at) else {
            // Cannot happen: every room of the batch was loaded or created.
            return Err(Rejected::NotFound);
        };
        room.last_rev += 1;
        self.revisions.number(key, room.last_rev);
        Ok(Written::Revised {
            rev: Some(room.last_rev.cast_unsigned()),
            count,
        })
    }

    /// How many keys the space has by now.
    fn due_keys_of(&self, at: KvRowKey<'a>) -> u64 {
        let is_same = |other: &&KvRowKey<'a>| other.0 == at.0 && other.1.handler == at.1.handler;
        let added = self
            .kv
            .keys()
            .filter(is_same)
            .filter(|key| !self.stored_keys.contains(*key))
            .count();
        let removed = self
            .stored_keys
            .iter()
            .filter(is_same)
            .filter(|key| !self.kv.contains_key(*key))
            .count();
        let stored = self.due_keys.get(&(at.0, &*at.1.handler)).copied().unwrap_or(0);
        (stored + added as u64).saturating_sub(removed as u64)
    }

    /// Sets a key and counts the difference in bytes.
    fn set(
        &mut self,
        at: KvRowKey<'a>,
        value: Cow<'a, [u8]>,
        (expires_at, due_at): (Option<i64>, Option<i64>),
        quota: StorageQuota,
    ) -> Result<(), Rejected> {
        let before = self.kv.get(&at).map_or(0, |entry| size(at.1, entry));
        let new = KvEntry {
            bytes: value.len() as u64,
            value: Some(value),
            expires_at,
            due_at,
            changed: true,
        };
        match size(at.1, &new).checked_sub(before) {
            Some(kv_bytes) => {
                let more = Usage {
                    kv_bytes,
                    ..Usage::default()
                };
                self.add(at.0, more, quota)?;
            }
            None => {
                let less = before - size(at.1, &new);
                self.usage_changes.entry(at.0).or_default().kv_bytes -= less.cast_signed();
            }
        }
        let old = self.kv.insert(at, new);
        self.undo.push(Undo::Key(at, old));
        Ok(())
    }

    /// Counts what a write adds, or rejects the write when that would exceed the quota.
    fn add(&mut self, tenant: i64, more: Usage, quota: StorageQuota) -> Result<(), Rejected> {
        let usage = self.usage.get(&tenant).copied().unwrap_or_default();
        let change = self.usage_changes.entry(tenant).or_default();
        if let Some(kind) = exceeded(change.applied_to(usage), more, quota) {
            return Err(Rejected::QuotaExceeded(kind));
        }
        change.message_bytes += more.message_bytes.cast_signed();
        change.kv_bytes += more.kv_bytes.cast_signed();
        change.rooms += more.rooms.cast_signed();
        Ok(())
    }

    fn revert(&mut self, undo: Undo<'a>) {
        match undo {
            Undo::Append(at, last_seq, id) => {
                if let Some(room) = self.rooms.get_mut(&at) {
                    room.last_seq = last_seq;
                }
                self.messages.remove(&(at.0, id));
            }
            Undo::Receipt(at) => drop(self.receipts.remove(&at)),
            Undo::Revise(at, last_rev, before) => {
                if let Some(room) = self.rooms.get_mut(&at) {
                    room.last_rev = last_rev;
                }
                self.revisions.revert(*before);
            }
            Undo::Key(at, Some(old)) => drop(self.kv.insert(at, old)),
            Undo::Key(at, None) => drop(self.kv.remove(&at)),
        }
    }
}

/// Bytes that a key and its value count for.
fn size(key: &KvKey, entry: &KvEntry<'_>) -> u64 {
    key.key.len() as u64 + entry.bytes
}

/// Whether a key with this `expires_at` column exists at `now`.
pub(super) fn live(expires_at: Option<i64>, now: u64) -> bool {
    expires_at.is_none_or(|at| at.cast_unsigned() > now)
}
