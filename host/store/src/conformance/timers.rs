//! Rules of keys with a due time.

use super::*;
use crate::QuotaKind;

pub(crate) async fn a_handler_has_so_many_timers_and_no_more(store: Subject) {
    let timer = |handler: &str, name: &str, due_at| Write::TimerSet {
        key: KvKey::timer(handler, name.to_owned()),
        value: b"{}".to_vec(),
        due_at,
    };
    let quota = StorageQuota {
        timers: 2,
        ..StorageQuota::UNLIMITED
    };
    let commit = async |writes: Vec<Write>| {
        let write_set = WriteSet {
            quota,
            ..write_set("acme", writes)
        };
        store.commit(vec![write_set]).await.unwrap().remove(0).map(|_| ())
    };
    let full = Err(Rejected::QuotaExceeded(QuotaKind::Timers));
    assert_eq!(
        commit(vec![timer("h", "a", 5), timer("h", "b", 3), timer("i", "a", 4)]).await,
        Ok(())
    );
    assert_eq!(commit(vec![timer("h", "c", 1)]).await, full);
    assert_eq!(commit(vec![timer("h", "a", 1)]).await, Ok(()), "the same one again");
    let delete = |name: &str| Write::KvDelete {
        key: KvKey::timer("h", name.to_owned()),
    };
    assert_eq!(
        commit(vec![timer("h", "c", 1), delete("a")]).await,
        full,
        "in this order"
    );
    assert_eq!(commit(vec![delete("a"), timer("h", "c", 7)]).await, Ok(()));
}

pub(crate) async fn due_keys_come_in_their_order_and_no_handler_takes_all(store: Subject) {
    let timer = |handler: &str, name: &str, due_at| Write::TimerSet {
        key: KvKey::timer(handler, name.to_owned()),
        value: name.as_bytes().to_vec(),
        due_at,
    };
    let slots = store
        .own_slots("a-node", std::time::Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(slots.len(), usize::from(crate::SLOTS), "there is no other node");
    let due = async |now, per_handler, limit| -> Vec<(String, u64)> {
        let keys = store.due_keys(&slots, now, per_handler, limit).await.unwrap();
        keys.into_iter().map(|due| (due.key.key, due.due_at)).collect()
    };
    assert_eq!(due(100, 10, 10).await, []);
    let names = ["c", "a", "b", "d"];
    let writes = names
        .iter()
        .enumerate()
        .map(|(n, name)| timer("h", name, 10 * (n as u64 + 1)));
    commit(&store, writes.chain([timer("i", "e", 35), set("plain", "x")]).collect()).await;
    let pairs = |of: &[(&str, u64)]| {
        of.iter()
            .map(|(name, at)| ((*name).to_owned(), *at))
            .collect::<Vec<_>>()
    };
    assert_eq!(due(9, 10, 10).await, []);
    assert_eq!(due(20, 10, 10).await, pairs(&[("c", 10), ("a", 20)]));
    let mut two_each = due(100, 2, 10).await;
    two_each.sort_by_key(|(_, at)| *at);
    assert_eq!(
        two_each,
        pairs(&[("c", 10), ("a", 20), ("e", 35)]),
        "a share for each handler"
    );
    let keys = store.due_keys(&slots, 10, 10, 10).await.unwrap();
    assert_eq!(
        (&*keys[0].tenant, keys[0].key.timer_of(), &*keys[0].value),
        ("acme", Some("h"), &b"c"[..])
    );
    // Set again later, removed, and set as a plain key.
    commit(
        &store,
        vec![
            timer("h", "c", 50),
            Write::KvDelete {
                key: KvKey::timer("h", "a".to_owned()),
            },
        ],
    )
    .await;
    assert_eq!(due(45, 10, 10).await.len(), 3, "b, d and e");
    assert_eq!(due(50, 10, 10).await.len(), 4);
}
