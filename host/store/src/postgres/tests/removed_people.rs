//! What retention has removed, and what was erased of a user, is in no column of any table.

use super::*;
use crate::{Change, ClientRef, Expired, RequestDigest, Revise, SeqSpan};

/// The tables with a row that has the text in any column, also as bytes.
fn tables_with(url: &str, text: &str) -> Vec<String> {
    let (server, name) = (Server::shared(), server::name_in(url));
    let tables = server.psql(
        name,
        "SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'",
    );
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let has = |table: &&str| {
        // A row as text shows each column, bytes in hexadecimal.
        let count = format!("SELECT count(*) FROM {table} t WHERE t::text LIKE '%{text}%' OR t::text LIKE '%{hex}%'");
        server.psql(name, &count) != "0"
    };
    tables.split(',').filter(has).map(str::to_owned).collect()
}

/// A message of a user with a name and an id that are found again.
fn named(n: u128) -> Write {
    let Write::Append(draft) = append(n, "a") else {
        panic!("an append");
    };
    Write::Append(Draft {
        username: format!("Name-{n}-").into(),
        content: format!("secret-{n}-"),
        client: Some(ClientRef {
            id: format!("client-{n}-").into(),
            request: RequestDigest::of("a", "", None),
        }),
        ..draft
    })
}

#[tokio::test]
async fn what_is_removed_or_erased_is_in_no_column() {
    let url = Server::shared().database();
    let store = open(&url).await;
    store
        .commit(vec![write_set((1..=4).map(named).collect())])
        .await
        .unwrap();
    for text in ["secret-1-", "Name-1-", "client-1-"] {
        assert_eq!(tables_with(&url, text), ["messages"], "{text}");
    }
    let expired = Expired {
        up_to: 2,
        sent_before: 0,
    };
    store.remove_messages(&acme(), &room("a"), expired, 10).await.unwrap();
    let delete = |n| {
        Write::Revise(Revise {
            id: id(n),
            room: room("a"),
            seq: 1,
            user: UserId::new("ann").unwrap(),
            at: 1,
            change: Change::Delete,
        })
    };
    store.commit(vec![write_set(vec![delete(3)])]).await.unwrap();
    let whole = SeqSpan {
        after: 0,
        up_to: u64::MAX,
    };
    let ann = UserId::new("ann").unwrap();
    store.forget_user(&acme(), &room("a"), whole, &ann).await.unwrap();
    for what in ["secret", "Name", "client"] {
        for n in 1..=3 {
            assert_eq!(tables_with(&url, &format!("{what}-{n}-")), [""; 0], "{what} {n}");
        }
        assert_eq!(tables_with(&url, &format!("{what}-4-")), ["messages"], "{what}");
    }
}
