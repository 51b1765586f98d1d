//! How the server plans the store's statements.

use super::*;
use crate::postgres::pool::{Connection, Statement};
use crate::{Change, Revise};

/// A store with one connection, which has prepared the statements of all kinds of writes and reads while the tables were
/// empty or nearly so.
async fn used() -> PostgresStore {
    let settings = PostgresSettings {
        connections: 1,
        ..PostgresSettings::default()
    };
    let store = PostgresStore::open(&Server::shared().database(), settings)
        .await
        .unwrap();
    let (ann, lobby) = (UserId::new("ann").unwrap(), room("lobby"));
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
        let delete = Write::KvDelete { key: key("set") };
        let mark = Change::Mark {
            kind: "reaction".into(),
            value: "+".into(),
            on: true,
        };
        let writes = vec![append(n, "lobby"), increment("count"), set];
        let later = vec![read, revise(mark), revise(Change::Delete), delete];
        for writes in [writes, later] {
            let outcomes = store.commit(vec![write_set(writes)]).await.unwrap();
            assert!(outcomes[0].is_ok(), "{outcomes:?}");
        }
        store.history(&acme(), &lobby, ALL).await.unwrap();
        store.places(&acme(), std::slice::from_ref(&lobby)).await.unwrap();
        store.message(&acme(), id(n)).await.unwrap();
        store.kv_get_many(&acme(), &[key("count")], 1).await.unwrap();
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
    assert!(used >= 20, "{used} statements serve batches and reads");
    assert_eq!(planned_again, 0);
}

/// A plan stays when its tables have grown.
#[tokio::test]
async fn a_plan_of_empty_tables_looks_rows_up_by_their_whole_keys() {
    let store = used().await;
    let connection = store.pool.connection().await.unwrap();
    let prepared = "SELECT name, statement, cardinality(parameter_types) FROM pg_prepared_statements
        WHERE statement LIKE '%unnest%' AND parameter_types <> '{}'";
    let prepared = rows(&connection, prepared.into()).await;
    assert!(prepared.len() >= 10, "{} statements", prepared.len());
    for row in &prepared {
        let (name, statement, parameters): (&str, &str, i32) = (row.get(0), row.get(1), row.get(2));
        let nulls = vec!["NULL"; usize::try_from(parameters).unwrap()].join(", ");
        let plan = rows(&connection, format!("EXPLAIN EXECUTE \"{name}\" ({nulls})")).await;
        let plan: Vec<&str> = plan.iter().map(|line| line.get(0)).collect();
        let wrong = |line: &&str| line.contains("Join Filter") || line.contains("Seq Scan");
        assert!(!plan.iter().any(wrong), "{statement}\n{}", plan.join("\n"));
    }
}
