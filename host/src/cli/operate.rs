//! The operators' commands, which use the admin API. Those about handlers and tenants are here; those about logs,
//! handlers' requests, tokens and the audit log are in the modules below.

mod logs;
pub mod people;
pub mod requests;
mod tokens;

use std::collections::BTreeMap;
use std::future::ready;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::{Stream, TryStreamExt as _};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::Failure;
use super::admin_client::{AdminClient, ServerArgs, problem_error};
use super::oci::{self, Source};
use super::operate_args::{
    CanaryArgs, DeployArgs, PromoteArgs, RemoveArgs, RollbackArgs, TenantsArgs, TenantsCommand, VersionsArgs,
};
use super::project;
use super::table::{Table, ago};
use crate::config::Environment;
use crate::control::api::{DeployStep, HandlerView, TenantView, UsageView, VersionView};
use parlance_types::text::escape;

/// The handler of a command that names none: the only one, or the only one with a canary.
fn default_handler(all: &[HandlerView], verb: &str) -> Result<String, String> {
    let with_canary: Vec<_> = all.iter().filter(|handler| handler.canary.is_some()).collect();
    match (all, with_canary.as_slice()) {
        ([], _) => Err("there is no deployed handler".to_owned()),
        ([one], _) => Ok(one.name.clone()),
        (_, [one]) => Ok(one.name.clone()),
        (_, []) if verb != "rollback" => Err("no deployed handler has a canary".to_owned()),
        _ => {
            let names: Vec<_> = all.iter().map(|handler| handler.name.as_str()).collect();
            Err(format!("name a handler; deployed are: {}", names.join(", ")))
        }
    }
}

