//! Changes messages, within the transaction of a batch.
//!
//! A message that is not merged is first: so its text is in one place of the database, and this is the only code that
//! changes it. Among the recent messages in memory only its place stays.

use rusqlite::{OptionalExtension as _, params};

use super::merge;
use super::writer::{Batch, WriteError};
use crate::quota::message_bytes;
use crate::{Change, QuotaKind, Rejected, Revise, Usage, Write, WriteSet, Written};
use parlance_types::id::{MessageId, RoomId, TenantId};

/// What a transaction has changed.
#[derive(Default)]
pub(super) struct Revised {
    /// Messages that were recent, with their tenants.
    pub(super) recent: Vec<(TenantId, MessageId)>,
    /// Rooms, with their tenants and their last `rev`.
    pub(super) rooms: Vec<(TenantId, RoomId, u64)>,
}

impl Revised {
    /// How much there is.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.recent.len(), self.rooms.len())
    }

    /// Forgets what came since there was this much.
    pub(super) fn truncate(&mut self, (recent, rooms): (usize, usize)) {
        self.recent.truncate(recent);
        self.rooms.truncate(rooms);
    }
}

/// Whether a write removes text of a message.
pub(super) fn removes_text(write: &Write) -> bool {
    matches!(write, Write::Revise(revise) if matches!(revise.change, Change::Edit { .. } | Change::Delete))
}

impl Batch<'_> {
    pub(super) fn revise(&mut self, write_set: &WriteSet, revise: &Revise) -> Result<Written, WriteError> {
        let tenant = &write_set.tenant;
        let (room, seq) = self.place(tenant, revise.id)?.ok_or(Rejected::NotFound)?;
        self.merge_one(tenant, revise.id)?;
        let stored = self
            .db
            .prepare_cached(
                "SELECT tenant_id, octet_length(content), coalesce(octet_length(metadata), 0) FROM messages
                 WHERE room_id = ?1 AND seq = ?2 AND deleted_at IS NULL",
            )?
            .query_row([room, seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let (row, content_bytes, metadata_bytes): (i64, i64, i64) = stored.ok_or(Rejected::NotFound)?;
        let content_bytes = content_bytes.cast_unsigned();
        let bytes = content_bytes + metadata_bytes.cast_unsigned();
        let mut count = 0;
        if revise.change.is_too_large_for(content_bytes) {
            return Err(Rejected::TooLarge.into());
        }
        if let Change::Mark { kind, value, on } = &revise.change {
            let changed;
            (changed, count) = self.mark(write_set, revise, (room, seq), (kind, value, *on))?;
            if !changed {
                return Ok(Written::Revised { rev: None, count });
            }
        }
        let rev: i64 = self
            .db
            .prepare_cached("UPDATE rooms SET last_rev = last_rev + 1 WHERE id = ?1 RETURNING last_rev")?
            .query_row([room], |row| row.get(0))?;
        self.room(tenant, &revise.room)?.last_rev = rev;
        let of_room = (tenant.clone(), revise.room.clone(), rev.cast_unsigned());
        self.revised.rooms.push(of_room);
        let at = revise.at.cast_signed();
        match &revise.change {
            Change::Edit { content, metadata } => {
                let after = message_bytes(content, metadata.as_deref()) - message_bytes("", None);
                match after.checked_sub(bytes) {
                    Some(more) => self.add_message_bytes(row, more, write_set)?,
                    None => self.usages.remove_message_bytes(self.db, row, bytes - after)?,
                }
                self.db
                    .prepare_cached(
                        "UPDATE messages SET content = ?3, metadata = ?4, rev = ?5, edited_at = ?6
                         WHERE room_id = ?1 AND seq = ?2",
                    )?
                    .execute(params![room, seq, content, metadata, rev, at])?;
            }
            Change::Append { fragment, .. } => {
                self.add_message_bytes(row, fragment.len() as u64, write_set)?;
                self.db
                    .prepare_cached(
                        "UPDATE messages SET content = content || ?3, rev = ?4 WHERE room_id = ?1 AND seq = ?2",
                    )?
                    .execute(params![room, seq, fragment, rev])?;
            }
            Change::Delete => {
                self.usages.remove_message_bytes(self.db, row, bytes)?;
                self.db
                    .prepare_cached("DELETE FROM marks WHERE room_id = ?1 AND seq = ?2")?
                    .execute([room, seq])?;
                self.db
                    .prepare_cached(
                        "UPDATE messages SET content = '', metadata = NULL, rev = ?3, deleted_at = ?4
                         WHERE room_id = ?1 AND seq = ?2",
                    )?
                    .execute([room, seq, rev, at])?;
            }
            Change::Mark { .. } => {
                self.db
                    .prepare_cached("UPDATE messages SET rev = ?3 WHERE room_id = ?1 AND seq = ?2")?
                    .execute([room, seq, rev])?;
            }
        }
        Ok(Written::Revised {
            rev: Some(rev.cast_unsigned()),
            count,
        })
    }

    /// Counts more bytes of the messages of the tenant with this row id.
    fn add_message_bytes(&mut self, tenant: i64, message_bytes: u64, write_set: &WriteSet) -> Result<(), WriteError> {
        let more = Usage {
            message_bytes,
            ..Usage::default()
        };
        self.usages.add(self.db, tenant, more, write_set.quota)??;
        Ok(())
    }

    /// Merges one message, if it is not, and notes that only its place stays in memory.
    fn merge_one(&mut self, tenant: &TenantId, id: MessageId) -> Result<(), WriteError> {
        let appended = self.pending.row_number(tenant, id);
        if let Some(n) = appended.or_else(|| self.recent.row_number(tenant, id)) {
            merge::merge_one(self.db, n)?;
            self.revised.recent.push((tenant.clone(), id));
        }
        Ok(())
    }

    /// Sets a mark or takes it back. Returns whether that has changed anything, and how many users have set it.
    fn mark(
        &self,
        write_set: &WriteSet,
        revise: &Revise,
        (room, seq): (i64, i64),
        (kind, value, on): (&str, &str, bool),
    ) -> Result<(bool, u64), WriteError> {
        let user = revise.user.as_str();
        let (all, same, own): (i64, i64, i64) = self
            .db
            .prepare_cached(
                "SELECT count(*), count(*) FILTER (WHERE kind = ?3 AND value = ?4),
                        count(*) FILTER (WHERE kind = ?3 AND value = ?4 AND user = ?5)
                 FROM marks WHERE room_id = ?1 AND seq = ?2",
            )?
            .query_row(params![room, seq, kind, value, user], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let (all, same) = (all.cast_unsigned(), same.cast_unsigned());
        if (own == 1) == on {
            return Ok((false, same));
        }
        if on && all >= write_set.quota.marks {
            return Err(Rejected::QuotaExceeded(QuotaKind::Marks).into());
        }
        if on {
            self.db
                .prepare_cached(
                    "INSERT INTO marks (room_id, seq, kind, value, user, marked_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![room, seq, kind, value, user, revise.at.cast_signed()])?;
            return Ok((true, same + 1));
        }
        self.db
            .prepare_cached(
                "DELETE FROM marks WHERE room_id = ?1 AND seq = ?2 AND kind = ?3 AND value = ?4 AND user = ?5",
            )?
            .execute(params![room, seq, kind, value, user])?;
        Ok((true, same.saturating_sub(1)))
    }
}
