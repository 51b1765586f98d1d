//! Admits new sessions within limits of their number and rate, in total and per address.
//!
//! A session is *unauthenticated* while it is in no namespace: until the server has accepted a Socket.IO CONNECT, for
//! which it wants a valid token, and again when the client has left its last namespace. It costs memory all the same, so
//! unauthenticated sessions have stricter limits.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The client's address, as a request extension. The server sets it, since only the server knows which proxies to
/// trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    /// The network that limits per address count under: the IPv4 address, or the first 64 bits of the IPv6 address.
    ///
    /// An IPv6 subscriber has at least a whole /64 network to choose addresses from (RFC 6177).
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        }
    }
}

/// The limits of sessions, each inclusive. A server without an [`Admission`] has [`Limits::NONE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once, including unauthenticated ones.
    pub sessions: usize,
    /// Sessions at once from one address, including unauthenticated ones.
    pub sessions_per_address: usize,
    /// Unauthenticated sessions at once.
    pub unauthenticated: usize,
    /// Unauthenticated sessions at once from one address. While this is smaller than `unauthenticated`, an address gets no
    /// more of them than there are places free: so k addresses cannot take more than k of k + 1 parts of all, and a client
    /// from elsewhere finds a place.
    pub unauthenticated_per_address: usize,
    /// New sessions a second. As many may come at once.
    pub handshakes_per_second: u32,
    /// New sessions a second from one address. As many may come at once.
    pub handshakes_per_second_per_address: u32,
    /// Bytes of one message or request body of an unauthenticated session.
    pub unauthenticated_bytes: usize,
    /// How long a session may stay unauthenticated that has left its last namespace, about. The server ends those that have
    /// never been in one.
    pub unauthenticated_time: Duration,
    /// Packets in one request body.
    pub payload_packets: usize,
    /// CONNECTs of an unauthenticated session, and CONNECTs a second of an authenticated one.
    pub connects: u32,
    /// Packets of a client in a second of which the layers above know nothing: acknowledgements, and events for namespaces
    /// in which it is not. Each begun KiB of one count as a packet, and so do those of its attachments.
    pub other_packets: u32,
    /// Bytes of packets that may wait for one client. The queue takes a packet of any size while it has fewer.
    pub queue_bytes: usize,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self {
        sessions: usize::MAX,
        sessions_per_address: usize::MAX,
        unauthenticated: usize::MAX,
        unauthenticated_per_address: usize::MAX,
        handshakes_per_second: u32::MAX,
        handshakes_per_second_per_address: u32::MAX,
        unauthenticated_bytes: usize::MAX,
        unauthenticated_time: Duration::MAX,
        payload_packets: usize::MAX,
        connects: u32::MAX,
        other_packets: u32::MAX,
        queue_bytes: usize::MAX,
    };
}

/// Why a session was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// [`Limits::sessions`]
    Sessions,
    /// [`Limits::sessions_per_address`]
    SessionsPerAddress,
    /// [`Limits::unauthenticated`]
    Unauthenticated,
    /// [`Limits::unauthenticated_per_address`]
    UnauthenticatedPerAddress,
    /// [`Limits::handshakes_per_second`]
    Handshakes,
    /// [`Limits::handshakes_per_second_per_address`]
    HandshakesPerAddress,
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Sessions,
        Self::SessionsPerAddress,
        Self::Unauthenticated,
        Self::UnauthenticatedPerAddress,
        Self::Handshakes,
        Self::HandshakesPerAddress,
    ];

    /// The reason's name in metrics and logs. Operators rely on it, hence the older word "waiting" for unauthenticated.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::SessionsPerAddress => "sessions-per-address",
            Self::Unauthenticated => "waiting",
            Self::UnauthenticatedPerAddress => "waiting-per-address",
            Self::Handshakes => "handshakes",
            Self::HandshakesPerAddress => "handshakes-per-address",
        }
    }
}

/// Admits and counts sessions. All requests of a server share one as a request extension.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    sessions: AtomicUsize,
    unauthenticated: AtomicUsize,
    refused: [AtomicU64; Refusal::ALL.len()],
    addresses: Mutex<Addresses>,
}

#[derive(Debug)]
struct Addresses {
    rate: Bucket,
    by_address: HashMap<IpAddr, Address>,
    /// The number of entries at which unused ones are removed.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Address {
    sessions: usize,
    unauthenticated: usize,
    rate: Bucket,
}

/// Up to this many entries are kept without removing unused ones.
const SWEEP_MIN: usize = 1024;

