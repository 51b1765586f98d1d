//! A store that forgets: plain maps behind a lock, with the semantics of the real ones. For tests of components and
//! of the host; nothing is ever removed but what is deleted, and nothing survives the process.

mod catalog;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    Draft, FirstPost, KvKey, MESSAGE_OVERHEAD, Message, Page, QuotaKind, Range, Rejected, StorageQuota, Store,
    StoreError, Usage, Write, WriteSet, Written, counter,
};
use crate::id::{MessageId, RoomId, TenantId, UserId};

pub use catalog::MemoryCatalog;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct MemoryStore {
    tenants: Mutex<HashMap<TenantId, Tenant>>,
}

#[derive(Debug, Default)]
struct Tenant {
    /// In order: the message with `seq` n is at n - 1.
    rooms: HashMap<RoomId, Vec<Message>>,
    ids: HashMap<MessageId, (RoomId, u64)>,
    receipts: HashMap<(MessageId, UserId), u64>,
    kv: HashMap<KvKey, Value>,
}

#[derive(Debug, Clone)]
struct Value {
    bytes: Vec<u8>,
    expires_at: Option<u64>,
}

/// How to take back one write of a write set that is refused later on.
enum Undo {
    Nothing,
    Append(MessageId),
    Receipt(MessageId, UserId),
    Kv(KvKey, Option<Value>),
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, tenant: &TenantId, read: impl FnOnce(&Tenant) -> Option<T>) -> Option<T> {
        self.tenants.lock().get(tenant).and_then(read)
    }
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    async fn commit(&self, write_sets: Vec<WriteSet>) -> Result<Vec<Result<Vec<Written>, Rejected>>, StoreError> {
        let mut tenants = self.tenants.lock();
        Ok(write_sets
            .into_iter()
            .map(|write_set| {
                let tenant = tenants.entry(write_set.tenant).or_default();
                tenant.write(&write_set.writes, write_set.quota)
            })
            .collect())
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

    async fn last_seq(&self, tenant: &TenantId, room: &RoomId) -> Result<u64, StoreError> {
        let last = self.with(tenant, |tenant| {
            tenant.rooms.get(room).and_then(|messages| messages.last().cloned())
        });
        Ok(last.map_or(0, |message| message.seq))
    }

    async fn last_seqs(&self, tenant: &TenantId, rooms: &[RoomId]) -> Result<Vec<u64>, StoreError> {
        let mut seqs = Vec::with_capacity(rooms.len());
        for room in rooms {
            seqs.push(self.last_seq(tenant, room).await?);
        }
        Ok(seqs)
    }

    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError> {
        Ok(self.with(tenant, |tenant| Some(tenant.usage())).unwrap_or_default())
    }

    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError> {
        self.tenants.lock().remove(tenant);
        Ok(())
    }

    async fn kv_get(&self, tenant: &TenantId, key: &KvKey, now: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.with(tenant, |tenant| tenant.live(key, now).map(|value| value.bytes.clone())))
    }

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
    /// Counted anew each time: there is little here.
    fn usage(&self) -> Usage {
        let texts = |message: &Message| message.content.len() + message.metadata.as_ref().map_or(0, String::len);
        let messages = self.rooms.values().flatten();
        Usage {
            message_bytes: messages.map(|message| texts(message) as u64 + MESSAGE_OVERHEAD).sum(),
            kv_bytes: self
                .kv
                .iter()
                .map(|(key, value)| (key.key.len() + value.bytes.len()) as u64)
                .sum(),
            rooms: self.rooms.values().filter(|messages| !messages.is_empty()).count() as u64,
        }
    }

    /// What the tenant would have too much of by now, compared with what it had.
    fn over(&self, before: Usage, quota: StorageQuota) -> Option<QuotaKind> {
        let now = self.usage();
        let over = |before: u64, now: u64, limit: u64| now > before && now > limit;
        if over(before.message_bytes, now.message_bytes, quota.message_bytes) {
            Some(QuotaKind::MessageBytes)
        } else if over(before.kv_bytes, now.kv_bytes, quota.kv_bytes) {
            Some(QuotaKind::KvBytes)
        } else if over(before.rooms, now.rooms, quota.rooms) {
            Some(QuotaKind::Rooms)
        } else {
            None
        }
    }

    fn write(&mut self, writes: &[Arc<Write>], quota: StorageQuota) -> Result<Vec<Written>, Rejected> {
        let bounded = quota != StorageQuota::UNLIMITED;
        let mut written = Vec::with_capacity(writes.len());
        let mut undo = Vec::with_capacity(writes.len());
        for write in writes {
            let before = if bounded { self.usage() } else { Usage::default() };
            let applied = self.apply(write).and_then(|(one, back)| {
                written.push(one);
                undo.push(back);
                match bounded.then(|| self.over(before, quota)).flatten() {
                    Some(kind) => Err(Rejected::QuotaExceeded(kind)),
                    None => Ok(()),
                }
            });
            match applied {
                Ok(()) => {}
                Err(rejection) => {
                    undo.into_iter().rev().for_each(|back| self.revert(back));
                    return Err(rejection);
                }
            }
        }
        Ok(written)
    }

    fn apply(&mut self, write: &Write) -> Result<(Written, Undo), Rejected> {
        match write {
            Write::Append(draft) => self.append(draft),
            Write::MarkRead { id, user, at, .. } => self.mark_read(*id, user.clone(), *at),
            Write::KvSet { key, value, expires_at } => Ok((
                Written::Done,
                self.set(
                    key.clone(),
                    Value {
                        bytes: value.clone(),
                        expires_at: *expires_at,
                    },
                ),
            )),
            Write::KvDelete { key } => {
                let old = self.kv.remove(key);
                Ok((Written::Done, Undo::Kv(key.clone(), old)))
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
                        },
                    ),
                ))
            }
        }
    }

    fn append(&mut self, draft: &Draft) -> Result<(Written, Undo), Rejected> {
        if let Some(first) = self.message(draft.id) {
            let place = FirstPost {
                seq: first.seq,
                sent_at: first.sent_at,
                username: first.username.clone(),
            };
            return Ok((draft.resolve_duplicate(first.request(), place)?, Undo::Nothing));
        }
        let messages = self.rooms.entry(draft.room.clone()).or_default();
        let seq = messages.last().map_or(1, |last| last.seq + 1);
        messages.push(Message {
            id: draft.id,
            room: draft.room.clone(),
            seq,
            sender: draft.sender.clone(),
            username: draft.username.clone(),
            content: draft.content.clone(),
            metadata: draft.metadata.clone(),
            sent_at: draft.sent_at,
            client: draft.client.clone(),
        });
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
            Undo::Kv(key, None) => drop(self.kv.remove(&key)),
            Undo::Kv(key, Some(old)) => drop(self.kv.insert(key, old)),
        }
    }

    fn message(&self, id: MessageId) -> Option<&Message> {
        let (room, seq) = self.ids.get(&id)?;
        self.rooms.get(room)?.get(usize::try_from(seq - 1).ok()?)
    }

    fn live(&self, key: &KvKey, now: u64) -> Option<&Value> {
        self.kv
            .get(key)
            .filter(|value| value.expires_at.is_none_or(|at| at > now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    async fn empty() -> (Arc<dyn Store>, ()) {
        (Arc::new(MemoryStore::new()), ())
    }

    super::super::conformance::tests_of!(empty);
}
