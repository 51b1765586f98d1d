//! Creating, changing, suspending and deleting tenants.

use serde_json::{Value, json};

use super::document::TenantDocument;
use super::live::Live;
use super::view::{Measure, Source, TenantView, UsageView};
use super::{Actor, Answer, Control, ControlError, entry};
use crate::config::ConfigErrors;
use crate::store::catalog::{Put, RecordKey, RecordKind};

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

fn key(tenant: &str) -> RecordKey {
    RecordKey {
        kind: RecordKind::Tenant,
        tenant: tenant.to_owned(),
        name: String::new(),
    }
}

fn view(name: &str, live: &Live) -> TenantView {
    TenantView {
        name: name.to_owned(),
        namespace: live.tenant.id().namespace(),
        source: live.source,
        suspended: live.document.suspended,
        revision: live.revision,
        connections: live.tenant.connections() as u64,
        configuration: without_secrets(&live.document.configuration),
    }
}

/// The same without the values of keys named `secret`, at any depth.
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

impl Control {
    /// All tenants, by name.
    ///
    /// # Errors
    /// None so far.
    pub async fn tenants(&self) -> Answer<Vec<TenantView>> {
        let state = self.state.lock().await;
        Ok(state.tenants.iter().map(|(name, live)| view(name, live)).collect())
    }

    /// One tenant.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn tenant(&self, name: &str) -> Answer<TenantView> {
        let state = self.state.lock().await;
        Ok(view(name, state.live(name)?))
    }

    /// Makes a tenant and opens its namespace.
    ///
    /// # Errors
    /// When there is one of that name, or everything that is wrong with its configuration.
    pub async fn create_tenant(&self, actor: &Actor, name: &str, configuration: Value) -> Answer<TenantView> {
        self.parts.defaults.read(name, &configuration)?;
        if self.state.lock().await.tenants.contains_key(name) {
            return Err(ControlError::Conflict(format!("there is a tenant {name:?} already")));
        }
        let document = TenantDocument {
            configuration,
            suspended: false,
        };
        self.put_tenant(actor, name, Some(&document), Some(0), "tenant.create")
            .await?;
        self.tenant(name).await
    }

    /// Replaces a tenant's configuration. Its connections stay.
    ///
    /// # Errors
    /// When there is none in the store, it has changed since `expect`, or everything that is wrong with the
    /// configuration.
    pub async fn replace_tenant(
        &self,
        actor: &Actor,
        name: &str,
        configuration: Value,
        expect: Option<u64>,
    ) -> Answer<TenantView> {
        let (suspended, revision) = self.stored(name).await?;
        if expect.is_some_and(|expect| expect != revision) {
            return Err(ControlError::Changed(format!(
                "the tenant is at revision {revision} by now"
            )));
        }
        self.parts.defaults.read(name, &configuration)?;
        let document = TenantDocument {
            configuration,
            suspended,
        };
        self.put_tenant(actor, name, Some(&document), Some(revision), "tenant.replace")
            .await?;
        self.tenant(name).await
    }

    /// Suspends a tenant, which disconnects its clients and lets nobody in, or resumes it.
    ///
    /// # Errors
    /// When there is none in the store.
    pub async fn set_suspended(&self, actor: &Actor, name: &str, suspended: bool) -> Answer<TenantView> {
        let (was, revision) = self.stored(name).await?;
        if was != suspended {
            let configuration = self.state.lock().await.live(name)?.document.configuration.clone();
            let document = TenantDocument {
                configuration,
                suspended,
            };
            let action = if suspended { "tenant.suspend" } else { "tenant.resume" };
            self.put_tenant(actor, name, Some(&document), Some(revision), action)
                .await?;
        }
        self.tenant(name).await
    }

    /// Deletes a tenant with its handlers and revocations: its clients are disconnected with a reason. `with_data`
    /// also removes its messages and key-value data; without it they are there again when a tenant of the same name
    /// is made.
    ///
    /// # Errors
    /// When there is none in the store.
    pub async fn delete_tenant(&self, actor: &Actor, name: &str, with_data: bool) -> Answer<()> {
        let (_, revision) = self.stored(name).await?;
        let (id, owned) = {
            let state = self.state.lock().await;
            let live = state.live(name)?;
            let handlers = live
                .handlers
                .keys()
                .map(|handler| (RecordKind::Handler, handler.clone()));
            let revocations = live.revocations.keys().map(|id| (RecordKind::Revocation, id.clone()));
            let owned: Vec<_> = handlers.chain(revocations).collect();
            (live.tenant.id().clone(), owned)
        };
        let mut puts = vec![Put {
            key: key(name),
            document: None,
            expect: Some(revision),
        }];
        puts.extend(owned.into_iter().map(|(kind, own)| Put {
            key: RecordKey {
                kind,
                tenant: name.to_owned(),
                name: own,
            },
            document: None,
            expect: None,
        }));
        let audit = entry(actor, name, "tenant.delete", &json!({ "data": with_data }));
        self.parts.catalog.put(puts, vec![audit]).await??;
        self.decided().await?;
        if with_data {
            self.parts.store.delete_data(&id).await?;
        }
        Ok(())
    }

    /// What a tenant uses and may use.
    ///
    /// # Errors
    /// When there is none of that name, or the store cannot serve.
    pub async fn usage(&self, name: &str) -> Answer<UsageView> {
        let tenant = self.state.lock().await.live(name)?.tenant.clone();
        let usage = self.parts.store.usage(tenant.id()).await?;
        let settings = tenant.settings();
        let quota = &settings.quota;
        let measure = |used, limit| Measure { used, limit };
        Ok(UsageView {
            connections: measure(tenant.connections() as u64, quota.connections as u64),
            message_bytes: measure(usage.message_bytes, quota.storage.message_bytes),
            kv_bytes: measure(usage.kv_bytes, quota.storage.kv_bytes),
            rooms: measure(usage.rooms, quota.storage.rooms),
        })
    }

    /// Whether a tenant of the store is suspended, and its revision.
    async fn stored(&self, name: &str) -> Answer<(bool, u64)> {
        let state = self.state.lock().await;
        let live = state.live(name)?;
        if live.source == Source::File {
            return Err(ControlError::Conflict(format!(
                "the tenant {name:?} is in the configuration file; change it there"
            )));
        }
        Ok((live.document.suspended, live.revision))
    }

    async fn put_tenant(
        &self,
        actor: &Actor,
        name: &str,
        document: Option<&TenantDocument>,
        expect: Option<u64>,
        action: &str,
    ) -> Answer<()> {
        let put = Put {
            key: key(name),
            document: document.and_then(|document| serde_json::to_string(document).ok()),
            expect,
        };
        let configuration = document.map(|document| without_secrets(&document.configuration));
        let audit = entry(actor, name, action, &json!({ "configuration": configuration }));
        self.parts.catalog.put(vec![put], vec![audit]).await??;
        self.decided().await
    }
}
