//! Lasting members of rooms. The host keeps them as keys of a space of its own, so that a member's rooms are one range of
//! one index, and quotas, deletion and the check of what an event has read (promise 12) are those of keys.
//!
//! | key | value |
//! | --- | --- |
//! | `u`, user, room | when the user became a member, and the role |
//! | `u`, user, room, `r` | the `seq` up to which the member has read; only ever raised |
//! | `u`, user, room, `m` | how often the member was mentioned |
//! | `u`, user, room, `n` | how many of the mentions the member has seen; only ever raised |
//! | `r`, room, user | nothing: it leads to the others |
//!
//! The parts are separated by U+0000, which no id has.

use super::{KvKey, KvRange, MEMBERS, PAGE_BYTES, Reader, StoreError, Write};
use parlance_types::id::{RoomId, TenantId, UserId};

/// The most members on one page of [`read_members`].
pub const MEMBERS_PAGE: u32 = 200;
/// The most rooms on one page of [`read_memberships`].
pub const MEMBERSHIPS_PAGE: u32 = 1000;
/// The most bytes of a role.
pub const ROLE_MAX: usize = 64;

/// Keys that one read of a page of memberships asks for.
const SCAN_KEYS: u32 = 1000;
/// What stands between the parts of a key.
const SEPARATOR: char = '\0';
/// Above the separator, and below all that ids have.
const AFTER_SEPARATOR: char = '\u{1}';

/// What the store has of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberState {
    /// The role.
    pub role: String,
    /// When the user became a member, in milliseconds since the Unix epoch.
    pub joined_at: u64,
    /// The `seq` up to which the member has read.
    pub read_up_to: u64,
    /// How often the member was mentioned.
    pub mentioned: u64,
    /// How many of the mentions the member has seen.
    pub seen: u64,
}

impl MemberState {
    /// The mentions that the member has not seen.
    #[must_use]
    pub fn mentions(&self) -> u64 {
        self.mentioned.saturating_sub(self.seen)
    }
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// The rest.
    pub state: MemberState,
}

/// A room in which a user is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The room.
    pub room: RoomId,
    /// The `seq` of the room's last message; 0 for none.
    pub last_seq: u64,
    /// The rest.
    pub state: MemberState,
}

/// A change of a member, as a handler asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// The user becomes a member, or gets another role.
    Add {
        /// The role.
        role: String,
        /// When the user became a member, in milliseconds since the Unix epoch.
        joined_at: u64,
    },
    /// The user is a member no more.
    Remove,
    /// The member has read up to this `seq`.
    ReadUpTo(u64),
    /// The member was mentioned.
    Mention,
}

/// The keys of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberKeys<'a> {
    /// The room.
    pub room: &'a str,
    /// The user.
    pub user: &'a str,
}

impl<'a> MemberKeys<'a> {
    /// Those of this member.
    #[must_use]
    pub fn of(room: &'a RoomId, user: &'a UserId) -> Self {
        Self {
            room: room.as_str(),
            user: user.as_str(),
        }
    }

    /// The key whose presence makes the user a member.
    #[must_use]
    pub fn member(&self) -> KvKey {
        KvKey::member(format!("u\0{}\0{}", self.user, self.room))
    }

    fn part(&self, part: char) -> KvKey {
        KvKey::member(format!("u\0{}\0{}\0{part}", self.user, self.room))
    }

    fn in_room(&self) -> KvKey {
        KvKey::member(format!("r\0{}\0{}", self.room, self.user))
    }

    /// The keys that [`state`](Self::state) reads.
    #[must_use]
    pub fn all(&self) -> [KvKey; 4] {
        [self.member(), self.part('r'), self.part('m'), self.part('n')]
    }

    /// The member, from the values of [`all`](Self::all).
    #[must_use]
    pub fn state(values: &[Option<Vec<u8>>]) -> Option<MemberState> {
        let value = |at: usize| values.get(at).and_then(Option::as_deref);
        let mut state = MemberState::default();
        state.take(None, value(0)?);
        for (part, at) in [('r', 1), ('m', 2), ('n', 3)] {
            if let Some(value) = value(at) {
                state.take(Some(part), value);
            }
        }
        Some(state)
    }

    /// The keys of [`all`](Self::all) of each of these users.
    #[must_use]
    pub fn of_all(room: &RoomId, users: &[UserId]) -> Vec<KvKey> {
        users.iter().flat_map(|user| MemberKeys::of(room, user).all()).collect()
    }

