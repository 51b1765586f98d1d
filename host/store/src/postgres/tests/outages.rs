//! Servers that stop and crash, and connections that are lost.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

use super::*;
use crate::catalog::{Put, RecordKey, RecordKind};

/// Posts one message after another to the room `lobby` until told to stop, each again until it is acknowledged, which is
/// reported to `done`. While the server is down, waits until it serves. Returns the ids in order.
async fn client(
    store: Arc<PostgresStore>,
    first: u128,
    stop: Arc<AtomicBool>,
    done: mpsc::UnboundedSender<()>,
    mut serves: watch::Receiver<bool>,
) -> Vec<MessageId> {
    let mut acknowledged = Vec::new();
    for n in first.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        loop {
            match store.commit(vec![write_set(vec![append(n, "lobby")])]).await {
                Ok(outcomes) => {
                    outcomes.into_iter().for_each(|outcome| drop(outcome.unwrap()));
                    acknowledged.push(id(n));
                    done.send(()).unwrap();
                    break;
                }
                Err(StoreError::Unavailable(_)) => drop(serves.wait_for(|serves| *serves).await),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    acknowledged
}

/// Waits until a hundred more messages are acknowledged.
async fn a_hundred_more(done: &mut mpsc::UnboundedReceiver<()>) {
    while done.try_recv().is_ok() {}
    for _ in 0..100 {
        let next = tokio::time::timeout(Duration::from_secs(60), done.recv());
        next.await.expect("no progress").unwrap();
    }
}

/// Checks that every acknowledged message is stored once, each client's in order, and nothing else.
async fn check(store: &PostgresStore, acknowledged: &[Vec<MessageId>]) {
    let stored = ids(store, "lobby").await;
    for list in acknowledged {
        let mine: Vec<MessageId> = stored.iter().filter(|id| list.contains(id)).copied().collect();
        assert_eq!(&mine, list);
    }
    assert_eq!(stored.len(), acknowledged.iter().map(Vec::len).sum::<usize>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_and_crashes_under_load_loses_and_doubles_nothing() {
    // With `fsync`, because this test is about crashes.
    let server = Server::start(&[]);
    let url = server.database();
    let stores = [open(&url).await, open(&url).await];
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut done) = mpsc::unbounded_channel();
    let (serves, _) = watch::channel(true);
    let clients: Vec<_> = (0..4u128)
        .map(|n| (stores[n as usize % 2].clone(), n * 1_000_000))
        .map(|(store, first)| tokio::spawn(client(store, first, stop.clone(), sender.clone(), serves.subscribe())))
        .collect();
    for round in 1..=4 {
        a_hundred_more(&mut done).await;
        serves.send_replace(false);
        tokio::task::block_in_place(|| {
            if round % 2 == 0 {
                server.kill()
            } else {
                server.stop()
            }
            server.start_again();
        });
        serves.send_replace(true);
    }
    a_hundred_more(&mut done).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.push(client.await.unwrap());
    }
    check(&stores[0], &acknowledged).await;
    assert_eq!(stores[0].usage(&acme()).await.unwrap().rooms, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_that_were_acknowledged_are_counted_once_when_connections_are_cut() {
    let server = Server::start(&["fsync=off"]);
    let url = server.database();
    let store = open(&url).await;
    let stop = Arc::new(AtomicBool::new(false));
    let counting = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let (mut acknowledged, mut failed) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                match store.commit(vec![write_set(vec![increment("count")])]).await {
                    Ok(_) => acknowledged += 1,
                    Err(_) => failed += 1,
                }
            }
            (acknowledged, failed)
        }
    });
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'parlance'";
    let count = async || {
        let value = store.kv_get(&acme(), &key("count"), 1).await.ok().flatten();
        value.map_or(0, |value| String::from_utf8(value).unwrap().parse::<u64>().unwrap())
    };
    for _ in 0..40 {
        let before = count().await;
        let begin = std::time::Instant::now();
        while count().await < before + 3 {
            assert!(begin.elapsed() < Duration::from_secs(60), "no progress");
        }
        tokio::task::block_in_place(|| server.psql("postgres", cut));
    }
    stop.store(true, Ordering::Relaxed);
    let (acknowledged, failed): (u64, u64) = counting.await.unwrap();
    assert_eq!(failed, 0, "the server was there all the time, so each was seen through");
    assert_eq!(count().await, acknowledged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_done_once_and_told_as_it_was() {
    use proxy::Fate::{AnswerLost, Answered, Late, Lost};
    let server = Server::shared();
    let url = server.database();
    // Creates the schema, so that the proxy sees no migration.
    open(&url).await.close().await;
    let proxy = proxy::Proxy::start(server.port, &[Answered, AnswerLost, Lost, Late, Lost, AnswerLost]).await;
    let store = open(&url.replace(&server.port.to_string(), &proxy.port.to_string())).await;
    let sent = 12;
    for n in 0..sent {
        let writes = vec![append(n, "lobby"), increment("count")];
        let outcomes = store.commit(vec![write_set(writes)]).await.unwrap();
        let [Ok(written)] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        let new = Written::Appended {
            seq: n as u64 + 1,
            sent_at: 1,
            duplicate: false,
        };
        assert_eq!(written[0], new, "the sender and the room are told of a new message");
    }
    assert!(proxy.commits() > sent as usize, "some were tried again");
    assert_eq!(ids(&store, "lobby").await, (0..sent).map(id).collect::<Vec<_>>());
    let count = store.kv_get(&acme(), &key("count"), 1).await.unwrap();
    assert_eq!(count.as_deref(), Some(sent.to_string().as_bytes()));
    // Likewise the catalog: no change is made twice, and none conflicts with itself.
    let record = |n: u64| Put {
        key: RecordKey {
            kind: RecordKind::Tenant,
            tenant: "acme".to_owned(),
            name: String::new(),
        },
        document: Some("{}".to_owned()),
        expect: Some(n),
        component: None,
    };
    for n in 0..8 {
        assert_eq!(store.put(vec![record(n)], vec![]).await.unwrap(), Ok(n + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_everything_is_unavailable_and_goes_on_when_it_is_back() {
    let server = Server::start(&["fsync=off"]);
    let store = open(&server.database()).await;
    let post = |n| store.commit(vec![write_set(vec![append(n, "lobby")])]);
    post(1).await.unwrap();
    store.ping().await.unwrap();
    tokio::task::block_in_place(|| server.stop());
    for _ in 0..3 {
        let error = post(2).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(!format!("{error:#}").contains(server::PASSWORD));
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
        assert!(matches!(
            store.history(&acme(), &room("lobby"), ALL).await,
            Err(StoreError::Unavailable(_))
        ));
        assert!(matches!(store.revision().await, Err(StoreError::Unavailable(_))));
    }
    tokio::task::block_in_place(|| server.start_again());
    store.ping().await.unwrap();
    let again = post(2).await.unwrap();
    assert!(
        matches!(
            again[0].as_deref(),
            Ok([Written::Appended {
                seq: 2,
                duplicate: false,
                ..
            }])
        ),
        "{again:?}"
    );
    assert_eq!(ids(&store, "lobby").await, [id(1), id(2)]);
    store.close().await;
    assert!(matches!(post(3).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_not_let_go_makes_it_unavailable_and_no_more() {
    let server = Server::shared();
    let url = server.database();
    let settings = PostgresSettings {
        statement_time: Duration::from_millis(300),
        ..PostgresSettings::default()
    };
    let store = PostgresStore::open(&url, settings).await.unwrap();
    store.commit(vec![write_set(vec![append(1, "lobby")])]).await.unwrap();
    let (holder, connection) = url
        .parse::<tokio_postgres::Config>()
        .unwrap()
        .connect(tokio_postgres::NoTls)
        .await
        .unwrap();
    let holding = tokio::spawn(connection);
    holder
        .batch_execute("BEGIN; SELECT * FROM rooms FOR UPDATE")
        .await
        .unwrap();
    let error = store
        .commit(vec![write_set(vec![append(2, "lobby")])])
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the database has not answered in time");
    assert_eq!(
        store.place(&acme(), &room("lobby")).await.unwrap().seq,
        1,
        "reads go on"
    );
    drop(holder);
    let _ = holding.await;
    store.commit(vec![write_set(vec![append(2, "lobby")])]).await.unwrap();
    assert_eq!(ids(&store, "lobby").await, [id(1), id(2)]);
}

#[tokio::test]
async fn what_cannot_be_right_is_corrupt_and_shows_no_sql() {
    let server = Server::shared();
    let url = server.database();
    let store = open(&url).await;
    store.commit(vec![write_set(vec![append(1, "lobby")])]).await.unwrap();
    server.psql(server::name_in(&url), "UPDATE messages SET sender = ''");
    let error = store.history(&acme(), &room("lobby"), ALL).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    server.psql(server::name_in(&url), "DROP TABLE kv");
    let error = store.commit(vec![write_set(vec![increment("k")])]).await.unwrap_err();
    assert_eq!(error.to_string(), "the database cannot serve now");
    let StoreError::Unavailable(inner) = error else {
        panic!("{error:?}")
    };
    assert!(format!("{inner:#}").contains("kv"), "the log has it: {inner:#}");
}
