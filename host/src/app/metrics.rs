//! Registers the metrics of all modules.

use crate::metrics::{Registry, Result};
use crate::{cluster, commit, dispatch, socket, tenant};

/// The metrics of each module, and the registry that shows them all.
pub(super) struct Metrics {
    pub(super) registry: Registry,
    pub(super) socket: socket::Metrics,
    pub(super) dispatch: dispatch::Metrics,
    pub(super) tenant: tenant::Metrics,
    pub(super) commit: commit::Metrics,
    pub(super) cluster: cluster::Metrics,
    pub(super) bus: cluster::bus::Metrics,
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
            cluster: cluster::Metrics::register(&registry)?,
            bus: cluster::bus::Metrics::register(&registry)?,
            registry,
        })
    }
}
