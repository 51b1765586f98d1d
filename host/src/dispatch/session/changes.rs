//! Changes that no client asks for, as when an operator has a user erased.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Session;
use crate::dispatch::now_ms;
use parlance_handler::capability::Effect;
use parlance_hub::commit::CommitJob;
use parlance_hub::{ConnectionPhase, Delivery, Done, Reply, Responder, Undone};
use parlance_store::{ReadSet, Revise, StorageQuota, Write};
use parlance_types::error::{Code, EventError};

impl Session {
    /// Commits changes of messages, each on its own, and shows them to the members of their rooms on all nodes. Returns how
    /// many were made: a message that does not exist any more cannot change.
    ///
    /// # Errors
    /// When the store cannot serve. Some changes may be made then.
    pub async fn change_messages(&self, changes: Vec<Revise>) -> Result<u64, EventError> {
        let mut waiting = Vec::with_capacity(changes.len());
        for change in changes {
            waiting.push(
                self.submit_alone(vec![Effect::Write(Arc::new(Write::Revise(change)))])
                    .await,
            );
        }
        let (mut made, mut failed) = (0, None);
        for wait in waiting {
            match wait.await {
                Ok(Ok(_)) => made += 1,
                Ok(Err(Undone::Failed(error))) if error.code == Code::NotFound => {}
                Ok(Err(Undone::Failed(error))) => failed = Some(error),
                // It has no reads that could have changed; without an answer the server stops.
                Ok(Err(Undone::ReadsChanged)) | Err(_) => {
                    failed = Some(EventError::new(Code::Unavailable, "the change was interrupted"));
                }
            }
        }
        failed.map_or(Ok(made), Err)
    }

    /// Commits effects that no client asks for, all or none, and shows them on all nodes.
    ///
    /// # Errors
    /// When the store cannot serve.
    pub async fn apply_effects(&self, effects: Vec<Effect>) -> Result<(), EventError> {
        match self.submit_alone(effects).await.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Undone::Failed(error))) => Err(error),
            Ok(Err(Undone::ReadsChanged)) | Err(_) => {
                Err(EventError::new(Code::Unavailable, "the change was interrupted"))
            }
        }
    }

    /// Submits effects to the committer, beyond the tenant's quota.
    async fn submit_alone(&self, effects: Vec<Effect>) -> oneshot::Receiver<Done> {
        let (done, wait) = oneshot::channel();
        let mut delivery = Delivery {
            connection: self.connection.clone(),
            effects,
            written: Ok(Vec::new()),
            reply: Reply::Silent,
            responder: Responder::new(None, "change"),
            phase: ConnectionPhase::Connected,
            held_room: None,
            baselines: Vec::new(),
            reads: ReadSet::default(),
            done: Some(done),
            in_flight_permit: None,
            in_flight: None,
            received: Instant::now(),
            at_ms: now_ms(),
        };
        delivery.in_flight_permit = self.tenant.in_flight_permit(&delivery).await;
        self.services.committer.submit(CommitJob {
            hub: self.tenant.hub.clone(),
            quota: StorageQuota::UNLIMITED,
            delivery,
        });
        wait
    }
}
