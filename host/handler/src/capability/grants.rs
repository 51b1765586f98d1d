//! Grants: what an operator lets handlers reach beyond the host's own capabilities.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use reqwest::Url;
use serde_json::Value as Json;

use parlance_types::settings::{Switch, Syntax, Texts, Value, ValueKind, settings};

settings! {
    /// What handlers may reach outside of this server.
    #[derive(Eq)]
    pub struct Grants of each tenant in "grants" {
        /// Servers that they may send HTTP requests to, through `wasi:http`. A name must lead to public addresses; an
        /// address that is not public is reached only when it is itself written here.
        http: Vec<HostPattern> = Vec::new(), Hosts;
        /// Whether they may act on other users (`moderate`): kick, ban and disconnect them, and post as bots.
        moderate: bool = false, Switch;
    }
}

/// A list of servers, in the words of a [`HostPattern`].
struct Hosts;

impl ValueKind<Vec<HostPattern>> for Hosts {
    fn allowed(&self) -> String {
        "a list of [http://]HOST[:PORT], such as [\"api.example.org\", \"*.example.org:8443\"]; https unless http is \
         written"
            .to_owned()
    }

    fn schema(&self) -> Json {
        Texts.schema()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Vec<HostPattern>, String> {
        let items = Texts.parse(value, base)?;
        let pattern = |item: &String| {
            item.parse()
                .map_err(|error| format!("is not a list of servers: {error}"))
        };
        items.iter().map(pattern).collect()
    }

    fn show(&self, value: &Vec<HostPattern>) -> Option<Value> {
        Some(value.iter().map(ToString::to_string).collect::<Vec<_>>().into())
    }

    fn syntax(&self) -> Syntax {
        Syntax::List
    }
}

impl Grants {
    /// Whether a grant allows a request to the URL's server.
    #[must_use]
    pub fn covers(&self, url: &Url) -> bool {
        let scheme = match url.scheme() {
            "http" => HttpScheme::Http,
            "https" => HttpScheme::Https,
            _ => return false,
        };
        let plain = url.username().is_empty() && url.password().is_none();
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return false;
        };
        plain && self.http_to(scheme, host, port).is_some()
    }

    /// The grant that allows a request to this server, if there is one. `host` is written as in a URL: a name, an IPv4
    /// address, or an IPv6 address in brackets.
    #[must_use]
    pub fn http_to(&self, scheme: HttpScheme, host: &str, port: u16) -> Option<&HostPattern> {
        let host = ExactHost::parse(host).ok()?;
        self.http.iter().find(|pattern| pattern.covers(scheme, &host, port))
    }
}

/// The scheme of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpScheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl HttpScheme {
    /// The port of a URL that names none (RFC 9110, section 4.2).
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
        }
    }
}

/// Which servers a grant covers. As text: `[https://|http://]HOST[:PORT]`, such as `api.example.org`,
/// `*.example.org:8443`, `http://127.0.0.1:8080`.
///
/// The scheme defaults to https, and the port to that of the scheme. `*.example.org` covers every name below
/// `example.org`, but not `example.org` itself. A name covers public addresses only; an address that is not public is
/// reached only through a grant that names the address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern {
    scheme: HttpScheme,
    host: Host,
    port: u16,
}

/// The host of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Exact(ExactHost),
    /// Every name below a domain. The text is the domain with a leading dot.
    Below(String),
}

/// A single host. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ExactHost {
    Name(String),
    Address(IpAddr),
}

/// Why a text is not a [`HostPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// There is something after the host, or another scheme than http and https.
    #[error(
        "{0:?} is not a host: write [http://]HOST[:PORT], without a path, a user or other schemes than http and https"
    )]
    Shape(String),
    /// Not a valid host name or address.
    #[error("{0:?} is not a host name or an address; names from other scripts are written in their xn-- form")]
    Host(String),
    /// `*` stands elsewhere than as the first label, or covers a whole top-level domain.
    #[error("{0:?} is too wide: `*.` may stand before a name of at least two parts, such as *.example.org")]
    Wildcard(String),
    /// Not 1 to 65535.
    #[error("{0:?} is not a port from 1 to 65535")]
    Port(String),
}

/// Bytes of a host name (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;
/// Bytes of one label of a host name.
const LABEL_MAX: usize = 63;

impl HostPattern {
    fn covers(&self, scheme: HttpScheme, host: &ExactHost, port: u16) -> bool {
        let host = match (&self.host, host) {
            (Host::Exact(granted), asked) => granted == asked,
            // The suffix begins with a dot, and there must be a label before it.
            (Host::Below(suffix), ExactHost::Name(name)) => name.len() > suffix.len() && name.ends_with(suffix),
            (Host::Below(_), ExactHost::Address(_)) => false,
        };
        host && self.scheme == scheme && self.port == port
    }
}

