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

/// The name of an error that [`error_code`] or [`dns_error_code`] gives, as `wasi:http/types.error-code` has it. Any other
/// error is `internal-error`.
pub(super) fn name(error: &Error) -> &'static str {
    match error {
        Error::TlsCertificateError => "TLS-certificate-error",
        Error::TlsProtocolError => "TLS-protocol-error",
        Error::ConnectionTimeout => "connection-timeout",
        Error::ConnectionRefused => "connection-refused",
        Error::ConnectionReadTimeout => "connection-read-timeout",
        Error::HttpResponseTimeout => "HTTP-response-timeout",
        Error::HttpResponseIncomplete => "HTTP-response-incomplete",
        Error::HttpProtocolError => "HTTP-protocol-error",
        Error::HttpRequestDenied => "HTTP-request-denied",
        Error::DestinationIpProhibited => "destination-IP-prohibited",
        Error::DnsTimeout => "DNS-timeout",
        Error::DnsError { .. } => "DNS-error",
        _ => "internal-error",
    }
}

/// The error with this [`name`].
pub(super) fn named(name: &str) -> Error {
    match name {
        "TLS-certificate-error" => Error::TlsCertificateError,
        "TLS-protocol-error" => Error::TlsProtocolError,
        "connection-timeout" => Error::ConnectionTimeout,
        "connection-refused" => Error::ConnectionRefused,
        "connection-read-timeout" => Error::ConnectionReadTimeout,
        "HTTP-response-timeout" => Error::HttpResponseTimeout,
        "HTTP-response-incomplete" => Error::HttpResponseIncomplete,
        "HTTP-protocol-error" => Error::HttpProtocolError,
        "HTTP-request-denied" => Error::HttpRequestDenied,
        "destination-IP-prohibited" => Error::DestinationIpProhibited,
        "DNS-timeout" => Error::DnsTimeout,
        "DNS-error" => Error::DnsError {
            rcode: None,
            info_code: None,
        },
        _ => Error::InternalError(None),
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
