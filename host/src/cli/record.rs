//! `parlance record`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use reqwest::{Method, Response};

use super::Failure;
use super::admin_client::{AdminClient, ServerArgs};
use super::operate::Terminal;
use super::operate_args::TenantArg;
use crate::control::api::{RecordingRequest, RecordingView};

/// `parlance record`.
#[derive(Debug, Args)]
#[command(after_help = "\
Records what handlers see and do, until N events are recorded, an hour has passed (quota.recording_time), or Ctrl-C.
The node that is asked records its own events, and keeps the newest of them in memory (quota.recording_bytes), for
`parlance backtest`. Tokens and secrets are never recorded. Message text is masked unless --with-content is given; then
the file is as confidential as the messages.

Examples:
  parlance record --tenant acme --limit 100 -o events.ndjson
  parlance record --tenant acme --handler moderation --traps --limit 5 --with-content -o traps.ndjson
  parlance record --tenant acme --percent 10 --limit 10000 --detach
  parlance record --tenant acme --stop")]
pub struct RecordArgs {
    /// The tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// Only events of this handler.
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    /// Only this share of the events, such as 10%.
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "traps")]
    pub percent: Option<u8>,
    /// Only events whose handler was stopped.
    #[arg(long)]
    pub traps: bool,
    /// Events after which the recording ends: 1 to 1,000,000.
    #[arg(long, value_name = "N", required_unless_present_any = ["stop", "delete"])]
    pub limit: Option<u64>,
    /// Record message text as it is.
    #[arg(long)]
    pub with_content: bool,
    /// The file to write [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Begin the recording and return; the events stay on the server.
    #[arg(long, conflicts_with = "output")]
    pub detach: bool,
    /// End the recording that is under way; its events stay on the server.
    #[arg(long, conflicts_with_all = ["handler", "percent", "traps", "limit", "with_content", "output", "detach"])]
    pub stop: bool,
    /// End the recording and drop its events.
    #[arg(long, conflicts_with_all = ["handler", "percent", "traps", "limit", "with_content", "output", "detach", "stop"])]
    pub delete: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent = number.parse().ok().filter(|percent| (1..=100).contains(percent));
    percent.ok_or_else(|| "must be from 1% to 100%".to_owned())
}

impl Terminal<'_> {
    /// `parlance record`
    ///
    /// # Errors
    /// Why nothing is recorded, or the file is not complete.
    pub async fn record(&mut self, args: &RecordArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let path = ["tenants", args.tenant.tenant.as_str(), "recording"];
        if args.delete {
            client.send(client.request(Method::DELETE, &path)?).await?;
            return self.line("the recording was deleted");
        }
        if args.stop {
            let view = stop(&client, &path).await?;
            return self.recording(args, &view);
        }
        // Before anything is recorded, since the file may be in a directory that is not there.
        let mut to: Box<dyn Write> = match &args.output {
            Some(file) => Box::new(create(file)?),
            None => Box::new(io::stdout()),
        };
        let request = RecordingRequest {
            handler: args.handler.clone(),
            percent: args.percent.map(Into::into),
            traps: args.traps,
            limit: args.limit,
            with_content: args.with_content,
        };
        let view: RecordingView = client.ask(client.request(Method::POST, &path)?.json(&request)).await?;
        if args.detach {
            return self.recording(args, &view);
        }
        self.note(format_args!(
            "recording on the node at {}; stop with Ctrl-C",
            args.server.server
        ));
        let events: Vec<&str> = path.iter().copied().chain(["events"]).collect();
        let request = client.request(Method::GET, &events)?.query(&[("follow", "true")]);
        let copying = copy(client.send(request).await?, &mut to);
        let mut copying = std::pin::pin!(copying);
        tokio::select! {
            copied = &mut copying => copied?,
            _ = tokio::signal::ctrl_c() => {
                // The server ends the stream then.
                stop(&client, &path).await?;
                copying.await?;
            }
        }
        let view: RecordingView = client.ask(client.request(Method::GET, &path)?).await?;
        self.note(summary(&view));
        Ok(())
    }

    fn recording(&mut self, args: &RecordArgs, view: &RecordingView) -> Result<(), Failure> {
        if args.server.json {
            return self.json(view);
        }
        self.line(summary(view))
    }
}

async fn stop(client: &AdminClient, path: &[&str]) -> Result<RecordingView, Failure> {
    let path: Vec<&str> = path.iter().copied().chain(["stop"]).collect();
    client.ask(client.request(Method::POST, &path)?).await
}

fn summary(view: &RecordingView) -> String {
    let state = if view.on { "recording" } else { "ended" };
    let mut text = format!(
        "{state}: {} of {} events; the server keeps {} of them, {} bytes",
        view.recorded, view.limit, view.kept, view.bytes
    );
    if view.left_out > 0 {
        text.push_str(&format!(
            "; {} were not recorded, because they were too many in a second or too large",
            view.left_out
        ));
    }
    text
}

/// Creates the file, which its owner alone may read.
fn create(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    Ok(file.with_context(|| format!("{} cannot be written", path.display()))?)
}

async fn copy(mut answer: Response, to: &mut dyn Write) -> Result<(), Failure> {
    while let Some(part) = answer.chunk().await.context("the server's answer was cut off")? {
        // Empty lines only keep the connection alive.
        if &*part != b"\n" {
            to.write_all(&part).context("the recording")?;
        }
    }
    Ok(to.flush().context("the recording")?)
}
