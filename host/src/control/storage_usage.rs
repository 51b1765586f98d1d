//! What tenants keep in the store, for the metrics; what else they use is counted where they use it.

use std::time::Duration;

use super::Control;

/// How old the figures may be.
pub(super) const INTERVAL: Duration = Duration::from_secs(15);

impl Control {
    /// Asks the store for every tenant's usage. A store that cannot serve leaves the figures as they are: `/readyz` and
    /// the log say so already.
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
