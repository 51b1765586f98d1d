//! Clients of the tenant that attacks. They send at the same moments, all at once: that is worse for a server than the
//! same number spread out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use memchr::memmem;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{self, Socket};
use crate::packet;

/// The room that all of them are in, to which the guests in `tests/guests/attacks` emit.
const ROOM: &str = "evil";

/// How long a tenant may have to make up for what it used.
const MAKING_UP: Duration = Duration::from_secs(60);
/// After a refusal.
const AGAIN: Duration = Duration::from_millis(50);

/// How often each code was answered; `ok` is one.
pub(crate) type Answers = BTreeMap<String, u64>;

/// All of one tenant.
pub(crate) struct Attackers {
    attacking: watch::Sender<bool>,
    answers: Rc<RefCell<Answers>>,
    tasks: JoinSet<Result<()>>,
}

impl Attackers {
    /// Connects so many to the tenant, who will each send an event at each `pace` when told to.
    pub(crate) async fn connect(
        address: SocketAddr,
        tenant: &str,
        secret: &str,
        count: u16,
        pace: Duration,
    ) -> Result<Self> {
        let (attacking, _) = watch::channel(false);
        let answers = Rc::new(RefCell::new(Answers::new()));
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        let namespace = format!("/{tenant}");
        for number in 0..count {
            let mut socket = client::connect(address, &namespace, &client::token(number, secret)?).await?;
            // What they emit goes to all of them.
            join(&mut socket, &namespace).await?;
            let attacker = Attacker {
                socket,
                tenant: tenant.into(),
                attacking: attacking.subscribe(),
                answers: answers.clone(),
            };
            tasks.spawn_local(attacker.run(began, pace));
        }
        Ok(Self {
            attacking,
            answers,
            tasks,
        })
    }

    /// From now on.
    pub(crate) fn begin(&self) {
        self.attacking.send_replace(true);
    }

    /// No more. What was answered since the beginning.
    pub(crate) fn end(&self) -> Answers {
        self.attacking.send_replace(false);
        self.answers.take()
    }

    /// Disconnects them.
    ///
    /// # Errors
    /// What went wrong with one of them on the way.
    pub(crate) async fn leave(mut self) -> Result<()> {
        drop(self.attacking);
        while let Some(ended) = self.tasks.join_next().await {
            ended?.context("an attacker")?;
        }
        Ok(())
    }
}

/// Joins the room, as soon as the tenant has made up for what it used in an earlier round.
async fn join(socket: &mut Socket, namespace: &str) -> Result<()> {
    let given_up = Instant::now() + MAKING_UP;
    loop {
        match client::join(socket, namespace, ROOM).await {
            Err(error) if format!("{error:#}").contains("rate-limited") && Instant::now() < given_up => {
                sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}

struct Attacker {
    socket: Socket,
    tenant: Box<str>,
    attacking: watch::Receiver<bool>,
    answers: Rc<RefCell<Answers>>,
}

impl Attacker {
    async fn run(mut self, began: Instant, pace: Duration) -> Result<()> {
        let mut moments = interval_at(began, pace);
        moments.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut attacks = false;
        let mut waits = false;
        let mut number = 0_u64;
        loop {
            tokio::select! {
                changed = self.attacking.changed() => match changed {
                    Ok(()) => attacks = *self.attacking.borrow_and_update(),
                    Err(_) => break,
                },
                incoming = self.socket.next() => {
                    let message = incoming.context("the server closed the connection")??;
                    let Message::Text(text) = message else { continue };
                    if text.as_str() == "2" {
                        self.socket.send(Message::text(packet::PONG)).await?;
                    } else if text.starts_with("43") {
                        waits = false;
                        *self.answers.borrow_mut().entry(code(&text).to_owned()).or_default() += 1;
                    } else if text.starts_with("41") {
                        bail!("disconnected: {text}");
                    }
                }
                _ = moments.tick(), if !waits && attacks => {
                    number += 1;
                    waits = true;
                    // Any event will do. One of the tenant's name, which is the guest's, tells most in the log.
                    let packet = format!(r#"42/{tenant},{number}["{tenant}"]"#, tenant = self.tenant);
                    self.socket.send(Message::text(packet)).await?;
                }
            }
        }
        // The measurement is over; a server that hangs up first is no error.
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
