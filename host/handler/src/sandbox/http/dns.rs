//! Resolves a host name to the addresses that a request may go to: those of the public internet.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::host_wait::HostWait;
use crate::capability::DnsLookupLimit;
use parlance_types::address::is_public;

/// Concurrent look-ups in the whole server. Each blocks a thread until the system's resolver has answered.
const CONCURRENT_LOOKUPS: usize = 32;
/// How long a request waits for the system's resolver.
const LOOKUP_TIME: Duration = Duration::from_secs(5);

/// Why a name does not resolve.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error("the name has no public address")]
    NoPublicAddress,
    #[error("the system's resolver did not answer in time")]
    Time,
    #[error("the system's resolver: {0}")]
    System(#[from] io::Error),
}

/// Resolves a name to all its addresses, blocking.
type Resolver = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Resolves names to their public addresses.
pub(super) struct DnsResolver {
    permits: Arc<Semaphore>,
    time: Duration,
    resolver: Arc<Resolver>,
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsResolver").finish_non_exhaustive()
    }
}

impl DnsResolver {
    pub(super) fn system() -> Self {
        Self::with_resolver(|name| Ok((name, 0).to_socket_addrs()?.collect()), LOOKUP_TIME)
    }

    fn with_resolver(
        resolver: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        time: Duration,
    ) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(CONCURRENT_LOOKUPS)),
            time,
            resolver: Arc::new(resolver),
        }
    }

    /// The public addresses of a name, at least one. Waits for the tenant's own look-ups first and then for those of
    /// others, which counts in `host_wait`. So a tenant uses no more than its share of the permits, and of the queue
    /// for them.
    pub(super) async fn resolve_public(
        &self,
        name: &str,
        share: &DnsLookupLimit,
        host_wait: &HostWait,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let own = share.acquire().await;
        // This is never an error: the semaphore is not closed.
        let permit = host_wait.track(self.permits.clone().acquire_owned()).await.ok();
        let (resolver, name) = (self.resolver.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            // The thread stays busy until the system answers, even after the caller's timeout, so the permits stay
            // taken too.
            let _permits = (own, permit);
            resolver(&name)
        });
        let found = timeout(self.time, found).await.map_err(|_| ResolveError::Time)?;
        public_only(found.map_err(io::Error::other)??)
    }
}

fn public_only(mut found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ResolveError> {
    found.retain(|address| is_public(address.ip()));
    if found.is_empty() {
        return Err(ResolveError::NoPublicAddress);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use parking_lot::Mutex;

    use super::*;
    use crate::capability::DNS_LOOKUPS_PER_TENANT;

    #[test]
    fn only_public_addresses_of_a_name_are_used() {
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let mixed = vec![address("127.0.0.1"), address("1.1.1.1"), address("::1")];
        assert_eq!(public_only(mixed).unwrap(), [address("1.1.1.1")]);
        let none = public_only(vec![address("127.0.0.1")]);
        assert!(matches!(none, Err(ResolveError::NoPublicAddress)), "{none:?}");
    }

    #[tokio::test]
    async fn localhost_is_refused() {
        let found = look_up(&DnsResolver::system(), "localhost").await;
        assert!(matches!(found, Err(ResolveError::NoPublicAddress)), "{found:?}");
    }

    /// A resolver's control: it answers the name `slow` only when this is dropped, and all others at once.
    struct Silence {
        _ends: mpsc::Sender<()>,
        asked: Arc<AtomicUsize>,
    }

    fn with_silence(time: Duration) -> (Arc<DnsResolver>, Silence) {
        let (ends, waits) = mpsc::channel::<()>();
        let (waits, asked) = (Mutex::new(waits), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let resolver = move |name: &str| {
            if name == "slow" {
                count.fetch_add(1, Ordering::Relaxed);
                let _ = waits.lock().recv();
            }
            Ok(vec![SocketAddr::from(([1, 1, 1, 1], 0))])
        };
        (
            Arc::new(DnsResolver::with_resolver(resolver, time)),
            Silence { _ends: ends, asked },
        )
    }

    /// Looks a name up for a tenant without other look-ups.
    async fn look_up(resolver: &DnsResolver, name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
        resolver
            .resolve_public(name, &DnsLookupLimit::default(), &HostWait::default())
            .await
    }

    /// Starts one more look-up of `slow` for the tenant.
    fn ask(resolver: &Arc<DnsResolver>, share: &DnsLookupLimit, host_wait: &HostWait) {
        let (resolver, share, host_wait) = (resolver.clone(), share.clone(), host_wait.clone());
        tokio::spawn(async move { resolver.resolve_public("slow", &share, &host_wait).await });
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    /// Takes every permit, with as many tenants as that needs.
    async fn fill(resolver: &Arc<DnsResolver>, silence: &Silence) {
        for _ in 0..CONCURRENT_LOOKUPS / DNS_LOOKUPS_PER_TENANT {
            let share = DnsLookupLimit::default();
            for _ in 0..DNS_LOOKUPS_PER_TENANT {
                ask(resolver, &share, &HostWait::default());
            }
        }
        until(|| silence.asked.load(Ordering::Relaxed) == CONCURRENT_LOOKUPS).await;
    }

    #[tokio::test]
    async fn a_tenants_hanging_look_ups_do_not_block_other_tenants() {
        let (resolver, silence) = with_silence(LOOKUP_TIME);
        let (greedy, host_wait) = (DnsLookupLimit::default(), HostWait::default());
        for _ in 0..2 * CONCURRENT_LOOKUPS {
            ask(&resolver, &greedy, &host_wait);
        }
        until(|| silence.asked.load(Ordering::Relaxed) >= DNS_LOOKUPS_PER_TENANT).await;
        let found = timeout(LOOKUP_TIME / 2, look_up(&resolver, "quick")).await;
        assert!(matches!(found, Ok(Ok(_))), "{found:?}");
        assert_eq!(silence.asked.load(Ordering::Relaxed), DNS_LOOKUPS_PER_TENANT);
        assert!(!host_wait.is_waiting(), "it waits for itself");
    }

    #[tokio::test]
    async fn a_look_up_that_times_out_keeps_its_permit_until_it_is_answered() {
        let (resolver, silence) = with_silence(Duration::from_millis(10));
        let found = look_up(&resolver, "slow").await;
        assert!(matches!(found, Err(ResolveError::Time)), "{found:?}");
        assert_eq!(resolver.permits.available_permits(), CONCURRENT_LOOKUPS - 1);
        drop(silence);
        until(|| resolver.permits.available_permits() == CONCURRENT_LOOKUPS).await;
    }

    #[tokio::test]
    async fn waiting_for_other_tenants_look_ups_counts_as_waiting_for_the_host() {
        let (resolver, silence) = with_silence(LOOKUP_TIME);
        fill(&resolver, &silence).await;
        let (share, patient, hasty) = (DnsLookupLimit::default(), HostWait::default(), HostWait::default());
        let gave_up = timeout(Duration::ZERO, resolver.resolve_public("quick", &share, &hasty)).await;
        assert!(gave_up.is_err() && hasty.is_waiting(), "it never got a place");
        let found = resolver.resolve_public("quick", &share, &patient);
        let seen = async {
            until(|| patient.is_waiting()).await;
            drop(silence);
        };
        let (found, ()) = tokio::join!(found, seen);
        assert!(found.is_ok() && !patient.is_waiting(), "{found:?}");
    }
}
