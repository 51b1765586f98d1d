//! The protocol of registries: the part of the OCI distribution specification that fetches and stores one artefact.

mod login;
mod read;

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use oci_spec::image::Descriptor;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};

use super::address::Address;
use super::artefact::{Blob, sha256};
use super::credentials::Credentials;
use login::{Access, Login};
use read::{read, refusal};

/// The largest manifest, in bytes: what the specification asks registries to take.
const MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// The largest configuration of an artefact, in bytes.
const CONFIG_BYTES: usize = 1024 * 1024;
/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long the other side may say nothing while it is its turn.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// How long a request without a component may take.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// How long a component may take on its way.
const TRANSFER_TIME: Duration = Duration::from_secs(15 * 60);
/// How often a request may be sent on to another address.
const REDIRECTS: usize = 5;
/// The media types of manifests that are asked for. The other ones are understood well enough to say what they are.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                              application/vnd.docker.distribution.manifest.v2+json, \
                              application/vnd.docker.distribution.manifest.list.v2+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The header in which a registry says the digest of what it answers with.
const DIGEST_HEADER: &str = "docker-content-digest";

/// One artefact's place in its registry.
pub(super) struct Registry {
    http: Client,
    /// The address of the registry's API.
    base: Url,
    address: Address,
    login: Login,
    /// The proof that the registry asked for.
    authorization: Option<HeaderValue>,
}

impl Registry {
    /// To fetch from it.
    pub(super) fn to_pull(address: &Address, plain_http: bool, credentials: Credentials) -> Result<Self> {
        Self::new(address, plain_http, credentials, Access::Pull)
    }

    /// To fetch from it and store in it.
    pub(super) fn to_push(address: &Address, plain_http: bool, credentials: Credentials) -> Result<Self> {
        Self::new(address, plain_http, credentials, Access::Push)
    }

    fn new(address: &Address, plain_http: bool, credentials: Credentials, access: Access) -> Result<Self> {
        let plain = plain_http || address.is_loopback();
        let scheme = if plain { "http" } else { "https" };
        let base = format!("{scheme}://{}/v2/{}/", address.registry(), address.repository());
        let mut client = Client::builder()
            .connect_timeout(CONNECT_TIME)
            .redirect(redirect_policy(plain))
            .user_agent(concat!("parlance/", env!("CARGO_PKG_VERSION")));
        if address.is_loopback() {
            // What is meant for this machine must not go out to a proxy.
            client = client.no_proxy();
        }
        Ok(Self {
            http: client.build().context("the HTTP client could not be set up")?,
            base: Url::parse(&base).with_context(|| format!("{address} is not an address"))?,
            address: address.clone(),
            login: Login::new(address, credentials, access, plain),
            authorization: None,
        })
    }

    /// Fetches the manifest, and verifies it by the digest of the address and by the one that the registry states.
    ///
    /// # Errors
    /// When there is none, it may not be read, or it has another digest.
    pub(super) async fn manifest(&mut self) -> Result<Blob> {
        let url = self.url(&["manifests", self.address.version()])?;
        let request = |http: &Client| {
            http.get(url.clone())
                .header(ACCEPT, MANIFEST_TYPES)
                .timeout(REQUEST_TIME)
        };
        let response = self.send(request).await?;
        let address = &self.address;
        if response.status() == StatusCode::NOT_FOUND {
            let why = "look at the name and at the tag, or push it with `parlance push`";
            bail!("{} has no {address}: {why}", address.registry());
        }
        let response = self.success(response, "to fetch").await?;
        let stated = response.headers().get(DIGEST_HEADER).cloned();
        let bytes = read(response, MANIFEST_BYTES, "manifest", address).await?;
        let digest = sha256(&bytes);
        let stated = stated.as_ref().and_then(|stated| stated.to_str().ok());
        // A registry may state one of another algorithm, which says nothing about this one.
        let stated = stated.filter(|stated| stated.starts_with("sha256:"));
        for expected in [address.digest(), stated].into_iter().flatten() {
            if expected != digest {
                return Err(differs(address, "manifest", expected, &digest));
            }
        }
        Ok(Blob {
            bytes: bytes.into(),
            digest,
        })
    }

    /// Fetches the component.
    ///
    /// # Errors
    /// When it is not there, or its size or digest are not those of the manifest.
    pub(super) async fn component(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        // The manifest's reader has held the size to its limit.
        let size = usize::try_from(descriptor.size())?;
        self.blob(descriptor, size, "component", TRANSFER_TIME).await
    }

    /// Fetches the configuration.
    ///
    /// # Errors
    /// When it is not there, or its size or digest are not those of the manifest.
    pub(super) async fn config(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.blob(descriptor, CONFIG_BYTES, "configuration", REQUEST_TIME).await
    }

    async fn blob(&mut self, descriptor: &Descriptor, max: usize, what: &str, time: Duration) -> Result<Vec<u8>> {
        let expected = descriptor.digest().to_string();
        let url = self.url(&["blobs", &expected])?;
        let response = self.send(|http| http.get(url.clone()).timeout(time)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            let address = &self.address;
            bail!("the registry has the manifest of {address}, but not its {what} {expected}; push it again");
        }
        let response = self.success(response, "to fetch").await?;
        let bytes = read(response, max, what, &self.address).await?;
        let digest = sha256(&bytes);
        if digest != expected || u64::try_from(bytes.len()).ok() != Some(descriptor.size()) {
            return Err(differs(&self.address, what, &expected, &digest));
        }
        Ok(bytes)
    }

