//! What all scenarios of a run share: the sandbox with the compiled components, and the runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use parlance_handler::capability::{Capability, ClientLimits, EventPattern, Grants, HandlerInfo, Isolation};
use parlance_handler::sandbox::{EngineLimits, GuestLimits, Handler, Interface, Sandbox};
use parlance_types::settings::{GIB, MIB, suggestion};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::file::{CapabilityName, HandlerSpec, InterfaceName, IsolationSpec};
use crate::handlers::TestHandler;

/// The shipped handlers, by name.
pub(super) const SHIPPED: [(&str, Interface); 6] = [
    ("message", Interface::Message),
    ("typing", Interface::Typing),
    ("receipt", Interface::Receipt),
    ("revise", Interface::Revise),
    ("presence", Interface::Presence),
    ("room", Interface::Room),
];
/// Most bytes of a component's file: the largest that a server can be set to take.
const COMPONENT_MAX: usize = 512 * MIB;

/// Makes a component of a source: a `.js` or `.ts` file, or a project's directory.
pub type BuildSource = Arc<dyn Fn(&Path) -> Result<Vec<u8>> + Send + Sync>;
/// Finds the component of a shipped handler by its name.
pub type ShippedHandlers = fn(&str) -> Option<&'static [u8]>;

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Shipped(String),
    Path(PathBuf),
}

/// What all scenarios of a run share.
pub(super) struct Environment {
    sandbox: Arc<Sandbox>,
    runtime: Runtime,
    build: Option<BuildSource>,
    shipped: Option<ShippedHandlers>,
    /// Each component is read and compiled once in a run. `true`: it imports HTTP and was loaded as if it had a grant.
    loaded: Mutex<BTreeMap<(Origin, bool), Arc<Handler>>>,
}

impl Environment {
    pub(super) fn new(
        cache: Option<&Path>,
        build: Option<BuildSource>,
        shipped: Option<ShippedHandlers>,
    ) -> Result<Self> {
        // Events run one at a time.
        let engine = EngineLimits {
            instances: 4,
            ..EngineLimits::default()
        };
        let largest = GuestLimits {
            memory: GIB,
            component_size: COMPONENT_MAX,
            ..GuestLimits::default()
        };
        let mut sandbox = Sandbox::new(engine, &largest)?;
        if let Some(cache) = cache {
            sandbox.open_cache(cache)?;
        }
        Ok(Self {
            sandbox: Arc::new(sandbox),
            runtime: Builder::new_current_thread()
                .enable_all()
                .build()
                .context("no runtime")?,
            build,
            shipped,
            loaded: Mutex::default(),
        })
    }

    pub(super) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Whether the shipped handlers are here, as they are in a server.
    pub(super) fn has_shipped(&self) -> bool {
        self.shipped.is_some()
    }

    /// The watched files that a handler is made of.
    pub(super) fn source(spec: &HandlerSpec, base: &Path) -> Option<PathBuf> {
        spec.component.as_ref().map(|path| base.join(path))
    }

    /// The handler with its name, settings and grants.
    pub(super) fn handler(&self, name: &str, spec: &HandlerSpec, base: &Path) -> Result<TestHandler> {
        let http = spec.grants.http.iter().map(|pattern| pattern.parse());
        let http = http.collect::<Result<Vec<_>, _>>().context("its grants")?;
        let origin = origin(spec, base)?;
        let handler = self.loaded(&origin, !http.is_empty())?;
        let event_patterns = patterns(spec)?;
        let info = Arc::new(HandlerInfo {
            name: name.into(),
            settings: spec
                .settings
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect(),
            grants: Arc::new(Grants {
                http,
                moderate: spec.grants.moderate,
            }),
            isolation_level: spec.isolation_level,
            isolation: match spec.isolation {
                IsolationSpec::Fresh => Isolation::Fresh,
                IsolationSpec::Warm => Isolation::Warm,
            },
            version: 0,
            event_patterns,
        });
        let routes = spec.routes.as_ref().map(|names| routes(names)).or(match &origin {
            Origin::Shipped(shipped) => {
                let of = SHIPPED.iter().find(|(name, _)| name == shipped);
                of.map(|(_, interface)| BTreeSet::from([*interface]))
            }
            Origin::Path(_) => None,
        });
        let by_patterns = (!info.event_patterns.is_empty()).then_some(Interface::Event);
        for interface in routes
            .iter()
            .flatten()
            .chain(&by_patterns)
            .filter(|interface| interface.is_routed())
        {
            if !handler.handles(*interface) {
                let exports: Vec<_> = handler.interfaces().map(Interface::export).collect();
                bail!(
                    "it does not export {}; it exports {}",
                    interface.export(),
                    exports.join(", ")
                );
            }
        }
        Ok(TestHandler {
            // Instances that wait for their next event are not shared between cases.
            handler: Arc::new(handler.with_info(info.clone())),
            info,
            routes,
        })
    }

