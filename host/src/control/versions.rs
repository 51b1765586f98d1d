//! Choosing between the versions of deployed handlers.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::document::HandlerDocument;
use super::known::Stored;
use super::siblings::{self, ATTEMPTS, Siblings};
use super::view::HandlerView;
use super::{Actor, Answer, Control, ControlError, State, entry};
use crate::store::catalog::{Component, Conflict, Put, RecordKey, RecordKind};

/// A change of a handler as it is to be decided.
struct Planned {
    /// That none of the tenant's handlers was changed meanwhile.
    none_changed: Put,
    /// The new document, without its component.
    put: Put,
    detail: Value,
    /// The revision of the handler's document that it is a change of; 0 for a new one.
    revision: u64,
    /// Something has to be loaded for it.
    settle: bool,
}

/// What is to change in a handler's document.
pub(super) struct Change<'a> {
    /// What the audit log calls it.
    pub(super) action: &'static str,
    /// A new version's component and its hash; with it the handler may be new.
    pub(super) component: Option<([u8; 32], Bytes)>,
    /// Makes the change, and gives what the audit log is told of it. Called again when another handler was changed in
    /// the meantime.
    pub(super) make: &'a (dyn Fn(&mut HandlerDocument, &Siblings<'_>) -> Answer<Value> + Sync),
}

impl<'a> Change<'a> {
    fn of(
        action: &'static str,
        make: &'a (dyn Fn(&mut HandlerDocument, &Siblings<'_>) -> Answer<Value> + Sync),
    ) -> Self {
        Self {
            action,
            component: None,
            make,
        }
    }
}

impl Control {
    /// The deployed handlers of a tenant.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub async fn handlers(&self, tenant: &str) -> Answer<Vec<HandlerView>> {
        let state = self.state.lock().await;
        state.live(tenant)?;
        let deployed = state.known.handlers(tenant);
        Ok(deployed.filter_map(|(name, _)| view(&state, tenant, name)).collect())
    }

    /// Changes the canary's share of the rooms: 1 to 99.
    ///
    /// # Errors
    /// When there is no canary, or no such share.
    pub async fn set_canary(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        handler: &str,
        percent: u8,
    ) -> Answer<HandlerView> {
        check_percent(percent)?;
        let change = |document: &mut HandlerDocument, _: &Siblings<'_>| match &mut document.canary {
            Some(canary) => {
                canary.percent = percent;
                Ok(json!({ "handler": handler, "version": canary.version, "percent": percent }))
            }
            None => Err(no_canary()),
        };
        self.change(actor, tenant, handler, Change::of("handler.canary", &change))
            .await
    }

    /// Puts the canary into service for everything.
    ///
    /// # Errors
    /// When there is no canary, or another deployed handler handles one of its events.
    pub async fn promote(self: &Arc<Self>, actor: &Actor, tenant: &str, handler: &str) -> Answer<HandlerView> {
        let change = |document: &mut HandlerDocument, _: &Siblings<'_>| match document.canary {
            Some(canary) => {
                document.activate(canary.version);
                Ok(json!({ "handler": handler, "version": canary.version }))
            }
            None => Err(no_canary()),
        };
        self.change(actor, tenant, handler, Change::of("handler.promote", &change))
            .await
    }

    /// Takes the canary out of service; without one, goes back to the version that was active before, or to version
    /// `to`. When there was none before, the configured handler takes over.
    ///
    /// # Errors
    /// When version `to` is not kept or is active already, nothing is in service, or another deployed handler handles
    /// by now what the version would handle.
    pub async fn rollback(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        handler: &str,
        to: Option<u64>,
    ) -> Answer<HandlerView> {
        let change = |document: &mut HandlerDocument, _: &Siblings<'_>| {
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
        self.change(actor, tenant, handler, Change::of("handler.rollback", &change))
            .await
    }

    /// Takes a version out of service because it failed too often; nothing when it is not in service any more. A canary
    /// beside it is on trial still: nothing is known against it.
    ///
    /// # Errors
    /// When there is nothing to go back to; see [`Siblings::way_back`].
    pub(super) async fn fail(
        self: &Arc<Self>,
        tenant: &str,
        handler: &str,
        version: u64,
        why: &str,
    ) -> Answer<HandlerView> {
        let change = |document: &mut HandlerDocument, siblings: &Siblings<'_>| {
            if !document.in_service().any(|other| other.version == version) {
                return Err(ControlError::Conflict("it is not in service any more".to_owned()));
            }
            if document.canary.is_some_and(|canary| canary.version == version) {
                document.canary = None;
            } else {
                let to = siblings.way_back(document).map_err(ControlError::Conflict)?;
                document.go_back_to(to);
            }
            if let Some(failed) = document.versions.iter_mut().find(|other| other.version == version) {
                failed.failed = Some(why.to_owned());
            }
            let canary = document.canary.map(|canary| canary.version);
            Ok(json!({ "handler": handler, "from": version, "to": document.active, "canary": canary, "why": why }))
        };
        self.change(
            &Actor::server(),
            tenant,
            handler,
            Change::of("handler.rollback", &change),
        )
        .await
    }

    /// Takes a deployed handler out of service and forgets its versions; the configured handlers take over.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn remove_handler(self: &Arc<Self>, actor: &Actor, tenant: &str, handler: &str) -> Answer<()> {
        let put = {
            let state = self.state.lock().await;
            state.live(tenant)?;
            let stored = deployed(&state, tenant, handler).ok_or_else(|| no_handler(handler))?;
            Put {
                key: key(tenant, handler),
                document: serde_json::to_string(&stored.document.removed()).ok(),
                expect: Some(stored.revision),
                component: None,
            }
        };
        let audit = entry(actor, tenant, "handler.remove", &json!({ "handler": handler }));
        self.decide(tenant, vec![put], audit, false).await
    }

    /// Changes a handler's document and makes it effective here.
    pub(super) async fn change(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        handler: &str,
        change: Change<'_>,
    ) -> Answer<HandlerView> {
        let mut revision = None;
        for _ in 0..ATTEMPTS {
            let planned = self
                .state
                .lock()
                .await
                .plan_change(tenant, handler, &change, revision)?;
            revision = Some(planned.revision);
            let audit = entry(actor, tenant, change.action, &planned.detail);
            let component = change.component.as_ref().map(|(sha256, bytes)| Component {
                sha256: *sha256,
                bytes: bytes.to_vec(),
            });
            let put = Put {
                component,
                ..planned.put
            };
            let puts = vec![planned.none_changed, put];
            match self.attempt(tenant, puts, audit, planned.settle).await? {
                Ok(()) => {
                    tracing::info!(tenant, handler, actor = &*actor.0, detail = %planned.detail, "{}", change.action);
                    let state = self.state.lock().await;
                    return view(&state, tenant, handler).ok_or_else(|| no_handler(handler));
                }
                Err(conflict) if conflict.key == siblings::key(tenant) => self.read().await?,
                Err(conflict) => return Err(conflict.into()),
            }
        }
        Err(changed(tenant, handler))
    }
}

