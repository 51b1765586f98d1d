//! Rules of the key-value data.

use super::*;

fn set_until(name: &str, value: &str, expires_at: u64) -> Write {
    Write::KvSet {
        key: key(name),
        value: value.into(),
        expires_at: Some(expires_at),
    }
}

pub(crate) async fn a_key_keeps_its_last_value(store: Subject) {
    assert_eq!(value(&store, "k").await, None);
    assert_eq!(commit(&store, vec![set("k", "1")]).await, [Written::Done]);
    assert_eq!(value(&store, "k").await.as_deref(), Some("1"));
    commit(&store, vec![set("k", "2"), set("k", "3")]).await;
    assert_eq!(value(&store, "k").await.as_deref(), Some("3"));
}

pub(crate) async fn kv_parts_do_not_run_together(store: Subject) {
    let parts = [
        ("c", "a:b"),
        ("c:a", "b"),
        ("ca", ":b"),
        ("c:a:b", ""),
        ("", "c:a:b"),
        ("C", "a:b"),
    ];
    let keys = parts.map(|(handler, key)| KvKey {
        handler: handler.into(),
        key: key.to_owned(),
    });
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(store.kv_get(&tenant("acme"), key, NOW).await.unwrap(), None, "{key:?}");
        let write = Write::KvSet {
            key: key.clone(),
            value: vec![n as u8],
            expires_at: None,
        };
        commit(&store, vec![write]).await;
    }
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(
            store.kv_get(&tenant("acme"), key, NOW).await.unwrap(),
            Some(vec![n as u8]),
            "{key:?}"
        );
    }
}

pub(crate) async fn a_tenant_never_sees_anothers_keys(store: Subject) {
    commit(&store, vec![set("k", "5")]).await;
    assert_eq!(store.kv_get(&tenant("globex"), &key("k"), NOW).await.unwrap(), None);
    let theirs = vec![increment("k", 1), Write::KvDelete { key: key("other") }];
    store.commit(vec![write_set("globex", theirs)]).await.unwrap();
    assert_eq!(
        store.kv_get(&tenant("globex"), &key("k"), NOW).await.unwrap(),
        Some(b"1".to_vec())
    );
    store
        .commit(vec![write_set("globex", vec![Write::KvDelete { key: key("k") }])])
        .await
        .unwrap();
    assert_eq!(value(&store, "k").await.as_deref(), Some("5"));
}

pub(crate) async fn any_bytes_are_a_value_and_any_text_a_key(store: Subject) {
    let names = ["a", "A", "a\0", "a\0b", "é", "e\u{301}", "👋", "%", "_"];
    let values: Vec<Vec<u8>> = (0..names.len())
        .map(|n| if n == 0 { vec![] } else { vec![n as u8, 0, 0xff, 0xfe] })
        .collect();
    for (name, value) in names.iter().zip(&values) {
        let write = Write::KvSet {
            key: key(name),
            value: value.clone(),
            expires_at: None,
        };
        commit(&store, vec![write]).await;
    }
    for (name, value) in names.iter().zip(&values) {
        assert_eq!(
            store.kv_get(&tenant("acme"), &key(name), NOW).await.unwrap().as_ref(),
            Some(value),
            "{name:?}"
        );
    }
    let large = vec![7; 1 << 20];
    commit(
        &store,
        vec![Write::KvSet {
            key: key("large"),
            value: large.clone(),
            expires_at: None,
        }],
    )
    .await;
    assert_eq!(
        store.kv_get(&tenant("acme"), &key("large"), NOW).await.unwrap(),
        Some(large)
    );
}

pub(crate) async fn a_deleted_key_is_absent(store: Subject) {
    let delete = || vec![Write::KvDelete { key: key("k") }];
    assert_eq!(
        commit(&store, delete()).await,
        [Written::Done],
        "also of a tenant that has nothing"
    );
    commit(&store, vec![set("k", "7")]).await;
    commit(&store, delete()).await;
    assert_eq!(value(&store, "k").await, None);
    assert_eq!(commit(&store, delete()).await, [Written::Done]);
    commit(&store, vec![increment("k", 1)]).await;
    assert_eq!(value(&store, "k").await.as_deref(), Some("1"));
}

