//! Every setting: its type, default, range and description, in this one place.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::addresses::{AdminAddress, AdminListener, Host, Networks, Origins, UrlPath};
use super::kinds::{
    AdapterName, Count, DirectoryOrNone, HeaderNames, Hosts, Kind, LogFilter, LogFormat, LogFormatName, Port,
    StoreLocation, StoreUrl,
};
use super::kinds::{
    GIB, KIB, MIB, ParserName, Prefix, RedisAdapter, RedisLocation, RedisUrls, Size, Switch, Texts, Time,
};
use super::reader::Reader;
use crate::capability::HostPattern;
use crate::tenant::Parser;

/// One setting, as messages and the commented defaults show it.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// Its key within the section.
    pub name: &'static str,
    /// Its default, as TOML.
    pub default: &'static str,
    /// What it may be, in words.
    pub allowed: String,
    /// What it is.
    pub doc: &'static [&'static str],
}

/// A table of the file.
pub(super) trait Section: Sized {
    /// Its name.
    const TABLE: &'static str;
    /// What it is about.
    const ABOUT: &'static [&'static str];
    /// Its settings, in the order of their declaration.
    fn settings() -> Vec<Setting>;
    /// Reads every setting, reporting each that is wrong; `None` when one was.
    fn read(reader: &mut Reader<'_, '_>) -> Option<Self>;
}

/// Declares a section: the struct, its documentation, its settings as data and how they are read. A default is
/// written as in TOML.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $vis:vis $name:ident = $table:literal
        $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:tt, $kind:expr; )+
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!("Default `", stringify!($default), "`, allowed: `", stringify!($kind), "`.")]
                pub $field: $type,
            )+
        }

        impl Section for $name {
            const TABLE: &'static str = $table;
            const ABOUT: &'static [&'static str] = &[$($about),+];

            fn settings() -> Vec<Setting> {
                vec![$(Setting {
                    name: stringify!($field),
                    default: stringify!($default),
                    allowed: $kind.allowed(),
                    doc: &[$($doc),+],
                }),+]
            }

            fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
                $( let $field = reader.setting(stringify!($field), stringify!($default), &$kind); )+
                Some(Self { $( $field: $field?, )+ })
            }
        }
    };
}

section! {
    /// The listening socket and who may connect to it.
    pub Server = "server"
    /// The address to listen on: an IP address or a host name. `0.0.0.0` is every IPv4 interface, `::` every one.
    host: String = "0.0.0.0", Host;
    /// The TCP port; 0 lets the system choose one. Environment: PORT.
    port: u16 = 3000, Port;
    /// The path of Socket.IO: the clients' option `path`.
    path: String = "/socket.io", UrlPath;
    /// Where operators reach /admin, /metrics, /healthz and /readyz: HOST:PORT of a second socket, which should not be
    /// open to the world, "shared" for the clients' port, or "off". Environment: PARLANCE_ADMIN_ADDRESS.
    admin_address: AdminAddress = "127.0.0.1:3001", AdminListener;
    /// Origins of pages on other hosts that may connect; "*" is any. Pages of the server's own host and port always
    /// may, and so may programs, which send no Origin. Environment: FRONTEND_URL, comma-separated.
    cors_origins: Vec<String> = [], Origins;
    /// Addresses or networks of the reverse proxies in front of this server, which are believed about their clients'
    /// addresses (X-Forwarded-For). Limits by address and the log then count and show the client instead of the proxy.
    trusted_proxies: Vec<IpNet> = [], Networks;
    /// Accept permessage-deflate (RFC 7692) from WebSocket clients that offer it. The server compresses messages of 1 KiB
    /// and more, once for each recipient; clients may compress any. No tenant is charged for that processor time.
    compression: bool = false, Switch;
    /// Headers of the request that opens a connection that handlers get (`identity.handshake`).
    handshake_headers: Vec<String> = ["accept-language", "user-agent"], HeaderNames;
    /// How long a node of a fleet takes, when it is told to stop, to send its clients to other nodes, evenly spread.
    /// Nobody connects meanwhile, and who is connected is served. "0s": all at once, as there is nowhere to go.
    drain_time: Duration = "0s", Time(secs(0), secs(3600));
    /// How long a stopping server waits for what is in flight.
    shutdown_timeout: Duration = "10s", Time(secs(1), secs(60));
}

