//! File descriptors: as many as the system gives, and some of them never for clients.
//!
//! A server without a free descriptor cannot read its database, start a compiler or answer a health check. So the
//! clients' listener lets in no more than [`for_clients`]; the others wait in the kernel's queue until some have gone.

use std::io;

/// Kept free for the server itself: the store and its temporary files, the cache, the compilers and their pipes,
/// handlers' requests, health and operators.
const RESERVED: usize = 256;

/// Raises the soft limit to the hard one, which is what the system lets this process have. Gives the limit.
///
/// # Errors
/// When the system refuses; the limit stays.
pub fn raise() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// How many descriptors the process may have.
///
/// # Errors
/// When the system does not say.
pub fn limit() -> io::Result<u64> {
    rlimit::getrlimit(rlimit::Resource::NOFILE).map(|(soft, _)| soft)
}

/// How many of `limit` descriptors clients may have, beside `connections` to databases and other nodes. At least half,
/// so that a server with few descriptors serves somebody.
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
