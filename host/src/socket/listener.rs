//! TCP: connections that do not wait with small packets.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutWriter;

/// Pause after a failed accept, which comes from a want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the log says that clients wait for descriptors.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Listens for clients.
pub struct Listener {
    tcp: TcpListener,
    /// One permit for each descriptor that clients may have.
    descriptors: Arc<Semaphore>,
    /// When the log last said that there are none.
    said: Option<Instant>,
    write_stall: Duration,
    max: usize,
    transports: Transports,
}

/// Transports beyond the number of connections: health checks, polling requests, clients on their way in.
const SPARE_TRANSPORTS: usize = 1024;

/// How many transports are open.
#[derive(Clone, Default)]
pub struct Transports(Arc<AtomicUsize>);

impl Transports {
    /// The number, HTTP connections that are kept alive included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn opened(&self) -> Open {
        self.0.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }
}

/// Counts a transport while it is there.
struct Open(Transports);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Listener {
    /// Takes over a bound socket. A write that makes no progress for `write_stall` ends its connection. More
    /// transports than `connections` and a few are closed as they come. At most `descriptors` are accepted: the others
    /// wait in the kernel's queue.
    #[must_use]
    pub fn new(tcp: TcpListener, write_stall: Duration, connections: usize, descriptors: usize) -> Self {
        Self {
            tcp,
            descriptors: Arc::new(Semaphore::new(descriptors.min(Semaphore::MAX_PERMITS))),
            said: None,
            write_stall,
            max: connections.saturating_add(SPARE_TRANSPORTS),
            transports: Transports::default(),
        }
    }

    /// Counts the transports that are open.
    #[must_use]
    pub fn transports(&self) -> Transports {
        self.transports.clone()
    }

    /// Waits until clients may have one more descriptor.
    async fn descriptor(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.descriptors.clone().try_acquire_owned() {
            return Some(permit);
        }
        if self.said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(
                transports = self.transports.open(),
                "clients wait to be let in: they have all file descriptors that the system gives (ulimit -n), but for \
                 those that the server needs itself"
            );
        }
        // Never closed.
        self.descriptors.clone().acquire_owned().await.ok()
    }
}

impl axum::serve::Listener for Listener {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        let descriptor = self.descriptor().await;
        loop {
            match self.tcp.accept().await {
                Ok(_) if self.transports.open() >= self.max => {
                    tracing::warn!("a connection was closed: there are too many")
                }
                Ok((stream, address)) => {
                    let io = Io::new(stream, self.write_stall, self.transports.opened(), descriptor);
                    return (io, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// The address that a connection comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A client's transport.
pub struct Io {
    /// A writer that makes no progress fails by itself.
    stream: Pin<Box<TimeoutWriter<TcpStream>>>,
    _open: Open,
    /// Given back after the stream, which is above, has closed its descriptor.
    _descriptor: Option<OwnedSemaphorePermit>,
}

impl Io {
    fn new(stream: TcpStream, write_stall: Duration, open: Open, descriptor: Option<OwnedSemaphorePermit>) -> Self {
        // Neither option is vital: without them packets are late or a dead peer is noticed later.
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
            _open: open,
            _descriptor: descriptor,
        }
    }
}

/// After this long without an acknowledgement from the peer's kernel the connection is dead (RFC 5482).
fn set_user_timeout(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(timeout))
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
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
