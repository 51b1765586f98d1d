//! The WebSocket transport: one task reads, writes and closes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::config::EngineIoConfig;
use crate::deflate::Deflate;
use crate::frame::{self, Decoder, FrameError, Message, SizeLimits};
use crate::outbox::{OutPacket, Outbox};
use crate::session::{CloseKind, Session};
use crate::socket::DisconnectReason;

/// The bytes of waiting packets that are joined into one write.
const WRITE_MAX: usize = 64 * 1024;
/// The approximate size of a frame's header, in bytes.
const FRAME_OVERHEAD: usize = 4;
/// The largest read buffer, in bytes.
const READ_MAX: usize = 16 * 1024;
/// With this many messages in one read, other tasks have their turn before the next one.
const YIELD_AFTER: usize = 32;
/// The capacity, in bytes, up to which an idle connection keeps a buffer.
const IDLE_CAPACITY: usize = 4 * 1024;
/// Time for the last packets, and for the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The status of a close frame without an error (RFC 6455, section 7.4.1).
pub(crate) const NORMAL_CLOSURE: Option<u16> = Some(1000);

/// The result of handling a packet.
pub(crate) enum PacketOutcome {
    /// The packet was handled or ignored.
    Accepted,
    /// The packet is not valid, so the session must end.
    Invalid,
}

/// A connection that has been upgraded to a WebSocket.
pub(crate) struct WebSocket<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    decoder: Decoder,
    /// Set when messages to the client are compressed.
    deflate: Option<Deflate>,
    /// Encoded frames. The first `written` bytes have been written.
    output: Vec<u8>,
    written: usize,
    /// The payload of the last ping that waits for its pong. Earlier ones need none (RFC 6455, section 5.5.3), so a client
    /// that sends pings and does not read takes no more memory.
    pong: Option<Bytes>,
    /// The size of the next read, in bytes.
    read_size: usize,
}

