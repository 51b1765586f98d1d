//! `parlance erase-user`, `export` and `import`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use reqwest::{Body, Method, Response};
use tokio_util::io::ReaderStream;

use super::Terminal;
use crate::cli::Failure;
use crate::cli::admin_client::ServerArgs;
use crate::cli::operate_args::TenantArg;
use crate::control::api::{ErasureView, TransferView};

/// How often the server is asked how far an erasure has come.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// What the last line of a whole export begins with.
const LAST_LINE: &[u8] = b"{\"end\":";

/// `parlance erase-user`.
#[derive(Debug, Args)]
#[command(after_help = "\
The user's messages are deleted, as when their author deletes them, and with them the name that was stored beside each.
Marks and receipts of the user are removed, and the keys that handlers' settings `user_keys` name. The erasure goes on
when this command or the server ends. Revoke the user's tokens first, so that nothing new comes.

It does not reach backups, exports, logs and recordings, nor, before a VACUUM, dead rows of PostgreSQL.

Examples:
  parlance erase-user alice --tenant acme
  parlance erase-user alice --tenant acme --detach")]
pub struct EraseUserArgs {
    /// The user's id.
    #[arg(value_name = "USER")]
    pub user: String,
    /// The user's tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// Do not wait for the end.
    #[arg(long)]
    pub detach: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each line is a JSON object. The last one says how much there was; if it is missing, the command fails. Suspend a tenant
first to have all of it as of one moment. Requests of handlers that are not answered yet are left out.

Examples:
  parlance export --tenant acme --output acme.ndjson
  parlance export --tenant acme --output acme.ndjson --force
  parlance export --tenant acme --user alice > alice.ndjson")]
pub struct ExportArgs {
    /// Only what there is of this user.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// The tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The file, which its owner alone may read [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace FILE if it exists.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `parlance import`.
#[derive(Debug, Args)]
#[command(after_help = "\
The tenant must exist and have no data; nobody should use it meanwhile. If a line is wrong, it is named, and nothing is
imported.

Example:
  parlance import acme.ndjson --tenant acme")]
pub struct ImportArgs {
    /// The export.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The tenant.
    #[command(flatten)]
    pub tenant: TenantArg,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

impl Terminal<'_> {
    /// `parlance erase-user`
    ///
    /// # Errors
    /// Why nothing is erased, or how far it has come is not known.
    pub async fn erase_user(&mut self, args: &EraseUserArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let user = ["tenants", &args.tenant.tenant, "users", &args.user];
        let part = |part: &'static str| user.iter().copied().chain([part]).collect::<Vec<_>>();
        let mut view: ErasureView = client.ask(client.request(Method::DELETE, &part("data"))?).await?;
        while !view.done && !args.detach {
            let room = view.room.as_deref().unwrap_or("none yet");
            self.note(format_args!("{}; the room: {room}", summary(&view)));
            tokio::time::sleep(ASK_EVERY).await;
            view = client.ask(client.request(Method::GET, &part("erasure"))?).await?;
        }
        if args.server.json {
            return self.json(&view);
        }
        self.line(summary(&view))
    }

    /// `parlance export`
    ///
    /// # Errors
    /// Why nothing is exported, or the file is not whole.
    pub async fn export(&mut self, args: &ExportArgs) -> Result<(), Failure> {
        // Before the server is asked, which notes each export in its audit log.
        if let Some(file) = args.output.as_ref().filter(|file| !args.force && file.exists()) {
            return Err(exists(file));
        }
        let client = self.client(&args.server)?;
        let mut path = vec!["tenants", &args.tenant.tenant];
        path.extend(args.user.iter().flat_map(|user| ["users", user]));
        path.push("data");
        let answer = client.send(client.request(Method::GET, &path)?).await?;
        let is_whole = match &args.output {
            Some(file) => copy(answer, &mut create(file, args.force)?).await?,
            None => copy(answer, self.out).await?,
        };
        if !is_whole {
            return Err(anyhow::anyhow!("the export was cut off: its last line is missing").into());
        }
        Ok(())
    }

    /// `parlance import`
    ///
    /// # Errors
    /// Why nothing is imported.
    pub async fn import(&mut self, args: &ImportArgs) -> Result<(), Failure> {
        let client = self.client(&args.server)?;
        let file = tokio::fs::File::open(&args.file)
            .await
            .with_context(|| format!("{} cannot be read", args.file.display()))?;
        let request = client
            .request(Method::POST, &["tenants", &args.tenant.tenant, "data"])?
            .header("content-type", "application/x-ndjson")
            .body(Body::wrap_stream(ReaderStream::new(file)));
        let asking = client.ask::<TransferView>(request);
        let view = self.with_progress("importing", asking).await?;
        if args.server.json {
            return self.json(&view);
        }
        let TransferView {
            rooms,
            messages,
            marks,
            receipts,
            keys,
            members,
            bans,
        } = view;
        self.line(format_args!(
            "imported {rooms} rooms, {messages} messages, {marks} marks, {receipts} receipts, {keys} keys, {members} \
             members and {bans} bans"
        ))
    }
}

fn summary(view: &ErasureView) -> String {
    let ErasureView {
        messages,
        marks,
        receipts,
        keys,
        ..
    } = view;
    let state = if view.done { "erased" } else { "erasing" };
    format!("{state}: {messages} messages, {marks} marks, {receipts} receipts, {keys} keys")
}

/// Creates the file, which its owner alone may read, and replaces another one only by `force`.
fn create(path: &Path, force: bool) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create(force).create_new(!force).truncate(force);
    match options.mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(path)),
        file => Ok(file.with_context(|| format!("{} cannot be written", path.display()))?),
    }
}

fn exists(path: &Path) -> Failure {
    Failure::Usage(format!(
        "{} exists already; choose another name, or use --force",
        path.display()
    ))
}

/// Copies an export. Returns whether its last line came.
async fn copy(mut answer: Response, to: &mut dyn Write) -> Result<bool, Failure> {
    // The beginning of the line that has come in part.
    let mut line: Vec<u8> = Vec::new();
    let mut is_whole = false;
    while let Some(part) = answer.chunk().await.context("the server's answer was cut off")? {
        to.write_all(&part).context("the export")?;
        for byte in &part[..] {
            if *byte == b'\n' {
                is_whole = line == LAST_LINE;
                line.clear();
            } else if line.len() < LAST_LINE.len() {
                line.push(*byte);
            }
        }
    }
    Ok(to.flush().map(|()| is_whole && line.is_empty()).context("the export")?)
}