section! {
    /// Where the data lives.
    pub Store = "store"
    /// The database: one SQLite file for one node, or PostgreSQL for any number. Environment: DATABASE_URL.
    url: StoreUrl = "sqlite:parlance.db", StoreLocation;
    /// Connections to PostgreSQL, of this node.
    connections: usize = 8, Count(2, 1000);
    /// How long connecting to PostgreSQL may take, and waiting for one of its connections.
    connect_time: Duration = "3s", Time(millis(100), secs(60));
    /// How long one statement may take in PostgreSQL, waiting for other nodes included.
    statement_time: Duration = "5s", Time(millis(100), secs(600));
    /// How long a start looks for damage in an SQLite database, at most; "0s": at its length only.
    check_time: Duration = "2s", Time(secs(0), secs(24 * 3600));
    /// How long entries of the audit log are kept.
    audit_kept: Duration = "8760h", Time(secs(3600), secs(10 * 365 * 24 * 3600));
}

section! {
    /// What the log holds.
    pub Log = "log"
    /// Which events are logged: a level, or directives such as "info,parlance=debug". Environment: RUST_LOG.
    level: String = "info", LogFilter;
    /// Lines for people or for programs.
    format: LogFormat = "text", LogFormatName;
}

section! {
    /// Which tokens (JWT) are accepted.
    pub(super) Auth = "auth"
    /// How far the clocks of the token's issuer and of this server may be apart.
    leeway: Duration = "5s", Time(Duration::ZERO, secs(300));
    /// How long before its token expires a client is told with `token-expiring`. Of the file's own table, for all tenants.
    expiring_notice: Duration = "60s", Time(secs(1), secs(86_400));
    /// When not empty, a token's `aud` must have one of these.
    audience: Vec<String> = [], Texts;
    /// When not empty, a token's `iss` must be one of these.
    issuer: Vec<String> = [], Texts;
}

