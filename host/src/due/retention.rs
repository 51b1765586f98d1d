//! Removes messages that their tenant's [`Retention`](crate::tenant::Retention) does not keep.
//!
//! In a fleet a tenant's messages are removed by the node that has its slot, so by one at a time. Removal goes in small
//! steps with pauses between them, so it takes a small part of the store's time, and lasts as long as it lasts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::DueKeys;
use crate::control::empty_log;
use crate::dispatch::now_ms;
use crate::tenant::Retention;
use parlance_store::{RoomSpan, StoreError};
use parlance_types::id::TenantId;

/// When and how fast old messages are removed.
#[derive(Debug, Clone, Copy)]
pub struct RetentionPace {
    /// How often a tenant's rooms are looked through.
    pub every: Duration,
    /// The most messages that one transaction removes.
    pub batch: u32,
}

/// Rooms that are looked at in one read.
const ROOMS_AT_ONCE: u32 = 100;
/// Looking and removing take one part of so many of the time.
const SHARE: u32 = 10;
/// The shortest and the longest pause between two steps: one that waited for a store that stood still says nothing of the
/// next one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(5));

/// Removes old messages of this node's tenants again and again.
pub(super) async fn run(due_keys: DueKeys) {
    loop {
        tokio::time::sleep(due_keys.retention.every).await;
        let served = due_keys.control.served().await;
        // Only their ids: a tenant that is deleted meanwhile must be able to go.
        let tenants: Vec<TenantId> = served.iter().map(|tenant| tenant.id().clone()).collect();
        drop(served);
        for tenant in tenants {
            match remove_old(&due_keys, &tenant).await {
                Ok(0) => {}
                Ok(messages) => {
                    tracing::info!(
                        tenant = tenant.as_str(),
                        messages,
                        "old messages were removed (retention)"
                    )
                }
                Err(error) => tracing::warn!(
                    tenant = tenant.as_str(),
                    error = format!("{error:#}"),
                    "old messages could not be removed; the next look tries again"
                ),
            }
        }
    }
}

/// What the tenant keeps now; `None` when all is kept, or this node does not serve the tenant.
async fn retention_of(due_keys: &DueKeys, tenant: &TenantId) -> Option<Retention> {
    let served = due_keys.control.served_by_name(tenant.as_str()).await?;
    let retention = served.settings().limits.retention.clone();
    retention.is_on().then_some(retention)
}

/// Removes what has expired of a tenant's messages. Returns how many they were.
async fn remove_old(due_keys: &DueKeys, tenant: &TenantId) -> Result<u64, StoreError> {
    let maintenance = &due_keys.maintenance;
    let (mut removed, mut after) = (0, None);
    while let Some(retention) = retention_of(due_keys, tenant).await {
        let began = Instant::now();
        if !due_keys.is_in_own_slots(tenant).await? {
            break;
        }
        let rooms = maintenance.rooms(tenant, after.as_ref(), ROOMS_AT_ONCE).await?;
        pause_after(began, SHARE).await;
        let Some(last) = rooms.last() else {
            break;
        };
        after = Some(last.room.clone());
        for room in &rooms {
            removed += remove_old_of(due_keys, tenant, room, &retention).await?;
        }
    }
    if removed > 0 {
        empty_log(&**maintenance).await;
    }
    Ok(removed)
}

async fn remove_old_of(
    due_keys: &DueKeys,
    tenant: &TenantId,
    room: &RoomSpan,
    retention: &Retention,
) -> Result<u64, StoreError> {
    let expired = retention.expired(room, now_ms());
    let mut removed = 0;
    let first = room.first_sent_at.map(|sent_at| (room.first, sent_at));
    let mut more = first.is_some_and(|(seq, sent_at)| expired.covers(seq, sent_at));
    while more {
        let began = Instant::now();
        let step = due_keys
            .maintenance
            .remove_messages(tenant, &room.room, expired, due_keys.retention.batch)
            .await?;
        removed += step.messages;
        due_keys.services.metrics.removed_messages.inc_by(step.messages);
        // What a tenant that is deleted has left goes with its other data.
        more = step.more && retention_of(due_keys, tenant).await.is_some();
        pause_after(began, SHARE).await;
    }
    Ok(removed)
}

/// Waits so long after a step that began then that such steps take one part of `share` of the time.
pub(super) async fn pause_after(began: Instant, share: u32) {
    let pause = began.elapsed().saturating_mul(share.saturating_sub(1));
    tokio::time::sleep(pause.clamp(PAUSE.0, PAUSE.1)).await;
}

/// The slots that belong to this node.
pub(super) type OwnSlots = Arc<parking_lot::Mutex<Vec<u16>>>;
