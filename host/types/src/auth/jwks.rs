//! Keys that a token issuer publishes as a JSON Web Key Set (RFC 7517), in a file or at a URL.
//!
//! One task for each source refreshes the set at intervals, and earlier when a token names an unknown key, but at a
//! limited rate. A set that cannot be read, or has no usable key, changes nothing: the last good one stays.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::value::RawValue;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::key::{Algorithm, Key};
use crate::address::is_public;
use crate::settings::{Switch, Time, hours, secs, settings};
use crate::text::without_lone_surrogates;

/// The location of a key set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JwksLocation {
    /// A file.
    File(PathBuf),
    /// A URL. Its scheme is `https`, unless the operator allows `http`.
    Url(String),
}

settings! {
    /// How a published key set (RFC 7517) is read.
    #[derive(Eq)]
    pub struct JwksRules of each tenant in "auth.jwks" {
        /// Whether the url may lead to this machine and its networks. Else it is held to the public internet, as handlers'
        /// requests are: whoever says where a tenant's keys are must not make the server ask its neighbours.
        allow_private_addresses: bool = false, Switch;
        /// How often it is read.
        refresh: Duration = secs(600), Time(secs(1), hours(24));
        /// At most as often as this it is read for tokens with a key that is not known.
        unknown_key_refresh: Duration = secs(30), Time(secs(1), hours(24));
    }
}

/// A source of keys; `[[auth.jwks]]` in the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksSource {
    /// The location of the key set.
    pub location: JwksLocation,
    /// How it is read.
    pub rules: JwksRules,
}

/// Timeout of one refresh.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a token with an unknown key waits for a refresh.
const REFRESH_WAIT_MAX: Duration = Duration::from_secs(6);
/// Most bytes of a key set.
const SET_BYTES_MAX: usize = 256 * 1024;
/// Most keys of a key set. Further ones are ignored.
const SET_KEYS_MAX: usize = 100;
/// Base64url characters of an RSA modulus of 2048 bits, the shortest that is strong enough.
const RSA_MODULUS_CHARS: usize = 342;

/// The keys of one source, refreshed until this is dropped.
pub(super) struct KeyRing {
    shared: Arc<KeyRingState>,
    _task: AbortOnDropHandle<()>,
}

struct KeyRingState {
    source: JwksSource,
    keys: ArcSwap<Vec<Key>>,
    /// Notified when a token names an unknown key.
    refresh_requested: Notify,
    /// How many refreshes have ended.
    refreshes: watch::Sender<u64>,
}

impl KeyRing {
    /// The key ring among `known` with the same source, or else a new one. A new one starts with the keys that another
    /// had read from the same location. Needs a runtime.
    pub(super) fn reuse_or_open(source: &JwksSource, known: &[Arc<Self>]) -> Arc<Self> {
        if let Some(same) = known.iter().find(|ring| ring.shared.source == *source) {
            return same.clone();
        }
        let place = known.iter().find(|ring| ring.shared.source.location == source.location);
        let keys = place.map(|ring| ring.keys()).unwrap_or_default();
        Arc::new(Self::open(source.clone(), keys))
    }

    fn open(source: JwksSource, keys: Arc<Vec<Key>>) -> Self {
        let shared = Arc::new(KeyRingState {
            source,
            keys: ArcSwap::new(keys),
            refresh_requested: Notify::new(),
            refreshes: watch::Sender::new(0),
        });
        let task = AbortOnDropHandle::new(tokio::spawn(shared.clone().run()));
        Self { shared, _task: task }
    }

    /// The last good set.
    pub(super) fn keys(&self) -> Arc<Vec<Key>> {
        self.shared.keys.load_full()
    }

    /// Requests a refresh and waits until one has ended, for [`REFRESH_WAIT_MAX`] at most.
    pub(super) async fn refresh_now(&self) {
        let mut refreshes = self.shared.refreshes.subscribe();
        refreshes.borrow_and_update();
        self.shared.refresh_requested.notify_one();
        // The caller looks at the keys in any case.
        let _ = tokio::time::timeout(REFRESH_WAIT_MAX, refreshes.changed()).await;
    }
}

impl KeyRingState {
    async fn run(self: Arc<Self>) {
        let mut failing = false;
        loop {
            let began = Instant::now();
            match tokio::time::timeout(TIMEOUT, read(&self.source)).await {
                Ok(Ok(keys)) => {
                    if failing {
                        tracing::info!(source = %self.source.location, keys = keys.len(), "the key set can be read again");
                    }
                    failing = false;
                    self.keys.store(Arc::new(keys));
                }
                failed => {
                    let why = match failed {
                        Ok(Err(error)) => format!("{error:#}"),
                        _ => "it took too long".to_owned(),
                    };
                    if !failing {
                        tracing::warn!(source = %self.source.location, "the key set cannot be read, the last one stays: {why}");
                    }
                    failing = true;
                }
            }
            self.refreshes.send_modify(|refreshes| *refreshes += 1);
            // Limits the rate, however many tokens name unknown keys.
            tokio::time::sleep_until(began + self.source.rules.unknown_key_refresh).await;
            let wait = if failing {
                self.source.rules.unknown_key_refresh
            } else {
                self.source.rules.refresh
            };
            let _ = tokio::time::timeout_at(
                began + wait.max(self.source.rules.unknown_key_refresh),
                self.refresh_requested.notified(),
            )
            .await;
        }
    }
}

