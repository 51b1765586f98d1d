//! Development mode: the page, tokens for it, and components that are swapped when their file changes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;

use crate::auth::{MintError, Minter};
use crate::capability::{Grants, HandlerInfo};
use crate::config::{Config, Handlers};
use crate::control::{Control, guest_limits, load_component};
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
pub struct PageMinter(pub(crate) Minter);

impl PageMinter {
    /// A token and when it expires, in milliseconds since the Unix epoch.
    pub(super) fn mint(&self, user: &str, name: Option<&str>) -> Result<(String, u64), MintError> {
        let now = now_ms();
        let token = self.0.mint(user, name, TOKEN_TTL, now)?;
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
    /// Loads the components, and again whenever one of their files changes, while the task lives.
    pub(super) async fn watch(&self, config: &Config, sandbox: &Arc<Sandbox>, control: &Arc<Control>) -> Reloading {
        let base = control.base(DEFAULT_TENANT).await;
        let overlay = Overlay {
            sandbox: sandbox.clone(),
            handlers: config.handlers.clone(),
            grants: config.grants.clone(),
            limits: guest_limits(&config.sandbox),
            base,
        };
        let (control, components) = (control.clone(), self.components.clone());
        Reloading(tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                let stamps: Vec<Option<SystemTime>> = components.iter().map(|path| changed(path)).collect();
                if stamps != seen {
                    let (overlay, components) = (overlay.clone(), components.clone());
                    // Compiling takes a while: not on a thread that serves sockets.
                    let routes = tokio::task::spawn_blocking(move || overlay.routes(&components)).await;
                    if let Ok(Some(routes)) = routes {
                        control.set_base(DEFAULT_TENANT, routes).await;
                    }
                    seen = stamps;
                }
                tokio::time::sleep(LOOK).await;
            }
        }))
    }

    pub(super) fn announce(&self, address: SocketAddr) {
        if let Some(path) = &self.key_file {
            tracing::info!(
                "no key is configured: tokens are signed with the development key in {}",
                path.display()
            );
        }
        if PAGE.iter().any(|(path, ..)| path.ends_with("socket.io.esm.min.js")) {
            tracing::info!("open http://localhost:{}/ in two tabs to chat", address.port());
        } else {
            tracing::warn!("the page's npm packages were not there at build time, so it will not work; use `make run`");
        }
        tracing::info!("a token for your own client: parlance token --user alice");
    }
}

/// Ends when dropped.
pub(super) struct Reloading(JoinHandle<()>);

impl Drop for Reloading {
    fn drop(&mut self) {
        self.0.abort();
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
}

impl Overlay {
    /// The routes with the components over them; nothing, and a word in the log, when one does not load: then what
    /// runs stays.
    fn routes(&self, components: &[PathBuf]) -> Option<Routes> {
        let mut routes = self.base.clone();
        for path in components {
            let info = HandlerInfo {
                name: "dev".into(),
                grants: self.grants.clone(),
                ..HandlerInfo::default()
            };
            match load_component(&self.sandbox, path, info, &self.limits) {
                Ok(handler) => {
                    for interface in handler.interfaces() {
                        tracing::info!("{interface} events: now handled by {}", path.display());
                        routes = routes.with(interface, Arc::new(handler.with_info(self.info(interface))));
                    }
                }
                Err(error) => {
                    tracing::error!("{} is not taken, what ran before goes on: {error:#}", path.display());
                    return None;
                }
            }
        }
        Some(routes)
    }

    /// The name and the settings that the configuration gives the interface's handler: it keeps its key-value space
    /// whichever component is tried.
    fn info(&self, interface: Interface) -> Arc<HandlerInfo> {
        let configured = self.handlers.iter().find(|(name, _)| *name == interface.name());
        let settings = configured
            .map(|(_, handler)| handler.settings.clone())
            .unwrap_or_default();
        Arc::new(HandlerInfo {
            name: interface.name().into(),
            settings,
            grants: self.grants.clone(),
            ..HandlerInfo::default()
        })
    }
}
