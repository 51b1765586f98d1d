//! Automatic rollbacks, from the decision on this node to the catalog.
//!
//! A version that fails too often stops serving whether or not the store answers. So a rollback takes effect on this
//! node as soon as it is decided, in the node's own copy of the handler's document. Once the store answers it is
//! recorded in the catalog ([`Control::record_rollbacks`]), where the other nodes find it.
//!
//! In the meantime the catalog may change: another node rolls back the version too, or an operator decides something
//! through a node that reaches the store. When this node reads such a change it applies its rollback to the new
//! document ([`ControlState::reapply_rollbacks`]), so that all nodes end with the same document:
//!
//! - It is dropped when the version is out of service in the new document.
//! - It is dropped when another node has rolled the version back and an operator has chosen it again, which the reason
//!   in the new document shows. The operator knew of the failures, so the version is judged anew.
//! - It is dropped, and the log says so, when there is nothing left to go back to.
//! - Otherwise it holds. An operator who has promoted a failing canary, or changed its share, did not know of its
//!   failures.

use std::sync::Arc;

use serde_json::{Value, json};

use super::document::HandlerDocument;
use super::validation::{self, HandlerValidator, MAX_ATTEMPTS};
use super::versions::{deployed, key, no_handler};
use super::{Actor, Control, ControlError, ControlResult, ControlState, audit_entry};
use crate::dispatch::now_ms;
use parlance_store::catalog::{AuditEntry, Put};

/// A rollback that is in force on this node and that the catalog does not have yet.
#[derive(Debug, Clone)]
pub(super) struct Rollback {
    version: u64,
    why: String,
    /// When it was decided, in milliseconds since the Unix epoch.
    at_ms: u64,
    /// Why the version had been rolled back earlier, as the catalog had it at that moment.
    failed_before: Option<String>,
    /// The particulars of the entry in the audit log.
    detail: Value,
}

impl Rollback {
    fn audit_entry(&self, tenant: &str) -> AuditEntry {
        AuditEntry {
            at_ms: self.at_ms,
            ..audit_entry(&Actor::server(), tenant, "handler.rollback", &self.detail)
        }
    }
}

impl ControlState {
    /// Takes a version out of service on this node, and gives the version that is active then. A canary beside it stays
    /// on trial: its failures are counted separately.
    ///
    /// # Errors
    /// The version is not in service, or there is nothing to go back to ([`HandlerValidator::rollback_target`]).
    fn roll_back(&mut self, tenant: &str, handler: &str, mut rollback: Rollback) -> ControlResult<Option<u64>> {
        let stored = deployed(self, tenant, handler).ok_or_else(|| no_handler(handler))?;
        let mut document = stored.document.clone();
        let version = rollback.version;
        if !document.in_service().any(|other| other.version == version) {
            return Err(ControlError::Conflict("it is not in service any more".to_owned()));
        }
        if document.canary.is_some_and(|canary| canary.version == version) {
            document.canary = None;
        } else {
            let validator = HandlerValidator {
                handler,
                desired: &self.desired,
                actual: self.actual(tenant)?,
            };
            let to = validator.rollback_target(&document).map_err(ControlError::Conflict)?;
            document.roll_back_to(to);
        }
        if let Some(failed) = document.versions.iter_mut().find(|other| other.version == version) {
            failed.failed = Some(rollback.why.clone());
        }
        let active = document.active;
        rollback.detail = json!({
            "handler": handler, "from": version, "to": active,
            "canary": document.canary.map(|canary| canary.version), "why": rollback.why,
        });
        self.desired.add_rollback(tenant, handler, document, rollback);
        self.update_routes(tenant);
        Ok(active)
    }

    /// Applies the rollbacks that the catalog does not have to the documents that have been read since.
    pub(super) fn reapply_rollbacks(&mut self, tenant: &str) {
        for (handler, rollbacks) in self.desired.take_unrecorded(tenant) {
            for rollback in rollbacks {
                self.reapply(tenant, &handler, rollback);
            }
        }
    }

    fn reapply(&mut self, tenant: &str, handler: &str, rollback: Rollback) {
        let version = rollback.version;
        let stored = self.desired.handler(tenant, handler);
        let is_in_service = |document: &HandlerDocument| document.in_service().any(|other| other.version == version);
        if !stored.is_some_and(|stored| is_in_service(&stored.document)) {
            return;
        }
        if self.desired.recorded_failure(tenant, handler, version) != rollback.failed_before.as_ref() {
            tracing::info!(
                tenant,
                handler,
                version,
                "the version was rolled back here, but an operator has chosen it again since: it is judged anew"
            );
            return;
        }
        let why = rollback.why.clone();
        if let Err(error) = self.roll_back(tenant, handler, rollback) {
            tracing::error!(
                tenant,
                handler,
                version,
                "the version was rolled back here and is in service again: {why}; {error}"
            );
        }
    }

    /// The change of the catalog that records the rollbacks of a handler; `None` when there are none to record.
    fn plan_record(&self, tenant: &str, handler: &str) -> Option<(Vec<Put>, Vec<AuditEntry>)> {
        let audit = self.unrecorded_entries(tenant, handler);
        let stored = self.desired.handler(tenant, handler)?;
        let put = Put {
            key: key(tenant, handler),
            document: serde_json::to_string(&stored.document).ok(),
            expect: Some(stored.revision),
            component: None,
        };
        let puts = vec![validation::handlers_unchanged(&self.desired, tenant), put];
        (!audit.is_empty()).then_some((puts, audit))
    }

    /// The audit entries of rollbacks that the catalog does not have yet.
    pub(super) fn unrecorded_entries(&self, tenant: &str, handler: &str) -> Vec<AuditEntry> {
        let rollbacks = self.desired.unrecorded(tenant, handler).iter();
        rollbacks.map(|rollback| rollback.audit_entry(tenant)).collect()
    }
}

impl Control {
    /// Takes a version out of service because it failed too often: at once on this node, and on the others when the
    /// store answers. Gives the version that is active then.
    ///
    /// # Errors
    /// The version is not in service, or there is nothing to go back to ([`HandlerValidator::rollback_target`]).
    pub(super) async fn roll_back_failing(
        &self,
        tenant: &str,
        handler: &str,
        version: u64,
        why: &str,
    ) -> ControlResult<Option<u64>> {
        let state = &mut *self.state.lock().await;
        let rollback = Rollback {
            version,
            why: why.to_owned(),
            at_ms: now_ms(),
            failed_before: state.desired.recorded_failure(tenant, handler, version).cloned(),
            detail: Value::Null,
        };
        let active = state.roll_back(tenant, handler, rollback)?;
        self.catalog_work.notify_one();
        Ok(active)
    }

    /// Records the rollbacks of this node in the catalog.
    ///
    /// # Errors
    /// When the store cannot serve. The rollbacks stay in force here.
    pub(super) async fn record_rollbacks(self: &Arc<Self>) -> ControlResult<()> {
        for _ in 0..MAX_ATTEMPTS {
            let unrecorded = self.state.lock().await.desired.all_unrecorded();
            if unrecorded.is_empty() {
                break;
            }
            for (tenant, handler) in unrecorded {
                let Some((puts, audit)) = self.state.lock().await.plan_record(&tenant, &handler) else {
                    continue;
                };
                match self.try_apply(&tenant, puts, audit, false).await? {
                    Ok(()) => tracing::info!(tenant, handler, "the automatic rollback is in the catalog"),
                    // Another decision came first. The next attempt records what is left then.
                    Err(_) => self.read_catalog().await?,
                }
            }
        }
        Ok(())
    }
}
