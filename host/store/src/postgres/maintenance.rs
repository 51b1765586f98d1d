//! The role [`Maintenance`].

use super::removal::DeletionStep;
use super::retention::{self, RemovalStep};
use super::{PostgresStore, decode, people, reader, rooms_of};
use crate::{
    Expired, Imported, KvKey, Maintenance, ReadSet, RemovedMessages, RoomList, RoomSpan, SLOTS, SeqSpan, StorageQuota,
    StoreError, StoredKey, StoredMark, StoredReceipt, Usage, WriteSet,
};
use parlance_types::id::{RoomId, TenantId, UserId};

#[async_trait::async_trait]
impl Maintenance for PostgresStore {
    async fn rooms_of(&self, tenant: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<RoomList, StoreError> {
        Ok(rooms_of::rooms_of(&self.pool, tenant, after, limit).await?)
    }

    async fn usage(&self, tenant: &TenantId) -> Result<Usage, StoreError> {
        match self.tenant_id(tenant).await? {
            Some(id) => Ok(reader::usage(&self.pool, id).await?),
            None => Ok(Usage::default()),
        }
    }

    async fn delete_data(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let Some(tenant) = self.tenant_id(tenant).await? else {
            return Ok(());
        };
        // In small transactions, so that other tenants are served in between.
        let usage_shard = self.usage_shard;
        while self.run_detached(DeletionStep { tenant, usage_shard }).await? {}
        Ok(())
    }

    async fn is_in_slots(&self, tenant: &TenantId, slots: &[u16]) -> Result<bool, StoreError> {
        let id = self.tenant_id(tenant).await?;
        Ok(id.is_some_and(|id| slots.iter().any(|slot| i64::from(*slot) == id % i64::from(SLOTS))))
    }

    async fn rooms(&self, of: &TenantId, after: Option<&RoomId>, limit: u32) -> Result<Vec<RoomSpan>, StoreError> {
        match self.tenant_id(of).await? {
            Some(id) => Ok(retention::rooms(&self.pool, id, after, limit).await?),
            None => Ok(Vec::new()),
        }
    }

    async fn remove_messages(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        expired: Expired,
        limit: u32,
    ) -> Result<RemovedMessages, StoreError> {
        let Some(tenant) = self.tenant_id(tenant).await? else {
            return Ok(RemovedMessages::default());
        };
        self.run_detached(RemovalStep {
            tenant,
            usage_shard: self.usage_shard,
            room: room.clone(),
            expired,
            limit,
        })
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
        Ok(people::marks(&self.pool, tenant, room, span, user, after, limit).await?)
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
        Ok(people::receipts(&self.pool, tenant, room, span, user, after, limit).await?)
    }

    async fn keys(&self, tenant: &TenantId, after: Option<&KvKey>, limit: u32) -> Result<Vec<StoredKey>, StoreError> {
        Ok(people::keys(&self.pool, tenant, after, limit).await?)
    }

    async fn forget_user(
        &self,
        tenant: &TenantId,
        room: &RoomId,
        span: SeqSpan,
        user: &UserId,
    ) -> Result<u64, StoreError> {
        Ok(people::forget_user(&self.pool, tenant, room, span, user).await?)
    }

    async fn finish_removal(&self) -> Result<(), StoreError> {
        // Dead rows stay until the server's VACUUM, and its log as long as the operator keeps it.
        Ok(())
    }

    async fn import(&self, tenant: &TenantId, pieces: Vec<Imported>) -> Result<bool, StoreError> {
        let nothing = WriteSet {
            tenant: tenant.clone(),
            reads: ReadSet::default(),
            writes: Vec::new(),
            quota: StorageQuota::UNLIMITED,
        };
        let ids = self.ensure_tenants(std::slice::from_ref(&nothing)).await?;
        let id = ids
            .get(tenant)
            .ok_or_else(|| decode::corrupt("a tenant's row is missing"))?;
        self.run_detached(people::Import {
            tenant: *id,
            usage_shard: self.usage_shard,
            pieces,
        })
        .await
    }
}