    fn loaded(&self, origin: &Origin, granted: bool) -> Result<Arc<Handler>> {
        let key = (origin.clone(), granted);
        if let Some(known) = self.loaded.lock().get(&key) {
            return Ok(known.clone());
        }
        let handler = match origin {
            Origin::Shipped(name) => self.load(self.shipped(name)?, granted),
            Origin::Path(path) => self
                .load(&self.read(path)?, granted)
                .with_context(|| path.display().to_string()),
        }?;
        self.loaded.lock().insert(key, handler.clone());
        Ok(handler)
    }

    fn shipped(&self, name: &str) -> Result<&'static [u8]> {
        let component = self
            .shipped
            .context("it is a shipped handler, and those come with the server: run the file with `parlance test`")?;
        let known: Vec<_> = SHIPPED.iter().map(|(name, _)| *name).collect();
        component(name).with_context(|| {
            format!(
                "no handler is shipped with the name `{name}`; {}",
                suggestion(name, &known)
            )
        })
    }

    fn load(&self, bytes: &[u8], granted: bool) -> Result<Arc<Handler>> {
        let grants = Grants {
            http: if granted {
                vec!["example.org".parse()?]
            } else {
                Vec::new()
            },
            ..Grants::default()
        };
        let info = Arc::new(HandlerInfo {
            name: "scenario".into(),
            grants: Arc::new(grants),
            ..HandlerInfo::default()
        });
        let handler = self.sandbox.load(info, bytes, &GuestLimits::default())?;
        Ok(Arc::new(handler))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        let is_source = path.is_dir() || matches!(extension, "js" | "mjs" | "ts" | "mts" | "py");
        if !path.exists() {
            bail!(
                "{} does not exist. Build the handler first, for example with `parlance build`, or name its source \
                 here: its project's directory, or its .js or .ts file",
                path.display()
            );
        }
        match &self.build {
            Some(build) if is_source => build(path).with_context(|| format!("{} cannot be built", path.display())),
            None if is_source => bail!(
                "{} is a source, which cannot be built here: build it first, and name the .wasm file",
                path.display()
            ),
            _ => {
                let size = std::fs::metadata(path)?.len();
                if size > COMPONENT_MAX as u64 {
                    bail!(
                        "{} has {size} bytes; a component has at most {COMPONENT_MAX}",
                        path.display()
                    );
                }
                std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
            }
        }
    }

    /// Forgets the components that come from files, since the files may have changed.
    pub(super) fn forget_files(&self) {
        self.loaded
            .lock()
            .retain(|(origin, _), _| matches!(origin, Origin::Shipped(_)));
    }
}

fn origin(spec: &HandlerSpec, base: &Path) -> Result<Origin> {
    match (&spec.component, &spec.shipped) {
        (Some(path), None) => Ok(Origin::Path(base.join(path))),
        (None, Some(shipped)) => Ok(Origin::Shipped(shipped.clone())),
        (None, None) => bail!("it has no component: give it `component: FILE.wasm`"),
        (Some(_), Some(_)) => bail!("it has both `component` and `shipped`; it takes one of them"),
    }
}

/// The custom events that reach a handler.
fn patterns(spec: &HandlerSpec) -> Result<Vec<EventPattern>> {
    let Some(events) = &spec.events else {
        return Ok(Vec::new());
    };
    if spec
        .routes
        .as_ref()
        .is_some_and(|names| !names.contains(&InterfaceName::Event))
    {
        bail!("it has `events`, and `for` does not name `event`");
    }
    let name_max = ClientLimits::default().event_name;
    EventPattern::read_list(events.iter().map(String::as_str), name_max)
        .map_err(|problem| anyhow!("its key `events` {problem}"))
}

fn routes(names: &[InterfaceName]) -> BTreeSet<Interface> {
    let interface = |name: &InterfaceName| match name {
        InterfaceName::Message => Interface::Message,
        InterfaceName::Typing => Interface::Typing,
        InterfaceName::Receipt => Interface::Receipt,
        InterfaceName::Revise => Interface::Revise,
        InterfaceName::Presence => Interface::Presence,
        InterfaceName::Connect => Interface::Connect,
        InterfaceName::Room => Interface::Room,
        InterfaceName::Event => Interface::Event,
        InterfaceName::ServerEvent => Interface::ServerEvent,
    };
    // Answers, timers and responses go to the handler that has caused them.
    let caused = Interface::ALL.into_iter().filter(|interface| !interface.is_routed());
    names.iter().map(interface).chain(caused).collect()
}

/// A setting as the handler reads it: a value that is not text is its JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The capability with this name.
pub(super) fn capability(name: CapabilityName) -> Capability {
    match name {
        CapabilityName::Messages => Capability::Messages,
        CapabilityName::Kv => Capability::Kv,
        CapabilityName::Broadcast => Capability::Broadcast,
        CapabilityName::Rooms => Capability::Rooms,
        CapabilityName::Presence => Capability::Presence,
        CapabilityName::Timers => Capability::Timers,
        CapabilityName::Requests => Capability::Requests,
        CapabilityName::Revise => Capability::Revise,
        CapabilityName::Members => Capability::Members,
        CapabilityName::Moderate => Capability::Moderate,
        CapabilityName::Http => Capability::Http,
    }
}
