//! What only the PostgreSQL store promises: expired keys, round trips, several nodes, lost connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use super::*;
use crate::catalog::Catalog;
use crate::conformance::{Store, catalog_tests_of, tests_of};
use crate::{Draft, End, Maintenance, Rejected, StorageQuota, Usage, Write, Written};
use parlance_types::id::UserId;

mod opening;
mod outages;
mod plans;
mod proxy;
mod removed_people;
mod server;
mod two_nodes;

use server::Server;

async fn open(url: &str) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::open(url, PostgresSettings::default()).await.unwrap())
}

async fn empty() -> (Arc<dyn Store>, ()) {
    (open(&Server::shared().database()).await, ())
}

tests_of!(empty);

async fn empty_catalog() -> (Arc<dyn Catalog>, ()) {
    (open(&Server::shared().database()).await, ())
}

catalog_tests_of!(empty_catalog);

fn acme() -> TenantId {
    TenantId::for_tests("acme").unwrap()
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

fn id(n: u128) -> MessageId {
    MessageId::from_bytes(n.to_be_bytes())
}

fn append(n: u128, to: &str) -> Write {
    Write::Append(Draft {
        id: id(n),
        room: room(to),
        sender: UserId::new("ann").unwrap(),
        username: "Ann".into(),
        content: format!("message {n}"),
        metadata: None,
        sent_at: 1,
        client: None,
        reject_repeated: false,
    })
}

fn key(name: &str) -> KvKey {
    KvKey {
        handler: "h".into(),
        key: name.to_owned(),
    }
}

fn increment(name: &str) -> Write {
    Write::KvIncrement {
        key: key(name),
        by: 1,
        at: 1,
    }
}

fn write_set(writes: Vec<Write>) -> WriteSet {
    WriteSet {
        tenant: acme(),
        reads: crate::ReadSet::default(),
        writes: writes.into_iter().map(Arc::new).collect(),
        quota: StorageQuota::UNLIMITED,
    }
}

const ALL: Range = Range {
    after: 0,
    before: None,
    limit: u32::MAX,
    from: End::Newest,
};

/// The ids of a room's messages in order. Checks that their `seq` is 1, 2, 3 …
async fn ids(store: &PostgresStore, name: &str) -> Vec<MessageId> {
    let page = store.history(&acme(), &room(name), ALL).await.unwrap();
    let seqs: Vec<u64> = page.messages.iter().map(|message| message.seq).collect();
    assert_eq!(seqs, (1..=page.messages.len() as u64).collect::<Vec<_>>());
    page.messages.into_iter().map(|message| message.id).collect()
}

#[tokio::test]
async fn keys_that_expired_long_ago_are_deleted_and_counted() {
    let url = Server::shared().database();
    let store = open(&url).await;
    let set = |name: String, expires_at| Write::KvSet {
        key: key(&name),
        value: b"v".to_vec(),
        expires_at,
    };
    let mut writes: Vec<Write> = (0..600).map(|n| set(format!("old {n:03}"), Some(1))).collect();
    writes.extend([set("good".into(), None), set("late".into(), Some(u64::MAX))]);
    store.commit(vec![write_set(writes)]).await.unwrap();
    // The store's own sweeps may run in between; each counts what it deletes.
    removal::sweep_once(&store.pool, store.usage_shard).await.unwrap();
    removal::sweep_once(&store.pool, store.usage_shard).await.unwrap();
    assert_eq!(
        Server::shared().psql(server::name_in(&url), "SELECT count(*) FROM kv"),
        "2"
    );
    assert_eq!(store.usage(&acme()).await.unwrap().kv_bytes, 10);
}

#[tokio::test]
async fn a_rejected_write_set_leaves_no_room_behind() {
    let url = Server::shared().database();
    let store = open(&url).await;
    let none = StorageQuota {
        rooms: 0,
        ..StorageQuota::UNLIMITED
    };
    let rejected = WriteSet {
        quota: none,
        ..write_set(vec![append(1, "a")])
    };
    let outcomes = store
        .commit(vec![rejected, write_set(vec![append(2, "b")])])
        .await
        .unwrap();
    assert!(outcomes[0].is_err() && outcomes[1].is_ok(), "{outcomes:?}");
    assert_eq!(
        Server::shared().psql(server::name_in(&url), "SELECT string_agg(name, ',') FROM rooms"),
        "b"
    );
}

#[tokio::test]
async fn a_commit_whose_caller_is_gone_is_completed() {
    let store = open(&Server::shared().database()).await;
    store.commit(vec![write_set(vec![append(1, "lobby")])]).await.unwrap();
    // One poll hands the batch over; then the future is dropped.
    assert!(futures_util::FutureExt::now_or_never(store.commit(vec![write_set(vec![append(2, "lobby")])])).is_none());
    let begin = std::time::Instant::now();
    while store.place(&acme(), &room("lobby")).await.unwrap().seq < 2 {
        assert!(begin.elapsed() < Duration::from_secs(30));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_batch_takes_two_round_trips_however_many_events_it_has() {
    let store = open(&Server::shared().database()).await;
    // Count only round trips of batches.
    store.sweeper.abort();
    while !store.sweeper.is_finished() {
        tokio::task::yield_now().await;
    }
    let batch = |from: u128| {
        let write_sets = (from..from + 300).map(|n| write_set(vec![append(n, "lobby"), increment("count")]));
        write_sets.collect::<Vec<_>>()
    };
    // The first batch creates the tenant and the room, which takes more round trips.
    store.commit(batch(0)).await.unwrap();
    let before = store.pool.round_trips();
    store.commit(batch(300)).await.unwrap();
    assert_eq!(store.pool.round_trips() - before, 2);
    assert_eq!(ids(&store, "lobby").await.len(), 600);
}
