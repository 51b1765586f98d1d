//! Limits what a client sends in a session.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engineioxide_core::Str;

use super::Session;

/// What counts as one packet of `Limits::other_packets`, in bytes.
const OTHER_PACKET_BYTES: usize = 1024;
/// The most CONNECTs of a session that wait to be passed on again.
const CONNECT_RETRIES_MAX: usize = 64;

/// Attachments that are to follow a packet.
#[derive(Debug)]
pub(super) struct Attachments {
    missing: usize,
    since: Instant,
    /// Whether the layers above count the packet.
    is_known_above: bool,
}

impl Session {
    /// Whether the client left its last namespace longer ago than `Limits::unauthenticated_time`, and has not entered
    /// another.
    pub(crate) fn has_stayed_outside(&self, now: Instant) -> bool {
        let since = self.state.lock().outside_since;
        since.is_some_and(|since| now.duration_since(since) > self.limits.unauthenticated_time)
    }

    /// Records that the client has left a namespace. A session that is in none any more counts as unauthenticated, but
    /// its packets are read as before: some may be on their way. It ends when there are too many of those sessions, by its
    /// heartbeat, since the caller may hold locks that the end of a session takes.
    pub(super) fn leave_namespace(&self, namespace: &str) {
        let mut state = self.state.lock();
        let namespaces = state.namespaces.get_or_insert_default();
        if let Some(at) = namespaces.iter().position(|own| own.as_str() == namespace) {
            namespaces.swap_remove(at);
        }
        if !namespaces.is_empty() || state.ended.is_some() || self.is_unauthenticated() {
            return;
        }
        state.outside_since = Some(Instant::now());
        let permit = self.permit.lock();
        if permit.as_ref().is_some_and(|permit| !permit.unauthenticated()) {
            self.must_end.notify_one();
        }
    }

    /// Records that the server has let the session into a namespace.
    pub(crate) fn set_authenticated(&self) {
        let mut state = self.state.lock();
        self.unauthenticated.store(false, Ordering::Relaxed);
        if state.namespaces.as_ref().is_some_and(Vec::is_empty) {
            // The client has left again before it was told that it is in.
            state.outside_since.get_or_insert_with(Instant::now);
            return;
        }
        state.outside_since = None;
        if let Some(permit) = &*self.permit.lock() {
            permit.authenticated();
        }
    }

    /// Counts a CONNECT, and returns whether the session may send it: [`Limits::connects`] in total while the session
    /// is unauthenticated, and as many in each second afterwards.
    pub(crate) fn may_connect(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        if !self.is_unauthenticated() {
            let since = *state.connects_since.get_or_insert(now);
            if now.duration_since(since) >= Duration::from_secs(1) {
                state.connects_since = Some(now);
                state.connects = self.limits.connects;
            }
        }
        match state.connects.checked_sub(1) {
            Some(left) => {
                state.connects = left;
                true
            }
            None => false,
        }
    }

    /// Counts a packet of this many bytes that is not an event, and returns whether the session may send it.
    pub(crate) fn may_send_other(&self, bytes: usize, now: Instant) -> bool {
        let mut state = self.state.lock();
        let (left, since) = state.other_packets.unwrap_or((self.limits.other_packets, now));
        let (left, since) = match now.duration_since(since) >= Duration::from_secs(1) {
            true => (self.limits.other_packets, now),
            false => (left, since),
        };
        let cost = u32::try_from(bytes.div_ceil(OTHER_PACKET_BYTES).max(1)).unwrap_or(u32::MAX);
        let rest = left.checked_sub(cost);
        state.other_packets = Some((rest.unwrap_or(0), since));
        rest.is_some()
    }

    /// Records that so many attachments are to follow a packet.
    pub(crate) fn expect_attachments(&self, missing: usize, is_known_above: bool, since: Instant) {
        self.state.lock().attachments = (missing > 0).then_some(Attachments {
            missing,
            since,
            is_known_above,
        });
    }

    /// Records that an attachment has come, and returns whether the session may send it.
    pub(crate) fn attachment_came(&self, bytes: usize, now: Instant) -> bool {
        let is_known_above = {
            let mut state = self.state.lock();
            // One that nobody expects ends the session in the layer above.
            let Some(attachments) = &mut state.attachments else {
                return true;
            };
            let is_known_above = attachments.is_known_above;
            attachments.missing -= 1;
            if attachments.missing == 0 {
                state.attachments = None;
            }
            is_known_above
        };
        is_known_above || self.may_send_other(bytes, now)
    }

    /// Whether attachments have not come within `time`. What has come of the packet is kept for them.
    pub(crate) fn lacks_attachments(&self, time: Duration, now: Instant) -> bool {
        let state = self.state.lock();
        let since = state.attachments.as_ref().map(|attachments| attachments.since);
        since.is_some_and(|since| now.duration_since(since) >= time)
    }

    /// Whether the client is in the namespace, or is about to enter it. Always, if nobody says so.
    pub(crate) fn is_in_namespace(&self, namespace: &str) -> bool {
        let state = self.state.lock();
        let is_this = |own: &Str| own.as_str() == namespace;
        state.namespaces.as_ref().is_none_or(|all| all.iter().any(is_this))
    }

    /// Notes a CONNECT to this namespace that is to be passed on again until it is answered, and returns its number. `None`
    /// when there are too many of those.
    pub(crate) fn begin_connect_retry(&self, namespace: &str) -> Option<u64> {
        let mut state = self.state.lock();
        if state.connect_retries.len() >= CONNECT_RETRIES_MAX {
            return None;
        }
        let number = state.last_connect_retry.wrapping_add(1);
        state.last_connect_retry = number;
        state.connect_retries.push((number, Some(namespace.into())));
        Some(number)
    }

    pub(crate) fn end_connect_retry(&self, number: u64) {
        self.state.lock().connect_retries.retain(|(own, _)| *own != number);
    }

    /// Records that CONNECTs to this namespace are answered, or were taken back.
    pub(crate) fn connect_answered(&self, namespace: &str) {
        for (_, unanswered) in &mut self.state.lock().connect_retries {
            if unanswered.as_deref() == Some(namespace) {
                *unanswered = None;
            }
        }
    }

    /// Whether a CONNECT is still unanswered.
    pub(crate) fn is_connect_unanswered(&self, number: u64) -> bool {
        let state = self.state.lock();
        state
            .connect_retries
            .iter()
            .any(|(own, unanswered)| *own == number && unanswered.is_some())
    }
}
