//! Imports an export into a tenant that stores nothing yet. Each line is checked before it is stored. When one is wrong,
//! what was stored is removed again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use serde_json::json;

use super::api::TransferView;
use super::archive::{FORMAT, Header, MessageRecord, Record, RoomRecord, VERSION};
use super::{Actor, Control, ControlError, ControlResult};
use crate::tenant::Tenant;
use parlance_store::{DueKind, Imported, KvKey, Place, ReadSet, StoredKey, Write};
use parlance_types::id::RoomId;

/// Pieces that are stored in one transaction.
const BATCH: usize = 200;
/// Keys that are looked at to see whether the tenant has any.
const KEYS_LOOKED_AT: u32 = 1000;
/// About how many bytes of text they have at most.
const BATCH_BYTES: usize = 1024 * 1024;
/// How long the server reads the rest of a refused import.
const REFUSED_BODY_TIME: Duration = Duration::from_secs(10);
/// The most lines of it that are read.
const REFUSED_LINES: usize = 1_000_000;

/// What an import has read so far.
#[derive(Default)]
struct Import {
    counts: TransferView,
    room: Option<OpenRoom>,
    /// Pieces that are checked and not stored yet.
    batch: Vec<Imported>,
    bytes: usize,
    has_keys: bool,
    has_ended: bool,
    /// Whether something is stored.
    has_stored: bool,
}

/// The room whose messages are being read.
struct OpenRoom {
    id: RoomId,
    record: RoomRecord,
    /// The first and the last message so far.
    messages: Option<(u64, u64)>,
    rev: u64,
    is_closed: bool,
}

/// Why a line cannot be imported.
type LineResult<T> = Result<T, String>;

impl Control {
    /// Imports an export of a tenant. The tenant may have no messages and no keys. `lines` are those of the export.
    ///
    /// It goes on when the caller drops this future. If the lines break off, what was stored is removed.
    ///
    /// # Errors
    /// The first line that is wrong, and why; or that the tenant stores something already, or does not exist here, or that
    /// the store cannot serve. Nothing of the import is stored then.
    pub async fn import(
        self: &Arc<Self>,
        actor: &Actor,
        tenant: &str,
        mut lines: impl Stream<Item = Result<String, String>> + Send + Unpin + 'static,
    ) -> ControlResult<TransferView> {
        let (control, actor, tenant) = (self.clone(), actor.clone(), tenant.to_owned());
        let task = self.tasks.spawn("imports", async move {
            let imported = control.import_now(&actor, &tenant, &mut lines).await;
            if imported.is_err() {
                // A client that is still sending gets the answer only if what it sends is read.
                let _ = tokio::time::timeout(REFUSED_BODY_TIME, lines.take(REFUSED_LINES).for_each(|_| async {})).await;
            }
            imported
        });
        task.await
            .map_err(|_| ControlError::Conflict("the server is stopping; check whether it was done".to_owned()))?
    }

