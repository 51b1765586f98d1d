//! Tells what a replayed event did otherwise than the recorded one.

use serde::Serialize;
use serde_json::Value;

use super::answers::Answer;
use super::event::Event;
use super::mask;
use super::outcome::{End, Outcome, RecordedEffect};
use super::replay::{Replayed, comparable};

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// One of them was stopped, or both for other reasons.
    Traps,
    /// One of them refused the event, or both in other words.
    Refusals,
    /// The replies differ.
    Replies,
    /// The posted messages and read marks differ.
    Posts,
    /// The emitted events differ.
    Emits,
    /// The writes to keys differ.
    Keys,
    /// The joins, leaves, statuses or data of the connection differ.
    Rooms,
    /// The effects are the same ones in another order.
    Order,
    /// The log lines differ.
    Logs,
    /// The HTTP requests differ.
    Requests,
    /// The new one asks for something that the recording has no answer to, so the rest may differ for that reason.
    Missing,
    /// The new one asks for other things, or in another order. That alone changes nothing for anybody.
    Reads,
    /// The numbers of calls of the host differ. That alone changes nothing for anybody.
    HostCalls,
    /// The peak memories differ. That alone changes nothing for anybody.
    Memory,
}

impl Group {
    /// All groups, in the order of reports.
    pub const ALL: [Self; 14] = [
        Self::Traps,
        Self::Refusals,
        Self::Replies,
        Self::Posts,
        Self::Emits,
        Self::Keys,
        Self::Rooms,
        Self::Order,
        Self::Logs,
        Self::Requests,
        Self::Missing,
        Self::Reads,
        Self::HostCalls,
        Self::Memory,
    ];

    /// Whether somebody can notice the difference, apart from time and memory.
    #[must_use]
    pub fn is_behaviour(self) -> bool {
        !matches!(self, Self::Reads | Self::HostCalls | Self::Memory)
    }

    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Traps => "traps",
            Self::Refusals => "refusals",
            Self::Replies => "replies",
            Self::Posts => "posts",
            Self::Emits => "emits",
            Self::Keys => "keys",
            Self::Rooms => "rooms",
            Self::Order => "order",
            Self::Logs => "logs",
            Self::Requests => "requests",
            Self::Missing => "missing",
            Self::Reads => "reads",
            Self::HostCalls => "host-calls",
            Self::Memory => "memory",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The part of the outcome that differs.
    pub group: Group,
    /// The field of the recorded event, such as `outcome.effects[1]`.
    pub field: String,
    /// What was recorded; `null` when there was nothing.
    pub expected: Value,
    /// What the replay did; `null` when it did nothing.
    pub actual: Value,
}

/// The differences of an event and its replay. In a masked recording only what masking leaves is compared.
#[must_use]
pub fn differences(event: &Event, replayed: &Replayed, with_content: bool) -> Vec<Difference> {
    let mut found = Differences::default();
    let (mut expected, mut actual) = (event.outcome.clone(), replayed.outcome.clone());
    for outcome in [&mut expected, &mut actual] {
        mask::outcome(outcome, with_content);
        if !with_content {
            // A handler may make ids of the text that it got.
            mask::ids(outcome);
        }
    }
    let expected = &expected;
    compare_ends(&mut found, &expected.end, &actual.end);
    compare_effects(&mut found, expected, &actual);
    found.lists(Group::Logs, "outcome.logs", &expected.logs, &actual.logs);
    found.values(Group::Logs, "outcome.logsCut", &expected.logs_cut, &actual.logs_cut);
    found.values(
        Group::Refusals,
        "outcome.notJoined",
        &expected.not_joined,
        &actual.not_joined,
    );
    // A request that the handler dropped before its answer came was sent, or not, by chance.
    let was_sent = |wanted: u32| replayed.requests.iter().any(|(number, _)| *number == wanted);
    let requests = event.answers.iter().filter_map(|answer| match answer {
        Answer::Http {
            number,
            request,
            answer,
        } => (answer.has_begun() || was_sent(*number)).then_some((number, request)),
        _ => None,
    });
    let mut requests: Vec<_> = requests.collect();
    requests.sort_by_key(|(number, _)| **number);
    let requests: Vec<_> = requests.into_iter().map(|(_, request)| request).collect();
    let sent: Vec<_> = replayed.requests.iter().map(|(_, request)| request).collect();
    found.lists(Group::Requests, "answers", &requests, &sent);
    for question in &replayed.missing {
        found.add(Group::Missing, "answers", Value::Null, question.clone().into());
    }
    // Requests were compared above; those that run at once are noted in any order.
    let questions = event
        .answers
        .iter()
        .filter(|answer| !matches!(answer, Answer::Http { .. }));
    let compared = |question: String| comparable(question, with_content);
    let questions: Vec<_> = questions.map(|answer| compared(answer.question())).collect();
    let asked: Vec<_> = replayed.asked.iter().cloned().map(compared).collect();
    found.lists(Group::Reads, "answers", &questions, &asked);
    let (before, after) = (&expected.usage, &actual.usage);
    // A guest that was stopped by its time may have come further, or not as far.
    if !expected.end.is_stopped_by_time() {
        found.values(
            Group::HostCalls,
            "outcome.usage.hostCalls",
            &before.host_calls,
            &after.host_calls,
        );
        found.values(
            Group::Memory,
            "outcome.usage.peakMemory",
            &before.peak_memory,
            &after.peak_memory,
        );
    }
    found.0
}

