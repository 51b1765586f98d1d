//! What tests of several modules need.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The longest that a test waits for a line of a server's log.
const LOG_TIMEOUT: Duration = Duration::from_secs(60);

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

/// What a server process has written to its log. A test waits for the line that reports an event, instead of asking the
/// server again and again.
pub struct ServerLog {
    shared: Arc<(Mutex<String>, Condvar)>,
}

impl ServerLog {
    /// Reads the output to its end, on a thread.
    pub fn read(output: impl Read + Send + 'static) -> Self {
        let shared = Arc::<(Mutex<String>, Condvar)>::default();
        let log = Self { shared: shared.clone() };
        thread::spawn(move || {
            let (text, changed) = &*shared;
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                *text.lock() += &(line + "\n");
                changed.notify_all();
            }
        });
        log
    }

    /// How much there is so far, for [`wait_for`](Self::wait_for).
    #[must_use]
    pub fn length(&self) -> usize {
        self.shared.0.lock().len()
    }

    /// Waits until one of the texts stands in the log behind the first `from` bytes, and returns that text.
    ///
    /// # Panics
    /// When none comes within a minute.
    #[allow(clippy::panic, reason = "a test fails by panicking")]
    pub fn wait_for<'t>(&self, from: usize, texts: &[&'t str]) -> &'t str {
        let deadline = Instant::now() + LOG_TIMEOUT;
        let (text, changed) = &*self.shared;
        let mut text = text.lock();
        loop {
            let new = text.get(from..).unwrap_or_default();
            if let Some(found) = texts.iter().find(|wanted| new.contains(**wanted)) {
                return found;
            }
            assert!(
                !changed.wait_until(&mut text, deadline).timed_out(),
                "none of {texts:?} is in the server's log:\n{text}"
            );
        }
    }
}