    async fn import_now(
        &self,
        actor: &Actor,
        tenant: &str,
        lines: impl Stream<Item = Result<String, String>> + Send,
    ) -> ControlResult<TransferView> {
        let tenant = self.served_tenant(tenant).await?;
        let _permit = self.transfers.permit(tenant.id())?;
        let maintenance = &self.deps.maintenance;
        let rooms = maintenance.rooms(tenant.id(), None, 1).await?;
        let keys = maintenance.keys(tenant.id(), None, KEYS_LOOKED_AT).await?;
        // How an erasure has ended is no data of the tenant's.
        let is_erasure = |key: &StoredKey| DueKind::of_space(&key.key.handler) == Some(("", DueKind::Erasure));
        if !rooms.is_empty() || !keys.iter().all(is_erasure) {
            return Err(ControlError::Conflict(format!(
                "the tenant {:?} has data already, perhaps of an import that is under way or was cut off; an export is \
                 imported into an empty tenant",
                tenant.id().as_str()
            )));
        }
        let marker = StoredKey {
            key: KvKey::import(),
            value: Vec::new(),
            expires_at: None,
            due_at: None,
        };
        if !maintenance.import(tenant.id(), vec![Imported::Key(marker)]).await? {
            return Err(ControlError::Conflict(
                "an import into this tenant has begun on another node".to_owned(),
            ));
        }
        let mut import = Import::default();
        let imported = match self.record_audit(actor, &tenant, "tenant.import", &json!({})).await {
            Ok(()) => self.import_lines(&tenant, &mut import, lines).await,
            Err(error) => Err(error),
        };
        // The data of a tenant that was deleted go with it, and those of one that has its name since are not ours.
        if self.serves(&tenant).await {
            if imported.is_err() && import.has_stored {
                maintenance.delete_data(tenant.id()).await?;
            } else {
                let delete = Write::KvDelete { key: KvKey::import() };
                self.commit_order(tenant.id(), ReadSet::default(), delete).await?;
            }
        }
        imported?;
        let counts = json!(import.counts);
        self.record_audit(actor, &tenant, "tenant.imported", &counts).await?;
        Ok(import.counts)
    }

    async fn import_lines(
        &self,
        tenant: &Arc<Tenant>,
        import: &mut Import,
        lines: impl Stream<Item = Result<String, String>> + Send,
    ) -> ControlResult<()> {
        let mut lines = std::pin::pin!(lines);
        let mut number: u64 = 0;
        while let Some(line) = lines.next().await {
            number += 1;
            let read = line.and_then(|line| import.line(number, &line));
            read.map_err(|problem| ControlError::invalid(format!("line {number}: {problem}")))?;
            if import.batch.len() >= BATCH || import.bytes >= BATCH_BYTES {
                self.store(tenant, import, number).await?;
            }
        }
        if !import.has_ended {
            return Err(ControlError::invalid(
                "the export is not whole: its last line, which says how much it has, is missing",
            ));
        }
        self.store(tenant, import, number).await
    }

    async fn store(&self, tenant: &Arc<Tenant>, import: &mut Import, line: u64) -> ControlResult<()> {
        import.bytes = 0;
        let batch = std::mem::take(&mut import.batch);
        if batch.is_empty() {
            return Ok(());
        }
        // Another one may have its name by now.
        if !self.serves(tenant).await {
            return Err(ControlError::Conflict(
                "the tenant was deleted meanwhile; what was imported stays where its data was kept".to_owned(),
            ));
        }
        if self.deps.maintenance.import(tenant.id(), batch).await? {
            import.has_stored = true;
            return Ok(());
        }
        Err(ControlError::Conflict(format!(
            "something of the lines up to {line} is there twice: in the export, or in the tenant, which clients must not \
             use meanwhile"
        )))
    }
}

impl Import {
    fn line(&mut self, number: u64, line: &str) -> LineResult<()> {
        if number == 1 {
            return header(line);
        }
        let record: Record = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if self.has_ended {
            return Err("follows the last line".to_owned());
        }
        self.bytes += line.len();
        match record {
            Record::Room(room) => self.open_room(room),
            Record::Message(message) => self.message(message),
            Record::Mark(mark) => {
                let room = self.room_with(&mark.room_id, mark.seq)?;
                self.counts.marks += 1;
                self.add(mark.piece(room)?)
            }
            Record::Receipt(receipt) => {
                let room = self.room_with(&receipt.room_id, receipt.seq)?;
                self.counts.receipts += 1;
                self.add(receipt.piece(room)?)
            }
            Record::Key(key) => {
                self.close_room()?;
                self.has_keys = true;
                self.counts.keys += 1;
                self.add(key.piece()?)
            }
            Record::Member(member) => {
                self.close_room()?;
                self.has_keys = true;
                self.counts.members += 1;
                member.pieces()?.into_iter().try_for_each(|piece| self.add(piece))
            }
            Record::Ban(ban) => {
                self.close_room()?;
                self.has_keys = true;
                self.counts.bans += 1;
                self.add(ban.piece()?)
            }
            Record::End(counts) => {
                self.close_room()?;
                self.has_ended = true;
                if counts != self.counts {
                    return Err(
                        "counts other records than there are: some are missing, or there are too many".to_owned(),
                    );
                }
                Ok(())
            }
        }
    }

