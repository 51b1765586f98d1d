//! Exports a tenant's data, or what the tenant has of one user, line by line.
//!
//! A task reads page by page and waits for the reader of the lines, so an export takes the memory of a few pages, whatever
//! it exports. It is not of one moment: each room is as it is when its turn comes.

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::api::TransferView;
use super::archive::{
    FORMAT, Header, KeyRecord, MarkRecord, MessageRecord, ReceiptRecord, Record, RoomRecord, VERSION,
};
use super::erasure::{UserKeys, user_id};
use super::member_records::{BanRecord, MemberReader, MemberRecord};
use super::{Actor, Control, ControlError, ControlResult};
use crate::dispatch::now_ms;
use crate::tenant::Tenant;
use parlance_store::{End, Maintenance, Range, RoomSpan, SeqSpan, StoreError};
use parlance_types::id::{TenantId, UserId};

/// Exports and imports that one node has under way at most, each of another tenant.
const TRANSFERS_MAX: usize = 4;
/// How long an export waits for its reader to take a page.
const READER_TIMEOUT: Duration = Duration::from_secs(60);
/// Pages that wait for the reader of the lines.
const PAGES_WAITING: usize = 2;
/// Rooms, messages, marks, receipts and keys that are read at once.
const PAGE: u32 = 100;

/// The lines of an export. It ends early, after an error, when the store fails.
pub type ExportLines = mpsc::Receiver<Result<Bytes, StoreError>>;

/// Why an export ends early.
enum Ended {
    /// The reader has gone, or has taken no page for [`READER_TIMEOUT`].
    ReaderGone,
    /// The tenant was deleted. Another one may have its name, and other data.
    TenantGone,
    /// The store cannot serve.
    Failed(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl Control {
    /// Begins to export a tenant's data, or that of one user of it.
    ///
    /// # Errors
    /// When there is no such tenant here, the user is not an id, a handler's setting is wrong, or an export or import of the
    /// tenant, or too many of others, are under way.
    pub async fn export(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        user: Option<&str>,
    ) -> ControlResult<ExportLines> {
        let user = user.map(user_id).transpose()?;
        let tenant = self.served_tenant(tenant).await?;
        let keys = match &user {
            Some(user) => self.user_keys(&tenant, user).await.map_err(ControlError::Conflict)?,
            None => Vec::new(),
        };
        let permit = self.transfers.permit(tenant.id())?;
        let (action, detail) = match &user {
            Some(user) => ("user.export", json!({ "user": user.as_str() })),
            None => ("tenant.export", json!({})),
        };
        self.record_audit(actor, &tenant, action, &detail).await?;
        let (lines, waiting) = mpsc::channel(PAGES_WAITING);
        let export = Export {
            control: self.clone(),
            maintenance: self.deps.maintenance.clone(),
            tenant,
            user,
            keys,
            lines,
            page: Vec::new(),
            counts: TransferView::default(),
        };
        self.tasks.spawn_resumable(async move {
            let _permit = permit;
            export.run().await;
        });
        Ok(waiting)
    }
}

/// The exports and imports that are under way on this node.
#[derive(Default)]
pub(super) struct Transfers {
    tenants: Arc<Mutex<BTreeSet<TenantId>>>,
}

/// Allows one export or import, until it is dropped.
pub(super) struct TransferPermit {
    tenants: Arc<Mutex<BTreeSet<TenantId>>>,
    tenant: TenantId,
}

impl Transfers {
    /// A permit for an export or an import of a tenant.
    pub(super) fn permit(&self, tenant: &TenantId) -> ControlResult<TransferPermit> {
        let mut tenants = self.tenants.lock();
        let why = if tenants.contains(tenant) {
            "an export or import of this tenant is under way on this node".to_owned()
        } else if tenants.len() >= TRANSFERS_MAX {
            format!("exports or imports of {TRANSFERS_MAX} tenants are under way on this node")
        } else {
            tenants.insert(tenant.clone());
            return Ok(TransferPermit {
                tenants: self.tenants.clone(),
                tenant: tenant.clone(),
            });
        };
        Err(ControlError::TooMany(format!("{why}; try again when it has ended")))
    }
}

impl Drop for TransferPermit {
    fn drop(&mut self) {
        self.tenants.lock().remove(&self.tenant);
    }
}

struct Export {
    control: Arc<Control>,
    maintenance: Arc<dyn Maintenance>,
    tenant: Arc<Tenant>,
    /// Only what there is of this user.
    user: Option<UserId>,
    /// The keys that are named by the user.
    keys: Vec<UserKeys>,
    lines: mpsc::Sender<Result<Bytes, StoreError>>,
    /// The lines that follow.
    page: Vec<u8>,
    counts: TransferView,
}

impl Export {
    async fn run(mut self) {
        match self.all().await {
            Ok(()) => {}
            Err(Ended::ReaderGone) => {
                tracing::info!(tenant = %self.tenant.id(), "an export has ended early: nobody reads it any more, or too slowly");
            }
            Err(Ended::TenantGone) => {
                tracing::info!(tenant = %self.tenant.id(), "an export has ended early: the tenant was deleted");
            }
            Err(Ended::Failed(error)) => {
                tracing::warn!(tenant = %self.tenant.id(), error = format!("{error:#}"), "an export has ended early");
                let _ = self.lines.send_timeout(Err(error), READER_TIMEOUT).await;
            }
        }
    }

    async fn all(&mut self) -> Result<(), Ended> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            tenant: self.tenant.id().to_string(),
            user: self.user.as_ref().map(|user| user.as_str().to_owned()),
            exported_at: now_ms(),
        };
        self.line(&header);
        let mut after = None;
        loop {
            let rooms = self.maintenance.rooms(self.tenant.id(), after.as_ref(), PAGE).await?;
            let Some(last) = rooms.last() else {
                break;
            };
            after = Some(last.room.clone());
            for room in &rooms {
                self.room(room).await?;
            }
        }
        self.all_keys().await?;
        let counts = self.counts;
        self.line(&Record::End(counts));
        self.send().await
    }

