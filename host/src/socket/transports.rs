//! Tracks the open TCP connections of a listener ("transports"), and closes silent ones to make room for others.
//!
//! A transport is *busy* while it has a request or is a WebSocket. Otherwise it is *silent*: before its first request
//! is complete, and between two requests. `limits.connections` bounds the busy ones. Silent ones have a limit of their
//! own; when it is exceeded, the one that has been silent for longest is closed, so silent transports keep no client
//! out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::settings::TransportLimits;
use parlance_types::throttle::LogThrottle;

/// The transports of a listener.
#[derive(Clone)]
pub struct Transports(Arc<Shared>);

struct Shared {
    /// Transports with a request, or that are WebSockets. The request of a further one is refused.
    busy_max: usize,
    limits: TransportLimits,
    busy: AtomicUsize,
    silent: Mutex<SilentTransports>,
    closed: LogThrottle,
}

/// Silent transports, by age and by address.
#[derive(Default)]
struct SilentTransports {
    /// Set when the server stops. From then on, a transport that becomes silent is closed.
    stopped: bool,
    /// The key of the next silent transport. Keys grow, so their order is that of age.
    next: u64,
    by_age: BTreeMap<u64, Arc<Transport>>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

impl SilentTransports {
    fn add(&mut self, transport: Arc<Transport>) -> u64 {
        let key = self.next;
        self.next += 1;
        if let Some(address) = transport.address {
            self.by_address.entry(address).or_default().insert(key);
        }
        self.by_age.insert(key, transport);
        key
    }

    fn remove(&mut self, key: u64) -> Option<Arc<Transport>> {
        let transport = self.by_age.remove(&key)?;
        if let Some(address) = transport.address
            && let Some(keys) = self.by_address.get_mut(&address)
        {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(transport)
    }

    /// The transport to close, if a limit is exceeded: the oldest of the address when that has more than `of_address`,
    /// or the oldest of all when there are more than `of_all`.
    fn excess(&self, address: Option<IpAddr>, of_address: usize, of_all: usize) -> Option<u64> {
        let own = address.and_then(|address| self.by_address.get(&address));
        if let Some(own) = own.filter(|own| own.len() > of_address) {
            return own.first().copied();
        }
        let all = (self.by_age.len() > of_all).then(|| self.by_age.keys().next().copied());
        all.flatten()
    }
}

impl Transports {
    pub(super) fn new(busy_max: usize, limits: TransportLimits) -> Self {
        Self(Arc::new(Shared {
            busy_max,
            limits,
            busy: AtomicUsize::new(0),
            silent: Mutex::default(),
            closed: LogThrottle::default(),
        }))
    }

    /// The number of busy transports.
    #[must_use]
    pub fn busy_count(&self) -> usize {
        self.0.busy.load(Ordering::Relaxed)
    }

