//! Settings of the server as a whole: what this module, its wiring and the control obey. Those of other modules are
//! declared there.

use std::time::Duration;

use ipnet::IpNet;

use super::addresses::{AdminAddress, AdminListener, Host, Networks, Origins};
use super::places::{LogFilter, StoreLocation, StoreUrl};
use parlance_types::settings::{Choice, Count, Port, Time, hours, millis, secs, settings};

settings! {
    /// The listening socket and who may connect to it.
    pub struct Server of the server in "server" {
        /// The address to listen on: an IP address or a host name. `0.0.0.0` is every IPv4 interface, `::` every one.
        host: String = "0.0.0.0".to_owned(), Host;
        /// The TCP port; 0 lets the system choose one.
        port: u16 = 3000, Port;
        /// Where operators reach /admin, /metrics, /healthz and /readyz: HOST:PORT of a second socket, which should not be
        /// open to the world, "shared" for the clients' port, or "off".
        admin_address: AdminAddress = AdminAddress::own("127.0.0.1", 3001), AdminListener;
        /// Origins of pages on other hosts that may connect; "*" is any. Pages of the server's own host and port always
        /// may, and so may programs, which send no Origin.
        cors_origins: Vec<String> = Vec::new(), Origins;
        /// Addresses or networks of the reverse proxies in front of this server, which are believed about their clients'
        /// addresses (X-Forwarded-For). Limits by address and the log then count and show the client instead of the proxy.
        trusted_proxies: Vec<IpNet> = Vec::new(), Networks;
        /// How long a node of a fleet takes, when it is told to stop, to send its clients to other nodes, evenly spread.
        /// New clients are refused meanwhile, and connected ones are served. With "0s" all clients go at once, as there is nowhere to go.
        drain_time: Duration = secs(0), Time(secs(0), secs(3600));
        /// How long a stopping server waits for what is in flight.
        shutdown_timeout: Duration = secs(10), Time(secs(1), secs(60));
    }
}

settings! {
    /// Where the data lives.
    pub struct Store of the server in "store" {
        /// The database: one SQLite file for one node, or PostgreSQL for any number.
        url: StoreUrl = StoreUrl::Sqlite("parlance.db".into()), StoreLocation;
        /// How long a start looks for damage in an SQLite database, at most; "0s": at its length only.
        check_time: Duration = secs(2), Time(secs(0), hours(24));
        /// How long entries of the audit log are kept.
        audit_kept: Duration = hours(365 * 24), Time(hours(1), hours(10 * 365 * 24));
        /// How often messages are looked for that their tenant's [retention] does not keep.
        retention_every: Duration = secs(600), Time(millis(100), hours(7 * 24));
        /// The most messages that one transaction removes. Pauses follow, so removing takes a tenth of the store's time.
        retention_batch: usize = 200, Count(1, 10_000);
    }
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

settings! {
    /// What the log holds.
    pub struct Log of the server in "log" {
        /// Which events are logged: a level, or directives such as "info,parlance=debug".
        level: String = "info".to_owned(), LogFilter;
        /// Lines for people or for programs.
        format: LogFormat = LogFormat::Text, Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    }
}

settings! {
    /// When a new version of a handler goes back by itself.
    pub struct Deploy of the server in "deploy" {
        /// The share of its events that may end with a trap or run out of time, in percent.
        failure_percent: usize = 2, Count(1, 100);
        /// Fewer failed events than this never count.
        failures: usize = 5, Count(1, 1_000_000);
        /// The time over which events are counted.
        window: Duration = secs(10), Time(secs(1), secs(600));
    }
}

settings! {
    /// How effects are written.
    pub struct Commit of the server in "commit" {
        /// Events that share one transaction.
        batch: usize = 512, Count(1, 10_000);
    }
}
