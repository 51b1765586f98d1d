//! A store in memory, for tests: plain maps behind a lock, with the semantics of the databases.
//!
//! Expired keys stay until they are deleted or overwritten, and nothing survives the process.

mod catalog;
mod maintenance;
mod people;
mod retention;
mod revise;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::quota::{exceeded, message_bytes};
use super::read_set::PageBuilder;
use super::{
    ChangeRange, Changes, Draft, DueKey, DueSpace, Epoch, Health, KeyRead, KvKey, KvPage, KvRange, Message, Page,
    Place, QuotaKind, Range, RangeRead, ReadSet, Reader, Rejected, SLOTS, Schedule, StorageQuota, StoreError, Usage,
    ValueDigest, Write, WriteSet, WriteSetResult, Writer, Written, counter,
};
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};

pub use catalog::MemoryCatalog;
use revise::Mark;

/// Messages and keys in memory. See the [module](self).
#[derive(Debug, Default)]
pub struct MemoryStore {
    tenants: Mutex<HashMap<TenantId, Tenant>>,
}

#[derive(Debug, Default)]
struct Tenant {
    /// Messages by `seq`: the message with `seq` n is at index n - 1, less the number of removed ones.
    rooms: HashMap<RoomId, Vec<Message>>,
    /// How many messages of each room were removed: its first ones.
    removed: HashMap<RoomId, u64>,
    ids: HashMap<MessageId, (RoomId, u64)>,
    receipts: HashMap<(MessageId, UserId), u64>,
    kv: BTreeMap<KvKey, Value>,
    /// The `rev` of each room's last change.
    revs: HashMap<RoomId, u64>,
    /// Each message's marks.
    marks: HashMap<MessageId, BTreeSet<Mark>>,
}

#[derive(Debug, Clone)]
struct Value {
    bytes: Vec<u8>,
    expires_at: Option<u64>,
    due_at: Option<u64>,
}

impl Value {
    fn is_live(&self, now: u64) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// How to undo one write when a later one rejects the write set.
enum Undo {
    Nothing,
    Append(MessageId),
    Receipt(MessageId, UserId),
    Kv(KvKey, Option<Value>),
    /// The message, its marks and its room's `rev` as they were.
    Revise(Box<Message>, BTreeSet<Mark>, u64),
}

impl MemoryStore {
    fn with<T>(&self, tenant: &TenantId, read: impl FnOnce(&Tenant) -> Option<T>) -> Option<T> {
        self.tenants.lock().get(tenant).and_then(read)
    }
}

#[async_trait::async_trait]
impl Reader for MemoryStore {
    fn epoch(&self) -> Epoch {
        // The data ends with the process, and no client of a test outlives it.
        Epoch::default()
    }

    async fn message(&self, tenant: &TenantId, id: MessageId) -> Result<Option<Message>, StoreError> {
        Ok(self.with(tenant, |tenant| tenant.message(id).cloned()))
    }

    async fn history(&self, tenant: &TenantId, room: &RoomId, range: Range) -> Result<Page, StoreError> {
        let page = self.with(tenant, |tenant| {
            tenant.rooms.get(room).map(|messages| page(messages, range))
        });
        Ok(page.unwrap_or(Page {
            messages: Vec::new(),
            complete: true,
        }))
    }

    async fn changed_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        range: ChangeRange,
    ) -> Result<Changes, StoreError> {
        let changes = self.with(tenant, |tenant| {
            let messages = tenant.rooms.get(room)?;
            let rev = |message: &Message| message.revision.as_ref().map_or(0, |revision| revision.rev);
            let mut changed: Vec<&Message> = messages.iter().filter(|message| rev(message) > range.after).collect();
            changed.sort_by_key(|message| rev(message));
            let most = usize::try_from(range.most_looked_at()).unwrap_or(usize::MAX);
            let is_cut = changed.len() >= most;
            changed.truncate(most);
            let last = changed.last().map(|message| message.seq).filter(|_| is_cut);
            changed.retain(|message| message.seq <= range.up_to_seq || Some(message.seq) == last);
            Some(Changes {
                messages: changed.into_iter().cloned().collect(),
                complete: !is_cut,
            })
        });
        let all = changes.unwrap_or(Changes {
            messages: Vec::new(),
            complete: true,
        });
        Ok(all.truncate(usize::try_from(range.limit).unwrap_or(usize::MAX)))
    }

