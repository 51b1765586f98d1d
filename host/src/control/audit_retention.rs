//! Removes old entries of the audit log. In a fleet every node does so; the first one finds them.

use std::time::Duration;

use super::Control;
use crate::dispatch::now_ms;

/// How often old entries are removed.
pub(super) const INTERVAL: Duration = Duration::from_secs(3600);
/// Entries that one transaction looks at: few, so that no event waits long for it.
const BATCH: u32 = 1000;

impl Control {
    /// Removes the entries that are older than `store.audit_kept`.
    pub(super) async fn prune_audit(&self) {
        let kept = u64::try_from(self.deps.audit_kept.as_millis()).unwrap_or(u64::MAX);
        let before = now_ms().saturating_sub(kept);
        let mut entries = 0;
        loop {
            match self.deps.catalog.prune_audit(before, BATCH).await {
                Ok(0) => break,
                Ok(removed) => entries += removed,
                // The next run tries again.
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
