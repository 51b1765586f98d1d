//! Makes a [`Handler`] of a component's bytes: what needs to be done once for a version.

mod check;
mod error;
mod libraries;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sha2::{Digest, Sha256};
use wasmtime::Store;
use wasmtime::component::{Component, Instance, InstancePre, Linker};

use super::artefact::Artefact;
use super::backtrace::describe;
use super::bindings::exports::parlance::chat as exports;
use super::cache::{CacheKey, CodeCache};
use super::call::CallState;
use super::compile::{Compiler, compile, compiled_max};
use super::engine::Sandbox;
use super::hex::hex;
use super::http::HttpClient;
use super::interface::Interface;
use super::library::{Library, LoadedLibrary, Origin};
use super::lines::LineTable;
use super::meter::GuestLimits;
use super::reset::ResetExports;
use super::warm::WarmPool;
use crate::capability::{HandlerInfo, Isolation};
pub(super) use check::check_header;
use check::{check_instantiation, instantiate_once};
pub use error::LoadError;
use libraries::{refused, usable};
use parlance_scheduler::CpuProfile;

/// The target of log lines that tell a user what takes long.
pub const PROGRESS: &str = "parlance::progress";

/// From this many bytes on it takes seconds to compile a component: one with an interpreter has them.
const LARGE_COMPONENT: usize = 1024 * 1024;

pub(super) struct ExportIndices {
    pub(super) message: Option<exports::on_message::GuestIndices>,
    pub(super) typing: Option<exports::on_typing::GuestIndices>,
    pub(super) receipt: Option<exports::on_receipt::GuestIndices>,
    pub(super) presence: Option<exports::on_presence::GuestIndices>,
    pub(super) room: Option<exports::on_room::GuestIndices>,
    pub(super) event: Option<exports::on_event::GuestIndices>,
    pub(super) event_ack: Option<exports::on_event_ack::GuestIndices>,
    pub(super) answer: Option<exports::on_answer::GuestIndices>,
    pub(super) server_event: Option<exports::on_server_event::GuestIndices>,
    pub(super) timer: Option<exports::on_timer::GuestIndices>,
    pub(super) response: Option<exports::on_response::GuestIndices>,
    pub(super) revise: Option<exports::on_revise::GuestIndices>,
    pub(super) connect: Option<exports::on_connect::GuestIndices>,
}

/// A compiled, linked and checked component. All handlers of the same bytes share it.
pub(super) struct Compiled {
    pub(super) pre: InstancePre<CallState>,
    pub(super) exports: ExportIndices,
    /// Present if its instances can be put back to their first state.
    pub(super) reset: Option<ResetExports>,
    /// For backtraces.
    pub(super) lines: LineTable,
    /// For backtraces too: where code is in the author's component. It has the code of the libraries.
    pub(super) origin: Origin,
    /// Whether it imports outgoing HTTP.
    sends_http: bool,
    sha256: [u8; 32],
    interfaces: BTreeSet<Interface>,
}

/// A version's statistics on this node.
#[derive(Debug, Default)]
pub struct HandlerStats {
    handled: AtomicU64,
    failed: AtomicU64,
    pub(super) profile: Arc<CpuProfile>,
}

impl HandlerStats {
    /// Counts an event. `failed`: the handler trapped or ran out of time.
    pub fn count(&self, failed: bool) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events it has handled, and how many of them failed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        // Read in this order, so that the failed ones never exceed the handled ones.
        let failed = self.failed.load(Ordering::Relaxed);
        (self.handled.load(Ordering::Relaxed).max(failed), failed)
    }
}

/// One version of a tenant's handler. All calls share it.
pub struct Handler {
    pub(super) compiled: Arc<Compiled>,
    pub(super) sandbox: Arc<Sandbox>,
    /// Present if the component imports outgoing HTTP and has a grant.
    pub(super) http: Option<HttpClient>,
    /// Present if its instances are used again: they are warm, or can be put back to their first state.
    pub(super) idle: Option<Arc<WarmPool>>,
    info: Arc<HandlerInfo>,
    /// Its statistics on this node.
    pub stats: HandlerStats,
}

impl Handler {
    /// # Errors
    /// When it may send requests and the HTTP client cannot be set up.
    fn new(sandbox: &Arc<Sandbox>, compiled: Arc<Compiled>, info: Arc<HandlerInfo>) -> Result<Self, LoadError> {
        // Tenants share the code, but not the grants.
        let sends = compiled.sends_http && !info.grants.http.is_empty();
        let http = sends.then(|| sandbox.http_client()).transpose()?;
        Ok(Self::with_client(sandbox, compiled, http, info))
    }

