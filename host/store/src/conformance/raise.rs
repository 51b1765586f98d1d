//! Rules of raising a number.

use super::*;

fn key() -> KvKey {
    KvKey::member("n".to_owned())
}

fn raise(to: i64) -> Write {
    Write::KvRaise { key: key(), to }
}

async fn value(store: &Subject) -> Option<String> {
    let value = store.kv_get(&tenant("acme"), &key(), NOW).await.unwrap()?;
    Some(String::from_utf8(value).unwrap())
}

pub(crate) async fn a_number_is_raised_and_never_lowered(store: Subject) {
    commit(&store, vec![raise(0)]).await;
    assert_eq!(value(&store).await, None, "an absent key counts as 0");
    commit(&store, vec![raise(3), raise(2)]).await;
    assert_eq!(value(&store).await.as_deref(), Some("3"));
    let batch = vec![
        write_set("acme", vec![raise(7)]),
        write_set("acme", vec![raise(5)]),
        rejected("acme", vec![raise(100)]),
    ];
    store.commit(batch).await.unwrap();
    assert_eq!(value(&store).await.as_deref(), Some("7"));
    let text = Write::KvSet {
        key: key(),
        value: b"x".to_vec(),
        expires_at: None,
    };
    commit(&store, vec![text]).await;
    let results = store.commit(vec![write_set("acme", vec![raise(9)])]).await.unwrap();
    assert_eq!(results, [Err(Rejected::NotANumber)]);
}

pub(crate) async fn of_raises_that_race_the_highest_counts(store: Subject) {
    let racers: Vec<_> = (0..8)
        .map(|racer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..25 {
                    commit(&store, vec![raise(n * 8 + racer)]).await;
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.unwrap();
    }
    assert_eq!(value(&store).await.as_deref(), Some("199"));
}
