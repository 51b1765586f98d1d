//! Tests of the bus with Redis Sentinel: a primary, a replica, and one sentinel that decides between them.

use std::process::Child;

use super::*;
use parlance_types::test_util::{ServerLog, free_port};

/// The name by which the sentinel knows the primary.
const NAME: &str = "chat";
/// The password of the two servers. The sentinel has none, and would refuse a client that sends one.
const PASSWORD: &str = "swordfish";

/// A primary, its replica and a sentinel. They end when the value is dropped.
struct SentinelSetup {
    directory: tempfile::TempDir,
    processes: Vec<Child>,
    ports: Vec<u16>,
}

impl SentinelSetup {
    fn start() -> Self {
        let mut all = Self {
            directory: tempfile::tempdir().unwrap(),
            processes: Vec::new(),
            ports: Vec::new(),
        };
        let (primary, _) = all.server(&[]);
        let (replica, log) = all.server(&["--replicaof", "127.0.0.1", &primary.to_string()]);
        log.wait_for(0, &["sync: Finished with success"]);
        let sentinel = free_port();
        let configuration = format!(
            "port {sentinel}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {primary} 1\n\
             sentinel auth-pass {NAME} {PASSWORD}\nsentinel down-after-milliseconds {NAME} 500\n\
             sentinel failover-timeout {NAME} 2000\n"
        );
        // The sentinel writes to its configuration, so it gets a file of its own.
        std::fs::write(all.directory.path().join("sentinel.conf"), configuration).unwrap();
        let log = all.spawn(&["sentinel.conf", "--sentinel"], sentinel);
        log.wait_for(0, &[&format!("+slave slave 127.0.0.1:{replica} ")]);
        all
    }

    fn server(&mut self, arguments: &[&str]) -> (u16, ServerLog) {
        let port = free_port();
        let text = port.to_string();
        let own = [
            "--port",
            &text,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        let secret = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];
        let file = format!("{port}.rdb");
        let quick = ["--repl-diskless-sync-delay", "0", "--dbfilename", &file];
        let log = self.spawn(&[&own[..], &secret, &quick, arguments].concat(), port);
        log.wait_for(0, &[server::READY]);
        (port, log)
    }

    fn spawn(&mut self, arguments: &[&str], port: u16) -> ServerLog {
        let (process, log) = server::run(self.directory.path(), arguments);
        self.processes.push(process);
        self.ports.push(port);
        log
    }

    fn kill_primary(&mut self) {
        let primary = self.processes.first_mut().unwrap();
        primary.kill().unwrap();
        primary.wait().unwrap();
    }

    fn settings(&self) -> RedisSettings {
        let sentinel = self.ports.last().unwrap();
        RedisSettings {
            // A sentinel that cannot be reached does no harm.
            sentinels: RedisUrls::of(&format!(
                "redis://127.0.0.1:{},redis://127.0.0.1:{sentinel}",
                free_port()
            )),
            ..settings(&format!("redis://:{PASSWORD}@{NAME}"))
        }
    }
}

impl Drop for SentinelSetup {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

#[tokio::test]
async fn sentinels_lead_to_the_primary_and_after_a_failover_to_the_next_one() {
    let mut redis = SentinelSetup::start();
    let mut one = Node::with(redis.settings(), "default");
    let mut two = Node::with(redis.settings(), "default");
    for node in [&mut one, &mut two] {
        node.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
            .await;
    }
    one.send(r#"["before"]"#);
    assert_eq!(two.broadcast().await.packet.text, r#"["before"]"#);
    redis.kill_primary();
    for node in [&mut one, &mut two] {
        node.until(|inbound| matches!(inbound, Inbound::Disconnected).then_some(()))
            .await;
        node.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
            .await;
    }
    one.send(r#"["after"]"#);
    assert_eq!(two.broadcast().await.packet.text, r#"["after"]"#);
}

#[tokio::test]
async fn a_name_that_the_sentinels_do_not_know_is_an_error_and_no_connection() {
    let redis = SentinelSetup::start();
    let settings = RedisSettings {
        url: RedisUrls::of("redis://another"),
        ..redis.settings()
    };
    let node = Node::with(settings, "default");
    eventually("an error", || node.bus.status().error.is_some()).await;
    assert!(!node.bus.status().connected);
}

#[tokio::test]
async fn with_sentinels_there_is_one_url_with_a_name() {
    let sentinels = RedisUrls::of("redis://127.0.0.1:26379");
    for urls in ["redis://one,redis://two", "unix:///run/redis.sock", ""] {
        let settings = RedisSettings {
            sentinels: sentinels.clone(),
            ..settings(urls)
        };
        assert!(RedisBus::start(settings).is_err(), "{urls}");
    }
}