fn compare_ends(found: &mut Differences, expected: &End, actual: &End) {
    if let (
        End::Trapped { trap, detail },
        End::Trapped {
            trap: new,
            detail: other,
        },
    ) = (expected, actual)
    {
        found.values(Group::Traps, "outcome.end.trap", trap, new);
        // Where a guest is stopped by its time depends on the machine.
        let comparable = |text: &str| match expected.is_stopped_by_time() {
            true => text.lines().next().unwrap_or_default().to_owned(),
            false => text.lines().map(function).collect::<Vec<_>>().join("\n"),
        };
        found.values(
            Group::Traps,
            "outcome.end.detail",
            &comparable(detail),
            &comparable(other),
        );
        return;
    }
    let is = |wanted: fn(&End) -> bool| wanted(expected) || wanted(actual);
    let group = if is(|end| matches!(end, End::Trapped { .. })) {
        Group::Traps
    } else if is(|end| matches!(end, End::Refused { .. })) {
        Group::Refusals
    } else {
        Group::Replies
    };
    found.values(group, "outcome.end", expected, actual);
}

/// A line of a trap's description without the place of its frame: `N: NAME at 0xOFFSET`, or with lines of its source,
/// `N: NAME at FILE:LINE (0xOFFSET)`. wasmtime puts the innermost frame of one and the same trap now at an instruction, now
/// at the next, and another version has its code elsewhere, so frames are compared by their functions.
fn function(line: &str) -> &str {
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some((frame, offset)) = line.rsplit_once(" at 0x")
        && is_hex(offset)
    {
        return frame;
    }
    let offset = line.rsplit_once(" (0x").and_then(|(_, end)| end.strip_suffix(')'));
    match line.split_once(" at ") {
        Some((frame, _)) if offset.is_some_and(is_hex) => frame,
        _ => line,
    }
}

fn group_of(effect: &RecordedEffect) -> Group {
    match effect {
        RecordedEffect::Post { .. }
        | RecordedEffect::MarkRead { .. }
        | RecordedEffect::ReadUpTo { .. }
        | RecordedEffect::Revise { .. }
        | RecordedEffect::AppendText { .. } => Group::Posts,
        // A timer is a key with a due time.
        RecordedEffect::SetKey { .. }
        | RecordedEffect::DeleteKey { .. }
        | RecordedEffect::IncrementKey { .. }
        | RecordedEffect::SetTimer { .. }
        | RecordedEffect::CancelTimer { .. } => Group::Keys,
        RecordedEffect::Emit { .. } | RecordedEffect::SendRequest { .. } | RecordedEffect::CancelRequest { .. } => {
            Group::Emits
        }
        RecordedEffect::Join { .. }
        | RecordedEffect::Leave { .. }
        | RecordedEffect::SetPresence { .. }
        | RecordedEffect::AddMember { .. }
        | RecordedEffect::RemoveMember { .. }
        | RecordedEffect::Mention { .. }
        | RecordedEffect::Kick { .. }
        | RecordedEffect::Disconnect { .. }
        | RecordedEffect::Ban { .. }
        | RecordedEffect::SetData { .. } => Group::Rooms,
    }
}

fn compare_effects(found: &mut Differences, expected: &Outcome, actual: &Outcome) {
    if expected.effects == actual.effects {
        return;
    }
    let before = found.0.len();
    for group in [Group::Posts, Group::Emits, Group::Keys, Group::Rooms] {
        let of = |outcome: &Outcome| -> Vec<RecordedEffect> {
            let own = outcome.effects.iter().filter(|effect| group_of(effect) == group);
            own.cloned().collect()
        };
        found.lists(group, "outcome.effects", &of(expected), &of(actual));
    }
    if found.0.len() == before {
        found.values(Group::Order, "outcome.effects", &expected.effects, &actual.effects);
    }
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, group: Group, field: &str, expected: Value, actual: Value) {
        self.0.push(Difference {
            group,
            field: field.to_owned(),
            expected,
            actual,
        });
    }

    fn values<T: PartialEq + Serialize>(&mut self, group: Group, field: &str, expected: &T, actual: &T) {
        if expected != actual {
            self.add(group, field, json(expected), json(actual));
        }
    }

    /// Shows the first element in which two lists differ.
    fn lists<T: PartialEq + Serialize>(&mut self, group: Group, field: &str, expected: &[T], actual: &[T]) {
        let length = expected.len().max(actual.len());
        let Some(at) = (0..length).find(|at| expected.get(*at) != actual.get(*at)) else {
            return;
        };
        let shown = |list: &[T]| list.get(at).map_or(Value::Null, json);
        self.add(group, &format!("{field}[{at}]"), shown(expected), shown(actual));
    }
}

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_compared_by_their_functions() {
        for (line, compared) in [
            ("    0: greeter::check at 0x1f", "    0: greeter::check"),
            ("    0: greeter::check at src/lib.rs:12 (0x1f)", "    0: greeter::check"),
            (
                "    1: <T as U>::f at library/core/src/option.rs:9, inlined at src/lib.rs:12 (0xab)",
                "    1: <T as U>::f",
            ),
            ("    2: function 7", "    2: function 7"),
            ("the guest stopped at 0xnoon", "the guest stopped at 0xnoon"),
            ("it stopped at once (0x)", "it stopped at once (0x)"),
        ] {
            assert_eq!(function(line), compared);
        }
    }
}
