//! The client of a running server's admin API.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Args;
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::config::Environment;

/// The server of commands without `--server`: the default of `server.admin_address`.
const DEFAULT_SERVER: &str = "http://localhost:3001";

/// The server and the token, for every command that uses the admin API.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct ServerArgs {
    /// Address of the server's listener for operators (server.admin_address).
    #[arg(long, global = true, value_name = "URL", env = "PARLANCE_SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// File with the admin token [default: PARLANCE_ADMIN_TOKEN or PARLANCE_ADMIN_TOKEN_FILE of the environment].
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print the server's answer as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Sends requests to the admin API.
pub(super) struct AdminClient {
    http: reqwest::Client,
    server: String,
    token: String,
}

/// The API's answer to a request that failed.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    #[serde(default)]
    problems: Vec<String>,
}

impl AdminClient {
    pub(super) fn new(args: &ServerArgs, env: &Environment) -> Result<Self, Failure> {
        let token = match &args.token_file {
            Some(path) => {
                std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?
            }
            None => of_environment(env)?,
        };
        let http = reqwest::Client::builder()
            .build()
            .context("the HTTP client could not be set up")?;
        Ok(Self {
            http,
            server: args.server.trim_end_matches('/').to_owned(),
            token: token.trim().to_owned(),
        })
    }

    /// A request below `/admin/v1`; each part of `path` is one segment.
    pub(super) fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, Failure> {
        let mut url =
            reqwest::Url::parse(&self.server).map_err(|error| Failure::Usage(format!("--server: {error}")))?;
        let is_http = matches!(url.scheme(), "http" | "https");
        match url.path_segments_mut() {
            Ok(mut segments) if is_http => {
                segments.pop_if_empty().extend(["admin", "v1"]).extend(path);
            }
            _ => {
                return Err(Failure::Usage(
                    "--server: must be like http://localhost:3001".to_owned(),
                ));
            }
        }
        Ok(self.http.request(method, url).bearer_auth(&self.token))
    }

    /// Sends a request. An answer other than success becomes an error for the terminal.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| {
            let why = if error.is_connect() {
                "is it running, and is --server right?"
            } else {
                "the answer did not come"
            };
            anyhow!("the server {} cannot be reached: {why}", self.server)
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => problem_error(&problem.detail, &problem.problems),
            Err(_) if status.as_u16() == 404 => anyhow!(
                "there is no admin API here: it listens at server.admin_address, when the server was started with \
                 PARLANCE_ADMIN_TOKEN or with [[admin.tokens]] in its file"
            ),
            Err(_) => anyhow!("the server answered {status}"),
        }
        .into())
    }

    /// Sends a request and reads the answer as JSON.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let text = self
            .send(request)
            .await?
            .text()
            .await
            .context("the answer was cut off")?;
        Ok(serde_json::from_str(&text).context("the server's answer cannot be read; is it another release?")?)
    }
}

fn of_environment(env: &Environment) -> Result<String, Failure> {
    let token = env.secret("PARLANCE_ADMIN_TOKEN");
    let token = token.map_err(|error| Failure::Usage(error.to_string()))?;
    token.map(|token| token.text).ok_or_else(|| {
        Failure::Usage(
            "there is no admin token: set PARLANCE_ADMIN_TOKEN to the one the server was started with, or name a file \
             that holds one with --token-file"
                .to_owned(),
        )
    })
}

/// The problems of an answer as an error, one a line.
pub(super) fn problem_error(detail: &str, problems: &[String]) -> anyhow::Error {
    let lines: String = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    anyhow!("{detail}{lines}")
}