pub(crate) async fn an_expired_key_is_absent(store: Subject) {
    commit(&store, vec![set_until("k", "1", NOW), set_until("last", "1", u64::MAX)]).await;
    assert_eq!(value_at(&store, "k", NOW - 1).await.as_deref(), Some("1"));
    assert_eq!(value_at(&store, "k", NOW).await, None, "from that very millisecond");
    assert_eq!(value_at(&store, "k", u64::MAX).await, None);
    for now in [0, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX - 1] {
        assert_eq!(value_at(&store, "last", now).await.as_deref(), Some("1"), "{now}");
    }
    assert_eq!(value_at(&store, "last", u64::MAX).await, None);
    commit(&store, vec![set_until("zero", "1", 0)]).await;
    assert_eq!(value_at(&store, "zero", 0).await, None);
}

pub(crate) async fn a_new_value_brings_its_own_expiry(store: Subject) {
    commit(&store, vec![set_until("k", "1", NOW + 5), set("k", "2")]).await;
    assert_eq!(
        value_at(&store, "k", NOW + 9).await.as_deref(),
        Some("2"),
        "set without: for good"
    );
    commit(&store, vec![set_until("k", "3", NOW + 7)]).await;
    assert_eq!(value_at(&store, "k", NOW + 6).await.as_deref(), Some("3"));
    assert_eq!(value_at(&store, "k", NOW + 7).await, None);
}

pub(crate) async fn increments_of_one_batch_add_up(store: Subject) {
    let batch = vec![
        write_set("acme", vec![increment("n", 1), increment("n", 2)]),
        write_set("acme", vec![increment("n", -10)]),
        write_set("globex", vec![increment("n", 100)]),
        rejected("acme", vec![increment("n", 1_000)]),
        write_set("acme", vec![increment("n", 4)]),
    ];
    store.commit(batch).await.unwrap();
    assert_eq!(value(&store, "n").await.as_deref(), Some("-3"));
}

pub(crate) async fn increments_add_up_when_batches_race(store: Subject) {
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..25 {
                    commit(&store, vec![increment("n", 1)]).await;
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.unwrap();
    }
    assert_eq!(value(&store, "n").await.as_deref(), Some("200"));
}

pub(crate) async fn an_increment_keeps_the_expiry_of_what_it_adds_to(store: Subject) {
    commit(&store, vec![set_until("n", "1", NOW + 5), increment("n", 1)]).await;
    assert_eq!(value_at(&store, "n", NOW + 4).await.as_deref(), Some("2"));
    assert_eq!(value_at(&store, "n", NOW + 5).await, None);
}

pub(crate) async fn an_increment_of_an_expired_key_starts_from_zero_for_good(store: Subject) {
    commit(&store, vec![set_until("n", "no number", NOW), increment("n", 3)]).await;
    assert_eq!(value_at(&store, "n", u64::MAX).await.as_deref(), Some("3"));
}

pub(crate) async fn an_increment_of_a_value_that_is_not_a_number_is_rejected(store: Subject) {
    commit(&store, vec![set("n", "one"), set("bytes", "")]).await;
    assert_eq!(rejection(&store, vec![increment("n", 1)]).await, Rejected::NotANumber);
    assert_eq!(
        rejection(&store, vec![set("other", "1"), increment("bytes", 1)]).await,
        Rejected::NotANumber
    );
    assert_eq!(value(&store, "n").await.as_deref(), Some("one"));
    assert_eq!(value(&store, "other").await, None);
}

/// What guest-handlers/README.md tells authors to take a key with.
pub(crate) async fn a_key_that_needs_a_number_and_gets_a_text_is_taken_once(store: Subject) {
    let take = |name: &str| vec![increment(name, 0), set_until(name, "taken", NOW + 5)];
    let batch = vec![write_set("acme", take("k")), write_set("acme", take("k"))];
    let results = store.commit(batch).await.unwrap();
    assert_eq!(results[0], Ok(vec![Written::Done; 2]));
    assert_eq!(results[1], Err(Rejected::NotANumber));
    assert_eq!(rejection(&store, take("k")).await, Rejected::NotANumber);
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            let set = write_set("acme", take("raced"));
            tokio::spawn(async move { store.commit(vec![set]).await.unwrap().remove(0) })
        })
        .collect();
    let mut taken = 0;
    for racer in racers {
        taken += usize::from(racer.await.unwrap().is_ok());
    }
    assert_eq!(taken, 1);
}

