//! The tenants' halls on this node, as the bus knows them.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::Inbound;
use super::status::{Counts, count};

struct Hall {
    inbox: mpsc::Sender<Inbound>,
    /// It was told [`Inbound::Up`] and hears what comes.
    up: bool,
    /// Something did not fit in its inbox. Before anything else it has to be told [`Inbound::Up`] again.
    lost: bool,
}

/// The halls by namespace.
#[derive(Default)]
pub(super) struct Halls {
    halls: Mutex<HashMap<String, Hall>>,
}

impl Halls {
    pub(super) fn open(&self, namespace: String, inbox: mpsc::Sender<Inbound>) {
        let hall = Hall {
            inbox,
            up: false,
            lost: false,
        };
        self.halls.lock().insert(namespace, hall);
    }

    /// Gives whether the hall was there and shut.
    pub(super) fn close(&self, namespace: &str) -> bool {
        let mut halls = self.halls.lock();
        let shut = halls.get(namespace).is_some_and(|hall| hall.inbox.is_closed());
        shut && halls.remove(namespace).is_some()
    }

    pub(super) fn namespaces(&self) -> Vec<String> {
        self.halls.lock().keys().cloned().collect()
    }

    pub(super) fn knows(&self, namespace: &str) -> bool {
        self.halls.lock().contains_key(namespace)
    }

    /// Whether the hall hears what comes.
    pub(super) fn is_up(&self, namespace: &str) -> bool {
        self.halls.lock().get(namespace).is_some_and(|hall| hall.up)
    }

    /// Gives a hall something, if it is up. Gives whether the hall was told just now that it had lost something.
    pub(super) fn deliver(&self, namespace: &str, inbound: Inbound, counts: &Counts) -> bool {
        let mut halls = self.halls.lock();
        let Some(hall) = halls.get_mut(namespace).filter(|hall| hall.up) else {
            return false;
        };
        let told = hall.tell_loss();
        hall.send(inbound, counts);
        told
    }

    /// Gives a hall something that comes from this node itself, be it up or not.
    pub(super) fn deliver_own(&self, namespace: &str, inbound: Inbound, counts: &Counts) {
        if let Some(hall) = self.halls.lock().get_mut(namespace) {
            hall.send(inbound, counts);
        }
    }

    /// Something for the hall was lost on the way; it is told as soon as there is room.
    pub(super) fn miss(&self, namespace: &str) {
        if let Some(hall) = self.halls.lock().get_mut(namespace) {
            hall.lost = true;
        }
    }

    /// Tells those who have lost something and have room again. Gives their namespaces.
    pub(super) fn tell_losses(&self) -> Vec<String> {
        let mut halls = self.halls.lock();
        let lost = halls.iter_mut().filter(|(_, hall)| hall.up && hall.lost);
        lost.filter_map(|(namespace, hall)| hall.tell_loss().then(|| namespace.clone()))
            .collect()
    }

    /// The connection has come, or the hall has. Gives whether the hall is told just now.
    pub(super) fn up(&self, namespace: &str, counts: &Counts) -> bool {
        let mut halls = self.halls.lock();
        let Some(hall) = halls.get_mut(namespace).filter(|hall| !hall.up) else {
            return false;
        };
        hall.up = true;
        hall.lost = false;
        hall.send(Inbound::Up, counts);
        true
    }

    /// The connection is lost.
    pub(super) fn down(&self, counts: &Counts) {
        for namespace in self.namespaces() {
            let mut halls = self.halls.lock();
            let Some(hall) = halls.get_mut(&namespace).filter(|hall| hall.up) else {
                continue;
            };
            hall.send(Inbound::Down, counts);
            hall.up = false;
        }
    }
}

impl Hall {
    /// Gives whether it was told.
    fn tell_loss(&mut self) -> bool {
        if self.lost && self.inbox.try_send(Inbound::Up).is_ok() {
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
        Inbound::NodeGone {
            node: super::super::NodeId("abcdef".into()),
        }
    }

    #[test]
    fn a_hall_that_was_full_is_told_that_it_has_lost_something() {
        let (halls, counts) = (Halls::default(), Counts::new());
        let (inbox, mut mail) = mpsc::channel(2);
        halls.open("/".to_owned(), inbox);
        halls.deliver("/", gone(), &counts);
        assert!(mail.try_recv().is_err(), "not up yet");
        assert!(halls.up("/", &counts));
        halls.deliver("/", gone(), &counts);
        halls.deliver("/", gone(), &counts);
        assert!(halls.tell_losses().is_empty(), "no room yet");
        assert!(matches!(mail.try_recv(), Ok(Inbound::Up)));
        assert!(matches!(mail.try_recv(), Ok(Inbound::NodeGone { .. })));
        assert!(mail.try_recv().is_err(), "the second did not fit");
        assert!(halls.deliver("/", gone(), &counts));
        assert!(matches!(mail.try_recv(), Ok(Inbound::Up)));
        assert!(matches!(mail.try_recv(), Ok(Inbound::NodeGone { .. })));
        assert_eq!(counts.read(0).overflowed, 1);
    }
}
