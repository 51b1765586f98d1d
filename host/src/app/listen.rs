//! The listening sockets: one for clients, and one for operators, which need not be reachable from outside.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::net::{TcpListener, TcpSocket, lookup_host};

use crate::config::{AdminAddress, Config, Server};
use crate::socket::{Listener, TransportLimits, TrustedProxies};

/// Requests allowed beyond `limits.connections`: health checks, polls, clients that are connecting.
const SPARE_REQUESTS: usize = 1024;
/// Requests of operators at once, followers of the log included. Their file descriptors are reserved.
const OPERATORS: usize = 128;
/// TCP connections that wait to be accepted, as far as the system allows (`net.core.somaxconn`). When the clients of a
/// node that has gone all come at once, those beyond it wait for a second, and then for longer: 500 at once took 0.56 s with
/// the usual 128.
const BACKLOG: u32 = 4096;
/// Idle connections of operators and metrics collectors.
const SILENT_OPERATORS: usize = 256;
/// How long the body of a request may take to arrive: an import is read as fast as it is stored. The admin API waits for a
/// deployment's less long.
const BODY_TIMEOUT: Duration = Duration::from_secs(3600);

/// Binds the address for clients, and that for operators if they have one of their own.
///
/// # Errors
/// Why an address cannot be bound, and what to do.
pub(super) async fn bind(server: &Server) -> Result<(TcpListener, Option<TcpListener>)> {
    let clients = listener(&server.host, server.port, "PORT or server.port").await?;
    let operators = match &server.admin_address {
        AdminAddress::Own { host, port } => {
            let settings = "PARLANCE_ADMIN_ADDRESS or server.admin_address, or switch it off with \"off\"";
            Some(listener(host, *port, settings).await?)
        }
        AdminAddress::Shared | AdminAddress::Off => None,
    };
    Ok((clients, operators))
}

async fn listener(host: &str, port: u16, settings: &str) -> Result<TcpListener> {
    bind_one(host, port).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "{host}:{port} is in use by another process; stop that one, or choose another port with {settings}"
        ),
        std::io::ErrorKind::PermissionDenied => anyhow!(
            "listening on {host}:{port} is not permitted; ports below 1024 need a privilege, so choose a higher one with \
             {settings}"
        ),
        _ => anyhow!("cannot listen on {host}:{port} ({settings}): {error}"),
    })
}

/// Listens on the first of the host's addresses that can be bound.
async fn bind_one(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let mut failed = std::io::ErrorKind::AddrNotAvailable.into();
    for address in lookup_host((host, port)).await? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // So that a server starts again while connections of the last one are still closing.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The listener for clients, within the configured limits and `descriptors` file descriptors.
pub(super) fn for_clients(tcp: TcpListener, config: &Config, descriptors: usize) -> Listener {
    let busy = config.connections.connections.saturating_add(SPARE_REQUESTS);
    let proxies = TrustedProxies::new(&config.server.trusted_proxies);
    let stall = config.connections.write_stall;
    Listener::new(tcp, stall, busy, config.transports.clone(), descriptors, proxies)
}

/// The listener for operators. Its limits are apart from those of clients.
pub(super) fn for_operators(tcp: TcpListener, config: &Config) -> Listener {
    let transports = TransportLimits {
        silent_connections: SILENT_OPERATORS,
        silent_connections_per_address: SILENT_OPERATORS,
        body_timeout: BODY_TIMEOUT,
        ..config.transports.clone()
    };
    let descriptors = OPERATORS + SILENT_OPERATORS;
    let stall = config.connections.write_stall;
    Listener::new(
        tcp,
        stall,
        OPERATORS,
        transports,
        descriptors,
        TrustedProxies::default(),
    )
}