pub(crate) async fn an_increment_beyond_64_bits_is_rejected(store: Subject) {
    commit(&store, vec![increment("max", i64::MAX), increment("min", i64::MIN)]).await;
    assert_eq!(rejection(&store, vec![increment("max", 1)]).await, Rejected::NotANumber);
    assert_eq!(
        rejection(&store, vec![increment("min", -1)]).await,
        Rejected::NotANumber
    );
    commit(&store, vec![increment("max", i64::MIN), increment("min", i64::MAX)]).await;
    assert_eq!(value(&store, "max").await.as_deref(), Some("-1"));
    assert_eq!(value(&store, "min").await.as_deref(), Some("-1"));
}

pub(crate) async fn writes_of_a_rejected_write_set_are_undone_in_order(store: Subject) {
    commit(&store, vec![set("k", "first")]).await;
    let writes = vec![
        set("k", "2"),
        Write::KvDelete { key: key("k") },
        set("k", "3"),
        increment("k", 1),
    ];
    store.commit(vec![rejected("acme", writes)]).await.unwrap();
    assert_eq!(value(&store, "k").await.as_deref(), Some("first"));
}

/// The keys of a range and their values, as text.
async fn scanned(store: &Subject, range: &KvRange, limit: u32, bytes: u64) -> Vec<(String, String)> {
    let page = store.kv_scan(&tenant("acme"), range, limit, bytes, NOW).await.unwrap();
    let text = |(key, value)| (key, String::from_utf8(value).unwrap());
    page.entries.into_iter().map(text).collect()
}

fn with_prefix(prefix: &str) -> KvRange {
    KvRange::with_prefix(key("").handler, prefix)
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    of.iter().map(pair).collect()
}

pub(crate) async fn several_keys_are_read_in_the_order_asked_for(store: Subject) {
    let keys = ["b", "absent", "a", "b"].map(key);
    let read = store.kv_get_many(&tenant("acme"), &keys, NOW).await.unwrap();
    assert_eq!(read, vec![None; 4], "a tenant that has nothing");
    commit(
        &store,
        vec![set("a", "1"), set("b", "2"), set_until("absent", "x", NOW)],
    )
    .await;
    let read = store.kv_get_many(&tenant("acme"), &keys, NOW).await.unwrap();
    let value = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(read, [value("2"), None, value("1"), value("2")]);
    assert!(store.kv_get_many(&tenant("acme"), &[], NOW).await.unwrap().is_empty());
}

pub(crate) async fn a_scan_has_the_live_keys_of_a_range_in_the_order_of_their_bytes(store: Subject) {
    let all = with_prefix("");
    assert_eq!(scanned(&store, &all, 10, 1000).await, []);
    let names = ["p/é", "p/b", "p/", "p", "p/b\0", "q", "p0", "p/Z", "p/\u{10ffff}"];
    commit(&store, names.iter().map(|name| set(name, name)).collect()).await;
    commit(
        &store,
        vec![set_until("p/c", "gone", NOW), set_until("p/d", "stays", NOW + 1)],
    )
    .await;
    let theirs = KvKey {
        handler: "other".into(),
        key: "p/x".to_owned(),
    };
    let write = Write::KvSet {
        key: theirs,
        value: vec![1],
        expires_at: None,
    };
    commit(&store, vec![write]).await;
    let own = ["p/", "p/Z", "p/b", "p/b\0"].map(|name| (name, name));
    let mut expected = own.to_vec();
    expected.extend([("p/d", "stays"), ("p/é", "p/é"), ("p/\u{10ffff}", "p/\u{10ffff}")]);
    assert_eq!(scanned(&store, &with_prefix("p/"), 100, 1000).await, pairs(&expected));
    assert_eq!(
        scanned(&store, &with_prefix("p/"), 2, 1000).await,
        pairs(&own[..2]),
        "a limit"
    );
    assert_eq!(
        scanned(&store, &with_prefix("p/"), 100, 4).await,
        pairs(&own[..2]),
        "bytes"
    );
    assert_eq!(
        scanned(&store, &with_prefix("p/"), 100, 1).await,
        pairs(&own[..1]),
        "at least one"
    );
    assert_eq!(scanned(&store, &with_prefix("p/"), 0, 1000).await, []);
    let rest = KvRange {
        from: crate::next_key("p/b"),
        ..with_prefix("p/")
    };
    assert_eq!(scanned(&store, &rest, 1, 1000).await, pairs(&own[3..]));
    let empty = KvRange {
        from: "q".to_owned(),
        ..with_prefix("p/")
    };
    assert_eq!(scanned(&store, &empty, 10, 1000).await, []);
}

