//! The tenants' hubs on this node, as the bus knows them.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Inbound;
use super::status::{Counts, count};

struct Subscription {
    inbox: mpsc::Sender<Inbound>,
    /// It was told [`Inbound::Connected`] and hears what comes.
    up: bool,
    /// Something did not fit in its inbox. Before anything else it has to be told [`Inbound::Connected`] again.
    lost: bool,
}

/// The hubs by namespace.
#[derive(Default)]
pub(super) struct Subscriptions {
    subscriptions: Mutex<HashMap<String, Subscription>>,
}

impl Subscriptions {
    pub(super) fn open(&self, namespace: String, inbox: mpsc::Sender<Inbound>) {
        let subscription = Subscription {
            inbox,
            up: false,
            lost: false,
        };
        self.subscriptions.lock().insert(namespace, subscription);
    }

    /// Gives whether the hub was there and shut.
    pub(super) fn close(&self, namespace: &str) -> bool {
        let mut subscriptions = self.subscriptions.lock();
        let shut = subscriptions
            .get(namespace)
            .is_some_and(|subscription| subscription.inbox.is_closed());
        shut && subscriptions.remove(namespace).is_some()
    }

    pub(super) fn namespaces(&self) -> Vec<String> {
        self.subscriptions.lock().keys().cloned().collect()
    }

    pub(super) fn knows(&self, namespace: &str) -> bool {
        self.subscriptions.lock().contains_key(namespace)
    }

    /// Whether the hub hears what comes.
    pub(super) fn is_up(&self, namespace: &str) -> bool {
        self.subscriptions
            .lock()
            .get(namespace)
            .is_some_and(|subscription| subscription.up)
    }

    /// Gives a hub something, if it is up. Gives whether the hub was told just now that it had lost something.
    pub(super) fn deliver(&self, namespace: &str, inbound: Inbound, counts: &Counts) -> bool {
        let mut subscriptions = self.subscriptions.lock();
        let Some(subscription) = subscriptions.get_mut(namespace).filter(|subscription| subscription.up) else {
            return false;
        };
        let told = subscription.tell_loss();
        subscription.send(inbound, counts);
        told
    }

    /// Gives a hub something that comes from this node itself, be it up or not.
    pub(super) fn deliver_own(&self, namespace: &str, inbound: Inbound, counts: &Counts) {
        if let Some(subscription) = self.subscriptions.lock().get_mut(namespace) {
            subscription.send(inbound, counts);
        }
    }

    /// Something for the hub was lost on the way; it is told as soon as there is room.
    pub(super) fn miss(&self, namespace: &str) {
        if let Some(subscription) = self.subscriptions.lock().get_mut(namespace) {
            subscription.lost = true;
        }
    }

    /// Tells those who have lost something and have room again. Gives their namespaces.
    pub(super) fn tell_losses(&self) -> Vec<String> {
        let mut subscriptions = self.subscriptions.lock();
        let lost = subscriptions
            .iter_mut()
            .filter(|(_, subscription)| subscription.up && subscription.lost);
        lost.filter_map(|(namespace, subscription)| subscription.tell_loss().then(|| namespace.clone()))
            .collect()
    }

    /// The connection has come, or the hub has. Gives whether the hub is told just now.
    pub(super) fn up(&self, namespace: &str, counts: &Counts) -> bool {
        let mut subscriptions = self.subscriptions.lock();
        let Some(subscription) = subscriptions.get_mut(namespace).filter(|subscription| !subscription.up) else {
            return false;
        };
        subscription.up = true;
        subscription.lost = false;
        subscription.send(Inbound::Connected, counts);
        true
    }

    /// The connection is lost.
    pub(super) fn down(&self, counts: &Counts) {
        for namespace in self.namespaces() {
            let mut subscriptions = self.subscriptions.lock();
            let Some(subscription) = subscriptions.get_mut(&namespace).filter(|subscription| subscription.up) else {
                continue;
            };
            subscription.send(Inbound::Disconnected, counts);
            subscription.up = false;
        }
    }
}

impl Subscription {
    /// Gives whether it was told.
    fn tell_loss(&mut self) -> bool {
        if self.lost && self.inbox.try_send(Inbound::Connected).is_ok() {
            self.lost = false;
            return true;
        }
        false
    }

    fn send(&mut self, inbound: Inbound, counts: &Counts) {
        if self.lost {
            count(&counts.overflowed);
            return;
        }
        if let Err(TrySendError::Full(_)) = self.inbox.try_send(inbound) {
            count(&counts.overflowed);
            self.lost = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone() -> Inbound {
        Inbound::NodeLeft {
            node: super::super::NodeId("abcdef".into()),
        }
    }

    #[test]
    fn a_hub_that_was_full_is_told_that_it_has_lost_something() {
        let (subscriptions, counts) = (Subscriptions::default(), Counts::new());
        let (inbox, mut mail) = mpsc::channel(2);
        subscriptions.open("/".to_owned(), inbox);
        subscriptions.deliver("/", gone(), &counts);
        assert!(mail.try_recv().is_err(), "not up yet");
        assert!(subscriptions.up("/", &counts));
        subscriptions.deliver("/", gone(), &counts);
        subscriptions.deliver("/", gone(), &counts);
        assert!(subscriptions.tell_losses().is_empty(), "no room yet");
        assert!(matches!(mail.try_recv(), Ok(Inbound::Connected)));
        assert!(matches!(mail.try_recv(), Ok(Inbound::NodeLeft { .. })));
        assert!(mail.try_recv().is_err(), "the second did not fit");
        assert!(subscriptions.deliver("/", gone(), &counts));
        assert!(matches!(mail.try_recv(), Ok(Inbound::Connected)));
        assert!(matches!(mail.try_recv(), Ok(Inbound::NodeLeft { .. })));
        assert_eq!(counts.read(0).overflowed, 1);
    }
}
