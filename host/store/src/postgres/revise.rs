//! Changes of messages within a batch: what is loaded for them, how they apply in memory, and what is written. The batch
//! holds the locks of their rooms, so nobody else changes these messages meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_postgres::Row;

use super::decode::{by_ordinal, get};
use super::error::PostgresError;
use super::pool::Statement;
use crate::{Change, Draft, QuotaKind, Rejected, Revise};
use parlance_types::id::{MessageId, UserId};

const FIND_REVISED: &str = "SELECT w.n, octet_length(m.content)::bigint, coalesce(octet_length(m.metadata), 0)::bigint,
           m.deleted_at IS NOT NULL, (SELECT count(*) FROM marks k WHERE k.room_id = m.room_id AND k.seq = m.seq)
    FROM unnest($1::bigint[], $2::bytea[]) WITH ORDINALITY AS w (tenant_id, id, n)
    JOIN messages m ON m.tenant_id = w.tenant_id AND m.id = w.id";

/// For each mark whether it is set, and how many users have set the same.
const FIND_MARKS: &str = "SELECT w.n,
           EXISTS (SELECT 1 FROM marks k WHERE k.room_id = m.room_id AND k.seq = m.seq AND k.kind = w.kind
                   AND k.value = w.value AND k.marked_by = w.marked_by),
           (SELECT count(*) FROM marks k WHERE k.room_id = m.room_id AND k.seq = m.seq AND k.kind = w.kind
            AND k.value = w.value)
    FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::text[])
         WITH ORDINALITY AS w (tenant_id, id, kind, value, marked_by, n)
    JOIN messages m ON m.tenant_id = w.tenant_id AND m.id = w.id";

const UPDATE_MESSAGES: &str = "UPDATE messages m SET rev = w.rev,
        content = CASE WHEN w.has_text THEN w.content ELSE m.content END || w.appended,
        metadata = CASE WHEN w.has_text THEN w.metadata ELSE m.metadata END,
        edited_at = coalesce(w.edited_at, m.edited_at), deleted_at = w.deleted_at
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[], $5::bytea[], $6::bytea[], $7::bytea[],
                $8::bigint[], $9::bigint[])
         AS w (room_id, seq, rev, has_text, content, metadata, appended, edited_at, deleted_at)
    WHERE m.room_id = w.room_id AND m.seq = w.seq";

const REMOVE_ALL_MARKS: &str = "DELETE FROM marks k USING unnest($1::bigint[], $2::bigint[]) AS w (room_id, seq)
    WHERE k.room_id = w.room_id AND k.seq = w.seq";

const REMOVE_MARKS: &str = "DELETE FROM marks k
    USING unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::text[])
          AS w (room_id, seq, kind, value, marked_by)
    WHERE k.room_id = w.room_id AND k.seq = w.seq AND k.kind = w.kind AND k.value = w.value
    AND k.marked_by = w.marked_by";

const INSERT_MARKS: &str = "INSERT INTO marks (room_id, seq, kind, value, marked_by, marked_at)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::text[], $6::bigint[])";

/// A message. The first part is the tenant's row id.
pub(super) type MessageKey = (i64, MessageId);

/// The marks of one kind and value on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MarksKey<'a> {
    message: MessageKey,
    kind: &'a str,
    value: &'a str,
}

type MarkKey<'a> = (MarksKey<'a>, &'a UserId);

/// A message that the batch changes.
#[derive(Debug, Clone, Default)]
pub(super) struct RevisedMessage<'a> {
    room: i64,
    seq: i64,
    /// Bytes of its text.
    content_bytes: u64,
    /// Bytes of its metadata.
    metadata_bytes: u64,
    /// How many marks it has.
    marks: u64,
    /// The number of its last change in this batch. `None` when it has none.
    rev: Option<i64>,
    /// The text and metadata that this batch gives it.
    text: Option<(&'a str, Option<&'a str>)>,
    /// What this batch adds to the end of its text.
    appended: String,
    edited_at: Option<i64>,
    deleted_at: Option<i64>,
    was_deleted: bool,
}

impl<'a> RevisedMessage<'a> {
    /// Bytes of the text and metadata.
    fn bytes(&self) -> u64 {
        self.content_bytes + self.metadata_bytes
    }

