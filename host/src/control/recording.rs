//! Recordings of tenants' events, which operators begin and end. They are in memory, on the node that was asked.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::api::{RecordingRequest, RecordingView};
use super::{Actor, Control, ControlError, ControlResult};
use crate::tenant::{Recording, RecordingRules, Tenant};
use parlance_handler::recording::{Header, VERSION};
use parlance_types::id::check_handler_name;

/// Recordings of all tenants on this node, ended ones that are kept included.
const RECORDINGS_MAX: usize = 16;
/// Events of one recording.
pub const EVENTS_MAX: u64 = 1_000_000;

impl Control {
    /// Begins to record a tenant's events on this node, in place of a recording that has ended.
    ///
    /// # Errors
    /// The request is invalid, or a recording is under way.
    pub async fn start_recording(
        &self,
        actor: &Actor,
        tenant: &str,
        request: &RecordingRequest,
    ) -> ControlResult<RecordingView> {
        let rules = rules(request)?;
        let tenant = self.served_tenant(tenant).await?;
        let settings = tenant.settings();
        let quota = &settings.limits.quota;
        if quota.recording_bytes == 0 {
            return Err(ControlError::Conflict(
                "the tenant's events may not be recorded: quota.recording_bytes is 0".to_owned(),
            ));
        }
        self.check_recordings(&tenant).await?;
        let detail = json!({
            "handler": rules.handler, "percent": rules.percent, "traps": rules.traps, "limit": rules.limit,
            "withContent": rules.with_content,
        });
        // Before it begins, so that nothing is recorded that the audit log does not have.
        self.record_audit(actor, &tenant, "recording.start", &detail).await?;
        let recording = Arc::new(Recording::new(rules, quota));
        // Another request may have begun one meanwhile.
        self.check_recordings(&tenant).await?;
        tenant.set_recording(Some(recording.clone()));
        Ok(view(&recording))
    }

    /// Refuses a recording while the tenant has one under way, or this node has too many.
    async fn check_recordings(&self, tenant: &Tenant) -> ControlResult<()> {
        if tenant.recording().is_some_and(|recording| recording.state().is_on) {
            return Err(ControlError::Conflict(
                "a recording of this tenant is under way on this node; stop it first".to_owned(),
            ));
        }
        let served = self.served().await;
        let others = served.iter().filter(|other| other.id() != tenant.id());
        if others.filter(|other| other.recording().is_some()).count() >= RECORDINGS_MAX {
            return Err(ControlError::TooMany(format!(
                "there are recordings of {RECORDINGS_MAX} tenants on this node, the most it keeps; delete one first"
            )));
        }
        Ok(())
    }

    /// What is known of the tenant's recording on this node.
    ///
    /// # Errors
    /// There is none.
    pub async fn recording(&self, tenant: &str) -> ControlResult<RecordingView> {
        Ok(view(&*self.kept_recording(tenant).await?))
    }

    /// The tenant's recording on this node, running or ended.
    ///
    /// # Errors
    /// There is none.
    pub async fn kept_recording(&self, tenant: &str) -> ControlResult<Arc<Recording>> {
        let tenant = self.served_tenant(tenant).await?;
        tenant.recording().ok_or_else(|| {
            ControlError::NotFound(
                "this node has no recording of the tenant; begin one with `parlance record`".to_owned(),
            )
        })
    }

    /// The tenant's recording on this node, to be read while the permit is kept.
    ///
    /// # Errors
    /// There is no recording, or the tenant's recordings have as many readers as they may.
    pub async fn recording_to_read(&self, tenant: &str) -> ControlResult<(Arc<Recording>, OwnedSemaphorePermit)> {
        let recording = self.kept_recording(tenant).await?;
        let permit = self.served_tenant(tenant).await?.recording_permit();
        let too_many = || {
            ControlError::TooMany(
                "the tenant's recordings have as many readers as they may; try again later".to_owned(),
            )
        };
        Ok((recording, permit.ok_or_else(too_many)?))
    }

    /// Ends the tenant's recording on this node. Its events stay.
    ///
    /// # Errors
    /// There is none.
    pub async fn stop_recording(&self, actor: &Actor, tenant: &str) -> ControlResult<RecordingView> {
        let recording = self.kept_recording(tenant).await?;
        let served = self.served_tenant(tenant).await?;
        recording.stop();
        let detail = json!({ "recorded": recording.state().recorded });
        self.record_audit(actor, &served, "recording.stop", &detail).await?;
        Ok(view(&recording))
    }

    /// Ends the tenant's recording on this node and drops its events.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_recording(&self, actor: &Actor, tenant: &str) -> ControlResult<()> {
        let recording = self.kept_recording(tenant).await?;
        let served = self.served_tenant(tenant).await?;
        recording.stop();
        served.set_recording(None);
        self.record_audit(actor, &served, "recording.delete", &json!({})).await
    }

    /// Stops the recordings whose time is up, and drops those that have been kept for long enough.
    pub(super) async fn expire_recordings(&self) {
        let state = self.state.lock().await;
        for actual in state.tenants.values() {
            if actual
                .tenant
                .recording()
                .is_some_and(|recording| recording.has_expired())
            {
                actual.tenant.set_recording(None);
            }
        }
    }
}

/// The first line of a recording's file.
#[must_use]
pub fn recording_header(tenant: &str, recording: &Recording) -> Header {
    Header {
        parlance_recording: VERSION,
        tenant: tenant.to_owned(),
        with_content: recording.rules().with_content,
        server: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn rules(request: &RecordingRequest) -> ControlResult<RecordingRules> {
    if let Some(handler) = &request.handler {
        check_handler_name(&handler.replace('_', "-")).map_err(|error| ControlError::invalid(error.to_string()))?;
    }
    let percent = u8::try_from(request.percent.unwrap_or(100)).ok();
    let percent = percent
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| ControlError::invalid("percent: must be 1 to 100".to_owned()))?;
    let limit = request.limit.unwrap_or_default();
    if !(1..=EVENTS_MAX).contains(&limit) {
        return Err(ControlError::invalid(format!("limit: must be 1 to {EVENTS_MAX}")));
    }
    Ok(RecordingRules {
        handler: request.handler.clone(),
        percent,
        traps: request.traps,
        limit,
        with_content: request.with_content,
    })
}

fn view(recording: &Recording) -> RecordingView {
    let (rules, state) = (recording.rules(), recording.state());
    RecordingView {
        on: state.is_on,
        handler: rules.handler.clone(),
        percent: rules.percent,
        traps: rules.traps,
        limit: rules.limit,
        with_content: rules.with_content,
        recorded: state.recorded,
        kept: state.kept as u64,
        bytes: state.bytes as u64,
        left_out: state.left_out,
    }
}
