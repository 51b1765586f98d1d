//! Sends a request to a server whose addresses were checked.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Request, Response};
use rustls::{ClientConfig, RootCertStore};
use wasmtime_wasi_http::Error;

use super::dns::DnsResolver;
use super::failure::{dns_error_code, error_code, with_causes};
use super::host_wait::HostWait;
use crate::capability::DnsLookupLimit;

/// The HTTP client that all components share. Created when the first one with a grant is loaded.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct HttpClient {
    tls: Arc<ClientConfig>,
    resolver: Arc<DnsResolver>,
}

impl HttpClient {
    /// Sets up TLS with the system's root certificates.
    ///
    /// # Errors
    /// When the system has no certificates to trust.
    pub(in crate::sandbox) fn new() -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("the system has no certificates to trust; install them (ca-certificates)".to_owned());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let client = Self {
            tls: Arc::new(tls),
            resolver: Arc::new(DnsResolver::system()),
        };
        // Report a problem when a component is loaded, not at its first request.
        client.with_addresses(Vec::new()).map_err(|error| with_causes(&error))?;
        Ok(client)
    }

    /// A client for one request that resolves every name to these addresses.
    fn with_addresses(&self, addresses: Vec<SocketAddr>) -> reqwest::Result<reqwest::Client> {
        reqwest::Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&self.tls))
            .dns_resolver(Arc::new(FixedAddresses(addresses)))
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .retry(reqwest::retry::never())
            // A pooled connection would be shared between tenants.
            .pool_max_idle_per_host(0)
            .http1_only()
            .build()
    }

    /// Resolves the server's name, within the tenant's limit, and sends the request. An address in the URL itself was
    /// granted as such, so it is not checked again.
    pub(super) async fn send(
        &self,
        request: Request,
        share: &DnsLookupLimit,
        host_wait: &HostWait,
    ) -> Result<Response, Error> {
        let addresses = match request.url().domain() {
            Some(name) => {
                let found = self.resolver.resolve_public(name, share, host_wait).await;
                found.map_err(|error| {
                    tracing::debug!(%error, "the name for a handler's HTTP request could not be looked up");
                    dns_error_code(&error)
                })?
            }
            None => Vec::new(),
        };
        let sent = match self.with_addresses(addresses) {
            Ok(client) => client.execute(request).await,
            Err(error) => Err(error),
        };
        sent.map_err(|error| {
            let answer = error_code(&error);
            // Without the URL, which the guest controls and which may be of any length.
            tracing::debug!(
                error = with_causes(&error.without_url()),
                "a handler's HTTP request failed"
            );
            answer
        })
    }
}

/// Resolves every name to addresses that were checked, so that the client connects to nothing else.
struct FixedAddresses(Vec<SocketAddr>);

impl Resolve for FixedAddresses {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_request_connects_only_to_the_checked_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        };
        let client = HttpClient::new()
            .unwrap()
            .with_addresses(vec![SocketAddr::new(address.ip(), 0)]);
        let host = format!("name.invalid:{}", address.port());
        let asking = async {
            let answer = client.unwrap().get(format!("http://{host}/")).send().await;
            answer.unwrap().text().await.unwrap()
        };
        let (asked, answer) = tokio::join!(server, asking);
        assert!(asked.to_lowercase().contains(&format!("host: {host}")), "{asked}");
        assert_eq!(answer, "hello");
    }
}
