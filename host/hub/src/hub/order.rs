//! The order of one room's messages on one node, and that of its changes. They arrive from this node, from other nodes and
//! from the store, in any order, and leave by `seq`, or by `rev`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::connection::{Connection, Outgoing};
use parlance_store::Place;

/// The most messages of a room that wait for an earlier one. Further ones are read from the store later.
const PENDING_MAX: usize = 512;
/// The most bytes of these messages.
const PENDING_BYTES: usize = 4 * 1024 * 1024;
/// The most other packets of a room that wait behind messages. Further ones do not wait; a further change is not taken,
/// nor are those behind it, and they are read from the store later.
const FOLLOWERS_MAX: usize = 1024;
/// The most bytes of these packets.
const FOLLOWERS_BYTES: usize = 1024 * 1024;

/// The number of a packet in its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// The `seq` of a message.
    Seq(u64),
    /// The `rev` of a change.
    Rev(u64),
}

impl Number {
    /// Whether a room that has come to this place has it.
    pub(super) fn is_within(self, place: Place) -> bool {
        match self {
            Self::Seq(seq) => seq <= place.seq,
            Self::Rev(rev) => rev <= place.rev,
        }
    }
}

/// A packet whose turn has come.
pub(super) struct OrderedPacket<'a> {
    /// `None` for a packet that is neither a message nor a change.
    pub(super) number: Option<Number>,
    /// A connection that does not get it.
    pub(super) except: Option<&'a Arc<Connection>>,
    /// The packet.
    pub(super) outgoing: &'a Outgoing,
}

struct Follower {
    number: Option<Number>,
    except: Option<Arc<Connection>>,
    outgoing: Outgoing,
}

#[derive(Default)]
struct PendingMessage {
    /// `None` when only the message's `seq` is known.
    message: Option<Outgoing>,
    /// Packets that follow this message and precede the next one.
    followers: Vec<Follower>,
}

/// Puts a room's packets into order. No message leaves twice or out of turn. What waits is bounded; of messages beyond
/// the bound only the highest `seq` is known, and they are read from the store.
#[derive(Default)]
pub(super) struct RoomOrder {
    /// The `seq` that is delivered next. `None` until the room's baseline is known.
    next: Option<u64>,
    /// The baseline: messages up to here were not delivered, since the first member has them from its join's answer. 0
    /// until it is known.
    baseline: u64,
    /// What waits, by `seq`. The message that is next is never here.
    pending: BTreeMap<u64, PendingMessage>,
    /// Bytes of the waiting messages.
    bytes: usize,
    /// The number and bytes of the packets that wait behind messages.
    followers: usize,
    follower_bytes: usize,
    /// The highest `seq` that the room is known to have.
    last: u64,
    /// Whether missing messages are being read from the store, or wait for that.
    pub(super) reading: bool,
    /// Whether a check for missing messages is scheduled.
    pub(super) check_scheduled: bool,
    /// How many reads in a row did not bring what is missing.
    pub(super) failed_reads: u32,
}

