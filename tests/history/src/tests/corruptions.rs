//! Histories that break a promise, made from correct ones.

use super::draft::{Draft, Stay};
use crate::{Invoke, Record, StoredMessage};

/// The name of the mistake, the violation that must be found, and a function that plants the mistake. It returns `None`
/// when the history has no place for it.
pub(super) type Corruption = (&'static str, &'static str, fn(&mut Draft) -> Option<()>);

pub(super) const CORRUPTIONS: [Corruption; 36] = [
    ("a delivery is dropped", "Skipped", |draft| {
        let stay = draft.pick_stay(|stay| stay.got.len() > 2)?;
        draft.records.remove(stay.got[1]);
        Some(())
    }),
    ("a member that was told nothing begins too late", "Skipped", |draft| {
        let stay = draft.pick_stay(|stay| !stay.joined.exactly && stay.got.len() > 4)?;
        let is_late = |record: &Record| matches!(record, Record::Delivered { seq, .. } if *seq > stay.joined.last + 1);
        let early: Vec<usize> = stay
            .got
            .into_iter()
            .filter(|at| !is_late(&draft.records[*at]))
            .collect();
        for at in early.into_iter().rev() {
            draft.records.remove(at);
        }
        Some(())
    }),
    ("a message comes twice", "Repeated", |draft| {
        let stay = draft.pick_stay(|stay| !stay.got.is_empty())?;
        draft.records.insert(stay.got[0], draft.records[stay.got[0]].clone());
        Some(())
    }),
    ("two deliveries change places", "Repeated", |draft| {
        let stay = draft.pick_stay(|stay| stay.got.len() > 2)?;
        draft.records.swap(stay.got[1], stay.got[2]);
        Some(())
    }),
    ("the last message does not come", "MissingTail", |draft| {
        let stay = draft.pick_stay(|stay| stay.end.is_none() && !stay.got.is_empty())?;
        draft.records.remove(*stay.got.last()?);
        Some(())
    }),
    ("nothing comes", "MissingTail", |draft| {
        let stay = draft.pick_stay(|stay| stay.end.is_none() && stay.joined.exactly && stay.got.len() > 3)?;
        for at in stay.got.into_iter().rev() {
            draft.records.remove(at);
        }
        Some(())
    }),
    ("a message comes after its receiver left", "NotAMember", |draft| {
        let has_left = |stay: &Stay| stay.end.is_some() && !stay.got.is_empty();
        let stay = draft.pick_stay(has_left)?;
        let (last, end) = (*stay.got.last()?, stay.end?);
        // A client that joins again without leaving is still in the room.
        matches!(draft.records[end], Record::Left { .. }).then_some(())?;
        draft.records[last..=end].rotate_left(1);
        Some(())
    }),
    ("a message of another tenant comes", "OtherTenant", |draft| {
        let stay = draft.pick_stay(|stay| !stay.got.is_empty())?;
        let other = draft.sent(|invoke| invoke.tenant != stay.joined.tenant)?;
        deliver(draft, stay.got[0], other)
    }),
    ("another message comes than is stored", "Differs", |draft| {
        let stay = draft.pick_stay(|stay| stay.got.len() > 1)?;
        let Record::Delivered { content, .. } = &draft.records[stay.got[1]] else {
            return None;
        };
        let other = draft.sent(|invoke| invoke.content == *content)?;
        deliver(draft, stay.got[0], other)
    }),
    ("a message of another tenant is given", "OtherTenant", |draft| {
        let tenant = draft.pick_joined(|joined| !joined.messages.is_empty())?.tenant.clone();
        let other = draft.sent(|invoke| invoke.tenant != tenant)?;
        let joined = draft.pick_joined(|joined| joined.tenant == tenant && !joined.messages.is_empty())?;
        joined.messages[0].content = other.content;
        Some(())
    }),
    ("another message is given than is stored", "Differs", |draft| {
        let messages = &mut draft.pick_joined(|joined| joined.messages.len() > 1)?.messages;
        messages[0].content = messages[1].content.clone();
        Some(())
    }),
    ("what is given begins too late", "GivenGap", |draft| {
        let joined = draft.pick_joined(|joined| joined.after.is_some() && joined.messages.len() > 1)?;
        joined.messages.remove(0);
        Some(())
    }),
    ("what is given ends too early", "GivenGap", |draft| {
        let joined = draft.pick_joined(|joined| joined.after.is_some())?;
        joined.messages.pop().map(drop)
    }),
    ("what is given is not in order", "GivenGap", |draft| {
        let joined = draft.pick_joined(|joined| joined.after.is_none() && joined.messages.len() > 1)?;
        joined.messages.swap(0, 1);
        Some(())
    }),
    ("what is given goes beyond the last", "GivenGap", |draft| {
        draft.pick_joined(|joined| !joined.messages.is_empty())?.last -= 1;
        Some(())
    }),
    ("a last message is told that never was", "WrongLast", |draft| {
        draft.pick_joined(|_| true)?.last += 1_000_000;
        Some(())
    }),
    (
        "a last message is told that the client was past",
        "WrongLast",
        |draft| {
            let joined = draft.pick_joined(|_| true)?;
            (joined.after, joined.messages) = (Some(joined.last + 1), Vec::new());
            Some(())
        },
    ),
    ("an acknowledged message is lost", "Lost", |draft| {
        let at = draft.pick_ok()?;
        let Record::Ok { client, op, .. } = draft.records[at].clone() else {
            return None;
        };
        let content = draft
            .sent(|invoke| (&invoke.client, invoke.op) == (&client, op))?
            .content;
        for record in &mut draft.records {
            if let Record::Stored { messages, .. } = record {
                messages.retain(|message| message.content != content);
            }
        }
        Some(())
    }),
    ("an acknowledgement names another place", "WrongSeq", |draft| {
        let at = draft.pick_ok()?;
        let Record::Ok { seq, .. } = &mut draft.records[at] else {
            return None;
        };
        *seq += 1;
        Some(())
    }),
    ("a message is stored that failed", "FailedStored", |draft| {
        let at = draft.pick_ok()?;
        let Record::Ok { client, op, .. } = draft.records[at].clone() else {
            return None;
        };
        (draft.outcomes(&client, op).len() == 1).then_some(())?;
        draft.records[at] = Record::Failed { client, op };
        Some(())
    }),
    ("nobody sent what is stored", "Ghost", |draft| {
        let messages = draft.pick_stored(1)?;
        let (seq, content, user) = (messages.len() as u64 + 1, "invented".into(), messages[0].user.clone());
        messages.push(StoredMessage { seq, content, user });
        Some(())
    }),
    ("the store has a gap", "Gap", |draft| {
        draft.pick_stored(3)?.remove(1);
        Some(())
    }),
    ("the store does not begin with 1", "Gap", |draft| {
        draft.pick_stored(1)?.iter_mut().for_each(|message| message.seq += 1);
        Some(())
    }),
    ("the store has a number twice", "Gap", |draft| {
        draft.pick_stored(3)?[2].seq = 2;
        Some(())
    }),
    ("a message is stored twice", "StoredTwice", |draft| {
        let messages = draft.pick_stored(1)?;
        let seq = messages.len() as u64 + 1;
        messages.push(StoredMessage {
            seq,
            ..messages[0].clone()
        });
        Some(())
    }),
    ("a message is stored in another room", "WrongRoom", |draft| {
        exchange(draft, |one, other| one.0 == other.0 && one.1 != other.1)
    }),
    ("a message is stored at another tenant", "WrongRoom", |draft| {
        exchange(draft, |one, other| one.0 != other.0)
    }),
    ("a message is stored as another user's", "WrongUser", |draft| {
        draft.pick_stored(1)?[0].user = "somebody".into();
        Some(())
    }),
    ("two messages of one sender change places", "SenderOrder", |draft| {
        exchange_ops(draft, true)
    }),
    (
        "two messages of one sender change places on the way",
        "SenderOrder",
        |draft| exchange_ops(draft, false),
    ),
    ("the last word on a user is an old one", "StalePresence", |draft| {
        let is_presence = |record: &Record| matches!(record, Record::Presence { .. });
        let at = draft.records.iter().rposition(is_presence)?;
        let Record::Presence { status, .. } = &mut draft.records[at] else {
            return None;
        };
        *status = "long since".into();
        Some(())
    }),
    ("nobody tells a client of a user", "StalePresence", |draft| {
        let at = draft.pick(|record| matches!(record, Record::TruthPresence { .. }))?;
        let Record::TruthPresence { client, user, .. } = draft.records[at].clone() else {
            return None;
        };
        let is_told = |record: &Record| matches!(record, Record::Presence { client: to, user: of, .. } if (to, of) == (&client, &user));
        draft.records.retain(|record| !is_told(record));
        Some(())
    }),
    ("two ops have one content", "ReusedName", |draft| {
        let at = draft.pick(|record| matches!(record, Record::Invoke(_)))?;
        let Record::Invoke(one) = draft.records[at].clone() else {
            return None;
        };
        let content = draft.sent(|invoke| invoke.content != one.content)?.content;
        draft.records[at] = Record::Invoke(Invoke { content, ..one });
        Some(())
    }),
    ("one op has two contents", "ReusedName", |draft| {
        let at = draft.pick(|record| matches!(record, Record::Invoke(_)))?;
        let Record::Invoke(one) = draft.records[at].clone() else {
            return None;
        };
        let content = "another".into();
        draft.records.insert(at, Record::Invoke(Invoke { content, ..one }));
        Some(())
    }),
    ("an op ends that has not begun", "UnknownOp", |draft| {
        let at = draft.pick_ok()?;
        let Record::Ok { op, .. } = &mut draft.records[at] else {
            return None;
        };
        *op += 1_000_000;
        Some(())
    }),
    ("one client is two users", "TwoIdentities", |draft| {
        let at = draft.pick(|record| matches!(record, Record::Invoke(_)))?;
        let Record::Invoke(one) = draft.records[at].clone() else {
            return None;
        };
        draft.records.push(Record::Invoke(Invoke {
            user: "somebody".into(),
            ..one
        }));
        Some(())
    }),
];

