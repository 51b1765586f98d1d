//! Development mode: the demo page, tokens for it, and components that are loaded again when they were built anew.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Component, Config, Handler, Handlers};
use crate::control::{Control, check_exports, handler_info, load_component};
use crate::dispatch::now_ms;
use crate::tenant::{Route, Routes};
use parlance_handler::capability::{Grants, HandlerInfo};
use parlance_handler::sandbox::{GuestLimits, Interface, Sandbox};
use parlance_types::auth::{MintError, Minter};
use parlance_types::id::DEFAULT_TENANT;

include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// How long the page's tokens are valid. The page asks for a new one in time.
const TOKEN_TTL: Duration = Duration::from_secs(3600);
/// What has been built since the start.
#[derive(Debug, Clone, Default)]
pub struct Builds {
    /// How often a component was built anew.
    pub count: u64,
    /// When the sources of the last one changed.
    pub since: Option<Instant>,
    /// Why something does not build, as its builder says it.
    pub problem: Option<Arc<str>>,
}

/// The message that the page shows while a handler does not build, and how many times that message has changed.
pub(super) type Problem = (u64, Option<Arc<str>>);

/// Makes tokens for the demo page.
pub struct PageMinter {
    /// Signs the tokens.
    pub(crate) minter: Minter,
    /// The host that the server listens on.
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

/// What development mode adds to the server.
pub struct Development {
    /// Makes tokens for the demo page.
    pub minter: Arc<PageMinter>,
    /// The file of the development key, if there is one.
    pub key_file: Option<PathBuf>,
    /// Components that replace configured handlers, for all events that they handle; later ones come first.
    pub components: Vec<PathBuf>,
    /// Tells when they were built anew.
    pub builds: watch::Receiver<Builds>,
}

impl Development {
    /// Loads the components now, and again whenever they were built anew, for as long as the handle is kept. Returns when
    /// they are in service. What is wrong with them goes to `problem`.
    ///
    /// # Errors
    /// Why a component cannot be loaded now. Later failures are logged, and the component before stays in service.
    pub(super) async fn watch(
        &self,
        config: &Config,
        sandbox: &Arc<Sandbox>,
        control: &Arc<Control>,
        problem: watch::Sender<Problem>,
    ) -> Result<AbortOnDropHandle<()>> {
        let base = control.configured_routes(DEFAULT_TENANT).await;
        let dev_components = DevComponents {
            sandbox: sandbox.clone(),
            handlers: config.default_tenant.handlers.clone(),
            grants: config.default_tenant.grants.clone(),
            limits: config.default_tenant.limits.guest.clone(),
            base,
            components: self.components.clone().into(),
        };
        if !self.components.is_empty() {
            let routes = dev_components.load().await?;
            control.set_configured_routes(DEFAULT_TENANT, routes).await;
        }
        let (control, mut builds) = (control.clone(), self.builds.clone());
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            let (mut loaded, mut not_loaded) = (0, None);
            while builds.changed().await.is_ok() {
                let now = builds.borrow_and_update().clone();
                if now.count != loaded {
                    loaded = now.count;
                    not_loaded = dev_components.swap(&control, now.since).await.err();
                }
                let text = now
                    .problem
                    .or_else(|| not_loaded.as_ref().map(|error| format!("{error:#}").into()));
                problem.send_modify(|(count, problem)| {
                    *count += 1;
                    *problem = text;
                });
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

/// The components, and the configured handlers that they replace.
#[derive(Clone)]
struct DevComponents {
    sandbox: Arc<Sandbox>,
    handlers: Handlers,
    grants: Arc<Grants>,
    limits: GuestLimits,
    base: Routes,
    components: Arc<[PathBuf]>,
}

impl DevComponents {
    /// Puts the components into service, between two events. The ones before stay if that fails.
    async fn swap(&self, control: &Control, since: Option<Instant>) -> Result<()> {
        let begun = Instant::now();
        match self.load().await {
            Ok(routes) => {
                control.set_configured_routes(DEFAULT_TENANT, routes).await;
                let saved = since.map(|since| since.elapsed().as_millis());
                let loaded = begun.elapsed().as_millis();
                tracing::info!(
                    ms_since_save = saved,
                    ms_to_load = loaded,
                    "the new version is in service"
                );
                Ok(())
            }
            Err(error) => {
                tracing::error!("{error:#}; the components before stay in service");
                Err(error)
            }
        }
    }

    /// The routes with the components in them, compiled on a thread that serves no clients.
    async fn load(&self) -> Result<Routes> {
        let dev_components = self.clone();
        let routes = tokio::task::spawn_blocking(move || dev_components.routes()).await;
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
                .with_context(|| format!("{} cannot be loaded", path.display()))?;
            let mut interfaces: Vec<Interface> =
                handler.interfaces().filter(|interface| interface.is_routed()).collect();
            let main = self.main_table(&interfaces);
            for (name, interface) in self.configured_for(path) {
                // Else the component of the start would go on handling these events.
                check_exports(&handler, name, interface)?;
            }
            for (name, custom) in &self.handlers.custom {
                if is_component(&custom.handler, path) {
                    check_exports(&handler, name, Interface::Event)?;
                    interfaces.retain(|interface| *interface != Interface::Event);
                    let info = HandlerInfo {
                        event_patterns: custom.events.clone(),
                        ..handler_info(&custom.handler, &self.grants)
                    };
                    let route = Route {
                        stable: Some(Arc::new(handler.with_info(Arc::new(info)))),
                        ..Route::default()
                    };
                    tracing::info!("events of handlers.{name}: now handled by {}", path.display());
                    for pattern in &custom.events {
                        routes.set_pattern(pattern.clone(), route.clone());
                    }
                }
            }
            for interface in interfaces {
                tracing::info!("{interface} events: now handled by {}", path.display());
                routes = routes.with(interface, Arc::new(handler.with_info(self.info(interface, main))));
            }
        }
        Ok(routes)
    }

    /// The interfaces that the configuration gives to the component at this path, with the names of their tables.
    fn configured_for(&self, path: &Path) -> impl Iterator<Item = (&str, Interface)> {
        self.handlers.iter().filter_map(move |(name, table)| {
            let interface = Interface::ALL.into_iter().find(|interface| interface.name() == name)?;
            is_component(table, path).then_some((name, interface))
        })
    }

    fn table(&self, interface: Interface) -> Option<&Handler> {
        let configured = self.handlers.iter().find(|(name, _)| *name == interface.name());
        configured.map(|(_, handler)| handler)
    }

    /// The first table of these interfaces that names a component, or else the first one.
    fn main_table(&self, interfaces: &[Interface]) -> Option<&Handler> {
        let tables = || interfaces.iter().filter_map(|interface| self.table(*interface));
        tables()
            .find(|table| table.component.is_file())
            .or_else(|| tables().next())
    }

    /// The name and settings of the configured handler for the interface, so that the component has the same key-value
    /// space. An interface that the configuration leaves to a shipped handler has those of the `main` table: one component
    /// has one space, as when it is deployed.
    fn info(&self, interface: Interface, main: Option<&Handler>) -> Arc<HandlerInfo> {
        let own = self.table(interface);
        let table = own.filter(|table| table.component.is_file()).or(main).or(own);
        Arc::new(HandlerInfo {
            name: table.map_or_else(|| interface.name().into(), |table| table.name.clone()),
            settings: table.map(|table| table.settings.clone()).unwrap_or_default(),
            grants: self.grants.clone(),
            ..HandlerInfo::default()
        })
    }
}

/// Whether the table names the component at this path.
fn is_component(table: &Handler, path: &Path) -> bool {
    let same = |own: &Path| matches!((own.canonicalize(), path.canonicalize()), (Ok(own), Ok(path)) if own == path);
    matches!(&table.component, Component::File(own) if same(own))
}
