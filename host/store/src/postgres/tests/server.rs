//! Starts PostgreSQL servers for the tests, from the installed programs.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use parlance_types::test_util::{ServerLog, free_port};

const USER: &str = "parlance";
pub(super) const PASSWORD: &str = "swordfish";

/// A shell script that runs the server, whose log is its standard error. It obeys the lines of its input: `start`, or a
/// signal that ends the server. Its input ends with the test process, however that ends; then it stops the server and
/// deletes the directory.
const SUPERVISOR: &str = r#"
trap '' INT
directory=$1; shift
pid=
while read -r what; do
  case $what in
    start) "$@" </dev/null >&2 & pid=$! ;;
    *) kill -s "$what" "$pid"; wait "$pid" ;;
  esac
  echo done
done
[ -z "$pid" ] || kill -s QUIT "$pid" 2>/dev/null
wait
rm -rf "$directory"
"#;

/// What PostgreSQL logs when it takes connections.
const READY: &str = "database system is ready to accept connections";
/// What PostgreSQL logs when it cannot start because processes of a killed server are still there.
const MEMORY_IN_USE: &str = "pre-existing shared memory block";

/// A server with its own data directory, port and socket.
pub(super) struct Server {
    directory: PathBuf,
    pub(super) port: u16,
    supervisor: Mutex<(Child, Option<ChildStdin>, BufReader<ChildStdout>)>,
    log: ServerLog,
    databases: AtomicU32,
}

impl Server {
    /// The server for tests that do not stop it. It runs without `fsync`, to be fast.
    pub(super) fn shared() -> &'static Self {
        static SHARED: LazyLock<Server> = LazyLock::new(|| Server::start(&["fsync=off"]));
        &SHARED
    }

    /// Starts a server with these settings.
    pub(super) fn start(settings: &[&str]) -> Self {
        let programs = programs();
        let directory = tempfile::Builder::new()
            .prefix("parlance-pg-")
            .tempdir()
            .unwrap()
            .keep();
        let mut prefix = Vec::new();
        // PostgreSQL refuses to run as root. Its package has created a user for it.
        if fs::metadata(&directory).unwrap().uid() == 0 {
            prefix = [
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                "--",
            ]
            .map(str::to_owned)
            .to_vec();
            run(Command::new("chown").arg("postgres:postgres").arg(&directory));
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        let command = |program: &str| {
            let mut words = prefix.clone();
            words.push(programs.join(program).display().to_string());
            words
        };
        let password = directory.join("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
        let initdb = command("initdb");
        run(Command::new(&initdb[0])
            .args(&initdb[1..])
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth-local=trust"])
            .args(["--auth-host=scram-sha-256", "--username", USER, "--pwfile"])
            .arg(&password)
            .arg("--pgdata")
            .arg(directory.join("data"))
            .current_dir(&directory));
        let port = free_port();
        let mut server = command("postgres");
        let options = [
            "max_connections=200",
            "listen_addresses=127.0.0.1",
            "log_min_messages=warning",
            // Shared memory in the server's directory goes with it, also when the server is killed.
            "dynamic_shared_memory_type=mmap",
        ];
        server.extend(["-D".to_owned(), directory.join("data").display().to_string()]);
        server.extend([
            "-p".to_owned(),
            port.to_string(),
            "-k".to_owned(),
            directory.display().to_string(),
        ]);
        for option in options.iter().chain(settings) {
            server.extend(["-c".to_owned(), (*option).to_owned()]);
        }
        let mut supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&directory)
            .args(server)
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = ServerLog::read(supervisor.stderr.take().unwrap());
        let (input, output) = (supervisor.stdin.take(), supervisor.stdout.take().unwrap());
        let server = Self {
            directory,
            port,
            supervisor: Mutex::new((supervisor, input, BufReader::new(output))),
            log,
            databases: AtomicU32::new(0),
        };
        server.start_again();
        server
    }

    fn order(&self, what: &str) {
        let mut supervisor = self.supervisor.lock().unwrap();
        writeln!(supervisor.1.as_mut().unwrap(), "{what}").unwrap();
        let mut answer = String::new();
        supervisor.2.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    }

    /// Stops the server as an administrator does. Connections are cut.
    pub(super) fn stop(&self) {
        self.order("INT");
    }

    /// Kills the server's process.
    pub(super) fn kill(&self) {
        self.order("KILL");
    }

    /// Starts the server again with its data and port, and waits until it serves.
    pub(super) fn start_again(&self) {
        loop {
            let before = self.log.length();
            self.order("start");
            // Processes of a killed server may still hold its shared memory. Then the new server gives up.
            if self.log.wait_for(before, &[READY, MEMORY_IN_USE]) == READY {
                return;
            }
        }
    }

    /// Creates an empty database. Returns its URL.
    pub(super) fn database(&self) -> String {
        let name = format!("chat_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database.
    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs a statement as an administrator. Returns its output.
    pub(super) fn psql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(programs().join("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER])
            .args(["-d", database, "-h"])
            .arg(&self.directory)
            .args(["-p", &self.port.to_string(), "-c", sql])
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {complaint}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A directory for files of the server, such as its certificate.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut supervisor = self.supervisor.lock().unwrap();
        drop(supervisor.1.take());
        let _ = supervisor.0.wait();
    }
}

/// The name of the database in a URL.
pub(super) fn name_in(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// The directory of the newest PostgreSQL's programs, which Debian keeps off the search path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    found.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&on_path).find(|path| path.join("initdb").exists());
    found
        .pop()
        .map(|(_, path)| path)
        .or(on_path)
        .expect("PostgreSQL's programs are needed for this test; `make setup` installs them (the package postgresql)")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {words}");
}
