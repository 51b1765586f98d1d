//! Ids of tenants, users, rooms, messages and connections.
//!
//! Each id has its own type. So a room is never mistaken for a user, an id from outside is checked before it is used,
//! and a tenant can only come from a verified token or from the operator.

mod schema;

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::text::escape;

/// Longest room id, in bytes.
pub const MAX_ROOM_BYTES: usize = 128;
/// Longest user id, in bytes.
pub const MAX_USER_BYTES: usize = 128;
/// Longest tenant name, in bytes. It is short, since it is part of the Socket.IO namespace.
pub const MAX_TENANT_BYTES: usize = 63;
/// Longest id of a token (claim `jti`), in bytes.
pub const MAX_TOKEN_ID_BYTES: usize = 512;
/// What the ids of bots begin with. No token can name such a user, so nobody but a back end posts as a bot.
pub const BOT_PREFIX: &str = "bot:";
/// The tenant that owns the namespace `/`.
pub const DEFAULT_TENANT: &str = "default";

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// It is empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// It is too long.
    #[error("{what} has {got} bytes; at most {max} are allowed")]
    TooLong {
        /// The kind of id.
        what: &'static str,
        /// Its length in bytes.
        got: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// It has a control character, which would garble logs and terminals.
    #[error("{0} must not contain control characters")]
    Control(&'static str),
    /// It has a control of the writing direction, which could make it look like another id.
    #[error("{0} must not contain controls of the direction of writing")]
    Directional(&'static str),
    /// It has no visible character.
    #[error("{0} must have a character that can be seen")]
    Invisible(&'static str),
    /// It has U+FFFD, which replaces unreadable text, so two users might share the id.
    #[error("{0} must not contain U+FFFD, which stands for what could not be read")]
    Replacement(&'static str),
    /// It has a character that this kind of id does not allow.
    #[error("{what} must be {allowed}")]
    Alphabet {
        /// The kind of id.
        what: &'static str,
        /// The rule, for people.
        allowed: &'static str,
    },
}

/// Checks the name of a tenant: 1 to 63 bytes of `a-z`, `0-9` and `-`, beginning with a letter or a digit.
///
/// # Errors
/// What is wrong with it.
pub fn check_tenant_name(name: &str) -> Result<(), InvalidId> {
    check_name("a tenant's name", name)
}

/// Checks the name of a deployed handler: the rule is that of tenant names.
///
/// # Errors
/// What is wrong with it.
pub fn check_handler_name(name: &str) -> Result<(), InvalidId> {
    check_name("a handler's name", name)
}

fn check_name(what: &'static str, name: &str) -> Result<(), InvalidId> {
    check(what, name, MAX_TENANT_BYTES)?;
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain || name.starts_with('-') {
        return Err(InvalidId::Alphabet {
            what,
            allowed: "lower-case letters, digits and '-', beginning with a letter or a digit",
        });
    }
    Ok(())
}

fn check(what: &'static str, text: &str, max: usize) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty(what));
    }
    if text.len() > max {
        return Err(InvalidId::TooLong {
            what,
            got: text.len(),
            max,
        });
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidId::Control(what));
    }
    Ok(())
}

/// Checks a client's own id of a message: 1 to `max` bytes without control characters. Stores keep it as text, and not
/// all of them support U+0000.
///
/// # Errors
/// What is wrong with it.
pub fn check_client_id(id: &str, max: usize) -> Result<(), InvalidId> {
    check("clientId", id, max)
}

/// Checks the id of a token (claim `jti`), by which it can be revoked: 1 to 512 bytes without control characters.
///
/// # Errors
/// What is wrong with it.
pub fn check_token_id(id: &str) -> Result<(), InvalidId> {
    check("token id", id, MAX_TOKEN_ID_BYTES)
}

/// The id of a tenant. Only `auth` makes one, from a verified token or from what the operator has named, so holding a
/// `TenantId` proves that the code may act for that tenant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Makes an id after checking its form ([`check_tenant_name`]). Only `auth` may call this; a tidy test enforces
    /// that.
    pub(crate) fn from_trusted_name(name: &str) -> Result<Self, InvalidId> {
        check_tenant_name(name)?;
        Ok(Self(name.into()))
    }

    /// An unverified tenant, for tests of what follows authentication. `None` if the name is not valid.
    #[cfg(any(test, fuzzing, feature = "test-util"))]
    #[must_use]
    pub fn for_tests(name: &str) -> Option<Self> {
        Self::from_trusted_name(name).ok()
    }

    /// The name, for storage keys, logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tenant's Socket.IO namespace: `/` for the default tenant, else `/name`.
    #[must_use]
    pub fn namespace(&self) -> String {
        if &*self.0 == DEFAULT_TENANT {
            "/".to_owned()
        } else {
            format!("/{}", self.0)
        }
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and makes the id.
            ///
            /// # Errors
            /// When the text is empty, too long, or has control characters.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                check($what, text, $max)?;
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The id of a user of one tenant, from the token: 1 to 128 bytes without control characters.
    UserId, "user id", MAX_USER_BYTES
);
text_id!(
    /// The id of a room of one tenant: 1 to 128 bytes without control characters. Any other character is allowed, since
    /// nobody is mistaken for somebody else because of a room's name.
    RoomId, "room id", MAX_ROOM_BYTES
);

impl UserId {
    /// The id of a user who connects. People tell users apart by what they see, so beyond the rules of
    /// [`new`](Self::new) it must be visible, must not look like another id, and must stand for one user.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_token(text: &str) -> Result<Self, InvalidId> {
        let id = Self::new(text)?;
        if text.contains(escape::is_directional) {
            return Err(InvalidId::Directional("user id"));
        }
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(InvalidId::Replacement("user id"));
        }
        if !text.contains(escape::is_visible) {
            return Err(InvalidId::Invisible("user id"));
        }
        Ok(id)
    }

    /// The id of a tenant's bot: `bot:` and its name, 1 to 124 bytes by the rules of [`from_token`](Self::from_token).
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn bot(name: &str) -> Result<Self, InvalidId> {
        const MAX: usize = MAX_USER_BYTES - BOT_PREFIX.len();
        check("bot", name, MAX)?;
        Self::from_token(name)?;
        Self::new(&format!("{BOT_PREFIX}{name}"))
    }

    /// Whether it is the id of a bot.
    #[must_use]
    pub fn is_bot(&self) -> bool {
        self.0.starts_with(BOT_PREFIX)
    }
}