impl<S: AsyncRead + AsyncWrite> WebSocket<S> {
    pub(crate) fn new(stream: S, config: &EngineIoConfig, deflate: Option<Deflate>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            decoder: Decoder::new(deflate.is_some()),
            deflate,
            output: Vec::new(),
            written: 0,
            pong: None,
            read_size: config.ws_read_buffer_size.max(1),
        }
    }

    /// Receives one text message within `time`. Returns `None` if the client has gone or sends anything else.
    pub(crate) async fn receive_text(&mut self, sizes: SizeLimits, time: Duration) -> Option<String> {
        let read = async {
            loop {
                match self.decoder.next(sizes) {
                    Ok(Some(Message::Text(text))) => return Some(text),
                    Ok(Some(Message::Pong)) => {}
                    Ok(Some(Message::Ping(bytes))) => frame::write_pong(&mut self.output, &bytes),
                    Ok(Some(Message::Binary(_) | Message::Close(_))) | Err(_) => return None,
                    Ok(None) => {
                        self.flush().await.ok()?;
                        self.decoder.input.reserve(self.read_size);
                        if self.reader.read_buf(&mut self.decoder.input).await.ok()? == 0 {
                            return None;
                        }
                    }
                }
            }
        };
        timeout(time, read).await.ok()?
    }

    /// Sends a text packet within `time`.
    pub(crate) async fn send_text(&mut self, kind: u8, text: &str, time: Duration) -> Option<()> {
        frame::write_text(&mut self.output, kind, [text.as_bytes(), &[]], None);
        timeout(time, self.flush()).await.ok()?.ok()
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            self.written += self.writer.write(rest).await?;
        }
        self.written = 0;
        self.output.clear();
        self.writer.flush().await
    }

    /// Runs the session until it ends, and passes each text or binary message to `take`.
    pub(crate) async fn run(
        mut self,
        session: &Arc<Session>,
        sizes: impl Fn(&Session) -> SizeLimits,
        small: usize,
        mut take: impl FnMut(Message) -> PacketOutcome,
    ) {
        loop {
            // Handles all messages that have been received completely.
            let mut handled = 0;
            loop {
                handled += 1;
                match self.decoder.next(sizes(session)) {
                    Ok(Some(Message::Close(code))) => {
                        session.close(CloseKind::Client, DisconnectReason::TransportClose);
                        return self.close(code).await;
                    }
                    Ok(Some(Message::Ping(bytes))) if session.may_send_other(bytes.len(), Instant::now()) => {
                        self.pong = Some(bytes);
                    }
                    Ok(Some(Message::Pong)) if session.may_send_other(0, Instant::now()) => {}
                    Ok(Some(Message::Ping(_) | Message::Pong)) => {
                        session.close(CloseKind::Server, DisconnectReason::PacketParsingError);
                    }
                    Ok(Some(message)) => match take(message) {
                        PacketOutcome::Accepted => {}
                        PacketOutcome::Invalid => {
                            session.close(CloseKind::Server, DisconnectReason::PacketParsingError)
                        }
                    },
                    Ok(None) => break,
                    Err(error) => return self.close_on_error(session, error).await,
                }
                if session.ended().is_some() {
                    break;
                }
            }
            if handled > YIELD_AFTER {
                // Other connections of this thread have their turn: what a flooding client has sent can be read at once.
                tokio::task::yield_now().await;
            }
            let mut changed = std::pin::pin!(session.changed.notified());
            changed.as_mut().enable();
            match session.ended() {
                None => {}
                Some(CloseKind::Server) => return self.flush_and_close(session).await,
                Some(CloseKind::Client) => return self.close(NORMAL_CLOSURE).await,
                Some(CloseKind::Aborted) => return,
            }
            if self.output.is_empty() {
                if let Some(bytes) = self.pong.take() {
                    frame::write_pong(&mut self.output, &bytes);
                }
                encode(&session.outbox, &mut self.output, self.deflate);
            }
            self.shrink_buffers(small);
            self.decoder.input.reserve(self.read_size);
            let rest = self.output.get(self.written..).unwrap_or_default();
            tokio::select! {
                written = self.writer.write(rest), if !rest.is_empty() => match written {
                    Ok(0) | Err(_) => return session.close(CloseKind::Aborted, DisconnectReason::TransportError),
                    Ok(written) => {
                        self.written += written;
                        if self.written == self.output.len() {
                            self.output.clear();
                            self.written = 0;
                        }
                    }
                },
                read = self.reader.read_buf(&mut self.decoder.input) => match read {
                    Ok(0) => return session.close(CloseKind::Aborted, DisconnectReason::TransportClose),
                    Err(_) => return session.close(CloseKind::Aborted, DisconnectReason::TransportError),
                    // A full read means that there is more, so the next one is larger.
                    Ok(read) => self.read_size = if read >= self.read_size { (read * 2).min(READ_MAX) } else { small },
                },
                () = session.outbox.filled.notified(), if self.output.is_empty() => {}
                () = changed => {}
            }
        }
    }

    /// Frees buffers that an idle connection does not need.
    fn shrink_buffers(&mut self, small: usize) {
        if self.output.is_empty() && self.output.capacity() > IDLE_CAPACITY {
            self.output = Vec::new();
        }
        if self.decoder.input.is_empty() && self.decoder.input.capacity() > IDLE_CAPACITY && self.read_size == small {
            self.decoder.input = BytesMut::new();
        }
    }

    /// Ends the session of a client that violates the WebSocket protocol.
    async fn close_on_error(self, session: &Session, error: FrameError) {
        session.close(CloseKind::Aborted, DisconnectReason::TransportError);
        self.close(Some(error.code())).await;
    }

    /// Sends the waiting packets, then closes the WebSocket, unless the session is aborted meanwhile.
    async fn flush_and_close(mut self, session: &Arc<Session>) {
        let sent = async {
            loop {
                self.flush().await?;
                encode(&session.outbox, &mut self.output, self.deflate);
                if self.output.is_empty() {
                    break std::io::Result::Ok(());
                }
            }
        };
        let aborted = async {
            loop {
                let mut changed = std::pin::pin!(session.changed.notified());
                changed.as_mut().enable();
                if session.ended() == Some(CloseKind::Aborted) {
                    return;
                }
                changed.await;
            }
        };
        let sent = tokio::select! {
            sent = timeout(CLOSE_TIMEOUT, sent) => matches!(sent, Ok(Ok(()))),
            () = aborted => false,
        };
        if sent {
            self.close(NORMAL_CLOSURE).await;
        }
    }

    /// Sends the close frame behind the bytes that are being written, and closes the connection.
    pub(crate) async fn close(mut self, code: Option<u16>) {
        frame::write_close(&mut self.output, code);
        let sent = async {
            self.flush().await?;
            self.writer.shutdown().await?;
            // Reads until the client has closed too. If received data were left unread, the kernel would reset the
            // connection, and the client could lose the last packets.
            let mut rest = [0; 256];
            while self.reader.read(&mut rest).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = timeout(CLOSE_TIMEOUT, sent).await;
    }
}

/// Encodes waiting packets as frames, up to [`WRITE_MAX`] bytes.
fn encode(outbox: &Outbox, output: &mut Vec<u8>, deflate: Option<Deflate>) {
    // Counts the uncompressed bytes, because compressing takes time for each of them.
    let mut taken = output.len();
    while taken < WRITE_MAX {
        match outbox.take() {
            Some(OutPacket::Text(text)) => {
                taken += text.len() + FRAME_OVERHEAD;
                frame::write_text(output, b'4', [text.head.as_bytes(), &text.body], deflate);
            }
            Some(OutPacket::Binary(bytes)) => {
                taken += bytes.len() + FRAME_OVERHEAD;
                frame::write_binary(output, &bytes, deflate);
            }
            Some(OutPacket::Ping) => frame::write_text(output, b'2', [&[]; 2], None),
            None => return,
        }
    }
}