    fn set_bytes(&mut self, content: &str, metadata: Option<&str>) {
        self.content_bytes = content.len() as u64;
        self.metadata_bytes = metadata.map_or(0, str::len) as u64;
    }

    /// Gives it another text and other metadata.
    fn set_text(&mut self, content: &'a str, metadata: Option<&'a str>) {
        self.set_bytes(content, metadata);
        self.text = Some((content, metadata));
        self.appended.clear();
    }
}

/// A mark: whether the database has it, and when it was set if it is now.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    stored: bool,
    set_at: Option<i64>,
}

/// What a batch changes of messages.
#[derive(Default)]
pub(super) struct Revisions<'a> {
    messages: HashMap<MessageKey, RevisedMessage<'a>>,
    marks: BTreeMap<MarkKey<'a>, Mark>,
    counts: HashMap<MarksKey<'a>, u64>,
}

/// A message before one change of it.
pub(super) struct BeforeChange<'a> {
    key: MessageKey,
    message: RevisedMessage<'a>,
    mark: Option<(MarkKey<'a>, Mark, u64)>,
}

/// What a change does besides.
pub(super) struct Applied<'a> {
    /// Whether it changes anything.
    pub(super) changes: bool,
    /// How many users have set the mark.
    pub(super) count: u64,
    /// Bytes that the message takes more, or less.
    pub(super) growth: i64,
    /// How to undo it.
    pub(super) before: BeforeChange<'a>,
}

fn mark_key<'a>(message: MessageKey, revise: &'a Revise) -> Option<MarkKey<'a>> {
    match &revise.change {
        Change::Mark { kind, value, .. } => Some((MarksKey { message, kind, value }, &revise.user)),
        Change::Edit { .. } | Change::Append { .. } | Change::Delete => None,
    }
}

/// Which messages and marks a batch touches.
#[derive(Default)]
pub(super) struct TouchedRevisions<'a> {
    messages: BTreeSet<MessageKey>,
    marks: BTreeSet<MarkKey<'a>>,
}

impl<'a> TouchedRevisions<'a> {
    pub(super) fn add(&mut self, tenant: i64, revise: &'a Revise) {
        let message = (tenant, revise.id);
        self.messages.insert(message);
        self.marks.extend(mark_key(message, revise));
    }
}

/// The columns of the statements that load what [`TouchedRevisions`] names.
pub(super) struct RevisionColumns<'a> {
    messages: Vec<MessageKey>,
    marks: Vec<MarkKey<'a>>,
    message_tenants: Vec<i64>,
    message_ids: Vec<Vec<u8>>,
    mark_tenants: Vec<i64>,
    mark_ids: Vec<Vec<u8>>,
    mark_kinds: Vec<&'a [u8]>,
    mark_values: Vec<&'a [u8]>,
    mark_users: Vec<&'a str>,
}

impl<'a> RevisionColumns<'a> {
    pub(super) fn of(touched: &TouchedRevisions<'a>) -> Self {
        let messages: Vec<MessageKey> = touched.messages.iter().copied().collect();
        let marks: Vec<MarkKey<'a>> = touched.marks.iter().copied().collect();
        let id = |id: MessageId| id.to_bytes().to_vec();
        Self {
            message_tenants: messages.iter().map(|at| at.0).collect(),
            message_ids: messages.iter().map(|at| id(at.1)).collect(),
            mark_tenants: marks.iter().map(|(of, _)| of.message.0).collect(),
            mark_ids: marks.iter().map(|(of, _)| id(of.message.1)).collect(),
            mark_kinds: marks.iter().map(|(of, _)| of.kind.as_bytes()).collect(),
            mark_values: marks.iter().map(|(of, _)| of.value.as_bytes()).collect(),
            mark_users: marks.iter().map(|(_, user)| user.as_str()).collect(),
            messages,
            marks,
        }
    }

