//! Probes: whether the handlers in service can be instantiated now.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Control;
use crate::tenant::Tenant;
use parlance_handler::sandbox::LoadError;

impl Control {
    /// Makes one instance of each component in service. The log names components that fail for reasons of their own.
    ///
    /// # Errors
    /// What the host lacks, so that no handler can run.
    pub async fn probe_handlers(&self) -> Result<(), LoadError> {
        let mut probed = BTreeSet::new();
        for tenant in self.served().await {
            probe_tenant(&tenant, &mut probed, usize::MAX).await?;
        }
        Ok(())
    }

    /// Makes one instance of one component of the tenant. That is enough to know whether the host can make any.
    ///
    /// # Errors
    /// What the host lacks.
    pub async fn probe_one(&self, tenant: &Arc<Tenant>) -> Result<(), LoadError> {
        // While every instance is in use the sandbox works, and this would wait for one.
        if self.deps.sandbox.free_instances() == 0 {
            return Ok(());
        }
        probe_tenant(tenant, &mut BTreeSet::new(), 1).await
    }
}

async fn probe_tenant(tenant: &Arc<Tenant>, probed: &mut BTreeSet<String>, most: usize) -> Result<(), LoadError> {
    let limits = &tenant.settings().limits.guest;
    for (interface, handler) in tenant.routes().iter().take(most) {
        if !probed.insert(handler.sha256()) {
            continue;
        }
        match handler.check_instantiation(limits).await {
            Ok(()) => {}
            Err(error @ LoadError::Host(_)) => return Err(error),
            Err(error) => tracing::warn!(
                tenant = %tenant.id(),
                handler = %handler.info().name,
                "{interface} events will fail: {error}"
            ),
        }
    }
    Ok(())
}
