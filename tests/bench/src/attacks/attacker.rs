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
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::tungstenite::Message;

use super::Attack;
use crate::client::{self, Socket};
use crate::packet;

/// Their namespace.
const NAMESPACE: &str = "/evil";
/// The room that all of them are in, as the deeds in `tests/attacks.json` say.
const ROOM: &str = "evil";

/// How often each code was answered; `ok` is one.
pub(crate) type Answers = BTreeMap<String, u64>;

/// All of them.
pub(crate) struct Attackers {
    orders: watch::Sender<Option<Rc<Attack>>>,
    answers: Rc<RefCell<Answers>>,
    tasks: JoinSet<Result<()>>,
}

impl Attackers {
    /// Connects so many, who will each send an event at each `pace` when told to.
    pub(crate) async fn connect(address: SocketAddr, secret: &str, count: u16, pace: Duration) -> Result<Self> {
        let (orders, _) = watch::channel(None);
        let answers = Rc::new(RefCell::new(Answers::new()));
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for number in 0..count {
            let mut socket = client::connect(address, NAMESPACE, &client::token(number, secret)?).await?;
            // What they emit goes to all of them.
            client::join(&mut socket, NAMESPACE, ROOM).await?;
            let attacker = Attacker {
                socket,
                orders: orders.subscribe(),
                answers: answers.clone(),
            };
            tasks.spawn_local(attacker.run(began, pace));
        }
        Ok(Self { orders, answers, tasks })
    }

    /// From now on.
    pub(crate) fn begin(&self, attack: &Rc<Attack>) {
        self.orders.send_replace(Some(attack.clone()));
    }

    /// No more. What was answered since the beginning.
    pub(crate) fn end(&self) -> Answers {
        self.orders.send_replace(None);
        self.answers.take()
    }

    /// Disconnects them.
    ///
    /// # Errors
    /// What went wrong with one of them on the way.
    pub(crate) async fn leave(mut self) -> Result<()> {
        drop(self.orders);
        while let Some(ended) = self.tasks.join_next().await {
            ended?.context("an attacker")?;
        }
        Ok(())
    }
}

struct Attacker {
    socket: Socket,
    orders: watch::Receiver<Option<Rc<Attack>>>,
    answers: Rc<RefCell<Answers>>,
}

impl Attacker {
    async fn run(mut self, began: Instant, pace: Duration) -> Result<()> {
        let mut moments = interval_at(began, pace);
        moments.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut attack = None;
        let mut waits = false;
        let mut number = 0_u64;
        loop {
            tokio::select! {
                changed = self.orders.changed() => match changed {
                    Ok(()) => attack = self.orders.borrow_and_update().clone(),
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
                _ = moments.tick(), if !waits && attack.is_some() => {
                    let Some(Attack { event, deed, .. }) = attack.as_deref() else { continue };
                    number += 1;
                    waits = true;
                    let packet = format!(r#"42{NAMESPACE},{number}["{event}",{deed}]"#);
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
            code(r#"43/evil,7[{"ok":false,"error":{"code":"timeout","message":"m","retryable":true}}]"#),
            "timeout"
        );
        assert_eq!(code(r#"43/evil,8[{"ok":true}]"#), "ok");
    }
}
