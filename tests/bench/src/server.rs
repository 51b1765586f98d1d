//! Starts and stops the servers, on the server's core.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::args::{Args, Subject};
use crate::machine::{self, Machine};
use crate::process;

/// How long a server may take until it listens and is ready: long enough to compile its components on a busy machine.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to exit after SIGTERM.
const STOP: Duration = Duration::from_secs(15);
/// Interval of checks while a server starts or stops.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The text that all servers print before their host and port.
const LISTENING: &str = "listening on http://";

/// A running server's address, and what else the load needs.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The address, which is always loopback.
    pub(crate) address: SocketAddr,
    /// The process whose usage is measured.
    pub(crate) pid: u32,
    /// The HS256 secret of its tokens.
    pub(crate) secret: String,
}

/// Starts the servers.
pub(crate) struct Launcher {
    parlance: PathBuf,
    native: PathBuf,
    node_dir: PathBuf,
    out_dir: PathBuf,
    data_dir: PathBuf,
    core: Option<usize>,
    secret: String,
    given: Option<Target>,
    subjects: Vec<Subject>,
}

impl Launcher {
    /// Finds the servers that the arguments name.
    ///
    /// # Errors
    /// When one of them does not exist, or the given server is not on this machine.
    pub(crate) fn new(args: &Args, machine: &Machine) -> Result<Self> {
        let program = std::env::current_exe()?;
        let profile_dir = program.parent().context("this program is in no directory")?;
        let out_dir = profile_dir.parent().unwrap_or(profile_dir).join("bench");
        std::fs::create_dir_all(&out_dir)?;
        let parlance = args.parlance.clone().unwrap_or_else(|| profile_dir.join("parlance"));
        let native = args.native.clone();
        let launcher = Self {
            // Servers run in other directories, so paths must be absolute.
            parlance: std::path::absolute(parlance)?,
            native: std::path::absolute(native.unwrap_or_else(|| profile_dir.join("parlance-bench-native")))?,
            node_dir: std::path::absolute(&args.node_dir)?,
            data_dir: args.data_dir.clone().unwrap_or_else(|| out_dir.clone()),
            out_dir,
            core: machine.cores.map(|cores| cores.server),
            secret: random_secret()?,
            given: given(args)?,
            subjects: args.subjects(),
        };
        for subject in launcher.subjects() {
            let (file, remedy) = match subject {
                Subject::Parlance => (launcher.parlance.clone(), "cargo build --release"),
                Subject::Native => (launcher.native.clone(), "cargo build --release"),
                Subject::Node => (launcher.node_dir.join("node_modules"), "npm ci there"),
                Subject::Durable => (launcher.node_dir.join("node_modules/better-sqlite3"), "npm ci there"),
                Subject::Given => continue,
            };
            ensure!(file.exists(), "{} is missing: {remedy}", file.display());
        }
        Ok(launcher)
    }

