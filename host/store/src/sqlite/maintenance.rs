//! The role [`Maintenance`]: what it lists is read by the reader threads, what it changes by the writer.

use super::{SqliteStore, people, removal, retention, rooms_of, usage_cache};
use crate::{
    Expired, Imported, KvKey, Maintenance, RemovedMessages, RoomList, RoomSpan, SeqSpan, StoreError, StoredKey,
    StoredMark, StoredReceipt, Usage,
};
use parlance_types::id::{RoomId, TenantId, UserId};

#[async_trait::async_trait]
impl Maintenance for SqliteStore {
    async fn rooms_of(&self, tenant: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<RoomList, StoreError> {
        let (tenant, after, recent) = (tenant.clone(), after.cloned(), self.recent.clone());
        self.read(move |db| rooms_of::rooms_of(db, &recent, &tenant, after.as_ref(), limit))
            .await
    }

    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError> {
        let tenant = tenant.clone();
        self.write(move |writer| match writer.rows.find_tenant(&writer.db, &tenant)? {
            Some(row) => usage_cache::read(&writer.db, row),
            None => Ok(Usage::default()),
        })
        .await
    }

    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError> {
        loop {
            let tenant = tenant.clone();
            if !self.write(move |writer| removal::step(writer, &tenant)).await? {
                return Ok(());
            }
        }
    }

    async fn is_in_slots(&self, _: &TenantId, slots: &[u16]) -> Result<bool, StoreError> {
        // No other process has the database open.
        Ok(!slots.is_empty())
    }

    async fn rooms(&self, of: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<Vec<RoomSpan>, StoreError> {
        let (tenant, after, recent) = (of.clone(), after.cloned(), self.recent.clone());
        self.read(move |db| retention::rooms(db, &recent, &tenant, after.as_ref(), limit))
            .await
    }

    async fn remove_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        expired: Expired,
        limit: u32,
    ) -> Result<RemovedMessages, StoreError> {
        let (tenant, room) = (tenant.clone(), room.clone());
        self.write(move |writer| retention::remove(writer, &tenant, &room, expired, limit))
            .await
    }

    async fn marks(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: Option<&UserId>,
        after: Option<&StoredMark>,
        limit: u32,
    ) -> Result<Vec<StoredMark>, StoreError> {
        let (tenant, room, user, after) = (tenant.clone(), room.clone(), user.cloned(), after.cloned());
        self.read(move |db| people::marks(db, &tenant, &room, span, user.as_ref(), after.as_ref(), limit))
            .await
    }

    async fn receipts(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: Option<&UserId>,
        after: Option<&StoredReceipt>,
        limit: u32,
    ) -> Result<Vec<StoredReceipt>, StoreError> {
        let (tenant, room, user, after) = (tenant.clone(), room.clone(), user.cloned(), after.cloned());
        self.read(move |db| people::receipts(db, &tenant, &room, span, user.as_ref(), after.as_ref(), limit))
            .await
    }

    async fn keys(&self, tenant: &TenantId, after: Option<&KvKey>, limit: u32) -> Result<Vec<StoredKey>, StoreError> {
        let (tenant, after) = (tenant.clone(), after.cloned());
        self.read(move |db| people::keys(db, &tenant, after.as_ref(), limit))
            .await
    }

    async fn forget_user(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: &UserId,
    ) -> Result<u64, StoreError> {
        let (tenant, room, user) = (tenant.clone(), room.clone(), user.clone());
        self.write(move |writer| people::forget_user(writer, &tenant, &room, span, &user))
            .await
    }

    async fn finish_removal(&self) -> Result<(), StoreError> {
        if self.write(|writer| writer.empty_log_now()).await? {
            return Ok(());
        }
        Err(StoreError::Unavailable(anyhow::anyhow!(
            "the database's log cannot be emptied while it is read"
        )))
    }

    async fn import(&self, tenant: &TenantId, pieces: Vec<Imported>) -> Result<bool, StoreError> {
        let tenant = tenant.clone();
        self.write(move |writer| people::import(writer, &tenant, &pieces)).await
    }
}
