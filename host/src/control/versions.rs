//! Deploying components, and choosing between their versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::document::{CanaryDocument, HandlerDocument, VersionDocument};
use super::live::{Deployed, Live};
use super::view::{DeployStep, HandlerView};
use super::{Actor, Answer, Control, ControlError, entry};
use crate::capability::{HandlerInfo, Isolation};
use crate::id::check_handler_name;
use crate::sandbox::hex;
use crate::store::catalog::{Put, RecordKey, RecordKind};

/// Bytes of a note.
const NOTE_MAX: usize = 1000;
/// Settings of a version, and bytes of each name and value.
const SETTINGS_MAX: usize = 100;
const SETTING_BYTES_MAX: usize = 16 * 1024;

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

/// What is to change in a handler's document, and what the audit log is told of it.
type Change<'a> = dyn Fn(&mut HandlerDocument, &Live) -> Answer<Value> + Sync + 'a;

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
    /// The deployed handlers of a tenant.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub async fn handlers(&self, tenant: &str) -> Answer<Vec<HandlerView>> {
        let state = self.state.lock().await;
        let live = state.live(tenant)?;
        let view = |(name, deployed): (&String, &Deployed)| deployed.view(name);
        Ok(live.handlers.iter().map(view).collect())
    }

    /// Checks a component, keeps it, and puts it into service: for everything, or for a share of the rooms.
    /// `progress` is told of each step as it begins.
    ///
    /// # Errors
    /// What is wrong with the component or the wish; then nothing has changed.
    pub async fn deploy(
        &self,
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
        let (quota, limits, known, grants) = {
            let state = self.state.lock().await;
            let live = state.live(tenant)?;
            let known = live.handlers.get(&handler).map(|deployed| deployed.document.clone());
            if known.is_none() && live.handlers.len() >= live.tenant.settings().quota.handlers {
                return Err(ControlError::Conflict(format!(
                    "the tenant has {} deployed handlers, which is all it may have (quota.handlers); remove one first",
                    live.handlers.len()
                )));
            }
            let settings = live.tenant.settings();
            let (quota, limits) = (settings.quota.clone(), settings.guest_limits.clone());
            (quota, limits, known.unwrap_or_default(), live.grants.clone())
        };
        if component.len() > quota.component_size {
            return Err(ControlError::TooLarge(format!(
                "the component has {} bytes; at most {} are allowed (sandbox.component_size)",
                component.len(),
                quota.component_size
            )));
        }
        if canary.is_some() && known.canary.is_some() {
            return Err(ControlError::Conflict(
                "there is a canary already; promote it or roll it back first".to_owned(),
            ));
        }
        let hash: [u8; 32] = Sha256::digest(&component).into();
        let sha256 = hex(&hash);
        progress(DeployStep::Received {
            size: component.len() as u64,
            sha256: sha256.clone(),
        });

        progress(DeployStep::Compiling);
        let before = known.versions.last();
        let settings = settings
            .or_else(|| before.map(|version| version.settings.clone()))
            .unwrap_or_default();
        let isolation = wished
            .or_else(|| before.map(|version| version.isolation))
            .unwrap_or_default();
        let info = Arc::new(HandlerInfo {
            name: handler.as_str().into(),
            settings: settings.clone(),
            grants,
            ..HandlerInfo::default()
        });
        let (sandbox, bytes) = (self.parts.sandbox.clone(), component.clone());
        let loaded = tokio::task::spawn_blocking(move || sandbox.load(info, &bytes, &limits))
            .await
            .map_err(|_| ControlError::invalid("the component could not be checked"))?
            .map_err(|error| ControlError::invalid(error.to_string()))?;
        let events: Vec<String> = loaded
            .interfaces()
            .map(|interface| interface.name().to_owned())
            .collect();

        progress(DeployStep::Storing);
        self.parts
            .catalog
            .put_component(tenant, hash, component.to_vec())
            .await?;

        progress(DeployStep::Activating);
        let size = component.len() as u64;
        let change = |document: &mut HandlerDocument, live: &Live| {
            let taken = |(name, other): (&String, &Deployed)| {
                let event = other
                    .document
                    .in_service()
                    .flat_map(|version| &version.events)
                    .find(|event| events.contains(event))?;
                (*name != handler).then(|| format!("{event} events are handled by {name:?}, which is deployed too"))
            };
            if let Some(taken) = live.handlers.iter().find_map(taken) {
                return Err(ControlError::Conflict(format!(
                    "{taken}; deploy under that name to replace it, or remove it first"
                )));
            }
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
                settings: settings.clone(),
                isolation,
            });
            match canary {
                Some(percent) => document.canary = Some(CanaryDocument { version, percent }),
                None => {
                    document.canary = None;
                    document.activate(version);
                }
            }
            Ok(json!({ "handler": handler, "version": version, "sha256": sha256, "canary": canary, "note": note }))
        };
        let view = self
            .change(actor, tenant, &handler, true, "handler.deploy", &change)
            .await?;
        let version = view.versions.first().map_or(0, |version| version.version);
        progress(DeployStep::Done { version });
        Ok(view)
    }

    /// Changes the canary's share of the rooms: 1 to 99.
    ///
    /// # Errors
    /// When there is no canary, or no such share.
    pub async fn set_canary(&self, actor: &Actor, tenant: &str, handler: &str, percent: u8) -> Answer<HandlerView> {
        check_percent(percent)?;
        let change = |document: &mut HandlerDocument, _: &Live| match &mut document.canary {
            Some(canary) => {
                canary.percent = percent;
                Ok(json!({ "handler": handler, "version": canary.version, "percent": percent }))
            }
            None => Err(no_canary()),
        };
        self.change(actor, tenant, handler, false, "handler.canary", &change)
            .await
    }

    /// Puts the canary into service for everything.
    ///
    /// # Errors
    /// When there is no canary.
    pub async fn promote(&self, actor: &Actor, tenant: &str, handler: &str) -> Answer<HandlerView> {
        let change = |document: &mut HandlerDocument, _: &Live| match document.canary {
            Some(canary) => {
                document.activate(canary.version);
                Ok(json!({ "handler": handler, "version": canary.version }))
            }
            None => Err(no_canary()),
        };
        self.change(actor, tenant, handler, false, "handler.promote", &change)
            .await
    }

    /// Takes the canary out of service; without one, goes back to the version that was active before, or to version
    /// `to`. When there was none before, the configured handler takes over.
    ///
    /// # Errors
    /// When version `to` is not kept or is active already, or nothing is in service.
    pub async fn rollback(&self, actor: &Actor, tenant: &str, handler: &str, to: Option<u64>) -> Answer<HandlerView> {
        let change = |document: &mut HandlerDocument, _: &Live| {
            let from = document.canary.map(|canary| canary.version).or(document.active);
            match to {
                Some(to) if document.version(to).is_none() => {
                    return Err(ControlError::NotFound(format!("version {to} is not kept")));
                }
                Some(to) if document.active == Some(to) && document.canary.is_none() => {
                    return Err(ControlError::Conflict(format!("version {to} is active already")));
                }
                Some(to) => {
                    document.canary = None;
                    document.activate(to);
                }
                None if from.is_none() => {
                    return Err(ControlError::Conflict("no version is in service".to_owned()));
                }
                None => document.go_back(),
            }
            Ok(json!({ "handler": handler, "from": from, "to": document.active }))
        };
        self.change(actor, tenant, handler, false, "handler.rollback", &change)
            .await
    }

    /// Takes a version out of service because it failed too often; nothing when it is not in service any more.
    pub(super) async fn fail(&self, tenant: &str, handler: &str, version: u64, why: &str) -> Answer<HandlerView> {
        let change = |document: &mut HandlerDocument, _: &Live| {
            if !document.in_service().any(|other| other.version == version) {
                return Err(ControlError::Conflict("it is not in service any more".to_owned()));
            }
            if document.canary.is_some_and(|canary| canary.version == version) {
                document.canary = None;
            } else {
                document.canary = None;
                document.go_back_from_active();
            }
            if let Some(failed) = document.versions.iter_mut().find(|other| other.version == version) {
                failed.failed = Some(why.to_owned());
            }
            Ok(json!({ "handler": handler, "from": version, "to": document.active, "why": why }))
        };
        self.change(&Actor::server(), tenant, handler, false, "handler.rollback", &change)
            .await
    }

    /// Takes a deployed handler out of service and forgets its versions; the configured handlers take over.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn remove_handler(&self, actor: &Actor, tenant: &str, handler: &str) -> Answer<()> {
        let (revision, hashes) = {
            let state = self.state.lock().await;
            let live = state.live(tenant)?;
            let deployed = live.handlers.get(handler).ok_or_else(|| no_handler(handler))?;
            let used_elsewhere = |hash: &String| {
                let others = live.handlers.iter().filter(|(name, _)| *name != handler);
                others
                    .flat_map(|(_, other)| &other.document.versions)
                    .any(|version| version.sha256 == *hash)
            };
            let hashes = deployed.document.versions.iter().map(|version| version.sha256.clone());
            let hashes: Vec<_> = hashes.filter(|hash| !used_elsewhere(hash)).collect();
            (deployed.revision, hashes)
        };
        let put = Put {
            key: key(tenant, handler),
            document: None,
            expect: Some(revision),
        };
        let audit = entry(actor, tenant, "handler.remove", &json!({ "handler": handler }));
        self.parts.catalog.put(vec![put], vec![audit]).await??;
        self.decided().await?;
        self.forget(tenant, &hashes).await;
        Ok(())
    }

    /// Changes a handler's document and makes it effective here.
    async fn change(
        &self,
        actor: &Actor,
        tenant: &str,
        handler: &str,
        may_be_new: bool,
        action: &str,
        change: &Change<'_>,
    ) -> Answer<HandlerView> {
        let (document, revision, detail, gone) = {
            let state = self.state.lock().await;
            let live = state.live(tenant)?;
            let (mut document, revision) = match live.handlers.get(handler) {
                Some(deployed) => (deployed.document.clone(), deployed.revision),
                None if may_be_new => (HandlerDocument::default(), 0),
                None => return Err(no_handler(handler)),
            };
            let detail = change(&mut document, live)?;
            let gone = document.prune(live.tenant.settings().quota.versions);
            let used_elsewhere = |hash: &String| {
                let others = live.handlers.iter().filter(|(name, _)| *name != handler);
                others
                    .flat_map(|(_, other)| &other.document.versions)
                    .any(|version| version.sha256 == *hash)
            };
            let gone: Vec<_> = gone.into_iter().filter(|hash| !used_elsewhere(hash)).collect();
            (document, revision, detail, gone)
        };
        let put = Put {
            key: key(tenant, handler),
            document: serde_json::to_string(&document).ok(),
            expect: Some(revision),
        };
        let audit = entry(actor, tenant, action, &detail);
        self.parts.catalog.put(vec![put], vec![audit]).await??;
        tracing::info!(tenant, handler, actor = &*actor.0, %detail, "{action}");
        self.decided().await?;
        self.forget(tenant, &gone).await;
        let state = self.state.lock().await;
        let deployed = state.live(tenant)?.handlers.get(handler);
        deployed
            .map(|deployed| deployed.view(handler))
            .ok_or_else(|| no_handler(handler))
    }

    /// Removes components that no version names any more. One that is left over costs space only.
    async fn forget(&self, tenant: &str, hashes: &[String]) {
        for hash in hashes.iter().filter_map(|hash| hash_from(hash)) {
            if let Err(error) = self.parts.catalog.remove_component(tenant, hash).await {
                tracing::warn!(
                    tenant,
                    error = format!("{error:#}"),
                    "an old component could not be removed"
                );
            }
        }
    }
}

impl Deployed {
    fn view(&self, name: &str) -> HandlerView {
        self.document.view(name, self.revision, |version| {
            self.loaded.get(&version).map(|handler| &**handler)
        })
    }
}

fn key(tenant: &str, handler: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Handler,
        tenant: tenant.to_owned(),
        name: handler.to_owned(),
    }
}

fn no_handler(handler: &str) -> ControlError {
    ControlError::NotFound(format!("no handler {handler:?} is deployed"))
}

fn no_canary() -> ControlError {
    ControlError::Conflict("there is no canary; deploy one with --canary".to_owned())
}

fn check_percent(percent: u8) -> Answer<()> {
    if (1..=99).contains(&percent) {
        Ok(())
    } else {
        Err(ControlError::invalid("the share of a canary is from 1 to 99 percent"))
    }
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
