//! A proxy before the server that loses connections during `COMMIT`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What happens to a `COMMIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Both the statement and its answer arrive.
    Answered,
    /// The connection is lost before the statement arrives.
    Lost,
    /// The statement arrives, and the connection is lost before the answer.
    AnswerLost,
    /// The client loses the connection, and the statement arrives a while later.
    Late,
}

/// How late a late `COMMIT` arrives.
const DELAY: Duration = Duration::from_millis(300);
const COMMIT: &[u8] = b"COMMIT\0";

pub(super) struct Proxy {
    pub(super) port: u16,
    commits: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy before the server at this port. The n-th `COMMIT` has the n-th fate; after the last it starts over.
    pub(super) async fn start(server: u16, fates: &'static [Fate]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let commits = Arc::new(AtomicUsize::new(0));
        let count = commits.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(carry(client, server, fates, count.clone()));
            }
        });
        Self { port, commits }
    }

    /// How many `COMMIT`s the proxy has seen.
    pub(super) fn commits(&self) -> usize {
        self.commits.load(Ordering::Relaxed)
    }
}

async fn carry(client: TcpStream, server: TcpStream, fates: &'static [Fate], commits: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (cut, is_cut) = oneshot::channel::<()>();
    let answers = tokio::spawn(async move {
        tokio::select! {
            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
            _ = is_cut => {}
        }
        from_server
    });
    let mut buffer = vec![0; 1 << 20];
    loop {
        let bytes = match from_client.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => &buffer[..read],
        };
        // The pipelines of these tests are small, and the client writes each at once.
        let found = bytes.windows(COMMIT.len()).any(|window| window == COMMIT);
        let fate = if found {
            fates[commits.fetch_add(1, Ordering::Relaxed) % fates.len()]
        } else {
            Fate::Answered
        };
        match fate {
            Fate::Answered => to_server.write_all(bytes).await.unwrap(),
            Fate::Lost => return,
            Fate::AnswerLost | Fate::Late => {
                // The task drops the client's write half, so that the client sees the end at once.
                drop(cut);
                let mut from_server = answers.await.unwrap();
                drop(from_client);
                if fate == Fate::Late {
                    tokio::time::sleep(DELAY).await;
                }
                to_server.write_all(bytes).await.unwrap();
                // The server sees the end after the statement, and closes the connection when it has carried that out.
                // Closing at once could reset the connection before the server has read the statement.
                to_server.shutdown().await.unwrap();
                let _ = tokio::io::copy(&mut from_server, &mut tokio::io::sink()).await;
                return;
            }
        }
    }
}