    /// The secret of all servers' tokens.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// The servers to measure, in order.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        match &self.given {
            Some(_) => vec![Subject::Given],
            None => self.subjects.clone(),
        }
    }

    /// Finds Parlance alone, whichever servers the arguments name.
    ///
    /// # Errors
    /// As [`Launcher::new`].
    pub(crate) fn of_parlance(all: &Args, machine: &Machine) -> Result<Self> {
        let mut args = all.clone();
        args.only = vec![Subject::Parlance];
        Self::new(&args, machine)
    }

    /// The output of `node --version`; `None` if Node is not measured.
    pub(crate) fn node_version(&self) -> Option<String> {
        let on_node = [Subject::Node, Subject::Durable];
        if !self.subjects().iter().any(|subject| on_node.contains(subject)) {
            return None;
        }
        let output = Command::new("node").arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The directory for logs and the report.
    pub(crate) fn out_dir(&self) -> &Path {
        &self.out_dir
    }

    /// The type of the databases' file system.
    pub(crate) fn file_system(&self) -> Result<String> {
        machine::file_system(&self.data_dir)
    }

    /// Starts a server on a free port and waits until it is ready. `config` is Parlance's configuration.
    pub(crate) fn start(&self, subject: Subject, config: &str) -> Result<Server> {
        if let Some(target) = &self.given {
            return Ok(Server {
                target: target.clone(),
                child: None,
                _data: None,
            });
        }
        let data = tempfile::Builder::new().prefix("data-").tempdir_in(&self.data_dir)?;
        std::fs::write(data.path().join("bench.toml"), config)?;
        let log = self.out_dir.join(format!("{}.log", subject.slug()));
        let (reader, writer) = std::io::pipe()?;
        let mut command = self.command(subject);
        // The caller's settings must not affect the server, which would also refuse the tests' variables as misspelt.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PARLANCE_")) {
            command.env_remove(name);
        }
        command
            .current_dir(data.path())
            .env("PORT", "0")
            .env("JWT_SECRET", &self.secret)
            .env(
                "DATABASE_URL",
                format!("sqlite:{}", data.path().join("bench.db").display()),
            )
            // Variables of the shell must not affect the measured server.
            .env_remove("REDIS_URL")
            .env_remove("SQLITE_FILE")
            .env_remove("FRONTEND_URL")
            .env_remove("RUST_LOG")
            // It is not used, and another server may have the usual port.
            .env("PARLANCE_ADMIN_ADDRESS", "off")
            .env("NODE_ENV", "production")
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        if subject == Subject::Durable {
            command.env("SQLITE_FILE", data.path().join("bench.db"));
        }
        let child = command
            .spawn()
            .with_context(|| format!("{subject} could not be started"))?;
        // The command holds the pipe's write ends, which must close when the server exits.
        drop(command);
        let mut server = Server {
            target: Target {
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                pid: child.id(),
                secret: self.secret.clone(),
            },
            child: Some(child),
            _data: Some(data),
        };
        let port = follow(reader, File::create(&log)?).recv_timeout(START);
        let port = port.map_err(|_| anyhow!("{subject} does not listen, see {}", log.display()))?;
        server.target.address.set_port(port);
        server
            .wait_until_ready()
            .with_context(|| format!("see {}", log.display()))?;
        Ok(server)
    }

    /// `taskset` executes the server in its own process, so the process id is the server's.
    fn command(&self, subject: Subject) -> Command {
        let script = self.node_dir.join("server.mjs").into_os_string();
        let (program, arguments) = match subject {
            Subject::Node | Subject::Durable => (Path::new("node"), vec![script]),
            Subject::Native => (self.native.as_path(), Vec::new()),
            Subject::Parlance | Subject::Given => (
                self.parlance.as_path(),
                ["serve", "--config", "bench.toml"].map(OsString::from).to_vec(),
            ),
        };
        let mut command = match self.core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.arg("--cpu-list").arg(core.to_string()).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments);
        command
    }
}

/// A configuration for Parlance with limits of connections and tenants that are too high to affect the measurement.
pub(crate) const UNLIMITED_CONFIG: &str = "\
[limits]
events_per_second = 1000000
event_burst = 1000000
bytes_per_second = \"1GiB\"
byte_burst = \"1GiB\"
[quota]
connections = 10000000
connections_per_user = 1000000
events_per_second = 10000000
event_burst = 10000000
guest_cpu = \"1000s\"
write_bytes_per_second = \"1GiB\"
outbound_bytes_per_second = \"1GiB\"
instances = 10000
";

/// A running server. Dropping it kills the process, unless it was already running.
pub(crate) struct Server {
    target: Target,
    child: Option<Child>,
    /// The directory of the database, which is removed after the process has exited.
    _data: Option<TempDir>,
}

