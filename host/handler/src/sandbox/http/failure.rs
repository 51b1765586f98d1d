//! Translates errors of requests for the guest.

use std::error::Error as StdError;
use std::iter::successors;

use wasmtime_wasi_http::Error;

use super::dns::ResolveError;

type Cause<'a> = &'a (dyn StdError + 'static);

fn cause<'a>(error: &Cause<'a>) -> Option<Cause<'a>> {
    (*error).source()
}

/// The error and all its causes, for the log.
pub(super) fn with_causes(error: &reqwest::Error) -> String {
    let causes: Vec<String> = successors(Some(error as Cause<'_>), cause)
        .map(ToString::to_string)
        .collect();
    causes.join(": ")
}

/// The code of `wasi:http/types` for an error of reqwest. The guest gets no text, since that might describe this
/// machine.
pub(super) fn error_code(error: &reqwest::Error) -> Error {
    let causes = || successors(Some(error as Cause<'_>), cause);
    let tls = causes().find_map(|cause| {
        // A rustls error comes wrapped in an `io::Error`, whose `source` skips the wrapped error itself.
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

/// The code of `wasi:http/types` for a name that does not resolve.
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