section! {
    /// What one connection may cost.
    pub Limits = "limits"
    /// Bytes of one packet from a client.
    packet: usize = "64KiB", Size(KIB, 8 * MIB);
    /// Bytes of an event's name.
    event_name: usize = 128, Count(16, 1024);
    /// Bytes of a room's id.
    room_id: usize = 128, Count(1, 128);
    /// Bytes of a message's content.
    content: usize = "16KiB", Size(1, MIB);
    /// Bytes of a message's metadata, as JSON.
    metadata: usize = "4KiB", Size(2, MIB);
    /// Bytes of the id that a client gives a message.
    client_id: usize = 128, Count(1, 1024);
    /// How deep JSON from a client may nest.
    json_depth: usize = 64, Count(4, 120);
    /// Messages on a page of history when the client does not say.
    history_page: usize = 50, Count(1, 1000);
    /// Messages on a page of history at most.
    history_page_max: usize = 200, Count(1, 1000);
    /// Events of one connection that wait for their turn; a further one is refused.
    queue_events: usize = 2048, Count(1, 65_536);
    /// Events of one connection in a second, on average; a further one is refused with the time to wait.
    events_per_second: usize = 200, Count(1, 1_000_000);
    /// Events that one connection may send at once.
    event_burst: usize = 1000, Count(1, 1_000_000);
    /// Bytes of the events of one connection in a second, on average.
    bytes_per_second: usize = "1MiB", Size(KIB, GIB);
    /// Bytes of events that one connection may send at once.
    byte_burst: usize = "8MiB", Size(KIB, GIB);
    /// Bytes of the events of one connection that wait for their turn.
    queue_bytes: usize = "4MiB", Size(KIB, GIB);
    /// Packets that one client's own queue holds; what does not fit waits beside it, up to `outbound_bytes`.
    outbound_packets: usize = 128, Count(8, 65_536);
    /// Bytes that wait for one client beside its queue; a client that is further behind is disconnected.
    outbound_bytes: usize = "2MiB", Size(KIB, GIB);
    /// How long a client may read nothing while bytes wait for it.
    write_stall: Duration = "30s", Time(secs(1), secs(600));
    /// User ids in one `get-presence`.
    presence_users: usize = 200, Count(1, 10_000);
    /// How long a user counts as typing without saying so again: clients renew it every few seconds. After that the host
    /// lets `on-typing` know that it has ended.
    typing_timeout: Duration = "10s", Time(secs(1), secs(600));
    /// How long a user whose last connection went is still shown as before, so that a quick reconnect shows nothing;
    /// "0s" for not at all.
    presence_grace: Duration = "3s", Time(millis(0), secs(60));
    /// Rooms that one connection is in.
    rooms_per_connection: usize = 256, Count(1, 65_536);
    /// Bytes of the JSON object that handlers keep with one connection (`rooms.set-data`).
    connection_data: usize = "4KiB", Size(2, MIB);
    /// Times in a second, on average, that one transport may ask to be connected to a namespace.
    connects_per_second: usize = 5, Count(1, 100_000);
    /// Times at once that one transport may ask to be connected to a namespace.
    connect_burst: usize = 32, Count(1, 100_000);
    /// Connections to this server.
    connections: usize = 100_000, Count(1, 10_000_000);
    /// Connections from one address: an IPv4 address, or 64 bits of an IPv6 one. Many clients may share an address, and
    /// behind a proxy that is not in `server.trusted_proxies` all do, so there is no smaller bound unless one is set.
    connections_per_address: usize = 100_000, Count(1, 10_000_000);
    /// Connections that have not shown a token yet.
    unauthenticated: usize = 2048, Count(1, 1_000_000);
    /// Those of one address.
    unauthenticated_per_address: usize = 1024, Count(1, 1_000_000);
    /// New connections a second, before they show a token. As many may come at once.
    handshakes_per_second: usize = 10_000, Count(1, 1_000_000);
    /// Those of one address.
    handshakes_per_second_per_address: usize = 5000, Count(1, 1_000_000);
    /// How often the server asks whether a client is still there.
    ping_interval: Duration = "25s", Time(millis(100), secs(300));
    /// How long it waits for the answer.
    ping_timeout: Duration = "20s", Time(millis(100), secs(300));
    /// Bytes of what a client says besides its token when it connects: the rest of `auth`, the query, and the headers
    /// that `server.handshake_headers` names, together.
    handshake: usize = "4KiB", Size(0, 64 * KIB);
    /// How long a connection may take to join a namespace, which takes a token.
    connect_timeout: Duration = "10s", Time(millis(100), secs(300));
    /// How long a client may take to send the head of an HTTP request, from its first byte or from when it connected.
    header_timeout: Duration = "10s", Time(millis(100), secs(600));
    /// How long it may take to send the body of one.
    body_timeout: Duration = "30s", Time(millis(100), secs(3600));
    /// How long a TCP connection may stay open between two requests. A reverse proxy that keeps connections for later
    /// must close them sooner, so that it never sends a request into one that is being closed.
    idle_timeout: Duration = "75s", Time(millis(100), secs(3600));
    /// TCP connections that have no request and are no WebSocket. When there are more, the oldest is closed.
    silent_connections: usize = 4096, Count(16, 1_000_000);
    /// Of one address: an IPv4 address, or 64 bits of an IPv6 one. Many clients behind one address connect at the same
    /// time when their network comes back. Those of `server.trusted_proxies` are not counted.
    silent_connections_per_address: usize = 1024, Count(1, 1_000_000);
}

section! {
    /// How a tenant's clients speak.
    pub Clients = "clients"
    /// The encoding of packets: "default", or "msgpack" for clients with the option `parser` of
    /// socket.io-msgpack-parser. A client that speaks the other is refused.
    parser: Parser = "default", ParserName;
}

