//! `parlance requests`.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;

use super::Terminal;
use crate::cli::Failure;
use crate::cli::admin_client::ServerArgs;
use crate::cli::table::{Table, ago, until};
use crate::control::api::{RequestState, RequestView, RequestsView};
use parlance_types::id::DEFAULT_TENANT;

/// Characters of a URL or an error that the table shows.
const SHOWN: usize = 80;

/// `parlance requests`.
#[derive(Debug, Args)]
#[command(after_help = "\
Lists the requests to web services that wait for an answer or for their next attempt, and those that have failed, which
are kept for quota.dead_letters_kept. A retry sends a failed one again with the same Idempotency-Key, and what comes back
is an event of its handler; one that waits is tried at once. Values of headers and queries, and bodies, are not shown.

Examples:
  parlance requests --tenant acme
  parlance requests list --failed --handler assistant --json
  parlance requests retry assistant 5f0c1e7c2b9a4d3e8f6a7b8c9d0e1f2a --tenant acme
  parlance requests delete assistant 5f0c1e7c2b9a4d3e8f6a7b8c9d0e1f2a --tenant acme")]
pub struct RequestsArgs {
    /// What to do [default: list].
    #[command(subcommand)]
    pub command: Option<RequestsCommand>,
    /// Which requests to list.
    #[command(flatten)]
    pub list: ListArgs,
    /// The handlers' tenant.
    #[arg(long, global = true, value_name = "TENANT", default_value = DEFAULT_TENANT)]
    pub tenant: String,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// The subcommands of `parlance requests`.
#[derive(Debug, Subcommand)]
pub enum RequestsCommand {
    /// List the requests that are pending or have failed.
    List(ListArgs),
    /// Send a failed request again; try a pending one at once.
    Retry(RequestArgs),
    /// Forget a request: it is not sent again, and no answer becomes an event.
    Delete(RequestArgs),
}

/// Which requests to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[group(skip)]
pub struct ListArgs {
    /// Only those of this handler.
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    /// Only those that have failed.
    #[arg(long, conflicts_with = "pending")]
    pub failed: bool,
    /// Only those that are to be sent.
    #[arg(long)]
    pub pending: bool,
    /// How many at most: 1 to 200 [default: 50].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    pub limit: Option<u32>,
    /// Only those whose id comes after this one.
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
}

/// One request.
#[derive(Debug, Args)]
#[group(skip)]
pub struct RequestArgs {
    /// The handler that has asked for it.
    #[arg(value_name = "HANDLER")]
    pub handler: String,
    /// Its id, as `parlance requests` lists it.
    #[arg(value_name = "ID")]
    pub id: String,
}

impl Terminal<'_> {
    /// `parlance requests`
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn requests(&mut self, args: &RequestsArgs) -> Result<(), Failure> {
        if args.command.is_some() && args.list != ListArgs::default() {
            return Err(Failure::Usage(
                "--handler, --failed, --pending, --limit and --after stand behind `parlance requests list`".to_owned(),
            ));
        }
        match &args.command {
            None => self.list_requests(args, &args.list).await,
            Some(RequestsCommand::List(list)) => self.list_requests(args, list).await,
            Some(RequestsCommand::Retry(request)) => self.retry_request(args, request).await,
            Some(RequestsCommand::Delete(request)) => self.delete_request(args, request).await,
        }
    }

    async fn list_requests(&mut self, args: &RequestsArgs, list: &ListArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(list.handler.clone().map(|handler| ("handler", handler)));
        query.extend(list.failed.then(|| ("state", "failed".to_owned())));
        query.extend(list.pending.then(|| ("state", "pending".to_owned())));
        query.extend(list.limit.map(|limit| ("limit", limit.to_string())));
        query.extend(list.after.clone().map(|after| ("after", after)));
        let request = client.request(Method::GET, &["tenants", &args.tenant, "requests"])?;
        let page: RequestsView = client.ask(request.query(&query)).await?;
        if args.server.json {
            return self.json(&page);
        }
        if page.requests.is_empty() && page.next.is_none() {
            return self.line("there are no such requests");
        }
        self.requests_table(&page.requests)?;
        if let Some(next) = &page.next {
            self.note(format_args!("further ones: --after {next}"));
        }
        Ok(())
    }

    async fn retry_request(&mut self, args: &RequestsArgs, request: &RequestArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let path = [
            "tenants",
            &args.tenant,
            "requests",
            &request.handler,
            &request.id,
            "retry",
        ];
        let view: RequestView = client.ask(client.request(Method::POST, &path)?).await?;
        if args.server.json {
            return self.json(&view);
        }
        self.requests_table(&[view])
    }

    async fn delete_request(&mut self, args: &RequestsArgs, request: &RequestArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let RequestArgs { handler, id } = request;
        let path = ["tenants", &args.tenant, "requests", handler, id];
        client.send(client.request(Method::DELETE, &path)?).await?;
        if args.server.json {
            return self.json(&json!({ "deleted": id, "handler": handler }));
        }
        self.line(format_args!("deleted {id} of {handler}"))
    }

    fn requests_table(&mut self, requests: &[RequestView]) -> Result<(), Failure> {
        let mut table = Table::new(&[
            "ID", "HANDLER", "STATE", "REQUEST", "TAG", "ASKED", "ATTEMPTS", "NEXT", "ERROR",
        ]);
        for request in requests {
            let (state, next) = match request.state {
                RequestState::Pending => ("pending", request.due_at.map(until).unwrap_or_default()),
                RequestState::Failed => ("failed", String::new()),
            };
            table.row(&[
                &request.id,
                &request.handler,
                state,
                &format!("{} {}", request.method, short(&request.url)),
                &request.tag,
                &ago(request.asked_at),
                &format!("{} of {}", request.attempts, request.attempts_max),
                &next,
                &short(request.error.as_deref().unwrap_or_default()),
            ]);
        }
        self.line(table)
    }
}

/// The beginning of a text; `--json` has all of it.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(short("https://example.org/"), "https://example.org/");
        let long = "ü".repeat(SHOWN);
        assert_eq!(short(&long), long);
        assert_eq!(short(&format!("{long}x")), format!("{long}…"));
    }
}
