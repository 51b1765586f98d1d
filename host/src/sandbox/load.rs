//! From a component's bytes to a [`Handler`]: what can be done once for a version.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre, Linker};

use super::bindings::exports::parlance::chat as exports;
use super::cache::{Cache, Key};
use super::call::{CallState, detail};
use super::compile::{Compiler, compile};
use super::engine::Sandbox;
use super::http::HttpClient;
use super::meter::GuestLimits;
use crate::capability::HandlerInfo;

/// The interfaces that a component may export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interface {
    /// `on-message`
    Message,
    /// `on-typing`
    Typing,
    /// `on-receipt`
    Receipt,
    /// `on-presence`
    Presence,
    /// `on-room`
    Room,
    /// `on-event`
    Event,
}

impl Interface {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Message,
        Self::Typing,
        Self::Receipt,
        Self::Presence,
        Self::Room,
        Self::Event,
    ];

    /// The name in configuration, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Typing => "typing",
            Self::Receipt => "receipt",
            Self::Presence => "presence",
            Self::Room => "room",
            Self::Event => "event",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a file is no handler.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Larger than `sandbox.component_size`.
    #[error("the component has {got} bytes; at most {max} are allowed (sandbox.component_size)")]
    TooLarge {
        /// Its size in bytes.
        got: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Not a component at all.
    #[error("{0}")]
    NotAComponent(&'static str),
    /// It does not compile.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// It takes longer to compile than `sandbox.compile_time`.
    #[error(
        "the component takes longer than {} to compile (sandbox.compile_time)",
        humantime::format_duration(*max)
    )]
    CompileTime {
        /// The limit.
        max: Duration,
    },
    /// It needs more memory to compile than `sandbox.compile_memory`.
    #[error("the component needs more than {max} bytes of memory to compile (sandbox.compile_memory)")]
    CompileMemory {
        /// The limit in bytes.
        max: usize,
    },
    /// Its code is out of all proportion.
    #[error("the component's compiled code has more than {max} bytes, eight times sandbox.component_size")]
    CompiledTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The process that compiles could not be run, or died.
    #[error("the process that compiles components failed: {0}")]
    Compiler(String),
    /// It wants what the host does not offer.
    #[error("the component imports what the host does not offer: {0}")]
    Imports(String),
    /// It wants what the operator has not granted.
    #[error(
        "the component imports wasi:http, and no server is granted to it: list those it may send requests to, such as \
         grants.http = [\"api.example.org\"], or build it without"
    )]
    NotGranted,
    /// The host cannot give it what it was granted.
    #[error("outgoing HTTP, which the component was granted, cannot be set up: {0}")]
    Http(String),
    /// It offers nothing.
    #[error(
        "the component exports none of parlance:chat/on-message, on-typing, on-receipt, on-presence, on-room, on-event at version 0.1"
    )]
    NoExports,
    /// It offers it with other types.
    #[error("the component's export {interface} is not that of parlance:chat@0.1.0: {why}")]
    Export {
        /// Which.
        interface: &'static str,
        /// wasmtime's words.
        why: String,
    },
    /// It cannot be instantiated.
    #[error("the component fails while it is instantiated: {0}")]
    Instantiate(String),
}

pub(super) struct Exports {
    pub(super) message: Option<exports::on_message::GuestIndices>,
    pub(super) typing: Option<exports::on_typing::GuestIndices>,
    pub(super) receipt: Option<exports::on_receipt::GuestIndices>,
    pub(super) presence: Option<exports::on_presence::GuestIndices>,
    pub(super) room: Option<exports::on_room::GuestIndices>,
    pub(super) event: Option<exports::on_event::GuestIndices>,
}

/// A component, compiled, linked and checked. Shared by all handlers that are made of the same bytes.
pub(super) struct Compiled {
    pub(super) pre: InstancePre<CallState>,
    pub(super) exports: Exports,
    /// It imports outgoing HTTP.
    sends_http: bool,
    sha256: [u8; 32],
    interfaces: BTreeSet<Interface>,
}

/// How a version has fared on this node.
#[derive(Debug, Default)]
pub struct Record {
    handled: AtomicU64,
    failed: AtomicU64,
}

impl Record {
    /// Counts an event; `failed` when the handler trapped or ran out of time.
    pub fn count(&self, failed: bool) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events handled, and those of them that failed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        // In this order, so that there are never more failed ones than handled ones.
        let failed = self.failed.load(Ordering::Relaxed);
        (self.handled.load(Ordering::Relaxed).max(failed), failed)
    }
}

/// One version of a handler of one tenant. Calls share it.
pub struct Handler {
    pub(super) compiled: Arc<Compiled>,
    pub(super) sandbox: Arc<Sandbox>,
    /// Present when the component imports outgoing HTTP and has a grant.
    pub(super) http: Option<HttpClient>,
    info: Arc<HandlerInfo>,
    /// How it has fared.
    pub record: Record,
}