/// A connection's public id (`socket.id`), which its client, handlers and other servers use. Unlike the secret id of
/// its Engine.IO session, it gives no power over the connection. Unique among a tenant's connections on all nodes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// An id of 64 bits, for connections without a socket.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(format!("{bits:016x}").into())
    }

    /// The id that the client got from socketioxide, of 16 characters.
    #[must_use]
    pub fn from_socket_id(id: &str) -> Self {
        Self(id.into())
    }

    /// The text, 16 characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ConnectionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a message: 128 bits, written like a ULID as 26 characters of Crockford's base 32.
///
/// A message without a client id gets 48 bits of time and 80 random bits, so ids sort by time and the index grows at
/// its end. A message with a client id gets a hash of tenant, user and client id. If it is sent again it gets the same
/// id, so the store recognises it (promise 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ID_CHARS: usize = 26;

impl MessageId {
    /// An id from the time, in milliseconds since the Unix epoch, and random bits, of which 80 are used.
    #[must_use]
    pub fn from_time(now_ms: u64, random: u128) -> Self {
        Self((u128::from(now_ms) << 80) | (random & ((1 << 80) - 1)))
    }

    /// An id from the sender's own id of the message. Each part is hashed with its length, so that no two different
    /// triples hash the same bytes.
    #[must_use]
    pub fn from_client(tenant: &TenantId, user: &UserId, client_id: &str) -> Self {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for part in [tenant.as_str(), user.as_str(), client_id] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        Self(digest.iter().take(16).fold(0, |id, byte| (id << 8) | u128::from(*byte)))
    }

