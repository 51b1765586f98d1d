//! Rules of usage and quotas.

use super::{Subject, append, tenant, write_set};
use crate::quota::MESSAGE_OVERHEAD;
use crate::{KvKey, QuotaKind, Rejected, StorageQuota, Usage, Write, WriteSet, Written};

fn limited(of: &str, writes: Vec<Write>, quota: StorageQuota) -> WriteSet {
    WriteSet {
        quota,
        ..write_set(of, writes)
    }
}

fn set(key: &str, value: &[u8]) -> Write {
    Write::KvSet {
        key: kv_key(key),
        value: value.to_vec(),
        expires_at: None,
    }
}

fn kv_key(key: &str) -> KvKey {
    KvKey {
        handler: "h".into(),
        key: key.to_owned(),
    }
}

/// Bytes that `append(n, _)` counts for, with one digit.
const ONE: u64 = "message 1".len() as u64 + MESSAGE_OVERHEAD;

pub(crate) async fn usage_follows_what_is_written_and_removed(store: Subject) {
    let acme = tenant("acme");
    assert_eq!(store.usage(&acme).await.unwrap(), Usage::default());
    let writes = vec![append(1, "a"), append(2, "a"), append(3, "b"), set("key", b"value")];
    store.commit(vec![write_set("acme", writes)]).await.unwrap();
    let usage = Usage {
        message_bytes: 3 * ONE,
        kv_bytes: 8,
        rooms: 2,
    };
    assert_eq!(store.usage(&acme).await.unwrap(), usage);
    // A repetition counts for nothing, a smaller value for less.
    store
        .commit(vec![write_set("acme", vec![append(1, "a"), set("key", b"v")])])
        .await
        .unwrap();
    assert_eq!(store.usage(&acme).await.unwrap(), Usage { kv_bytes: 4, ..usage });
    let delete = Write::KvDelete { key: kv_key("key") };
    store.commit(vec![write_set("acme", vec![delete])]).await.unwrap();
    assert_eq!(store.usage(&acme).await.unwrap(), Usage { kv_bytes: 0, ..usage });
    assert_eq!(store.usage(&tenant("other")).await.unwrap(), Usage::default());
}

pub(crate) async fn a_write_may_reach_the_quota_and_not_exceed_it(store: Subject) {
    let quota = StorageQuota {
        message_bytes: 2 * ONE,
        kv_bytes: 8,
        rooms: 1,
        timers: u64::MAX,
        requests: u64::MAX,
        marks: u64::MAX,
    };
    let write_sets = vec![
        limited("acme", vec![append(1, "a")], quota),
        limited("acme", vec![append(2, "b")], quota),
        limited("acme", vec![append(3, "a")], quota),
        limited("acme", vec![append(4, "a")], quota),
        limited("acme", vec![append(1, "a")], quota),
        limited("acme", vec![set("key", b"value")], quota),
        limited("acme", vec![set("key", b"valu"), set("k2", b"")], quota),
        limited("acme", vec![set("k", b"")], quota),
        limited("other", vec![append(5, "z")], quota),
    ];
    let results = store.commit(write_sets).await.unwrap();
    let rejections: Vec<_> = results.iter().map(|result| result.as_ref().err().cloned()).collect();
    let over = |kind| Some(Rejected::QuotaExceeded(kind));
    assert_eq!(
        rejections,
        [
            None,
            over(QuotaKind::Rooms),
            None,
            over(QuotaKind::MessageBytes),
            None,
            None,
            over(QuotaKind::KvBytes),
            over(QuotaKind::KvBytes),
            None
        ]
    );
    let usage = store.usage(&tenant("acme")).await.unwrap();
    assert_eq!((usage.message_bytes, usage.kv_bytes, usage.rooms), (2 * ONE, 8, 1));
    // Rejected write sets left no trace: the key has its first value, and a deletion makes room again.
    let value = store.kv_get(&tenant("acme"), &kv_key("key"), 0).await.unwrap();
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    let make_room = vec![Write::KvDelete { key: kv_key("key") }, set("k", b"")];
    let results = store.commit(vec![limited("acme", make_room, quota)]).await.unwrap();
    assert!(results[0].is_ok(), "{results:?}");
}

pub(crate) async fn deleting_a_tenants_data_leaves_other_tenants_alone(store: Subject) {
    let (acme, other) = (tenant("acme"), tenant("other"));
    let many: Vec<WriteSet> = (0..1200).map(|n| write_set("acme", vec![append(n, "a")])).collect();
    store.commit(many).await.unwrap();
    let writes = vec![append(1, "a"), super::read(1, "bob", 1), set("key", b"value")];
    store
        .commit(vec![
            write_set("acme", writes[1..].to_vec()),
            write_set("other", writes),
        ])
        .await
        .unwrap();

    store.delete_data(&acme).await.unwrap();
    store.delete_data(&tenant("never-there")).await.unwrap();
    assert_eq!(store.usage(&acme).await.unwrap(), Usage::default());
    assert_eq!(
        store.place(&acme, &super::room("a")).await.unwrap(),
        crate::Place::default()
    );
    assert_eq!(store.kv_get(&acme, &kv_key("key"), 0).await.unwrap(), None);
    let rooms = [super::room("a"), super::room("b")];
    let places = store.places(&other, &rooms).await.unwrap();
    assert_eq!(places.iter().map(|place| place.seq).collect::<Vec<_>>(), [1, 0]);
    assert!(store.kv_get(&other, &kv_key("key"), 0).await.unwrap().is_some());

    let again = store
        .commit(vec![write_set("acme", vec![append(1, "a")])])
        .await
        .unwrap();
    assert!(matches!(
        again[0].as_deref(),
        Ok([Written::Appended {
            seq: 1,
            duplicate: false,
            ..
        }])
    ));
    assert_eq!(store.usage(&acme).await.unwrap().rooms, 1);
}
