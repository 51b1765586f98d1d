//! Whether what is in service can be instantiated now.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Control;
use crate::sandbox::LoadError;
use crate::tenant::Tenant;

impl Control {
    /// Makes an instance of each component that is in service, once. The log names those that fail by themselves.
    ///
    /// # Errors
    /// What the host lacks, so that no handler can run.
    pub async fn try_handlers(&self) -> Result<(), LoadError> {
        let mut tried = BTreeSet::new();
        for tenant in self.served().await {
            try_tenant(&tenant, &mut tried, usize::MAX).await?;
        }
        Ok(())
    }

    /// Makes an instance of one component of the tenant: enough to know whether the host still can.
    ///
    /// # Errors
    /// What the host lacks.
    pub async fn try_one(&self, tenant: &Arc<Tenant>) -> Result<(), LoadError> {
        // While every place is taken the sandbox serves, and this would wait.
        if self.parts.sandbox.free_instances() == 0 {
            return Ok(());
        }
        try_tenant(tenant, &mut BTreeSet::new(), 1).await
    }
}

async fn try_tenant(tenant: &Arc<Tenant>, tried: &mut BTreeSet<String>, most: usize) -> Result<(), LoadError> {
    let limits = &tenant.settings().limits.guest;
    for (interface, handler) in tenant.routes().iter().take(most) {
        if !tried.insert(handler.sha256()) {
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
