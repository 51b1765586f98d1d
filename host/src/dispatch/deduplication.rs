//! A message that is sent again under its sender's own id: it is answered with its place, and no handler runs.
//!
//! The message id is a hash of tenant, user and `clientId`, so one look-up by primary key tells whether the message is
//! there, and its request digest whether this is the same message. The commit decides again, since the first attempt may
//! still be on its way over another connection: then the second one's writes are dropped as a whole
//! ([`Rejected::Repeated`](crate::store::Rejected::Repeated)).

use std::time::Duration;

use parking_lot::Mutex;

use super::event::SendMessage;
use super::session::Session;
use crate::cluster::{Repeated, Reply};
use crate::error::EventError;
use crate::id::MessageId;
use crate::store::{ClientRef, RequestDigest};

/// How long the look-up may take, waiting for other reads included. Past that the handler decides and the commit says
/// whether the message is there: a store that does not answer must not hold up what may be written all the same.
const LOOK_UP_TIME: Duration = Duration::from_secs(1);
/// So many messages of one connection may be on their way before the next one waits for them: their ids are compared
/// with each new one's.
const IN_FLIGHT_MAX: usize = 64;

/// The ids under which a connection has sent messages that may still be on their way to the store.
#[derive(Default)]
pub(super) struct InFlightMessages(Mutex<Vec<MessageId>>);

impl InFlightMessages {
    /// Waits, when the message may be on its way already, until that is settled.
    async fn wait_for(&self, session: &Session, id: MessageId) {
        let wait = {
            let mut ids = self.0.lock();
            // This connection's task alone submits its events: what is settled now stays so.
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

/// What a client sends under an id of its own.
pub(super) struct DedupLookup {
    id: MessageId,
    pub(super) client: ClientRef,
}

impl DedupLookup {
    /// The request, when the client has an id for the message.
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

    /// Looks for the message before a handler runs. `None`: it is not there, as far as the store says.
    pub(super) async fn find_duplicate(&self, session: &Session) -> Option<Result<Reply, EventError>> {
        session.in_flight.wait_for(session, self.id).await;
        self.look_up(session).await
    }

    /// Looks for the message. `None`: it is not there, as far as the store says.
    pub(super) async fn look_up(&self, session: &Session) -> Option<Result<Reply, EventError>> {
        let read = session.tenant.store.message(session.tenant.id(), self.id);
        let first = match tokio::time::timeout(LOOK_UP_TIME, read).await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "a message cannot be looked for; the commit decides"
                );
                return None;
            }
            Err(_) => {
                tracing::debug!("the store does not say whether a message is there; the commit decides");
                return None;
            }
        };
        Some(Repeated::of(first, &self.client).map(|repeated| Reply::Repeated(Box::new(repeated))))
    }
}
