//! An event on its way from its handler to the hub.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::connection::{Connection, InFlightGuard};
use super::wire::{Receipt, Repeated, Reply, Responder};
use parlance_handler::capability::Effect;
use parlance_store::{FirstPost, Place, ReadSet, Reader, Written};
use parlance_types::error::{Code, EventError};
use parlance_types::id::RoomId;

/// Estimated bytes of a read that a commit checks: its key and a look-up.
const READ_WEIGHT: usize = 128;

/// An event on its way from its handler to the hub. One that writes passes the committer first, which fills in
/// `written`; one that has failed has no effects, and only its error is delivered.
pub struct Delivery {
    /// The connection whose event it is.
    pub connection: Arc<Connection>,
    /// What the event's handler asked for.
    pub effects: Vec<Effect>,
    /// The results of the writes among the effects, in the same order, or why the event failed.
    pub written: Result<Vec<Written>, EventError>,
    /// What to answer when it succeeded.
    pub reply: Reply,
    /// How to answer.
    pub responder: Responder,
    /// The phase of the connection's life in which the event happens.
    pub phase: ConnectionPhase,
    /// A room that the event joins. The hub holds back the room's packets until [`HubHandle::release`].
    ///
    /// [`HubHandle::release`]: super::HubHandle::release
    pub held_room: Option<RoomId>,
    /// Rooms that the event joins without an answer about their past. With each, how far it had come before the join, or
    /// `None` when the store did not say: what is later is delivered.
    pub baselines: Vec<(RoomId, Option<Place>)>,
    /// What the event has read of keys, which its commit is to find unchanged.
    pub reads: ReadSet,
    /// Told the result of the event once it is visible, or that it must run again.
    pub done: Option<oneshot::Sender<Done>>,
    /// The event's share of what its tenant may have in flight. Released when the event is visible.
    pub in_flight_permit: Option<OwnedSemaphorePermit>,
    /// Counts the event among those of its connection that are in flight, until it is visible or dropped.
    pub in_flight: Option<InFlightGuard>,
    /// When the packet arrived.
    pub received: Instant,
    /// When the packet arrived, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// What became of an event: the results of its writes, in order, or why it was not done. An event that only repeats a
/// message which was posted before has no results.
pub type Done = Result<Vec<Written>, Undone>;

/// Why an event was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It failed. The client has its error.
    Failed(EventError),
    /// A key that it had read has changed before its writes were committed. Nobody has seen anything of it, and it may
    /// run again.
    ReadsChanged,
}

impl Undone {
    /// Whether another event came first, so that the handler would decide otherwise now: a key that it had read has
    /// changed, or a message that it changes was deleted, or has become too long for what it adds.
    #[must_use]
    pub fn is_overtaken(&self) -> bool {
        match self {
            Self::ReadsChanged => true,
            Self::Failed(error) => matches!(error.code, Code::NotFound | Code::TooLarge),
        }
    }
}

impl Delivery {
    /// Reads the baselines of the rooms that the effects join, except for `held_room`.
    ///
    /// A handler may let the client into rooms that it did not ask to join. It gets no past of those rooms, only the
    /// messages after their last one of now.
    pub async fn read_baselines(&mut self, store: &dyn Reader) {
        let joined = self.effects.iter().filter_map(|effect| match effect {
            Effect::Join(room) if Some(room) != self.held_room.as_ref() => Some(room.clone()),
            _ => None,
        });
        let rooms: Vec<RoomId> = joined.collect();
        if rooms.is_empty() {
            return;
        }
        let identity = self.connection.identity.load_full();
        let last: Vec<Option<Place>> = match store.places(identity.tenant(), &rooms).await {
            Ok(last) => last.into_iter().map(Some).collect(),
            Err(error) => {
                // The hub reads the last messages itself once the store serves again.
                tracing::debug!(%error, "the last messages of rooms cannot be read");
                vec![None; rooms.len()]
            }
        };
        self.baselines = rooms.into_iter().zip(last).collect();
    }

    /// Whether the event writes to the store, and so must be durable before anything of it is visible.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.effects.iter().any(|effect| effect.write().is_some())
    }

    /// Whether the store is asked: to write, or whether what the event has read is there still.
    #[must_use]
    pub fn commits(&self) -> bool {
        self.writes() || !self.reads.is_empty()
    }

    /// About how many bytes the effects take; at least 1.
    #[must_use]
    pub fn effects_weight(&self) -> usize {
        let effects = self.effects.iter().map(Effect::weight).fold(1, usize::saturating_add);
        effects
            .saturating_add(self.reads.len().saturating_mul(READ_WEIGHT))
            .saturating_add(self.reads.bytes)
    }

    /// About how many bytes of memory the effects and the reply take; at least 1.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.effects_weight().saturating_add(self.reply.bytes())
    }

    /// Drops all effects, since the event's message was posted before as `first`. The sender is answered with that
    /// message.
    pub fn replace_with_repeat(&mut self, first: FirstPost) {
        let effects = std::mem::take(&mut self.effects);
        self.baselines = Vec::new();
        self.written = Ok(Vec::new());
        let drafts = effects.iter().filter_map(|effect| effect.write()?.draft());
        let message = drafts.into_iter().find(|draft| draft.reject_repeated);
        if let Some(draft) = message {
            self.reply = Reply::Repeated(Box::new(Repeated {
                room: draft.room.clone(),
                receipt: Receipt {
                    id: draft.id,
                    seq: first.seq,
                    sent_at: first.sent_at,
                    username: first.username,
                    client_id: draft.client.as_ref().map(|client| client.id.clone()),
                },
            }));
        }
    }
}

/// The phase of a connection's life in which an event happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionPhase {
    /// The connection was just opened, and the event is about that.
    Connecting,
    /// The connection is open.
    #[default]
    Connected,
    /// The client has gone, and the event is about that.
    Disconnecting,
}