impl Handler {
    fn new(sandbox: &Arc<Sandbox>, compiled: Arc<Compiled>, http: Option<HttpClient>, info: Arc<HandlerInfo>) -> Self {
        Self {
            compiled,
            sandbox: sandbox.clone(),
            http,
            info,
            record: Record::default(),
        }
    }

    /// Name and settings.
    #[must_use]
    pub fn info(&self) -> &Arc<HandlerInfo> {
        &self.info
    }

    /// Of the component's bytes, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&self.compiled.sha256)
    }

    /// The same component under another name and with other settings. Without a grant for HTTP it sends nothing.
    #[must_use]
    pub fn with_info(&self, info: Arc<HandlerInfo>) -> Self {
        let http = self.http.clone().filter(|_| !info.grants.http.is_empty());
        Self::new(&self.sandbox, self.compiled.clone(), http, info)
    }

    /// What it handles.
    #[must_use]
    pub fn handles(&self, interface: Interface) -> bool {
        self.compiled.interfaces.contains(&interface)
    }

    /// Everything it handles.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface> {
        self.compiled.interfaces.iter().copied()
    }
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            use fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
            text
        })
}

impl Sandbox {
    /// Compiles, links and checks a component. Takes milliseconds to seconds of processor time: not for a thread
    /// that serves sockets.
    ///
    /// # Errors
    /// What is wrong with the component.
    pub fn load(self: &Arc<Self>, info: Arc<HandlerInfo>, bytes: &[u8]) -> Result<Handler, LoadError> {
        self.load_by(&self.compiler, info, bytes)
    }

    /// The same for a component that came with the server: it is compiled in this process.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_trusted(self: &Arc<Self>, info: Arc<HandlerInfo>, bytes: &[u8]) -> Result<Handler, LoadError> {
        self.load_by(&Compiler::InProcess, info, bytes)
    }

    fn load_by(
        self: &Arc<Self>,
        compiler: &Compiler,
        info: Arc<HandlerInfo>,
        bytes: &[u8],
    ) -> Result<Handler, LoadError> {
        if bytes.len() > self.limits.component_size {
            return Err(LoadError::TooLarge {
                got: bytes.len(),
                max: self.limits.component_size,
            });
        }
        check_header(bytes)?;
        let compiled = self.compiled(compiler, bytes)?;
        // The code is shared between tenants, the grant is not.
        let http = match compiled.sends_http {
            false => None,
            true if info.grants.http.is_empty() => return Err(LoadError::NotGranted),
            true => Some(self.http_client()?),
        };
        Ok(Handler::new(self, compiled, http, info))
    }

    /// What all handlers with these bytes share: in use already, from the cache, or compiled now.
    fn compiled(self: &Arc<Self>, compiler: &Compiler, bytes: &[u8]) -> Result<Arc<Compiled>, LoadError> {
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        if let Some(known) = self.in_use(&sha256) {
            return Ok(known);
        }
        let cache = self.cache.as_ref();
        let cache = cache.map(|cache| (cache, Key::of(&self.engine, &self.limits, &sha256)));
        if let Some((cache, key)) = &cache
            && let Some(compiled) = self.cached(cache, key, sha256)
        {
            return Ok(self.share(compiled));
        }
        let _one = self.compiling.lock();
        // While this waited, another may have compiled the same.
        if let Some(known) = self.in_use(&sha256) {
            return Ok(known);
        }
        let code = compile(&self.engine, compiler, &self.limits, bytes)?;
        let component = code
            .load(&self.engine)
            .map_err(|error| LoadError::Compiler(detail(&error)))?;
        let compiled = self.link(&component, sha256)?;
        if compiled.interfaces.is_empty() {
            return Err(LoadError::NoExports);
        }
        try_out(self, &compiled.pre, &compiled.exports)?;
        // Only what was tried out is kept: what comes from the cache is not tried again.
        if let Some((cache, key)) = &cache {
            cache.put(key, &code);
        }
        Ok(self.share(compiled))
    }

    fn in_use(&self, sha256: &[u8; 32]) -> Option<Arc<Compiled>> {
        self.compiled.lock().get(sha256).and_then(Weak::upgrade)
    }

    fn share(&self, compiled: Compiled) -> Arc<Compiled> {
        let mut all = self.compiled.lock();
        if let Some(same) = all.get(&compiled.sha256).and_then(Weak::upgrade) {
            return same;
        }
        let compiled = Arc::new(compiled);
        all.retain(|_, other| other.strong_count() > 0);
        all.insert(compiled.sha256, Arc::downgrade(&compiled));
        compiled
    }

    fn cached(&self, cache: &Cache, key: &Key, sha256: [u8; 32]) -> Option<Compiled> {
        let code = cache.get(key)?;
        let linked = code
            .load(&self.engine)
            .map_err(|error| detail(&error))
            .and_then(|component| self.link(&component, sha256).map_err(|error| error.to_string()));
        match linked {
            Ok(compiled) => Some(compiled),
            Err(why) => {
                tracing::warn!(why, "what the cache of compiled components holds is of no use; compiling anew");
                cache.forget(key);
                None
            }
        }
    }

    /// Links a component with what it may import.
    fn link(&self, component: &Component, sha256: [u8; 32]) -> Result<Compiled, LoadError> {
        let (linker, sends_http) = self.linker_for(component);
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| LoadError::Imports(format!("{error:#}")))?;
        let exports = Exports {
            message: exports::on_message::GuestIndices::new(&pre).ok(),
            typing: exports::on_typing::GuestIndices::new(&pre).ok(),
            receipt: exports::on_receipt::GuestIndices::new(&pre).ok(),
            presence: exports::on_presence::GuestIndices::new(&pre).ok(),
            room: exports::on_room::GuestIndices::new(&pre).ok(),
            event: exports::on_event::GuestIndices::new(&pre).ok(),
        };
        let interfaces: BTreeSet<Interface> = Interface::ALL
            .into_iter()
            .filter(|interface| exports.has(*interface))
            .collect();
        Ok(Compiled {
            pre,
            exports,
            sends_http,
            sha256,
            interfaces,
        })
    }
}