    /// Those of the users who are members, from the values of [`of_all`](Self::of_all).
    #[must_use]
    pub fn members(users: Vec<UserId>, values: &[Option<Vec<u8>>]) -> Vec<Member> {
        let members = users.into_iter().zip(values.chunks(4).map(Self::state));
        let members = members.filter_map(|(user, state)| Some(Member { user, state: state? }));
        members.collect()
    }

    /// The writes that give the user this role. One who was no member has read `read_up_to`, and nothing is left of an
    /// earlier membership.
    #[must_use]
    pub fn add(&self, role: &str, joined_at: u64, read_up_to: Option<u64>) -> Vec<Write> {
        let set = |key, value: String| Write::KvSet {
            key,
            value: value.into_bytes(),
            expires_at: None,
        };
        let mut writes = Vec::new();
        if read_up_to.is_some() {
            writes.extend(['r', 'm', 'n'].map(|part| Write::KvDelete { key: self.part(part) }));
        }
        writes.push(set(self.member(), format!("{joined_at} {role}")));
        writes.push(set(self.in_room(), String::new()));
        writes.extend(read_up_to.map(|seq| self.read_up_to(seq)));
        writes
    }

    /// The writes that end the membership.
    #[must_use]
    pub fn remove(&self) -> Vec<Write> {
        let keys = self.all().into_iter().chain([self.in_room()]);
        keys.map(|key| Write::KvDelete { key }).collect()
    }

    /// The write after which the member has read up to this `seq`.
    #[must_use]
    pub fn read_up_to(&self, seq: u64) -> Write {
        self.raise('r', seq)
    }

    /// The write after which the member has seen so many mentions.
    #[must_use]
    pub fn seen(&self, mentions: u64) -> Write {
        self.raise('n', mentions)
    }

    fn raise(&self, part: char, to: u64) -> Write {
        Write::KvRaise {
            key: self.part(part),
            to: i64::try_from(to).unwrap_or(i64::MAX),
        }
    }

    /// The write after which the member was mentioned so often.
    #[must_use]
    pub fn mentioned(&self, mentions: u64) -> Write {
        self.raise('m', mentions)
    }

    /// The write that counts a mention.
    #[must_use]
    pub fn mention(&self, at: u64) -> Write {
        Write::KvIncrement {
            key: self.part('m'),
            by: 1,
            at,
        }
    }

    /// Splits a key of [`all`](Self::all): whose it is, and which part of what is kept; `None` for the part that makes the
    /// user a member. No other key of the space splits.
    #[must_use]
    pub fn split(key: &'a str) -> Option<(Self, Option<char>)> {
        let mut parts = key.strip_prefix("u\0")?.split(SEPARATOR);
        let (user, room) = (parts.next()?, parts.next()?);
        let part = parts.next().and_then(|part| part.chars().next());
        Some((Self { room, user }, part))
    }
}

impl MemberChange {
    /// The member and the change, of which this is the write that says it. `None` for a write that is no change of a
    /// member, and for one that goes with another.
    #[must_use]
    pub fn of(write: &Write) -> Option<(MemberKeys<'_>, Self)> {
        let key = write.kv_key().filter(|key| key.is_member())?;
        let (keys, part) = MemberKeys::split(&key.key)?;
        let change = match (write, part) {
            (Write::KvSet { value, .. }, None) => {
                let mut state = MemberState::default();
                state.take(None, value);
                Self::Add {
                    role: state.role,
                    joined_at: state.joined_at,
                }
            }
            (Write::KvDelete { .. }, None) => Self::Remove,
            (Write::KvRaise { to, .. }, Some('r')) => Self::ReadUpTo(u64::try_from(*to).unwrap_or(0)),
            (Write::KvIncrement { .. }, Some('m')) => Self::Mention,
            _ => return None,
        };
        Some((keys, change))
    }
}

impl MemberState {
    /// Takes the value of one of the member's keys, as [`MemberKeys::split`] names it.
    pub fn take(&mut self, part: Option<char>, value: &[u8]) {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let number = || text.parse().unwrap_or(0);
        match part {
            None => {
                let (at, role) = text.split_once(' ').unwrap_or_default();
                self.joined_at = at.parse().unwrap_or(0);
                role.clone_into(&mut self.role);
            }
            Some('r') => self.read_up_to = number(),
            Some('m') => self.mentioned = number(),
            Some('n') => self.seen = number(),
            Some(_) => {}
        }
    }
}

