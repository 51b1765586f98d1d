//! One room's order on one node: messages come from here, from other nodes and from the store, in whatever order, and
//! leave by `seq`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::connection::{Connection, Outgoing};

/// Messages of a room that wait for one before them. What is beyond comes from the store, in its turn.
const PENDING_MAX: usize = 512;
/// Bytes of those messages.
const PENDING_BYTES: usize = 4 * 1024 * 1024;
/// Other packets of a room that wait behind messages. Further ones do not wait.
const FOLLOWERS_MAX: usize = 1024;
/// Bytes of those packets.
const FOLLOWERS_BYTES: usize = 1024 * 1024;

/// Something that is to go to the members now.
pub(super) struct OrderedPacket<'a> {
    /// Its place, when it is a message.
    pub(super) seq: Option<u64>,
    /// Who does not get it.
    pub(super) except: Option<&'a Arc<Connection>>,
    /// The packet.
    pub(super) outgoing: &'a Outgoing,
}

type Follower = (Option<Arc<Connection>>, Outgoing);

#[derive(Default)]
struct PendingMessage {
    /// `None` when only its number is known.
    message: Option<Outgoing>,
    /// What came after it and before the next.
    followers: Vec<Follower>,
}

/// See the [module](self). Nothing is delivered twice, nothing out of turn; what waits is bounded, and what is beyond
/// the bound is known by its number alone.
#[derive(Default)]
pub(super) struct RoomOrder {
    /// The next to be delivered. `None` until it is known where the first member came in.
    next: Option<u64>,
    /// Up to here nothing was delivered: the first member was told of it. 0 until that is known.
    baseline: u64,
    /// Never the next one.
    pending: BTreeMap<u64, PendingMessage>,
    /// Bytes of those.
    bytes: usize,
    /// Packets behind those, and their bytes.
    followers: usize,
    follower_bytes: usize,
    /// There is such a message, here or not.
    last: u64,
    /// Somebody reads from the store what is missing.
    pub(super) reading: bool,
    /// It is to be looked at soon.
    pub(super) check_scheduled: bool,
    /// Reads in a row that did not bring what is missing.
    pub(super) failed_reads: u32,
}

impl RoomOrder {
    /// A message. It is delivered when it is its turn, and with it whatever waited for it.
    pub(super) fn offer(&mut self, seq: u64, outgoing: &Outgoing, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        self.last = self.last.max(seq);
        match self.next {
            Some(next) if seq < next => {}
            Some(next) if seq == next => {
                deliver(OrderedPacket {
                    seq: Some(seq),
                    except: None,
                    outgoing,
                });
                self.next = Some(next + 1);
                if let Some(own) = self.pending.remove(&seq) {
                    self.release(own, deliver);
                }
                self.drain(deliver);
            }
            _ => {
                let room = self.pending.len() < PENDING_MAX && self.bytes < PENDING_BYTES;
                let waiting = match self.pending.get_mut(&seq) {
                    Some(waiting) => waiting,
                    None if room => self.pending.entry(seq).or_default(),
                    None => return,
                };
                if waiting.message.is_none() && room {
                    self.bytes = self.bytes.saturating_add(outgoing.len());
                    waiting.message = Some(outgoing.clone());
                }
            }
        }
    }

