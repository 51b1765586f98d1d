//! Registers the metrics of all modules.

use crate::dispatch;
use crate::socket;
use crate::tenant;
use parlance_hub::commit;
use parlance_types::metrics::{Registry, Result};

/// The metrics of each module, and the registry that shows them all.
pub(super) struct Metrics {
    pub(super) registry: Registry,
    pub(super) socket: socket::Metrics,
    pub(super) dispatch: dispatch::Metrics,
    pub(super) tenant: tenant::Metrics,
    pub(super) commit: commit::Metrics,
    pub(super) hub: parlance_hub::Metrics,
    pub(super) bus: parlance_hub::bus::Metrics,
}

impl Metrics {
    /// Registers all of them, with those of the process.
    ///
    /// # Errors
    /// When two have the same name.
    pub(super) fn register() -> Result<Self> {
        let registry = Registry::default();
        registry.process()?;
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        registry.info(
            "parlance_build_info",
            "Always 1; the labels say what runs here",
            &[("version", env!("CARGO_PKG_VERSION")), ("profile", profile)],
        )?;
        Ok(Self {
            socket: socket::Metrics::register(&registry)?,
            dispatch: dispatch::Metrics::register(&registry)?,
            tenant: tenant::Metrics::register(&registry)?,
            commit: commit::Metrics::register(&registry)?,
            hub: parlance_hub::Metrics::register(&registry)?,
            bus: parlance_hub::bus::Metrics::register(&registry)?,
            registry,
        })
    }
}
