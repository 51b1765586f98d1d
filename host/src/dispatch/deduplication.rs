//! Recognises a message that is sent again with the same `clientId`, and replies with the first one's receipt without
//! running a handler.
//!
//! The message id is a hash of tenant, user and `clientId`, so a look-up by primary key finds the first message, and
//! its request digest tells whether the content is the same. The commit checks again, because the first message may
//! still be in flight over another connection: then the second event's writes are dropped as a whole
//! ([`Rejected::Repeated`](parlance_store::Rejected::Repeated)).

use std::time::Duration;

use parking_lot::Mutex;

use super::event::SendMessage;
use super::session::Session;
use parlance_hub::{Repeated, Reply};
use parlance_store::{ClientRef, RequestDigest};
use parlance_types::error::EventError;
use parlance_types::id::MessageId;

/// How long the look-up may take, including the wait behind other reads. After that the handler runs, and the commit
/// finds out whether the message exists: slow reads of the store must not delay messages that it can write.
const LOOK_UP_TIME: Duration = Duration::from_secs(1);
/// The most messages with a `clientId` that a connection may have in flight before the next one waits for them. It
/// bounds the ids that each new one is compared with.
const IN_FLIGHT_MAX: usize = 64;

/// The ids of a connection's messages with a `clientId` that may still be in flight to the store.
#[derive(Default)]
pub(super) struct InFlightMessages(Mutex<Vec<MessageId>>);

impl InFlightMessages {
    /// Waits until a message with this id is no longer in flight, then adds the id.
    async fn wait_for(&self, session: &Session, id: MessageId) {
        let wait = {
            let mut ids = self.0.lock();
            // Only this session's task submits its events, so nothing can come into flight meanwhile.
            if !session.connection.has_in_flight() {
                *ids = Vec::new();
            }
            ids.contains(&id) || ids.len() >= IN_FLIGHT_MAX
        };
        if wait {
            session.connection.wait_in_flight().await;
            *self.0.lock() = Vec::new();
        }
        self.0.lock().push(id);
    }
}

/// A message with a `clientId`, as the look-up needs it.
pub(super) struct DedupLookup {
    id: MessageId,
    pub(super) client: ClientRef,
}

impl DedupLookup {
    /// Returns `None` for a message without a `clientId`.
    pub(super) fn of(session: &Session, message: &SendMessage) -> Option<Self> {
        let client_id = message.client_id.as_deref()?;
        let identity = session.connection.identity.load();
        Some(Self {
            id: MessageId::from_client(identity.tenant(), identity.user(), client_id),
            client: ClientRef {
                id: client_id.into(),
                request: RequestDigest::of(&message.room, &message.content, message.metadata.as_deref()),
            },
        })
    }

    /// Looks the message up before its handler runs, behind this connection's earlier messages with its id.
    ///
    /// Returns the reply if the message exists, and `None` if it does not or the store does not answer.
    pub(super) async fn find_duplicate(&self, session: &Session) -> Option<Result<Reply, EventError>> {
        session.in_flight.wait_for(session, self.id).await;
        self.look_up(session).await
    }

    /// Looks the message up. Returns the reply if it exists, and `None` if it does not or the store does not answer.
    pub(super) async fn look_up(&self, session: &Session) -> Option<Result<Reply, EventError>> {
        let read = session.tenant.store.message(session.tenant.id(), self.id);
        let first = match tokio::time::timeout(LOOK_UP_TIME, read).await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "a message cannot be looked up; the commit finds out whether it exists"
                );
                return None;
            }
            Err(_) => {
                tracing::debug!("the look-up of a message took too long; the commit finds out whether it exists");
                return None;
            }
        };
        Some(Repeated::of(first, &self.client).map(|repeated| Reply::Repeated(Box::new(repeated))))
    }
}
