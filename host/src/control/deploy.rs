//! Deploying components: checked, kept, and put into service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::document::{CanaryDocument, HandlerDocument, VersionDocument};
use super::siblings::Siblings;
use super::versions::{Change, check_percent};
use super::view::{DeployStep, HandlerView};
use super::{Actor, Answer, Control, ControlError};
use crate::capability::{Grants, HandlerInfo, Isolation};
use crate::id::check_handler_name;
use crate::sandbox::{GuestLimits, Handler, LoadError, hex};

/// Bytes of a note.
const NOTE_MAX: usize = 1000;
/// Settings of a version, and bytes of each name and value.
const SETTINGS_MAX: usize = 100;
const SETTING_BYTES_MAX: usize = 16 * 1024;
/// Deployments that may be under way at once on a node, each with its component in memory; of one tenant, one.
pub(super) const DEPLOYS: usize = 8;

/// A component to be put into service.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The handler's name: 1 to 63 of lower-case letters, digits and `-`.
    pub handler: String,
    /// The component's bytes.
    pub component: Bytes,
    /// The share of rooms to begin with, 1 to 99; all when not given.
    pub canary: Option<u8>,
    /// What there is to say of it, at most 1,000 bytes.
    pub note: Option<String>,
    /// What the component can read; those of the version before when not given.
    pub settings: Option<BTreeMap<String, String>>,
    /// Whether its instances are used again: `fresh` or `warm`; as the version before when not given.
    pub isolation: Option<String>,
}

/// A tenant's turn to deploy. Given back when it is dropped.
pub struct Turn {
    tenant: String,
    component_size: usize,
    deploying: Arc<parking_lot::Mutex<BTreeSet<String>>>,
    _place: OwnedSemaphorePermit,
}

impl Turn {
    /// The most bytes that the component may have (`sandbox.component_size` of the tenant).
    #[must_use]
    pub fn component_size(&self) -> usize {
        self.component_size
    }

    /// What is said of a component that has more.
    #[must_use]
    pub fn too_large(&self) -> ControlError {
        too_large(self.component_size)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.deploying.lock().remove(&self.tenant);
    }
}

