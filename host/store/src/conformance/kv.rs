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