    async fn places(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<Place>, StoreError> {
        let tenants = self.tenants.lock();
        let place = |room: &RoomId| Some(tenants.get(tenant)?.place(room));
        Ok(rooms.iter().map(|room| place(room).unwrap_or_default()).collect())
    }

    async fn kv_get_many(
        &self,
        tenant: &TenantId,
        keys: &[KvKey],
        now: u64,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let tenants = self.tenants.lock();
        let value = |key| tenants.get(tenant)?.live(key, now).map(|value| value.bytes.clone());
        Ok(keys.iter().map(value).collect())
    }

    async fn kv_scan(
        &self,
        tenant: &TenantId,
        range: &KvRange,
        limit: u32,
        bytes: u64,
        now: u64,
    ) -> Result<KvPage, StoreError> {
        let mut page = PageBuilder::of(limit, bytes);
        if let Some(tenant) = self.tenants.lock().get(tenant) {
            let mut keys = tenant.range(range);
            keys.all(|(key, value)| page.add(&key.key, value.is_live(now).then_some(&value.bytes)));
        }
        Ok(page.done())
    }

    async fn reads_hold(&self, tenant: &TenantId, reads: &ReadSet) -> Result<bool, StoreError> {
        let mut tenants = self.tenants.lock();
        Ok(tenants.entry(tenant.clone()).or_default().holds(reads))
    }
}

#[async_trait::async_trait]
impl Writer for MemoryStore {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<WriteSetResult>, StoreError> {
        let mut tenants = self.tenants.lock();
        Ok(write_sets
            .into_iter()
            .map(|write_set| {
                let tenant = tenants.entry(write_set.tenant).or_default();
                if tenant.holds(&write_set.reads) {
                    tenant.apply(&write_set.writes, write_set.quota)
                } else {
                    Err(Rejected::ReadsChanged)
                }
            })
            .collect())
    }
}

#[async_trait::async_trait]
impl Schedule for MemoryStore {
    async fn own_slots(&self, _: &str, _: Duration) -> Result<Vec<u16>, StoreError> {
        Ok((0..SLOTS).collect())
    }

    async fn leave(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn due_spaces(&self, _: &[u16], now: u64) -> Result<Vec<DueSpace>, StoreError> {
        let tenants = self.tenants.lock();
        let mut spaces: BTreeMap<DueSpace, u64> = BTreeMap::new();
        for (tenant, data) in tenants.iter() {
            for (key, due_at) in data.due(now) {
                let space = DueSpace {
                    tenant: tenant.to_string(),
                    handler: key.handler.clone(),
                };
                let oldest = spaces.entry(space).or_insert(due_at);
                *oldest = due_at.min(*oldest);
            }
        }
        let mut spaces: Vec<(DueSpace, u64)> = spaces.into_iter().collect();
        spaces.sort_by_key(|(_, oldest)| *oldest);
        Ok(spaces.into_iter().map(|(space, _)| space).collect())
    }

    async fn due_keys(&self, space: &DueSpace, now: u64, limit: u32) -> Result<Vec<DueKey>, StoreError> {
        let tenants = self.tenants.lock();
        let data = tenants.iter().find(|(tenant, _)| tenant.as_str() == space.tenant);
        let Some((_, data)) = data else {
            return Ok(Vec::new());
        };
        let own = data.due(now).filter(|(key, _)| key.handler == space.handler);
        let mut due: Vec<DueKey> = own
            .filter_map(|(key, due_at)| {
                Some(DueKey {
                    key: key.clone(),
                    value: data.kv.get(key)?.bytes.clone(),
                    due_at,
                })
            })
            .collect();
        due.sort_by(|a, b| (a.due_at, &a.key).cmp(&(b.due_at, &b.key)));
        due.truncate(limit as usize);
        Ok(due)
    }
}

#[async_trait::async_trait]
impl Health for MemoryStore {
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn page(messages: &[Message], range: Range) -> Page {
    let asked = messages
        .iter()
        .filter(|message| message.seq > range.after && range.before.is_none_or(|before| message.seq < before));
    let limit = usize::try_from(range.limit).unwrap_or(usize::MAX);
    let whole = Page {
        messages: asked.cloned().collect(),
        complete: true,
    };
    whole.truncate(range.from, limit)
}

impl Tenant {
    /// Counted anew each time, since tests store little.
    fn usage(&self) -> Usage {
        let messages = self.rooms.values().flatten();
        Usage {
            message_bytes: messages
                .map(|message| message_bytes(&message.content, message.metadata.as_deref()))
                .sum(),
            kv_bytes: self
                .kv
                .iter()
                .map(|(key, value)| (key.key.len() + value.bytes.len()) as u64)
                .sum(),
            rooms: self.rooms.keys().filter(|room| self.place(room).seq > 0).count() as u64,
        }
    }

