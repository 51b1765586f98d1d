//! What nodes tell each other: that the catalog has changed, and the load of each tenant. Applying decisions is here
//! too, since it ends with that notice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::{Control, ControlError, ControlResult};
use parlance_hub::bus::{Bus, FleetBus, Invalidation, Load};
use parlance_store::catalog::{AuditEntry, Conflict, Put};

/// The notice that the catalog has changed. The changes themselves are read from the catalog.
const CATALOG: &[u8] = b"catalog";
/// How often nodes exchange the loads of their tenants.
const EXCHANGE_INTERVAL: Duration = Duration::from_secs(1);

impl Control {
    /// Makes this node one of a fleet, for as long as the handle is kept. It learns at once of decisions on other
    /// nodes, rather than at its next poll of the catalog, and the limits of tenants count the load of other nodes.
    pub fn join_fleet(self: &Arc<Self>, bus: Arc<dyn FleetBus>) -> AbortOnDropHandle<()> {
        let control = self.clone();
        // The wiring calls this once.
        let _ = control.bus.set(bus.clone());
        AbortOnDropHandle::new(parlance_types::critical::spawn_critical("fleet", async move {
            let mut invalidations = bus.invalidations();
            let mut tick = tokio::time::interval(EXCHANGE_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut exchange = Exchange::default();
            loop {
                tokio::select! {
                    _ = tick.tick() => control.exchange(&*bus, &mut exchange).await,
                    notice = invalidations.recv() => match notice {
                        Ok(Invalidation::Topic(bytes)) if bytes != CATALOG => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => control.catalog_work.notify_one(),
                        Err(RecvError::Closed) => return,
                    },
                }
            }
        }))
    }

    /// Applies a decision: writes it to the catalog, notifies the other nodes, and puts into effect here what takes no
    /// time; with `reconcile`, also what takes time. Once begun it goes on to its end, also when the caller is dropped.
    pub(super) async fn apply(
        self: &Arc<Self>,
        tenant: &str,
        puts: Vec<Put>,
        audit: Vec<AuditEntry>,
        reconcile: bool,
    ) -> ControlResult<()> {
        Ok(self.try_apply(tenant, puts, audit, reconcile).await??)
    }

    /// Like [`apply`](Self::apply), but gives the conflict when the catalog is not at an expected revision. Nothing has
    /// happened then.
    pub(super) async fn try_apply(
        self: &Arc<Self>,
        tenant: &str,
        puts: Vec<Put>,
        audit: Vec<AuditEntry>,
        reconcile: bool,
    ) -> ControlResult<Result<(), Conflict>> {
        let (control, tenant) = (self.clone(), tenant.to_owned());
        let task = self.tasks.spawn("decisions", async move {
            if let Err(conflict) = control.deps.catalog.put(puts, audit).await? {
                return Ok(Err(conflict));
            }
            if let Some(bus) = control.bus.get() {
                bus.invalidate(bytes::Bytes::from_static(CATALOG));
            }
            control.read_catalog().await?;
            if reconcile {
                control.reconcile(&tenant).await;
            }
            Ok(Ok(()))
        });
        task.await
            .map_err(|_| ControlError::Conflict("the server is stopping; check whether it was done".to_owned()))?
    }

    async fn exchange(&self, bus: &dyn Bus, exchange: &mut Exchange) {
        let now = Instant::now();
        let since = exchange.at.replace(now).map(|at| now - at).unwrap_or(EXCHANGE_INTERVAL);
        let mut counted = HashMap::new();
        for tenant in self.served().await {
            // Charges what was sent for other nodes' events, since no event here may do so.
            tenant.collect_charges();
            let events = tenant.admitted();
            let before = exchange.counted.get(tenant.id().as_str()).copied().unwrap_or(events);
            let load = Load {
                connections: tenant.connections() as u64,
                events_per_second: per_second(events.saturating_sub(before), since),
            };
            bus.set_load(tenant.id(), load);
            let elsewhere = bus.remote_load(tenant.id());
            let others = elsewhere.load.events_per_second.saturating_mul(millis(since)) / 1000;
            tenant.set_remote_load(elsewhere.nodes.saturating_add(1), elsewhere.load.connections, others);
            counted.insert(tenant.id().as_str().to_owned(), events);
        }
        exchange.counted = counted;
    }
}

/// The time and the counts of events of the last exchange.
#[derive(Default)]
struct Exchange {
    at: Option<Instant>,
    counted: HashMap<String, u64>,
}

fn per_second(count: u64, since: Duration) -> u64 {
    count.saturating_mul(1000) / millis(since).max(1)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