    fn add(&mut self, piece: Imported) -> LineResult<()> {
        self.batch.push(piece);
        Ok(())
    }

    fn open_room(&mut self, record: RoomRecord) -> LineResult<()> {
        if self.has_keys {
            return Err("a room comes after keys".to_owned());
        }
        let before = self.room.as_ref().map(|room| room.id.clone());
        self.close_room()?;
        let id = RoomId::new(&record.id).map_err(|error| format!("id: {error}"))?;
        if before.is_some_and(|before| before.as_str() >= id.as_str()) {
            return Err("rooms must come in the order of their ids, each once".to_owned());
        }
        if record.first_seq == 0 || record.last_seq == 0 || record.first_seq > record.last_seq.saturating_add(1) {
            return Err("firstSeq and lastSeq begin with 1, and firstSeq is at most lastSeq + 1".to_owned());
        }
        self.counts.rooms += 1;
        self.add(Imported::Room {
            room: id.clone(),
            removed_up_to: record.first_seq - 1,
            place: Place {
                seq: record.last_seq,
                rev: record.rev,
            },
        })?;
        self.room = Some(OpenRoom {
            id,
            rev: record.rev,
            record,
            messages: None,
            is_closed: false,
        });
        Ok(())
    }

    /// Ends the room that is open: stores where its messages really begin. The room stays known for the order of rooms.
    fn close_room(&mut self) -> LineResult<()> {
        let Some(room) = self.room.as_mut().filter(|room| !room.is_closed) else {
            return Ok(());
        };
        room.is_closed = true;
        let last_seq = room.record.last_seq;
        let removed_up_to = match room.messages {
            Some((_, last)) if last != last_seq => {
                return Err(format!(
                    "the room {:?} ends with the message {last}, and its lastSeq is {last_seq}",
                    room.record.id
                ));
            }
            Some((first, _)) => first - 1,
            None => last_seq,
        };
        let piece = Imported::Room {
            room: room.id.clone(),
            removed_up_to,
            place: Place {
                seq: last_seq,
                rev: room.rev,
            },
        };
        self.add(piece)
    }

    fn message(&mut self, record: MessageRecord) -> LineResult<()> {
        let room = self
            .room
            .as_mut()
            .filter(|room| room.record.id == record.room_id && !self.has_keys);
        let room = room.ok_or("roomId: is not the room that came last")?;
        let (seq, rev) = (record.seq, record.rev.unwrap_or(0));
        let follows = match room.messages {
            Some((_, last)) => seq == last + 1,
            None => seq >= room.record.first_seq,
        };
        if !follows || seq > room.record.last_seq {
            return Err(format!(
                "seq: {seq} does not follow the message before, or is above the room's lastSeq"
            ));
        }
        let first = room.messages.map_or(seq, |(first, _)| first);
        room.messages = Some((first, seq));
        room.rev = room.rev.max(rev);
        let message = record.message(room.id.clone())?;
        self.counts.messages += 1;
        self.add(Imported::Message(Box::new(message)))
    }

    /// The room that came last, which must be this one and have this message.
    fn room_with(&self, id: &str, seq: u64) -> LineResult<RoomId> {
        let room = self.room.as_ref().filter(|room| room.record.id == id && !self.has_keys);
        let room = room.ok_or("roomId: is not the room that came last")?;
        match room.messages {
            Some((first, last)) if (first..=last).contains(&seq) => Ok(room.id.clone()),
            _ => Err("seq: is not one of a message that came before".to_owned()),
        }
    }
}

