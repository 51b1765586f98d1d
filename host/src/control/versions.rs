//! Chooses which versions of deployed handlers are in service.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Value, json};

use super::api::HandlerView;
use super::desired::Stored;
use super::document::HandlerDocument;
use super::validation::{self, HandlerValidator, MAX_ATTEMPTS};
use super::{Actor, Control, ControlError, ControlResult, ControlState, audit_entry};
use parlance_store::catalog::{AuditEntry, Component, Put, RecordKey, RecordKind};

/// A validated change of a handler, ready to be written.
struct PlannedChange {
    /// The change of the guard record.
    handlers_unchanged: Put,
    /// The new document, still without its component.
    put: Put,
    detail: Value,
    /// Audit entries of rollbacks on this node that the new document includes.
    unrecorded: Vec<AuditEntry>,
    /// Whether a version must be loaded for it.
    reconcile: bool,
}

/// A change of a handler's document.
pub(super) struct Change<'a> {
    /// Its action in the audit log.
    pub(super) action: &'static str,
    /// The component of a new version, and its hash. Only with one may the handler be new.
    pub(super) component: Option<([u8; 32], Bytes)>,
    /// Makes the change and gives the particulars for the audit log. Called again when the catalog has changed since
    /// this node read it.
    pub(super) apply: &'a (dyn Fn(&mut HandlerDocument, &HandlerValidator<'_>) -> ControlResult<Value> + Sync),
}

impl<'a> Change<'a> {
    fn of(
        action: &'static str,
        apply: &'a (dyn Fn(&mut HandlerDocument, &HandlerValidator<'_>) -> ControlResult<Value> + Sync),
    ) -> Self {
        Self {
            action,
            component: None,
            apply,
        }
    }
}

/// The version that a decision is about when its request does not name one: the one it finds at the first attempt.
#[derive(Default)]
struct ImpliedVersion(OnceLock<u64>);

impl ImpliedVersion {
    /// Refuses a later attempt that would change another version than the operator has seen.
    fn check(&self, version: u64) -> ControlResult<()> {
        let first = *self.0.get_or_init(|| version);
        if first == version {
            return Ok(());
        }
        Err(ControlError::Conflict(format!(
            "version {first} was replaced by version {version} at the same time; look at it and try again"
        )))
    }
}

impl Control {
    /// The deployed handlers of a tenant.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub async fn handlers(&self, tenant: &str) -> ControlResult<Vec<HandlerView>> {
        let state = self.state.lock().await;
        state.actual(tenant)?;
        let deployed = state.desired.handlers(tenant);
        Ok(deployed.filter_map(|(name, _)| view(&state, tenant, name)).collect())
    }

    /// Changes the canary's share of the rooms, 1 to 99 percent.
    ///
    /// # Errors
    /// When there is no canary, or the share is out of range.
    pub async fn set_canary(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        handler: &str,
        percent: u8,
    ) -> ControlResult<HandlerView> {
        check_percent(percent)?;
        let implied = ImpliedVersion::default();
        let change = |document: &mut HandlerDocument, _: &HandlerValidator<'_>| match &mut document.canary {
            Some(canary) => {
                implied.check(canary.version)?;
                canary.percent = percent;
                Ok(json!({ "handler": handler, "version": canary.version, "percent": percent }))
            }
            None => Err(no_canary()),
        };
        self.change(actor, tenant, handler, Change::of("handler.canary", &change))
            .await
    }

    /// Makes the canary the active version.
    ///
    /// # Errors
    /// When there is no canary, or another deployed handler handles one of its events.
    pub async fn promote(self: &Arc<Self>, actor: &Actor, tenant: &str, handler: &str) -> ControlResult<HandlerView> {
        let implied = ImpliedVersion::default();
        let change = |document: &mut HandlerDocument, _: &HandlerValidator<'_>| match document.canary {
            Some(canary) => {
                implied.check(canary.version)?;
                document.activate(canary.version);
                Ok(json!({ "handler": handler, "version": canary.version }))
            }
            None => Err(no_canary()),
        };
        self.change(actor, tenant, handler, Change::of("handler.promote", &change))
            .await
    }

    /// Takes the canary out of service; without one, goes back to the version that was active before, or to version
    /// `to`. The configured handler takes over when there was none before.
    ///
    /// # Errors
    /// When version `to` is not kept or is active already, no version is in service, or another deployed handler now
    /// handles an event of the version.
    pub async fn rollback(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        handler: &str,
        to: Option<u64>,
    ) -> ControlResult<HandlerView> {
        let implied = ImpliedVersion::default();
        let change = |document: &mut HandlerDocument, _: &HandlerValidator<'_>| {
            let from = document.canary.map(|canary| canary.version).or(document.active);
            match (to, from) {
                (Some(to), _) if document.version(to).is_none() => {
                    return Err(ControlError::NotFound(format!("version {to} is not kept")));
                }
                (Some(to), _) if document.active == Some(to) && document.canary.is_none() => {
                    return Err(ControlError::Conflict(format!("version {to} is active already")));
                }
                (Some(to), _) => {
                    document.canary = None;
                    document.activate(to);
                }
                (None, None) => return Err(ControlError::Conflict("no version is in service".to_owned())),
                (None, Some(from)) => {
                    implied.check(from)?;
                    document.roll_back();
                }
            }
            Ok(json!({ "handler": handler, "from": from, "to": document.active }))
        };
        self.change(actor, tenant, handler, Change::of("handler.rollback", &change))
            .await
    }

    /// Removes a deployed handler with its versions; the configured handlers take over.
    ///
    /// # Errors
    /// When no such handler is deployed.
    pub async fn remove_handler(self: &Arc<Self>, actor: &Actor, tenant: &str, handler: &str) -> ControlResult<()> {
        for _ in 0..MAX_ATTEMPTS {
            let (put, mut audit) = {
                let state = self.state.lock().await;
                state.actual(tenant)?;
                let stored = deployed(&state, tenant, handler).ok_or_else(|| no_handler(handler))?;
                let put = Put {
                    key: key(tenant, handler),
                    document: serde_json::to_string(&stored.document.removed()).ok(),
                    expect: Some(stored.revision),
                    component: None,
                };
                (put, state.unrecorded_entries(tenant, handler))
            };
            let removal = json!({ "handler": handler });
            audit.push(audit_entry(actor, tenant, "handler.remove", &removal));
            match self.try_apply(tenant, vec![put], audit, false).await? {
                Ok(()) => return Ok(()),
                Err(_) => self.read_catalog().await?,
            }
        }
        Err(contended(handler))
    }

    /// Changes a handler's document and puts the change into effect here. When the catalog has changed since this node
    /// read it, the change is validated and made anew: another operator was first, or this node has just recorded an
    /// automatic rollback that was in force already.
    pub(super) async fn change(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        handler: &str,
        change: Change<'_>,
    ) -> ControlResult<HandlerView> {
        for _ in 0..MAX_ATTEMPTS {
            let planned = self.state.lock().await.plan_change(tenant, handler, &change)?;
            let mut audit = planned.unrecorded;
            audit.push(audit_entry(actor, tenant, change.action, &planned.detail));
            let component = change.component.as_ref().map(|(sha256, bytes)| Component {
                sha256: *sha256,
                bytes: bytes.to_vec(),
            });
            let put = Put {
                component,
                ..planned.put
            };
            let puts = vec![planned.handlers_unchanged, put];
            match self.try_apply(tenant, puts, audit, planned.reconcile).await? {
                Ok(()) => {
                    tracing::info!(tenant, handler, actor = &*actor.0, detail = %planned.detail, "{}", change.action);
                    let state = self.state.lock().await;
                    return view(&state, tenant, handler).ok_or_else(|| no_handler(handler));
                }
                Err(_) => self.read_catalog().await?,
            }
        }
        Err(contended(handler))
    }
}

