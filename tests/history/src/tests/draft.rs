//! A history to corrupt, and functions that find a place for a corruption.

use super::world::{Rng, history};
use crate::{Invoke, Joined, Record, StoredMessage};

pub(super) struct Draft {
    pub(super) records: Vec<Record>,
    pub(super) rng: Rng,
}

/// A client's stay in a room, with the indexes of its deliveries in the history.
pub(super) struct Stay {
    pub(super) joined: Joined,
    pub(super) got: Vec<usize>,
    /// The index at which the stay ends, if it ends before the history does.
    pub(super) end: Option<usize>,
}

impl Draft {
    pub(super) fn new(seed: u64) -> Self {
        let records = history(seed).records;
        let rng = Rng(seed);
        Self { records, rng }
    }

    /// The record with this index.
    pub(super) fn pick(&mut self, fits: impl Fn(&Record) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.records.len()).filter(|at| fits(&self.records[*at])).collect();
        (!fitting.is_empty()).then(|| fitting[self.rng.below(fitting.len())])
    }

    pub(super) fn pick_ok(&mut self) -> Option<usize> {
        self.pick(|record| matches!(record, Record::Ok { .. }))
    }

    /// A stay whose client was told of the past.
    pub(super) fn pick_joined(&mut self, fits: impl Fn(&Joined) -> bool) -> Option<&mut Joined> {
        let at = self.pick(|record| matches!(record, Record::Joined(joined) if joined.exactly && fits(joined)))?;
        match &mut self.records[at] {
            Record::Joined(joined) => Some(joined),
            _ => None,
        }
    }

    /// The stored messages of a room that has at least so many.
    pub(super) fn pick_stored(&mut self, least: usize) -> Option<&mut Vec<StoredMessage>> {
        let at = self.pick(|record| matches!(record, Record::Stored { messages, .. } if messages.len() >= least))?;
        match &mut self.records[at] {
            Record::Stored { messages, .. } => Some(messages),
            _ => None,
        }
    }

    pub(super) fn pick_stay(&mut self, fits: impl Fn(&Stay) -> bool) -> Option<Stay> {
        let mut stays: Vec<Stay> = self.stays().into_iter().filter(|stay| fits(stay)).collect();
        (!stays.is_empty()).then(|| stays.swap_remove(self.rng.below(stays.len())))
    }

    fn stays(&self) -> Vec<Stay> {
        let mut stays: Vec<Stay> = Vec::new();
        for (at, record) in self.records.iter().enumerate() {
            let (Record::Joined(Joined { client, room, .. })
            | Record::Left { client, room }
            | Record::Delivered { client, room, .. }) = record
            else {
                continue;
            };
            let is_here =
                |stay: &&mut Stay| stay.end.is_none() && (&stay.joined.client, &stay.joined.room) == (client, room);
            if let Some(stay) = stays.iter_mut().find(is_here) {
                match record {
                    Record::Delivered { .. } => stay.got.push(at),
                    _ => stay.end = Some(at),
                }
            }
            if let Record::Joined(joined) = record {
                let (joined, got) = (joined.clone(), Vec::new());
                stays.push(Stay { joined, got, end: None });
            }
        }
        stays
    }

    /// The last message that was sent and fits.
    pub(super) fn sent(&self, fits: impl Fn(&Invoke) -> bool) -> Option<Invoke> {
        let invokes = self.records.iter().rev().filter_map(|record| match record {
            Record::Invoke(invoke) if fits(invoke) => Some(invoke.clone()),
            _ => None,
        });
        invokes.take(1).next()
    }

    /// The index at which an op is sent first.
    pub(super) fn sent_at(&self, client: &str, op: u64) -> Option<usize> {
        let is_it =
            |record: &Record| matches!(record, Record::Invoke(invoke) if (&*invoke.client, invoke.op) == (client, op));
        self.records.iter().position(is_it)
    }

    /// The results of an op, with their indexes.
    pub(super) fn outcomes(&self, client: &str, number: u64) -> Vec<usize> {
        let is_one = |record: &Record| match record {
            Record::Ok { client: of, op, .. }
            | Record::Failed { client: of, op }
            | Record::Unknown { client: of, op } => (&**of, *op) == (client, number),
            _ => false,
        };
        (0..self.records.len())
            .filter(|at| is_one(&self.records[*at]))
            .collect()
    }
}