impl State {
    /// `revision` is that of the handler's document when the change was made before, in vain. What somebody has decided
    /// of the same handler since then is theirs to look at first.
    fn plan_change(&self, tenant: &str, handler: &str, change: &Change<'_>, revision: Option<u64>) -> Answer<Planned> {
        let live = self.live(tenant)?;
        // The number of one that was removed is not given again.
        let stored = self.known.handler(tenant, handler);
        let now = stored.map_or(0, |stored| stored.revision);
        if revision.is_some_and(|revision| revision != now) {
            return Err(changed(tenant, handler));
        }
        if change.component.is_none() && deployed(self, tenant, handler).is_none() {
            return Err(no_handler(handler));
        }
        let before = stored.map(|stored| stored.document.clone()).unwrap_or_default();
        let mut document = before.clone();
        let siblings = Siblings {
            handler,
            known: &self.known,
            live,
        };
        let detail = (change.make)(&mut document, &siblings)?;
        document.prune(siblings.settings().limits.quota.versions);
        let is_new = change.component.is_some();
        siblings.check_events(&before, &document, is_new)?;
        if is_new {
            siblings.check_kept(&document)?;
        }
        // Going to versions that are loaded needs no time, and must not wait for one that is being loaded.
        let running = live.running.get(handler);
        let is_loaded = |number| running.is_some_and(|running| running.loaded.contains_key(&number));
        let settle = !document.in_service().all(|version| is_loaded(version.version));
        let put = Put {
            key: key(tenant, handler),
            document: serde_json::to_string(&document).ok(),
            expect: Some(now),
            component: None,
        };
        Ok(Planned {
            none_changed: siblings::none_changed(&self.known, tenant),
            put,
            detail,
            revision: now,
            settle,
        })
    }
}

fn deployed<'a>(state: &'a State, tenant: &str, handler: &str) -> Option<&'a Stored<HandlerDocument>> {
    let stored = state.known.handler(tenant, handler)?;
    (!stored.document.is_removed()).then_some(stored)
}

fn view(state: &State, tenant: &str, handler: &str) -> Option<HandlerView> {
    let stored = deployed(state, tenant, handler)?;
    let running = state.tenants.get(tenant).and_then(|live| live.running.get(handler));
    Some(stored.document.view(handler, stored.revision, running))
}

fn key(tenant: &str, handler: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Handler,
        tenant: tenant.to_owned(),
        name: handler.to_owned(),
    }
}

/// Somebody else has changed the same handler.
fn changed(tenant: &str, handler: &str) -> ControlError {
    let key = key(tenant, handler);
    Conflict { key }.into()
}

fn no_handler(handler: &str) -> ControlError {
    ControlError::NotFound(format!("no handler {handler:?} is deployed"))
}

fn no_canary() -> ControlError {
    ControlError::Conflict("there is no canary; deploy one with --canary".to_owned())
}

pub(super) fn check_percent(percent: u8) -> Answer<()> {
    if (1..=99).contains(&percent) {
        Ok(())
    } else {
        Err(ControlError::invalid("the share of a canary is from 1 to 99 percent"))
    }
}
