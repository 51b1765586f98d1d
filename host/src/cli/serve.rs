//! `parlance serve`, and the process of a server.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_log::{AsLog as _, LogTracer};
use tracing_subscriber::EnvFilter;

use super::{Failure, ServeArgs};
use crate::app::{self, Development};
use crate::config::{Config, Environment, LogFormat, no_key_help};
use crate::descriptors;
use parlance_types::text::escape::{Escaping, Style};

/// Runs the server until a signal stops it.
///
/// # Errors
/// The configuration is wrong, or why the server could not start.
pub fn serve(args: &ServeArgs, env: &Environment) -> Result<(), Failure> {
    let config = Config::load(args.config.path.as_deref(), env)?;
    if !config.default_tenant.auth.has_keys() {
        return Err(Failure::Usage(no_key_help()));
    }
    run(config, None)
}

/// Runs a server until a signal stops it.
pub(super) fn run(config: Config, development: Option<Development>) -> Result<(), Failure> {
    // Threads inherit this, so it comes before there is any other.
    let slices = parlance_scheduler::request_short_time_slices();
    let descriptors = descriptors::raise();
    let log = log_to_stderr(&config)?;
    if let Err(error) = slices {
        tracing::debug!(%error, "the kernel gives no short time slices");
    }
    if let Err(error) = descriptors {
        tracing::warn!(%error, "the limit of file descriptors (ulimit -n) could not be raised");
    }
    let runtime = Runtime::new().context("the threads of the server could not be started")?;
    let reporting = AbortOnDropHandle::new(runtime.spawn(report_lost_lines(log.lost)));
    let result = runtime.block_on(app::run(config, development));
    drop(reporting);
    // Blocking threads may still run; the data is safe by now.
    runtime.shutdown_background();
    // Writes what was logged last, before `main` prints why the process ends.
    drop(log.writer);
    Ok(result?)
}

/// Lines of the log that may wait to be written. Logging never waits: further lines are dropped and counted.
const LOG_LINES: usize = 8192;
/// How often dropped lines are reported.
const LOST_LINES_INTERVAL: Duration = Duration::from_secs(5);

/// The log. A thread of its own writes it, so that a slow reader of standard error delays nothing else.
struct Log {
    /// Writes the waiting lines when it is dropped.
    writer: WorkerGuard,
    lost: ErrorCounter,
}

/// Logs how many lines were dropped, whenever there are more of them.
async fn report_lost_lines(lost: ErrorCounter) {
    let mut said = 0;
    loop {
        tokio::time::sleep(LOST_LINES_INTERVAL).await;
        let lines = lost.dropped_lines();
        if lines > said {
            tracing::warn!(
                lines = lines.saturating_sub(said),
                "lines of the log were dropped: standard error is read too slowly"
            );
            said = lines;
        }
    }
}

/// Receives what libraries log through the crate `log`. Drops the names of their source files, which are paths of the
/// machine that built the server.
struct LogCrate(LogTracer);

impl log::Log for LogCrate {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut without = log::Record::builder();
        without
            .metadata(record.metadata().clone())
            .args(*record.args())
            .module_path(record.module_path());
        self.0.log(&without.build());
    }

    fn flush(&self) {
        self.0.flush();
    }
}

fn install_log_crate() -> anyhow::Result<()> {
    log::set_boxed_logger(Box::new(LogCrate(LogTracer::new())))?;
    log::set_max_level(LevelFilter::current().as_log());
    Ok(())
}

fn log_to_stderr(config: &Config) -> Result<Log, Failure> {
    // What the library of migrations says of its transactions at each start concerns nobody, unless it is asked for.
    let filter = format!("refinery_core=warn,{}", config.log.level);
    let filter = EnvFilter::try_new(filter).context("log.level")?;
    let (lines, writer) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LOG_LINES)
        .thread_name("log")
        .finish(std::io::stderr());
    let lost = lines.error_counter();
    let style = match config.log.format {
        LogFormat::Json => Style::Json,
        LogFormat::Text => Style::Text,
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Escaping::new(lines.clone(), style));
    let set = match config.log.format {
        LogFormat::Json => set_global_default(log.json().flatten_event(true).finish()),
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            set_global_default(log.with_ansi(colours).with_target(false).finish())
        }
    };
    let set = set.map_err(anyhow::Error::from).and_then(|()| install_log_crate());
    // Only tests set up a second subscriber in one process.
    if let Err(error) = set {
        let _ = writeln!(std::io::stderr(), "the log was set up before: {error}");
    }
    Ok(Log { writer, lost })
}