/// Delivers other content at this place.
fn deliver(draft: &mut Draft, at: usize, other: Invoke) -> Option<()> {
    let Record::Delivered { content, .. } = &mut draft.records[at] else {
        return None;
    };
    *content = other.content;
    Some(())
}

/// Exchanges the first messages of two rooms whose tenants and names fit.
fn exchange(draft: &mut Draft, fits: fn((&str, &str), (&str, &str)) -> bool) -> Option<()> {
    let first = draft.pick(|record| matches!(record, Record::Stored { messages, .. } if !messages.is_empty()))?;
    let Record::Stored { tenant, room, messages } = draft.records[first].clone() else {
        return None;
    };
    let other = draft.pick(|record| {
        matches!(record, Record::Stored { tenant: of, room: other, messages } if !messages.is_empty() && fits((&tenant, &room), (of, other)))
    })?;
    let Record::Stored { messages: others, .. } = &mut draft.records[other] else {
        return None;
    };
    let others = std::mem::replace(&mut others[0], messages[0].clone());
    let Record::Stored { messages, .. } = &mut draft.records[first] else {
        return None;
    };
    messages[0] = others;
    Some(())
}

/// Exchanges the places of two acknowledged ops of one client in one room of the store. The first op was acknowledged
/// before the second was sent, or else both were in flight at the same time and none failed meanwhile.
fn exchange_ops(draft: &mut Draft, was_acknowledged: bool) -> Option<()> {
    let oks: Vec<(usize, Invoke, u64)> = (draft.records.iter().enumerate())
        .filter_map(|(at, record)| match record {
            Record::Ok { client, op, seq } if draft.outcomes(client, *op).len() == 1 => Some((
                at,
                draft.sent(|invoke| (&invoke.client, invoke.op) == (client, *op))?,
                *seq,
            )),
            _ => None,
        })
        .collect();
    let fits = |(ok, one, _): &(usize, Invoke, u64), (other_ok, other, _): &(usize, Invoke, u64)| {
        let begun = draft
            .sent_at(&one.client, one.op)
            .zip(draft.sent_at(&other.client, other.op));
        let is_doubt = |record: &Record| matches!(record, Record::Failed { client, .. } | Record::Unknown { client, .. } if *client == one.client);
        (&one.client, &one.room) == (&other.client, &other.room)
            && begun.is_some_and(|(begun, other_begun)| match was_acknowledged {
                true => *ok < other_begun,
                false => {
                    begun < other_begun && other_begun < *ok && !draft.records[begun..*other_ok].iter().any(is_doubt)
                }
            })
    };
    let (one, other) = oks
        .iter()
        .find_map(|one| Some((one, oks.iter().find(|other| fits(one, other))?)))?;
    for record in &mut draft.records {
        match record {
            Record::Invoke(invoke) if invoke.content == one.1.content => invoke.content = other.1.content.clone(),
            Record::Invoke(invoke) if invoke.content == other.1.content => invoke.content = one.1.content.clone(),
            _ => {}
        }
    }
    for (at, place) in [(one.0, other.2), (other.0, one.2)] {
        if let Record::Ok { seq, .. } = &mut draft.records[at] {
            *seq = place;
        }
    }
    Some(())
}
