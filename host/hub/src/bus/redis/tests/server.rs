//! Redis servers for one test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parlance_types::test_util::free_port;

/// A Redis server on a Unix socket in a directory of its own. It ends when the value is dropped.
pub(super) struct Server {
    directory: tempfile::TempDir,
    process: Child,
}

impl Server {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = spawn(directory.path(), &["--port", "0"]);
        let server = Self { directory, process };
        server.ready();
        server
    }

    fn socket(&self) -> String {
        self.directory.path().join("redis.sock").to_str().unwrap().to_owned()
    }

    pub(super) fn url(&self) -> String {
        format!("unix://{}", self.socket())
    }

    fn ready(&self) {
        let begin = Instant::now();
        while self.try_command(&["PING"]).is_none() {
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "redis-server does not answer"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn try_command(&self, command: &[&str]) -> Option<::redis::Value> {
        let client = ::redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().ok()?;
        let mut packed = ::redis::cmd(command[0]);
        packed.arg(&command[1..]);
        packed.query(&mut connection).ok()
    }

    /// Runs a command on a connection of its own.
    pub(super) fn command(&self, command: &[&str]) -> ::redis::Value {
        self.try_command(command).unwrap()
    }

    /// Kills the server.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts the server again, without data.
    pub(super) fn restart(&mut self) {
        self.process = spawn(self.directory.path(), &["--port", "0"]);
        self.ready();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(directory: &Path, arguments: &[&str]) -> Child {
    Command::new("redis-server")
        .current_dir(directory)
        .args(["--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is needed for this test; `make setup` installs it")
}

/// A cluster of three servers without replicas.
pub(super) struct Cluster {
    _directories: Vec<tempfile::TempDir>,
    processes: Vec<Child>,
    pub(super) urls: String,
}

impl Cluster {
    pub(super) fn start() -> Self {
        // The port for the other nodes is chosen here too, since the default one may be taken.
        let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
        let mut directories = Vec::new();
        let mut processes = Vec::new();
        for (port, other) in &ports {
            let directory = tempfile::tempdir().unwrap();
            let (port, other) = (port.to_string(), other.to_string());
            let arguments = ["--port", &port, "--cluster-port", &other, "--cluster-enabled", "yes"];
            let quick = ["--bind", "127.0.0.1", "--cluster-node-timeout", "2000"];
            processes.push(spawn(directory.path(), &[&arguments[..], &quick[..]].concat()));
            directories.push(directory);
        }
        let addresses: Vec<String> = ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        let urls = addresses.iter().map(|address| format!("redis://{address}"));
        let cluster = Self {
            _directories: directories,
            processes,
            urls: urls.collect::<Vec<_>>().join(","),
        };
        cluster.form(&addresses);
        cluster
    }

    fn form(&self, addresses: &[String]) {
        let begin = Instant::now();
        loop {
            let made = Command::new("redis-cli")
                .args(["--cluster", "create"])
                .args(addresses)
                .args(["--cluster-replicas", "0", "--cluster-yes"])
                .output()
                .unwrap();
            if made.status.success() {
                break;
            }
            let text = String::from_utf8_lossy(&made.stdout);
            assert!(begin.elapsed() < Duration::from_secs(30), "{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
        for url in self.urls.split(',') {
            let mut connection = ::redis::Client::open(url).unwrap().get_connection().unwrap();
            loop {
                let info: String = ::redis::cmd("CLUSTER").arg("INFO").query(&mut connection).unwrap();
                if info.contains("cluster_state:ok") {
                    break;
                }
                assert!(begin.elapsed() < Duration::from_secs(60), "{info}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