/// The events of a version, with the patterns of its custom events: `message event(poll-*,vote)`.
fn events(version: &VersionView) -> String {
    let shown = version.events.iter().map(|event| match event.as_str() {
        "event" if !version.event_patterns.is_empty() => format!("event({})", version.event_patterns.join(",")),
        _ => event.clone(),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// The longest line of an answer, in bytes: several times a handler with all its versions.
const LINE_BYTES: usize = 16 * 1024 * 1024;
/// How often a note says what is waited for.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

/// The output of a command, and the environment.
pub struct Terminal<'a> {
    /// The variables of the process.
    pub env: &'a Environment,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error, for progress.
    pub notes: &'a mut dyn Write,
}

impl Terminal<'_> {
    pub(super) fn client(&self, args: &ServerArgs) -> Result<AdminClient, Failure> {
        AdminClient::new(args, self.env)
    }

    /// Prints text for people, escaped: text from others must not move the cursor, nor show lines in another order.
    pub(super) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{}", escape::lines(&text.to_string())).context("standard output")?)
    }

    pub(super) fn note(&mut self, text: impl std::fmt::Display) {
        // A note that cannot be written is not a failure.
        let _ = writeln!(self.notes, "{}", escape::lines(&text.to_string()));
    }

    pub(super) fn json<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        self.json_text(&serde_json::to_string_pretty(value).context("the answer")?)
    }

    fn json_text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{}", escape::json(text)).context("standard output")?)
    }

    /// `parlance deploy`
    ///
    /// # Errors
    /// Why it was not deployed; then nothing has changed.
    pub async fn deploy(&mut self, args: &DeployArgs) -> Result<(), Failure> {
        let (bytes, name, note) = match &args.component {
            Source::File(path) => {
                let file = project::component(path, false)?;
                let bytes = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
                (bytes, handler_name(&file), args.note.clone())
            }
            Source::Registry(address) => {
                let fetched = oci::fetch(address, &args.registry, self.env).await?;
                self.note(format_args!("{address} is {}", fetched.pinned));
                let note = match &args.note {
                    Some(note) => format!("{note} ({})", fetched.pinned),
                    None => fetched.pinned.to_string(),
                };
                (fetched.bytes, handler_name(Path::new(address.short_name())), Some(note))
            }
        };
        let handler = args.handler.clone().unwrap_or(name);
        let client = self.client(&args.server)?;
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(args.canary.map(|percent| ("canary", percent.to_string())));
        query.extend(note.map(|note| ("note", note)));
        query.extend(args.isolation.clone().map(|mode| ("isolation", mode)));
        query.extend(args.isolation_level.clone().map(|level| ("isolationLevel", level)));
        if let Some(events) = &args.events {
            query.push(("events", serde_json::to_string(events).context("the events")?));
        }
        query.extend(args.backtest.map(|last| ("backtest", last.to_string())));
        query.extend(
            args.allow_differences
                .map(|percent| ("allowDifferences", percent.to_string())),
        );
        if !args.settings.is_empty() {
            let settings: BTreeMap<_, _> = args.settings.iter().cloned().collect();
            query.push(("settings", serde_json::to_string(&settings).context("the settings")?));
        }
        let path = ["tenants", &args.tenant.tenant, "handlers", &handler, "versions"];
        self.note(format_args!("sending {} bytes to {}", bytes.len(), args.server.server));
        let request = client
            .request(Method::POST, &path)?
            .query(&query)
            .header("content-type", "application/wasm")
            .header("accept", "application/x-ndjson")
            .body(bytes);
        let mut doing = "sending";
        let response = self.with_progress(doing, client.send(request)).await?;
        let mut answer = lines(response);
        while let Some(line) = self.with_progress(doing, answer.try_next()).await? {
            let value: Value = serde_json::from_str(&line).context("the server's answer cannot be read")?;
            if let Some(problem) = value.get("problem") {
                let detail = problem.get("detail").and_then(Value::as_str);
                let detail = detail.unwrap_or("it was refused");
                let problems = problem.get("problems").cloned().unwrap_or_else(|| json!([]));
                let problems: Vec<String> = serde_json::from_value(problems).unwrap_or_default();
                return Err(problem_error(detail, &problems).into());
            }
            if let Some(view) = value.get("handler") {
                let view: HandlerView = serde_json::from_value(view.clone()).context("the server's answer")?;
                if let Some(warning) = lost_events(&view) {
                    self.note(warning);
                }
                if args.server.json {
                    return self.json(&view);
                }
                return self.versions_table(&[view]);
            }
            if let Ok(step) = serde_json::from_value::<DeployStep>(value) {
                self.note(describe(&step));
                doing = match step {
                    DeployStep::Compiling => "compiling and checking; the server compiles two components at a time",
                    _ => "waiting for the server",
                };
            }
        }
        Err(anyhow::anyhow!("the server's answer ended before the deployment; check with `parlance versions`").into())
    }

    /// Waits for some work, with a note now and then while it lasts.
    pub(super) async fn with_progress<T>(&mut self, doing: &str, work: impl Future<Output = T>) -> T {
        let (began, mut work) = (Instant::now(), std::pin::pin!(work));
        loop {
            if let Ok(done) = tokio::time::timeout(PROGRESS_INTERVAL, &mut work).await {
                return done;
            }
            self.note(format_args!("still {doing} ({} s)", began.elapsed().as_secs()));
        }
    }

    /// `parlance promote`
    ///
    /// # Errors
    /// Why nothing was promoted.
    pub async fn promote(&mut self, args: &PromoteArgs) -> Result<(), Failure> {
        self.change_version(args, "promote", None).await
    }

    /// `parlance rollback`
    ///
    /// # Errors
    /// Why nothing was rolled back.
    pub async fn rollback(&mut self, args: &RollbackArgs) -> Result<(), Failure> {
        self.change_version(&args.which, "rollback", Some(json!({ "to": args.to })))
            .await
    }

    /// `parlance canary`
    ///
    /// # Errors
    /// Why the share was not changed.
    pub async fn canary(&mut self, args: &CanaryArgs) -> Result<(), Failure> {
        self.change_version(&args.which, "canary", Some(json!({ "percent": args.percent })))
            .await
    }

    /// `parlance remove`
    ///
    /// # Errors
    /// Why nothing was removed.
    pub async fn remove(&mut self, args: &RemoveArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let path = ["tenants", &args.tenant.tenant, "handlers", &args.handler];
        client.send(client.request(Method::DELETE, &path)?).await?;
        if args.server.json {
            return self.json(&json!({ "removed": args.handler }));
        }
        self.line(format_args!(
            "removed {} with its versions; the configured handlers handle its events",
            args.handler
        ))
    }

    async fn change_version(&mut self, args: &PromoteArgs, verb: &str, body: Option<Value>) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let tenant = &args.tenant.tenant;
        let handler = match &args.handler {
            Some(name) => name.clone(),
            None => {
                let all: Vec<HandlerView> = client
                    .ask(client.request(Method::GET, &["tenants", tenant, "handlers"])?)
                    .await?;
                default_handler(&all, verb).map_err(|why| Failure::Usage(format!("{why} (tenant {tenant})")))?
            }
        };
        let mut request = client.request(Method::POST, &["tenants", tenant, "handlers", &handler, verb])?;
        if let Some(body) = body {
            request = request.json(&body);
        }
        let view: HandlerView = client.ask(request).await?;
        if args.server.json {
            return self.json(&view);
        }
        self.versions_table(&[view])
    }

    /// `parlance versions`
    ///
    /// # Errors
    /// Why they cannot be shown.
    pub async fn versions(&mut self, args: &VersionsArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let request = client.request(Method::GET, &["tenants", &args.tenant.tenant, "handlers"])?;
        let all: Vec<HandlerView> = client.ask(request).await?;
        if args.server.json {
            return self.json(&all);
        }
        if all.is_empty() {
            return self.line("nothing is deployed; the configured handlers handle all events");
        }
        self.versions_table(&all)
    }

    fn versions_table(&mut self, handlers: &[HandlerView]) -> Result<(), Failure> {
        let mut table = Table::new(&[
            "HANDLER", "VERSION", "STATE", "EVENTS", "HANDLED", "FAILED", "DEPLOYED", "BY", "NOTE",
        ]);
        for handler in handlers {
            for version in &handler.versions {
                let state = match &handler.canary {
                    Some(canary) if canary.version == version.version => format!("canary {}%", canary.percent),
                    _ => version.state.clone(),
                };
                table.row(&[
                    &handler.name,
                    &version.version.to_string(),
                    &state,
                    &events(version),
                    &version.events_handled.to_string(),
                    &version.events_failed.to_string(),
                    &ago(version.deployed_at),
                    &version.deployed_by,
                    version
                        .failed
                        .as_ref()
                        .or(version.note.as_ref())
                        .map_or("", String::as_str),
                ]);
            }
        }
        self.line(table)?;
        self.note("HANDLED and FAILED count the events of the node that was asked, since it loaded the version");
        Ok(())
    }

    /// `parlance tenants`
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn tenants(&mut self, args: &TenantsArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let json = args.server.json;
        let one = match args.command.as_ref().unwrap_or(&TenantsCommand::List) {
            TenantsCommand::List => {
                let all: Vec<TenantView> = client.ask(client.request(Method::GET, &["tenants"])?).await?;
                return if json {
                    self.json(&all)
                } else {
                    self.tenants_table(&all)
                };
            }
            TenantsCommand::Show { name } => {
                let tenant: TenantView = client.ask(client.request(Method::GET, &["tenants", name])?).await?;
                let usage = client.request(Method::GET, &["tenants", name, "usage"])?;
                // A tenant that is not served has no usage.
                return match client.ask::<UsageView>(usage).await {
                    Ok(usage) => self.json(&json!({ "tenant": tenant, "usage": usage })),
                    Err(why) => self.json(&json!({ "tenant": tenant, "usage": null, "usageProblem": why.to_string() })),
                };
            }
            TenantsCommand::Create { name, file } => {
                let body = json!({ "name": name, "configuration": document(file)? });
                client
                    .ask(client.request(Method::POST, &["tenants"])?.json(&body))
                    .await?
            }
            TenantsCommand::Set { name, file } => {
                let request = client.request(Method::PUT, &["tenants", name])?.json(&document(file)?);
                client.ask(request).await?
            }
            TenantsCommand::Suspend { name } => {
                client
                    .ask(client.request(Method::POST, &["tenants", name, "suspend"])?)
                    .await?
            }
            TenantsCommand::Resume { name } => {
                client
                    .ask(client.request(Method::POST, &["tenants", name, "resume"])?)
                    .await?
            }
            TenantsCommand::Delete { name, data } => {
                let request = client
                    .request(Method::DELETE, &["tenants", name])?
                    .query(&[("data", data)]);
                let answer = client.send(request).await?;
                if json {
                    let being_removed = answer.status() == StatusCode::ACCEPTED;
                    return self.json(&json!({ "deleted": name, "data": data, "dataBeingRemoved": being_removed }));
                }
                let what = match (*data, answer.status()) {
                    (true, StatusCode::ACCEPTED) => {
                        "; its data is still being removed, and until then no tenant of that name can be created"
                    }
                    (true, _) => " with its data",
                    (false, _) => "",
                };
                return self.line(format_args!("deleted {name}{what}"));
            }
        };
        let one: TenantView = one;
        if json {
            self.json(&one)
        } else {
            self.tenants_table(&[one])
        }
    }

    fn tenants_table(&mut self, tenants: &[TenantView]) -> Result<(), Failure> {
        let mut table = Table::new(&["TENANT", "NAMESPACE", "STATE", "CONNECTIONS", "DEFINED IN"]);
        for tenant in tenants {
            table.row(&[
                &tenant.name,
                &tenant.namespace,
                state(tenant),
                &tenant.connections.to_string(),
                match tenant.source {
                    crate::control::api::Source::File => "file",
                    crate::control::api::Source::Store => "store",
                },
            ]);
        }
        self.line(table)?;
        for tenant in tenants {
            if let Some(problem) = &tenant.problem {
                self.note(format_args!("{}: {problem}", tenant.name));
            }
            if let Some(warning) = &tenant.warning {
                self.note(format_args!("warning: {}: {warning}", tenant.name));
            }
        }
        Ok(())
    }
}