    /// Adds a transport that has just been opened.
    ///
    /// `address` is the network that it counts under. It is `None` for a trusted proxy, which has transports for all
    /// its clients.
    pub(super) fn add(&self, address: Option<IpAddr>) -> Arc<Transport> {
        let transport = Arc::new(Transport {
            transports: self.clone(),
            address,
            phase: Mutex::new(Phase::Answering),
            closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let until = Instant::now() + self.0.limits.header_timeout;
        let mut phase = transport.phase.lock();
        *phase = Phase::Head {
            key: self.add_silent(&transport),
            until,
        };
        drop(phase);
        transport
    }

    /// Adds the transport to the silent ones, and closes another one if there are too many now.
    fn add_silent(&self, transport: &Arc<Transport>) -> u64 {
        let limits = &self.0.limits;
        let address = transport.address;
        let mut silent = self.0.silent.lock();
        if silent.stopped {
            transport.close();
        }
        let key = silent.add(transport.clone());
        let gone = silent
            .excess(
                address,
                limits.silent_connections_per_address,
                limits.silent_connections,
            )
            .and_then(|key| silent.remove(key));
        drop(silent);
        if let Some(gone) = gone {
            gone.close();
            if let Some(suppressed) = self.0.closed.pass() {
                let address = gone.address.map(|address| address.to_string());
                tracing::info!(
                    address,
                    suppressed,
                    "a connection without a request was closed for a newer one: there are too many \
                     (limits.silent_connections, limits.silent_connections_per_address)"
                );
            }
        }
        key
    }

    /// Closes the transport that has been silent for longest, so that its file descriptor can be used again.
    pub(super) fn close_oldest(&self) {
        let mut silent = self.0.silent.lock();
        let oldest = silent.by_age.keys().next().copied();
        let gone = oldest.and_then(|key| silent.remove(key));
        drop(silent);
        if let Some(gone) = gone {
            gone.close();
        }
    }

    /// Closes all silent transports, and from now on each one that becomes silent.
    pub(super) fn stop(&self) {
        let mut silent = self.0.silent.lock();
        silent.stopped = true;
        silent.by_address.clear();
        let all = std::mem::take(&mut silent.by_age);
        drop(silent);
        for transport in all.values() {
            transport.close();
        }
    }

    fn remove_silent(&self, key: u64) {
        self.0.silent.lock().remove(key);
    }
}

/// The state of one transport.
pub(super) struct Transport {
    transports: Transports,
    /// The network that it counts under; see [`Transports::add`].
    address: Option<IpAddr>,
    phase: Mutex<Phase>,
    /// Set when the transport must close because it is silent: there are too many, or the server stops.
    closed: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Silent, between two requests.
    Idle {
        key: u64,
        until: Instant,
    },
    /// Silent, waiting for the rest of a request's head.
    Head {
        key: u64,
        until: Instant,
    },
    /// Busy, waiting for the rest of a request's body.
    Body {
        until: Instant,
    },
    /// Busy: the request is complete, and the server answers it.
    Answering,
    /// Busy, as a WebSocket.
    Upgraded,
    Closed,
}

/// The number of busy transports has reached its limit.
pub(super) struct TooManyBusy;

impl Transport {
    /// When the transport is closed if it sends nothing more; `None` while the client need not send anything.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match *self.phase.lock() {
            Phase::Idle { until, .. } | Phase::Head { until, .. } | Phase::Body { until } => Some(until),
            Phase::Answering | Phase::Upgraded | Phase::Closed => None,
        }
    }

    /// Records that bytes have been received. The first ones of a request start the time for its head.
    pub(super) fn received(&self) {
        let mut phase = self.phase.lock();
        if let Phase::Idle { key, .. } = *phase {
            let until = Instant::now() + self.transports.0.limits.header_timeout;
            *phase = Phase::Head { key, until };
        }
    }

    /// Makes the transport busy, once the head of a request is complete.
    ///
    /// # Errors
    /// The number of busy transports has reached its limit.
    pub(super) fn begin_request(self: &Arc<Self>, has_body: bool) -> Result<RequestGuard, TooManyBusy> {
        let limits = &self.transports.0.limits;
        let busy = &self.transports.0.busy;
        if busy.fetch_add(1, Ordering::Relaxed) >= self.transports.0.busy_max {
            busy.fetch_sub(1, Ordering::Relaxed);
            return Err(TooManyBusy);
        }
        let mut phase = self.phase.lock();
        if let Phase::Idle { key, .. } | Phase::Head { key, .. } = *phase {
            self.transports.remove_silent(key);
        }
        *phase = if has_body {
            let until = Instant::now() + limits.body_timeout;
            Phase::Body { until }
        } else {
            Phase::Answering
        };
        Ok(RequestGuard(self.clone()))
    }

    /// Ends the time for the request's body: it is complete, or the server does not read the rest.
    pub(super) fn body_read(&self) {
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Body { .. }) {
            *phase = Phase::Answering;
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ready when the transport must close because it is silent.
    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.closed.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Keeps the transport busy as a WebSocket, when its request has been answered.
    pub(super) fn mark_upgraded(&self) {
        *self.phase.lock() = Phase::Upgraded;
    }

    /// Makes the transport silent again, once its request has been answered.
    fn end_request(self: &Arc<Self>) {
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Body { .. } | Phase::Answering) {
            self.transports.0.busy.fetch_sub(1, Ordering::Relaxed);
            let until = Instant::now() + self.transports.0.limits.idle_timeout;
            let key = self.transports.add_silent(self);
            *phase = Phase::Idle { key, until };
        }
    }

