//! A tenant on this node: its settings, budgets, permits and the routes to its handlers.

mod custom_routes;
mod lanes;
mod log_budget;
mod metrics;
mod rate;
mod reads;
mod recording;
mod retention;
mod routes;
mod settings;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use metrics::TenantMetrics;
use parlance_handler::capability::DnsLookupLimit;
use parlance_handler::sandbox::{Handler, Interface};
use parlance_hub::{Delivery, HubHandle};
use parlance_scheduler::{Background, Contention, FairScheduler};
use parlance_store::{Reader, Usage};
use parlance_types::error::{Code, EventError};
use parlance_types::id::{TenantId, UserId};
use parlance_types::throttle::LogThrottle;
use reads::ReadLimitedStore;

pub use lanes::{LaneGuard, Lanes};
pub use log_budget::LogBudget;
pub use metrics::Metrics;
pub use rate::{Budget, TokenBucket, nonzero};
pub use recording::{EventLine, FinishedRecording, Recording, RecordingEvent, RecordingRules, RecordingState};
pub use retention::{Retention, RoomRetention};
pub use routes::{Canary, Route, RouteKey, Routes};
pub use settings::{Clients, Parser, TenantLimits, TenantQuota, TenantSettings};

/// The time after which a client that met a full tenant may try again.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// Readers of the tenant's recordings at once. Each takes one of the operators' places, and keeps up to a recording's bytes.
const RECORDING_READERS: usize = 8;
/// Pages of messages of one tenant that are read or wait to be sent at once. It bounds the memory that they take, and
/// how long the tenant's other packets wait behind them.
const PAGE_SLOTS: usize = 4;

/// A tenant on this node, shared by its connections.
pub struct Tenant {
    id: TenantId,
    /// Makes the effects of its events visible.
    pub hub: HubHandle,
    metrics: TenantMetrics,
    /// Runs the tasks of its sessions.
    pub scheduler: FairScheduler,
    /// The store, with a limit of concurrent reads.
    pub store: Arc<dyn Reader>,
    /// The tenant's share of DNS look-ups for its handlers' HTTP requests. It is kept when the settings are replaced.
    pub dns_lookups: DnsLookupLimit,
    /// Throttles the log line of answers to requests that no handler takes.
    pub unheard_answers: LogThrottle,
    /// Where events run alone that others came before again and again.
    pub lanes: Lanes,
    /// One permit for each page of messages that may be read or wait to be sent.
    page_slots: Semaphore,
    /// Permits to read the tenant's recordings. Earlier recordings share them.
    recording_readers: Arc<Semaphore>,
    settings: ArcSwap<TenantSettings>,
    routes: ArcSwap<Routes>,
    /// What is recorded of its events, when an operator has asked for it.
    recording: ArcSwapOption<Recording>,
    suspended: AtomicBool,
    connections: AtomicUsize,
    /// Connections on other nodes, by what the last heartbeats said.
    remote_connections: AtomicUsize,
    /// The number of connections on this node of each user that has any.
    connections_by_user: Mutex<HashMap<UserId, usize>>,
    /// Bytes of the events that wait in its sessions' queues or are being handled.
    queued_bytes: AtomicUsize,
}

fn limited(what: &'static str, wait: Duration) -> EventError {
    EventError::limited(Code::RateLimited, what, wait)
}

/// The resources of the server that a tenant's events use.
pub struct TenantResources {
    /// The runtime of the server's main threads.
    pub runtime: Handle,
    /// The pool that long events move to: [`Sandbox::background`](parlance_handler::sandbox::Sandbox::background).
    pub background: Option<Background>,
    /// Tells whether other tenants compete for threads.
    pub contention: Arc<Contention>,
    /// The store.
    pub store: Arc<dyn Reader>,
}

/// A permit for one connection of a tenant. Dropping it lets another connection in.
pub struct ConnectionPermit {
    tenant: Arc<Tenant>,
    user: UserId,
}

impl Tenant {
    /// Creates a tenant.
    #[must_use]
    pub fn new(
        settings: TenantSettings,
        hub: HubHandle,
        metrics: &Metrics,
        routes: Routes,
        resources: TenantResources,
    ) -> Self {
        let id = settings.authenticator.tenant().clone();
        let metrics = metrics.tenant(&id);
        apply_limits(&settings.limits, &hub, &metrics);
        Self {
            id,
            hub,
            metrics,
            scheduler: FairScheduler::new(
                resources.runtime,
                resources.contention,
                std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
                resources.background,
            ),
            store: Arc::new(ReadLimitedStore::of(resources.store)),
            dns_lookups: DnsLookupLimit::default(),
            unheard_answers: LogThrottle::default(),
            lanes: Lanes::default(),
            page_slots: Semaphore::new(PAGE_SLOTS),
            recording_readers: Arc::new(Semaphore::new(RECORDING_READERS)),
            settings: ArcSwap::from_pointee(settings),
            routes: ArcSwap::from_pointee(routes),
            recording: ArcSwapOption::empty(),
            suspended: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            remote_connections: AtomicUsize::new(0),
            connections_by_user: Mutex::default(),
            queued_bytes: AtomicUsize::new(0),
        }
    }