    /// The quota that the tenant exceeds since it stored `before`.
    fn exceeded(&self, before: Usage, quota: StorageQuota) -> Option<QuotaKind> {
        let now = self.usage();
        let more = Usage {
            message_bytes: now.message_bytes.saturating_sub(before.message_bytes),
            kv_bytes: now.kv_bytes.saturating_sub(before.kv_bytes),
            rooms: now.rooms.saturating_sub(before.rooms),
        };
        exceeded(before, more, quota)
    }

    fn apply(&mut self, writes: &[Arc<Write>], quota: StorageQuota) -> WriteSetResult {
        let bounded = quota != StorageQuota::UNLIMITED;
        let mut written = Vec::with_capacity(writes.len());
        let mut undo = Vec::with_capacity(writes.len());
        for write in writes {
            let before = if bounded { self.usage() } else { Usage::default() };
            let applied = self.write(write, quota).and_then(|(one, back)| {
                written.push(one);
                undo.push(back);
                match bounded.then(|| self.exceeded(before, quota)).flatten() {
                    Some(kind) => Err(Rejected::QuotaExceeded(kind)),
                    None => Ok(()),
                }
            });
            if let Err(rejection) = applied {
                undo.into_iter().rev().for_each(|back| self.revert(back));
                return Err(rejection);
            }
        }
        Ok(written)
    }

    fn write(&mut self, write: &Write, quota: StorageQuota) -> Result<(Written, Undo), Rejected> {
        match write {
            Write::Append(draft) => self.append(draft),
            Write::MarkRead { id, user, at, .. } => self.mark_read(*id, user.clone(), *at),
            Write::Revise(revise) => self.revise(revise, quota),
            Write::KvSet { key, value, expires_at } => Ok((
                Written::Done,
                self.set(
                    key.clone(),
                    Value {
                        bytes: value.clone(),
                        expires_at: *expires_at,
                        due_at: None,
                    },
                ),
            )),
            Write::DueSet { key, value, due_at } => {
                let is_new = !self.kv.contains_key(key);
                let count = self.kv.keys().filter(|other| other.handler == key.handler).count() as u64;
                let (most, kind) = quota.due_keys(&key.handler);
                if is_new && count >= most {
                    return Err(Rejected::QuotaExceeded(kind));
                }
                let value = Value {
                    bytes: value.clone(),
                    expires_at: None,
                    due_at: Some(*due_at),
                };
                Ok((Written::Done, self.set(key.clone(), value)))
            }
            Write::KvDelete { key } => {
                let old = self.kv.remove(key);
                Ok((Written::Done, Undo::Kv(key.clone(), old)))
            }
            Write::KvRaise { key, to } => {
                let value = self.kv.get(key).map(|value| value.bytes.as_slice());
                let Some(raised) = counter::raise(value, *to)? else {
                    return Ok((Written::Done, Undo::Nothing));
                };
                let value = Value {
                    bytes: raised.to_string().into_bytes(),
                    expires_at: None,
                    due_at: None,
                };
                Ok((Written::Done, self.set(key.clone(), value)))
            }
            Write::KvIncrement { key, by, at } => {
                let live = self.live(key, *at);
                let sum = counter::add(live.map(|value| value.bytes.as_slice()), *by)?;
                let expires_at = live.and_then(|value| value.expires_at);
                Ok((
                    Written::Done,
                    self.set(
                        key.clone(),
                        Value {
                            bytes: sum.to_string().into_bytes(),
                            expires_at,
                            due_at: None,
                        },
                    ),
                ))
            }
        }
    }

