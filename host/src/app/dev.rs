//! Development mode: the page, tokens for it, and components that are swapped when their file changes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use tokio_util::task::AbortOnDropHandle;

use crate::auth::{MintError, Minter};
use crate::capability::{Grants, HandlerInfo};
use crate::config::{Config, Handlers};
use crate::control::{Control, load_component};
use crate::dispatch::now_ms;
use crate::id::DEFAULT_TENANT;
use crate::sandbox::{GuestLimits, Interface, Sandbox};
use crate::tenant::Routes;

include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// How long the page's tokens are valid; it asks for a new one in time.
const TOKEN_TTL: Duration = Duration::from_secs(3600);
/// How often the components' files are looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Makes tokens for the page.
pub struct PageMinter {
    /// Signs them.
    pub(crate) minter: Minter,
    /// What the server listens on.
    pub(crate) host: String,
}

impl PageMinter {
    /// A token and when it expires, in milliseconds since the Unix epoch.
    pub(super) fn mint(&self, user: &str, name: Option<&str>) -> Result<(String, u64), MintError> {
        let now = now_ms();
        let token = self.minter.mint(user, name, TOKEN_TTL, now)?;
        let ttl = u64::try_from(TOKEN_TTL.as_millis()).unwrap_or(u64::MAX);
        Ok((token, now.saturating_add(ttl)))
    }
}

/// What development mode adds.
pub struct Development {
    /// Makes tokens for the page.
    pub minter: Arc<PageMinter>,
    /// Where the development key is kept, when there is one.
    pub key_file: Option<PathBuf>,
    /// Components in place of the configured ones, for whatever they handle; later ones win.
    pub components: Vec<PathBuf>,
}

impl Development {
    /// Loads the components, and again whenever one of their files changes, for as long as the handle is kept. Returns
    /// once they are in service.
    ///
    /// # Errors
    /// Why a component does not load now. Later, the log says so and what runs stays.
    pub(super) async fn watch(
        &self,
        config: &Config,
        sandbox: &Arc<Sandbox>,
        control: &Arc<Control>,
    ) -> Result<AbortOnDropHandle<()>> {
        let base = control.base(DEFAULT_TENANT).await;
        let overlay = Overlay {
            sandbox: sandbox.clone(),
            handlers: config.default_tenant.handlers.clone(),
            grants: config.default_tenant.grants.clone(),
            limits: config.default_tenant.limits.guest.clone(),
            base,
            components: self.components.clone().into(),
        };
        let mut seen = overlay.stamps();
        if !self.components.is_empty() {
            let files: Vec<_> = self.components.iter().map(|path| path.display().to_string()).collect();
            tracing::info!("compiling {}; the server listens when that is done", files.join(", "));
            control.set_base(DEFAULT_TENANT, overlay.load().await?).await;
        }
        let control = control.clone();
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let stamps = overlay.stamps();
                if stamps == seen {
                    continue;
                }
                seen = stamps;
                match overlay.load().await {
                    Ok(routes) => control.set_base(DEFAULT_TENANT, routes).await,
                    Err(error) => tracing::error!("{error:#}; what ran before goes on"),
                }
            }
        })))
    }

    pub(super) fn announce(&self, address: SocketAddr) {
        if !address.ip().is_loopback() {
            tracing::warn!(
                "--host lets everybody who reaches {address} become any user of this chat: it gives a token for any name \
                 to whoever asks. Without --host only this machine can ask"
            );
        }
        if let Some(path) = &self.key_file {
            tracing::info!(
                "no key is configured: tokens are signed with the development key in {}",
                path.display()
            );
        }
        if CLIENT.is_empty() {
            tracing::warn!("the page's npm packages were not there at build time, so it will not work; use `make run`");
        } else {
            tracing::info!("open http://localhost:{}/ in two tabs to chat", address.port());
        }
        tracing::info!("a token for your own client: parlance token --user alice");
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

/// The configured routes, to be laid under the components.
#[derive(Clone)]
struct Overlay {
    sandbox: Arc<Sandbox>,
    handlers: Handlers,
    grants: Arc<Grants>,
    limits: GuestLimits,
    base: Routes,
    components: Arc<[PathBuf]>,
}

impl Overlay {
    fn stamps(&self) -> Vec<Option<SystemTime>> {
        self.components.iter().map(|path| changed(path)).collect()
    }

    /// The routes with the components over them, compiled on a thread that serves no sockets.
    async fn load(&self) -> Result<Routes> {
        let overlay = self.clone();
        let routes = tokio::task::spawn_blocking(move || overlay.routes()).await;
        routes.context("the components could not be loaded")?
    }

    fn routes(&self) -> Result<Routes> {
        let mut routes = self.base.clone();
        for path in &*self.components {
            let info = HandlerInfo {
                name: "dev".into(),
                grants: self.grants.clone(),
                ..HandlerInfo::default()
            };
            let handler = load_component(&self.sandbox, path, info, &self.limits)
                .with_context(|| format!("{} is not taken", path.display()))?;
            for interface in handler.interfaces().filter(|interface| interface.is_routed()) {
                tracing::info!("{interface} events: now handled by {}", path.display());
                routes = routes.with(interface, Arc::new(handler.with_info(self.info(interface))));
            }
        }
        Ok(routes)
    }

    /// The name and the settings that the configuration gives the interface's handler: it keeps its key-value space
    /// whichever component is tried.
    fn info(&self, interface: Interface) -> Arc<HandlerInfo> {
        let configured = self.handlers.iter().find(|(name, _)| *name == interface.name());
        let settings = configured
            .map(|(_, handler)| handler.settings.clone())
            .unwrap_or_default();
        Arc::new(HandlerInfo {
            name: configured.map_or_else(|| interface.name().into(), |(_, handler)| handler.name.clone()),
            settings,
            grants: self.grants.clone(),
            ..HandlerInfo::default()
        })
    }
}
