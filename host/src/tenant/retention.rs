//! How long a tenant's messages are kept: for so long, and so many of each room.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

use parlance_store::{Expired, RoomSpan};
use parlance_types::id::RoomId;
use parlance_types::settings::{Count, Time, Value, ValueKind, hours, secs, settings, text};

/// The longest time that can be set: a hundred years.
const AGE_MAX: Duration = hours(100 * 365 * 24);
/// The greatest count that can be set.
const COUNT_MAX: usize = 1_000_000_000;
/// The most rules for rooms.
const ROOM_RULES_MAX: usize = 100;

settings! {
    /// Which messages are kept. Older ones are removed with their receipts and marks.
    #[derive(Eq)]
    pub struct Retention of each tenant in "retention" {
        /// How long messages are kept after they were posted; "0s": for ever.
        age: Duration = secs(0), Time(secs(0), AGE_MAX);
        /// How many messages of each room are kept, the newest ones; 0: all.
        count: usize = 0, Count(0, COUNT_MAX);
        /// Other values for rooms whose ids begin with a prefix; the longest prefix that fits counts. What one does not set is
        /// as above.
        rooms: Vec<RoomRetention> = Vec::new(), RoomRules;
    }
}

/// What is kept of rooms whose ids begin with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomRetention {
    /// What the ids of these rooms begin with.
    pub prefix: String,
    /// In the place of [`Retention::age`].
    pub age: Option<Duration>,
    /// In the place of [`Retention::count`].
    pub count: Option<usize>,
}

impl Retention {
    /// Whether any message is ever removed.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let removes = |age: Duration, count: usize| !age.is_zero() || count > 0;
        let rule = |rule: &RoomRetention| removes(rule.age.unwrap_or_default(), rule.count.unwrap_or_default());
        removes(self.age, self.count) || self.rooms.iter().any(rule)
    }

    /// Which messages of a room have expired at `now`, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn expired(&self, room: &RoomSpan, now: u64) -> Expired {
        let (age, count) = self.of(&room.room);
        let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Expired {
            up_to: if count == 0 {
                0
            } else {
                room.place.seq.saturating_sub(count as u64)
            },
            sent_before: if ms == 0 { 0 } else { now.saturating_sub(ms) },
        }
    }

    /// For how long, and how many, messages of a room are kept; 0 for all.
    fn of(&self, room: &RoomId) -> (Duration, usize) {
        let fits = |rule: &&RoomRetention| room.as_str().starts_with(&rule.prefix);
        let rule = self.rooms.iter().filter(fits).max_by_key(|rule| rule.prefix.len());
        (
            rule.and_then(|rule| rule.age).unwrap_or(self.age),
            rule.and_then(|rule| rule.count).unwrap_or(self.count),
        )
    }
}

/// A list of tables, `[[retention.rooms]]`.
struct RoomRules;

impl RoomRules {
    const AGE: Time = Time(Duration::ZERO, AGE_MAX);
    const COUNT: Count = Count(0, COUNT_MAX);

    fn rule(value: &Value, base: &Path) -> Result<RoomRetention, String> {
        let table = value.as_table().ok_or("has something that is not a table")?;
        if let Some(key) = table
            .keys()
            .find(|key| !["prefix", "age", "count"].contains(&key.as_str()))
        {
            return Err(format!("has the key {key:?}; known here: prefix, age, count"));
        }
        let prefix = table.get("prefix").ok_or("has a table without a prefix")?;
        let prefix = text(prefix).ok().filter(|prefix| !prefix.is_empty());
        let prefix = prefix.ok_or("has a prefix that is not a text, or is empty")?;
        let age = table.get("age").map(|age| Self::AGE.parse(age, base)).transpose();
        let count = table.get("count");
        let count: Result<Option<usize>, String> = count.map(|count| Self::COUNT.parse(count, base)).transpose();
        Ok(RoomRetention {
            prefix: prefix.to_owned(),
            age: age.map_err(|problem| format!("has an age that {problem}"))?,
            count: count.map_err(|problem| format!("has a count that {problem}"))?,
        })
    }
}

