//! Rules of keys with a due time.

use super::*;
use crate::{DueSpace, QuotaKind};

pub(crate) async fn a_handler_has_so_many_timers_and_no_more(store: Subject) {
    let timer = |handler: &str, name: &str, due_at| Write::DueSet {
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

pub(crate) async fn due_keys_come_in_their_order(store: Subject) {
    let timer = |handler: &str, name: &str, due_at| Write::DueSet {
        key: KvKey::timer(handler, name.to_owned()),
        value: name.as_bytes().to_vec(),
        due_at,
    };
    let slots = store
        .own_slots("a-node", std::time::Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(slots.len(), usize::from(crate::SLOTS), "there is no other node");
    let spaces = async |now| -> Vec<String> {
        let spaces = store.due_spaces(&slots, now).await.unwrap();
        spaces
            .into_iter()
            .map(|space| format!("{} {}", space.tenant, space.handler))
            .collect()
    };
    let due = async |handler: &str, now, limit| -> Vec<(String, u64)> {
        let space = DueSpace {
            tenant: "acme".to_owned(),
            handler: KvKey::timer(handler, String::new()).handler,
        };
        let keys = store.due_keys(&space, now, limit).await.unwrap();
        keys.into_iter().map(|due| (due.key.key, due.due_at)).collect()
    };
    assert_eq!(spaces(100).await, [""; 0]);
    assert_eq!(due("h", 100, 10).await, []);
    let names = ["c", "a", "b", "d"];
    let writes = names
        .iter()
        .enumerate()
        .map(|(n, name)| timer("h", name, 10 * (n as u64 + 2)));
    commit(&store, writes.chain([timer("i", "e", 15), set("plain", "x")]).collect()).await;
    let pairs = |of: &[(&str, u64)]| {
        of.iter()
            .map(|(name, at)| ((*name).to_owned(), *at))
            .collect::<Vec<_>>()
    };
    assert_eq!(spaces(14).await, [""; 0]);
    assert_eq!(spaces(15).await, ["acme i/timers"]);
    assert_eq!(
        spaces(100).await,
        ["acme i/timers", "acme h/timers"],
        "the oldest first"
    );
    assert_eq!(due("h", 19, 10).await, []);
    assert_eq!(due("h", 30, 10).await, pairs(&[("c", 20), ("a", 30)]));
    assert_eq!(due("h", 100, 1).await, pairs(&[("c", 20)]));
    // Set again later, and removed.
    commit(
        &store,
        vec![
            timer("h", "c", 70),
            Write::KvDelete {
                key: KvKey::timer("h", "a".to_owned()),
            },
        ],
    )
    .await;
    assert_eq!(due("h", 60, 10).await, pairs(&[("b", 40), ("d", 50)]));
    store.leave("a-node").await.unwrap();
}