    /// The statements: none, one or two.
    pub(super) fn statements(&self) -> Vec<Statement<'_>> {
        let mut statements = Vec::new();
        if !self.messages.is_empty() {
            let parameters = vec![&self.message_tenants as _, &self.message_ids as _];
            statements.push(Statement::Prepared(FIND_REVISED, parameters));
        }
        if !self.marks.is_empty() {
            let parameters = vec![
                &self.mark_tenants as _,
                &self.mark_ids as _,
                &self.mark_kinds as _,
                &self.mark_values as _,
                &self.mark_users as _,
            ];
            statements.push(Statement::Prepared(FIND_MARKS, parameters));
        }
        statements
    }

    /// What the statements found, in the order of [`statements`](Self::statements).
    pub(super) fn loaded(&self, mut next: impl FnMut(bool) -> Vec<Row>) -> Result<Revisions<'a>, PostgresError> {
        let mut revisions = Revisions::default();
        for row in next(!self.messages.is_empty()) {
            let message = RevisedMessage {
                content_bytes: get::<i64>(&row, 1)?.cast_unsigned(),
                metadata_bytes: get::<i64>(&row, 2)?.cast_unsigned(),
                was_deleted: get(&row, 3)?,
                marks: get::<i64>(&row, 4)?.cast_unsigned(),
                ..RevisedMessage::default()
            };
            revisions.messages.insert(*by_ordinal(&self.messages, &row)?, message);
        }
        for row in next(!self.marks.is_empty()) {
            let key = *by_ordinal(&self.marks, &row)?;
            let stored: bool = get(&row, 1)?;
            let mark = Mark {
                stored,
                set_at: stored.then_some(0),
            };
            revisions.marks.insert(key, mark);
            revisions.counts.insert(key.0, get::<i64>(&row, 2)?.cast_unsigned());
        }
        Ok(revisions)
    }
}

impl<'a> Revisions<'a> {
    /// Applies a change to the message at this place. `own` is a message that the batch has appended itself. The caller
    /// gives the change its number.
    pub(super) fn apply(
        &mut self,
        tenant: i64,
        revise: &'a Revise,
        (room, seq): (i64, i64),
        own: Option<&Draft>,
        marks_max: u64,
    ) -> Result<Applied<'a>, Rejected> {
        let key = (tenant, revise.id);
        if let Some(draft) = own {
            let message = self.messages.entry(key).or_default();
            if message.rev.is_none() {
                message.set_bytes(&draft.content, draft.metadata.as_deref());
            }
        }
        let message = self.messages.get_mut(&key).ok_or(Rejected::NotFound)?;
        if message.was_deleted || message.deleted_at.is_some() {
            return Err(Rejected::NotFound);
        }
        if revise.change.is_too_large_for(message.content_bytes) {
            return Err(Rejected::TooLarge);
        }
        (message.room, message.seq) = (room, seq);
        let mut before = BeforeChange {
            key,
            message: message.clone(),
            mark: None,
        };
        let at = revise.at.cast_signed();
        let (mut changes, mut count) = (true, 0);
        match &revise.change {
            Change::Edit { content, metadata } => {
                message.set_text(content, metadata.as_deref());
                message.edited_at = Some(at);
            }
            Change::Append { fragment, .. } => {
                message.content_bytes += fragment.len() as u64;
                message.appended.push_str(fragment);
            }
            Change::Delete => {
                message.set_text("", None);
                message.marks = 0;
                message.deleted_at = Some(at);
            }
            Change::Mark { on, .. } => {
                let Some(mark_key) = mark_key(key, revise) else {
                    return Err(Rejected::NotFound);
                };
                let mark = self.marks.entry(mark_key).or_default();
                let same = self.counts.entry(mark_key.0).or_default();
                before.mark = Some((mark_key, *mark, *same));
                changes = mark.set_at.is_some() != *on;
                if changes && *on {
                    if message.marks >= marks_max {
                        return Err(Rejected::QuotaExceeded(QuotaKind::Marks));
                    }
                    mark.set_at = Some(at);
                    (message.marks, *same) = (message.marks + 1, *same + 1);
                } else if changes {
                    mark.set_at = None;
                    (message.marks, *same) = (message.marks.saturating_sub(1), same.saturating_sub(1));
                }
                count = *same;
            }
        }
        Ok(Applied {
            changes,
            count,
            growth: message.bytes().cast_signed() - before.message.bytes().cast_signed(),
            before,
        })
    }

    /// Gives the last change of a message its number in the room.
    pub(super) fn number(&mut self, key: MessageKey, rev: i64) {
        if let Some(message) = self.messages.get_mut(&key) {
            message.rev = Some(rev);
        }
    }

    pub(super) fn revert(&mut self, before: BeforeChange<'a>) {
        self.messages.insert(before.key, before.message);
        if let Some((key, mark, count)) = before.mark {
            self.marks.insert(key, mark);
            self.counts.insert(key.0, count);
        }
    }

    /// What is to be written.
    pub(super) fn changes(&self) -> ChangeColumns<'_> {
        let mut columns = ChangeColumns::default();
        let mut messages: Vec<&RevisedMessage<'a>> = self.messages.values().collect();
        messages.sort_unstable_by_key(|message| (message.room, message.seq));
        for message in messages {
            let Some(rev) = message.rev else { continue };
            columns.rooms.push(message.room);
            columns.seqs.push(message.seq);
            columns.revs.push(rev);
            columns.have_text.push(message.text.is_some());
            let (content, metadata) = message.text.unwrap_or_default();
            columns.contents.push(content.as_bytes());
            columns.metadata.push(metadata.map(str::as_bytes));
            columns.appended.push(message.appended.as_bytes());
            columns.edited.push(message.edited_at);
            columns.deleted.push(message.deleted_at);
            if message.deleted_at.is_some() {
                columns.unmarked.0.push(message.room);
                columns.unmarked.1.push(message.seq);
            }
        }
        for ((of, user), mark) in &self.marks {
            let Some(message) = self.messages.get(&of.message) else {
                continue;
            };
            let to = match (mark.stored, mark.set_at) {
                _ if message.deleted_at.is_some() => continue,
                (false, Some(at)) => {
                    columns.times.push(at);
                    &mut columns.new_marks
                }
                (true, None) => &mut columns.old_marks,
                _ => continue,
            };
            to.rooms.push(message.room);
            to.seqs.push(message.seq);
            to.kinds.push(of.kind.as_bytes());
            to.values.push(of.value.as_bytes());
            to.users.push(user.as_str());
        }
        columns
    }
}

