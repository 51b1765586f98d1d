//! Batches of messages, committed to a SQLite database one after the other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parlance_store::sqlite::SqliteStore;
use parlance_store::{ClientRef, Draft, RequestDigest, StorageQuota, Write, WriteSet, Writer as _};
use parlance_types::auth::Identity;
use parlance_types::id::{MessageId, RoomId};

use crate::user::{self, NOW_MS};

/// Messages in a batch.
const BATCH: u64 = 40;
/// What each message's text has besides its number, so that it has 100 bytes.
const FILLER: &str = "---------------------------------------------------------------------------------------------";
/// Rooms, to which the messages go in turn.
const ROOMS: usize = 100;

/// Commits `batches` batches.
pub(crate) async fn run(batches: u64) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = SqliteStore::open(&directory.path().join("messages.db"), Duration::ZERO)?;
    let sender = user::identity()?;
    let rooms = (0..ROOMS).map(|n| RoomId::new(&format!("room-{n}")));
    let rooms = rooms.collect::<Result<Vec<_>, _>>()?;
    let mut messages = (1..).zip(rooms.iter().cycle());
    for _ in 0..batches {
        let batch: Vec<WriteSet> = (0..BATCH)
            .filter_map(|_| messages.next())
            .map(|(number, room)| message(&sender, room, number))
            .collect();
        let results = store.commit(batch).await.context("a batch was not committed")?;
        ensure!(results.iter().all(Result::is_ok), "a message was rejected");
    }
    store.close().await;
    Ok(())
}

/// A message with a client id, as the server makes it of a client's event.
fn message(sender: &Identity, room: &RoomId, number: u64) -> WriteSet {
    let content = format!("{number:07}{FILLER}");
    // The id of a message with a client id is a digest, so ids are in no order.
    let digest = RequestDigest::of(room.as_str(), &content, None);
    WriteSet {
        tenant: sender.tenant().clone(),
        reads: parlance_store::ReadSet::default(),
        writes: vec![Arc::new(Write::Append(Draft {
            id: MessageId::from_bytes(digest.to_bytes()),
            room: room.clone(),
            sender: sender.user().clone(),
            username: sender.name().clone(),
            content,
            metadata: None,
            sent_at: NOW_MS,
            client: Some(ClientRef {
                id: format!("client-{number}").into(),
                request: digest,
            }),
            reject_repeated: true,
        }))],
        quota: StorageQuota::UNLIMITED,
    }
}