    /// Stops counting the transport.
    pub(super) fn mark_closed(&self) {
        match std::mem::replace(&mut *self.phase.lock(), Phase::Closed) {
            Phase::Idle { key, .. } | Phase::Head { key, .. } => self.transports.remove_silent(key),
            Phase::Body { .. } | Phase::Answering | Phase::Upgraded => {
                self.transports.0.busy.fetch_sub(1, Ordering::Relaxed);
            }
            Phase::Closed => {}
        }
    }
}

/// Keeps a transport busy until the answer to its request has been written, when this is dropped.
pub(super) struct RequestGuard(Arc<Transport>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn transports(busy: usize, silent: usize, silent_per_address: usize) -> Transports {
        let limits = TransportLimits {
            silent_connections: silent,
            silent_connections_per_address: silent_per_address,
            header_timeout: SECOND,
            body_timeout: 2 * SECOND,
            idle_timeout: 3 * SECOND,
        };
        Transports::new(busy, limits)
    }

    fn is_closed(transport: &Transport) -> bool {
        transport
            .poll_closed(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    fn address(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([203, 0, 113, n]))
    }

    #[test]
    fn the_oldest_of_too_many_silent_transports_is_closed_first() {
        let transports = transports(10, 3, 2);
        let first = transports.add(address(1));
        let [second, third] = [address(2), address(2)].map(|address| transports.add(address));
        assert!(![&first, &second, &third].iter().any(|each| is_closed(each)));
        // An address with too many loses one of its own.
        let fourth = transports.add(address(2));
        assert!(is_closed(&second) && !is_closed(&first));
        let fifth = transports.add(None);
        assert!(is_closed(&first));
        assert!(![&third, &fourth, &fifth].iter().any(|each| is_closed(each)));
        for each in [first, second, third, fourth, fifth] {
            each.mark_closed();
        }
        let silent = transports.0.silent.lock();
        assert!(silent.by_age.is_empty() && silent.by_address.is_empty());
    }

    #[test]
    fn a_request_makes_its_transport_busy_until_it_is_answered() {
        let transports = transports(1, 10, 10);
        let [first, second] = [(); 2].map(|()| transports.add(address(1)));
        assert_eq!(transports.busy_count(), 0, "silent ones do not count");
        let request = first.begin_request(true).ok().unwrap();
        assert_eq!(transports.busy_count(), 1);
        assert!(second.begin_request(false).is_err());
        drop(request);
        assert_eq!(transports.busy_count(), 0);
        let request = second.begin_request(false).ok().unwrap();
        second.mark_upgraded();
        drop(request);
        assert_eq!(transports.busy_count(), 1, "a WebSocket stays busy");
        second.mark_closed();
        second.mark_closed();
        first.mark_closed();
        assert_eq!(transports.busy_count(), 0);
        assert!(transports.0.silent.lock().by_age.is_empty());
    }

    #[test]
    fn a_stopping_server_closes_silent_transports_and_busy_ones_once_they_are_silent() {
        let transports = transports(10, 10, 10);
        let [silent, busy] = [(); 2].map(|()| transports.add(address(1)));
        let request = busy.begin_request(false).ok();
        transports.stop();
        assert!(is_closed(&silent) && !is_closed(&busy));
        drop(request);
        assert!(is_closed(&busy) && is_closed(&transports.add(address(1))));
    }

    #[test]
    fn each_phase_has_its_own_timeout() {
        let transports = transports(10, 10, 10);
        let begun = Instant::now();
        let transport = transports.add(address(1));
        let seconds = || {
            let deadline = transport.deadline()?;
            Some(deadline.duration_since(begun).as_secs())
        };
        let first = transport.deadline();
        assert_eq!(seconds(), Some(1));
        transport.received();
        assert_eq!(transport.deadline(), first, "more bytes of a head give no more time");
        let request = transport.begin_request(true).ok();
        let body = transport.deadline();
        assert_eq!(seconds(), Some(2));
        transport.received();
        assert_eq!(transport.deadline(), body, "nor do more bytes of a body");
        transport.body_read();
        assert_eq!(seconds(), None, "the server answers");
        drop(request);
        assert_eq!(seconds(), Some(3));
        transport.received();
        assert_eq!(seconds(), Some(1), "the next request has begun");
    }
}
