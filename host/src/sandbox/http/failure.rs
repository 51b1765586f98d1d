//! Why a request failed, as the guest reads it.

use std::error::Error as StdError;
use std::iter::successors;

use wasmtime_wasi_http::Error;

use super::dns::ResolveError;

type Cause<'a> = &'a (dyn StdError + 'static);

fn cause<'a>(error: &Cause<'a>) -> Option<Cause<'a>> {
    (*error).source()
}

/// The error with all its causes, for the log.
pub(super) fn with_causes(error: &reqwest::Error) -> String {
    let causes: Vec<String> = successors(Some(error as Cause<'_>), cause)
        .map(ToString::to_string)
        .collect();
    causes.join(": ")
}

/// From reqwest's errors to the codes of `wasi:http/types`. No text of a cause goes to the guest: it may tell of this
/// machine.
pub(super) fn error_code(error: &reqwest::Error) -> Error {
    let causes = || successors(Some(error as Cause<'_>), cause);
    let tls = causes().find_map(|cause| {
        // rustls comes wrapped in an `io::Error`, whose source is that of what it wraps.
        let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()))
    });
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(_) => Error::TlsProtocolError,
        None if error.is_timeout() && error.is_connect() => Error::ConnectionTimeout,
        None if error.is_timeout() => Error::HttpResponseTimeout,
        None if error.is_connect() => Error::ConnectionRefused,
        None if error.is_body() || error.is_decode() => Error::HttpResponseIncomplete,
        None => Error::HttpProtocolError,
    }
}

/// What a component is told of a name that leads nowhere.
pub(super) fn dns_error_code(error: &ResolveError) -> Error {
    match error {
        ResolveError::NoPublicAddress => Error::DestinationIpProhibited,
        ResolveError::Time => Error::DnsTimeout,
        ResolveError::System(_) => Error::DnsError {
            rcode: None,
            info_code: None,
        },
    }
}
