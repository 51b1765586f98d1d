//! Checks which version handles which room: while all nodes have the same routes, each room has one version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use parlance_handler::sandbox::Interface;
use tokio::time::sleep;

use crate::plan::TENANTS;
use crate::world::{Stamp, World};

/// The interval between two looks at the nodes.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);
/// Messages that are sent so soon after a change, or acknowledged so shortly before one, may be handled by either
/// version.
const MARGIN_MS: u64 = 1_000;

/// A time in which all nodes that serve the tenant had these routes.
struct Window {
    from_ms: u64,
    to_ms: u64,
    routes: String,
}

#[derive(Default)]
struct State {
    windows: Vec<Window>,
    /// Whether the next look begins another window.
    changing: bool,
}

#[derive(Default)]
pub(crate) struct VersionCheck(Mutex<State>);

/// The routes of a tenant's messages, as each node that serves it has them, each once.
pub(crate) async fn routes(world: &World, tenant: &str) -> Vec<String> {
    let mut routes = Vec::new();
    for node in world.nodes() {
        let Some(tenant) = node.tenant(tenant).await else {
            continue;
        };
        let of_tenant = tenant.routes();
        let route = of_tenant.route(Interface::Message).cloned().unwrap_or_default();
        let stable = route.stable.as_ref().map(|handler| handler.info().version);
        let canary = route.canaries.first();
        let canary = canary.map(|canary| (canary.handler.info().version, canary.percent));
        routes.push(format!("{stable:?} {canary:?}"));
    }
    routes.sort_unstable();
    routes.dedup();
    routes
}

impl VersionCheck {
    pub(crate) fn watch(world: &Arc<World>) -> Arc<Self> {
        let versions = Arc::new(Self::default());
        let (watching, world) = (versions.clone(), world.clone());
        tokio::spawn(async move {
            loop {
                watching.sample(&world).await;
                sleep(SAMPLE_INTERVAL).await;
            }
        });
        versions
    }

    /// Handles that a decision was made, or is being made.
    pub(crate) fn note_change(&self) {
        self.0.lock().changing = true;
    }

    async fn sample(&self, world: &World) {
        let routes = routes(world, TENANTS[0]).await;
        let now = world.log.now_ms();
        let mut state = self.0.lock();
        let changing = std::mem::take(&mut state.changing);
        let [routes] = routes.as_slice() else {
            state.changing = true;
            return;
        };
        match state.windows.last_mut() {
            Some(window) if window.routes == *routes && !changing => window.to_ms = now,
            _ => state.windows.push(Window {
                from_ms: now,
                to_ms: now,
                routes: routes.clone(),
            }),
        }
    }

    /// Checks that each room had one version while the routes were the same everywhere.
    pub(crate) fn check(&self, world: &World) {
        let (stamps, sent) = (world.stamps.lock(), world.sent.lock());
        for window in &self.0.lock().windows {
            let mut versions: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
            for (content, Stamp { room, version }) in &*stamps {
                let Some(times) = sent.get(content) else { continue };
                let begins_late = times.sent_ms >= window.from_ms + MARGIN_MS;
                if !begins_late || times.acknowledged_ms + MARGIN_MS > window.to_ms {
                    continue;
                }
                world.log.count("messages whose version is checked", 1);
                let (first, by) = *versions.entry(room).or_insert((version, content));
                if first != version {
                    world.log.violation(format_args!(
                        "{room} has two versions at once: {by} was handled by {first}, {content} by {version}"
                    ));
                }
            }
        }
    }
}