fn state(tenant: &TenantView) -> &'static str {
    match tenant {
        TenantView { served: false, .. } => "not served",
        TenantView { suspended: true, .. } => "suspended",
        // It is served with its configuration before.
        TenantView { problem: Some(_), .. } => "not as configured",
        _ => "served",
    }
}

fn describe(step: &DeployStep) -> String {
    match step {
        DeployStep::Received { size, sha256 } => {
            let short = sha256.get(..12).unwrap_or_default();
            format!("received {size} bytes, sha256 {short}…")
        }
        DeployStep::Compiling => "compiling and checking".to_owned(),
        DeployStep::Backtesting => "running recorded events on it".to_owned(),
        DeployStep::Storing => "storing".to_owned(),
        DeployStep::Activating => "activating".to_owned(),
        DeployStep::Done { version } => format!("version {version} is in service"),
    }
}

/// What to say if the newest version does not handle events that the one before did: an export may have been lost.
pub(super) fn lost_events(view: &HandlerView) -> Option<String> {
    let [newest, before, ..] = &*view.versions else {
        return None;
    };
    let lost = before.events.iter().filter(|event| !newest.events.contains(event));
    let lost: Vec<&str> = lost.map(String::as_str).collect();
    (!lost.is_empty()).then(|| {
        format!(
            "warning: version {} does not handle {} events, as version {} did; they go to the tenant's configured handler, \
             if there is one",
            newest.version,
            lost.join(", "),
            before.version
        )
    })
}

/// The handler's name from a file's name: lower case, with `-` for `_`.
pub(super) fn handler_name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.to_lowercase().replace('_', "-")
}

fn document(file: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    if file.extension().is_some_and(|extension| extension == "json") {
        let value = serde_json::from_str(&text);
        return value.map_err(|error| Failure::Usage(format!("{}: {error}", file.display())));
    }
    crate::config::to_json(&text).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

/// The lines of an answer as they arrive, without empty ones, which only keep the connection alive.
fn lines(response: reqwest::Response) -> impl Stream<Item = Result<String, Failure>> + Unpin {
    let bytes = StreamReader::new(response.bytes_stream().map_err(io::Error::other));
    let lines = FramedRead::new(bytes, LinesCodec::new_with_max_length(LINE_BYTES));
    let lines =
        lines.map_err(|error| Failure::from(anyhow::Error::new(error).context("the server's answer was cut off")));
    Box::pin(lines.try_filter(|line| ready(!line.is_empty())))
}
