//! Components in OCI registries: `parlance push`, `parlance pull`, and `oci://REGISTRY/NAME:TAG` where `deploy` and
//! `inspect` take a file.
//!
//! `address` is what the user names, `artefact` the layout of what lies in the registry, `registry` the protocol,
//! `credentials` what Docker keeps, and `commands` what the commands do with these.
//!
//! The formats are those of the crate `oci-spec`. The protocol is spoken here, over the HTTP client that the other
//! commands use, because the published clients read manifests, tokens and errors of any size into memory, and leave the
//! number of redirects open. Here each answer has a limit, each of which is a constant of `registry`.

mod address;
mod artefact;
mod commands;
mod credentials;
mod registry;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

pub use address::Address;
pub use commands::{Fetched, fetch};

/// The largest component that is sent or fetched, in bytes: the most that `sandbox.component_size` can be set to.
const COMPONENT_BYTES: usize = 512 * 1024 * 1024;

/// Where a command finds a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// In a registry.
    Registry(Address),
}

impl Source {
    /// Reads an argument: an address if it begins with `oci://`, else the path of a file.
    ///
    /// # Errors
    /// When the address is not one.
    pub fn parse(argument: OsString) -> Result<Self, String> {
        match argument.to_str() {
            Some(text) if text.starts_with(address::SCHEME) => text.parse().map(Self::Registry),
            _ => Ok(Self::File(argument.into())),
        }
    }
}

/// How registries are spoken to, for every command that does.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct RegistryArgs {
    /// Speak HTTP without TLS to the registry: credentials and components can be read on the way. Registries of this
    /// machine (localhost, 127.0.0.1) are spoken to so without this.
    #[arg(long)]
    pub plain_http: bool,
}

/// `parlance push`.
#[derive(Debug, Args)]
#[command(after_help = "\
The component is checked as `parlance inspect` does, and refused if no server would take it.
The artefact is as the Wasm OCI artefact layout says, so other tools for Wasm in registries read it too. Its address
with its digest goes to standard output.
Credentials are Docker's: `docker login REGISTRY` keeps them in ~/.docker/config.json, or below DOCKER_CONFIG.

Examples:
  parlance push moderation.wasm oci://registry.example.org/acme/moderation:1.2
  parlance deploy $(parlance push moderation.wasm oci://localhost:5000/moderation:1.2) --tenant acme
  parlance push --wit target/wit/parlance-chat.wasm oci://registry.example.org/acme/parlance/chat:0.1.0")]
pub struct PushArgs {
    /// The component, a .wasm file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where it goes: oci://REGISTRY/NAME:TAG.
    #[arg(value_name = "ADDRESS")]
    pub address: Address,
    /// FILE is a WIT package in its binary form, which `make wit-package` writes, and not a handler.
    #[arg(long)]
    pub wit: bool,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// `parlance pull`.
#[derive(Debug, Args)]
#[command(after_help = "\
With a digest the file is exactly what was pushed, whatever its tag is now. The digests of the manifest and of the
component are always verified. The address with its digest goes to standard output.

Examples:
  parlance pull oci://registry.example.org/acme/moderation:1.2
  parlance pull oci://registry.example.org/acme/moderation@sha256:1b4f… -o moderation.wasm")]
pub struct PullArgs {
    /// What to fetch: oci://REGISTRY/NAME:TAG or oci://REGISTRY/NAME@sha256:….
    #[arg(value_name = "ADDRESS")]
    pub address: Address,
    /// The file to write [default: the last part of NAME, with .wasm].
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    pub force: bool,
    /// The registry.
    #[command(flatten)]
    pub registry: RegistryArgs,
}
