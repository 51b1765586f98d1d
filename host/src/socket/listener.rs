//! Accepts the TCP connections of clients.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;

use super::address::{ClientAddress, TrustedProxies};
use super::serve::HttpServer;
use super::settings::TransportLimits;
use super::transports::{Transport, Transports};

/// Pause after a failed accept, which usually means a lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two log lines about clients that wait for file descriptors.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A bound TCP socket with the limits of its connections.
pub struct Listener {
    tcp: TcpListener,
    /// One permit for each file descriptor that clients may use.
    descriptors: Arc<Semaphore>,
    /// When the log last said that clients wait for file descriptors.
    last_warning: Option<Instant>,
    write_stall: Duration,
    transports: Transports,
    proxies: TrustedProxies,
}

impl Listener {
    /// Wraps a bound socket.
    ///
    /// A write that makes no progress for `write_stall` ends its connection. At most `descriptors` connections are
    /// accepted at once; the others wait in the kernel's queue. The addresses that `proxies` report are trusted.
    #[must_use]
    pub fn new(
        tcp: TcpListener,
        write_stall: Duration,
        busy_max: usize,
        limits: TransportLimits,
        descriptors: usize,
        proxies: TrustedProxies,
    ) -> Self {
        Self {
            tcp,
            descriptors: Arc::new(Semaphore::new(descriptors.min(Semaphore::MAX_PERMITS))),
            last_warning: None,
            write_stall,
            transports: Transports::new(busy_max, limits),
            proxies,
        }
    }

    /// The transports of this listener.
    #[must_use]
    pub fn transports(&self) -> Transports {
        self.transports.clone()
    }

    /// Waits until clients may use one more file descriptor. If there is none, the oldest silent transport is closed.
    async fn acquire_descriptor(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.descriptors.clone().try_acquire_owned() {
            return Some(permit);
        }
        self.transports.close_oldest();
        if self.last_warning.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
            self.last_warning = Some(Instant::now());
            tracing::warn!(
                transports = self.transports.busy_count(),
                "new connections wait: clients use all file descriptors that the system allows (ulimit -n), except for \
                 those that the server needs itself"
            );
        }
        // The semaphore is never closed.
        self.descriptors.clone().acquire_owned().await.ok()
    }

    /// Serves connections until `stopped`, then accepts no more and closes those without a request.
    ///
    /// The future never completes. Dropping it ends all connections that are not WebSockets.
    pub async fn serve(self, router: Router, stopped: impl Future<Output = ()>) {
        let end = CancellationToken::new();
        let _ends_all = end.clone().drop_guard();
        let server = Arc::new(HttpServer::new(router, self.proxies.clone(), end));
        let transports = self.transports.clone();
        tokio::select! {
            () = self.accept(server) => {}
            () = stopped => transports.stop(),
        }
        std::future::pending().await
    }

    /// Accepts connections and serves each in its own task. Dropping the future closes the listening socket.
    async fn accept(mut self, server: Arc<HttpServer>) {
        let mut descriptor = self.acquire_descriptor().await;
        loop {
            let (stream, address) = match self.tcp.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.transports.close_oldest();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let address = address.ip().to_canonical();
            let counted = (!self.proxies.contain(address)).then(|| ClientAddress::new(address).network());
            let transport = self.transports.add(counted);
            let io = ClientStream::new(stream, self.write_stall, transport.clone(), descriptor);
            tokio::spawn(server.clone().serve(io, address, transport));
            descriptor = self.acquire_descriptor().await;
        }
    }
}

/// The TCP stream of one client, which tells its [`Transport`] what happens.
pub(super) struct ClientStream {
    /// Fails a write that makes no progress for `write_stall`.
    stream: Pin<Box<TimeoutWriter<TcpStream>>>,
    transport: Arc<Transport>,
    /// Declared after `stream`, so that it is released only when the stream has closed its file descriptor.
    _descriptor: Option<OwnedSemaphorePermit>,
}

impl ClientStream {
    fn new(
        stream: TcpStream,
        write_stall: Duration,
        transport: Arc<Transport>,
        descriptor: Option<OwnedSemaphorePermit>,
    ) -> Self {
        // Without these options, small packets are delayed, or a dead peer is noticed later. Neither is worth refusing
        // the client.
        if let Err(error) = stream
            .set_nodelay(true)
            .and_then(|()| set_user_timeout(&stream, write_stall))
        {
            tracing::debug!(%error, "a TCP option could not be set");
        }
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(write_stall));
        Self {
            stream: Box::pin(stream),
            transport,
            _descriptor: descriptor,
        }
    }

    /// Waits for the first bytes without reading them.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.get_ref().poll_read_ready(cx)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.transport.mark_closed();
    }
}

/// Lets the kernel drop the connection when the peer acknowledges no data for this long (RFC 5482).
fn set_user_timeout(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(timeout))
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream.as_mut().poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.transport.received();
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}