impl ValueKind<Vec<RoomRetention>> for RoomRules {
    fn allowed(&self) -> String {
        format!(
            "at most {ROOM_RULES_MAX} tables with prefix, age and count, such as [{{ prefix = \"dm-\", age = \"30d\" }}]"
        )
    }

    fn schema(&self) -> Json {
        json!({
            "type": "array",
            "maxItems": ROOM_RULES_MAX,
            "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["prefix"],
                "properties": {
                    "prefix": { "type": "string", "minLength": 1 },
                    "age": Self::AGE.schema(),
                    "count": ValueKind::<usize>::schema(&Self::COUNT),
                },
            },
        })
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Vec<RoomRetention>, String> {
        let items = value.as_array().ok_or("is not a list of tables")?;
        if items.len() > ROOM_RULES_MAX {
            return Err("has too many tables".to_owned());
        }
        let mut rules: Vec<RoomRetention> = Vec::new();
        for item in items {
            let rule = Self::rule(item, base)?;
            if rules.iter().any(|other| other.prefix == rule.prefix) {
                return Err(format!("has the prefix {:?} twice", rule.prefix));
            }
            rules.push(rule);
        }
        Ok(rules)
    }

    fn show(&self, value: &Vec<RoomRetention>) -> Option<Value> {
        let rule = |rule: &RoomRetention| {
            let prefix = Some(("prefix".to_owned(), Value::from(rule.prefix.as_str())));
            let age = rule.age.and_then(|age| Some(("age".to_owned(), Self::AGE.show(&age)?)));
            let count = rule
                .count
                .and_then(|count| Some(("count".to_owned(), Self::COUNT.show(&count)?)));
            Value::Table(prefix.into_iter().chain(age).chain(count).collect())
        };
        Some(Value::Array(value.iter().map(rule).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parlance_store::Place;

    fn span(room: &str) -> RoomSpan {
        RoomSpan {
            room: RoomId::new(room).unwrap(),
            first: 1,
            first_sent_at: Some(0),
            place: Place { seq: 100, rev: 0 },
        }
    }

    fn rules(text: &str) -> Result<Vec<RoomRetention>, String> {
        RoomRules.parse(&text.parse().unwrap(), Path::new(""))
    }

    #[test]
    fn the_longest_prefix_counts_and_what_it_does_not_set_is_the_tenants() {
        let rooms = rules(r#"[{ prefix = "dm-", age = "30s" }, { prefix = "dm-staff", count = 40, age = "0s" }]"#);
        let retention = Retention {
            age: secs(50),
            count: 10,
            rooms: rooms.unwrap(),
        };
        let expired = |room: &str| {
            let Expired { up_to, sent_before } = retention.expired(&span(room), 60_000);
            (up_to, sent_before)
        };
        assert_eq!(expired("lobby"), (90, 10_000));
        assert_eq!(expired("dm-1"), (90, 30_000));
        assert_eq!(expired("dm-staff-1"), (60, 0));
    }

    #[test]
    fn it_is_off_by_default_and_on_when_a_rule_removes_something() {
        assert!(!Retention::default().is_on());
        assert_eq!(Retention::default().expired(&span("a"), 1), Expired::default());
        let with = |text: &str| Retention {
            rooms: rules(text).unwrap(),
            ..Retention::default()
        };
        assert!(!with("[{ prefix = \"a\", age = \"0s\" }]").is_on());
        assert!(with("[{ prefix = \"a\", count = 1 }]").is_on());
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for (text, problem) in [
            ("1", "is not a list of tables"),
            ("[{ age = \"1s\" }]", "has a table without a prefix"),
            ("[{ prefix = \"\" }]", "has a prefix that is not a text, or is empty"),
            (
                "[{ prefix = \"a\", ages = \"1s\" }]",
                "has the key \"ages\"; known here: prefix, age, count",
            ),
            ("[{ prefix = \"a\" }, { prefix = \"a\" }]", "has the prefix \"a\" twice"),
            (
                "[{ prefix = \"a\", age = \"soon\" }]",
                "has an age that is not a duration",
            ),
        ] {
            assert_eq!(rules(text).unwrap_err(), problem);
        }
    }
}
