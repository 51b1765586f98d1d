//! Parses the database's URL, and shows it without the password.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::{OpenError, PostgresSettings};

/// How long a connection is idle before the first TCP keepalive, unless the URL says otherwise.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// The time between two keepalives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// After so many keepalives without an answer the connection is lost.
const KEEPALIVE_RETRIES: u32 = 3;
/// The driver's own default, which tells that the URL does not set it.
const DRIVER_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// How the server's certificate is checked, by `sslmode` as in libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CertificateCheck {
    /// Not at all, for `disable`, `prefer` and `require`.
    None,
    /// A trusted authority has signed it, for `verify-ca`.
    Ca,
    /// A trusted authority has signed it for the host in the URL, for `verify-full`.
    CaAndHost,
}

/// A parsed URL.
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) check: CertificateCheck,
    /// A file with the authorities to trust. `None`: those of the system.
    pub(super) roots: Option<PathBuf>,
}

/// Parses a URL. Handles `sslmode` and `sslrootcert` itself, since the driver supports only some of libpq's values, and
/// leaves everything else to the driver.
pub(super) fn parse(url: &str, settings: &PostgresSettings) -> Result<Target, OpenError> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut own, mut for_driver) = (Vec::new(), Vec::new());
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((name @ ("sslmode" | "sslrootcert"), value)) => own.push((name, decoded(value)?)),
            _ => for_driver.push(part),
        }
    }
    let rest = if for_driver.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", for_driver.join("&"))
    };
    let mut config: Config = rest.parse().map_err(OpenError::unreadable)?;
    let (mut mode, mut check, mut roots) = (SslMode::Prefer, CertificateCheck::None, None);
    for (name, value) in own {
        match (name, value.as_str()) {
            ("sslrootcert", "system") => roots = None,
            ("sslrootcert", _) => roots = Some(PathBuf::from(value)),
            (_, "disable") => mode = SslMode::Disable,
            (_, "prefer") => mode = SslMode::Prefer,
            (_, "require") => mode = SslMode::Require,
            (_, "verify-ca") => (mode, check) = (SslMode::Require, CertificateCheck::Ca),
            (_, "verify-full") => (mode, check) = (SslMode::Require, CertificateCheck::CaAndHost),
            _ => {
                return Err(OpenError::Url {
                    problem: "sslmode must be disable, prefer, require, verify-ca or verify-full".to_owned(),
                });
            }
        }
    }
    // As libpq does: with `sslrootcert`, `require` means `verify-ca`.
    if roots.is_some() && mode == SslMode::Require && check == CertificateCheck::None {
        check = CertificateCheck::Ca;
    }
    config.ssl_mode(mode);
    apply_defaults(&mut config, settings);
    Ok(Target { config, check, roots })
}

/// Decodes a percent-encoded value.
fn decoded(value: &str) -> Result<String, OpenError> {
    let text = percent_decode_str(value).decode_utf8();
    let text = text.map_err(|_| OpenError::Url {
        problem: "sslmode or sslrootcert is not UTF-8".to_owned(),
    });
    Ok(text?.into_owned())
}

/// Sets what the URL leaves open.
fn apply_defaults(config: &mut Config, settings: &PostgresSettings) {
    if config.get_application_name().is_none() {
        config.application_name("parlance");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(settings.connect_time);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(settings.statement_time + super::pool::GRACE);
    }
    if config.get_keepalives_idle() == DRIVER_KEEPALIVE_IDLE {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    // Of several hosts, use the one that accepts writes. After a failover that is another one.
    if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
}

/// Hosts and name of the database, without the password.
pub(super) fn address(config: &Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(n, host)| {
        // A single port is that of all hosts.
        let ports = config.get_ports();
        let port = ports.get(n).or_else(|| ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    let database = config.get_dbname().or_else(|| config.get_user()).unwrap_or_default();
    format!("{}/{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        parse(url, &PostgresSettings::default()).unwrap()
    }

    #[test]
    fn sslmode_is_read_as_libpq_reads_it() {
        let read = |query: &str| {
            let target = target(&format!("postgres://u:p@db.example:7/chat{query}"));
            let roots = target.roots.map(|path| path.display().to_string());
            (target.config.get_ssl_mode(), target.check, roots)
        };
        assert_eq!(read(""), (SslMode::Prefer, CertificateCheck::None, None));
        assert_eq!(
            read("?sslmode=disable"),
            (SslMode::Disable, CertificateCheck::None, None)
        );
        assert_eq!(
            read("?sslmode=require&connect_timeout=9"),
            (SslMode::Require, CertificateCheck::None, None)
        );
        assert_eq!(
            read("?sslmode=verify-ca"),
            (SslMode::Require, CertificateCheck::Ca, None)
        );
        assert_eq!(
            read("?sslmode=verify-full"),
            (SslMode::Require, CertificateCheck::CaAndHost, None)
        );
        let roots = Some("/a b/ca.pem".to_owned());
        assert_eq!(
            read("?sslrootcert=/a%20b/ca.pem&sslmode=verify-full"),
            (SslMode::Require, CertificateCheck::CaAndHost, roots.clone())
        );
        assert_eq!(
            read("?sslmode=require&sslrootcert=/a%20b/ca.pem"),
            (SslMode::Require, CertificateCheck::Ca, roots)
        );
        for wrong in [
            "postgres://db/?sslmode=allow",
            "postgres://db/?nonsense=1",
            "postgres://db/?sslrootcert=%ff",
            "postgres://db:port/",
        ] {
            assert!(super::parse(wrong, &PostgresSettings::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = "postgresql://parlance:swordfish@a.example,b.example:5433/chat?connect_timeout=4";
        let target = target(url);
        assert_eq!(address(&target.config), "a.example:5432,b.example:5433/chat");
        assert_eq!(target.config.get_connect_timeout(), Some(&Duration::from_secs(4)));
        assert_eq!(target.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let Err(error) = parse("postgres://parlance:swordfish@db/?port=x", &PostgresSettings::default()) else {
            panic!("it was read")
        };
        assert!(!format!("{error:?} {error}").contains("swordfish"), "{error:?}");
    }
}