/// The rooms after `after` in which the user is a member, at most `limit`, which is lowered to [`MEMBERSHIPS_PAGE`], and
/// whether there are no more.
///
/// # Errors
/// When the store cannot serve.
pub async fn read_memberships(
    store: &dyn Reader,
    tenant: &TenantId,
    user: &UserId,
    after: Option<&RoomId>,
    limit: u32,
) -> Result<(Vec<Membership>, bool), StoreError> {
    let limit = limit.clamp(1, MEMBERSHIPS_PAGE) as usize;
    let user = user.as_str();
    let mut range = KvRange {
        handler: MEMBERS.into(),
        from: match after {
            Some(room) => format!("u\0{user}\0{room}{AFTER_SEPARATOR}"),
            None => format!("u\0{user}\0"),
        },
        until: Some(format!("u\0{user}{AFTER_SEPARATOR}")),
    };
    let mut found: Vec<(String, MemberState)> = Vec::new();
    // One more than the limit tells that there are more, and that the one before it is whole.
    while found.len() <= limit {
        let page = store
            .kv_scan(tenant, &range, SCAN_KEYS, PAGE_BYTES as u64, u64::MAX)
            .await?;
        for (key, value) in &page.entries {
            let Some((MemberKeys { room, .. }, part)) = MemberKeys::split(key) else {
                continue;
            };
            match (found.last_mut(), part) {
                (Some((last, state)), Some(_)) if last == room => state.take(part, value),
                (_, None) => {
                    let mut state = MemberState::default();
                    state.take(None, value);
                    found.push((room.to_owned(), state));
                }
                // What is left of a membership that has ended meanwhile.
                (_, Some(_)) => {}
            }
        }
        match page.next {
            Some(next) => range.from = next,
            None => break,
        }
    }
    let complete = found.len() <= limit;
    found.truncate(limit);
    let named = found
        .into_iter()
        .filter_map(|(room, state)| Some((RoomId::new(&room).ok()?, state)));
    let (rooms, states): (Vec<RoomId>, Vec<MemberState>) = named.unzip();
    let places = store.places(tenant, &rooms).await?;
    let memberships = rooms.into_iter().zip(states).zip(places);
    let memberships = memberships.map(|((room, state), place)| Membership {
        room,
        last_seq: place.seq,
        state,
    });
    Ok((memberships.collect(), complete))
}

/// Which keys a page of a room's members is: those that lead to the members after `after`.
#[must_use]
pub fn members_range(room: &RoomId, after: Option<&UserId>) -> KvRange {
    KvRange {
        handler: MEMBERS.into(),
        from: match after {
            Some(user) => format!("r\0{room}\0{user}{AFTER_SEPARATOR}"),
            None => format!("r\0{room}\0"),
        },
        until: Some(format!("r\0{room}{AFTER_SEPARATOR}")),
    }
}

/// The users to whom the keys of a page of [`members_range`] lead.
#[must_use]
pub fn members_of_keys(entries: &[(String, Vec<u8>)]) -> Vec<UserId> {
    let user = |(key, _): &(String, Vec<u8>)| UserId::new(key.rsplit_once(SEPARATOR)?.1).ok();
    entries.iter().filter_map(user).collect()
}

/// Members of the room after `after`, at most `limit`, which is lowered to [`MEMBERS_PAGE`], and whether there are no
/// more.
///
/// # Errors
/// When the store cannot serve.
pub async fn read_members(
    store: &dyn Reader,
    tenant: &TenantId,
    room: &RoomId,
    after: Option<&UserId>,
    limit: u32,
) -> Result<(Vec<Member>, bool), StoreError> {
    let limit = limit.clamp(1, MEMBERS_PAGE);
    let range = members_range(room, after);
    let page = store
        .kv_scan(tenant, &range, limit, PAGE_BYTES as u64, u64::MAX)
        .await?;
    let users = members_of_keys(&page.entries);
    let keys = MemberKeys::of_all(room, &users);
    let values = if keys.is_empty() {
        Vec::new()
    } else {
        store.kv_get_many(tenant, &keys, u64::MAX).await?
    };
    Ok((MemberKeys::members(users, &values), page.next.is_none()))
}
