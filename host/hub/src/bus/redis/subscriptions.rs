//! The hubs of this node that take messages from the bus, one for each tenant's namespace.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::status::{Counts, count};
use super::{Inbound, InboxSender};

struct Subscription {
    inbox: InboxSender,
    /// The hub got [`Inbound::Connected`]; from then on it gets what comes from Redis.
    connected: bool,
    /// A message did not fit into the inbox. The hub gets nothing more until it got [`Inbound::Connected`] again.
    lost: bool,
}

/// The subscriptions, by namespace.
#[derive(Default)]
pub(super) struct Subscriptions {
    hubs: Mutex<HashMap<String, Subscription>>,
}

impl Subscriptions {
    pub(super) fn add(&self, namespace: String, inbox: InboxSender) {
        let subscription = Subscription {
            inbox,
            connected: false,
            lost: false,
        };
        self.hubs.lock().insert(namespace, subscription);
    }

    /// Removes the subscription if its hub has closed the inbox. Returns whether it did.
    pub(super) fn remove_closed(&self, namespace: &str) -> bool {
        let mut hubs = self.hubs.lock();
        let closed = hubs.get(namespace).is_some_and(|hub| hub.inbox.is_closed());
        closed && hubs.remove(namespace).is_some()
    }

    pub(super) fn namespaces(&self) -> Vec<String> {
        self.hubs.lock().keys().cloned().collect()
    }

    pub(super) fn contains(&self, namespace: &str) -> bool {
        self.hubs.lock().contains_key(namespace)
    }

    pub(super) fn is_connected(&self, namespace: &str) -> bool {
        self.hubs.lock().get(namespace).is_some_and(|hub| hub.connected)
    }

    /// Whether a hub has lost a message and cannot be told so yet, since its inbox has not enough room.
    pub(super) fn is_full(&self, namespace: &str) -> bool {
        let hubs = self.hubs.lock();
        hubs.get(namespace)
            .is_some_and(|hub| hub.connected && hub.lost && !hub.inbox.is_half_free())
    }

    /// Delivers a message from Redis to a hub that is connected. Returns `true` when the hub had lost messages and was
    /// told so just now, before this one.
    pub(super) fn deliver(&self, namespace: &str, inbound: Inbound, counts: &Counts) -> bool {
        let mut hubs = self.hubs.lock();
        let Some(hub) = hubs.get_mut(namespace).filter(|hub| hub.connected) else {
            return false;
        };
        let reported = hub.report_loss();
        hub.send(inbound, counts);
        reported
    }

    /// Delivers a message of this node itself, also to a hub that is not connected.
    pub(super) fn deliver_own(&self, namespace: &str, inbound: Inbound, counts: &Counts) {
        if let Some(hub) = self.hubs.lock().get_mut(namespace) {
            hub.send(inbound, counts);
        }
    }

    /// Marks that messages for the hub were lost before they got here. The hub is told as soon as half of its inbox is free.
    pub(super) fn mark_lost(&self, namespace: &str) {
        if let Some(hub) = self.hubs.lock().get_mut(namespace) {
            hub.lost = true;
        }
    }

    /// Tells the hubs that lost messages, and half of whose inbox is free again. Returns their namespaces.
    pub(super) fn report_losses(&self) -> Vec<String> {
        let mut hubs = self.hubs.lock();
        let lost = hubs.iter_mut().filter(|(_, hub)| hub.connected && hub.lost);
        lost.filter_map(|(namespace, hub)| hub.report_loss().then(|| namespace.clone()))
            .collect()
    }

    /// Tells a hub that there is a connection to Redis. Returns `false` when the hub knew already.
    pub(super) fn set_connected(&self, namespace: &str, counts: &Counts) -> bool {
        let mut hubs = self.hubs.lock();
        let Some(hub) = hubs.get_mut(namespace).filter(|hub| !hub.connected) else {
            return false;
        };
        hub.connected = true;
        hub.lost = false;
        hub.send(Inbound::Connected, counts);
        true
    }

    /// Tells all hubs that the connection to Redis is lost.
    pub(super) fn set_all_disconnected(&self, counts: &Counts) {
        for hub in self.hubs.lock().values_mut().filter(|hub| hub.connected) {
            // Also to a hub that has lost messages: it then looks for them in the store more often.
            if !hub.inbox.try_send(Inbound::Disconnected) {
                count(&counts.overflowed);
            }
            hub.connected = false;
        }
    }
}

impl Subscription {
    /// Tells the hub that messages were lost, if some were and half of the inbox is free. Returns whether it did.
    fn report_loss(&mut self) -> bool {
        if self.lost && self.inbox.is_half_free() && self.inbox.try_send(Inbound::Connected) {
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
        if !self.inbox.try_send(inbound) && !self.inbox.is_closed() {
            count(&counts.overflowed);
            self.lost = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::bus::{Inbox, inbox};

    fn next(inbox: &mut Inbox) -> Option<Inbound> {
        inbox.recv().now_or_never().flatten()
    }

    fn node_left() -> Inbound {
        Inbound::NodeLeft {
            node: super::super::NodeId("abcdef".into()),
        }
    }

    #[test]
    fn a_hub_whose_inbox_was_full_is_told_that_it_lost_something() {
        let (hubs, counts) = (Subscriptions::default(), Counts::new());
        let (sender, mut inbox) = inbox(2);
        hubs.add("/".to_owned(), sender);
        hubs.deliver("/", node_left(), &counts);
        assert!(next(&mut inbox).is_none(), "not connected yet");
        assert!(hubs.set_connected("/", &counts));
        hubs.deliver("/", node_left(), &counts);
        hubs.deliver("/", node_left(), &counts);
        assert!(hubs.report_losses().is_empty(), "no room yet");
        assert!(hubs.is_full("/"));
        assert!(matches!(next(&mut inbox), Some(Inbound::Connected)));
        assert!(matches!(next(&mut inbox), Some(Inbound::NodeLeft { .. })));
        assert!(next(&mut inbox).is_none(), "the second did not fit");
        assert!(!hubs.is_full("/"), "the next message tells the hub of the loss");
        assert!(hubs.deliver("/", node_left(), &counts));
        assert!(matches!(next(&mut inbox), Some(Inbound::Connected)));
        assert!(matches!(next(&mut inbox), Some(Inbound::NodeLeft { .. })));
        assert_eq!(counts.read(0).overflowed, 1);
    }
}