pub(super) fn hash_from(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (n, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(n * 2..n * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

impl Control {
    /// Checks a component, keeps it, and puts it into service: for everything, or for a share of the rooms.
    /// `progress` is told of each step as it begins. Once begun it goes on to its end, also when whoever asked for it
    /// has gone.
    ///
    /// # Errors
    /// What is wrong with the component or the wish; then nothing has changed.
    pub async fn deploy(
        self: &Arc<Self>,
        actor: &Actor,
        turn: Turn,
        deployment: Deployment,
        progress: impl Fn(DeployStep) + Send + Sync + 'static,
    ) -> Answer<HandlerView> {
        let (control, actor) = (self.clone(), actor.clone());
        let task = tokio::spawn(async move {
            let done = control.deploy_now(&actor, &turn.tenant, deployment, &progress).await;
            drop(turn);
            done
        });
        task.await
            .map_err(|_| ControlError::Conflict("the server is stopping; look at what has become of it".to_owned()))?
    }

    /// A tenant's turn to deploy, to be taken before its component is read into memory.
    ///
    /// # Errors
    /// There is no such tenant, or too much is under way.
    pub async fn turn(&self, tenant: &str) -> Answer<Turn> {
        let component_size = {
            let state = self.state.lock().await;
            state.live(tenant)?.tenant.settings().limits.guest.component_size
        };
        let place = self.deploys.clone().try_acquire_owned().map_err(|_| {
            ControlError::TooMany(format!(
                "{DEPLOYS} deployments are under way on this node, which are all that it takes at once; try again later"
            ))
        })?;
        if !self.deploying.lock().insert(tenant.to_owned()) {
            return Err(ControlError::TooMany(
                "a deployment of this tenant is under way on this node; try again when it has ended".to_owned(),
            ));
        }
        Ok(Turn {
            tenant: tenant.to_owned(),
            component_size,
            deploying: self.deploying.clone(),
            _place: place,
        })
    }

    async fn deploy_now(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        deployment: Deployment,
        progress: &(dyn Fn(DeployStep) + Send + Sync),
    ) -> Answer<HandlerView> {
        let Deployment {
            handler,
            component,
            canary,
            note,
            settings,
            isolation,
        } = deployment;
        check_wish(&handler, canary, note.as_deref(), settings.as_ref())?;
        let wished = match isolation.as_deref() {
            None => None,
            Some(name) => Some(Isolation::from_name(name).ok_or_else(|| {
                ControlError::invalid(format!("the isolation {name:?} is not known; it is fresh or warm"))
            })?),
        };
        // What is refused anyway is not compiled first; it is asked again below, since others deploy meanwhile.
        let (begun_with, limits, grants) = {
            let state = self.state.lock().await;
            let live = state.live(tenant)?;
            let known = state
                .known
                .handler(tenant, &handler)
                .map(|stored| stored.document.clone());
            let known = known.unwrap_or_default();
            let siblings = Siblings {
                handler: &handler,
                known: &state.known,
                live,
            };
            check_place(&known, canary, &siblings)?;
            let limits = live.tenant.settings().limits.guest.clone();
            (Arc::downgrade(&live.tenant), limits, live.grants.clone())
        };
        if component.len() > limits.component_size {
            return Err(too_large(limits.component_size));
        }
        let hash: [u8; 32] = Sha256::digest(&component).into();
        let sha256 = hex(&hash);
        let size = component.len() as u64;
        progress(DeployStep::Received {
            size,
            sha256: sha256.clone(),
        });

        progress(DeployStep::Compiling);
        // Kept until the version is in service, so that it is not compiled again for that.
        let loaded = self.try_load(&handler, grants, component.clone(), limits).await?;
        let events: Vec<String> = loaded
            .interfaces()
            .filter(|interface| interface.is_routed())
            .map(|interface| interface.name().to_owned())
            .collect();

        progress(DeployStep::Storing);
        let change = |document: &mut HandlerDocument, siblings: &Siblings<'_>| {
            siblings.check_tenant(&begun_with)?;
            check_place(document, canary, siblings)?;
            let before = document.versions.last();
            let settings = settings
                .clone()
                .or_else(|| before.map(|version| version.settings.clone()))
                .unwrap_or_default();
            let isolation = wished
                .or_else(|| before.map(|version| version.isolation))
                .unwrap_or_default();
            // Their names: the values may be secrets.
            let changed: Vec<String> = {
                let old = before.map(|version| &version.settings);
                let new = settings
                    .iter()
                    .filter(|(key, value)| old.and_then(|old| old.get(*key)) != Some(*value));
                let gone = old
                    .into_iter()
                    .flatten()
                    .filter(|(key, _)| !settings.contains_key(*key));
                new.chain(gone).map(|(key, _)| key.clone()).collect()
            };
            document.last += 1;
            let version = document.last;
            document.versions.push(VersionDocument {
                version,
                sha256: sha256.clone(),
                size,
                events: events.clone(),
                deployed_at: crate::dispatch::now_ms(),
                deployed_by: actor.0.to_string(),
                note: note.clone(),
                failed: None,
                settings,
                isolation,
            });
            match canary {
                Some(percent) => document.canary = Some(CanaryDocument { version, percent }),
                None => {
                    document.canary = None;
                    document.activate(version);
                }
            }
            Ok(json!({
                "handler": handler, "version": version, "sha256": sha256, "canary": canary, "note": note,
                "isolation": isolation, "settingsChanged": changed,
            }))
        };
        progress(DeployStep::Activating);
        let change = Change {
            action: "handler.deploy",
            component: Some((hash, component)),
            make: &change,
        };
        let view = self.change(actor, tenant, &handler, change).await?;
        drop(loaded);
        let version = view.versions.first().map_or(0, |version| version.version);
        progress(DeployStep::Done { version });
        Ok(view)
    }

    async fn try_load(
        &self,
        handler: &str,
        grants: Arc<Grants>,
        component: Bytes,
        limits: GuestLimits,
    ) -> Answer<Handler> {
        let info = Arc::new(HandlerInfo {
            name: handler.into(),
            grants,
            ..HandlerInfo::default()
        });
        self.parts
            .sandbox
            .load_blocking(move |sandbox| sandbox.load(info, &component, &limits))
            .await
            .map_err(|_| ControlError::Host("the component could not be checked; try again".to_owned()))?
            .map_err(|error| match error {
                LoadError::Host(_) | LoadError::CompileWallTime { .. } => ControlError::Host(error.to_string()),
                _ => ControlError::invalid(error.to_string()),
            })
    }
}

fn too_large(most: usize) -> ControlError {
    ControlError::TooLarge(format!(
        "the component has more than {most} bytes, which are all that are allowed (sandbox.component_size)"
    ))
}

/// Whether the handler may be deployed, if it is not yet, and with a canary, if one is wished for.
fn check_place(document: &HandlerDocument, canary: Option<u8>, siblings: &Siblings<'_>) -> Answer<()> {
    let (others, limit) = (siblings.others().count(), siblings.settings().limits.quota.handlers);
    if document.is_removed() && others >= limit {
        return Err(ControlError::Conflict(format!(
            "the tenant has {others} deployed handlers and may have {limit} (quota.handlers); remove one first"
        )));
    }
    if canary.is_some() && document.canary.is_some() {
        return Err(ControlError::Conflict(
            "there is a canary already; promote it or roll it back first".to_owned(),
        ));
    }
    Ok(())
}

fn check_wish(
    handler: &str,
    canary: Option<u8>,
    note: Option<&str>,
    settings: Option<&BTreeMap<String, String>>,
) -> Answer<()> {
    check_handler_name(handler).map_err(|error| ControlError::invalid(error.to_string()))?;
    canary.map_or(Ok(()), check_percent)?;
    if note.is_some_and(|note| note.len() > NOTE_MAX) {
        return Err(ControlError::invalid(format!(
            "the note has more than {NOTE_MAX} bytes"
        )));
    }
    let too_long = |text: &String| text.len() > SETTING_BYTES_MAX;
    if settings.is_some_and(|all| all.len() > SETTINGS_MAX || all.iter().any(|(n, v)| too_long(n) || too_long(v))) {
        return Err(ControlError::invalid(format!(
            "there are more than {SETTINGS_MAX} settings, or one has more than {SETTING_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}
