//! From a URL to what the driver takes, and to what may be shown of it.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::{OpenError, Settings};

/// The first question whether a silent server is still there comes after so long, unless the URL says otherwise.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
/// And the next ones after so long each.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// After so many without an answer the connection counts as lost.
const KEEPALIVE_RETRIES: u32 = 3;
/// What the driver's configuration says when the URL does not.
const DRIVER_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// How far the server's certificate is looked at, in the words of libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CertificateCheck {
    /// Not at all: `disable`, `prefer`, `require`.
    None,
    /// Somebody we trust has signed it: `verify-ca`.
    Ca,
    /// And it is made out to the host that we asked for: `verify-full`.
    CaAndHost,
}

/// What a URL says.
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) check: CertificateCheck,
    /// A file with the certificates to trust; without it those of the system.
    pub(super) roots: Option<PathBuf>,
}

/// Reads a URL. `sslmode` and `sslrootcert` are read here, since the driver knows only some of what libpq does; all
/// else is the driver's.
pub(super) fn parse(url: &str, settings: &Settings) -> Result<Target, OpenError> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some((name @ ("sslmode" | "sslrootcert"), value)) => ours.push((name, decoded(value)?)),
            _ => theirs.push(part),
        }
    }
    let rest = if theirs.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", theirs.join("&"))
    };
    let mut config: Config = rest.parse().map_err(OpenError::unreadable)?;
    let (mut mode, mut check, mut roots) = (SslMode::Prefer, CertificateCheck::None, None);
    for (name, value) in ours {
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
    // As libpq does: whoever names the certificates to trust wants them to count.
    if roots.is_some() && mode == SslMode::Require && check == CertificateCheck::None {
        check = CertificateCheck::Ca;
    }
    config.ssl_mode(mode);
    apply_defaults(&mut config, settings);
    Ok(Target { config, check, roots })
}

/// A percent-encoded value as text.
fn decoded(value: &str) -> Result<String, OpenError> {
    let text = percent_decode_str(value).decode_utf8();
    let text = text.map_err(|_| OpenError::Url {
        problem: "sslmode or sslrootcert is not UTF-8".to_owned(),
    });
    Ok(text?.into_owned())
}

/// What holds unless the URL says otherwise.
fn apply_defaults(config: &mut Config, settings: &Settings) {
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
    // Of several hosts, the one that takes writes: after a failover that is another one.
    if config.get_hosts().len() > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
}

/// What may be shown: where and which database, without the password.
pub(super) fn address(config: &Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(n, host)| {
        // One port counts for all hosts.
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
        parse(url, &Settings::default()).unwrap()
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
            assert!(super::parse(wrong, &Settings::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = "postgresql://parlance:swordfish@a.example,b.example:5433/chat?connect_timeout=4";
        let target = target(url);
        assert_eq!(address(&target.config), "a.example:5432,b.example:5433/chat");
        assert_eq!(target.config.get_connect_timeout(), Some(&Duration::from_secs(4)));
        assert_eq!(target.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let Err(error) = parse("postgres://parlance:swordfish@db/?port=x", &Settings::default()) else {
            panic!("it was read")
        };
        assert!(!format!("{error:?} {error}").contains("swordfish"), "{error:?}");
    }
}