    /// Stores bytes that the manifest refers to, unless the registry has them.
    ///
    /// # Errors
    /// When the registry does not take them.
    pub(super) async fn store(&mut self, blob: &Blob) -> Result<()> {
        let url = self.url(&["blobs", &blob.digest])?;
        let found = self.send(|http| http.head(url.clone()).timeout(REQUEST_TIME)).await?;
        if found.status().is_success() {
            return Ok(());
        }
        // The empty part makes the slash at the end, which the specification has.
        let url = self.url(&["blobs", "uploads", ""])?;
        let begin = |http: &Client| http.post(url.clone()).header(CONTENT_LENGTH, 0).timeout(REQUEST_TIME);
        let begun = self.send(begin).await?;
        let begun = self.success(begun, "to push").await?;
        let mut url = self.upload_url(&begun)?;
        url.query_pairs_mut().append_pair("digest", &blob.digest);
        let bytes = blob.bytes.clone();
        let put = |http: &Client| upload(http, &url, bytes.clone()).timeout(TRANSFER_TIME);
        let stored = self.send(put).await?;
        self.success(stored, "to push").await?;
        Ok(())
    }

    /// Stores the manifest under the tag of the address.
    ///
    /// # Errors
    /// When the registry does not take it, or took something else.
    pub(super) async fn store_manifest(&mut self, manifest: &Blob) -> Result<()> {
        let url = self.url(&["manifests", self.address.version()])?;
        let put = |http: &Client| {
            let request = http
                .request(Method::PUT, url.clone())
                .header(CONTENT_TYPE, MANIFEST_TYPE);
            request.body(manifest.bytes.clone()).timeout(REQUEST_TIME)
        };
        let stored = self.send(put).await?;
        let stored = self.success(stored, "to push").await?;
        let stated = stored
            .headers()
            .get(DIGEST_HEADER)
            .and_then(|stated| stated.to_str().ok());
        match stated.filter(|stated| stated.starts_with("sha256:")) {
            Some(stated) if stated != manifest.digest => {
                Err(differs(&self.address, "manifest", &manifest.digest, stated))
            }
            _ => Ok(()),
        }
    }

    fn url(&self, path: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        let mut segments = url
            .path_segments_mut()
            .map_err(|()| anyhow!("{} is not an address", self.address))?;
        segments.pop_if_empty().extend(path);
        drop(segments);
        Ok(url)
    }

    /// Where a registry that has begun an upload wants the bytes.
    fn upload_url(&self, begun: &Response) -> Result<Url> {
        let registry = self.address.registry();
        let location = begun
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok());
        let location =
            location.with_context(|| format!("{registry} did not say where to upload: is it an OCI registry?"))?;
        let url = begun
            .url()
            .join(location)
            .with_context(|| format!("{registry} said to upload to {location:?}"))?;
        if self.base.scheme() == "https" && url.scheme() != "https" {
            bail!(
                "{registry} wants the upload without TLS, which its operator must mend: its own address must begin with https"
            );
        }
        Ok(url)
    }

    /// Sends a request, once more with the proof that the registry asks for.
    async fn send(&mut self, request: impl Fn(&Client) -> RequestBuilder) -> Result<Response> {
        let response = self.attempt(&request).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.authorization = Some(self.login.proof(&self.http, &response).await?);
        self.attempt(&request).await
    }

    async fn attempt(&self, request: impl Fn(&Client) -> RequestBuilder) -> Result<Response> {
        let mut request = request(&self.http).build().context("the request")?;
        // A registry may send an upload to another server, which must not learn who asks.
        if let Some(authorization) = self
            .authorization
            .as_ref()
            .filter(|_| request.url().origin() == self.base.origin())
        {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        // Until all of an upload is there, the registry has nothing to say.
        let patience = if request.body().is_some() {
            TRANSFER_TIME
        } else {
            IDLE_TIME
        };
        let sent = tokio::time::timeout(patience, self.http.execute(request)).await;
        let sent = sent.map_err(|_| too_slow(&self.address))?;
        sent.map_err(|error| unreachable(&self.address, &error))
    }

    async fn success(&self, response: Response, what: &str) -> Result<Response> {
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response, &self.address, what, &self.login).await)
    }
}

fn upload(http: &Client, url: &Url, bytes: Bytes) -> RequestBuilder {
    http.put(url.clone())
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(bytes)
}

/// Follows a few redirects, none of them from TLS to plain HTTP. The client itself takes the proof out of a request that
/// goes to another host.
fn redirect_policy(plain: bool) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS {
            attempt.error(format!("more than {REDIRECTS} redirects"))
        } else if !plain && attempt.url().scheme() != "https" {
            attempt.error("a redirect to an address without TLS")
        } else {
            attempt.follow()
        }
    })
}

fn differs(address: &Address, what: &str, expected: &str, actual: &str) -> anyhow::Error {
    anyhow!(
        "the {what} of {address} is not what its digest says: expected {expected}, got {actual}; the registry is damaged \
         or was tampered with: do not use it"
    )
}

fn too_slow(address: &Address) -> anyhow::Error {
    anyhow!("the registry {} took too long to answer; try again", address.registry())
}

/// Why no answer came.
fn unreachable(address: &Address, error: &reqwest::Error) -> anyhow::Error {
    let registry = address.registry();
    // The innermost error says what happened, those around it which layer heard of it.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_connect() {
        let hint = if address.is_loopback() {
            "is it running?"
        } else {
            "is its name right? A registry without TLS needs --plain-http"
        };
        anyhow!("the registry {registry} cannot be reached ({cause}): {hint}")
    } else if error.is_timeout() {
        too_slow(address)
    } else {
        anyhow!("the registry {registry} did not answer as one does: {cause}")
    }
}