    /// The tenant's id.
    #[must_use]
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// The current settings.
    #[must_use]
    pub fn settings(&self) -> Arc<TenantSettings> {
        self.settings.load_full()
    }

    /// Replaces the settings for all events that begin from now on. Budgets start again.
    pub fn set_settings(&self, settings: TenantSettings) {
        apply_limits(&settings.limits, &self.hub, &self.metrics);
        self.settings.store(Arc::new(settings));
    }

    /// Sets whether the tenant refuses its clients.
    pub fn set_suspended(&self, suspended: bool) {
        self.suspended.store(suspended, Ordering::Relaxed);
    }

    /// Whether the tenant refuses its clients.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Relaxed)
    }

    /// The handler version that handles the interface for this key now. An event keeps it until its end.
    #[must_use]
    pub fn route(&self, interface: Interface, key: RouteKey<'_>) -> Option<Arc<Handler>> {
        self.routes.load().route(interface)?.get(key).cloned()
    }

    /// The handler version that handles the custom event with this name for this key now. An event keeps it until its
    /// end.
    #[must_use]
    pub fn custom_event_route(&self, name: &str, key: RouteKey<'_>) -> Option<Arc<Handler>> {
        self.routes.load().custom_event(name)?.get(key).cloned()
    }

    /// The version of the named handler that serves this key now, if it exports the interface.
    #[must_use]
    pub fn named_handler(&self, name: &str, interface: Interface, key: RouteKey<'_>) -> Option<Arc<Handler>> {
        self.routes.load().named_handler(name, interface, key).cloned()
    }

    /// The version of the named handler that serves this key now, whatever it exports.
    #[must_use]
    pub fn handler_named(&self, name: &str, key: RouteKey<'_>) -> Option<Arc<Handler>> {
        self.routes.load().handler_named(name, key).cloned()
    }

    /// Whether the interface has a handler that cannot be loaded now.
    #[must_use]
    pub fn is_unavailable(&self, interface: Interface) -> bool {
        self.routes
            .load()
            .route(interface)
            .is_some_and(|route| route.unavailable)
    }

    /// Whether the custom event with this name has a handler that cannot be loaded now.
    #[must_use]
    pub fn is_custom_event_unavailable(&self, name: &str) -> bool {
        let routes = self.routes.load();
        routes.custom_event(name).is_some_and(|route| route.unavailable)
    }

    /// Replaces all routes for events that begin from now on.
    pub fn set_routes(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// The recording of its events on this node, running or ended.
    #[must_use]
    pub fn recording(&self) -> Option<Arc<Recording>> {
        self.recording.load_full()
    }

    /// Replaces the recording.
    pub fn set_recording(&self, recording: Option<Arc<Recording>>) {
        self.recording.store(recording);
    }

    /// The current routes.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// Checks whether the tenant's budgets admit one more event, and counts it.
    ///
    /// # Errors
    /// A budget is used up. The error is meant for the client and says after how long to try again.
    pub fn admit(&self) -> Result<(), EventError> {
        let settings = self.settings.load();
        settings
            .events
            .take(1)
            .map_err(|wait| limited("the tenant's events per second are used up", wait))?;
        self.collect_charges();
        self.check_cpu_budget()?;
        settings
            .writes
            .admit()
            .map_err(|wait| limited("the tenant's bytes written per second are used up", wait))?;
        settings
            .outbound
            .admit()
            .map_err(|wait| limited("the tenant's bytes to clients per second are used up", wait))
    }

    /// Checks that the tenant has processor time left, by what has been charged to it so far.
    ///
    /// # Errors
    /// The budget is overdrawn. The error is meant for the client and says after how long to try again.
    pub fn check_cpu_budget(&self) -> Result<(), EventError> {
        self.settings
            .load()
            .cpu
            .admit()
            .map_err(|wait| limited("the tenant's processor time is used up", wait))
    }

    /// Charges the tenant for the processor time that its hub has used and for the bytes that went out to its clients
    /// since the last call.
    pub fn collect_charges(&self) {
        let (cpu, bytes) = self.hub.take_usage();
        if !cpu.is_zero() {
            self.charge_cpu(cpu);
        }
        if bytes > 0 {
            self.settings.load().outbound.spend(bytes);
            self.metrics.sent.inc_by(bytes);
        }
    }

    /// Counts the bytes of an event that is about to be queued. Returns `false`, and counts nothing, when the tenant
    /// would have too many.
    pub fn reserve_queued_bytes(&self, bytes: usize) -> bool {
        let most = self.settings.load().limits.quota.queued_bytes;
        let fits = |queued: usize| queued.checked_add(bytes).filter(|queued| *queued <= most);
        self.queued_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }

    /// Stops counting bytes of an event that has been handled or dropped.
    pub fn release_queued_bytes(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Waits until the tenant may have this event in flight too, and charges it for the bytes that the event writes.
    pub async fn in_flight_permit(&self, delivery: &Delivery) -> Option<OwnedSemaphorePermit> {
        let settings = self.settings.load_full();
        let weight = delivery.weight();
        if delivery.writes() {
            self.charge_written(delivery.effects_weight() as u64);
        }
        // The semaphore is never closed.
        settings.in_flight_permit(weight).await
    }

    /// Charges the tenant for bytes that are written to the store.
    pub fn charge_written(&self, bytes: u64) {
        self.settings.load().writes.spend(bytes);
        self.metrics.written.inc_by(bytes);
    }

    /// Waits until the tenant may have this many more bytes in flight.
    pub async fn in_flight_permit_for_bytes(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.settings.load_full().in_flight_permit(bytes).await
    }

    /// Waits for a permit to read a page of messages. The caller keeps it until the page may be sent.
    pub async fn page_permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.page_slots.acquire().await.ok()
    }

    /// A permit to read a recording. `None` when there are as many readers as there may be.
    #[must_use]
    pub fn recording_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.recording_readers.clone().try_acquire_owned().ok()
    }

    /// Charges the tenant for processor time.
    pub fn charge_cpu(&self, cpu: Duration) {
        self.settings.load().cpu.spend_time(cpu);
        self.metrics.spent(cpu);
    }

    /// Records the tenant's load on other nodes, so that its limits hold for the whole fleet: its connections there,
    /// and the events that were admitted there since the last call.
    ///
    /// Each node charges itself for the events that the others admit, but keeps the share that it would have if all
    /// `nodes` were equally busy. So the nodes together admit at most the limit, apart from what they learn too late:
    /// the burst of each node and what is admitted between two heartbeats.
    pub fn set_remote_load(&self, nodes: u32, connections: u64, events: u64) {
        self.remote_connections
            .store(usize::try_from(connections).unwrap_or(usize::MAX), Ordering::Relaxed);
        if events > 0 && nodes > 1 {
            let settings = self.settings.load();
            let rate = settings.limits.quota.events_per_second as u64;
            let others = rate - rate / u64::from(nodes);
            settings.events.spend(events.min(others));
        }
    }

    /// Open connections on this node.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts an event that was admitted.
    pub fn count_admitted(&self) {
        self.metrics.admitted.inc();
    }

    /// The events that were admitted since the tenant was opened.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.metrics.admitted.get()
    }

    /// Counts an event that was refused because a limit was hit.
    pub fn count_refused(&self) {
        self.metrics.refused.inc();
    }

    /// Counts an event as being in its handler until the result is dropped.
    #[must_use]
    pub fn count_running(&self) -> RunningEvent<'_> {
        self.metrics.running.inc();
        RunningEvent(self)
    }

    /// Sets the metrics of what the tenant keeps in the store.
    pub fn show_stored(&self, usage: &Usage) {
        self.metrics.show_stored(&self.id, usage);
    }

    /// Takes a permit for a connection of the user.
    ///
    /// # Errors
    /// The tenant or the user has as many connections as allowed.
    pub fn connection_permit(self: &Arc<Self>, user: &UserId) -> Result<ConnectionPermit, EventError> {
        let settings = self.settings.load();
        let quota = &settings.limits.quota;
        let full = |what| EventError::limited(Code::QuotaExceeded, what, FULL_RETRY);
        let mut users = self.connections_by_user.lock();
        let everywhere = self.connections.load(Ordering::Relaxed) + self.remote_connections.load(Ordering::Relaxed);
        if everywhere >= quota.connections {
            return Err(full("the tenant has no room for another connection"));
        }
        let own = users.entry(user.clone()).or_default();
        if *own >= quota.connections_per_user {
            return Err(full("the user has no room for another connection"));
        }
        *own += 1;
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.metrics.connections.inc();
        Ok(ConnectionPermit {
            tenant: self.clone(),
            user: user.clone(),
        })
    }
}

/// Gives the hub the limits that the hub itself keeps, and shows all limits in the metrics.
fn apply_limits(limits: &TenantLimits, hub: &HubHandle, metrics: &TenantMetrics) {
    let client = &limits.call.client;
    hub.set_outbound_rate(limits.quota.outbound_bytes_per_second as u64);
    hub.set_presence_grace(client.presence_grace);
    hub.set_rooms_per_connection(client.rooms_per_connection);
    metrics.show_limits(limits);
}

/// An event in its handler. Dropping this stops counting it.
pub struct RunningEvent<'a>(&'a Tenant);

impl Drop for RunningEvent<'_> {
    fn drop(&mut self) {
        self.0.metrics.running.dec();
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut users = self.tenant.connections_by_user.lock();
        if let Some(own) = users.get_mut(&self.user) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                users.remove(&self.user);
            }
        }
        self.tenant.connections.fetch_sub(1, Ordering::Relaxed);
        self.tenant.metrics.connections.dec();
    }
}