#[derive(Default)]
struct MarkColumns<'a> {
    rooms: Vec<i64>,
    seqs: Vec<i64>,
    kinds: Vec<&'a [u8]>,
    values: Vec<&'a [u8]>,
    users: Vec<&'a str>,
}

impl MarkColumns<'_> {
    fn parameters(&self) -> Vec<&(dyn tokio_postgres::types::ToSql + Sync)> {
        vec![&self.rooms, &self.seqs, &self.kinds, &self.values, &self.users]
    }
}

/// Changes to write, column by column.
#[derive(Default)]
pub(super) struct ChangeColumns<'a> {
    rooms: Vec<i64>,
    seqs: Vec<i64>,
    revs: Vec<i64>,
    have_text: Vec<bool>,
    contents: Vec<&'a [u8]>,
    metadata: Vec<Option<&'a [u8]>>,
    appended: Vec<&'a [u8]>,
    edited: Vec<Option<i64>>,
    deleted: Vec<Option<i64>>,
    /// Messages that lose all marks.
    unmarked: (Vec<i64>, Vec<i64>),
    old_marks: MarkColumns<'a>,
    new_marks: MarkColumns<'a>,
    /// When the new marks were set.
    times: Vec<i64>,
}

impl ChangeColumns<'_> {
    pub(super) fn statements(&self) -> Vec<Statement<'_>> {
        let mut statements = Vec::new();
        if !self.rooms.is_empty() {
            let parameters = vec![
                &self.rooms as _,
                &self.seqs as _,
                &self.revs as _,
                &self.have_text as _,
                &self.contents as _,
                &self.metadata as _,
                &self.appended as _,
                &self.edited as _,
                &self.deleted as _,
            ];
            statements.push(Statement::Prepared(UPDATE_MESSAGES, parameters));
        }
        let (rooms, seqs) = &self.unmarked;
        if !rooms.is_empty() {
            statements.push(Statement::Prepared(REMOVE_ALL_MARKS, vec![rooms, seqs]));
        }
        if !self.old_marks.rooms.is_empty() {
            statements.push(Statement::Prepared(REMOVE_MARKS, self.old_marks.parameters()));
        }
        if !self.new_marks.rooms.is_empty() {
            let mut parameters = self.new_marks.parameters();
            parameters.push(&self.times);
            statements.push(Statement::Prepared(INSERT_MARKS, parameters));
        }
        statements
    }
}
