//! The audit log's old entries go, on whichever node looks first.

use std::time::Duration;

use super::Control;
use crate::dispatch::now_ms;

/// How often.
pub(super) const INTERVAL: Duration = Duration::from_secs(3600);
/// Entries that are looked at in one transaction: events wait for it no longer than for each other.
const BATCH: u32 = 1000;

impl Control {
    /// Removes the entries of the audit log that are older than they are to be kept.
    pub(super) async fn prune_audit(&self) {
        let kept = u64::try_from(self.deps.audit_kept.as_millis()).unwrap_or(u64::MAX);
        let before = now_ms().saturating_sub(kept);
        let mut entries = 0;
        loop {
            match self.deps.catalog.prune_audit(before, BATCH).await {
                Ok(0) => break,
                Ok(removed) => entries += removed,
                // Next time.
                Err(error) => {
                    tracing::warn!("old entries of the audit log could not be removed: {error:#}");
                    break;
                }
            }
        }
        if entries > 0 {
            tracing::info!(entries, "old entries of the audit log were removed (store.audit_kept)");
        }
    }
}
