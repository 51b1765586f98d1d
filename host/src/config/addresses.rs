//! Settings that say who is where: hosts, networks, and the origins of pages.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::{Value as Json, json};
use toml::Value;

use parlance_types::settings::{Syntax, Texts, ValueKind, pattern, text};

/// An IP address or a host name.
pub(super) struct Host;

impl ValueKind<String> for Host {
    fn allowed(&self) -> String {
        "an IP address or a host name, without a port".to_owned()
    }

    fn schema(&self) -> Json {
        pattern("^[A-Za-z0-9.:-]+$")
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        let host = text(value)?;
        let name = host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
        if host.parse::<std::net::IpAddr>().is_ok() || (name && !host.is_empty()) {
            Ok(host.to_owned())
        } else {
            Err("is not a host".to_owned())
        }
    }

    fn show(&self, value: &String) -> Option<Value> {
        Some(value.as_str().into())
    }
}

/// Where operators reach the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// Nowhere.
    Off,
    /// On the clients' port.
    Shared,
    /// On a port of their own.
    Own {
        /// An IP address or a host name.
        host: String,
        /// 0 lets the system choose.
        port: u16,
    },
}

impl AdminAddress {
    pub(super) fn own(host: &str, port: u16) -> Self {
        let host = host.to_owned();
        Self::Own { host, port }
    }
}

/// `HOST:PORT`, `shared` or `off`.
pub(super) struct AdminListener;

impl ValueKind<AdminAddress> for AdminListener {
    fn allowed(&self) -> String {
        "HOST:PORT such as \"127.0.0.1:3001\" or \"[::1]:3001\"; \"shared\" for the clients' port; \"off\"".to_owned()
    }

    fn schema(&self) -> Json {
        pattern("^(|off|shared|(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9.-]+):[0-9]+)$")
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<AdminAddress, String> {
        let (host, port) = match text(value)? {
            "" | "off" => return Ok(AdminAddress::Off),
            "shared" => return Ok(AdminAddress::Shared),
            address => address.rsplit_once(':').ok_or("has no port")?,
        };
        let port = port.parse().map_err(|_| "has no port")?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = Host.parse(&Value::String(bracketed.unwrap_or(host).to_owned()), base)?;
        if host.contains(':') && bracketed.is_none() {
            return Err("needs [brackets] around an IPv6 address".to_owned());
        }
        Ok(AdminAddress::Own { host, port })
    }

    fn show(&self, value: &AdminAddress) -> Option<Value> {
        Some(match value {
            AdminAddress::Off => "off".into(),
            AdminAddress::Shared => "shared".into(),
            AdminAddress::Own { host, port } if host.contains(':') => format!("[{host}]:{port}").into(),
            AdminAddress::Own { host, port } => format!("{host}:{port}").into(),
        })
    }
}

/// A list of addresses and networks.
pub(super) struct Networks;

impl ValueKind<Vec<IpNet>> for Networks {
    fn allowed(&self) -> String {
        "a list of IP addresses and networks, such as [\"10.0.0.0/8\", \"2001:db8::7\"]".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "array", "items": pattern("^[0-9A-Fa-f:.]+(/[0-9]+)?$") })
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Vec<IpNet>, String> {
        let items = Texts.parse(value, base)?;
        let network = |item: &String| {
            let parsed = item.parse().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
            parsed.map_err(|_| format!("has {item:?}, which is not an address or a network"))
        };
        items.iter().map(network).collect()
    }

    fn show(&self, value: &Vec<IpNet>) -> Option<Value> {
        Some(value.iter().map(ToString::to_string).collect::<Vec<_>>().into())
    }

    fn syntax(&self) -> Syntax {
        Syntax::List
    }
}

/// A list of origins as browsers send them (RFC 6454, section 6.2), or `*`.
pub(super) struct Origins;

impl ValueKind<Vec<String>> for Origins {
    fn allowed(&self) -> String {
        "a list of origins, such as [\"https://chat.example.org\"], or [\"*\"]".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "array", "items": pattern("^(\\*|[Hh][Tt][Tt][Pp][Ss]?://[A-Za-z0-9._:\\[\\]-]+/?)$") })
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Vec<String>, String> {
        let items = Texts.parse(value, base)?;
        items
            .iter()
            .map(|item| origin(item).ok_or_else(|| format!("has {item:?}, which is not an origin")))
            .collect()
    }

    fn show(&self, value: &Vec<String>) -> Option<Value> {
        Texts.show(value)
    }

    fn syntax(&self) -> Syntax {
        Syntax::List
    }
}

/// An origin as browsers send it: lower case, without the scheme's own port, and without the slash at the end, which
/// people add. `None` for what is not an origin of `http` or `https`.
#[must_use]
pub fn normal_origin(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (host, port) = match text.strip_prefix("https://") {
        Some(host) => (host, ":443"),
        None => (text.strip_prefix("http://")?, ":80"),
    };
    let plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    let without_port = text.strip_suffix(port).map(str::to_owned);
    (plain && !host.is_empty() && host != port).then(|| without_port.unwrap_or(text))
}

fn origin(text: &str) -> Option<String> {
    if text == "*" {
        return Some(text.to_owned());
    }
    normal_origin(text)
}
