//! The address of an artefact: `oci://REGISTRY/NAME:TAG` or `oci://REGISTRY/NAME@sha256:…`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use oci_spec::distribution::Reference;

/// What an address begins with.
pub(super) const SCHEME: &str = "oci://";
/// The algorithm of digests that are understood.
const SHA256: &str = "sha256:";

/// The address of an artefact in a registry. It has a tag or a digest or both, and then the digest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Reference);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "it must be like oci://registry.example.org/acme/moderation:1.2";
        let reference = text.strip_prefix(SCHEME).ok_or_else(|| form.to_owned())?;
        // Docker's rule for what is a registry. Without one the reference would mean a registry that nobody named.
        let registry = reference.split_once('/').map_or("", |(first, _)| first);
        if registry != "localhost" && !registry.contains(['.', ':']) {
            return Err(format!("it names no registry: {form}"));
        }
        let parsed: Reference = reference.parse().map_err(|error| format!("{error}: {form}"))?;
        match parsed.digest() {
            Some(digest) if !digest.starts_with(SHA256) => {
                Err("its digest must begin with sha256:, the only algorithm that is understood".to_owned())
            }
            _ => Ok(Self(parsed)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

impl Address {
    /// The host of the registry, with its port. Docker keeps credentials under the same name.
    pub(super) fn registry(&self) -> &str {
        self.0.registry()
    }

    /// The name within the registry.
    pub(super) fn repository(&self) -> &str {
        self.0.repository()
    }

    pub(super) fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    /// The digest if there is one, else the tag.
    pub(super) fn version(&self) -> &str {
        self.0.digest().or(self.0.tag()).unwrap_or_default()
    }

    /// The last part of the name, for the file or the handler that it becomes.
    #[must_use]
    pub fn short_name(&self) -> &str {
        let name = self.repository();
        name.rsplit('/').next().unwrap_or(name)
    }

    /// The artefact's address that no push can change.
    pub(super) fn pinned(&self, digest: &str) -> Self {
        Self(self.0.clone_with_digest(digest.to_owned()))
    }

    /// Whether the registry is on this machine, so that nobody else sees what is sent to it.
    pub(super) fn is_loopback(&self) -> bool {
        let registry = self.registry();
        let host = registry.split_once(':').map_or(registry, |(host, _)| host);
        host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}
