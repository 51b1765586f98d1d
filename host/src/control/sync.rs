//! Following the catalog: at start-up, after every decision, and whenever another node has decided. What needs no time
//! happens as soon as a decision is read; the rest is in [`super::settle`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::known::Known;
use super::view::Source;
use super::{Answer, Control, State};
use crate::config::TenantConfig;
use crate::socket::Server;
use crate::store::catalog::Record;

/// How often the catalog is asked whether another node has changed it: so long may a decision take to get around.
const LOOK: Duration = Duration::from_secs(1);
/// Tenants that are seen to at once at start-up.
const AT_ONCE: usize = 16;

impl Control {
    /// Serves a tenant of the configuration file.
    ///
    /// # Errors
    /// When one of its handlers cannot be loaded.
    pub async fn open(&self, config: TenantConfig) -> anyhow::Result<()> {
        let name = config.name.clone();
        let base = self.base_routes(&config).await?;
        let live = self.make(&config, Source::File, 0, base, &Known::default())?;
        self.state.lock().await.tenants.insert(name, live);
        Ok(())
    }

    /// Makes effective what is in the catalog, for the start of a node. Components that earlier releases have left
    /// over in the store are removed.
    ///
    /// # Errors
    /// When the store cannot serve. What cannot be made effective for another reason is logged, shown where it
    /// belongs, and tried again later.
    pub async fn sync(self: &Arc<Self>) -> Answer<()> {
        self.read().await?;
        let due = self.state.lock().await.due(Instant::now());
        futures_util::stream::iter(due)
            .for_each_concurrent(AT_ONCE, async |tenant| self.settle(&tenant).await)
            .await;
        match self.parts.catalog.collect_garbage().await {
            Ok(0) => {}
            Ok(components) => tracing::info!(components, "components that nothing names were removed"),
            // They cost space only.
            Err(error) => tracing::warn!("components that nothing names could not be removed: {error:#}"),
        }
        Ok(())
    }

    /// Reads what was decided since the last time, and does what needs no time. The rest is unsettled.
    ///
    /// # Errors
    /// When the store cannot serve.
    pub(super) async fn read(&self) -> Answer<()> {
        let _one = self.reading.lock().await;
        let after = self.state.lock().await.known.revision;
        let changes = self.parts.catalog.changes(after).await?;
        self.state.lock().await.take(changes, &self.parts.server);
        Ok(())
    }

    /// Follows the catalog and watches versions for as long as the handle is kept.
    pub fn follow(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        let control = self.clone();
        AbortOnDropHandle::new(crate::vital::spawn("control", async move {
            let mut watch = super::watch::Watch::default();
            let mut asked = Instant::now();
            let mut down = false;
            let mut measured: Option<Instant> = None;
            let mut pruned: Option<Instant> = None;
            loop {
                tokio::time::sleep(super::watch::LOOK).await;
                control.look(&mut watch).await;
                control.parts.sandbox.retire_idle();
                if measured.is_none_or(|at| at.elapsed() >= super::headroom::LOOK) {
                    measured = Some(Instant::now());
                    control.measure_storage().await;
                }
                if pruned.is_none_or(|at| at.elapsed() >= super::prune::LOOK) {
                    pruned = Some(Instant::now());
                    control.prune_audit().await;
                }
                control.see_to_what_is_due().await;
                if asked.elapsed() < LOOK {
                    continue;
                }
                asked = Instant::now();
                control.purge_what_is_deleted().await;
                match control.read_if_changed().await {
                    Ok(()) => down = false,
                    Err(error) if !down => {
                        down = true;
                        tracing::warn!(
                            error = format!("{:#}", anyhow::Error::from(error)),
                            "what operators decide elsewhere cannot be seen now"
                        );
                    }
                    Err(_) => {}
                }
            }
        }))
    }

    async fn read_if_changed(&self) -> Answer<()> {
        let known = self.state.lock().await.known.revision;
        if self.parts.catalog.revision().await? > known {
            self.read().await?;
        }
        Ok(())
    }

    /// Each tenant in a task of its own: what takes long for one keeps neither the others nor the watch waiting.
    pub(super) async fn see_to_what_is_due(self: &Arc<Self>) {
        let due = self.state.lock().await.due(Instant::now());
        for tenant in due {
            let control = self.clone();
            tokio::spawn(async move { control.settle(&tenant).await });
        }
    }
}

impl State {
    /// Takes in what was read.
    fn take(&mut self, changes: Vec<Record>, server: &Server) {
        let concerned = self.known.take(changes);
        // Each set of revoked tokens is made once, however many changes of it were read.
        for tenant in &concerned.revoked {
            self.revoke(tenant);
        }
        for tenant in concerned.tenants {
            self.follow(&tenant, server);
            self.unsettle(&tenant);
        }
    }

    /// What needs no time, and what must not depend on anything that may fail.
    fn follow(&mut self, name: &str, server: &Server) {
        let stored = self.known.tenant(name);
        match self.tenants.get(name) {
            Some(live) if live.source == Source::File && stored.is_some() => tracing::error!(
                tenant = name,
                "the tenant is in the configuration file and in the store; the file counts"
            ),
            Some(live) if live.source == Source::File => {}
            Some(live) => match stored.map(|stored| stored.document.suspended) {
                None => {
                    let closing = server.close(&live.tenant, "the tenant was deleted");
                    self.closing.insert(name.to_owned(), (closing, live.tenant.hub.clone()));
                    self.tenants.remove(name);
                }
                Some(suspended) => {
                    live.tenant.set_suspended(suspended);
                    if suspended {
                        server.disconnect(&live.tenant, "the tenant is suspended");
                    }
                }
            },
            None => {}
        }
        if self.known.tenant(name).is_none() {
            self.problems.remove(name);
        }
        self.route(name);
    }
}