    fn append(&mut self, draft: &Draft) -> Result<(Written, Undo), Rejected> {
        if let Some(first) = self.message(draft.id) {
            return Ok((draft.resolve_duplicate(first.request(), first.into())?, Undo::Nothing));
        }
        let seq = self.place(&draft.room).seq + 1;
        self.rooms
            .entry(draft.room.clone())
            .or_default()
            .push(draft.message(seq));
        self.ids.insert(draft.id, (draft.room.clone(), seq));
        Ok((
            Written::Appended {
                seq,
                sent_at: draft.sent_at,
                duplicate: false,
            },
            Undo::Append(draft.id),
        ))
    }

    fn mark_read(&mut self, id: MessageId, user: UserId, at: u64) -> Result<(Written, Undo), Rejected> {
        if !self.ids.contains_key(&id) {
            return Err(Rejected::NotFound);
        }
        if let Some(at) = self.receipts.get(&(id, user.clone())) {
            return Ok((Written::Read { at: *at, first: false }, Undo::Nothing));
        }
        self.receipts.insert((id, user.clone()), at);
        Ok((Written::Read { at, first: true }, Undo::Receipt(id, user)))
    }

    fn set(&mut self, key: KvKey, value: Value) -> Undo {
        let old = self.kv.insert(key.clone(), value);
        Undo::Kv(key, old)
    }

    fn revert(&mut self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Append(id) => {
                if let Some((room, _)) = self.ids.remove(&id) {
                    self.rooms.entry(room).or_default().pop();
                }
            }
            Undo::Receipt(id, user) => drop(self.receipts.remove(&(id, user))),
            Undo::Revise(message, marks, rev) => {
                self.marks.insert(message.id, marks);
                self.revs.insert(message.room.clone(), rev);
                if let Some(now) = self.message_mut(message.id) {
                    *now = *message;
                }
            }
            Undo::Kv(key, None) => drop(self.kv.remove(&key)),
            Undo::Kv(key, Some(old)) => drop(self.kv.insert(key, old)),
        }
    }

    fn message(&self, id: MessageId) -> Option<&Message> {
        let (room, seq) = self.ids.get(&id)?;
        self.rooms.get(room)?.get(self.index(room, *seq)?)
    }

    fn message_mut(&mut self, id: MessageId) -> Option<&mut Message> {
        let (room, seq) = self.ids.get(&id)?;
        let index = self.index(room, *seq)?;
        self.rooms.get_mut(room)?.get_mut(index)
    }

    fn live(&self, key: &KvKey, now: u64) -> Option<&Value> {
        self.kv.get(key).filter(|value| value.is_live(now))
    }

    fn live_range(&self, range: &KvRange, now: u64) -> impl Iterator<Item = (&KvKey, &Value)> {
        self.range(range).filter(move |(_, value)| value.is_live(now))
    }

    fn range(&self, range: &KvRange) -> impl Iterator<Item = (&KvKey, &Value)> {
        let entries = if range.until.as_ref().is_some_and(|until| *until <= range.from) {
            None
        } else {
            Some(self.kv.range(range.bounds()))
        };
        entries.into_iter().flatten()
    }

    /// The keys that are due at `now`, with their due times.
    fn due(&self, now: u64) -> impl Iterator<Item = (&KvKey, u64)> {
        self.kv
            .iter()
            .filter_map(move |(key, value)| Some((key, value.due_at.filter(|at| *at <= now)?)))
    }

    fn holds(&self, reads: &ReadSet) -> bool {
        let key = |read: &KeyRead| {
            let value = self.live(&read.key, reads.at);
            Ok::<_, Infallible>(value.map(|value| ValueDigest::of(&value.bytes)) == read.value)
        };
        let range = |read: &RangeRead| {
            let entries = self.live_range(&read.range, reads.at);
            Ok(entries
                .map(|(key, value)| (key.key.clone(), ValueDigest::of(&value.bytes)))
                .collect())
        };
        let Ok(holds) = reads.still_holds(key, range);
        holds
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::{Store, tests_of};

    async fn empty() -> (Arc<dyn Store>, ()) {
        (Arc::new(MemoryStore::default()), ())
    }

    tests_of!(empty);
}
