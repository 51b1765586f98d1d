//! Measures, lists and deletes a tenant's data.

use super::{MemoryStore, Tenant};
use crate::{Maintenance, Message, Place, RoomList, StoreError, Usage};
use parlance_types::id::{RoomId, TenantId};

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
