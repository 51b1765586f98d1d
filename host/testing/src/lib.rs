#![doc = include_str!("../README.md")]
#![allow(clippy::test_attr_in_doctest, reason = "the page shows whole tests")]
#![allow(clippy::panic, reason = "a wrong test should fail at its own line")]

mod context;
mod event;
mod faults;
mod handlers;
mod host;
mod outcome;
mod random;
mod requests;
mod response;
mod runs;
pub mod scenario;
mod server;
mod store;
mod user;

pub use event::Event;
pub use faults::{HttpAnswer, HttpFault};
pub use host::{START_MS, TestHost};
pub use outcome::{Acknowledged, Emitted, Outcome};
pub use requests::Requested;
pub use response::Response;
pub use user::{Received, User};

pub use parlance_handler::capability::{
    Audience, Capability, ClientLimits, Effect, EffectLimits, FailureReason, Grants, HostPattern, Level, LogLine,
    OutboundRequest, Parts, PresenceState, ServerSentEvent, Status,
};
pub use parlance_handler::sandbox::{EngineLimits, GuestLimits, Interface, LoadError, Rejection, Trap, TrapKind};
pub use parlance_store::{
    Change, Draft, KvKey, Marks, MemberChange, MemberKeys, MemberState, Membership, Message, Revision, StorageQuota,
    Write,
};
pub use parlance_types::error::Code;
