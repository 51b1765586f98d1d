//! The handlers of a run: the shipped ones, and two of the tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use parlance_handler::capability::HandlerInfo;
use parlance_handler::sandbox::{EngineLimits, GuestLimits, Handler, Sandbox};
use parlance_shipped::component;

/// A handler that writes its version into each message.
const STAMPED: &str = "stamped";
/// A handler that counts each user's messages in the transaction that stores them.
const STRICT: &str = "strict";

/// The engine, with all components that a run needs.
#[derive(Clone)]
pub(crate) struct Guests {
    pub(crate) sandbox: Arc<Sandbox>,
    stamped: Arc<[u8]>,
    strict: Arc<[u8]>,
    /// The components in use, each compiled once.
    _loaded: Arc<Vec<Handler>>,
}

impl Guests {
    /// `components` is the directory with the tests' own components, `cache` the one for compiled code.
    pub(crate) fn load(components: &Path, cache: &Path) -> Result<Self> {
        let engine = EngineLimits {
            instances: 64,
            // Simulated time passes only when all tasks wait, so a guest never runs for any time.
            tick: Duration::from_secs(24 * 60 * 60),
            ..EngineLimits::default()
        };
        let mut sandbox = Sandbox::new(engine, &GuestLimits::default())?;
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
        for name in ["message", "typing", "receipt", "revise", "presence", "room"] {
            loaded.push(load(component(name).context("a handler that is shipped")?)?);
        }
        Ok(Self {
            sandbox,
            stamped,
            strict,
            _loaded: Arc::new(loaded),
        })
    }

    /// The handler for a tenant's messages.
    pub(crate) fn of(&self, tenant: &str) -> &[u8] {
        if tenant == crate::plan::TENANTS[0] {
            &self.stamped
        } else {
            &self.strict
        }
    }
}