    async fn room(&mut self, room: &RoomSpan) -> Result<(), Ended> {
        if self.user.is_none() {
            self.counts.rooms += 1;
            self.line(&Record::Room(RoomRecord::from(room)));
        }
        let mut after = 0;
        loop {
            let range = Range {
                after,
                before: room.place.seq.checked_add(1),
                limit: PAGE,
                from: End::Oldest,
            };
            let page = self.tenant.store.history(self.tenant.id(), &room.room, range).await?;
            let Some(last) = page.messages.last() else {
                break;
            };
            let span = SeqSpan { after, up_to: last.seq };
            after = last.seq;
            for message in &page.messages {
                if self.user.as_ref().is_none_or(|user| message.sender == *user) {
                    self.counts.messages += 1;
                    self.line(&Record::Message(MessageRecord::from(message)));
                }
            }
            self.send().await?;
            self.marks(room, span).await?;
            self.receipts(room, span).await?;
        }
        self.send().await
    }

    async fn marks(&mut self, room: &RoomSpan, span: SeqSpan) -> Result<(), Ended> {
        let (tenant, mut last) = (self.tenant.id().clone(), None);
        loop {
            let user = self.user.as_ref();
            let read = self
                .maintenance
                .marks(&tenant, &room.room, span, user, last.as_ref(), PAGE);
            let marks = read.await?;
            for mark in &marks {
                self.counts.marks += 1;
                self.line(&Record::Mark(MarkRecord::of(&room.room, mark)));
            }
            self.send().await?;
            if marks.len() < PAGE as usize {
                return Ok(());
            }
            last = marks.into_iter().next_back();
        }
    }

    async fn receipts(&mut self, room: &RoomSpan, span: SeqSpan) -> Result<(), Ended> {
        let (tenant, mut last) = (self.tenant.id().clone(), None);
        loop {
            let user = self.user.as_ref();
            let read = self
                .maintenance
                .receipts(&tenant, &room.room, span, user, last.as_ref(), PAGE);
            let receipts = read.await?;
            for receipt in &receipts {
                self.counts.receipts += 1;
                self.line(&Record::Receipt(ReceiptRecord::of(&room.room, receipt)));
            }
            self.send().await?;
            if receipts.len() < PAGE as usize {
                return Ok(());
            }
            last = receipts.into_iter().next_back();
        }
    }

    async fn all_keys(&mut self) -> Result<(), Ended> {
        let mut after = None;
        let mut members = MemberReader::default();
        loop {
            let keys = self.maintenance.keys(self.tenant.id(), after.as_ref(), PAGE).await?;
            for stored in &keys {
                self.member(members.take(stored));
                self.ban(BanRecord::of(stored));
                let is_asked_for = self.user.is_none() || self.keys.iter().any(|own| own.matches(&stored.key));
                if let Some(record) = KeyRecord::of(stored).filter(|_| is_asked_for) {
                    self.counts.keys += 1;
                    self.line(&Record::Key(record));
                }
            }
            self.send().await?;
            let Some(last) = keys.into_iter().next_back() else {
                self.member(members.end());
                return self.send().await;
            };
            after = Some(last.key);
        }
    }

    fn member(&mut self, record: Option<MemberRecord>) {
        if let Some(record) = record.filter(|record| self.is_of_user(&record.user_id)) {
            self.counts.members += 1;
            self.line(&Record::Member(record));
        }
    }

    fn ban(&mut self, record: Option<BanRecord>) {
        if let Some(record) = record.filter(|record| self.is_of_user(&record.user_id)) {
            self.counts.bans += 1;
            self.line(&Record::Ban(record));
        }
    }

    fn is_of_user(&self, user: &str) -> bool {
        self.user.as_ref().is_none_or(|own| own.as_str() == user)
    }

    fn line<T: Serialize>(&mut self, record: &T) {
        // Writing to a vector cannot fail, and no record has a map with keys that are not texts.
        let _ = serde_json::to_writer(&mut self.page, record);
        self.page.push(b'\n');
    }

    /// Sends the lines so far, and waits until there is room for more.
    async fn send(&mut self) -> Result<(), Ended> {
        if !self.control.serves(&self.tenant).await {
            return Err(Ended::TenantGone);
        }
        if self.page.is_empty() {
            // An export of one user may read long without a line.
            return if self.lines.is_closed() {
                Err(Ended::ReaderGone)
            } else {
                Ok(())
            };
        }
        let page = Bytes::from(std::mem::take(&mut self.page));
        let sent = self.lines.send_timeout(Ok(page), READER_TIMEOUT).await;
        sent.map_err(|_| Ended::ReaderGone)
    }
}