    fn with_client(
        sandbox: &Arc<Sandbox>,
        compiled: Arc<Compiled>,
        http: Option<HttpClient>,
        info: Arc<HandlerInfo>,
    ) -> Self {
        let is_kept = info.isolation == Isolation::Warm || compiled.reset.is_some();
        Self {
            compiled,
            sandbox: sandbox.clone(),
            http,
            idle: is_kept.then(|| WarmPool::open(&sandbox.slots)),
            info,
            stats: HandlerStats::default(),
        }
    }

    /// Its name, settings and grants.
    #[must_use]
    pub fn info(&self) -> &Arc<HandlerInfo> {
        &self.info
    }

    /// SHA-256 of the component's bytes, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex(&self.compiled.sha256)
    }

    /// The component with another name, other settings and other grants. Its HTTP requests depend on the new grants
    /// alone.
    #[must_use]
    pub fn with_info(&self, info: Arc<HandlerInfo>) -> Self {
        Self::new(&self.sandbox, self.compiled.clone(), info.clone()).unwrap_or_else(|error| {
            tracing::error!(handler = %info.name, "the handler's HTTP requests will be denied: {error}");
            Self::with_client(&self.sandbox, self.compiled.clone(), None, info)
        })
    }

    /// Creates an instance within `limits` and drops it, to see whether an event could run now.
    ///
    /// # Errors
    /// [`LoadError::Host`] if the host lacks a resource; any other error is the component's fault.
    pub async fn check_instantiation(&self, limits: &GuestLimits) -> Result<(), LoadError> {
        instantiate_once(&self.sandbox, &self.compiled, limits).await
    }

    /// Whether it exports the interface.
    #[must_use]
    pub fn handles(&self, interface: Interface) -> bool {
        self.compiled.interfaces.contains(&interface)
    }

    /// All interfaces that it exports.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface> {
        self.compiled.interfaces.iter().copied()
    }
}

impl Sandbox {
    /// Compiles, links and checks a component, and creates an instance within `limits`, those of the tenant that
    /// deploys it. The instance is created each time, even if another tenant has the same component, since that
    /// tenant's limits may differ. Takes milliseconds to seconds of processor time: not for a thread that serves
    /// sockets.
    ///
    /// # Errors
    /// What is wrong with the component, or which limit it exceeds.
    pub fn load(
        self: &Arc<Self>,
        info: Arc<HandlerInfo>,
        bytes: &[u8],
        limits: &GuestLimits,
    ) -> Result<Handler, LoadError> {
        let granted = !info.grants.http.is_empty();
        self.load_and_check(info, bytes, limits, granted)
    }

    /// Loads a component as if it had every grant that it needs, for `inspect`.
    pub(super) fn load_to_inspect(
        self: &Arc<Self>,
        info: Arc<HandlerInfo>,
        bytes: &[u8],
    ) -> Result<Handler, LoadError> {
        self.load_and_check(info, bytes, &GuestLimits::default(), true)
    }

    fn load_and_check(
        self: &Arc<Self>,
        info: Arc<HandlerInfo>,
        bytes: &[u8],
        limits: &GuestLimits,
        may_import_http: bool,
    ) -> Result<Handler, LoadError> {
        let handler = self.load_by(&self.compiler, info, bytes, may_import_http)?;
        check_instantiation(self, &handler.compiled, limits)?;
        Ok(handler)
    }

    /// Loads a component that was checked when it was deployed. It is not instantiated again: if changed limits made it
    /// fail here, another version would take its events, whereas now they fail and the error says why. Likewise a
    /// component whose grant was taken away is loaded, and its requests are denied.
    ///
    /// # Errors
    /// What is wrong with the component.
    pub fn load_deployed(self: &Arc<Self>, info: Arc<HandlerInfo>, bytes: &[u8]) -> Result<Handler, LoadError> {
        self.load_by(&self.compiler, info, bytes, true)
    }

    /// Loads a component that is part of the server: it is compiled in this process, and not instantiated.
    ///
    /// # Errors
    /// As [`load_deployed`](Self::load_deployed).
    pub fn load_trusted(self: &Arc<Self>, info: Arc<HandlerInfo>, bytes: &[u8]) -> Result<Handler, LoadError> {
        let granted = !info.grants.http.is_empty();
        self.load_by(&Compiler::InProcess, info, bytes, granted)
    }

