//! `parlance push` and `parlance pull`, and the fetching of a component for other commands.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use super::address::Address;
use super::artefact::{Artefact, Config, names, parts};
use super::credentials::{self, Credentials};
use super::registry::Registry;
use super::{COMPONENT_BYTES, PullArgs, PushArgs, RegistryArgs};
use crate::cli::operate::Terminal;
use crate::cli::{Failure, inspect};
use crate::config::Environment;

/// A component that was fetched from a registry, all of it verified.
pub struct Fetched {
    /// The component's bytes.
    pub bytes: Vec<u8>,
    /// Its address with the digest of its manifest.
    pub pinned: Address,
    /// When its artefact says that it was made.
    pub created: String,
    /// The author, if its artefact names one.
    pub author: Option<String>,
    /// The digest of the component itself.
    pub layer: String,
}

/// Fetches a component.
///
/// # Errors
/// Why it was not fetched.
pub async fn fetch(address: &Address, args: &RegistryArgs, env: &Environment) -> Result<Fetched> {
    let mut registry = Registry::to_pull(address, args.plain_http, credentials(address, env).await?)?;
    let manifest = registry.manifest().await?;
    let parts = parts(address, &manifest.bytes)?;
    let config = registry.config(&parts.config).await?;
    let config: Config =
        serde_json::from_slice(&config).with_context(|| format!("the configuration of {address} cannot be read"))?;
    let bytes = registry.component(&parts.component).await?;
    names(&bytes).with_context(|| format!("the content of {address} cannot be used"))?;
    Ok(Fetched {
        bytes,
        pinned: address.pinned(&manifest.digest),
        created: config.created,
        author: config.author,
        layer: parts.component.digest().to_string(),
    })
}

async fn credentials(address: &Address, env: &Environment) -> Result<Credentials> {
    let directory = credentials::directory(|name| env.get(name).map(ToOwned::to_owned));
    credentials::find(directory, address.registry()).await
}

impl Terminal<'_> {
    /// `parlance push`
    ///
    /// # Errors
    /// Why it was not pushed.
    pub async fn push(&mut self, args: &PushArgs) -> Result<(), Failure> {
        let address = &args.address;
        if let Some(digest) = address.digest() {
            let wrong = format!("{address}: the digest {digest} is what a push leads to; name a tag");
            return Err(Failure::Usage(wrong));
        }
        let path = args.file.display();
        let (bytes, made) = component(&args.file)?;
        let names = names(&bytes).with_context(|| format!("{path}"))?;
        match (args.wit, names.only_types) {
            (true, false) => {
                let wrong = format!("{path} is a component, and --wit takes a WIT package; leave --wit out");
                return Err(Failure::Usage(wrong));
            }
            (false, true) => {
                let wrong = format!("{path} is a WIT package, which handles nothing; say --wit to push it as one");
                return Err(Failure::Usage(wrong));
            }
            (true, true) => {}
            (false, false) => inspect::check(&bytes, &args.file.display())?,
        }
        let size = bytes.len();
        let artefact = Artefact::new(bytes, names, made)?;
        let credentials = credentials(address, self.env).await?;
        let mut registry = Registry::to_push(address, args.registry.plain_http, credentials)?;
        self.note(format_args!("pushing {size} bytes to {address}"));
        for blob in [&artefact.component, &artefact.config] {
            registry.store(blob).await?;
        }
        registry.store_manifest(&artefact.manifest).await?;
        self.note(format_args!("the component is {}", artefact.component.digest));
        self.line(address.pinned(&artefact.manifest.digest))
    }

    /// `parlance pull`
    ///
    /// # Errors
    /// Why it was not pulled.
    pub async fn pull(&mut self, args: &PullArgs) -> Result<(), Failure> {
        let name = || PathBuf::from(args.address.short_name()).with_added_extension("wasm");
        let output = args.output.clone().unwrap_or_else(name);
        // Before anything is fetched, and once more when it is written.
        if !args.force && output.exists() {
            return Err(exists(&output).into());
        }
        let fetched = fetch(&args.address, &args.registry, self.env).await?;
        write(&output, &fetched.bytes, args.force)?;
        let size = fetched.bytes.len();
        self.note(format_args!("{} is {size} bytes, {}", output.display(), fetched.layer));
        self.line(fetched.pinned)
    }
}

/// A component's bytes, and when its file was written.
fn component(path: &Path) -> Result<(Vec<u8>, SystemTime)> {
    let unreadable = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(unreadable)?;
    let made = file
        .metadata()
        .and_then(|metadata| metadata.modified())
        .with_context(unreadable)?;
    let mut bytes = Vec::new();
    let max = u64::try_from(COMPONENT_BYTES)?;
    file.take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(unreadable)?;
    if bytes.len() > COMPONENT_BYTES {
        bail!(
            "{} has more than {COMPONENT_BYTES} bytes, which are allowed",
            path.display()
        );
    }
    Ok((bytes, made))
}

/// Writes a file whole, or leaves what was there.
fn write(path: &Path, bytes: &[u8], replace: bool) -> Result<()> {
    let unwritable = || format!("{} cannot be written", path.display());
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    let file = builder
        .prefix(".parlance-pull-")
        .tempfile_in(directory.unwrap_or(Path::new(".")));
    let mut file = file.with_context(unwritable)?;
    file.write_all(bytes).with_context(unwritable)?;
    if replace {
        file.persist(path).with_context(unwritable)?;
    } else {
        file.persist_noclobber(path).map_err(|_| exists(path))?;
    }
    Ok(())
}

fn exists(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} exists; replace it with --force, or write another file with -o",
        path.display()
    )
}
