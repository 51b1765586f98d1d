//! The limits that a file, a case and an event set, one over the other.

use parlance_handler::capability::{CallLimits, ClientLimits, EffectLimits};
use parlance_handler::sandbox::GuestLimits;
use parlance_store::StorageQuota;
use parlance_types::settings::{ConfigError, Errors, Reader, Settings, Source, Value};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, json};

/// Tables of the server's configuration: `sandbox`, `limits` and `quota`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Limits of one event: `guest_time`, `wall_time`, `memory`, `host_calls`, `effects`, `output` and others.
    #[serde(default)]
    pub(super) sandbox: Map<String, serde_json::Value>,
    /// Limits of clients: `content`, `metadata`, `rooms_per_connection` and others.
    #[serde(default)]
    pub(super) limits: Map<String, serde_json::Value>,
    /// What a tenant may keep: `timers`, `requests`, `kv_bytes`, `message_bytes`, `rooms`.
    #[serde(default)]
    pub(super) quota: Map<String, serde_json::Value>,
}

impl Limits {
    /// These limits with others over them.
    pub(super) fn with(&self, over: &Self) -> Self {
        let merged = |own: &Map<_, _>, over: &Map<_, _>| {
            let all = own.iter().chain(over);
            all.map(|(key, value): (&String, &serde_json::Value)| (key.clone(), value.clone()))
                .collect()
        };
        Self {
            sandbox: merged(&self.sandbox, &over.sandbox),
            limits: merged(&self.limits, &over.limits),
            quota: merged(&self.quota, &over.quota),
        }
    }

    /// The limits as the server reads them from its configuration.
    pub(super) fn read(&self) -> Result<(GuestLimits, CallLimits, StorageQuota), String> {
        let tables = json!({"sandbox": self.sandbox, "limits": self.limits, "quota": self.quota});
        let table = match serde_json::from_value(tables) {
            Ok(Value::Table(table)) => table,
            Ok(_) => return Err("the limits are not tables".to_owned()),
            Err(error) => return Err(format!("the limits: {error}")),
        };
        let source = Source {
            table,
            ..Source::default()
        };
        let mut errors = Errors::default();
        let mut sandbox = Reader::of(&source, GuestLimits::TABLE, &mut errors);
        let (guest, effects) = (GuestLimits::read(&mut sandbox), EffectLimits::read(&mut sandbox));
        sandbox.report_unknown_keys();
        let mut clients = Reader::of(&source, ClientLimits::TABLE, &mut errors);
        let client = ClientLimits::read(&mut clients);
        clients.report_unknown_keys();
        let mut storage = Reader::of(&source, StorageQuota::TABLE, &mut errors);
        let quota = StorageQuota::read(&mut storage);
        storage.report_unknown_keys();
        match (guest, effects, client, quota) {
            (Some(guest), Some(effects), Some(client), Some(quota)) if errors.is_empty() => {
                Ok((guest, CallLimits { client, effects }, quota))
            }
            _ => {
                let report = errors.into_report(None);
                let all: Vec<_> = report.errors().iter().map(ConfigError::to_string).collect();
                Err(all.join("; ").replace("\n   ", ";"))
            }
        }
    }
}
