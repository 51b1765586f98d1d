//! A session over a WebSocket: one task that reads, writes and closes.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::config::EngineIoConfig;
use crate::deflate::Deflate;
use crate::frame::{self, Decoder, FrameError, Message, Sizes};
use crate::outbox::{Out, Outbox};
use crate::session::{Ended, Session};
use crate::socket::DisconnectReason;

/// Bytes of waiting packets that are joined into one write.
const WRITE: usize = 64 * 1024;
/// What a frame has besides its payload, about.
const FRAME: usize = 4;
/// The most that is read at once.
const READ_MAX: usize = 16 * 1024;
/// Capacity of a buffer that an idle connection keeps.
const KEPT: usize = 4 * 1024;
/// Time for what was sent last, and for the close frame.
const CLOSE: Duration = Duration::from_secs(1);
/// Status of a close frame: the server is done (RFC 6455, section 7.4.1).
pub(crate) const NORMAL: Option<u16> = Some(1000);

/// What becomes of a packet.
pub(crate) enum Taken {
    /// The session goes on.
    Goes,
    /// The packet is not Engine.IO.
    Bad,
}

/// A connection that speaks WebSocket.
pub(crate) struct WebSocket<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    decoder: Decoder,
    /// Messages go out compressed.
    deflate: Option<Deflate>,
    /// Bytes on their way out, from `written` on.
    output: Vec<u8>,
    written: usize,
    /// How much is read at once.
    read: usize,
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
            read: config.ws_read_buffer_size.max(1),
        }
    }

    /// The text that a client begins with, within `time`; none when the client is gone or sends something else.
    pub(crate) async fn first_text(&mut self, sizes: Sizes, time: Duration) -> Option<String> {
        let read = async {
            loop {
                match self.decoder.next(sizes) {
                    Ok(Some(Message::Text(text))) => return Some(text),
                    Ok(Some(Message::Pong)) => {}
                    Ok(Some(Message::Ping(bytes))) => frame::write_pong(&mut self.output, &bytes),
                    Ok(Some(Message::Binary(_) | Message::Close(_))) | Err(_) => return None,
                    Ok(None) => {
                        self.flush().await.ok()?;
                        self.decoder.input.reserve(self.read);
                        if self.reader.read_buf(&mut self.decoder.input).await.ok()? == 0 {
                            return None;
                        }
                    }
                }
            }
        };
        timeout(time, read).await.ok()?
    }

    /// Sends a text within `time`.
    pub(crate) async fn send_text(&mut self, kind: u8, text: &str, time: Duration) -> Option<()> {
        frame::write_text(&mut self.output, kind, text, None);
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

    /// Carries the session until it ends; `take` gets each text and each binary message.
    pub(crate) async fn carry(
        mut self,
        session: &Arc<Session>,
        sizes: impl Fn(&Session) -> Sizes,
        small: usize,
        mut take: impl FnMut(Message) -> Taken,
    ) {
        loop {
            // What has come, in order.
            loop {
                match self.decoder.next(sizes(session)) {
                    Ok(Some(Message::Close(code))) => {
                        session.close(Ended::Client, DisconnectReason::TransportClose);
                        return self.close(code).await;
                    }
                    Ok(Some(Message::Ping(bytes))) => {
                        // A client that sends pings and reads nothing has its own buffer to blame.
                        if self.output.len() - self.written > WRITE {
                            session.close(Ended::Aborted, DisconnectReason::TransportError);
                            return;
                        }
                        frame::write_pong(&mut self.output, &bytes);
                    }
                    Ok(Some(Message::Pong)) => {}
                    Ok(Some(message)) => match take(message) {
                        Taken::Goes => {}
                        Taken::Bad => session.close(Ended::Server, DisconnectReason::PacketParsingError),
                    },
                    Ok(None) => break,
                    Err(error) => return self.fail(session, error).await,
                }
                if session.ended().is_some() {
                    break;
                }
            }
            let mut changed = std::pin::pin!(session.changed.notified());
            changed.as_mut().enable();
            match session.ended() {
                None => {}
                Some(Ended::Server) => return self.finish(session).await,
                Some(Ended::Client) => return self.close(NORMAL).await,
                Some(Ended::Aborted) => return,
            }
            if self.output.is_empty() {
                encode(&session.outbox, &mut self.output, self.deflate);
            }
            self.give_back(small);
            self.decoder.input.reserve(self.read);
            let rest = self.output.get(self.written..).unwrap_or_default();
            tokio::select! {
                written = self.writer.write(rest), if !rest.is_empty() => match written {
                    Ok(0) | Err(_) => return session.close(Ended::Aborted, DisconnectReason::TransportError),
                    Ok(written) => {
                        self.written += written;
                        if self.written == self.output.len() {
                            self.output.clear();
                            self.written = 0;
                        }
                    }
                },
                read = self.reader.read_buf(&mut self.decoder.input) => match read {
                    Ok(0) => return session.close(Ended::Aborted, DisconnectReason::TransportClose),
                    Err(_) => return session.close(Ended::Aborted, DisconnectReason::TransportError),
                    // It was filled: there is more.
                    Ok(read) => self.read = if read >= self.read { (read * 2).min(READ_MAX) } else { small },
                },
                () = session.outbox.filled.notified(), if self.output.is_empty() => {}
                () = changed => {}
            }
        }
    }

    /// Gives memory back that an idle connection does not need.
    fn give_back(&mut self, small: usize) {
        if self.output.is_empty() && self.output.capacity() > KEPT {
            self.output = Vec::new();
        }
        if self.decoder.input.is_empty() && self.decoder.input.capacity() > KEPT && self.read == small {
            self.decoder.input = BytesMut::new();
        }
    }

    /// The client does not speak the protocol.
    async fn fail(self, session: &Session, error: FrameError) {
        session.close(Ended::Aborted, DisconnectReason::TransportError);
        self.close(Some(error.code())).await;
    }

    /// Sends what waits, then closes; unless the session is ended at once meanwhile.
    async fn finish(mut self, session: &Arc<Session>) {
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
                if session.ended() == Some(Ended::Aborted) {
                    return;
                }
                changed.await;
            }
        };
        let sent = tokio::select! {
            sent = timeout(CLOSE, sent) => matches!(sent, Ok(Ok(()))),
            () = aborted => false,
        };
        if sent {
            self.close(NORMAL).await;
        }
    }

    /// Sends the close frame behind what is being written.
    pub(crate) async fn close(mut self, code: Option<u16>) {
        frame::write_close(&mut self.output, code);
        let sent = async {
            self.flush().await?;
            self.writer.shutdown().await?;
            // Until the client has closed too: data that nobody reads would make the kernel reset the connection, and
            // with it what was sent last.
            let mut rest = [0; 256];
            while self.reader.read(&mut rest).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = timeout(CLOSE, sent).await;
    }
}

/// Writes waiting packets as frames: as many as one write takes.
fn encode(outbox: &Outbox, output: &mut Vec<u8>, deflate: Option<Deflate>) {
    // Counted before they are compressed, which takes time.
    let mut taken = output.len();
    while taken < WRITE {
        match outbox.take() {
            Some(Out::Text(text)) => {
                taken += text.len() + FRAME;
                frame::write_text(output, b'4', &text, deflate);
            }
            Some(Out::Binary(bytes)) => {
                taken += bytes.len() + FRAME;
                frame::write_binary(output, &bytes, deflate);
            }
            Some(Out::Ping) => frame::write_text(output, b'2', "", None),
            None => return,
        }
    }
}