pub(crate) async fn a_page_says_where_it_ends_and_looks_at_so_many_keys(store: Subject) {
    let next = async |limit, bytes| {
        let page = store
            .kv_scan(&tenant("acme"), &with_prefix("p/"), limit, bytes, NOW)
            .await
            .unwrap();
        (page.entries.len(), page.next)
    };
    commit(&store, vec![set("p/a", "1"), set("p/b", "22"), set("p/c", "3")]).await;
    assert_eq!(next(10, 100).await, (3, None));
    assert_eq!(next(3, 100).await, (3, None));
    assert_eq!(next(2, 100).await, (2, Some("p/b\0".to_owned())));
    assert_eq!(next(10, 3).await, (2, Some("p/b\0".to_owned())));
    // 4 for each entry that is asked for, and 64.
    let expired = (0..100).map(|n| set_until(&format!("p/{n:03}"), "gone", NOW));
    commit(&store, expired.collect()).await;
    assert_eq!(next(1, 100).await, (0, Some("p/067\0".to_owned())));
    assert_eq!(next(10, 100).await, (3, None));
}

/// Commits writes of an event that has read, and returns whether they were accepted.
async fn commit_after(store: &Subject, reads: &ReadSet, writes: Vec<Write>) -> bool {
    let holds = store.reads_hold(&tenant("acme"), reads).await.unwrap();
    let write_set = WriteSet {
        reads: reads.clone(),
        ..write_set("acme", writes)
    };
    let result = store.commit(vec![write_set]).await.unwrap().remove(0);
    assert_eq!(result.is_ok(), holds, "{result:?}");
    assert!(result.is_ok() || result == Err(Rejected::ReadsChanged), "{result:?}");
    holds
}

/// What an event that begins now reads: a key, and the keys with a prefix.
async fn reads(store: &Subject, name: &str, prefix: Option<&str>, limit: u32) -> ReadSet {
    let (mut reads, commit) = (ReadSet::default(), store.last_commit());
    reads.at = NOW;
    let value = value(store, name).await;
    reads.add_key_seen_after(commit, &key(name), value.as_deref().map(str::as_bytes));
    if let Some(prefix) = prefix {
        let mut range = with_prefix(prefix);
        let page = store.kv_scan(&tenant("acme"), &range, limit, 1000, NOW).await.unwrap();
        range.until = page.next.or(range.until);
        reads.add_range(range, &page.entries);
    }
    reads
}

pub(crate) async fn an_event_whose_reads_have_changed_is_rejected(store: Subject) {
    let absent = reads(&store, "k", None, 1).await;
    assert!(
        commit_after(&store, &absent, Vec::new()).await,
        "absent still, and nothing to write"
    );
    assert!(commit_after(&store, &absent, vec![set("k", "1")]).await);
    assert!(!commit_after(&store, &absent, Vec::new()).await);
    assert!(
        !commit_after(&store, &absent, vec![set("k", "2")]).await,
        "it exists now"
    );
    let one = reads(&store, "k", None, 1).await;
    assert!(commit_after(&store, &one, vec![set("k", "2")]).await);
    assert!(
        !commit_after(&store, &one, vec![set("trace", "left")]).await,
        "another value"
    );
    assert_eq!(value(&store, "trace").await, None);
    commit(&store, vec![set("k", "1")]).await;
    assert!(
        commit_after(&store, &one, vec![Write::KvDelete { key: key("k") }]).await,
        "the same value again"
    );
    assert!(!commit_after(&store, &one, vec![set("trace", "left")]).await, "gone");
    assert!(
        commit_after(&store, &absent, vec![set_until("k", "1", NOW)]).await,
        "gone is absent"
    );
    assert!(
        commit_after(&store, &absent, vec![increment("n", 1)]).await,
        "expired is absent"
    );
    assert!(
        commit_after(&store, &absent, vec![increment("n", 1)]).await,
        "increments do not conflict"
    );
    assert_eq!(value(&store, "n").await.as_deref(), Some("2"));
}

