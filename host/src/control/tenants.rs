//! Creating, changing, suspending and deleting tenants.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::document::TenantDocument;
use super::known::Stored;
use super::purge::Removed;
use super::siblings::{self, ATTEMPTS, kept_bytes};
use super::view::{Measure, Source, TenantView, UsageView};
use super::{Actor, Answer, Control, ControlError, State, entry};
use crate::config::ConfigErrors;
use crate::store::catalog::{Conflict, Put, RecordKey, RecordKind};

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

pub(super) fn key(tenant: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Tenant,
        tenant: tenant.to_owned(),
        name: String::new(),
    }
}

/// A tenant of the file, or one of the store, whether or not it is served.
fn view(name: &str, state: &State) -> Answer<TenantView> {
    let live = state.tenants.get(name);
    let stored = state
        .known
        .tenant(name)
        .filter(|_| live.is_none_or(|live| live.source == Source::Store));
    if live.is_none() && stored.is_none() {
        return Err(no_tenant(state, name));
    }
    Ok(TenantView {
        name: name.to_owned(),
        namespace: live.map_or_else(|| format!("/{name}"), |live| live.tenant.id().namespace()),
        source: live.map_or(Source::Store, |live| live.source),
        suspended: stored.is_some_and(|stored| stored.document.suspended),
        served: live.is_some(),
        revision: stored.map_or(0, |stored| stored.revision),
        connections: live.map_or(0, |live| live.tenant.connections() as u64),
        problem: state.problems.get(name).cloned(),
        configuration: stored.map_or(Value::Null, |stored| without_secrets(&stored.document.configuration)),
    })
}

/// Why there is no tenant of that name.
pub(super) fn no_tenant(state: &State, name: &str) -> ControlError {
    ControlError::NotFound(if state.known.tenants.contains_key(name) {
        format!("the tenant {name:?} was deleted; its data is still being removed")
    } else {
        format!("there is no tenant {name:?}")
    })
}

/// A tenant's configuration without the values of keys named `secret`, at any depth.
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

