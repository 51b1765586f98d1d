//! What tests of several modules need.

use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;

/// A port of this machine that nobody uses now.
#[must_use]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub fn free_port() -> u16 {
    // Below those that the system gives to connections: whoever tries again and again to reach a server that is away would
    // connect to itself, and the server could not have its port again.
    const FROM: u64 = 15_000;
    const COUNT: u64 = 17_000;
    let chance = || RandomState::new().hash_one(0);
    let ports = std::iter::repeat_with(|| u16::try_from(FROM + chance() % COUNT).unwrap());
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.take(1000).find(free).unwrap()
}