    fn load_by(
        self: &Arc<Self>,
        compiler: &Compiler,
        info: Arc<HandlerInfo>,
        bytes: &[u8],
        may_import_http: bool,
    ) -> Result<Handler, LoadError> {
        if bytes.len() > self.component_size {
            return Err(LoadError::TooLarge {
                got: bytes.len(),
                max: self.component_size,
            });
        }
        check_header(bytes)?;
        let compiled = self.compiled(compiler, bytes, may_import_http)?;
        if compiled.sends_http && !may_import_http {
            return Err(LoadError::NotGranted);
        }
        Handler::new(self, compiled, info)
    }

    /// The compiled component, which all handlers with these bytes share: in use already, from the cache, or compiled
    /// now.
    fn compiled(
        self: &Arc<Self>,
        compiler: &Compiler,
        bytes: &[u8],
        may_import_http: bool,
    ) -> Result<Arc<Compiled>, LoadError> {
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        if let Some(known) = self.find_loaded(&sha256) {
            return known;
        }
        let cache = self.cache.as_ref();
        let cache = cache.map(|cache| (cache, CacheKey::of(&self.engine, &sha256)));
        if let Some((cache, key)) = &cache
            && let Some(compiled) = self.load_cached((cache, key), sha256, may_import_http)?
        {
            return Ok(self.intern(compiled));
        }
        let _permit = self.compile_queue.acquire(sha256);
        // Meanwhile the same bytes may have been compiled or refused.
        if let Some(known) = self.find_loaded(&sha256) {
            return known;
        }
        let compiled = self
            .compile_new(compiler, bytes, sha256, may_import_http)
            .inspect_err(|error| self.negative_cache.insert(sha256, error, Instant::now()));
        let (compiled, artefact) = compiled?;
        if let Some((cache, key)) = &cache {
            self.cache_libraries(cache, &compiled);
            cache.put(key, &artefact);
        }
        Ok(self.intern(compiled))
    }

    fn compile_new(
        &self,
        compiler: &Compiler,
        bytes: &[u8],
        sha256: [u8; 32],
        may_import_http: bool,
    ) -> Result<(Compiled, Artefact), LoadError> {
        let begun = Instant::now();
        if bytes.len() >= LARGE_COMPONENT {
            tracing::info!(
                target: PROGRESS,
                "compiling a component of {} MiB, which takes seconds",
                bytes.len() >> 20
            );
        }
        // Held, so that they stay until the component has them.
        let known = self.libraries.in_use();
        let (artefact, codes) = compile(
            &self.engine,
            compiler,
            &self.limits,
            compiled_max(self.component_size),
            bytes,
            &known,
        )?;
        let library_bytes: usize = codes.iter().flatten().map(|code| code.bytes().len()).sum();
        let libraries = self.load_compiled(&artefact.libraries, codes)?;
        let component = artefact.code.load(&self.engine).map_err(|error| refused(&error))?;
        let compiled = self.link(&component, &artefact, libraries, sha256, may_import_http)?;
        if !compiled.interfaces.iter().any(|interface| interface.is_routed()) {
            return Err(LoadError::NoExports);
        }
        tracing::info!(
            sha256 = hex(&sha256),
            component_bytes = bytes.len(),
            code_bytes = artefact.code.bytes().len(),
            libraries = artefact.libraries.len(),
            library_bytes,
            line_bytes = artefact.lines.len(),
            took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "component compiled"
        );
        Ok((compiled, artefact))
    }

    /// The result for these bytes, if they are in use or were refused lately.
    fn find_loaded(&self, sha256: &[u8; 32]) -> Option<Result<Arc<Compiled>, LoadError>> {
        let refused = || self.negative_cache.get(sha256, Instant::now()).map(Err);
        self.compiled.get(sha256).map(Ok).or_else(refused)
    }

    fn intern(&self, compiled: Compiled) -> Arc<Compiled> {
        self.compiled.intern(compiled.sha256, compiled)
    }

    fn load_cached(
        &self,
        (cache, key): (&CodeCache, &CacheKey),
        sha256: [u8; 32],
        may_import_http: bool,
    ) -> Result<Option<Compiled>, LoadError> {
        let Some(artefact) = cache.get(key) else {
            return Ok(None);
        };
        let libraries = artefact.libraries.iter();
        let libraries = libraries.map(|library| self.cached_library(cache, library.digest));
        // A library may have been evicted. The component is compiled again then, and brings it.
        let Some(libraries) = libraries.collect() else {
            return Ok(None);
        };
        let Some(component) = usable(cache, key, artefact.code.load(&self.engine)) else {
            return Ok(None);
        };
        self.link(&component, &artefact, libraries, sha256, may_import_http)
            .map(Some)
    }

