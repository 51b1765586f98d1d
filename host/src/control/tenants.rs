//! Creates, changes, suspends and deletes tenants.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::api::{Measure, Source, TenantView, UsageView};
use super::desired::Stored;
use super::document::TenantDocument;
use super::purge::PurgeProgress;
use super::validation::{self, MAX_ATTEMPTS, component_bytes};
use super::{Actor, Control, ControlError, ControlResult, ControlState, audit_entry};
use crate::config::ConfigErrors;
use parlance_store::catalog::{Conflict, Put, RecordKey, RecordKind};

impl From<ConfigErrors> for ControlError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Invalid(
            errors
                .errors()
                .iter()
                .map(|error| error.to_string().replace("\n    ", "; "))
                .collect(),
        )
    }
}

/// The warning of a tenant that is served and that nobody can connect to.
const NO_KEYS: &str = "it has no keys (auth.keys, auth.jwks), so nobody can connect to it";

pub(super) fn key(tenant: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Tenant,
        tenant: tenant.to_owned(),
        name: String::new(),
    }
}

/// A tenant as the admin API shows it, whether or not this node serves it.
fn view(name: &str, state: &ControlState) -> ControlResult<TenantView> {
    let actual = state.tenants.get(name);
    let stored = state
        .desired
        .tenant(name)
        .filter(|_| actual.is_none_or(|actual| actual.source == Source::Store));
    if actual.is_none() && stored.is_none() {
        return Err(no_tenant(state, name));
    }
    Ok(TenantView {
        name: name.to_owned(),
        namespace: actual.map_or_else(|| format!("/{name}"), |actual| actual.tenant.id().namespace()),
        source: actual.map_or(Source::Store, |actual| actual.source),
        suspended: stored.is_some_and(|stored| stored.document.suspended),
        served: actual.is_some(),
        revision: stored.map_or(0, |stored| stored.revision),
        connections: actual.map_or(0, |actual| actual.tenant.connections() as u64),
        problem: state.problems.get(name).cloned(),
        warning: actual
            .filter(|actual| !actual.tenant.settings().authenticator.has_keys())
            .map(|_| NO_KEYS.to_owned()),
        configuration: stored.map_or(Value::Null, |stored| without_secrets(&stored.document.configuration)),
    })
}

/// The error for a tenant that does not exist.
pub(super) fn no_tenant(state: &ControlState, name: &str) -> ControlError {
    ControlError::NotFound(if state.desired.tenants.contains_key(name) {
        format!("the tenant {name:?} was deleted; its data is still being removed")
    } else {
        format!("there is no tenant {name:?}")
    })
}

/// A configuration without the values of keys named `secret`, at any depth.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "secret")
            .map(|(name, value)| (name.clone(), without_secrets(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_secrets).collect(),
        other => other.clone(),
    }
}

/// The part of a configuration that the audit log keeps: no secrets, and only the names of handlers' settings, since
/// any value may be a secret.
fn for_audit(configuration: &Value) -> Value {
    let mut kept = configuration.clone();
    let handlers = kept.get_mut("handlers").and_then(Value::as_object_mut);
    for settings in handlers
        .into_iter()
        .flat_map(|handlers| handlers.values_mut())
        .filter_map(|handler| handler.get_mut("settings"))
    {
        let names = settings.as_object().map(|settings| settings.keys().cloned().collect());
        *settings = names.unwrap_or_default();
    }
    without_secrets(&kept)
}

impl Control {
    /// All tenants, ordered by name.
    ///
    /// # Errors
    /// Never so far.
    pub async fn tenants(&self) -> ControlResult<Vec<TenantView>> {
        let state = self.state.lock().await;
        let stored = state
            .desired
            .tenants
            .keys()
            .filter(|name| state.desired.tenant(name).is_some());
        let names: BTreeSet<&String> = state.tenants.keys().chain(stored).collect();
        names.into_iter().map(|name| view(name, &state)).collect()
    }

