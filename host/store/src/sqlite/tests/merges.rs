//! Merges of recent messages: reads, repetitions and receipts are the same before, during and after them. In tests a merge
//! begins with 16 messages and goes on in slices of three, so all tests of this store see some.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::memory::MemoryStore;
use crate::{Change, ChangeRange, ClientRef, Rejected, RequestDigest, Revise};

/// A linear congruential generator, so that a seed gives the same run on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn tenant(n: u64) -> TenantId {
    TenantId::for_tests(["acme", "globex"][usize::try_from(n).unwrap()]).unwrap()
}

fn room(n: u64) -> RoomId {
    RoomId::new(&format!("room-{n}")).unwrap()
}

/// The id of the `n`th message, so that ids are in no order.
fn id(n: u64) -> MessageId {
    MessageId::from_bytes(RequestDigest::of(&n.to_string(), "", None).to_bytes())
}

fn draft(random: &mut Random, n: u64) -> Draft {
    let room = room(random.below(4));
    let client = (random.below(2) == 0).then(|| ClientRef {
        id: format!("c{n}").into(),
        request: RequestDigest::of(room.as_str(), &n.to_string(), None),
    });
    Draft {
        id: id(n),
        room,
        sender: UserId::new("ann").unwrap(),
        username: "Ann".into(),
        content: n.to_string(),
        metadata: (random.below(3) == 0).then(|| "{}".to_owned()),
        sent_at: n,
        reject_repeated: client.is_some() && random.below(2) == 0,
        client,
    }
}

/// A change of a message, which may not be there.
fn revise(random: &mut Random, drafts: &[(TenantId, Draft)]) -> Option<Write> {
    let (_, draft) = drafts.get(usize::try_from(random.below(drafts.len() as u64 + 1)).unwrap())?;
    let change = match random.below(8) {
        0 => Change::Delete,
        1..4 => Change::Edit {
            content: format!("edited {}", random.below(1000)),
            metadata: (random.below(2) == 0).then(|| "[]".to_owned()),
        },
        _ => Change::Mark {
            kind: "reaction".to_owned(),
            value: format!("{}", random.below(3)),
            on: random.below(3) > 0,
        },
    };
    Some(Write::Revise(Revise {
        id: draft.id,
        room: draft.room.clone(),
        seq: 1,
        user: UserId::new(&format!("user-{}", random.below(3))).unwrap(),
        at: drafts.len() as u64 * 100 + random.below(100),
        change,
    }))
}

/// The next write set: new messages, a repetition, changes, a receipt, or something that is rejected after a message.
fn write_set(random: &mut Random, drafts: &mut Vec<(TenantId, Draft)>) -> WriteSet {
    let tenant = tenant(random.below(2));
    let mut writes = Vec::new();
    for _ in 0..=random.below(3) {
        let known = random.below(drafts.len() as u64 + 1);
        let draft = match drafts.get(usize::try_from(known).unwrap()) {
            // Without a client id nobody can repeat a message.
            Some((_, draft)) if draft.client.is_some() && random.below(4) == 0 => draft.clone(),
            _ => draft(random, drafts.len() as u64),
        };
        drafts.push((tenant.clone(), draft.clone()));
        writes.push(Arc::new(Write::Append(draft)));
    }
    for _ in 0..random.below(3) {
        writes.extend(revise(random, drafts).map(Arc::new));
    }
    if random.below(3) == 0 {
        // An id that is unknown rejects the write set.
        let n = random.below(drafts.len() as u64 + 2);
        writes.push(Arc::new(Write::MarkRead {
            id: id(n),
            room: room(0),
            seq: 1,
            user: UserId::new("bob").unwrap(),
            at: 7,
        }));
    }
    WriteSet {
        tenant,
        reads: crate::ReadSet::default(),
        writes,
        quota: StorageQuota::UNLIMITED,
    }
}

/// Compares random reads, or with `all` every message and every room.
async fn compare(
    seed: u64,
    random: &mut Random,
    store: &SqliteStore,
    model: &MemoryStore,
    drafts: &[(TenantId, Draft)],
    all: bool,
) {
    let some = |random: &mut Random| all || random.below(20) == 0;
    for (tenant, draft) in drafts {
        if some(random) {
            let (found, expected) = (
                store.message(tenant, draft.id).await,
                model.message(tenant, draft.id).await,
            );
            assert_eq!(found.unwrap(), expected.unwrap(), "seed {seed}");
        }
    }
    for (tenant, room) in (0..8).map(|n| (tenant(n / 4), room(n % 4))) {
        let last = (store.place(&tenant, &room).await, model.place(&tenant, &room).await);
        assert_eq!(last.0.unwrap(), last.1.unwrap(), "seed {seed}");
        for from in [End::Newest, End::Oldest] {
            let range = Range {
                after: if all { 0 } else { random.below(40) },
                before: (!all && random.below(2) == 0).then(|| random.below(80)),
                limit: if all {
                    10_000
                } else {
                    u32::try_from(random.below(30)).unwrap()
                },
                from,
            };
            let pages = (
                store.history(&tenant, &room, range).await,
                model.history(&tenant, &room, range).await,
            );
            assert_eq!(pages.0.unwrap(), pages.1.unwrap(), "seed {seed}, {range:?}");
        }
        let range = ChangeRange {
            after: if all { 0 } else { random.below(40) },
            up_to_seq: if all { u64::MAX } else { random.below(80) },
            limit: if all { 10_000 } else { 5 },
        };
        let changes = (
            store.changed_messages(&tenant, &room, range).await,
            model.changed_messages(&tenant, &room, range).await,
        );
        assert_eq!(changes.0.unwrap(), changes.1.unwrap(), "seed {seed}, {range:?}");
    }
}

