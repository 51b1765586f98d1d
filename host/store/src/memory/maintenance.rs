//! The role [`Maintenance`].

use super::{MemoryStore, Tenant, people};
use crate::{
    Expired, Imported, KvKey, Maintenance, Message, Place, RemovedMessages, RoomList, RoomSpan, SeqSpan, StoreError,
    StoredKey, StoredMark, StoredReceipt, Usage,
};
use parlance_types::id::{RoomId, TenantId, UserId};

#[async_trait::async_trait]
impl Maintenance for MemoryStore {
    async fn rooms_of(&self, tenant: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<RoomList, StoreError> {
        let list = self.with(tenant, |tenant| Some(tenant.rooms_of(after, limit)));
        Ok(list.unwrap_or_default())
    }

    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError> {
        Ok(self.with(tenant, |tenant| Some(tenant.usage())).unwrap_or_default())
    }

    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError> {
        self.tenants.lock().remove(tenant);
        Ok(())
    }

    async fn is_in_slots(&self, _: &TenantId, slots: &[u16]) -> Result<bool, StoreError> {
        Ok(!slots.is_empty())
    }

    async fn rooms(&self, of: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<Vec<RoomSpan>, StoreError> {
        let found = self.with(of, |tenant| Some(tenant.spans(after, limit)));
        Ok(found.unwrap_or_default())
    }

    async fn remove_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        expired: Expired,
        limit: u32,
    ) -> Result<RemovedMessages, StoreError> {
        let mut tenants = self.tenants.lock();
        let removed = tenants
            .get_mut(tenant)
            .map(|tenant| tenant.remove_messages(room, expired, limit));
        Ok(removed.unwrap_or_default())
    }

    async fn marks(
        &self,
        of: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: Option<&UserId>,
        after: Option<&StoredMark>,
        limit: u32,
    ) -> Result<Vec<StoredMark>, StoreError> {
        let found = self.with(of, |tenant| Some(tenant.marks_of(room, span, user)));
        Ok(people::page(found.unwrap_or_default(), after, limit))
    }

    async fn receipts(
        &self,
        of: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: Option<&UserId>,
        after: Option<&StoredReceipt>,
        limit: u32,
    ) -> Result<Vec<StoredReceipt>, StoreError> {
        let found = self.with(of, |tenant| Some(tenant.receipts_of(room, span, user)));
        Ok(people::page(found.unwrap_or_default(), after, limit))
    }

    async fn keys(&self, of: &TenantId, after: Option<&KvKey>, limit: u32) -> Result<Vec<StoredKey>, StoreError> {
        Ok(self
            .with(of, |tenant| Some(tenant.keys(after, limit)))
            .unwrap_or_default())
    }

    async fn forget_user(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: &UserId,
    ) -> Result<u64, StoreError> {
        let mut tenants = self.tenants.lock();
        let forgotten = tenants
            .get_mut(tenant)
            .map(|tenant| tenant.forget_user(room, span, user));
        Ok(forgotten.unwrap_or_default())
    }

    async fn finish_removal(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn import(&self, tenant: &TenantId, pieces: Vec<Imported>) -> Result<bool, StoreError> {
        let mut tenants = self.tenants.lock();
        let tenant = tenants.entry(tenant.clone()).or_default();
        let is_new = tenant.can_import(&pieces);
        if is_new {
            pieces.into_iter().for_each(|piece| tenant.import(piece));
        }
        Ok(is_new)
    }
}

impl Tenant {
    fn rooms_of(&self, after: Option<&RoomId>, limit: u32) -> RoomList {
        let rooms = self.rooms.iter();
        let rooms = rooms.filter(|(room, _)| after.is_none_or(|after| *room > after));
        let place = |(room, messages): (&RoomId, &Vec<Message>)| {
            let seq = messages.last().map_or(0, |message| message.seq);
            let rev = self.revs.get(room).copied().unwrap_or(0);
            (room.clone(), Place { seq, rev })
        };
        let mut found: Vec<(RoomId, Place)> = rooms.map(place).collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        RoomList::of(found, limit)
    }
}
