//! How the server plans the store's statements.

use super::*;
use crate::postgres::pool::{Connection, Statement};
use crate::{Change, ChangeRange, Expired, KvRange, RangeRead, ReadSet, Revise, SeqSpan, ValueDigest};

/// A store with one connection, so that each statement meets the plans of those before.
async fn with_one_connection() -> PostgresStore {
    let settings = PostgresSettings {
        connections: 1,
        ..PostgresSettings::default()
    };
    PostgresStore::open(&Server::shared().database(), settings)
        .await
        .unwrap()
}

/// A store that has made writes and reads of each kind, the first ones of empty tables.
async fn used() -> PostgresStore {
    let store = with_one_connection().await;
    let (ann, lobby) = (UserId::new("ann").unwrap(), room("lobby"));
    let none = KvRange::with_prefix("h".into(), "none");
    let mut reads = ReadSet::default();
    reads.begin(1);
    reads.add_key(&key("none"), None);
    reads.ranges.push(RangeRead {
        range: none.clone(),
        count: 0,
        digest: ValueDigest::of_range([]),
    });
    for n in 0..20 {
        let revise = |change| {
            Write::Revise(Revise {
                id: id(n),
                room: lobby.clone(),
                seq: 1,
                user: ann.clone(),
                at: 1,
                change,
            })
        };
        let mark = |value: &str, on| {
            revise(Change::Mark {
                kind: "reaction".into(),
                value: value.into(),
                on,
            })
        };
        let read = Write::MarkRead {
            id: id(n),
            room: lobby.clone(),
            seq: 1,
            user: ann.clone(),
            at: 1,
        };
        let set = Write::KvSet {
            key: key("set"),
            value: vec![1],
            expires_at: None,
        };
        let due = Write::DueSet {
            key: key("due"),
            value: vec![1],
            due_at: u64::MAX,
        };
        let delete = Write::KvDelete { key: key("set") };
        let batches = [
            vec![append(n, "lobby"), increment("count"), set, due],
            vec![read, mark("+", true), mark("-", true), delete],
            vec![mark("-", false)],
            vec![revise(Change::Delete)],
        ];
        for writes in batches {
            let batch = WriteSet {
                reads: reads.clone(),
                ..write_set(writes)
            };
            let outcomes = store.commit(vec![batch]).await.unwrap();
            assert!(outcomes[0].is_ok(), "{outcomes:?}");
        }
        let changes = ChangeRange {
            after: 0,
            up_to_seq: u64::MAX,
            limit: 10,
        };
        store.history(&acme(), &lobby, ALL).await.unwrap();
        store.changed_messages(&acme(), &lobby, changes).await.unwrap();
        store.places(&acme(), std::slice::from_ref(&lobby)).await.unwrap();
        store.message(&acme(), id(n)).await.unwrap();
        store.kv_get_many(&acme(), &[key("count")], 1).await.unwrap();
        store.kv_scan(&acme(), &none, 10, 1_000, 1).await.unwrap();
        assert!(store.reads_hold(&acme(), &reads).await.unwrap());
        let whole = SeqSpan {
            after: 0,
            up_to: u64::MAX,
        };
        store.forget_user(&acme(), &lobby, whole, &ann).await.unwrap();
        let expired = Expired {
            up_to: n as u64,
            sent_before: 0,
        };
        store.remove_messages(&acme(), &lobby, expired, 10).await.unwrap();
    }
    store
}

async fn rows(connection: &Connection, sql: String) -> Vec<tokio_postgres::Row> {
    let mut results = connection
        .pipeline(vec![Statement::Prepared(sql.leak(), Vec::new())])
        .await
        .unwrap();
    results.pop().unwrap()
}

#[tokio::test]
async fn a_statement_is_planned_once() {
    let store = used().await;
    let connection = store.pool.connection().await.unwrap();
    let plans =
        "SELECT count(*) FILTER (WHERE generic_plans >= 18), sum(custom_plans)::bigint FROM pg_prepared_statements";
    let rows = rows(&connection, plans.into()).await;
    let (used, planned_again): (i64, i64) = (rows[0].get(0), rows[0].get(1));
    assert!(used >= 30, "{used} statements serve batches and reads");
    assert_eq!(planned_again, 0);
}

/// A plan stays when its tables have grown.
#[tokio::test]
async fn a_plan_of_empty_tables_looks_rows_up_by_their_whole_keys() {
    let store = used().await;
    let connection = store.pool.connection().await.unwrap();
    let prepared = "SELECT name, statement, cardinality(parameter_types) FROM pg_prepared_statements
        WHERE parameter_types <> '{}'";
    let prepared = rows(&connection, prepared.into()).await;
    assert!(prepared.len() >= 25, "{} statements", prepared.len());
    for row in &prepared {
        let (name, statement, parameters): (&str, &str, i32) = (row.get(0), row.get(1), row.get(2));
        let nulls = vec!["NULL"; usize::try_from(parameters).unwrap()].join(", ");
        let plan = rows(&connection, format!("EXPLAIN EXECUTE \"{name}\" ({nulls})")).await;
        let plan: Vec<&str> = plan.iter().map(|line| line.get(0)).collect();
        let wrong = |line: &&str| line.contains("Join Filter") || line.contains("Seq Scan");
        assert!(!plan.iter().any(wrong), "{statement}\n{}", plan.join("\n"));
    }
}

/// A table that was analyzed while it was empty has no rows for a plan, however large it is by then.
#[tokio::test]
async fn a_plan_of_a_table_that_was_analyzed_empty_does_not_stay() {
    let store = with_one_connection().await;
    let connection = store.pool.connection().await.unwrap();
    rows(&connection, "ANALYZE".into()).await;
    drop(connection);
    store.commit(vec![write_set(vec![append(1, "lobby")])]).await.unwrap();
    let filled = "INSERT INTO messages (room_id, seq, tenant_id, id, sender, content, sent_at)
        SELECT 7, n, 7, decode(md5(n::text), 'hex'), 'ann', 'text', 1 FROM generate_series(1, 20000) n";
    let connection = store.pool.connection().await.unwrap();
    rows(&connection, filled.into()).await;
    let find = "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'SELECT w.n, m.room_id%'";
    let find: String = rows(&connection, find.into()).await[0].get(0);
    drop(connection);
    let began = std::time::Instant::now();
    loop {
        // A connection forgets its plans when it is borrowed.
        let connection = store.pool.connection().await.unwrap();
        let plan = rows(&connection, format!("EXPLAIN EXECUTE \"{find}\" (NULL, NULL, NULL)")).await;
        let plan: Vec<&str> = plan.iter().map(|line| line.get(0)).collect();
        if plan.iter().any(|line| line.contains("messages_by_id")) && !plan.iter().any(|line| line.contains("Filter")) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{}", plan.join("\n"));
    }
}
