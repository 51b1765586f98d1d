//! Deployments: a component is checked, stored and put into service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::api::{DeployStep, HandlerView};
use super::backtest::BacktestRule;
use super::custom_events::read_patterns;
use super::document::{CanaryDocument, HandlerDocument, VersionDocument};
use super::validation::HandlerValidator;
use super::versions::{Change, check_percent};
use super::{Actor, Control, ControlError, ControlResult};
use parlance_handler::capability::{EventPattern, Grants, HandlerInfo, Isolation, IsolationLevel};
use parlance_handler::sandbox::{GuestLimits, Handler, Interface, LoadError, hex};
use parlance_types::id::check_handler_name;

/// The largest note, in bytes.
const NOTE_MAX: usize = 1000;
/// The largest number of settings of a version, and the most bytes of a name or value.
const SETTINGS_MAX: usize = 100;
const SETTING_BYTES_MAX: usize = 16 * 1024;
/// Deployments at once on a node, each of which has its component in memory. A tenant has one at a time.
pub(super) const MAX_DEPLOYS: usize = 8;

/// A component to deploy.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The handler's name: 1 to 63 of lower-case letters, digits and `-`.
    pub handler: String,
    /// The component's bytes.
    pub component: Bytes,
    /// The share of rooms in percent to begin with, 1 to 99; all rooms when not given.
    pub canary: Option<u8>,
    /// A note for operators, at most 1,000 bytes.
    pub note: Option<String>,
    /// What the component can read with `settings.get`; as in the version before when not given.
    pub settings: Option<BTreeMap<String, String>>,
    /// `fresh` or `warm`; as in the version before when not given.
    pub isolation: Option<String>,
    /// `serializable` or `none`; as in the version before when not given.
    pub isolation_level: Option<String>,
    /// The custom events that it claims: names, or prefixes that end with `*`; `*` alone for all that no other handler
    /// claims. As in the version before when not given, or all that no other handler claims.
    pub events: Option<Vec<String>>,
    /// The backtest that it must pass, if any.
    pub backtest: Option<BacktestRule>,
}

/// Permission to deploy for a tenant. Dropping it lets the next deployment begin.
pub struct DeployPermit {
    tenant: String,
    component_size: usize,
    deploying_tenants: Arc<parking_lot::Mutex<BTreeSet<String>>>,
    _permit: OwnedSemaphorePermit,
}

impl DeployPermit {
    /// The tenant.
    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The largest component in bytes (`sandbox.component_size` of the tenant).
    #[must_use]
    pub fn component_size(&self) -> usize {
        self.component_size
    }

    /// The error for a component with more than [`component_size`](Self::component_size) bytes.
    #[must_use]
    pub fn too_large(&self) -> ControlError {
        too_large(self.component_size)
    }
}

impl Drop for DeployPermit {
    fn drop(&mut self) {
        self.deploying_tenants.lock().remove(&self.tenant);
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
    /// Checks a component, stores it, and puts it into service: for all rooms, or for a share of them. Calls `progress`
    /// with each step as it begins. The deployment begins with this call and goes on to its end, also when the returned
    /// future is dropped.
    ///
    /// # Errors
    /// The component or the request is refused; then nothing has changed.
    pub fn deploy<P: Fn(DeployStep) + Send + Sync + 'static>(
        self: &Arc<Self>,
        actor: &Actor,
        permit: DeployPermit,
        deployment: Deployment,
        progress: P,
    ) -> impl Future<Output = ControlResult<HandlerView>> + Send + use<P> {
        let (control, actor) = (self.clone(), actor.clone());
        let task = self.tasks.spawn("deployments", async move {
            let done = control.deploy_now(&actor, &permit.tenant, deployment, &progress).await;
            drop(permit);
            done
        });
        async move {
            task.await
                .map_err(|_| ControlError::Conflict("the server is stopping; check whether it was done".to_owned()))?
        }
    }

    /// Permits a deployment. Called before its component is read into memory.
    ///
    /// # Errors
    /// There is no such tenant, or too many deployments are under way.
    pub async fn deploy_permit(&self, tenant: &str) -> ControlResult<DeployPermit> {
        let component_size = {
            let state = self.state.lock().await;
            state.actual(tenant)?.tenant.settings().limits.guest.component_size
        };
        let permit = self.deploy_permits.clone().try_acquire_owned().map_err(|_| {
            ControlError::TooMany(format!(
                "{MAX_DEPLOYS} deployments are under way on this node, the most it runs at once; try again later"
            ))
        })?;
        if !self.deploying_tenants.lock().insert(tenant.to_owned()) {
            return Err(ControlError::TooMany(
                "a deployment of this tenant is under way on this node; try again when it has ended".to_owned(),
            ));
        }
        Ok(DeployPermit {
            tenant: tenant.to_owned(),
            component_size,
            deploying_tenants: self.deploying_tenants.clone(),
            _permit: permit,
        })
    }

