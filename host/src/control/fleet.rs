//! What nodes tell each other of the tenants: that the catalog has changed, and how much a tenant does where.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::{Control, ControlError, ControlResult};
use crate::cluster::bus::{Bus, Invalidation, Load, RedisBus};
use crate::store::catalog::{AuditEntry, Conflict, Put};

/// The notice that the catalog has changed. What has changed is read from the catalog.
const CATALOG: &[u8] = b"catalog";
/// How often the loads are told and asked for.
const EXCHANGE_INTERVAL: Duration = Duration::from_secs(1);

impl Control {
    /// Makes this node one of a fleet: it hears at once of what operators decide elsewhere, which it would otherwise
    /// learn within a second or so, and the limits of tenants count what other nodes let in. For as long as the handle is
    /// kept.
    pub fn join_fleet(self: &Arc<Self>, bus: Arc<RedisBus>) -> AbortOnDropHandle<()> {
        let control = self.clone();
        // It is set once, by the wiring.
        let _ = control.bus.set(bus.clone());
        AbortOnDropHandle::new(crate::critical::spawn_critical("fleet", async move {
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

    /// Carries out a decision: makes it durable, tells the other nodes, and makes it effective here, as far as it can
    /// be: with `reconcile` also what takes its time. Once begun it is carried out to its end, also when whoever asked for
    /// it has gone.
    pub(super) async fn apply(
        self: &Arc<Self>,
        tenant: &str,
        puts: Vec<Put>,
        audit: Vec<AuditEntry>,
        reconcile: bool,
    ) -> ControlResult<()> {
        Ok(self.try_apply(tenant, puts, audit, reconcile).await??)
    }

    /// Decides as [`apply`](Self::apply) does, or says which expectation did not hold; then nothing has happened.
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
            .map_err(|_| ControlError::Conflict("the server is stopping; look at what has become of it".to_owned()))?
    }

    async fn exchange(&self, bus: &dyn Bus, exchange: &mut Exchange) {
        let now = Instant::now();
        let since = exchange.at.replace(now).map(|at| now - at).unwrap_or(EXCHANGE_INTERVAL);
        let mut counted = HashMap::new();
        for tenant in self.served().await {
            // What is sent for other nodes costs too while nothing happens here that would book it.
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

/// What was counted at the last exchange, and when that was.
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