impl Sandbox {
    /// The linker with what the component imports, and whether that includes outgoing HTTP.
    fn linker_for(&self, component: &Component) -> (&Linker<CallState>, bool) {
        let kind = component.component_type();
        let imports = |prefix| kind.imports(&self.engine).any(|(name, _)| name.starts_with(prefix));
        if imports("wasi:") {
            (&self.wasi_linker, imports("wasi:http/"))
        } else {
            (&self.linker, false)
        }
    }

    /// What sends requests, made when it is first needed.
    fn http_client(&self) -> Result<HttpClient, LoadError> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        let client = HttpClient::new().map_err(LoadError::Http)?;
        Ok(self.http.get_or_init(|| client).clone())
    }
}

impl Exports {
    fn check_types(&self, store: &mut Store<CallState>, instance: &Instance) -> Result<(), LoadError> {
        macro_rules! check {
            ($($field:ident, $name:literal;)+) => {$(
                if let Some(indices) = &self.$field {
                    indices
                        .load(&mut *store, instance)
                        .map_err(|error| LoadError::Export { interface: $name, why: detail(&error) })?;
                }
            )+};
        }
        check! {
            message, "on-message";
            typing, "on-typing";
            receipt, "on-receipt";
            presence, "on-presence";
            room, "on-room";
            event, "on-event";
        }
        Ok(())
    }

    fn has(&self, interface: Interface) -> bool {
        match interface {
            Interface::Message => self.message.is_some(),
            Interface::Typing => self.typing.is_some(),
            Interface::Receipt => self.receipt.is_some(),
            Interface::Presence => self.presence.is_some(),
            Interface::Room => self.room.is_some(),
            Interface::Event => self.event.is_some(),
        }
    }
}

/// Instantiates once under the default limits, and compares the exports' types: what would fail every event is
/// refused here.
fn try_out(sandbox: &Arc<Sandbox>, pre: &InstancePre<CallState>, exports: &Exports) -> Result<(), LoadError> {
    let limits = GuestLimits {
        memory: sandbox.limits.memory,
        ..GuestLimits::default()
    };
    let instantiate = async {
        let _running = sandbox.ticker.count();
        let mut store = sandbox.store(&limits);
        let instance = pre
            .instantiate_async(&mut store)
            .await
            .map_err(|error| LoadError::Instantiate(detail(&error)))?;
        exports.check_types(&mut store, &instance)
    };
    let instantiate = async {
        let instantiated = tokio::time::timeout(limits.wall_time, instantiate).await;
        instantiated.unwrap_or_else(|_| Err(LoadError::Instantiate("it took too long".to_owned())))
    };
    // The caller may be inside a runtime, where another one cannot be waited for.
    let tried = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                Ok(tokio::runtime::Builder::new_current_thread()
                    // A component with WASI may wait for a clock even here.
                    .enable_time()
                    .build()?
                    .block_on(instantiate))
            })
            .join()
    });
    match tried {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(LoadError::Instantiate(std::io::Error::to_string(&error))),
        Err(_) => Err(LoadError::Instantiate("the engine failed".to_owned())),
    }
}

/// Says what a file is when it is not a component. The header is `\0asm`, then the version and the layer: 13 and 1
/// for a component, 1 and 0 for a core module (Component Model, Binary.md).
fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    let why = match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', _, _, 0, 0, ..] => {
            "this is a core module, not a component; wrap it with `parlance-build` or `wasm-tools component new`"
        }
        [0x7f, b'E', b'L', b'F', ..] => "this is precompiled or native code, which is never accepted",
        [] => "the file is empty",
        _ if bytes.trim_ascii_start().starts_with(b"(") => {
            "this is WebAssembly text; convert it with `wasm-tools parse` first"
        }
        _ => "this is not a WebAssembly component",
    };
    Err(LoadError::NotAComponent(why))
}
