//! Records what a handler saw and did, and runs it again offline with the same answers.
//!
//! A [`Call`](crate::capability::Call) gets the store, the connection's context and chance as traits. [`Recorder`] wraps
//! them and notes each answer; [`Replayer`] implements them with the answers of a recording. Clocks and web servers,
//! which a component reaches through WASI, pass a [`WasiTap`](crate::capability::WasiTap) in the same way. So the code
//! that runs an event is the same in production, while it is recorded and in a replay, and costs nothing while nothing
//! is recorded.

mod answers;
mod blob;
mod compare;
mod event;
mod file;
mod identities;
mod input;
mod limits;
mod mask;
mod mask_text;
mod outcome;
mod questions;
mod recorder;
mod replay;
mod report;
#[cfg(test)]
mod tests;

pub use answers::{Answer, RecordedMessage, RecordedPresence, RecordedRequest, RecordedResponse, Stored};
pub use blob::Blob;
pub use compare::{Difference, Group, differences};
pub use event::{Context, Event, RecordedHandshake, RecordedIdentity, Recorder};
pub use file::{
    Entry, FileError, Header, LINE_MAX, Reader, VERSION, Writer, context_line, event_from_line, event_line, header_line,
};
pub use input::{Input, PresenceChange};
pub use limits::Limits;
pub use outcome::{End, Outcome, RecordedAudience, RecordedEffect, RecordedLine, RecordedQuestion, RecordedUsage};
pub use replay::{Replayed, Replayer};
pub use report::{Compared, Example, GroupReport, Report, Reporter};
