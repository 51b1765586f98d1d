//! Redis servers for one test.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use parlance_types::test_util::{ServerLog, free_port};

/// What a server logs when it takes connections: "Ready to", or "The server is now ready to".
pub(super) const READY: &str = "eady to accept connections";
/// What a server logs when all slots of its cluster are served.
const CLUSTER_OK: &str = "Cluster state changed: ok";

/// A Redis server on a Unix socket in a directory of its own. It ends when the value is dropped.
pub(super) struct Server {
    directory: tempfile::TempDir,
    process: Child,
}

impl Server {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (process, _) = spawn(directory.path(), &["--port", "0"]);
        Self { directory, process }
    }

    fn socket(&self) -> String {
        self.directory.path().join("redis.sock").to_str().unwrap().to_owned()
    }

    pub(super) fn url(&self) -> String {
        format!("unix://{}", self.socket())
    }

    /// Runs a command on a connection of its own.
    pub(super) fn command(&self, command: &[&str]) -> ::redis::Value {
        let client = ::redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut packed = ::redis::cmd(command[0]);
        packed.arg(&command[1..]);
        packed.query(&mut connection).unwrap()
    }

    /// Kills the server.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts the server again, without data.
    pub(super) fn restart(&mut self) {
        (self.process, _) = spawn(self.directory.path(), &["--port", "0"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a server and waits until it takes connections.
fn spawn(directory: &Path, arguments: &[&str]) -> (Child, ServerLog) {
    let socket = ["--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"];
    let (process, log) = run(directory, &[&socket[..], arguments].concat());
    log.wait_for(0, &[READY]);
    (process, log)
}

/// Starts a server, which may be a sentinel.
pub(super) fn run(directory: &Path, arguments: &[&str]) -> (Child, ServerLog) {
    let mut process = Command::new("redis-server")
        .current_dir(directory)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-server is needed for this test; `make setup` installs it");
    let log = ServerLog::read(process.stdout.take().unwrap());
    (process, log)
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
        let (mut processes, mut logs) = (Vec::new(), Vec::new());
        for (port, other) in &ports {
            let directory = tempfile::tempdir().unwrap();
            let (port, other) = (port.to_string(), other.to_string());
            let arguments = ["--port", &port, "--cluster-port", &other, "--cluster-enabled", "yes"];
            let quick = ["--bind", "127.0.0.1", "--cluster-node-timeout", "2000"];
            let (process, log) = spawn(directory.path(), &[&arguments[..], &quick[..]].concat());
            processes.push(process);
            logs.push(log);
            directories.push(directory);
        }
        let addresses: Vec<String> = ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        for log in &logs {
            log.wait_for(0, &[CLUSTER_OK]);
        }
        let urls = addresses.iter().map(|address| format!("redis://{address}"));
        Self {
            _directories: directories,
            processes,
            urls: urls.collect::<Vec<_>>().join(","),
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