impl RoomOrder {
    /// Takes a message. It is delivered in its turn, and with it what waited for it.
    pub(super) fn offer(&mut self, seq: u64, outgoing: &Outgoing, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        self.last = self.last.max(seq);
        match self.next {
            Some(next) if seq < next => {}
            Some(next) if seq == next => {
                deliver(OrderedPacket {
                    number: Some(Number::Seq(seq)),
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

    /// Whether a change has room behind the messages that are missing. If not, it is read from the store later.
    pub(super) fn takes_changes(&self) -> bool {
        self.first_missing().is_none() || self.has_room_behind()
    }

    fn has_room_behind(&self) -> bool {
        self.followers < FOLLOWERS_MAX && self.follower_bytes < FOLLOWERS_BYTES
    }

    /// Takes a packet that is not a message. It does not overtake the messages that came before it, but for a packet
    /// without a number when too many wait.
    pub(super) fn follow(
        &mut self,
        number: Option<Number>,
        except: Option<&Arc<Connection>>,
        outgoing: &Outgoing,
        deliver: &mut impl FnMut(OrderedPacket<'_>),
    ) {
        // Until the baseline is known, no member can be waiting for what is missing.
        if self.first_missing().is_some() && (number.is_some() || self.has_room_behind()) {
            self.followers += 1;
            self.follower_bytes = self.follower_bytes.saturating_add(outgoing.len());
            let last = self.pending.entry(self.last).or_default();
            last.followers.push(Follower {
                number,
                except: except.cloned(),
                outgoing: outgoing.clone(),
            });
            return;
        }
        deliver(OrderedPacket {
            number,
            except,
            outgoing,
        });
    }

    /// Sets the baseline: members have everything up to `last`, and later messages are delivered. Only the first call
    /// counts.
    pub(super) fn start_after(&mut self, last: u64, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        self.last = self.last.max(last);
        if self.next.is_none() {
            self.next = Some(last + 1);
            self.baseline = last;
            self.drop_pending(last, deliver);
            self.drain(deliver);
        }
    }

    /// Goes on after `last`: what comes up to it was delivered otherwise.
    pub(super) fn skip_to(&mut self, last: u64, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        self.last = self.last.max(last);
        if self.next.is_some_and(|next| next <= last) {
            self.next = Some(last + 1);
            self.drop_pending(last, deliver);
            self.drain(deliver);
        }
    }

    /// Goes on after `last` without the messages up to it that have not come. Those that wait are delivered.
    pub(super) fn skip_missing(&mut self, last: u64, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        while let Some(next) = self.next.filter(|next| *next <= last) {
            let Some(first) = self.pending.first_entry().filter(|first| *first.key() <= last) else {
                self.next = Some(last + 1);
                break;
            };
            self.next = Some(next.max(*first.key()));
            if first.get().message.is_none() {
                // Of this one only the packets that follow it have come.
                self.next = Some(next.max(*first.key()) + 1);
                let waiting = first.remove();
                self.release(waiting, deliver);
            }
            self.drain(deliver);
        }
        self.drain(deliver);
    }

    /// The highest `seq` that the room is known to have.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Drops what waits up to `last`, but for what follows it.
    fn drop_pending(&mut self, last: u64, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        while let Some(first) = self.pending.first_entry()
            && *first.key() <= last
        {
            let waiting = first.remove();
            self.release(waiting, deliver);
        }
    }

    /// Notes that the room has a message with this `seq`.
    pub(super) fn note_exists(&mut self, seq: u64) {
        self.last = self.last.max(seq);
    }

    /// The baseline. A joining member whose answer ends before it must be told of the messages up to it.
    pub(super) fn baseline(&self) -> u64 {
        self.baseline
    }

    /// Whether the baseline is known.
    pub(super) fn has_started(&self) -> bool {
        self.next.is_some()
    }

    /// Whether this number was not delivered yet.
    pub(super) fn is_ahead(&self, number: u64) -> bool {
        self.next.is_some_and(|next| next <= number)
    }

    /// The lowest `seq` that waits.
    pub(super) fn first_pending(&self) -> Option<u64> {
        self.pending.first_key_value().map(|(seq, _)| *seq)
    }

    /// The first message that is missing though a later one is known.
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
                    number: Some(Number::Seq(next)),
                    except: None,
                    outgoing,
                });
            }
            self.next = Some(next + 1);
            self.release(waiting, deliver);
        }
    }

    /// Delivers the packets that waited behind a message.
    fn release(&mut self, waiting: PendingMessage, deliver: &mut impl FnMut(OrderedPacket<'_>)) {
        self.bytes = self
            .bytes
            .saturating_sub(waiting.message.as_ref().map_or(0, Outgoing::len));
        self.followers = self.followers.saturating_sub(waiting.followers.len());
        for Follower {
            number,
            except,
            outgoing,
        } in &waiting.followers
        {
            self.follower_bytes = self.follower_bytes.saturating_sub(outgoing.len());
            deliver(OrderedPacket {
                number: *number,
                except: except.as_ref(),
                outgoing,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{packet, random};

    /// The text of a packet.
    fn text(packet: &OrderedPacket<'_>) -> String {
        match packet.outgoing {
            Outgoing::Event(packet) | Outgoing::Question(packet, _) => {
                String::from_utf8_lossy(&packet.text).into_owned()
            }
            Outgoing::Acknowledgement { .. } => String::new(),
        }
    }

    fn offer(order: &mut RoomOrder, left: &mut Vec<String>, seq: u64) {
        order.offer(seq, &packet(seq), &mut |packet| left.push(text(&packet)));
    }

    fn numbers(from: u64, to: u64) -> Vec<String> {
        (from..=to).map(|n| n.to_string()).collect()
    }

    #[test]
    fn messages_in_any_order_leave_by_seq_and_once() {
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
                    order.start_after(from, &mut |packet| left.push(text(&packet)));
                }
                offer(&mut order, &mut left, *seq);
            }
            order.start_after(from, &mut |packet| left.push(text(&packet)));
            assert_eq!(left, numbers(from + 1, count), "seed {seed}");
            assert_eq!(order.first_missing(), None, "seed {seed}");
        }
    }

    #[test]
    fn a_missing_message_is_known_and_a_read_fills_the_gap() {
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
    fn what_was_removed_is_not_waited_for_and_what_waits_comes() {
        let (mut order, mut left) = (RoomOrder::default(), Vec::new());
        order.start_after(0, &mut |_| {});
        offer(&mut order, &mut left, 4);
        order.note_exists(6);
        order.follow(None, None, &packet("read 6"), &mut |packet| left.push(text(&packet)));
        order.skip_missing(3, &mut |packet| left.push(text(&packet)));
        assert_eq!((left.as_slice(), order.first_missing()), (&numbers(4, 4)[..], Some(5)));
        order.skip_missing(6, &mut |packet| left.push(text(&packet)));
        assert_eq!(left, ["4", "read 6"]);
        assert_eq!((order.first_missing(), order.followers), (None, 0));
        order.skip_missing(2, &mut |_| {});
        offer(&mut order, &mut left, 7);
        assert_eq!(left, ["4", "read 6", "7"]);
    }

    #[test]
    fn a_packet_does_not_overtake_the_message_before_it() {
        let (mut order, mut left) = (RoomOrder::default(), Vec::new());
        order.start_after(0, &mut |_| {});
        offer(&mut order, &mut left, 2);
        order.follow(None, None, &packet("read 2"), &mut |packet| left.push(text(&packet)));
        assert_eq!(left, Vec::<String>::new());
        offer(&mut order, &mut left, 1);
        order.follow(None, None, &packet("typing"), &mut |packet| left.push(text(&packet)));
        assert_eq!(left, ["1", "2", "read 2", "typing"]);
    }

    #[test]
    fn a_packet_waits_for_a_message_of_which_only_the_seq_is_known() {
        let (mut order, mut left) = (RoomOrder::default(), Vec::new());
        order.start_after(0, &mut |_| {});
        order.note_exists(2);
        order.follow(None, None, &packet("read 2"), &mut |packet| left.push(text(&packet)));
        offer(&mut order, &mut left, 1);
        assert_eq!(left, ["1"]);
        offer(&mut order, &mut left, 2);
        assert_eq!(left, ["1", "2", "read 2"]);
    }

    #[test]
    fn waiting_packets_are_bounded_in_bytes_and_further_ones_do_not_wait() {
        let (mut order, mut left) = (RoomOrder::default(), Vec::new());
        order.start_after(0, &mut |_| {});
        order.note_exists(1);
        let large = packet("x".repeat(FOLLOWERS_BYTES / 4));
        for _ in 0..6 {
            order.follow(None, None, &large, &mut |packet| left.push(text(&packet)));
        }
        assert_eq!(left.len(), 2, "four wait");
        offer(&mut order, &mut left, 1);
        assert_eq!((left.len(), order.follower_bytes), (7, 0));
    }

    #[test]
    fn waiting_messages_are_bounded_and_none_is_forgotten() {
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