impl Admission {
    /// Admits sessions within `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            sessions: AtomicUsize::new(0),
            unauthenticated: AtomicUsize::new(0),
            refused: Default::default(),
            addresses: Mutex::new(Addresses {
                rate: Bucket::default(),
                by_address: HashMap::new(),
                sweep_at: SWEEP_MIN,
            }),
        })
    }

    /// The number of open sessions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// The number of unauthenticated sessions.
    #[must_use]
    pub fn unauthenticated(&self) -> usize {
        self.unauthenticated.load(Ordering::Relaxed)
    }

    /// How many sessions were refused for this reason.
    #[must_use]
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused
            .get(why as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Admits a session from this address, or returns why not.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: Option<PeerAddress>,
        now: Instant,
    ) -> Result<SessionPermit, Refusal> {
        let address = address.map(PeerAddress::network);
        match self.count(address, now) {
            Ok(()) => Ok(SessionPermit {
                admission: self.clone(),
                address,
                unauthenticated: Mutex::new(true),
            }),
            Err(why) => {
                if let Some(count) = self.refused.get(why as usize) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Err(why)
            }
        }
    }

    fn count(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Refusal> {
        let limits = &self.limits;
        let mut addresses = self.addresses.lock();
        // The counts are raised only with the lock held, so they can only fall meanwhile.
        if self.sessions() >= limits.sessions {
            return Err(Refusal::Sessions);
        }
        if self.unauthenticated() >= limits.unauthenticated {
            return Err(Refusal::Unauthenticated);
        }
        if let Some(address) = address {
            addresses.sweep(now);
            let entry = addresses.by_address.entry(address).or_default();
            if entry.sessions >= limits.sessions_per_address {
                return Err(Refusal::SessionsPerAddress);
            }
            let free = limits.unauthenticated - self.unauthenticated();
            let is_shared = limits.unauthenticated_per_address < limits.unauthenticated;
            if entry.unauthenticated >= limits.unauthenticated_per_address || is_shared && entry.unauthenticated >= free
            {
                return Err(Refusal::UnauthenticatedPerAddress);
            }
            if !entry.rate.take(limits.handshakes_per_second_per_address, now) {
                return Err(Refusal::HandshakesPerAddress);
            }
        }
        if !addresses.rate.take(limits.handshakes_per_second, now) {
            return Err(Refusal::Handshakes);
        }
        if let Some(entry) = address.and_then(|address| addresses.by_address.get_mut(&address)) {
            entry.sessions += 1;
            entry.unauthenticated += 1;
        }
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.unauthenticated.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Counts an admitted session as unauthenticated again. Returns `false`, and counts nothing, when half of the places
    /// are taken: new sessions keep the rest, also when all clients of a tenant are disconnected at once.
    fn count_unauthenticated(&self, address: Option<IpAddr>) -> bool {
        let mut addresses = self.addresses.lock();
        if self.unauthenticated() >= self.limits.unauthenticated / 2 {
            return false;
        }
        if let Some(entry) = address.and_then(|address| addresses.by_address.get_mut(&address)) {
            if entry.unauthenticated >= self.limits.unauthenticated_per_address / 2 {
                return false;
            }
            entry.unauthenticated += 1;
        }
        self.unauthenticated.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn release(&self, address: Option<IpAddr>, session: bool, unauthenticated: bool) {
        let mut addresses = self.addresses.lock();
        if let Some(entry) = address.and_then(|address| addresses.by_address.get_mut(&address)) {
            entry.sessions -= usize::from(session);
            entry.unauthenticated -= usize::from(unauthenticated);
        }
        self.sessions.fetch_sub(usize::from(session), Ordering::Relaxed);
        self.unauthenticated
            .fetch_sub(usize::from(unauthenticated), Ordering::Relaxed);
    }
}

impl Addresses {
    /// Removes addresses that have no session and a full bucket. Clients have more addresses than the server has
    /// memory.
    fn sweep(&mut self, now: Instant) {
        if self.by_address.len() < self.sweep_at {
            return;
        }
        self.by_address
            .retain(|_, entry| entry.sessions > 0 || !entry.rate.is_full(now));
        self.sweep_at = (self.by_address.len() * 2).max(SWEEP_MIN);
    }
}

/// A token bucket of `n` tokens that fills by `n` a second. It keeps only the time at which it will be full again.
#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let Some(step) = Duration::from_secs(1).checked_div(per_second) else {
            return false;
        };
        let full_at = self.full_at.filter(|at| *at > now).unwrap_or(now) + step;
        if full_at > now + Duration::from_secs(1) {
            return false;
        }
        self.full_at = Some(full_at);
        true
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

/// A permit for one session. Dropping it lets another session in.
#[derive(Debug)]
pub(crate) struct SessionPermit {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    unauthenticated: Mutex<bool>,
}

impl SessionPermit {
    pub(crate) fn limits(&self) -> &Limits {
        &self.admission.limits
    }

    /// Stops counting the session as unauthenticated.
    pub(crate) fn authenticated(&self) {
        if std::mem::take(&mut *self.unauthenticated.lock()) {
            self.admission.release(self.address, false, true);
        }
    }

    /// Counts the session as unauthenticated again. Returns `false` when there are too many, so that it must end.
    pub(crate) fn unauthenticated(&self) -> bool {
        let mut unauthenticated = self.unauthenticated.lock();
        *unauthenticated = *unauthenticated || self.admission.count_unauthenticated(self.address);
        *unauthenticated
    }
}

impl Drop for SessionPermit {
    fn drop(&mut self) {
        let unauthenticated = *self.unauthenticated.lock();
        self.admission.release(self.address, true, unauthenticated);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
