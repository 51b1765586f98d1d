//! The layout of an artefact: a manifest that names a configuration and one layer, the component.
//!
//! This is the Wasm OCI artefact layout of the CNCF's working group for Wasm, which `wkg` and others read and write.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use oci_spec::image::{Descriptor, DigestAlgorithm, ImageManifest, ImageManifestBuilder, MediaType};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmparser::{ComponentExternalKind, Parser, Payload};

use super::COMPONENT_BYTES;
use super::address::Address;
use parlance_handler::sandbox::hex;

/// The media type of the configuration.
const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// The media type of the layer.
const LAYER_TYPE: &str = "application/wasm";
/// The values that the layout has for a component.
const ARCHITECTURE: &str = "wasm";
const COMPONENT_OS: &str = "wasip2";
/// The version of the manifest's format.
const SCHEMA_VERSION: u32 = 2;
/// The end of the last year that is written with four digits, in seconds since the Unix epoch.
const LAST_WRITTEN: Duration = Duration::from_secs(253_402_300_799);

/// An artefact that is to be pushed.
pub(super) struct Artefact {
    pub(super) component: Blob,
    pub(super) config: Blob,
    pub(super) manifest: Blob,
}

/// Bytes that a registry knows by their digest.
pub(super) struct Blob {
    pub(super) bytes: Bytes,
    pub(super) digest: String,
}

impl Blob {
    fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        Self { bytes, digest }
    }

    fn descriptor(&self, media_type: &str) -> Result<Descriptor> {
        let digest: oci_spec::image::Digest = self.digest.parse()?;
        let size = self.bytes.len().try_into()?;
        Ok(Descriptor::new(MediaType::from(media_type), size, digest))
    }
}

/// SHA-256 as registries write it.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// What the manifest's configuration says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    pub(super) created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) author: Option<String>,
    architecture: String,
    os: String,
    layer_digests: Vec<String>,
    component: Option<Names>,
}

/// The names of what a component imports and exports.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    pub(super) exports: Vec<String>,
    pub(super) imports: Vec<String>,
    /// Whether each export is a type, as in a WIT package.
    #[serde(skip)]
    pub(super) only_types: bool,
}

impl Artefact {
    /// Makes an artefact of a component. `made` is the time of its file, so that the same file is the same artefact
    /// with the same digest each time.
    pub(super) fn new(component: Vec<u8>, names: Names, made: SystemTime) -> Result<Self> {
        let since = made.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST_WRITTEN);
        let created = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
        let component = Blob::new(component);
        let config = Blob::new(serde_json::to_vec(&Config {
            created: humantime::format_rfc3339_seconds(created).to_string(),
            author: None,
            architecture: ARCHITECTURE.to_owned(),
            os: COMPONENT_OS.to_owned(),
            layer_digests: vec![component.digest.clone()],
            component: Some(names),
        })?);
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config.descriptor(CONFIG_TYPE)?)
            .layers([component.descriptor(LAYER_TYPE)?])
            .build()?;
        Ok(Self {
            component,
            config,
            manifest: Blob::new(serde_json::to_vec(&manifest)?),
        })
    }
}

/// Where a manifest says that the component and its configuration are.
pub(super) struct Parts {
    pub(super) component: Descriptor,
    pub(super) config: Descriptor,
}

/// The part of every kind of manifest by which they are told apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
}

/// Reads a manifest.
///
/// # Errors
/// When it is not that of a Wasm component, or its component is too large.
pub(super) fn parts(address: &Address, manifest: &[u8]) -> Result<Parts> {
    let unreadable = || format!("the registry's answer for {address} is not a manifest: is it an OCI registry?");
    let kind: Kind = serde_json::from_slice(manifest).with_context(unreadable)?;
    if kind.manifests.is_some() {
        bail!(
            "{address} is an index of several images, and not a Wasm component; name one of its manifests by its digest, \
             or push the component with `parlance push`"
        );
    }
    if kind.config.is_none() {
        let media_type = kind.media_type.unwrap_or_else(|| "unknown".to_owned());
        bail!("{}", of_another_type(address, &media_type));
    }
    let manifest: ImageManifest = serde_json::from_slice(manifest).with_context(unreadable)?;
    let config_type = manifest.config().media_type().as_ref();
    if config_type != CONFIG_TYPE {
        bail!("{}", of_another_type(address, config_type));
    }
    let [component] = manifest.layers().as_slice() else {
        let count = manifest.layers().len();
        bail!("{address} has {count} layers, and a Wasm component has one; push it with `parlance push`");
    };
    let layer_type = component.media_type().as_ref();
    if layer_type != LAYER_TYPE {
        bail!("{}", of_another_type(address, layer_type));
    }
    for part in [component, manifest.config()] {
        if *part.digest().algorithm() != DigestAlgorithm::Sha256 {
            let digest = part.digest();
            bail!("{address} names a part by {digest}; only sha256 is understood");
        }
    }
    if usize::try_from(component.size()).map_or(true, |size| size > COMPONENT_BYTES) {
        let size = component.size();
        bail!("the component of {address} has {size} bytes; at most {COMPONENT_BYTES} are allowed");
    }
    Ok(Parts {
        component: component.clone(),
        config: manifest.config().clone(),
    })
}

fn of_another_type(address: &Address, media_type: &str) -> anyhow::Error {
    anyhow!(
        "{address} is an artefact of another type, {media_type}, and not a Wasm component ({CONFIG_TYPE}); is the name \
         right? `parlance push` makes one"
    )
}

/// The names of what a component imports and exports.
///
/// # Errors
/// When the bytes are not a component.
pub(super) fn names(component: &[u8]) -> Result<Names> {
    if !Parser::is_component(component) {
        bail!(if Parser::is_core_wasm(component) {
            "it is a core module, not a component; wrap it with `parlance-build` or `wasm-tools component new`"
        } else {
            "it is not a WebAssembly component"
        });
    }
    let mut names = Names::default();
    let (mut exports, mut types) = (0, 0);
    // How deep the parser is in components and modules within the component.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.context("it is not a WebAssembly component that can be read")? {
            Payload::Version { .. } => depth = depth.saturating_add(1),
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    names.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export?;
                    exports += 1;
                    types += usize::from(export.kind == ComponentExternalKind::Type);
                    names.exports.push(export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    names.only_types = exports > 0 && types == exports;
    Ok(names)
}