fn header(line: &str) -> LineResult<()> {
    let header: Header =
        serde_json::from_str(line).map_err(|error| format!("is not the first line of an export: {error}"))?;
    if header.format != FORMAT {
        return Err(format!("the format is {:?}, not {FORMAT:?}", header.format));
    }
    if header.version != VERSION {
        return Err(format!(
            "the format has version {}; this release reads {VERSION}",
            header.version
        ));
    }
    match header.user {
        Some(_) => Err("is an export of one user; only one of a whole tenant can be imported".to_owned()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"format":"parlance-export","version":1,"tenant":"acme","exportedAt":1}"#;
    const ROOM: &str = r#"{"room":{"id":"b","firstSeq":2,"lastSeq":3,"rev":1}}"#;
    const KEY: &str = r#"{"key":{"handler":"h","key":"k","text":"v"}}"#;

    fn message(seq: u64) -> String {
        let id = parlance_types::id::MessageId::from_bytes([u8::try_from(seq).unwrap(); 16]);
        format!(r#"{{"message":{{"roomId":"b","seq":{seq},"id":"{id}","userId":"ann","content":"x","sentAt":1}}}}"#)
    }

    fn end(rooms: u64, messages: u64, keys: u64) -> String {
        format!(r#"{{"end":{{"rooms":{rooms},"messages":{messages},"marks":0,"receipts":0,"keys":{keys}}}}}"#)
    }

    /// Reads lines, and returns the number of the one that is wrong, and why.
    fn read(lines: &[&str]) -> Result<Import, (u64, String)> {
        let mut import = Import::default();
        for (number, line) in (1..).zip(lines) {
            import.line(number, line).map_err(|problem| (number, problem))?;
        }
        Ok(import)
    }

    #[test]
    fn a_whole_export_is_read() {
        let (two, three, last) = (message(2), message(3), end(1, 2, 1));
        let import = read(&[HEADER, ROOM, &two, &three, KEY, &last]).ok().unwrap();
        assert!(import.has_ended);
        assert_eq!(
            import.batch.len(),
            5,
            "the room comes again when it is known where it begins"
        );
    }

    #[test]
    fn a_wrong_line_is_named_with_what_is_wrong() {
        let (one, two, four) = (message(1), message(2), message(4));
        let mark = r#"{"mark":{"roomId":"b","seq":3,"kind":"k","value":"v","userId":"ann","at":1}}"#;
        let earlier = ROOM.replace("\"b\"", "\"a\"");
        let counts = end(1, 0, 0);
        let user = HEADER.replace("\"exportedAt\"", "\"user\":\"ann\",\"exportedAt\"");
        let newer = HEADER.replace(":1,", ":2,");
        for (lines, line, problem) in [
            (vec!["{}"], 1, "is not the first line of an export"),
            (vec![user.as_str()], 1, "is an export of one user"),
            (vec![newer.as_str()], 1, "the format has version 2"),
            (vec![HEADER, "{"], 2, "EOF"),
            (vec![HEADER, r#"{"other":{}}"#], 2, "unknown variant"),
            (vec![HEADER, &two], 2, "roomId"),
            (vec![HEADER, ROOM, &one], 3, "seq"),
            (vec![HEADER, ROOM, &two, &four], 4, "seq"),
            (vec![HEADER, ROOM, &two, mark], 4, "seq"),
            (
                vec![HEADER, ROOM, &two, KEY],
                4,
                "the room \"b\" ends with the message 2",
            ),
            (vec![HEADER, ROOM, &earlier], 3, "rooms must come in the order"),
            (vec![HEADER, KEY, ROOM], 3, "a room comes after keys"),
            (vec![HEADER, &counts], 2, "counts other records"),
            (vec![HEADER, &end(0, 0, 0), KEY], 3, "follows the last line"),
        ] {
            let (at, why) = read(&lines).err().unwrap();
            assert_eq!(at, line, "{lines:?}: {why}");
            assert!(why.starts_with(problem), "{lines:?}: {why}");
        }
    }
}
