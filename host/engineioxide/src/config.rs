//! The settings of an Engine.IO server.

use std::borrow::Cow;
use std::time::Duration;

use engineioxide_core::TransportType;

/// The settings of a server. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct EngineIoConfig {
    /// The path of Engine.IO, without a slash at its end.
    pub req_path: Cow<'static, str>,
    /// Time between two pings, and between the opening of a session and its first ping.
    pub ping_interval: Duration,
    /// Time for the client's pong.
    pub ping_timeout: Duration,
    /// Time for each step of an upgrade from polling to a WebSocket.
    pub upgrade_timeout: Duration,
    /// Packets that may wait for one client.
    pub max_buffer_size: usize,
    /// The largest body of a polling request, and of the response to a poll.
    pub max_payload: u64,
    /// The read buffer of an idle WebSocket. A busy one reads more at once.
    pub ws_read_buffer_size: usize,
    /// The largest WebSocket message.
    pub ws_max_message_size: usize,
    /// The largest WebSocket frame.
    pub ws_max_frame_size: usize,
    /// The enabled transports, as bits of [`TransportType`].
    pub transports: u8,
}

impl Default for EngineIoConfig {
    fn default() -> Self {
        Self {
            req_path: "/engine.io".into(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            max_buffer_size: 128,
            max_payload: 100_000,
            ws_read_buffer_size: 512,
            ws_max_message_size: 64 << 20,
            ws_max_frame_size: 16 << 20,
            transports: TransportType::Polling as u8 | TransportType::Websocket as u8,
        }
    }
}

impl EngineIoConfig {
    /// A builder with the default settings.
    #[must_use]
    pub fn builder() -> EngineIoConfigBuilder {
        EngineIoConfigBuilder::new()
    }

    /// Whether the transport is enabled.
    #[must_use]
    pub fn allowed_transport(&self, transport: TransportType) -> bool {
        self.transports & transport as u8 != 0
    }
}

/// Builds an [`EngineIoConfig`]. Each method sets the field of its name.
#[derive(Debug, Clone, Default)]
pub struct EngineIoConfigBuilder {
    config: EngineIoConfig,
}

macro_rules! setters {
    ($($field:ident: $kind:ty),+ $(,)?) => {$(
        #[doc = concat!("Sets [`EngineIoConfig::", stringify!($field), "`].")]
        #[must_use]
        pub fn $field(mut self, $field: $kind) -> Self {
            self.config.$field = $field;
            self
        }
    )+};
}

impl EngineIoConfigBuilder {
    /// A builder with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`EngineIoConfig::req_path`].
    #[must_use]
    pub fn req_path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.config.req_path = path.into();
        self
    }

    setters! {
        ping_interval: Duration,
        ping_timeout: Duration,
        upgrade_timeout: Duration,
        max_buffer_size: usize,
        max_payload: u64,
        ws_read_buffer_size: usize,
        ws_max_message_size: usize,
        ws_max_frame_size: usize,
    }

    /// Enables only these transports.
    #[must_use]
    pub fn transports<const N: usize>(mut self, transports: [TransportType; N]) -> Self {
        self.config.transports = transports.into_iter().fold(0, |bits, transport| bits | transport as u8);
        self
    }

    /// Returns the settings.
    #[must_use]
    pub fn build(self) -> EngineIoConfig {
        self.config
    }
}
