//! What operators decide, made durable in the catalog and effective on this node: tenants, handler versions,
//! revoked tokens.
//!
//! Every decision is one change of the catalog; every node, this one included, follows the catalog. So there is one
//! way from a decision to its effect, whoever made it and wherever.

mod error;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

pub use error::ControlError;
use view::{AuditView, DeployStep, HandlerView, RevocationView, RevokeRequest, TenantView, UsageView};

/// Who decides: the name of an admin token, for the audit log.
#[derive(Debug, Clone)]
pub struct Actor(pub Arc<str>);

/// A component to be put into service.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The handler's name: 1 to 63 of lower-case letters, digits and `-`.
    pub handler: String,
    /// The component's bytes.
    pub component: Bytes,
    /// The share of rooms to begin with, 1 to 99; all when not given.
    pub canary: Option<u8>,
    /// What there is to say of it.
    pub note: Option<String>,
    /// What the component can read; those of the version before when not given.
    pub settings: Option<BTreeMap<String, String>>,
}

/// See the [module](self).
pub struct Control {}

type Answer<T> = Result<T, ControlError>;

#[allow(
    unused_variables,
    clippy::unused_async,
    missing_docs,
    clippy::missing_errors_doc,
    reason = "signatures first"
)]
impl Control {
    pub async fn tenants(&self) -> Answer<Vec<TenantView>> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn tenant(&self, name: &str) -> Answer<TenantView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn create_tenant(&self, actor: &Actor, name: &str, configuration: Value) -> Answer<TenantView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn replace_tenant(
        &self,
        actor: &Actor,
        name: &str,
        configuration: Value,
        expect: Option<u64>,
    ) -> Answer<TenantView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn set_suspended(&self, actor: &Actor, name: &str, suspended: bool) -> Answer<TenantView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn delete_tenant(&self, actor: &Actor, name: &str, with_data: bool) -> Answer<()> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn usage(&self, name: &str) -> Answer<UsageView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn handlers(&self, tenant: &str) -> Answer<Vec<HandlerView>> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn deploy(
        &self,
        actor: &Actor,
        tenant: &str,
        deployment: Deployment,
        progress: &(dyn Fn(DeployStep) + Send + Sync),
    ) -> Answer<HandlerView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn set_canary(&self, actor: &Actor, tenant: &str, handler: &str, percent: u8) -> Answer<HandlerView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn promote(&self, actor: &Actor, tenant: &str, handler: &str) -> Answer<HandlerView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn rollback(&self, actor: &Actor, tenant: &str, handler: &str, to: Option<u64>) -> Answer<HandlerView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn remove_handler(&self, actor: &Actor, tenant: &str, handler: &str) -> Answer<()> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn revocations(&self, tenant: &str) -> Answer<Vec<RevocationView>> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn revoke(&self, actor: &Actor, tenant: &str, request: RevokeRequest) -> Answer<RevocationView> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn unrevoke(&self, actor: &Actor, tenant: &str, id: &str) -> Answer<()> {
        Err(ControlError::invalid("not yet"))
    }
    pub async fn audit(&self, tenant: Option<&str>, before: Option<u64>, limit: u32) -> Answer<Vec<AuditView>> {
        Err(ControlError::invalid("not yet"))
    }
}
