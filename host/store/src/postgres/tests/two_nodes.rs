//! Several stores on one database, as several nodes use them.

use super::*;

async fn nodes(count: usize) -> Vec<Arc<PostgresStore>> {
    let url = Server::shared().database();
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(open(&url).await);
    }
    nodes
}

#[tokio::test]
async fn nodes_have_one_epoch_and_another_database_has_another() {
    let (ours, others) = (nodes(2).await, nodes(1).await);
    assert_eq!(ours[0].epoch(), ours[1].epoch());
    assert_ne!(ours[0].epoch(), others[0].epoch());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_write_to_one_room_give_one_order_without_gaps() {
    let nodes = nodes(3).await;
    let writers: Vec<_> = (0..6u128)
        .map(|writer| {
            let store = nodes[writer as usize % 3].clone();
            tokio::spawn(async move {
                let mut given = Vec::new();
                for batch in 0..20u128 {
                    let write_sets = (0..5).map(|n| write_set(vec![append(writer * 1_000 + batch * 10 + n, "lobby")]));
                    for outcome in store.commit(write_sets.collect()).await.unwrap() {
                        match outcome.unwrap()[..] {
                            [
                                Written::Appended {
                                    seq, duplicate: false, ..
                                },
                            ] => given.push(seq),
                            ref other => panic!("{other:?}"),
                        }
                    }
                }
                assert!(given.is_sorted(), "what one node posts first comes first");
                given
            })
        })
        .collect();
    let mut given = Vec::new();
    for writer in writers {
        given.extend(writer.await.unwrap());
    }
    given.sort_unstable();
    assert_eq!(given, (1..=600).collect::<Vec<_>>());
    for node in &nodes {
        assert_eq!(ids(node, "lobby").await.len(), 600);
    }
    assert_eq!(nodes[0].usage(&acme()).await.unwrap().rooms, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_sent_to_two_nodes_is_one_message() {
    let nodes = nodes(2).await;
    let mut fresh = 0;
    for n in 0..40u128 {
        // Even ids go to one room; odd ids go to two rooms and stand for different messages.
        let same = n % 2 == 0;
        let one = nodes[0].commit(vec![write_set(vec![append(n, "lobby")])]);
        let two = nodes[1].commit(vec![write_set(vec![append(
            n,
            if same { "lobby" } else { "elsewhere" },
        )])]);
        let (one, two) = tokio::join!(one, two);
        let mut seqs = Vec::new();
        for outcome in [one, two] {
            match outcome.unwrap().remove(0) {
                Ok(written) => {
                    let [Written::Appended { seq, duplicate, .. }] = written[..] else {
                        panic!("{written:?}")
                    };
                    seqs.push(seq);
                    fresh += u128::from(!duplicate);
                }
                Err(rejection) => assert_eq!((rejection, same), (Rejected::ClientIdTaken, false)),
            }
        }
        assert_eq!(seqs.len(), if same { 2 } else { 1 });
        assert!(
            seqs.iter().all(|seq| *seq == seqs[0]),
            "both are told of the same message"
        );
        assert_eq!(fresh, n + 1, "and one of them that it is new");
    }
    let there = ids(&nodes[0], "lobby").await.len() + ids(&nodes[0], "elsewhere").await.len();
    assert_eq!(there, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_touch_the_same_things_in_opposite_order_all_succeed() {
    let nodes = nodes(2).await;
    let names: Vec<String> = (0..12).map(|n| format!("{n:02}")).collect();
    let writers: Vec<_> = (0..4u128)
        .map(|writer| {
            let store = nodes[writer as usize % 2].clone();
            let mut names = names.clone();
            if writer % 2 == 1 {
                names.reverse();
            }
            tokio::spawn(async move {
                for round in 0..15u128 {
                    let write_sets = names.iter().zip(0..).map(|(name, n)| {
                        let message = append(writer * 100_000 + round * 100 + n, name);
                        write_set(vec![increment(name), message, increment("all")])
                    });
                    for outcome in store.commit(write_sets.collect()).await.unwrap() {
                        outcome.unwrap();
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let value = async |name: &str| {
        let bytes = nodes[0].kv_get(&acme(), &key(name), 1).await.unwrap().unwrap();
        String::from_utf8(bytes).unwrap()
    };
    for name in &names {
        assert_eq!(ids(&nodes[0], name).await.len(), 60);
        assert_eq!(value(name).await, "60");
    }
    assert_eq!(value("all").await, "720");
    let usage = nodes[1].usage(&acme()).await.unwrap();
    assert_eq!((usage.rooms, usage.kv_bytes), (12, 12 * 4 + 6), "each counted once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_two_nodes_set_in_turn_counts_what_it_has() {
    let nodes = nodes(2).await;
    let set = |bytes: usize| {
        let value = vec![b'x'; bytes];
        vec![write_set(vec![Write::KvSet {
            key: key("k"),
            value,
            expires_at: None,
        }])]
    };
    for _ in 0..50 {
        // The smaller value may wait for the larger one, whose bytes it did not know when it began.
        let (large, small) = tokio::join!(nodes[0].commit(set(50_000)), nodes[1].commit(set(5)));
        large.unwrap().remove(0).unwrap();
        small.unwrap().remove(0).unwrap();
    }
    nodes[1].commit(set(5)).await.unwrap().remove(0).unwrap();
    assert_eq!(nodes[0].usage(&acme()).await.unwrap().kv_bytes, 6);
}

#[tokio::test]
async fn removed_revocations_are_forgotten_when_every_node_has_read_them() {
    let url = Server::shared().database();
    let store = open(&url).await;
    let sql = |sql: &str| Server::shared().psql(server::name_in(&url), sql);
    sql("INSERT INTO catalog (kind, tenant, name, document, revision)
         SELECT 'revocation', 'acme', 'user:' || n, NULL, n FROM generate_series(1, 12000) AS n;
         INSERT INTO catalog (kind, tenant, name, document, revision) VALUES ('tenant', 'gone', '', NULL, 12001);
         UPDATE catalog_head SET revision = 12001");
    assert_eq!(
        store.changes(0).await.unwrap(),
        [],
        "who knows nothing needs no removals"
    );
    assert_eq!(
        store.changes(2000).await.unwrap().len(),
        10_001,
        "read in several parts"
    );
    for _ in 0..6 {
        removal::sweep_once(&store.pool, store.usage_shard).await.unwrap();
    }
    assert_eq!(sql("SELECT count(*), min(revision) FROM catalog"), "10001|2001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_receipt_counts_on_whichever_node() {
    let nodes = nodes(2).await;
    let messages = (0..20).map(|n| append(n, "lobby")).collect();
    nodes[0].commit(vec![write_set(messages)]).await.unwrap();
    for n in 0..20 {
        let read = |at| {
            write_set(vec![Write::MarkRead {
                id: id(n),
                room: RoomId::new("any").unwrap(),
                seq: 1,
                user: UserId::new("bob").unwrap(),
                at,
            }])
        };
        let (one, two) = tokio::join!(nodes[0].commit(vec![read(1)]), nodes[1].commit(vec![read(2)]));
        let written = [one, two].map(|outcome| outcome.unwrap().remove(0).unwrap().remove(0));
        let [Written::Read { at, first }, Written::Read { at: other, first: too }] = written else {
            panic!("{written:?}")
        };
        assert_eq!(at, other, "both are told the same time");
        assert!(first != too, "and one of them that it was the first");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_deletes_begins_anew_on_another() {
    let nodes = nodes(2).await;
    let many = (0..1_200).map(|n| write_set(vec![append(n, "lobby"), append(n + 5_000, &format!("r{n}"))]));
    nodes[0].commit(many.collect()).await.unwrap();
    // During the deletion the other node goes on writing.
    let writing = tokio::spawn({
        let store = nodes[1].clone();
        async move {
            for n in 10_000..10_100 {
                store.commit(vec![write_set(vec![append(n, "lobby")])]).await.unwrap();
            }
        }
    });
    nodes[0].delete_data(&acme()).await.unwrap();
    writing.await.unwrap();
    nodes[0].delete_data(&acme()).await.unwrap();
    assert_eq!(nodes[1].usage(&acme()).await.unwrap(), Usage::default());
    let again = nodes[1]
        .commit(vec![write_set(vec![append(1, "lobby")])])
        .await
        .unwrap();
    assert!(
        matches!(
            again[0].as_deref(),
            Ok([Written::Appended {
                seq: 1,
                duplicate: false,
                ..
            }])
        ),
        "{again:?}"
    );
}
