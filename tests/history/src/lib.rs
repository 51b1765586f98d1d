//! Checks what clients of a chat server saw against what the server stored.
//!
//! A simulation or an end-to-end test records what its clients do and see as a [`History`], one [`Record`] after the
//! other in the order in which they happened, and at the end what the store holds. [`History::check`] holds that to
//! the server's promises: a room has one order without gaps, the same for everybody; what was acknowledged is stored
//! once; nothing is lost, repeated or seen by another tenant. Each [`Violation`] says what is wrong and where.
//!
//! The check takes time in proportion to the records.
//!
//! ```
//! use parlance_history::{History, Invoke, Joined, Message, Record, StoredMessage};
//!
//! let mut history = History::default();
//! let (ann, acme, room) = ("ann", "acme", "lobby");
//! history.push(Record::Joined(Joined {
//!     client: ann.into(), tenant: acme.into(), user: ann.into(), room: room.into(),
//!     last: 0, after: Some(0), messages: vec![], exactly: true,
//! }));
//! history.push(Record::Invoke(Invoke {
//!     client: ann.into(), tenant: acme.into(), user: ann.into(), op: 1, room: room.into(), content: "hello".into(),
//! }));
//! history.push(Record::Delivered { client: ann.into(), room: room.into(), seq: 1, content: "hello".into() });
//! history.push(Record::Ok { client: ann.into(), op: 1, seq: 1 });
//! history.push(Record::Stored {
//!     tenant: acme.into(), room: room.into(),
//!     messages: vec![StoredMessage { seq: 1, content: "hello".into(), user: ann.into() }],
//! });
//! assert_eq!(history.check().unwrap().acknowledged, 1);
//! ```

mod record;
mod violation;

mod check;
mod index;
mod ops;
mod stays;

#[cfg(test)]
mod tests;

pub use check::Summary;
pub use record::{History, Invoke, Joined, Message, Record, StoredMessage, Text, Unreadable};
pub use violation::Violation;
