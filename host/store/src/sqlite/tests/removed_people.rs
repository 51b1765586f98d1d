//! What retention has removed, and what was erased of a user, is in none of the database's files.

use super::removed_text::{files_have, revise};
use super::*;
use crate::{Change, ClientRef, Expired, RequestDigest, SeqSpan};

const WHOLE: SeqSpan = SeqSpan {
    after: 0,
    up_to: u64::MAX,
};

/// A message of a user with a name and an id that are found again.
fn named(n: u128) -> WriteSet {
    let mut write_set = append(n, &format!("secret-{n}-"));
    let Write::Append(draft) = &*write_set.writes[0] else {
        panic!("an append");
    };
    let client = ClientRef {
        id: format!("client-{n}-").into(),
        request: RequestDigest::of("lobby", "", None),
    };
    let draft = Draft {
        username: format!("Name-{n}-").into(),
        client: Some(client),
        ..draft.clone()
    };
    write_set.writes = vec![Arc::new(Write::Append(draft))];
    write_set
}

/// The numbers of those messages of which a file has this.
fn found(path: &Path, what: &str) -> Vec<u128> {
    (1..=60).filter(|n| files_have(path, &format!("{what}-{n}-"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_messages_are_in_no_file() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    for n in 1..=60 {
        store.commit(vec![named(n)]).await.unwrap();
    }
    // In tests a merge begins with 16 messages, so the last ones are not merged.
    let expired = Expired {
        up_to: 55,
        sent_before: 0,
    };
    while store.remove_messages(&acme(), &lobby(), expired, 7).await.unwrap().more {}
    store.finish_removal().await.unwrap();
    let left = (56..=60).collect::<Vec<_>>();
    for what in ["secret", "Name", "client"] {
        assert_eq!(found(&path, what), left, "{what}");
    }
    store.close().await;
    assert_eq!(found(&path, "secret"), left);
    let store = open(&path).unwrap();
    assert_eq!(store.place(&acme(), &lobby()).await.unwrap().seq, 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_user_is_in_no_file() {
    let (_dir, path) = home();
    let store = open(&path).unwrap();
    for n in 1..=60 {
        store.commit(vec![named(n)]).await.unwrap();
    }
    for n in 1..=60 {
        store.commit(vec![revise(n, Change::Delete)]).await.unwrap();
    }
    let ann = UserId::new("ann").unwrap();
    store.forget_user(&acme(), &lobby(), WHOLE, &ann).await.unwrap();
    store.finish_removal().await.unwrap();
    for what in ["secret", "Name", "client"] {
        assert_eq!(found(&path, what), [0; 0], "{what}");
    }
    // Those that were not merged yet are read from memory.
    let newest = MessageId::from_bytes(60_u128.to_be_bytes());
    let newest = store.message(&acme(), newest).await.unwrap().unwrap();
    assert_eq!((&*newest.username, newest.client), ("ann", None));
    store.close().await;
    for what in ["secret", "Name", "client"] {
        assert_eq!(found(&path, what), [0; 0], "{what}");
    }
}