impl std::fmt::Display for JwksLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

async fn read(source: &JwksSource) -> anyhow::Result<Vec<Key>> {
    let text = match &source.location {
        JwksLocation::File(path) => {
            let path = path.clone();
            tokio::task::spawn_blocking(move || read_file(&path)).await??
        }
        JwksLocation::Url(url) => fetch(url, source.rules.allow_private_addresses).await?,
    };
    parse_key_set(&text)
}

/// Reads a file, but at most one byte more than a key set may have. Only regular files: a pipe would block the thread
/// forever.
pub(super) fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(std::fs::metadata(path)?.is_file(), "it is not a file");
    let mut text = Vec::new();
    std::fs::File::open(path)?
        .take(SET_BYTES_MAX as u64 + 1)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// The usable keys of a set, in its order. Others are ignored, including those of unknown types (RFC 7517, section 5).
pub(super) fn parse_key_set(text: &[u8]) -> anyhow::Result<Vec<Key>> {
    anyhow::ensure!(text.len() <= SET_BYTES_MAX, "it has more than {SET_BYTES_MAX} bytes");
    let text = String::from_utf8_lossy(text);
    let text = without_lone_surrogates(text.strip_prefix('\u{feff}').unwrap_or(&text));
    let set: KeySet = serde_json::from_str(&text).map_err(|_| anyhow::anyhow!("it is not a JSON Web Key Set"))?;
    let keys: Vec<Key> = set
        .keys
        .into_iter()
        .filter_map(|jwk| to_key(&serde_json::from_str(jwk.get()).ok()?))
        .take(SET_KEYS_MAX)
        .collect();
    anyhow::ensure!(!keys.is_empty(), "it has no key that can be used here");
    Ok(keys)
}

#[derive(serde::Deserialize)]
struct KeySet {
    keys: Vec<Box<RawValue>>,
}

/// The error for a URL that leads to a private address.
const NOT_PUBLIC: &str = "its address is not public; set `allow_private_addresses = true` to read it anyway";

/// Resolves names to their public addresses.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NOT_PUBLIC.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The URL's host, if it is an address. The URL parser has normalised all ways of writing one.
fn literal_address(url: &reqwest::Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Fetches a key set. It follows no redirects: only the URL that the operator wrote decides which keys are trusted.
async fn fetch(url: &str, private_addresses: bool) -> anyhow::Result<Vec<u8>> {
    let url = reqwest::Url::parse(url)?;
    let mut client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT);
    if !private_addresses {
        anyhow::ensure!(literal_address(&url).is_none_or(is_public), NOT_PUBLIC);
        // A proxy would resolve the name itself.
        client = client.dns_resolver(Arc::new(PublicOnly)).no_proxy();
    }
    let client = client.build()?;
    let mut response = client.get(url).header("accept", "application/json").send().await?;
    anyhow::ensure!(response.status().is_success(), "the answer was {}", response.status());
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        anyhow::ensure!(
            text.len() + chunk.len() <= SET_BYTES_MAX,
            "it has more than {SET_BYTES_MAX} bytes"
        );
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

/// The key, if it is a public key for signatures, strong enough, and of a known algorithm.
fn to_key(jwk: &Jwk) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let algorithm = Algorithm::ALL.iter().find(|algorithm| is_for(jwk, **algorithm))?;
    let key = Key::from_jwk(*algorithm, jwk).ok()?;
    Some(match &jwk.common.key_id {
        Some(id) => key.with_id(id),
        None => key,
    })
}

/// Whether the key is for this algorithm: it names the algorithm, or none where its kind of key has a usual one.
fn is_for(jwk: &Jwk, algorithm: Algorithm) -> bool {
    let is_rsa = matches!(&jwk.algorithm, AlgorithmParameters::RSA(rsa) if rsa.n.len() >= RSA_MODULUS_CHARS);
    let (is_its_kind, name, is_usual) = match algorithm {
        // A published secret is ignored.
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return false,
        Algorithm::Rs256 => (is_rsa, KeyAlgorithm::RS256, true),
        Algorithm::Ps256 => (is_rsa, KeyAlgorithm::PS256, false),
        Algorithm::Es256 => {
            let is_p256 =
                matches!(&jwk.algorithm, AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256);
            (is_p256, KeyAlgorithm::ES256, true)
        }
        Algorithm::EdDsa => {
            let is_ed25519 = matches!(
                &jwk.algorithm,
                AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519
            );
            (is_ed25519, KeyAlgorithm::EdDSA, true)
        }
    };
    is_its_kind && jwk.common.key_algorithm.map_or(is_usual, |named| named == name)
}
