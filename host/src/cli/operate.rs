//! The operators' commands: `deploy`, `promote`, `rollback`, `versions`, `logs`, `tenants`, `revoke`, `audit`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::Failure;
use super::operate_args::{
    AuditArgs, DeployArgs, LogsArgs, PromoteArgs, RevokeArgs, RollbackArgs, TenantsArgs, TenantsCommand, VersionsArgs,
};
use super::remote::{Remote, ServerArgs, said};
use super::table::{Table, ago};
use crate::control::view::{AuditView, DeployStep, HandlerView, RevocationView, TenantView, UsageView};
use crate::logs::LogLine;

/// Where a command's output goes and where the environment comes from.
pub struct Terminal<'a, E> {
    /// Gives the value of a variable.
    pub env: &'a E,
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error, for progress.
    pub notes: &'a mut dyn Write,
}

impl<E: Fn(&str) -> Option<String>> Terminal<'_, E> {
    fn remote(&self, args: &ServerArgs) -> Result<Remote, Failure> {
        Remote::new(args, self.env)
    }

    fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{text}").context("standard output")?)
    }

    fn note(&mut self, text: impl std::fmt::Display) {
        // A note that nobody can read is no failure.
        let _ = writeln!(self.notes, "{text}");
    }

    fn json<T: Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).context("the answer")?;
        self.line(text)
    }

    /// `parlance deploy`
    ///
    /// # Errors
    /// Why it was not deployed; then nothing has changed.
    pub async fn deploy(&mut self, args: &DeployArgs) -> Result<(), Failure> {
        let bytes = std::fs::read(&args.file).with_context(|| format!("{} cannot be read", args.file.display()))?;
        let handler = match &args.handler {
            Some(name) => name.clone(),
            None => name_of(&args.file),
        };
        let remote = self.remote(&args.server)?;
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(args.canary.map(|percent| ("canary", percent.to_string())));
        query.extend(args.note.clone().map(|note| ("note", note)));
        query.extend(args.isolation.clone().map(|mode| ("isolation", mode)));
        if !args.settings.is_empty() {
            let settings: BTreeMap<_, _> = args.settings.iter().cloned().collect();
            query.push(("settings", serde_json::to_string(&settings).context("the settings")?));
        }
        let path = ["tenants", &args.tenant.tenant, "handlers", &handler, "versions"];
        let request = remote
            .request(Method::POST, &path)?
            .query(&query)
            .header("content-type", "application/wasm")
            .header("accept", "application/x-ndjson")
            .body(bytes);
        let mut answer = Lines::new(remote.send(request).await?);
        while let Some(line) = answer.next().await? {
            let value: Value = serde_json::from_str(&line).context("the server's answer cannot be read")?;
            if let Some(problem) = value.get("problem") {
                let title = problem.get("title").and_then(Value::as_str).unwrap_or("it was refused");
                let problems = problem.get("problems").cloned().unwrap_or_else(|| json!([]));
                let problems: Vec<String> = serde_json::from_value(problems).unwrap_or_default();
                return Err(said(title, &problems).into());
            }
            if let Some(view) = value.get("handler") {
                let view: HandlerView = serde_json::from_value(view.clone()).context("the server's answer")?;
                if args.server.json {
                    return self.json(&view);
                }
                return self.versions_table(&[view]);
            }
            if let Ok(step) = serde_json::from_value::<DeployStep>(value) {
                self.note(words(&step));
            }
        }
        Err(anyhow::anyhow!("the server ended the answer before the deployment did; see `parlance versions`").into())
    }

    /// `parlance promote`
    ///
    /// # Errors
    /// Why nothing was promoted.
    pub async fn promote(&mut self, args: &PromoteArgs) -> Result<(), Failure> {
        self.choose(args, "promote", None).await
    }

    /// `parlance rollback`
    ///
    /// # Errors
    /// Why nothing was rolled back.
    pub async fn rollback(&mut self, args: &RollbackArgs) -> Result<(), Failure> {
        self.choose(&args.which, "rollback", Some(json!({ "to": args.to })))
            .await
    }

    async fn choose(&mut self, args: &PromoteArgs, verb: &str, body: Option<Value>) -> Result<(), Failure> {
        let remote = self.remote(&args.server)?;
        let tenant = &args.tenant.tenant;
        let handler = match &args.handler {
            Some(name) => name.clone(),
            None => {
                let all: Vec<HandlerView> = remote
                    .ask(remote.request(Method::GET, &["tenants", tenant, "handlers"])?)
                    .await?;
                match all.as_slice() {
                    [one] => one.name.clone(),
                    [] => return Err(Failure::Usage(format!("the tenant {tenant} has no deployed handler"))),
                    many => {
                        let names: Vec<_> = many.iter().map(|handler| handler.name.as_str()).collect();
                        return Err(Failure::Usage(format!(
                            "which handler? deployed are: {}",
                            names.join(", ")
                        )));
                    }
                }
            }
        };
        let mut request = remote.request(Method::POST, &["tenants", tenant, "handlers", &handler, verb])?;
        if let Some(body) = body {
            request = request.json(&body);
        }
        let view: HandlerView = remote.ask(request).await?;
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
        let remote = self.remote(&args.server)?;
        let request = remote.request(Method::GET, &["tenants", &args.tenant.tenant, "handlers"])?;
        let all: Vec<HandlerView> = remote.ask(request).await?;
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
                    &version.events.join(" "),
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
        self.line(table)
    }

    /// `parlance logs`
    ///
    /// # Errors
    /// Why they cannot be shown.
    pub async fn logs(&mut self, args: &LogsArgs) -> Result<(), Failure> {
        if !args.follow {
            return Err(Failure::Usage(
                "the server keeps no old lines: use `parlance logs -f`, or look into the server's own log".to_owned(),
            ));
        }
        let remote = self.remote(&args.server)?;
        let mut query = vec![("level", args.level.clone())];
        query.extend(args.tenant.clone().map(|tenant| ("tenant", tenant)));
        query.extend(args.handler.clone().map(|handler| ("handler", handler)));
        let request = remote.request(Method::GET, &["logs"])?.query(&query);
        let mut lines = Lines::new(remote.send(request).await?);
        self.note("following; end with Ctrl-C");
        while let Some(line) = lines.next().await? {
            if args.server.json {
                self.line(line)?;
                continue;
            }
            match serde_json::from_str::<LogLine>(&line) {
                Ok(line) => {
                    let LogLine {
                        tenant,
                        handler,
                        version,
                        event,
                        level,
                        text,
                        ..
                    } = &line;
                    let version = if *version == 0 {
                        String::new()
                    } else {
                        format!("@{version}")
                    };
                    self.line(format_args!("{level:<5} {tenant}/{handler}{version} {event}: {text}"))?;
                }
                Err(_) => self.note(line),
            }
        }
        Ok(())
    }

    /// `parlance tenants`
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn tenants(&mut self, args: &TenantsArgs) -> Result<(), Failure> {
        let remote = self.remote(&args.server)?;
        let json = args.server.json;
        let one = match args.command.as_ref().unwrap_or(&TenantsCommand::List) {
            TenantsCommand::List => {
                let all: Vec<TenantView> = remote.ask(remote.request(Method::GET, &["tenants"])?).await?;
                return if json {
                    self.json(&all)
                } else {
                    self.tenants_table(&all)
                };
            }
            TenantsCommand::Show { name } => {
                let tenant: TenantView = remote.ask(remote.request(Method::GET, &["tenants", name])?).await?;
                let usage: UsageView = remote
                    .ask(remote.request(Method::GET, &["tenants", name, "usage"])?)
                    .await?;
                return self.json(&json!({ "tenant": tenant, "usage": usage }));
            }
            TenantsCommand::Create { name, file } => {
                let body = json!({ "name": name, "configuration": document(file)? });
                remote
                    .ask(remote.request(Method::POST, &["tenants"])?.json(&body))
                    .await?
            }
            TenantsCommand::Set { name, file } => {
                let request = remote.request(Method::PUT, &["tenants", name])?.json(&document(file)?);
                remote.ask(request).await?
            }
            TenantsCommand::Suspend { name } => {
                remote
                    .ask(remote.request(Method::POST, &["tenants", name, "suspend"])?)
                    .await?
            }
            TenantsCommand::Resume { name } => {
                remote
                    .ask(remote.request(Method::POST, &["tenants", name, "resume"])?)
                    .await?
            }
            TenantsCommand::Delete { name, data } => {
                let request = remote
                    .request(Method::DELETE, &["tenants", name])?
                    .query(&[("data", data)]);
                let answer = remote.send(request).await?;
                let what = match (*data, answer.status()) {
                    (true, StatusCode::ACCEPTED) => {
                        "; its data is still being removed, and until that is done no tenant of that name can be made"
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
                if tenant.suspended { "suspended" } else { "served" },
                &tenant.connections.to_string(),
                match tenant.source {
                    crate::control::view::Source::File => "file",
                    crate::control::view::Source::Store => "store",
                },
            ]);
        }
        self.line(table)
    }

    /// `parlance revoke`
    ///
    /// # Errors
    /// Why nothing was revoked.
    pub async fn revoke(&mut self, args: &RevokeArgs) -> Result<(), Failure> {
        let remote = self.remote(&args.server)?;
        let body = match (&args.token_id, &args.user) {
            (Some(id), _) => json!({ "tokenId": id }),
            (None, user) => json!({ "user": user }),
        };
        let request = remote.request(Method::POST, &["tenants", &args.tenant.tenant, "revocations"])?;
        let made: RevocationView = remote.ask(request.json(&body)).await?;
        if args.server.json {
            self.json(&made)
        } else {
            self.line(format_args!("revoked {}", made.id))
        }
    }

    /// `parlance audit`
    ///
    /// # Errors
    /// Why it cannot be shown.
    pub async fn audit(&mut self, args: &AuditArgs) -> Result<(), Failure> {
        let remote = self.remote(&args.server)?;
        let mut query = vec![("limit", args.limit.to_string())];
        query.extend(args.tenant.clone().map(|tenant| ("tenant", tenant)));
        let entries: Vec<AuditView> = remote
            .ask(remote.request(Method::GET, &["audit"])?.query(&query))
            .await?;
        if args.server.json {
            return self.json(&entries);
        }
        let mut table = Table::new(&["WHEN", "WHO", "TENANT", "WHAT", "PARTICULARS"]);
        for entry in &entries {
            table.row(&[
                &ago(entry.at),
                &entry.actor,
                &entry.tenant,
                &entry.action,
                &entry.detail.to_string(),
            ]);
        }
        self.line(table)
    }
}

fn words(step: &DeployStep) -> String {
    match step {
        DeployStep::Received { size, sha256 } => {
            let short = sha256.get(..12).unwrap_or_default();
            format!("received {size} bytes, sha256 {short}…")
        }
        DeployStep::Compiling => "compiling and checking".to_owned(),
        DeployStep::Storing => "storing".to_owned(),
        DeployStep::Activating => "activating".to_owned(),
        DeployStep::Done { version } => format!("version {version} is in service"),
    }
}

/// The file's name as a handler's: lower case, `-` for `_`.
fn name_of(file: &Path) -> String {
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

/// An answer that comes line by line.
struct Lines {
    response: reqwest::Response,
    waiting: Vec<u8>,
}

impl Lines {
    fn new(response: reqwest::Response) -> Self {
        Self {
            response,
            waiting: Vec::new(),
        }
    }

    async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            match self.response.chunk().await.context("the server's answer was cut off")? {
                Some(chunk) => self.waiting.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