pub(crate) async fn an_event_whose_range_has_changed_is_rejected(store: Subject) {
    commit(&store, vec![set("p/b", "1"), set("p/d", "1"), set("p/f", "1")]).await;
    let whole = reads(&store, "k", Some("p/"), 10).await;
    let page = reads(&store, "k", Some("p/"), 2).await;
    assert!(commit_after(&store, &whole, vec![set("q", "1")]).await);
    commit(&store, vec![set("p/e", "1")]).await;
    assert!(!commit_after(&store, &whole, vec![set("q", "2")]).await, "a new key");
    assert!(
        commit_after(&store, &page, vec![set("q", "2")]).await,
        "behind the page"
    );
    commit(&store, vec![set("p/a", "1")]).await;
    assert!(
        !commit_after(&store, &page, vec![set("q", "3")]).await,
        "before the page's first key"
    );
    let page = reads(&store, "k", Some("p/"), 2).await;
    commit(&store, vec![set("p/b", "2")]).await;
    assert!(!commit_after(&store, &page, vec![set("q", "3")]).await, "another value");
    let page = reads(&store, "k", Some("p/"), 2).await;
    commit(&store, vec![Write::KvDelete { key: key("p/b") }]).await;
    assert!(
        !commit_after(&store, &page, vec![set("q", "3")]).await,
        "a key that is gone"
    );
    let none = reads(&store, "k", Some("r/"), 2).await;
    assert!(commit_after(&store, &none, vec![set("r/a", "1")]).await);
    assert!(
        !commit_after(&store, &none, vec![set("r/a", "1")]).await,
        "there was none"
    );
}

pub(crate) async fn reads_see_the_earlier_write_sets_of_their_batch(store: Subject) {
    commit(&store, vec![set("k", "0"), set("p/a", "0")]).await;
    let key_read = reads(&store, "k", None, 1).await;
    let range_read = reads(&store, "other", Some("p/"), 10).await;
    let after = |reads: &ReadSet, writes: Vec<Write>| WriteSet {
        reads: reads.clone(),
        ..write_set("acme", writes)
    };
    let batch = vec![
        after(&key_read, vec![set("k", "1")]),
        after(&key_read, vec![set("k", "2")]),
        rejected("acme", vec![set("p/b", "1")]),
        after(&range_read, vec![set("p/c", "1"), Write::KvDelete { key: key("p/a") }]),
        after(&range_read, vec![set("p/d", "1")]),
        write_set("acme", vec![set("k", "0")]),
        after(&key_read, vec![Write::KvDelete { key: key("k") }]),
        after(&key_read, vec![set("trace", "left")]),
    ];
    let results: Vec<bool> = store.commit(batch).await.unwrap().iter().map(Result::is_ok).collect();
    assert_eq!(results, [true, false, false, true, false, true, true, false]);
    assert_eq!(value(&store, "k").await, None);
    assert_eq!(value(&store, "trace").await, None);
    assert_eq!(
        scanned(&store, &with_prefix("p/"), 10, 1000).await,
        pairs(&[("p/c", "1")])
    );
}

/// Two events that each read what the other writes cannot both come first, whichever nodes they are on: neither key
/// exists, so no row can be locked.
pub(crate) async fn two_events_that_read_what_the_other_writes_do_not_both_commit(store: Subject) {
    for round in 0..20 {
        let names = [format!("{round}/a"), format!("{round}/b")];
        let mut write_sets = Vec::new();
        for (read, written) in [(0, 1), (1, 0)] {
            let reads = reads(&store, &names[read], Some(&format!("{}/", names[read])), 10).await;
            let (name, inside) = (&names[written], format!("{}/x", names[written]));
            write_sets.push(WriteSet {
                reads,
                ..write_set("acme", vec![set(name, "1"), set(&inside, "1")])
            });
        }
        let commit = |write_set| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(vec![write_set]).await.unwrap().remove(0).is_ok() })
        };
        let tasks: Vec<_> = write_sets.into_iter().map(commit).collect();
        let mut committed = 0;
        for task in tasks {
            committed += u32::from(task.await.unwrap());
        }
        assert_eq!(committed, 1, "round {round}");
    }
}