section! {
    /// What one event may cost inside a handler.
    pub Sandbox = "sandbox"
    /// CPU time.
    guest_time: Duration = "50ms", Time(millis(1), secs(10));
    /// Time from the start of the handler to its end, waiting for the host included.
    wall_time: Duration = "2s", Time(millis(1), secs(60));
    /// Bytes of the handler's memory. Addresses are reserved for `instances` of them, 4 GiB for each.
    memory: usize = "16MiB", Size(256 * KIB, GIB);
    /// Calls to the host.
    host_calls: usize = 1000, Count(8, 1_000_000);
    /// Effects: messages, writes, emits and the like.
    effects: usize = 256, Count(1, 10_000);
    /// Bytes of all effects and the reply.
    output: usize = "256KiB", Size(KIB, 64 * MIB);
    /// Bytes of log text; what is longer is cut.
    log_bytes: usize = "8KiB", Size(0, MIB);
    /// Bytes that the handler passes to the host in one call.
    transfer: usize = "2MiB", Size(64 * KIB, 256 * MIB);
    /// Bytes that the handler passes to the host and gets from it in all calls together.
    transfer_total: usize = "16MiB", Size(64 * KIB, 4 * GIB);
    /// Bytes of one event that the handler emits, attachments included.
    emit: usize = "128KiB", Size(KIB, 16 * MIB);
    /// HTTP requests, where a grant lets the handler send any. Those that no grant covers count too.
    http_requests: usize = 8, Count(1, 1000);
    /// Bytes of the bodies of all its HTTP requests and responses, and of the responses' headers.
    http_bytes: usize = "1MiB", Size(KIB, 256 * MIB);
    /// Instances at once, in the whole server, a quarter of them for tenants that have few. Further events wait.
    instances: usize = 256, Count(1, 10_000);
    /// Bytes of a component's file.
    component_size: usize = "32MiB", Size(64 * KIB, 512 * MIB);
    /// Processor time that compiling a component may take; of the clock, four times as much.
    compile_time: Duration = "60s", Time(secs(1), secs(600));
    /// Bytes of address space of the process that compiles.
    compile_memory: usize = "4GiB", Size(256 * MIB, 64 * GIB);
    /// The directory of compiled components, which is made when it is not there; "none" for no cache.
    cache: Option<PathBuf> = ".parlance/cache", DirectoryOrNone;
    /// Bytes of compiled components in it; those that were not used for longest go first.
    cache_size: usize = "512MiB", Size(MIB, 64 * GIB);
    /// Instances of one handler with `isolation = "warm"` that wait for its next event. More run when more events do.
    warm_kept: usize = 8, Count(1, 1024);
    /// Events that such an instance handles at most.
    warm_uses: usize = 10_000, Count(1, 1_000_000_000);
    /// Bytes of memory past which it is not used again.
    warm_memory: usize = "8MiB", Size(64 * KIB, GIB);
    /// How long it waits for its next event.
    warm_idle: Duration = "60s", Time(secs(1), secs(3600));
    /// How often running handlers are looked at, hence how exactly times are kept.
    tick: Duration = "1ms", Time(millis(1), millis(100));
}

section! {
    /// What a tenant may cost in all, on this node. Each tenant has the whole of it.
    pub Quota = "quota"
    /// Connections.
    connections: usize = 10_000, Count(1, 10_000_000);
    /// Connections of one user.
    connections_per_user: usize = 100, Count(1, 1_000_000);
    /// Events in a second, on average.
    events_per_second: usize = 5000, Count(1, 10_000_000);
    /// Events at once.
    event_burst: usize = 10_000, Count(1, 10_000_000);
    /// Processor time in a second, of its handlers and of sending what they have sent: more than 1s is more than one
    /// processor.
    guest_cpu: Duration = "500ms", Time(millis(1), secs(1000));
    /// Handlers that run at once; further events wait.
    instances: usize = 32, Count(1, 10_000);
    /// Bytes of what its handlers log, and of the traces of those that are stopped, in a second; the rest is left out,
    /// and how much that was is said.
    log_bytes_per_second: usize = "64KiB", Size(KIB, GIB);
    /// Bytes that its events write to the store in a second; each write counts as 512 bytes more.
    write_bytes_per_second: usize = "4MiB", Size(KIB, GIB);
    /// Bytes that go out to its clients in a second, each client's counted, and 512 bytes more for each packet.
    outbound_bytes_per_second: usize = "32MiB", Size(KIB, GIB);
    /// HTTP requests that its handlers send in a second, on average; twice as many may come at once.
    http_requests_per_second: usize = 100, Count(1, 1_000_000);
    /// Bytes of its events that wait for their handlers or are being handled.
    queued_bytes: usize = "64MiB", Size(MIB, 64 * GIB);
    /// Bytes of what its events do that are on the way to the store and to clients; further events wait.
    in_flight_bytes: usize = "8MiB", Size(64 * KIB, GIB);
    /// Bytes of stored messages.
    message_bytes: usize = "10GiB", Size(KIB, 1024 * 1024 * GIB);
    /// Bytes of key-value data.
    kv_bytes: usize = "256MiB", Size(KIB, 1024 * GIB);
    /// Rooms with a message.
    rooms: usize = 100_000, Count(1, 1_000_000_000);
    /// Deployed handlers.
    handlers: usize = 16, Count(1, 1000);
    /// Versions of a deployed handler that are kept, ready to go back to.
    versions: usize = 5, Count(2, 100);
    /// Bytes of the components of all versions that are kept, each component counted once.
    component_bytes: usize = "256MiB", Size(MIB, 64 * GIB);
}