impl ExactHost {
    fn parse(text: &str) -> Result<Self, HostPatternError> {
        let wrong = || HostPatternError::Host(text.to_owned());
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']').ok_or_else(wrong)?;
            return Ok(Self::Address(IpAddr::V6(address.parse().map_err(|_| wrong())?)));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        let name = text.to_ascii_lowercase();
        // Some parsers read a host whose last label is a number as an address, others as a name: `127.1`, `0x7f000001`.
        let last = name.rsplit('.').next().unwrap_or_default();
        let numeric = last.starts_with("0x") || last.bytes().all(|byte| byte.is_ascii_digit());
        if numeric || name.len() > NAME_MAX || !name.split('.').all(is_label) {
            return Err(wrong());
        }
        Ok(Self::Name(name))
    }
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty() && label.len() <= LABEL_MAX && !label.starts_with('-') && label.bytes().all(plain)
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let (scheme, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (HttpScheme::Http, rest),
            (_, Some(rest)) => (HttpScheme::Https, rest),
            (None, None) => (HttpScheme::Https, text),
        };
        if rest.is_empty() || rest.contains(['/', '@', '?', '#']) {
            return Err(HostPatternError::Shape(text.to_owned()));
        }
        // The colons of an IPv6 address are within its brackets.
        let after_address = rest.find(']').unwrap_or(0);
        let (host, port) = match rest.get(after_address..).and_then(|end| end.find(':')) {
            Some(colon) => rest.split_at(after_address + colon),
            None => (rest, ""),
        };
        let port = match port.strip_prefix(':') {
            None => scheme.default_port(),
            Some(digits) => number(digits).ok_or_else(|| HostPatternError::Port(digits.to_owned()))?,
        };
        let host = match host.strip_prefix("*.") {
            Some(parent) => match ExactHost::parse(parent)? {
                ExactHost::Name(name) if name.contains('.') => Host::Below(format!(".{name}")),
                _ => return Err(HostPatternError::Wildcard(host.to_owned())),
            },
            None if host.contains('*') => return Err(HostPatternError::Wildcard(host.to_owned())),
            None => Host::Exact(ExactHost::parse(host)?),
        };
        Ok(Self { scheme, host, port })
    }
}

/// Reads a port. Only digits pass: `parse` alone would also take a sign.
fn number(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port != 0)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme.prefix())?;
        match &self.host {
            Host::Exact(ExactHost::Name(name)) => f.write_str(name)?,
            Host::Exact(ExactHost::Address(IpAddr::V4(address))) => write!(f, "{address}")?,
            Host::Exact(ExactHost::Address(IpAddr::V6(address))) => write!(f, "[{address}]")?,
            Host::Below(suffix) => write!(f, "*{suffix}")?,
        }
        if self.port == self.scheme.default_port() {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostPatternError;

    fn try_from(text: String) -> Result<Self, HostPatternError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(pattern: &str, scheme: HttpScheme, host: &str, port: u16) -> bool {
        let http = vec![pattern.parse().unwrap()];
        let grants = Grants {
            http,
            ..Grants::default()
        };
        grants.http_to(scheme, host, port).is_some()
    }

    #[test]
    fn the_default_grants_nothing() {
        let none = Grants::default();
        assert!(none.http_to(HttpScheme::Https, "api.example.org", 443).is_none());
    }

    #[test]
    fn a_name_covers_itself_with_its_scheme_and_port() {
        use HttpScheme::{Http, Https};
        assert!(granted("api.example.org", Https, "API.example.org", 443));
        assert!(!granted("api.example.org", Http, "api.example.org", 443));
        assert!(!granted("api.example.org", Http, "api.example.org", 80));
        assert!(!granted("api.example.org", Https, "api.example.org", 8443));
        assert!(!granted("api.example.org", Https, "x.api.example.org", 443));
        assert!(granted("http://api.example.org", Http, "api.example.org", 80));
        assert!(!granted("http://api.example.org", Https, "api.example.org", 443));
        assert!(granted("api.example.org:8443", Https, "api.example.org", 8443));
    }

    #[test]
    fn a_wildcard_covers_subdomains_only() {
        let https = |host| granted("*.example.org", HttpScheme::Https, host, 443);
        assert!(https("a.example.org"));
        assert!(https("a.b.example.org"));
        assert!(!https("example.org"));
        assert!(!https("evil-example.org"));
        assert!(!https("a.example.org.evil.net"));
        assert!(!https(".example.org"), "an empty part is no name");
    }

    #[test]
    fn an_address_is_covered_by_itself_only() {
        use HttpScheme::Http;
        assert!(granted("http://127.0.0.1:8080", Http, "127.0.0.1", 8080));
        assert!(!granted("http://127.0.0.1:8080", Http, "127.0.0.2", 8080));
        assert!(!granted("http://127.0.0.1:8080", Http, "localhost", 8080));
        assert!(granted("http://[::1]:8080", Http, "[0:0::1]", 8080));
        assert!(!granted("http://[::1]:8080", Http, "[::ffff:127.0.0.1]", 8080));
    }

    #[test]
    fn invalid_patterns_are_refused() {
        use HostPatternError::{Host, Port, Shape, Wildcard};
        let error = |text: &str| text.parse::<HostPattern>().unwrap_err();
        for text in [
            "",
            "https://",
            "example.org/path",
            "user@example.org",
            "ftp://example.org",
            "a.org?b",
            "a.org#b",
        ] {
            assert!(matches!(error(text), Shape(_)), "{text}: {}", error(text));
        }
        for text in [
            "a..org",
            "example.org.",
            "ex ample.org",
            "münchen.de",
            "-a.org",
            "127.1",
            "0x7f.0x1",
            "[v]",
        ] {
            assert!(matches!(error(text), Host(_)), "{text}: {}", error(text));
        }
        assert!(matches!(error(&format!("{}.org", "a".repeat(64))), Host(_)));
        for text in ["*.org", "a.*.org", "*example.org", "*.127.0.0.1", "*.[::1]"] {
            assert!(matches!(error(text), Wildcard(_)), "{text}: {}", error(text));
        }
        assert!(matches!(error("*"), Wildcard(_)));
        for text in [
            "example.org:0",
            "example.org:65536",
            "example.org:",
            "example.org:+80",
            "[::1]:x",
        ] {
            assert!(matches!(error(text), Port(_)), "{text}: {}", error(text));
        }
    }

    #[test]
    fn patterns_are_written_as_they_are_read() {
        for text in [
            "https://api.example.org",
            "http://*.example.org:8080",
            "https://10.0.0.1",
            "http://[::1]:81",
        ] {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), text);
        }
    }
}