/// A copy of the database as a crash of the process would leave it.
fn crashed(path: &Path) -> (TempDir, PathBuf) {
    let (dir, copy) = home();
    for end in ["", "-wal"] {
        let [from, to] = [path, &copy].map(|path| format!("{}{end}", path.display()));
        fs::copy(from, to).unwrap();
    }
    (dir, copy)
}

#[tokio::test]
async fn merges_change_no_answer() {
    let mut all_receipts = 0;
    for seed in 0..30 {
        let mut random = Random(seed);
        let (_dir, path) = home();
        let (mut store, model) = (open(&path).unwrap(), MemoryStore::default());
        let mut drafts = Vec::new();
        for step in 0..60 {
            let batch: Vec<_> = (0..=random.below(5))
                .map(|_| write_set(&mut random, &mut drafts))
                .collect();
            if random.below(6) == 0 {
                // No transaction that needs a page more succeeds.
                let limit =
                    |pages: i64| move |db: &Connection| db.pragma_update(None, "max_page_count", pages).unwrap();
                let pages = store.number("PRAGMA page_count").await;
                store.inspect(limit(pages)).await;
                let large = append(u128::MAX, &"x".repeat(200_000));
                assert!(store.commit([batch.clone(), vec![large]].concat()).await.is_err());
                store.inspect(limit(1_000_000)).await;
            }
            let (found, expected) = (store.commit(batch.clone()).await, model.commit(batch).await);
            assert_eq!(found.unwrap(), expected.unwrap(), "seed {seed}, step {step}");
            compare(seed, &mut random, &store, &model, &drafts, false).await;
            match random.below(20) {
                0 => {
                    let (_dir, copy) = crashed(&path);
                    let copy = open(&copy).unwrap();
                    compare(seed, &mut random, &copy, &model, &drafts, true).await;
                    copy.close().await;
                }
                1 => {
                    store.close().await;
                    store = open(&path).unwrap();
                }
                _ => {}
            }
        }
        compare(seed, &mut random, &store, &model, &drafts, true).await;
        let (receipts, of_unknown) = ("SELECT count(*) FROM receipts", {
            "SELECT count(*) FROM receipts r WHERE NOT EXISTS
             (SELECT 1 FROM all_messages m WHERE m.room_id = r.room_id AND m.seq = r.seq)"
        });
        all_receipts += store.number(receipts).await;
        assert_eq!(store.number(of_unknown).await, 0, "seed {seed}");
        for tenant in [tenant(0), tenant(1)] {
            store.delete_data(&tenant).await.unwrap();
        }
        assert_eq!(
            store.number("SELECT count(*) FROM all_messages").await,
            0,
            "seed {seed}"
        );
        assert_eq!(store.number("SELECT count(*) FROM message_ids").await, 0, "seed {seed}");
        store.close().await;
    }
    assert!(all_receipts > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_beside_a_merge_has_every_message_that_was_committed_before() {
    let (_dir, path) = home();
    let store = Arc::new(open(&path).unwrap());
    let committed = Arc::new(AtomicU64::new(0));
    let (writer, count) = (store.clone(), committed.clone());
    let writing = tokio::spawn(async move {
        for n in 1..=2000_u64 {
            writer.commit(vec![append(n.into(), "x")]).await.unwrap();
            count.store(n, Ordering::SeqCst);
        }
    });
    let mut reads = 0;
    while !writing.is_finished() {
        let before = committed.load(Ordering::SeqCst);
        let range = Range {
            after: before.saturating_sub(60),
            before: None,
            limit: 1000,
            from: End::Oldest,
        };
        let page = store.history(&acme(), &lobby(), range).await.unwrap();
        let seqs: Vec<u64> = page.messages.iter().map(|message| message.seq).collect();
        let last = seqs.last().copied().unwrap_or(0);
        assert!(last >= before, "{before} were committed before, and {last} is the last");
        assert_eq!(seqs, (range.after + 1..=last).collect::<Vec<_>>());
        reads += 1;
    }
    writing.await.unwrap();
    assert!(reads > 10, "{reads}");
}

#[tokio::test]
async fn a_repetition_of_a_recent_message_in_its_own_batch_is_found() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    let mut random = Random(1);
    let one = Draft {
        client: Some(ClientRef {
            id: "c".into(),
            request: RequestDigest::of("", "", None),
        }),
        reject_repeated: true,
        ..draft(&mut random, 1)
    };
    let set = |draft: &Draft| WriteSet {
        tenant: acme(),
        reads: crate::ReadSet::default(),
        writes: vec![Arc::new(Write::Append(draft.clone()))],
        quota: StorageQuota::UNLIMITED,
    };
    let results = store.commit(vec![set(&one), set(&one)]).await.unwrap();
    assert!(
        matches!(results[..], [Ok(_), Err(Rejected::Repeated(_))]),
        "{results:?}"
    );
}

#[tokio::test]
async fn a_database_of_an_earlier_release_keeps_its_messages_and_receipts() {
    let (_dir, path) = home();
    let db = crate::sqlite::open::create_version(&path, 3);
    db.execute_batch(
        "INSERT INTO tenants VALUES (1, 'acme');
         INSERT INTO rooms VALUES (5, 1, 'lobby');
         INSERT INTO messages (room_id, seq, tenant_id, id, sender, content, sent_at) VALUES
           (5, 1, 1, x'000000000000000000000000000000ff', 'ann', 'one', 1),
           (5, 2, 1, x'00000000000000000000000000000001', 'ann', 'two', 2);
         INSERT INTO receipts VALUES (5, 2, 'bob', 77);",
    )
    .unwrap();
    drop(db);
    let store = open(&path).unwrap();
    let message = store
        .message(&acme(), MessageId::from_bytes(255_u128.to_be_bytes()))
        .await;
    assert_eq!(message.unwrap().unwrap().content, "one");
    let read = WriteSet {
        tenant: acme(),
        reads: crate::ReadSet::default(),
        writes: vec![Arc::new(Write::MarkRead {
            id: MessageId::from_bytes(1_u128.to_be_bytes()),
            room: lobby(),
            seq: 2,
            user: UserId::new("bob").unwrap(),
            at: 99,
        })],
        quota: StorageQuota::UNLIMITED,
    };
    let results = store
        .commit(vec![read, append(1, "two"), append(3, "three")])
        .await
        .unwrap();
    assert_eq!(results[0], Ok(vec![Written::Read { at: 77, first: false }]));
    assert_eq!(seq(&results[1..2]), 2, "a repetition");
    assert_eq!(seq(&results[2..]), 3);
}

#[tokio::test]
async fn a_look_up_of_a_new_id_or_a_recent_one_waits_for_no_reader() {
    let (_dir, path) = home();
    let store = Arc::new(open(&path).unwrap());
    store.commit(vec![append(1, "x")]).await.unwrap();
    let (started, starts) = std::sync::mpsc::channel();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(parking_lot::Mutex::new(held));
    let busy: Vec<_> = (0..READERS)
        .map(|_| {
            let (store, started, held) = (store.clone(), started.clone(), held.clone());
            tokio::spawn(async move {
                let wait = move |_: &Connection| {
                    started.send(()).unwrap();
                    let _ = held.lock().recv();
                    Ok(())
                };
                store.read(wait).await.unwrap();
            })
        })
        .collect();
    // The reader that reads the ids takes its command after that.
    let all_started = tokio::task::spawn_blocking(move || (0..READERS).for_each(|_| starts.recv().unwrap()));
    all_started.await.unwrap();
    let found = store
        .message(&acme(), MessageId::from_bytes(1_u128.to_be_bytes()))
        .await
        .unwrap();
    assert_eq!(found.unwrap().content, "x");
    assert_eq!(store.message(&acme(), id(7)).await.unwrap(), None);
    drop(release);
    for task in busy {
        task.await.unwrap();
    }
}

/// What a tenant posts and deletes again counts against no quota, and is in memory until it is merged.
#[tokio::test]
async fn deleted_messages_are_merged_by_the_memory_that_they_took() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    let commit = async |write| {
        let write_set = WriteSet {
            tenant: tenant(0),
            reads: crate::ReadSet::default(),
            writes: vec![Arc::new(write)],
            quota: StorageQuota::UNLIMITED,
        };
        assert!(store.commit(vec![write_set]).await.unwrap()[0].is_ok());
    };
    for n in 0..3 {
        let content = "x".repeat(9 * 1024 * 1024);
        commit(Write::Append(Draft {
            content,
            ..draft(&mut Random(n), n)
        }))
        .await;
        commit(Write::Revise(Revise {
            id: id(n),
            room: room(0),
            seq: 1,
            user: UserId::new("ann").unwrap(),
            at: 1,
            change: Change::Delete,
        }))
        .await;
    }
    // The messages, their ids, the end.
    for _ in 0..3 {
        store.commit(Vec::new()).await.unwrap();
    }
    assert!(!store.recent.read().has(&tenant(0)));
}