section! {
    /// When a new version of a handler goes back by itself.
    pub Deploy = "deploy"
    /// The share of its events that may end with a trap or run out of time, in percent.
    failure_percent: usize = 2, Count(1, 100);
    /// Fewer failed events than this never count.
    failures: usize = 5, Count(1, 1_000_000);
    /// The time over which events are counted.
    window: Duration = "10s", Time(secs(1), secs(600));
}

section! {
    /// What handlers may reach outside of this server.
    pub(super) Granted = "grants"
    /// Servers that they may send HTTP requests to, through `wasi:http`. A name must lead to public addresses; an
    /// address that is not public is reached only when it is itself written here.
    http: Vec<HostPattern> = [], Hosts;
}

section! {
    /// How effects are written.
    pub Commit = "commit"
    /// Events that share one transaction.
    batch: usize = 512, Count(1, 10_000);
}

section! {
    /// The way to other nodes, over Redis or Valkey.
    pub Redis = "redis"
    /// The servers; none means that this node is alone. Environment: REDIS_URL.
    url: RedisUrls = "", RedisLocation("one node");
    /// The sentinels, where Redis Sentinel decides which server is the primary. The host of `redis.url` is the name
    /// under which they know it, and user, password, database and TLS there are the primary's: `redis://:PASSWORD@NAME`.
    sentinels: RedisUrls = "", RedisLocation("no sentinels");
    /// Whether `redis.url` names nodes of a Redis Cluster. Several URLs always do.
    cluster: bool = false, Switch;
    /// Which of Node's adapters all servers on this Redis speak: `createAdapter`, and with it
    /// `@socket.io/redis-emitter`, or `createShardedAdapter`, which needs Redis 7.
    adapter: RedisAdapter = "classic", AdapterName;
    /// What channels and keys begin with: the `key` of Node's adapter, the `channelPrefix` of its sharded one.
    key: String = "socket.io", Prefix;
    /// How often this node says that it is alive.
    heartbeat: Duration = "2s", Time(millis(100), secs(60));
    /// How long it counts as alive without having said so; its users are offline after that.
    lease: Duration = "8s", Time(millis(500), secs(600));
    /// Messages that wait to be published; further ones are dropped, and other nodes fetch what they miss.
    queue_messages: usize = 10_000, Count(16, 1_000_000);
    /// Bytes of the messages that wait to be published.
    queue_bytes: usize = "32MiB", Size(MIB, GIB);
    /// Bytes of the largest message that is sent or read.
    message_bytes: usize = "8MiB", Size(64 * KIB, 256 * MIB);
    /// How long connecting may take.
    connect_timeout: Duration = "3s", Time(millis(100), secs(60));
    /// How long Redis may take to answer; after that the connection counts as lost.
    response_timeout: Duration = "5s", Time(millis(100), secs(60));
    /// The longest pause between two attempts to connect.
    reconnect_pause: Duration = "2s", Time(millis(100), secs(60));
    /// How often the store is asked for messages that Redis has lost without a sign; so late may one be then.
    sweep: Duration = "5s", Time(millis(100), secs(600));
    /// How often the store is asked for messages while Redis is away, which is how rooms go on meanwhile.
    poll: Duration = "1s", Time(millis(50), secs(60));
    /// How long other nodes may take to answer a request.
    request_timeout: Duration = "5s", Time(millis(100), secs(60));
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
