//! The attacking tenant's clients. They all send at the same moments, which is worse for a server than the same number
//! spread out.
//!
//! They run on a thread with a lower priority than that of the measured clients, so that these measure the server and
//! not the load generator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use memchr::memmem;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{self, Socket};
use crate::{on_this_thread, packet};

/// The room of all attackers. The guests in `tests/guests/attacks` emit to it.
const ROOM: &str = "evil";

/// Longest time until a tenant's used-up budget is available again.
const BUDGET_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of the messages that are posted for reading: the largest allowed.
const CONTENT_BYTES: usize = 16 * 1024;
/// Pause after a refusal.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The lowest priority.
const NICENESS: i32 = 19;

/// How often each code was answered. Success counts as `ok`.
pub(crate) type Answers = BTreeMap<String, u64>;

/// All attackers of one tenant.
pub(crate) struct Attackers {
    attacking: watch::Sender<bool>,
    answers: Arc<Mutex<Answers>>,
    thread: JoinHandle<Result<()>>,
}

/// The attackers' tenant, number and pace.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) tenant: String,
    pub(crate) secret: String,
    /// The event that they send, as a JSON array.
    pub(crate) event: String,
    /// Messages that each posts to the room before the attack.
    pub(crate) messages: u32,
    pub(crate) count: u16,
    /// Time between two events of each.
    pub(crate) pace: Duration,
}

impl Attackers {
    /// Connects them. They wait for `start`.
    ///
    /// # Errors
    /// When the server refuses one.
    pub(crate) async fn connect(plan: Plan) -> Result<Self> {
        let (attacking, commands) = watch::channel(false);
        let answers = Arc::<Mutex<Answers>>::default();
        let (ready, connected) = oneshot::channel();
        let thread = {
            let answers = answers.clone();
            thread::Builder::new().name("attackers".into()).spawn(move || {
                // If the system forbids this, the load generator influences the figures more.
                let _ = rustix::process::nice(NICENESS);
                on_this_thread(attack(plan, ready, commands, answers))
            })?
        };
        if connected.await.is_err() {
            // The thread has ended, and its result says why.
            joined(thread)?;
            bail!("the attackers have left");
        }
        Ok(Self {
            attacking,
            answers,
            thread,
        })
    }

    /// Starts the attack.
    pub(crate) fn begin(&self) {
        self.attacking.send_replace(true);
    }

    /// Stops the attack. Returns the answers since its start.
    pub(crate) fn end(&self) -> Answers {
        self.attacking.send_replace(false);
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Disconnects them.
    ///
    /// # Errors
    /// The first error of one of them.
    pub(crate) fn finish(self) -> Result<()> {
        drop(self.attacking);
        joined(self.thread)
    }
}

fn joined(thread: JoinHandle<Result<()>>) -> Result<()> {
    match thread.join() {
        Ok(ended) => ended.context("an attacker"),
        Err(_) => bail!("the attackers' thread has panicked"),
    }
}

/// The thread's main function, which runs until the command channel closes.
async fn attack(
    plan: Plan,
    ready: oneshot::Sender<()>,
    commands: watch::Receiver<bool>,
    answers: Arc<Mutex<Answers>>,
) -> Result<()> {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    let namespace = format!("/{}", plan.tenant);
    for number in 0..plan.count {
        let token = client::token(number, &plan.secret)?;
        let mut socket = client::connect(plan.address, &namespace, &token).await?;
        // All attackers receive what they emit.
        join(&mut socket, &namespace).await?;
        for _ in 0..plan.messages {
            client::post(&mut socket, &namespace, ROOM, &"x".repeat(CONTENT_BYTES)).await?;
        }
        let attacker = Attacker {
            socket,
            tenant: plan.tenant.as_str().into(),
            event: plan.event.as_str().into(),
            attacking: commands.clone(),
            answers: answers.clone(),
        };
        tasks.spawn_local(attacker.run(began, plan.pace));
    }
    drop(commands);
    // The receiver may have given up.
    let _ = ready.send(());
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Joins the room, once the tenant has budget again after an earlier round.
async fn join(socket: &mut Socket, namespace: &str) -> Result<()> {
    let given_up = Instant::now() + BUDGET_TIMEOUT;
    loop {
        match client::join(socket, namespace, ROOM).await {
            Err(error) if format!("{error:#}").contains("rate-limited") && Instant::now() < given_up => {
                sleep(RETRY_DELAY).await;
            }
            done => return done,
        }
    }
}

struct Attacker {
    socket: Socket,
    tenant: Box<str>,
    event: Box<str>,
    attacking: watch::Receiver<bool>,
    answers: Arc<Mutex<Answers>>,
}

impl Attacker {
    async fn run(mut self, began: Instant, pace: Duration) -> Result<()> {
        let mut moments = interval_at(began, pace);
        moments.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut is_attacking = false;
        let mut awaits_answer = false;
        let mut number = 0_u64;
        loop {
            tokio::select! {
                changed = self.attacking.changed() => match changed {
                    Ok(()) => is_attacking = *self.attacking.borrow_and_update(),
                    Err(_) => break,
                },
                incoming = self.socket.next() => {
                    let message = incoming.context("the server closed the connection")??;
                    let Message::Text(text) = message else { continue };
                    if text.as_str() == "2" {
                        self.socket.send(Message::text(packet::PONG)).await?;
                    } else if text.starts_with("43") {
                        awaits_answer = false;
                        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
                        *answers.entry(code(&text).to_owned()).or_default() += 1;
                    } else if text.starts_with("41") {
                        bail!("disconnected: {text}");
                    }
                }
                _ = moments.tick(), if !awaits_answer && is_attacking => {
                    number += 1;
                    awaits_answer = true;
                    let packet = format!("42/{},{number}{}", self.tenant, self.event);
                    self.socket.send(Message::text(packet)).await?;
                }
            }
        }
        // The measurement is over, so it is not an error if the server closes first.
        let _ = self.socket.close(None).await;
        Ok(())
    }
}

/// The code in an acknowledgement.
fn code(acknowledgement: &str) -> &str {
    const MARK: &str = r#""code":""#;
    let code = memmem::find(acknowledgement.as_bytes(), MARK.as_bytes())
        .and_then(|start| acknowledgement.get(start + MARK.len()..))
        .and_then(|rest| rest.split('"').next());
    code.unwrap_or("ok")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answers_code_is_found() {
        assert_eq!(
            code(r#"43/attack-loop,7[{"ok":false,"error":{"code":"timeout","message":"m","retryable":true}}]"#),
            "timeout"
        );
        assert_eq!(code(r#"43/attack-loop,8[{"ok":true}]"#), "ok");
    }
}