    /// One tenant, by name.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub async fn tenant(&self, name: &str) -> ControlResult<TenantView> {
        view(name, &*self.state.lock().await)
    }

    /// Creates a tenant and opens its namespace.
    ///
    /// # Errors
    /// When there is such a tenant, or its data is still being removed; or every error of the configuration.
    pub async fn create_tenant(
        self: &Arc<Self>,
        actor: &Actor,
        name: &str,
        configuration: Value,
    ) -> ControlResult<TenantView> {
        self.deps.defaults.read(name, &configuration)?;
        {
            let state = self.state.lock().await;
            if state.tenants.contains_key(name) || state.desired.tenant(name).is_some() {
                return Err(ControlError::Conflict(format!("there is a tenant {name:?} already")));
            }
            if state.desired.tenants.contains_key(name) {
                return Err(ControlError::Conflict(format!(
                    "the tenant {name:?} was deleted with its data, which is still being removed; try again in a \
                     while, or choose another name"
                )));
            }
        }
        let document = TenantDocument {
            configuration,
            ..TenantDocument::default()
        };
        self.put_tenant(actor, name, &document, 0, "tenant.create", true)
            .await?
            .map_err(|_| ControlError::Conflict(format!("there is a tenant {name:?} already")))?;
        self.tenant(name).await
    }

    /// Replaces a tenant's configuration. Its connections stay.
    ///
    /// # Errors
    /// When there is no such tenant in the store, or it has changed since `expect`; or every error of the
    /// configuration.
    pub async fn replace_tenant(
        self: &Arc<Self>,
        actor: &Actor,
        name: &str,
        configuration: Value,
        expect: Option<u64>,
    ) -> ControlResult<TenantView> {
        for _ in 0..MAX_ATTEMPTS {
            let Stored { document, revision } = self.stored(name).await?;
            if expect.is_some_and(|expect| expect != revision) {
                return Err(ControlError::Changed(format!(
                    "the tenant is at revision {revision} by now"
                )));
            }
            self.deps.defaults.read(name, &configuration)?;
            let document = TenantDocument {
                configuration: configuration.clone(),
                ..document
            };
            let put = self.put_tenant(actor, name, &document, revision, "tenant.replace", true);
            match put.await? {
                Ok(()) => return self.tenant(name).await,
                Err(_) => self.read_catalog().await?,
            }
        }
        Err(contended(name))
    }

    /// Suspends a tenant, which disconnects its clients and keeps them out, or resumes it.
    ///
    /// # Errors
    /// When there is no such tenant in the store.
    pub async fn set_suspended(
        self: &Arc<Self>,
        actor: &Actor,
        name: &str,
        suspended: bool,
    ) -> ControlResult<TenantView> {
        let action = if suspended { "tenant.suspend" } else { "tenant.resume" };
        for _ in 0..MAX_ATTEMPTS {
            let Stored { document, revision } = self.stored(name).await?;
            if document.suspended == suspended {
                return self.tenant(name).await;
            }
            let document = TenantDocument { suspended, ..document };
            match self.put_tenant(actor, name, &document, revision, action, false).await? {
                Ok(()) => return self.tenant(name).await,
                Err(_) => self.read_catalog().await?,
            }
        }
        Err(contended(name))
    }

    /// Deletes a tenant with its handlers and revocations, and disconnects its clients with a reason. `with_data` also
    /// removes its messages and key-value data, once no event of the tenant can write any more. Otherwise they are
    /// there again when a tenant of this name is created.
    ///
    /// # Errors
    /// When there is no such tenant in the store.
    pub async fn delete_tenant(
        self: &Arc<Self>,
        actor: &Actor,
        name: &str,
        with_data: bool,
    ) -> ControlResult<PurgeProgress> {
        for _ in 0..MAX_ATTEMPTS {
            // Includes handlers that another node has just deployed.
            self.read_catalog().await?;
            if with_data && self.is_purged(name).await {
                return Ok(self.begin_purge(name).await);
            }
            let puts = self.deletion(name, with_data).await?;
            let audit = audit_entry(actor, name, "tenant.delete", &json!({ "data": with_data }));
            match self.try_apply(name, puts, vec![audit], true).await? {
                Ok(()) if with_data => return Ok(self.begin_purge(name).await),
                Ok(()) => return Ok(PurgeProgress::Done),
                // The tenant or a handler was changed between reading and deciding. The next attempt includes it.
                Err(_) => {}
            }
        }
        Err(contended(name))
    }

    /// The changes of the catalog that delete a tenant and all that belongs to it.
    async fn deletion(&self, name: &str, with_data: bool) -> ControlResult<Vec<Put>> {
        let Stored { document, revision } = self.stored(name).await?;
        let state = self.state.lock().await;
        // Also when the tenant has no handlers: one that is being deployed must not outlive it.
        let mut puts = vec![
            validation::handlers_unchanged(&state.desired, name),
            Put {
                key: key(name),
                document: with_data
                    .then(|| serde_json::to_string(&self.purge_document(&document)).ok())
                    .flatten(),
                expect: Some(revision),
                component: None,
            },
        ];
        let own = |kind, own: &String, document: Option<String>| Put {
            key: RecordKey {
                kind,
                tenant: name.to_owned(),
                name: own.clone(),
            },
            document,
            expect: None,
            component: None,
        };
        let handlers = state.desired.handlers(name);
        puts.extend(
            handlers
                .filter(|(_, stored)| !stored.document.is_removed())
                .map(|(handler, stored)| {
                    let left = serde_json::to_string(&stored.document.removed()).ok();
                    own(RecordKind::Handler, handler, left)
                }),
        );
        let revocations = state.desired.revocations(name);
        puts.extend(revocations.map(|(id, _)| own(RecordKind::Revocation, id, None)));
        Ok(puts)
    }

    /// What a tenant uses, and its limits.
    ///
    /// # Errors
    /// When there is no such tenant, or the store cannot serve.
    pub async fn usage(&self, name: &str) -> ControlResult<UsageView> {
        let (tenant, component_bytes) = {
            let state = self.state.lock().await;
            let handlers = state.desired.handlers(name).map(|(_, stored)| &stored.document);
            (state.actual(name)?.tenant.clone(), component_bytes(handlers))
        };
        let usage = self.deps.maintenance.usage(tenant.id()).await?;
        let settings = tenant.settings();
        let (quota, storage) = (&settings.limits.quota, &settings.limits.storage);
        let measure = |used, limit| Measure { used, limit };
        Ok(UsageView {
            connections: measure(tenant.connections() as u64, quota.connections as u64),
            message_bytes: measure(usage.message_bytes, storage.message_bytes),
            kv_bytes: measure(usage.kv_bytes, storage.kv_bytes),
            rooms: measure(usage.rooms, storage.rooms),
            component_bytes: measure(component_bytes, quota.component_bytes as u64),
        })
    }

    /// A tenant of the store.
    async fn stored(&self, name: &str) -> ControlResult<Stored<TenantDocument>> {
        let state = self.state.lock().await;
        if state
            .tenants
            .get(name)
            .is_some_and(|actual| actual.source == Source::File)
        {
            return Err(ControlError::Conflict(format!(
                "the tenant {name:?} is in the configuration file; change it there"
            )));
        }
        match state.desired.tenant(name) {
            Some(stored) => Ok(stored.clone()),
            None => Err(no_tenant(&state, name)),
        }
    }

    async fn put_tenant(
        self: &Arc<Self>,
        actor: &Actor,
        name: &str,
        document: &TenantDocument,
        expect: u64,
        action: &str,
        reconcile: bool,
    ) -> ControlResult<Result<(), Conflict>> {
        let put = Put {
            key: key(name),
            document: serde_json::to_string(document).ok(),
            expect: Some(expect),
            component: None,
        };
        let configuration = for_audit(&document.configuration);
        let audit = audit_entry(actor, name, action, &json!({ "configuration": configuration }));
        self.try_apply(name, vec![put], vec![audit], reconcile).await
    }
}

fn contended(name: &str) -> ControlError {
    ControlError::contended(&format!("the tenant {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_log_keeps_no_secret_and_no_value_of_a_setting() {
        let kept = for_audit(&json!({
            "auth": { "keys": [{ "algorithm": "HS256", "secret": "s3cret" }] },
            "handlers": {
                "message": { "settings": { "secret": "s3cret", "words": "s3cret" }, "isolation": "warm" },
                "typing": { "settings": {} },
                "event": {},
            },
        }));
        assert_eq!(
            kept,
            json!({
                "auth": { "keys": [{ "algorithm": "HS256" }] },
                "handlers": {
                    "message": { "settings": ["secret", "words"], "isolation": "warm" },
                    "typing": { "settings": [] },
                    "event": {},
                },
            })
        );
        for other in [
            json!(null),
            json!({ "handlers": 1 }),
            json!({ "handlers": { "message": { "settings": 1 } } }),
        ] {
            assert!(!for_audit(&other).to_string().contains("s3cret"));
        }
    }
}
