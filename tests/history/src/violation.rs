//! The violations of a history.

use std::fmt::Debug;

use crate::record::Text;

fn or_nothing<T: Debug>(value: &Option<T>) -> String {
    value
        .as_ref()
        .map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
}

/// A promise that was not kept, or a malformed history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum Violation {
    /// The store skips a number or has one twice.
    #[error("the store has {seq} where room {room:?} of tenant {tenant:?} should have {expected}")]
    Gap {
        tenant: Text,
        room: Text,
        expected: u64,
        seq: u64,
    },
    /// The store has a message twice.
    #[error(
        "{content:?} is stored twice: as {seq} of room {room:?} of tenant {tenant:?}, and before as {first_seq} of room \
         {first_room:?} of tenant {first_tenant:?}"
    )]
    StoredTwice {
        tenant: Text,
        room: Text,
        seq: u64,
        content: Text,
        first_tenant: Text,
        first_room: Text,
        first_seq: u64,
    },
    /// The store has a message that no client sent.
    #[error("nobody sent {content:?}, which is stored as {seq} of room {room:?} of tenant {tenant:?}")]
    Ghost {
        tenant: Text,
        room: Text,
        seq: u64,
        content: Text,
    },
    /// The store has a message in another room or tenant than its sender chose.
    #[error(
        "{content:?} of {client:?}, sent to room {room:?} of tenant {tenant:?}, is stored as {seq} of room \
         {stored_room:?} of tenant {stored_tenant:?}"
    )]
    WrongRoom {
        client: Text,
        tenant: Text,
        room: Text,
        content: Text,
        stored_tenant: Text,
        stored_room: Text,
        seq: u64,
    },
    /// The store has a message under another user than its sender's.
    #[error("{content:?}, {seq} of room {room:?}, is of user {user:?}, and stored as of user {stored_user:?}")]
    WrongUser {
        room: Text,
        seq: u64,
        content: Text,
        user: Text,
        stored_user: Text,
    },
    /// An acknowledged message is not stored.
    #[error("{content:?} was acknowledged to {client:?} as {seq} of room {room:?}, and is not stored")]
    Lost {
        client: Text,
        room: Text,
        seq: u64,
        content: Text,
    },
    /// An acknowledgement names another number than the store.
    #[error("{content:?} was acknowledged to {client:?} as {seq} of room {room:?}, and is stored as {stored_seq}")]
    WrongSeq {
        client: Text,
        room: Text,
        seq: u64,
        content: Text,
        stored_seq: u64,
    },
    /// A message is stored though its sender was told that it failed.
    #[error("{content:?} failed, as {client:?} was told, and is stored as {seq} of room {room:?}")]
    FailedStored {
        client: Text,
        room: Text,
        seq: u64,
        content: Text,
    },
    /// A sender's messages are not in the order in which they were sent.
    #[error("{content:?} is {seq} of room {room:?}, before {behind}, which {client:?} had sent before")]
    SenderOrder {
        client: Text,
        room: Text,
        seq: u64,
        content: Text,
        behind: u64,
    },
    /// A client got a message of a room that it is not in.
    #[error("{client:?} got {content:?}, {seq} of room {room:?}, and is not in that room")]
    NotAMember {
        client: Text,
        room: Text,
        seq: u64,
        content: Text,
    },
    /// A client got a message of another tenant.
    #[error("{client:?} got {content:?} as {seq} of room {room:?}, which was sent at tenant {tenant:?}")]
    OtherTenant {
        client: Text,
        room: Text,
        seq: u64,
        content: Text,
        tenant: Text,
    },
    /// A client got another message than the store has with this `seq`.
    #[error("{client:?} got {content:?} as {seq} of room {room:?}, where the store has {}", or_nothing(.stored))]
    Differs {
        client: Text,
        room: Text,
        seq: u64,
        content: Text,
        stored: Option<Text>,
    },
    /// A client was delivered a message too early.
    #[error("{client:?} got {content:?}, {seq} of room {room:?}, when {expected} should have come")]
    Skipped {
        client: Text,
        room: Text,
        seq: u64,
        content: Text,
        expected: u64,
    },
    /// A client was delivered a message again, or too late.
    #[error("{client:?} got {content:?}, {seq} of room {room:?}, again or late: {expected} should have come")]
    Repeated {
        client: Text,
        room: Text,
        seq: u64,
        content: Text,
        expected: u64,
    },
    /// A client did not get the last messages.
    #[error("{client:?} got room {room:?} up to {last}, of {stored_last}")]
    MissingTail {
        client: Text,
        room: Text,
        last: u64,
        stored_last: u64,
    },
    /// The past that a client was given when it joined has a gap, or is not in order. `seq` is `None` when the end is
    /// missing.
    #[error(
        "{client:?} joined room {room:?} and was given {} of the past where {expected} should have come",
        or_nothing(.seq)
    )]
    GivenGap {
        client: Text,
        room: Text,
        expected: u64,
        seq: Option<u64>,
    },
    /// A client was told a last `seq` that the room cannot have had.
    #[error("{client:?} joined room {room:?}, had {after} and was told that {last} is the last, of {stored_last}")]
    WrongLast {
        client: Text,
        room: Text,
        after: u64,
        last: u64,
        stored_last: u64,
    },
    /// The last status that a client was told of a user is wrong.
    #[error("{client:?} was last told {} of user {user:?}, who is {truth:?}", or_nothing(.told))]
    StalePresence {
        client: Text,
        user: Text,
        told: Option<Text>,
        truth: Text,
    },
    /// Malformed: two ops have the same content, or one op has two.
    #[error("the history makes no sense: op {op} of {client:?} with {content:?} is not the only one of that name")]
    ReusedName { client: Text, op: u64, content: Text },
    /// Malformed: the result of an op that was not sent.
    #[error("the history makes no sense: op {op} of {client:?} ends and has not begun")]
    UnknownOp { client: Text, op: u64 },
    /// Malformed: a client belongs to two users or tenants.
    #[error("the history makes no sense: {client:?} is user {user:?} of tenant {tenant:?}, and was somebody else")]
    TwoIdentities { client: Text, tenant: Text, user: Text },
}
