//! Opening a database, and the errors when that fails.

use std::process::Command;

use super::*;

async fn why(url: &str) -> OpenError {
    let settings = PostgresSettings {
        connect_time: Duration::from_secs(10),
        ..PostgresSettings::default()
    };
    match PostgresStore::open(url, settings).await {
        Ok(store) => panic!("{} was opened", store.address()),
        Err(error) => {
            assert!(!format!("{error:?} {error}").contains(server::PASSWORD), "{error:?}");
            error
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_make_one_schema() {
    for _ in 0..3 {
        let url = Server::shared().database();
        let (a, b, c) = tokio::join!(open(&url), open(&url), open(&url));
        for (n, store) in [a, b, c].iter().enumerate() {
            let outcomes = store
                .commit(vec![write_set(vec![append(n as u128, "lobby")])])
                .await
                .unwrap();
            assert!(outcomes[0].is_ok());
        }
        let versions = "SELECT count(*), max(version) FROM parlance_schema_history";
        assert_eq!(Server::shared().psql(server::name_in(&url), versions), "5|5");
    }
}

#[tokio::test]
async fn what_was_committed_survives_reopening() {
    let url = Server::shared().database();
    for n in 1..=3 {
        let store = open(&url).await;
        let outcomes = store
            .commit(vec![write_set(vec![append(u128::from(n), "lobby")])])
            .await
            .unwrap();
        assert!(matches!(outcomes[0].as_deref(), Ok([Written::Appended { seq, .. }]) if *seq == n));
        store.close().await;
    }
}

#[tokio::test]
async fn every_error_says_what_is_wrong_and_where() {
    let server = Server::shared();
    let url = server.database();
    let port = server.port;
    let cases = [
        (
            format!("postgres://parlance:wrong@127.0.0.1:{port}/x"),
            "refuses the login",
        ),
        (server.url("nowhere"), "there is no such database: 127.0.0.1"),
        (
            "postgres://u:swordfish@127.0.0.1:1/x".to_owned(),
            "127.0.0.1:1/x cannot be reached",
        ),
        (
            "postgres://u:swordfish@host.invalid/x".to_owned(),
            "host.invalid:5432/x cannot be reached",
        ),
        (format!("{url}?sslmode=require"), "cannot be reached"),
        (format!("{url}?sslmode=maybe"), "sslmode must be"),
        (format!("{url}?nonsense=1"), "unknown option"),
        (
            format!("{url}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem"),
            "/nowhere/ca.pem",
        ),
    ];
    for (url, words) in cases {
        let error = why(&url).await.to_string();
        assert!(error.contains(words), "{words:?} is not in {error:?}");
    }
    server.psql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0");
    let error = why(&server.url("latin")).await.to_string();
    assert!(error.contains("LATIN1") && error.contains("--encoding=UTF8"), "{error}");
    server.psql(
        server::name_in(&url),
        &format!(
            "ALTER DATABASE {} SET default_transaction_read_only = on",
            server::name_in(&url)
        ),
    );
    let error = why(&url).await.to_string();
    assert!(error.contains("takes no writes"), "{error}");
}

#[tokio::test]
async fn a_newer_schema_and_anothers_tables_are_refused_and_left_alone() {
    let server = Server::shared();
    let url = server.database();
    let name = server::name_in(&url);
    open(&url).await.close().await;
    server.psql(
        name,
        "INSERT INTO parlance_schema_history VALUES (99, 'x', '2026-01-01T00:00:00Z', '1')",
    );
    let error = why(&url).await;
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 99,
                known: 5,
                ..
            }
        ),
        "{error:?}"
    );

    let url = server.database();
    let name = server::name_in(&url);
    server.psql(name, "CREATE TABLE messages (theirs int)");
    let error = why(&url).await;
    assert!(error.to_string().contains("a database of its own"), "{error}");
    let tables = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = \
                  'public'::regnamespace";
    assert_eq!(server.psql(name, tables), "messages,parlance_schema_history");
}

#[tokio::test]
async fn a_user_that_may_not_make_tables_is_told_so() {
    let server = Server::shared();
    let url = server.database();
    let name = server::name_in(&url);
    server.psql(
        name,
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE guest LOGIN PASSWORD 'swordfish'",
    );
    let error = why(&url.replace("//parlance:", "//guest:")).await.to_string();
    assert!(error.contains("let the user create tables"), "{error}");
}

/// Creates a self-signed certificate for `localhost` in the directory.
fn certificate(directory: &std::path::Path, name: &str) {
    let path = |end: &str| directory.join(format!("{name}.{end}"));
    let done = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(path("key"))
        .arg("-out")
        .arg(path("crt"))
        .output()
        .expect("openssl is needed for this test");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn tls_trusts_as_sslmode_says() {
    let server = Server::start(&["fsync=off"]);
    let url = server.database();
    let directory = server.directory();
    certificate(directory, "server");
    certificate(directory, "other");
    let key = directory.join("server.key");
    // PostgreSQL accepts a key only if it belongs to the server's user, or to root and the server's group.
    let owner = Command::new("chown")
        .arg("--reference")
        .arg(directory.join("data"))
        .arg(&key)
        .output();
    assert!(owner.unwrap().status.success());
    let set = |name: &str, value: &str| server.psql("postgres", &format!("ALTER SYSTEM SET {name} = '{value}'"));
    set("ssl_cert_file", &directory.join("server.crt").display().to_string());
    set("ssl_key_file", &key.display().to_string());
    set("ssl", "on");
    server.stop();
    server.start_again();
    let (ca, other) = (directory.join("server.crt"), directory.join("other.crt"));
    let named = url.replace("127.0.0.1", "localhost");
    let encrypted = async |url: String| {
        let store = PostgresStore::open(&url, PostgresSettings::default()).await?;
        let rows = store
            .pool
            .query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[])
            .await;
        Ok::<bool, OpenError>(rows.unwrap()[0].get(0))
    };
    assert!(!encrypted(format!("{url}?sslmode=disable")).await.unwrap());
    assert!(encrypted(url.clone()).await.unwrap(), "preferred when there");
    assert!(encrypted(format!("{url}?sslmode=require")).await.unwrap());
    assert!(
        encrypted(format!("{url}?sslmode=verify-ca&sslrootcert={}", ca.display()))
            .await
            .unwrap()
    );
    assert!(
        encrypted(format!("{named}?sslmode=verify-full&sslrootcert={}", ca.display()))
            .await
            .unwrap()
    );
    for wrong in [
        format!("{url}?sslmode=verify-full&sslrootcert={}", ca.display()),
        format!("{named}?sslmode=verify-full&sslrootcert={}", other.display()),
        format!("{named}?sslmode=verify-ca&sslrootcert={}", other.display()),
        format!("{named}?sslmode=require&sslrootcert={}", other.display()),
        format!("{named}?sslmode=verify-full"),
    ] {
        let error = why(&wrong).await.to_string();
        assert!(error.contains("certificate"), "{wrong}: {error}");
    }
}
