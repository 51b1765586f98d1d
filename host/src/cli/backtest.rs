//! `parlance backtest COMPONENT`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use reqwest::Method;

use super::Failure;
use super::admin_client::ServerArgs;
use super::operate::{Terminal, handler_name};
use super::operate_args::{TenantArg, share};
use super::replay;
use crate::control::api::BacktestView;
use parlance_handler::recording::{Compared, Group, Report};

/// `parlance backtest`.
#[derive(Debug, Args)]
#[command(after_help = "\
Runs recorded events on a component that may be deployed, and shows what it does otherwise than the version that
handled them: posts, emits, keys, replies, refusals, traps, logs and requests. Nothing is deployed and no client notices.
The events are those that `parlance record` keeps on the node of --server, or those of a file.

Exit codes: 0 when no more events differ than are allowed, 1 when more do, 2 for a wrong command line.

Examples:
  parlance backtest moderation.wasm --tenant acme --last 10000
  parlance backtest moderation.wasm --tenant acme --allow-differences 2% --json
  parlance backtest moderation.wasm --from events.ndjson")]
pub struct BacktestArgs {
    /// The component, a .wasm file.
    #[arg(value_name = "COMPONENT")]
    pub component: PathBuf,
    /// The tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The handler whose events are run [default: the file's name; with --from, all that the component handles].
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    /// The newest so many recorded events: 1 to 100,000.
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "from")]
    pub last: u64,
    /// A file that `parlance record` has written, in place of a server.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// The share of events that may differ.
    #[arg(long, value_name = "PERCENT", value_parser = share, default_value = "0%")]
    pub allow_differences: f64,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

impl Terminal<'_> {
    /// `parlance backtest`
    ///
    /// # Errors
    /// When more events differ than are allowed, or why none were run.
    pub async fn backtest(&mut self, args: &BacktestArgs) -> Result<(), Failure> {
        let report = match &args.from {
            Some(file) => {
                let handler = args.handler.as_deref();
                replay::report(file, &args.component, handler).await?
            }
            None => self.server_backtest(args).await?,
        };
        if args.server.json {
            self.json(&report)?;
        } else {
            self.line(describe(&report))?;
        }
        let percent = report.different_percent();
        if report.events == 0 {
            return Err(Failure::Usage(
                "the component handles none of the recorded events; name the handler with --handler".to_owned(),
            ));
        }
        if percent > args.allow_differences {
            return Err(anyhow::anyhow!(
                "{percent:.1}% of the events differ; at most {}% may (--allow-differences)",
                args.allow_differences
            )
            .into());
        }
        Ok(())
    }

    async fn server_backtest(&mut self, args: &BacktestArgs) -> Result<Report, Failure> {
        let path = args.component.display();
        let bytes = std::fs::read(&args.component).with_context(|| format!("{path} cannot be read"))?;
        let handler = match &args.handler {
            Some(name) => name.clone(),
            None => handler_name(&args.component),
        };
        let client = self.client(&args.server)?;
        let path = ["tenants", &args.tenant.tenant, "handlers", &handler, "backtest"];
        let request = client
            .request(Method::POST, &path)?
            .query(&[("last", args.last)])
            .header("content-type", "application/wasm")
            .body(bytes);
        let view: BacktestView = self
            .with_progress("compiling and running the events", client.ask(request))
            .await?;
        Ok(
            serde_json::from_value(view.report)
                .context("the server's answer cannot be read; is it another release?")?,
        )
    }
}

/// Most characters of a value that are shown.
const SHOWN: usize = 400;

/// A report, for people.
fn describe(report: &Report) -> String {
    let mut text = format!(
        "{} events: {} the same, {} differ ({:.1}%)",
        report.events,
        report.same,
        report.different,
        report.different_percent()
    );
    if report.unhandled > 0 {
        text.push_str(&format!("; {} more are not handled by the component", report.unhandled));
    }
    if report.different_in_used_instances > 0 {
        text.push_str(&format!(
            "\n{} of those that differ were recorded in a warm instance, whose memory a recording does not have",
            report.different_in_used_instances
        ));
    }
    let counts = |name: &str, compared: Compared, unit: &str| {
        format!(
            "\n{name:<12} recorded {}{unit}, now {}{unit}",
            compared.recorded, compared.replayed
        )
    };
    text.push_str(&counts("traps", report.traps, ""));
    text.push_str(&counts("refusals", report.refusals, ""));
    text.push_str(&counts("cpu p50", report.cpu_us_p50, " µs"));
    text.push_str(&counts("cpu p99", report.cpu_us_p99, " µs"));
    text.push_str(&counts("memory max", report.memory_max, " bytes"));
    for group in Group::ALL {
        let Some(found) = report.groups.get(group.name()) else {
            continue;
        };
        let note = if group.is_behaviour() {
            ""
        } else {
            ", which alone changes nothing"
        };
        text.push_str(&format!("\n{}: {} events{note}", group.name(), found.events));
        for example in found.examples.iter().filter(|_| group.is_behaviour()) {
            let (recorded, now) = (cut(&example.expected.to_string()), cut(&example.actual.to_string()));
            text.push_str(&format!(
                "\n  event {}, {}\n    recorded: {recorded}\n    now:      {now}",
                example.event, example.field
            ));
        }
    }
    text
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
