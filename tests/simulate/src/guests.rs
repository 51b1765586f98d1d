//! The handlers of a run: those that come with the server, and two of the tests' own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use parlance::capability::HandlerInfo;
use parlance::sandbox::{EngineLimits, GuestLimits, Handler, Sandbox};
use parlance::shipped::component;

/// Writes into each message which version it is.
const STAMPED: &str = "stamped";
/// Counts each user's messages, in the same transaction.
const STRICT: &str = "strict";

/// The engine, with everything that a run needs loaded.
#[derive(Clone)]
pub(crate) struct Guests {
    pub(crate) sandbox: Arc<Sandbox>,
    stamped: Arc<[u8]>,
    strict: Arc<[u8]>,
    /// What is in use is compiled once.
    _loaded: Arc<Vec<Handler>>,
}

impl Guests {
    /// `components`: where the tests' own are. `cache`: where compiled ones are kept.
    pub(crate) fn load(components: &Path, cache: &Path) -> Result<Self> {
        let mut sandbox = Sandbox::new(EngineLimits {
            instances: 64,
            // Time passes when everybody waits, so no guest runs for longer than none.
            tick: Duration::from_secs(24 * 60 * 60),
            ..EngineLimits::default()
        })?;
        sandbox.open_cache(cache)?;
        let sandbox = Arc::new(sandbox.loading_in_place());
        let own = |name: &str| -> Result<Arc<[u8]>> {
            let path = components.join(format!("{name}.wasm"));
            let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            Ok(bytes.into())
        };
        let (stamped, strict) = (own(STAMPED)?, own(STRICT)?);
        let load = |bytes: &[u8]| sandbox.load(Arc::new(HandlerInfo::default()), bytes, &GuestLimits::default());
        let mut loaded = vec![load(&stamped)?, load(&strict)?];
        for name in ["message", "typing", "receipt", "presence", "room"] {
            loaded.push(load(component(name).context("a handler that is shipped")?)?);
        }
        Ok(Self {
            sandbox,
            stamped,
            strict,
            _loaded: Arc::new(loaded),
        })
    }

    /// What handles a tenant's messages.
    pub(crate) fn of(&self, tenant: &str) -> &[u8] {
        if tenant == crate::plan::TENANTS[0] {
            &self.stamped
        } else {
            &self.strict
        }
    }
}