    /// The 16 bytes that a store keeps, most significant first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id from a store's 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Parses the 26 characters; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != ID_CHARS {
            return None;
        }
        let mut value: u128 = 0;
        for (at, byte) in text.bytes().enumerate() {
            let digit = CROCKFORD.iter().position(|c| *c == byte.to_ascii_uppercase())? as u128;
            // 26 characters hold 130 bits, so the first may use only three of its five.
            if at == 0 && digit > 7 {
                return None;
            }
            value = (value << 5) | digit;
        }
        Some(Self(value))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; ID_CHARS];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = CROCKFORD.get((rest & 31) as usize).copied().unwrap_or(b'0');
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_reads_back_as_written() {
        for id in [
            MessageId(0),
            MessageId(u128::MAX),
            MessageId::from_time(1_790_000_000_000, u128::MAX / 3),
        ] {
            assert_eq!(MessageId::parse(&id.to_string()), Some(id));
            assert_eq!(MessageId::from_bytes(id.to_bytes()), id);
        }
        assert_eq!(MessageId::parse("8ZZZZZZZZZZZZZZZZZZZZZZZZZ"), None, "131 bits");
        assert_eq!(MessageId::parse("short"), None);
    }

    #[test]
    fn the_parts_of_a_client_id_cannot_run_together() {
        let tenant = |name| TenantId::from_trusted_name(name).unwrap();
        let user = |name| UserId::new(name).unwrap();
        let one = MessageId::from_client(&tenant("a"), &user("b"), "cd");
        assert_eq!(one, MessageId::from_client(&tenant("a"), &user("b"), "cd"));
        assert_ne!(one, MessageId::from_client(&tenant("a"), &user("bc"), "d"));
        assert_ne!(one, MessageId::from_client(&tenant("ab"), &user("c"), "d"));
    }

    #[test]
    fn ids_are_limited_exactly() {
        assert!(RoomId::new(&"r".repeat(MAX_ROOM_BYTES)).is_ok());
        assert!(matches!(
            RoomId::new(&"r".repeat(MAX_ROOM_BYTES + 1)),
            Err(InvalidId::TooLong { .. })
        ));
        assert_eq!(RoomId::new(""), Err(InvalidId::Empty("room id")));
        assert_eq!(RoomId::new("a\u{7}b"), Err(InvalidId::Control("room id")));
        assert_eq!(check_client_id("a\0b", 8), Err(InvalidId::Control("clientId")));
        assert_eq!(check_client_id("", 8), Err(InvalidId::Empty("clientId")));
        assert!(check_client_id("12345678", 8).is_ok() && check_client_id("123456789", 8).is_err());
        assert!(check_token_id(&"t".repeat(MAX_TOKEN_ID_BYTES)).is_ok());
        assert!(check_token_id(&"t".repeat(MAX_TOKEN_ID_BYTES + 1)).is_err());
        assert_eq!(check_token_id("a\0"), Err(InvalidId::Control("token id")));
        assert!(TenantId::from_trusted_name("-acme").is_err());
        assert!(TenantId::from_trusted_name("Acme").is_err());
        assert_eq!(TenantId::from_trusted_name("acme").unwrap().namespace(), "/acme");
        assert_eq!(TenantId::from_trusted_name("default").unwrap().namespace(), "/");
    }

    #[test]
    fn user_ids_from_tokens_are_visible_and_unambiguous() {
        for fine in ["ann", "7", "Ann Lee", "שלום", "日本", "😀", "می‌خواهم", "a@b.example"] {
            assert!(UserId::from_token(fine).is_ok(), "{fine}");
        }
        for blank in [
            " ",
            "\u{a0}\u{3000}",
            "\u{200b}",
            "\u{feff}",
            "\u{200d}\u{200d}",
            "\u{3164}",
            "\u{e0041}",
        ] {
            assert_eq!(
                UserId::from_token(blank),
                Err(InvalidId::Invisible("user id")),
                "{blank:?}"
            );
        }
        for turned in ["\u{202e}nna", "a\u{2066}b", "ann\u{200f}", "\u{61c}ann"] {
            assert_eq!(
                UserId::from_token(turned),
                Err(InvalidId::Directional("user id")),
                "{turned:?}"
            );
        }
        assert_eq!(
            UserId::from_token("ann\u{fffd}"),
            Err(InvalidId::Replacement("user id"))
        );
        assert!(UserId::new("ann\u{fffd}").is_ok(), "what was kept before is still read");
    }

    #[test]
    fn a_bots_name_is_as_visible_as_a_users_id() {
        let bot = UserId::bot("Deploy Bot").unwrap();
        assert_eq!(bot.as_str(), "bot:Deploy Bot");
        assert!(bot.is_bot() && !UserId::new("robot:x").unwrap().is_bot());
        assert!(UserId::bot(&"b".repeat(124)).is_ok());
        for wrong in ["", " ", "a\u{202e}", "a\n", "\u{fffd}", &"b".repeat(125)] {
            assert!(UserId::bot(wrong).is_err(), "{wrong:?}");
        }
    }
}
