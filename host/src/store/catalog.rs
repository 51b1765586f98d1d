//! What operators have decided: tenants, deployed handlers, revoked tokens. Small documents, each under a key, all
//! numbered by one counter, so that a node learns of every change by asking what came after the last one it knows.
//!
//! The documents are JSON texts. Components are kept beside them by their hash, in the same transaction as the first
//! document that names it, and for as long as one does: a handler's document names a component when its hash stands in
//! it, in hexadecimal. That is all that the store looks for in a document.

use super::StoreError;

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// A tenant. The key's name is empty.
    Tenant,
    /// A deployed handler of a tenant, with its versions. The key's name is the handler's; the one without a name is
    /// what every change of a handler of the tenant goes through, so that of several at once one is first.
    Handler,
    /// Tokens of a tenant that count no more. The key's name says which.
    Revocation,
}

impl RecordKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tenant, Self::Handler, Self::Revocation];

    /// The name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Handler => "handler",
            Self::Revocation => "revocation",
        }
    }
}

/// Where a document is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// What it is about.
    pub kind: RecordKind,
    /// The tenant's name.
    pub tenant: String,
    /// Its name among the tenant's documents of this kind.
    pub name: String,
}

/// A document as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where.
    pub key: RecordKey,
    /// A JSON text; `None` when the document was removed. The mark of the removal stays.
    pub document: Option<String>,
    /// The number of the change that made it so: 1, 2, 3 … over all documents, without two alike.
    pub revision: u64,
}

/// A component's bytes and their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Put {
    /// Where.
    pub key: RecordKey,
    /// A JSON text, or `None` to remove.
    pub document: Option<String>,
    /// When given, the revision that the document must have now; 0: it must not be there, or have been removed.
    pub expect: Option<u64>,
    /// A component that the document names, to be kept for the tenant with it. One that is there stays.
    pub component: Option<Component>,
}

/// Somebody else changed the document first. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it was changed by somebody else in the meantime")]
pub struct Conflict {
    /// Which document.
    pub key: RecordKey,
}

/// Who changed what, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// 1, 2, 3 … given by the store; 0 until then.
    pub id: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who: the name of an admin token, or `server`.
    pub actor: String,
    /// Whose tenant it concerns; empty for none.
    pub tenant: String,
    /// What was done, such as `tenant.create`.
    pub action: String,
    /// A JSON text with the particulars; never a secret.
    pub detail: String,
}

/// Where the decisions are kept.
#[async_trait::async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// The number of the last change; 0 for none. Cheap: every node asks each second.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn revision(&self) -> Result<u64, StoreError>;

    /// Every document whose last change is after `after`, by revision. No change ever appears with a number below
    /// one that was returned before.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn changes(&self, after: u64) -> Result<Vec<Record>, StoreError>;

    /// Makes all of the changes, and the entries in the audit log, or none. Gives the new last revision. Components of
    /// the tenants whose handlers are changed that no document of theirs names any more are gone afterwards.
    ///
    /// # Errors
    /// When the store cannot serve; the inner error when an expectation did not hold.
    async fn put(&self, puts: Vec<Put>, audit: Vec<AuditEntry>) -> Result<Result<u64, Conflict>, StoreError>;

    /// A component of a tenant.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn component(&self, tenant: &str, sha256: [u8; 32]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Removes every component that no document of its tenant names, which earlier releases have left over, and gives
    /// how many; and, where no other process can share the store, the marks of removed documents. For the start of a
    /// process: a follower reads from the beginning then and needs no marks.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn collect_garbage(&self) -> Result<u64, StoreError>;

    /// Entries of the audit log, newest first: of one tenant or of all, with ids below `before` when given, at most
    /// `limit`.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn audit(&self, tenant: Option<&str>, before: Option<u64>, limit: u32)
    -> Result<Vec<AuditEntry>, StoreError>;

    /// Removes those of the `limit` oldest entries of the audit log that are of before `before_ms`, in milliseconds
    /// since the Unix epoch, and gives how many. A few at a time, so that nothing waits long for them.
    ///
    /// # Errors
    /// When the store cannot serve.
    async fn prune_audit(&self, before_ms: u64, limit: u32) -> Result<u64, StoreError>;
}