    /// A packet that is no message: it does not overtake the messages that came before it.
    pub(super) fn follow(
        &mut self,
        except: Option<&Arc<Connection>>,
        outgoing: &Outgoing,
        deliver: &mut impl FnMut(OrderedPacket<'_>),
    ) {
        // Until the beginning is known, nobody is there who could see what is pending.
        let room = self.followers < FOLLOWERS_MAX && self.follower_bytes < FOLLOWERS_BYTES;
        if self.first_missing().is_some() && room {
            self.followers += 1;
            self.follower_bytes = self.follower_bytes.saturating_add(outgoing.len());
            let last = self.pending.entry(self.last).or_default();
            last.followers.push((except.cloned(), outgoing.clone()));
            return;
        }
        deliver(OrderedPacket {
            seq: None,
            except,
            outgoing,
        });
    }

    /// Members have everything up to `last`: what comes after it is delivered. Counts only the first time.
    pub(super) fn start_after(&mut self, last: u64, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        self.last = self.last.max(last);
        if self.next.is_none() {
            self.next = Some(last + 1);
            self.baseline = last;
            while let Some(first) = self.pending.first_entry()
                && *first.key() <= last
            {
                let waiting = first.remove();
                self.release(waiting, deliver);
            }
            self.drain(deliver);
        }
    }

    /// There is a message with this number.
    pub(super) fn note_exists(&mut self, seq: u64) {
        self.last = self.last.max(seq);
    }

    /// Messages up to here do not come: a member that was told of fewer has to be told of the others too.
    pub(super) fn baseline(&self) -> u64 {
        self.baseline
    }

    /// Whether it is known where the first member came in.
    pub(super) fn has_started(&self) -> bool {
        self.next.is_some()
    }

    /// The first message that waits, while it is not known where the first member came in.
    pub(super) fn first_pending(&self) -> Option<u64> {
        self.pending.first_key_value().map(|(seq, _)| *seq)
    }

    /// The first message that is missing though there is a later one.
    pub(super) fn first_missing(&self) -> Option<u64> {
        self.next.filter(|next| *next <= self.last)
    }

    fn drain(&mut self, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        while let Some(next) = self.next
            && let Some(first) = self.pending.first_entry()
            && *first.key() == next
            && first.get().message.is_some()
        {
            let waiting = first.remove();
            if let Some(outgoing) = &waiting.message {
                deliver(OrderedPacket {
                    seq: Some(next),
                    except: None,
                    outgoing,
                });
            }
            self.next = Some(next + 1);
            self.release(waiting, deliver);
        }
    }

    /// What was delivered, or is of no use any more, lets go what was behind it.
    fn release(&mut self, waiting: PendingMessage, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        self.bytes = self
            .bytes
            .saturating_sub(waiting.message.as_ref().map_or(0, Outgoing::len));
        self.followers = self.followers.saturating_sub(waiting.followers.len());
        for (except, outgoing) in &waiting.followers {
            self.follower_bytes = self.follower_bytes.saturating_sub(outgoing.len());
            deliver(OrderedPacket {
                seq: None,
                except: except.as_ref(),
                outgoing,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{packet, random};

    /// What left, as text.
    fn text(due: &OrderedPacket<'_>) -> String {
        match due.outgoing {
            Outgoing::Event(packet) | Outgoing::Question(packet, _) => {
                String::from_utf8_lossy(&packet.text).into_owned()
            }
            Outgoing::Acknowledgement { .. } => String::new(),
        }
    }

    fn offer(order: &mut RoomOrder, left: &mut Vec<String>, seq: u64) {
        order.offer(seq, &packet(seq), &mut |due| left.push(text(&due)));
    }

    fn numbers(from: u64, to: u64) -> Vec<String> {
        (from..=to).map(|n| n.to_string()).collect()
    }

    #[test]
    fn what_comes_in_any_order_and_often_leaves_by_number_and_once() {
        for seed in 0..2000_u64 {
            let mut random = random(seed);
            let count = 1 + random(40);
            let mut arrivals: Vec<u64> = (1..=count).chain((0..random(20)).map(|_| 1 + random(count))).collect();
            for n in (1..arrivals.len()).rev() {
                arrivals.swap(n, usize::try_from(random(n as u64 + 1)).unwrap());
            }
            let (mut order, mut left) = (RoomOrder::default(), Vec::new());
            let begins = usize::try_from(random(5)).unwrap();
            let from = random(3).min(count);
            for (n, seq) in arrivals.iter().enumerate() {
                if n == begins {
                    order.start_after(from, &mut |due| left.push(text(&due)));
                }
                offer(&mut order, &mut left, *seq);
            }
            order.start_after(from, &mut |due| left.push(text(&due)));
            assert_eq!(left, numbers(from + 1, count), "seed {seed}");
            assert_eq!(order.first_missing(), None, "seed {seed}");
        }
    }

    #[test]
    fn what_is_missing_is_known_and_what_comes_from_the_store_fills_it() {
        let (mut order, mut left) = (RoomOrder::default(), Vec::new());
        order.start_after(0, &mut |_| {});
        offer(&mut order, &mut left, 1);
        offer(&mut order, &mut left, 4);
        assert_eq!(order.first_missing(), Some(2));
        offer(&mut order, &mut left, 2);
        offer(&mut order, &mut left, 3);
        assert_eq!(left, numbers(1, 4));
        assert_eq!(order.first_missing(), None);
        order.note_exists(6);
        assert_eq!(order.first_missing(), Some(5));
    }

    #[test]
    fn what_follows_a_message_does_not_overtake_it() {
        let (mut order, mut left) = (RoomOrder::default(), Vec::new());
        order.start_after(0, &mut |_| {});
        offer(&mut order, &mut left, 2);
        order.follow(None, &packet("read 2"), &mut |due| left.push(text(&due)));
        assert_eq!(left, Vec::<String>::new());
        offer(&mut order, &mut left, 1);
        order.follow(None, &packet("typing"), &mut |due| left.push(text(&due)));
        assert_eq!(left, ["1", "2", "read 2", "typing"]);
    }

    #[test]
    fn what_follows_a_message_that_is_known_by_its_number_alone_waits_too() {
        let (mut order, mut left) = (RoomOrder::default(), Vec::new());
        order.start_after(0, &mut |_| {});
        order.note_exists(2);
        order.follow(None, &packet("read 2"), &mut |due| left.push(text(&due)));
        offer(&mut order, &mut left, 1);
        assert_eq!(left, ["1"]);
        offer(&mut order, &mut left, 2);
        assert_eq!(left, ["1", "2", "read 2"]);
    }

    #[test]
    fn what_follows_is_bounded_in_bytes_and_what_is_beyond_does_not_wait() {
        let (mut order, mut left) = (RoomOrder::default(), Vec::new());
        order.start_after(0, &mut |_| {});
        order.note_exists(1);
        let large = packet("x".repeat(FOLLOWERS_BYTES / 4));
        for _ in 0..6 {
            order.follow(None, &large, &mut |due| left.push(text(&due)));
        }
        assert_eq!(left.len(), 2, "four wait");
        offer(&mut order, &mut left, 1);
        assert_eq!((left.len(), order.follower_bytes), (7, 0));
    }

    #[test]
    fn what_waits_is_bounded_and_nothing_of_it_is_forgotten() {
        let (mut order, mut left) = (RoomOrder::default(), Vec::new());
        order.start_after(0, &mut |_| {});
        let last = PENDING_MAX as u64 + 100;
        for seq in 2..=last {
            offer(&mut order, &mut left, seq);
        }
        assert_eq!(order.pending.len(), PENDING_MAX);
        offer(&mut order, &mut left, 1);
        assert_eq!(left.len(), PENDING_MAX + 1);
        assert_eq!(order.first_missing(), Some(PENDING_MAX as u64 + 2));
        for seq in PENDING_MAX as u64 + 2..=last {
            offer(&mut order, &mut left, seq);
        }
        assert_eq!(left, numbers(1, last));
    }
}