    /// Links a component, loaded from an artefact, with its imports.
    fn link(
        &self,
        component: &Component,
        artefact: &Artefact,
        libraries: Vec<Arc<LoadedLibrary>>,
        sha256: [u8; 32],
        may_import_http: bool,
    ) -> Result<Compiled, LoadError> {
        let (linker, sends_http) = self.linker_for(component, &libraries)?;
        // A missing grant is reported first, before other problems.
        if sends_http && !may_import_http {
            return Err(LoadError::NotGranted);
        }
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| LoadError::from_linker(format!("{error:#}")))?;
        let exports = ExportIndices {
            message: exports::on_message::GuestIndices::new(&pre).ok(),
            typing: exports::on_typing::GuestIndices::new(&pre).ok(),
            receipt: exports::on_receipt::GuestIndices::new(&pre).ok(),
            presence: exports::on_presence::GuestIndices::new(&pre).ok(),
            room: exports::on_room::GuestIndices::new(&pre).ok(),
            event: exports::on_event::GuestIndices::new(&pre).ok(),
            event_ack: exports::on_event_ack::GuestIndices::new(&pre).ok(),
            answer: exports::on_answer::GuestIndices::new(&pre).ok(),
            server_event: exports::on_server_event::GuestIndices::new(&pre).ok(),
            timer: exports::on_timer::GuestIndices::new(&pre).ok(),
            response: exports::on_response::GuestIndices::new(&pre).ok(),
            revise: exports::on_revise::GuestIndices::new(&pre).ok(),
            connect: exports::on_connect::GuestIndices::new(&pre).ok(),
        };
        let interfaces: BTreeSet<Interface> = Interface::ALL
            .into_iter()
            .filter(|interface| exports.has(*interface))
            .collect();
        let lines = LineTable::parse(&artefact.lines).unwrap_or_else(|| {
            tracing::warn!("the source lines of a component are damaged; its backtraces have none");
            LineTable::default()
        });
        Ok(Compiled {
            reset: artefact
                .shifts
                .and(self.pagemap.as_ref())
                .and_then(|pagemap| ResetExports::of(&pre, pagemap)),
            pre,
            exports,
            lines,
            origin: Origin {
                shifts: artefact.shifts.unwrap_or_default(),
                libraries: artefact.libraries.iter().cloned().zip(libraries).collect(),
            },
            sends_http,
            sha256,
            interfaces,
        })
    }
}

impl Sandbox {
    /// The linker that has the component's imports, and whether these include outgoing HTTP.
    fn linker_for(
        &self,
        component: &Component,
        libraries: &[Arc<LoadedLibrary>],
    ) -> Result<(Cow<'_, Linker<CallState>>, bool), LoadError> {
        let kind = component.component_type();
        let imports = |prefix| kind.imports(&self.engine).any(|(name, _)| name.starts_with(prefix));
        let (mut linker, sends_http) = if imports("wasi:") {
            (Cow::Borrowed(&self.wasi_linker), imports("wasi:http/"))
        } else {
            (Cow::Borrowed(&self.linker), false)
        };
        for (number, library) in libraries.iter().enumerate() {
            let mut root = linker.to_mut().root();
            root.module(&Library::import_name(number), &library.module)
                .map_err(|error| LoadError::from_linker(format!("{error:#}")))?;
        }
        Ok((linker, sends_http))
    }

    /// The shared HTTP client, created when it is first needed.
    pub(super) fn http_client(&self) -> Result<HttpClient, LoadError> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        let client = HttpClient::new().map_err(LoadError::Http)?;
        Ok(self.http.get_or_init(|| client).clone())
    }
}

impl ExportIndices {
    fn check_types(&self, store: &mut Store<CallState>, instance: &Instance) -> Result<(), LoadError> {
        macro_rules! check {
            ($($field:ident, $name:literal;)+) => {$(
                if let Some(indices) = &self.$field {
                    indices
                        .load(&mut *store, instance)
                        .map_err(|error| LoadError::Export { interface: $name, why: describe(&error) })?;
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
            event_ack, "on-event-ack";
            answer, "on-answer";
            server_event, "on-server-event";
            timer, "on-timer";
            response, "on-response";
            revise, "on-revise";
            connect, "on-connect";
        }
        Ok(())
    }
}