impl ControlState {
    /// Validates a change.
    fn plan_change(&self, tenant: &str, handler: &str, change: &Change<'_>) -> ControlResult<PlannedChange> {
        let actual = self.actual(tenant)?;
        // A removed handler counts too: its version numbers are not used again.
        let stored = self.desired.handler(tenant, handler);
        if change.component.is_none() && deployed(self, tenant, handler).is_none() {
            return Err(no_handler(handler));
        }
        let before = stored.map(|stored| stored.document.clone()).unwrap_or_default();
        let mut document = before.clone();
        let validator = HandlerValidator {
            handler,
            desired: &self.desired,
            actual,
        };
        let detail = (change.apply)(&mut document, &validator)?;
        document.prune(validator.settings().limits.quota.versions);
        let is_new = change.component.is_some();
        validator.check_events(&before, &document, is_new)?;
        if is_new {
            validator.check_component_bytes(&document)?;
        }
        // A change to versions that are loaded must not wait for another one that is being loaded.
        let actual_handler = actual.handlers.get(handler);
        let is_loaded =
            |number| actual_handler.is_some_and(|actual_handler| actual_handler.loaded.contains_key(&number));
        let reconcile = !document.in_service().all(|version| is_loaded(version.version));
        let put = Put {
            key: key(tenant, handler),
            document: serde_json::to_string(&document).ok(),
            expect: Some(stored.map_or(0, |stored| stored.revision)),
            component: None,
        };
        Ok(PlannedChange {
            handlers_unchanged: validation::handlers_unchanged(&self.desired, tenant),
            put,
            detail,
            unrecorded: self.unrecorded_entries(tenant, handler),
            reconcile,
        })
    }
}

pub(super) fn deployed<'a>(
    state: &'a ControlState,
    tenant: &str,
    handler: &str,
) -> Option<&'a Stored<HandlerDocument>> {
    let stored = state.desired.handler(tenant, handler)?;
    (!stored.document.is_removed()).then_some(stored)
}

fn view(state: &ControlState, tenant: &str, handler: &str) -> Option<HandlerView> {
    let stored = deployed(state, tenant, handler)?;
    let actual_handler = state
        .tenants
        .get(tenant)
        .and_then(|actual| actual.handlers.get(handler));
    Some(stored.document.view(handler, stored.revision, actual_handler))
}

pub(super) fn key(tenant: &str, handler: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Handler,
        tenant: tenant.to_owned(),
        name: handler.to_owned(),
    }
}

fn contended(handler: &str) -> ControlError {
    ControlError::contended(&format!("the handler {handler:?}"))
}

pub(super) fn no_handler(handler: &str) -> ControlError {
    ControlError::NotFound(format!("no handler {handler:?} is deployed"))
}

fn no_canary() -> ControlError {
    ControlError::Conflict("there is no canary; deploy one with --canary".to_owned())
}

pub(super) fn check_percent(percent: u8) -> ControlResult<()> {
    if (1..=99).contains(&percent) {
        Ok(())
    } else {
        Err(ControlError::invalid("the share of a canary is from 1 to 99 percent"))
    }
}