    async fn deploy_now(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        deployment: Deployment,
        progress: &(dyn Fn(DeployStep) + Send + Sync),
    ) -> ControlResult<HandlerView> {
        let Deployment {
            handler,
            component,
            canary,
            note,
            settings,
            isolation,
            isolation_level,
            events: claimed,
            backtest,
        } = deployment;
        check_request(&handler, canary, note.as_deref(), settings.as_ref())?;
        let requested = match isolation.as_deref() {
            None => None,
            Some(name) => Some(
                Isolation::from_name(name)
                    .ok_or_else(|| ControlError::invalid(format!("isolation: must be fresh or warm, not {name:?}")))?,
            ),
        };
        let requested_level = match isolation_level.as_deref() {
            None => None,
            Some(name) => Some(IsolationLevel::from_name(name).ok_or_else(|| {
                ControlError::invalid(format!("isolationLevel: must be serializable or none, not {name:?}"))
            })?),
        };
        // Checked before the component is compiled, and again below, since others deploy in the meantime.
        let (initial_tenant, limits, grants, before) = {
            let state = self.state.lock().await;
            let actual = state.actual(tenant)?;
            let document = state
                .desired
                .handler(tenant, &handler)
                .map(|stored| stored.document.clone());
            let document = document.unwrap_or_default();
            let before = document.versions.last();
            let before = before.map(|version| version.settings.clone()).unwrap_or_default();
            let validator = HandlerValidator {
                handler: &handler,
                desired: &state.desired,
                actual,
            };
            check_limits(&document, canary, &validator)?;
            let limits = actual.tenant.settings().limits.guest.clone();
            (Arc::downgrade(&actual.tenant), limits, actual.grants.clone(), before)
        };
        let claimed = self.read_claimed(tenant, claimed).await?;
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
        // Held until the version is in service, so that its code stays in memory and is not loaded twice.
        let loaded = self
            .try_load(&handler, grants.clone(), component.clone(), limits.clone())
            .await?;
        let events: Vec<String> = loaded
            .interfaces()
            .filter(|interface| interface.is_routed())
            .map(|interface| interface.name().to_owned())
            .collect();
        let takes_custom_events = loaded.handles(Interface::Event);
        if claimed.as_ref().is_some_and(|claimed| !claimed.is_empty()) && !takes_custom_events {
            return Err(ControlError::invalid(
                "events: the component does not handle custom events (on-event); see `parlance inspect`",
            ));
        }

        if let Some(rule) = backtest {
            progress(DeployStep::Backtesting);
            let overrides = settings.clone().unwrap_or(before);
            let recorded = self
                .recorded(tenant, &handler, rule.last, overrides, limits.clone())
                .await?;
            let trial = self.try_load(&handler, grants, component.clone(), limits).await?;
            rule.check(&recorded.run(trial).await?)?;
        }

        progress(DeployStep::Storing);
        let change = |document: &mut HandlerDocument, validator: &HandlerValidator<'_>| {
            validator.check_tenant(&initial_tenant)?;
            check_limits(document, canary, validator)?;
            let before = document.versions.last();
            let settings = settings
                .clone()
                .or_else(|| before.map(|version| version.settings.clone()))
                .unwrap_or_default();
            let isolation = requested
                .or_else(|| before.map(|version| version.isolation))
                .unwrap_or_default();
            let isolation_level = requested_level
                .or_else(|| before.map(|version| version.isolation_level))
                .unwrap_or_default();
            let event_patterns = claimed
                .clone()
                .or_else(|| before.map(|version| version.event_patterns.clone()))
                .filter(|_| takes_custom_events)
                .unwrap_or_default();
            // Only the names: the values may be secrets.
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
                isolation_level,
                event_patterns: event_patterns.clone(),
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
                "isolation": isolation, "isolationLevel": isolation_level, "settingsChanged": changed,
                "eventPatterns": event_patterns,
            }))
        };
        progress(DeployStep::Activating);
        let change = Change {
            action: "handler.deploy",
            component: Some((hash, component)),
            apply: &change,
        };
        let view = self.change(actor, tenant, &handler, change).await?;
        drop(loaded);
        let version = view.versions.first().map_or(0, |version| version.version);
        progress(DeployStep::Done { version });
        Ok(view)
    }

    /// Reads the patterns of a deployment under the tenant's limits.
    async fn read_claimed(&self, tenant: &str, texts: Option<Vec<String>>) -> ControlResult<Option<Vec<EventPattern>>> {
        let Some(texts) = texts else { return Ok(None) };
        let name_max = {
            let state = self.state.lock().await;
            state.actual(tenant)?.tenant.settings().limits.call.client.event_name
        };
        read_patterns(&texts, name_max).map(Some)
    }

    pub(super) async fn try_load(
        &self,
        handler: &str,
        grants: Arc<Grants>,
        component: Bytes,
        limits: GuestLimits,
    ) -> ControlResult<Handler> {
        let info = Arc::new(HandlerInfo {
            name: handler.into(),
            grants,
            ..HandlerInfo::default()
        });
        self.deps
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
        "the component has more than the {most} bytes that are allowed (sandbox.component_size)"
    ))
}

/// Checks that the tenant may have one more handler, if this one is new, and a canary, if one is requested.
fn check_limits(document: &HandlerDocument, canary: Option<u8>, validator: &HandlerValidator<'_>) -> ControlResult<()> {
    let (others, limit) = (
        validator.other_handlers().count(),
        validator.settings().limits.quota.handlers,
    );
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

fn check_request(
    handler: &str,
    canary: Option<u8>,
    note: Option<&str>,
    settings: Option<&BTreeMap<String, String>>,
) -> ControlResult<()> {
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