/// What the audit log keeps of a configuration: no secrets, and of handlers' settings the names only, since any value
/// may be a secret too.
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
    /// All tenants, by name.
    ///
    /// # Errors
    /// None so far.
    pub async fn tenants(&self) -> Answer<Vec<TenantView>> {
        let state = self.state.lock().await;
        let stored = state
            .known
            .tenants
            .keys()
            .filter(|name| state.known.tenant(name).is_some());
        let names: BTreeSet<&String> = state.tenants.keys().chain(stored).collect();
        names.into_iter().map(|name| view(name, &state)).collect()
    }

    /// One tenant.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn tenant(&self, name: &str) -> Answer<TenantView> {
        view(name, &*self.state.lock().await)
    }

    /// Makes a tenant and opens its namespace.
    ///
    /// # Errors
    /// When there is one of that name or the data of one is still being removed, or everything that is wrong with its
    /// configuration.
    pub async fn create_tenant(
        self: &Arc<Self>,
        actor: &Actor,
        name: &str,
        configuration: Value,
    ) -> Answer<TenantView> {
        self.parts.defaults.read(name, &configuration)?;
        {
            let state = self.state.lock().await;
            if state.tenants.contains_key(name) || state.known.tenant(name).is_some() {
                return Err(ControlError::Conflict(format!("there is a tenant {name:?} already")));
            }
            if state.known.tenants.contains_key(name) {
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
            .await?;
        self.tenant(name).await
    }

    /// Replaces a tenant's configuration. Its connections stay.
    ///
    /// # Errors
    /// When there is none in the store, it has changed since `expect`, or everything that is wrong with the
    /// configuration.
    pub async fn replace_tenant(
        self: &Arc<Self>,
        actor: &Actor,
        name: &str,
        configuration: Value,
        expect: Option<u64>,
    ) -> Answer<TenantView> {
        let Stored { document, revision } = self.stored(name).await?;
        if expect.is_some_and(|expect| expect != revision) {
            return Err(ControlError::Changed(format!(
                "the tenant is at revision {revision} by now"
            )));
        }
        self.parts.defaults.read(name, &configuration)?;
        let document = TenantDocument {
            configuration,
            ..document
        };
        self.put_tenant(actor, name, &document, revision, "tenant.replace", true)
            .await?;
        self.tenant(name).await
    }

    /// Suspends a tenant, which disconnects its clients and lets nobody in, or resumes it.
    ///
    /// # Errors
    /// When there is none in the store.
    pub async fn set_suspended(self: &Arc<Self>, actor: &Actor, name: &str, suspended: bool) -> Answer<TenantView> {
        let Stored { document, revision } = self.stored(name).await?;
        if document.suspended != suspended {
            let document = TenantDocument { suspended, ..document };
            let action = if suspended { "tenant.suspend" } else { "tenant.resume" };
            self.put_tenant(actor, name, &document, revision, action, false).await?;
        }
        self.tenant(name).await
    }

    /// Deletes a tenant with its handlers and revocations: its clients are disconnected with a reason. `with_data`
    /// also removes its messages and key-value data, once nothing of the tenant writes any more; without it they are
    /// there again when a tenant of the same name is made.
    ///
    /// # Errors
    /// When there is none in the store.
    pub async fn delete_tenant(self: &Arc<Self>, actor: &Actor, name: &str, with_data: bool) -> Answer<Removed> {
        for _ in 0..ATTEMPTS {
            // Handlers that another node has deployed just now go too.
            self.read().await?;
            if with_data && self.is_purged(name).await {
                return Ok(self.begin_purge(name).await);
            }
            let puts = self.deletion(name, with_data).await?;
            let audit = entry(actor, name, "tenant.delete", &json!({ "data": with_data }));
            match self.attempt(name, puts, audit, true).await? {
                Ok(()) if with_data => return Ok(self.begin_purge(name).await),
                Ok(()) => return Ok(Removed::All),
                // A handler was deployed between reading and deciding: it goes too.
                Err(conflict) if conflict.key == siblings::key(name) => {}
                Err(conflict) => return Err(conflict.into()),
            }
        }
        Err(Conflict { key: key(name) }.into())
    }

    /// The end of a tenant and of what is kept of it in the catalog.
    async fn deletion(&self, name: &str, with_data: bool) -> Answer<Vec<Put>> {
        let Stored { document, revision } = self.stored(name).await?;
        let state = self.state.lock().await;
        // Also when it has no handlers: one that is being deployed now must not outlive it.
        let mut puts = vec![
            siblings::none_changed(&state.known, name),
            Put {
                key: key(name),
                document: with_data
                    .then(|| serde_json::to_string(&self.purging(&document)).ok())
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
        let handlers = state.known.handlers(name);
        puts.extend(
            handlers
                .filter(|(_, stored)| !stored.document.is_removed())
                .map(|(handler, stored)| {
                    let left = serde_json::to_string(&stored.document.removed()).ok();
                    own(RecordKind::Handler, handler, left)
                }),
        );
        let revocations = state.known.revocations(name);
        puts.extend(revocations.map(|(id, _)| own(RecordKind::Revocation, id, None)));
        Ok(puts)
    }

    /// What a tenant uses and may use.
    ///
    /// # Errors
    /// When there is none of that name, or the store cannot serve.
    pub async fn usage(&self, name: &str) -> Answer<UsageView> {
        let (tenant, component_bytes) = {
            let state = self.state.lock().await;
            let handlers = state.known.handlers(name).map(|(_, stored)| &stored.document);
            (state.live(name)?.tenant.clone(), kept_bytes(handlers))
        };
        let usage = self.parts.maintenance.usage(tenant.id()).await?;
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
    async fn stored(&self, name: &str) -> Answer<Stored<TenantDocument>> {
        let state = self.state.lock().await;
        if state.tenants.get(name).is_some_and(|live| live.source == Source::File) {
            return Err(ControlError::Conflict(format!(
                "the tenant {name:?} is in the configuration file; change it there"
            )));
        }
        match state.known.tenant(name) {
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
        settle: bool,
    ) -> Answer<()> {
        let put = Put {
            key: key(name),
            document: serde_json::to_string(document).ok(),
            expect: Some(expect),
            component: None,
        };
        let configuration = for_audit(&document.configuration);
        let audit = entry(actor, name, action, &json!({ "configuration": configuration }));
        self.decide(name, vec![put], audit, settle).await
    }
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
