//! Lasting members and bans in exports. The store keeps them as keys of the host; an export has them by what they mean.

use serde::{Deserialize, Serialize};

use parlance_handler::capability::check_role;
use parlance_store::{Imported, KvKey, MemberKeys, MemberState, StoredKey, Write};
use parlance_types::id::{RoomId, UserId};

/// A lasting member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MemberRecord {
    pub(super) room_id: String,
    pub(super) user_id: String,
    role: String,
    joined_at: u64,
    read_up_to: u64,
    mentions: u64,
}

/// A ban of a user from a room, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BanRecord {
    pub(super) room_id: String,
    pub(super) user_id: String,
    until: u64,
}

/// Makes records of members out of their keys, which come in their order.
#[derive(Default)]
pub(super) struct MemberReader {
    open: Option<(String, String, MemberState)>,
}

impl MemberReader {
    /// Takes the next key. Returns the member whose keys have ended with it.
    pub(super) fn take(&mut self, stored: &StoredKey) -> Option<MemberRecord> {
        let split = stored
            .key
            .is_member()
            .then(|| MemberKeys::split(&stored.key.key))
            .flatten();
        match (split, &mut self.open) {
            (Some((MemberKeys { room, user }, Some(part))), Some((open_room, open_user, state)))
                if open_room == room && open_user == user =>
            {
                state.take(Some(part), &stored.value);
                None
            }
            (Some((MemberKeys { room, user }, None)), _) => {
                let ended = self.end();
                let mut state = MemberState::default();
                state.take(None, &stored.value);
                self.open = Some((room.to_owned(), user.to_owned(), state));
                ended
            }
            _ => self.end(),
        }
    }

    /// The last member.
    pub(super) fn end(&mut self) -> Option<MemberRecord> {
        let (room_id, user_id, state) = self.open.take()?;
        let mentions = state.mentions();
        Some(MemberRecord {
            room_id,
            user_id,
            role: state.role,
            joined_at: state.joined_at,
            read_up_to: state.read_up_to,
            mentions,
        })
    }
}

impl MemberRecord {
    /// What is to be stored for it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn pieces(self) -> Result<Vec<Imported>, String> {
        let (room, user) = ids(&self.room_id, &self.user_id)?;
        check_role(&self.role).map_err(|why| format!("role: {why}"))?;
        let keys = MemberKeys::of(&room, &user);
        let mut writes = keys.add(&self.role, self.joined_at, Some(self.read_up_to));
        if self.mentions > 0 {
            writes.push(keys.mentioned(self.mentions));
        }
        Ok(writes.into_iter().filter_map(stored).collect())
    }
}

impl BanRecord {
    /// The record of a key, if it is that of a ban.
    pub(super) fn of(stored: &StoredKey) -> Option<Self> {
        let (room, user) = stored.key.ban_of()?;
        let until = std::str::from_utf8(&stored.value).ok()?.parse().ok()?;
        Some(Self {
            room_id: room.to_owned(),
            user_id: user.to_owned(),
            until,
        })
    }

    /// What is to be stored for it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn piece(&self) -> Result<Imported, String> {
        let (room, user) = ids(&self.room_id, &self.user_id)?;
        Ok(Imported::Key(StoredKey {
            key: KvKey::ban(&room, &user),
            value: self.until.to_string().into_bytes(),
            expires_at: Some(self.until).filter(|at| i64::try_from(*at).is_ok()),
            due_at: None,
        }))
    }
}

fn ids(room: &str, user: &str) -> Result<(RoomId, UserId), String> {
    let room = RoomId::new(room).map_err(|error| format!("roomId: {error}"))?;
    let user = UserId::new(user).map_err(|error| format!("userId: {error}"))?;
    Ok((room, user))
}

/// The key that a write leaves in a store without it.
fn stored(write: Write) -> Option<Imported> {
    let (key, value) = match write {
        Write::KvSet { key, value, .. } => (key, value),
        // An absent number counts as 0.
        Write::KvRaise { key, to } if to > 0 => (key, to.to_string().into_bytes()),
        _ => return None,
    };
    Some(Imported::Key(StoredKey {
        key,
        value,
        expires_at: None,
        due_at: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, value: &str) -> StoredKey {
        StoredKey {
            key: KvKey::member(key.to_owned()),
            value: value.as_bytes().to_vec(),
            expires_at: None,
            due_at: None,
        }
    }

    #[test]
    fn members_are_made_of_their_keys_and_keys_of_members() {
        let keys = [
            key("r\0lobby\0ann", ""),
            key("u\0ann\0lobby", "7 owner of it"),
            key("u\0ann\0lobby\0m", "5"),
            key("u\0ann\0lobby\0n", "2"),
            key("u\0ann\0lobby\0r", "9"),
            key("u\0ann\0lobby2", "8 member"),
        ];
        let mut reader = MemberReader::default();
        let mut records: Vec<MemberRecord> = keys.iter().filter_map(|key| reader.take(key)).collect();
        records.extend(reader.end());
        let seen: Vec<_> = records
            .iter()
            .map(|record| {
                (
                    &*record.room_id,
                    &*record.role,
                    record.joined_at,
                    record.read_up_to,
                    record.mentions,
                )
            })
            .collect();
        assert_eq!(seen, [("lobby", "owner of it", 7, 9, 3), ("lobby2", "member", 8, 0, 0)]);
        let pieces = records.remove(0).pieces().unwrap();
        let mut again = MemberReader::default();
        let mut stored: Vec<StoredKey> = pieces
            .into_iter()
            .filter_map(|piece| match piece {
                Imported::Key(key) => Some(key),
                _ => None,
            })
            .collect();
        stored.sort_by(|a, b| a.key.cmp(&b.key));
        assert!(stored.iter().all(|key| again.take(key).is_none()));
        let record = again.end().unwrap();
        assert_eq!(
            (record.read_up_to, record.mentions, &*record.role),
            (9, 3, "owner of it")
        );
    }

    #[test]
    fn what_is_wrong_with_a_record_is_said() {
        let record = |text: &str| serde_json::from_str::<MemberRecord>(text).unwrap().pieces();
        for (wrong, why) in [
            (
                r#"{"roomId":"","userId":"a","role":"m","joinedAt":1,"readUpTo":0,"mentions":0}"#,
                "roomId",
            ),
            (
                r#"{"roomId":"r","userId":"\n","role":"m","joinedAt":1,"readUpTo":0,"mentions":0}"#,
                "userId",
            ),
            (
                r#"{"roomId":"r","userId":"a","role":"","joinedAt":1,"readUpTo":0,"mentions":0}"#,
                "role",
            ),
        ] {
            assert!(record(wrong).unwrap_err().starts_with(why), "{wrong}");
        }
    }

    #[test]
    fn a_ban_comes_back() {
        let ban = BanRecord {
            room_id: "r".to_owned(),
            user_id: "eve".to_owned(),
            until: 9,
        };
        let Imported::Key(stored) = ban.piece().unwrap() else {
            panic!("a key");
        };
        assert_eq!(stored.expires_at, Some(9));
        assert_eq!(BanRecord::of(&stored), Some(ban));
    }
}
