//! Tests of the bus with Redis Sentinel: a primary, a replica, and one sentinel that decides between them.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;
use parlance_types::test_util::free_port;

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
    async fn start() -> Self {
        let mut all = Self {
            directory: tempfile::tempdir().unwrap(),
            processes: Vec::new(),
            ports: Vec::new(),
        };
        let primary = all.server(&[]);
        let replica = all.server(&["--replicaof", "127.0.0.1", &primary.to_string()]);
        all.until(
            replica,
            Some(PASSWORD),
            &["INFO", "replication"],
            "master_link_status:up",
        )
        .await;
        let sentinel = free_port();
        let configuration = format!(
            "port {sentinel}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {primary} 1\n\
             sentinel auth-pass {NAME} {PASSWORD}\nsentinel down-after-milliseconds {NAME} 500\n\
             sentinel failover-timeout {NAME} 2000\n"
        );
        // The sentinel writes to its configuration, so it gets a file of its own.
        std::fs::write(all.directory.path().join("sentinel.conf"), configuration).unwrap();
        all.spawn(&["sentinel.conf", "--sentinel"], sentinel);
        all.until(sentinel, None, &["SENTINEL", "REPLICAS", NAME], &replica.to_string())
            .await;
        all
    }

    fn server(&mut self, arguments: &[&str]) -> u16 {
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
        self.spawn(&[&own[..], &secret, &quick, arguments].concat(), port);
        port
    }

    fn spawn(&mut self, arguments: &[&str], port: u16) {
        let process = Command::new("redis-server")
            .current_dir(self.directory.path())
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed for this test; `make setup` installs it");
        self.processes.push(process);
        self.ports.push(port);
    }

    /// Repeats a command until its answer contains the text.
    async fn until(&self, port: u16, password: Option<&str>, command: &[&str], text: &str) {
        let begin = Instant::now();
        loop {
            let port = port.to_string();
            let mut client = Command::new("redis-cli");
            client.args(["-p", &port]).args(command).stderr(Stdio::null());
            if let Some(password) = password {
                client.env("REDISCLI_AUTH", password);
            }
            let answer = String::from_utf8(client.output().unwrap().stdout).unwrap();
            if answer.contains(text) {
                return;
            }
            assert!(begin.elapsed() < DEADLINE, "{command:?}: {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
    let mut redis = SentinelSetup::start().await;
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
    let redis = SentinelSetup::start().await;
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