impl Server {
    /// The server's address.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Stops the server as an operator would.
    ///
    /// # Errors
    /// When it had exited before, failed, or did not exit in time.
    pub(crate) fn stop(mut self) -> Result<()> {
        let Some(child) = self.child.as_mut() else {
            return Ok(());
        };
        if let Some(status) = child.try_wait()? {
            bail!("the server ended by itself: {status}");
        }
        kill_process(Pid::from_child(child), Signal::TERM)?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "the server ended badly: {status}");
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        bail!("the server did not end within {STOP:?} of SIGTERM")
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let url = format!("http://{}/readyz", self.target.address);
        let deadline = Instant::now() + START;
        loop {
            let answer = ureq::get(&url).call();
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("the server is not ready");
                }
                Err(_) => std::thread::sleep(POLL_INTERVAL),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            // It may have exited already; then there is nothing to kill, and `wait` only reaps it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Copies a server's output to its log, and returns the port that it prints.
fn follow(output: PipeReader, mut log: File) -> mpsc::Receiver<u16> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(port) = port_in(&line) {
                // Nobody waits for a second such line.
                let _ = sender.send(port);
            }
            // If the log cannot be written, keep reading: the server must not block on a full pipe.
            let _ = writeln!(log, "{line}");
        }
    });
    receiver
}

/// The port in a line that contains `listening on http://HOST:PORT`.
fn port_in(line: &str) -> Option<u16> {
    let (_, address) = line.split_once(LISTENING)?;
    let end = address.find(|c: char| !(c.is_ascii_alphanumeric() || ".:-[]".contains(c)));
    let address = address.get(..end.unwrap_or(address.len()))?;
    address.rsplit_once(':')?.1.parse().ok()
}

/// The running server that the arguments name, if they name one.
fn given(args: &Args) -> Result<Option<Target>> {
    let (Some(url), Some(pid), Some(secret)) = (&args.server, args.pid, &args.jwt_secret) else {
        return Ok(None);
    };
    process::open(pid)?;
    Ok(Some(Target {
        address: loopback(url)?,
        pid,
        secret: secret.clone(),
    }))
}

/// The address of `url`, which must be this machine's, since the load amounts to an attack on any other server.
fn loopback(url: &str) -> Result<SocketAddr> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    let host = uri.host().with_context(|| format!("`{url}` names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<_> = (host, uri.port_u16().unwrap_or(80))
        .to_socket_addrs()
        .with_context(|| format!("`{host}` has no address"))?
        .collect();
    let strange = addresses.iter().find(|address| !address.ip().is_loopback());
    if let Some(strange) = strange {
        bail!(
            "{} is not a loopback address: only servers of this machine are loaded",
            strange.ip()
        );
    }
    addresses
        .first()
        .copied()
        .with_context(|| format!("`{host}` has no address"))
}

/// A secret for this run: 32 random bytes in hexadecimal.
fn random_secret() -> Result<String> {
    let mut bytes = [0_u8; 32];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    ensure!(filled == bytes.len(), "the kernel gave too few random bytes");
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_in_plain_and_structured_lines() {
        assert_eq!(port_in("listening on http://127.0.0.1:4100"), Some(4100));
        assert_eq!(
            port_in("INFO parlance: listening on http://[::]:4101, tenant x"),
            Some(4101)
        );
        assert_eq!(
            port_in(r#"{"message":"listening on http://0.0.0.0:4102","n":1}"#),
            Some(4102)
        );
        assert_eq!(port_in("connected to redis:6379"), None);
    }

    #[test]
    fn only_servers_of_this_machine_are_loaded() {
        assert!(loopback("http://127.0.0.1:3000").is_ok());
        assert!(loopback("http://localhost:3000").is_ok());
        assert!(loopback("http://[::1]:3000").is_ok());
        for foreign in ["http://192.0.2.1:3000", "http://0.0.0.0:3000", "http://[2001:db8::1]/"] {
            assert!(loopback(foreign).is_err(), "{foreign}");
        }
    }
}
