//! The catalog: what operators have decided about tenants, deployed handlers and revoked tokens.
//!
//! It consists of small JSON documents, each under a key. One counter numbers the changes of all documents, so that a
//! node learns of every change by asking for those after the last one it knows.
//!
//! Components are stored beside the documents, by their hash. A component is stored in the transaction of the first
//! document that names it, and deleted with the last one. A handler's document names a component by the hash in
//! hexadecimal, as `versions[*].sha256`; the store looks at nothing else in a document. A hash anywhere else, as in a
//! setting that a tenant chooses, keeps no component.

use serde_json::Value;

use super::StoreError;

/// The kind of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// A tenant. The key's name is empty.
    Tenant,
    /// A deployed handler of a tenant, with its versions. The key's name is the handler's. The document with an empty name
    /// is part of every change of a handler of the tenant, so that concurrent changes conflict.
    Handler,
    /// Tokens of a tenant that are not valid any more. The key's name says which.
    Revocation,
}

impl RecordKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Handler, Self::Revocation];

    /// The kind's name in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Handler => "handler",
            Self::Revocation => "revocation",
        }
    }
}

/// The key of a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// The kind of the document.
    pub kind: RecordKind,
    /// The tenant's name.
    pub tenant: String,
    /// The document's name among those of its tenant and kind.
    pub name: String,
}

/// A stored document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The document's key.
    pub key: RecordKey,
    /// JSON text. `None` for a deleted document, of which this tombstone is left.
    pub document: Option<String>,
    /// The number of the document's last change: 1, 2, 3 … Each number belongs to one change in the whole catalog.
    pub revision: u64,
}

/// A component and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// SHA-256 of `bytes`.
    pub sha256: [u8; 32],
    /// The component as it was deployed.
    pub bytes: Vec<u8>,
}

/// A change of one document.
#[derive(Debug, Clone)]
pub struct Put {
    /// The document's key.
    pub key: RecordKey,
    /// The new JSON text, or `None` to delete the document.
    pub document: Option<String>,
    /// The revision that the document must have now; 0 when it must not exist, or be deleted. `None` allows any.
    pub expect: Option<u64>,
    /// A component that the document names, to be stored for its tenant. A component with this hash that is stored
    /// already stays as it is.
    pub component: Option<Component>,
}

/// A document did not have the expected revision, since another change came first. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it was changed in the meantime")]
pub struct Conflict {
    /// The document's key.
    pub key: RecordKey,
}

/// The hashes, in hexadecimal, of the components that a handler's document names.
///
/// # Errors
/// When the document is not JSON.
pub(crate) fn named_components(document: &str) -> Result<Vec<String>, serde_json::Error> {
    let document: Value = serde_json::from_str(document)?;
    let versions = document.get("versions").and_then(Value::as_array);
    let hash = |version: &Value| Some(version.get("sha256")?.as_str()?.to_owned());
    Ok(versions.into_iter().flatten().filter_map(hash).collect())
}

/// An entry of the audit log: who did what, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// 1, 2, 3 … The store sets it; 0 in an entry that is to be written.
    pub id: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The name of the admin token that was used, or `server`.
    pub actor: String,
    /// The tenant that the action concerns; empty for none.
    pub tenant: String,
    /// The action, such as `tenant.create`.
    pub action: String,
    /// JSON text with the details. Never contains a secret.
    pub detail: String,
}

/// Keeps what operators have decided.
#[async_trait::async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// The number of the last change; 0 before the first. Must be cheap, because every node asks each second.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn revision(&self) -> Result<u64, StoreError>;

    /// Every document whose last change is after `after`, by revision. A change never appears later with a smaller number
    /// than one that was returned already. After 0, documents that were removed already may be left out.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError>;

    /// Makes all changes and writes all audit entries, or none. Returns the number of the last change.
    ///
    /// For each tenant of whom a handler changes, deletes the components that no handler's document names any more.
    ///
    /// # Errors
    /// When the store cannot serve; the inner error when a document did not have the expected revision.
    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError>;

    /// The bytes of a tenant's component.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Deletes every component that no handler's document names; earlier releases have left some. Returns how many.
    ///
    /// Also deletes the tombstones of deleted documents where no other process can share the store. A process calls this
    /// when it starts, before it reads the catalog from the beginning, for which it needs no tombstones.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn collect_garbage(&self) -> Result<u64, StoreError>;

    /// At most `limit` entries of the audit log, newest first: of `tenant` or of all tenants, and only those with ids below
    /// `before`, if given.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn audit(&self, tenant: Option<&str>, before: Option<u64>, limit: u32)
    -> Result<Vec<AuditEntry>, StoreError>;

    /// Of the `limit` oldest entries of the audit log, deletes those from before `before_ms`, in milliseconds since the
    /// Unix epoch. Returns how many. The limit keeps other transactions from waiting long.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError>;
}
