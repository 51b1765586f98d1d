//! File descriptors: raises their limit, and reserves some for the server itself.
//!
//! A server without a free descriptor cannot read its database, start a compiler or answer a health check. So the
//! clients' listener accepts no more connections than [`for_clients`]; others wait in the kernel's queue until some
//! have closed.

use std::io;

/// Reserved for the server itself: the store and its temporary files, the cache, compilers and their pipes, requests of
/// handlers, health checks and operators.
const RESERVED: usize = 256;

/// Raises the soft limit to the hard one, and gives the new limit.
///
/// # Errors
/// When the system refuses. The limit stays as it was.
pub fn raise() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// The limit of the process.
///
/// # Errors
/// When the system does not say.
pub fn limit() -> io::Result<u64> {
    rlimit::getrlimit(rlimit::Resource::NOFILE).map(|(soft, _)| soft)
}

/// How many of `limit` descriptors clients may use, next to `connections` to databases and other nodes. At least half
/// of them, so that a server with few descriptors still serves clients.
#[must_use]
pub fn for_clients(limit: u64, connections: usize) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let reserved = RESERVED.saturating_add(connections);
    limit.saturating_sub(reserved).max(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_never_for_clients() {
        assert_eq!(for_clients(1024, 8), 1024 - RESERVED - 8);
        assert_eq!(for_clients(2 * (RESERVED as u64 + 8), 8), RESERVED + 8);
    }

    #[test]
    fn a_server_with_few_descriptors_gives_half_of_them_to_clients() {
        assert_eq!(for_clients(64, 8), 32);
        assert_eq!(for_clients(0, 8), 0);
    }

    #[test]
    fn no_limit_is_no_limit() {
        assert!(for_clients(u64::MAX, 1000) > usize::MAX / 2);
    }
}
