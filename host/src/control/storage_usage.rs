//! Metrics of what each tenant has in the store. Other usage is counted where it happens.

use std::time::Duration;

use super::Control;

/// How often the store is asked.
pub(super) const INTERVAL: Duration = Duration::from_secs(15);

impl Control {
    /// Asks the store for every tenant's usage. When the store does not answer, the metrics stay as they are; `/readyz`
    /// and the log report it.
    pub(super) async fn measure_storage(&self) {
        for tenant in self.served().await {
            // An idle tenant has no event that would do this, and its metric of sent bytes would lag.
            tenant.collect_charges();
            if let Ok(usage) = self.deps.maintenance.usage(tenant.id()).await {
                tenant.show_stored(&usage);
            }
        }
    }
}
