//! Settings that are numbers: sizes, counts, durations.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::Value;

use super::kinds::{Syntax, ValueKind, pattern};

/// 1024 bytes.
pub const KIB: usize = 1024;
/// 1024 KiB.
pub const MIB: usize = 1024 * KIB;
/// 1024 MiB.
pub const GIB: usize = 1024 * MIB;
const SIZE_UNITS: [(&str, usize); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("B", 1)];
/// Milliseconds of the units in which durations are shown.
const TIME_UNITS: [(&str, u128); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// The units that a duration may have. Not months and years: an `M` for an `m` would be a month for a minute.
const TIME_UNITS_READ: [&str; 5] = ["ms", "s", "m", "h", "d"];

fn in_range<T: PartialOrd>(value: T, min: &T, max: &T) -> Result<T, String> {
    if value < *min {
        Err("is too small".to_owned())
    } else if value > *max {
        Err("is too large".to_owned())
    } else {
        Ok(value)
    }
}

/// The schema of whole numbers in a range, both ends included.
fn whole_numbers(min: usize, max: usize) -> Json {
    json!({ "type": "integer", "minimum": min, "maximum": max })
}

fn whole_number<T: TryInto<i64> + Copy>(value: &T) -> Option<Value> {
    (*value).try_into().ok().map(Value::Integer)
}

/// A number of bytes: `"64KiB"`, or a whole number. From the first to the second, both included.
pub struct Size(pub usize, pub usize);

impl<T: TryFrom<usize> + TryInto<usize> + Copy> ValueKind<T> for Size {
    fn allowed(&self) -> String {
        format!(
            "a size from {} to {} in B, KiB, MiB or GiB",
            format_size(self.0),
            format_size(self.1)
        )
    }

    fn schema(&self) -> Json {
        let units = SIZE_UNITS.map(|(unit, _)| unit).join("|");
        json!({ "anyOf": [whole_numbers(self.0, self.1), pattern(&format!("^[0-9]+\\s*({units})$"))] })
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<T, String> {
        let bytes = match value {
            Value::Integer(bytes) => usize::try_from(*bytes).ok(),
            Value::String(text) => parse_size(text),
            _ => None,
        };
        let bytes = in_range(bytes.ok_or("is not a size")?, &self.0, &self.1)?;
        T::try_from(bytes).map_err(|_| "is too large".to_owned())
    }

    fn show(&self, value: &T) -> Option<Value> {
        (*value).try_into().ok().map(|bytes| format_size(bytes).into())
    }

    fn syntax(&self) -> Syntax {
        Syntax::Number
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let (number, factor) = SIZE_UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number = number.trim_end();
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<usize>().ok()?.checked_mul(factor)
}

/// Bytes in the largest unit that leaves no rest, as sizes are written in the configuration.
#[must_use]
pub fn format_size(bytes: usize) -> String {
    let unit = SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.map_or_else(
        || format!("{bytes}B"),
        |(unit, factor)| format!("{}{unit}", bytes / factor),
    )
}

/// A whole number, from the first to the second, both included.
pub struct Count(pub usize, pub usize);

impl<T: TryFrom<usize> + TryInto<i64> + Copy> ValueKind<T> for Count {
    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }

    fn schema(&self) -> Json {
        whole_numbers(self.0, self.1)
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<T, String> {
        let number = value.as_integer().ok_or("is not a whole number")?;
        let number = in_range(usize::try_from(number).map_err(|_| "is too small")?, &self.0, &self.1)?;
        T::try_from(number).map_err(|_| "is too large".to_owned())
    }

    fn show(&self, value: &T) -> Option<Value> {
        whole_number(value)
    }

    fn syntax(&self) -> Syntax {
        Syntax::Number
    }
}

/// A TCP port.
pub struct Port;

impl ValueKind<u16> for Port {
    fn allowed(&self) -> String {
        format!("a whole number from 0 to {}", u16::MAX)
    }

    fn schema(&self) -> Json {
        whole_numbers(0, u16::MAX.into())
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<u16, String> {
        let number = value.as_integer().ok_or("is not a whole number")?;
        u16::try_from(number).map_err(|_| "is not a port".to_owned())
    }

    fn show(&self, value: &u16) -> Option<Value> {
        whole_number(value)
    }

    fn syntax(&self) -> Syntax {
        Syntax::Number
    }
}

/// A duration, from the first to the second, both included.
pub struct Time(pub Duration, pub Duration);

impl ValueKind<Duration> for Time {
    fn allowed(&self) -> String {
        let (min, max) = (format_time(self.0), format_time(self.1));
        format!("a duration from {min} to {max}, in ms, s, m, h or d")
    }

    fn schema(&self) -> Json {
        pattern(&format!("^(0|(\\s*[0-9]+\\s*({})\\s*)+)$", TIME_UNITS_READ.join("|")))
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<Duration, String> {
        let text = value.as_str().ok_or("is not a duration in quotes")?;
        let mut units = text
            .split(|c: char| c.is_ascii_digit() || c.is_whitespace())
            .filter(|unit| !unit.is_empty());
        let duration = match humantime::parse_duration(text) {
            Ok(duration) if text == "0" || units.all(|unit| TIME_UNITS_READ.contains(&unit)) => duration,
            _ => return Err("is not a duration".to_owned()),
        };
        in_range(duration, &self.0, &self.1)
    }

    fn show(&self, value: &Duration) -> Option<Value> {
        Some(format_time(*value).into())
    }
}

/// A duration in the largest unit that leaves no rest, as durations are written in the configuration.
#[must_use]
pub fn format_time(time: Duration) -> String {
    let ms = time.as_millis();
    let unit = TIME_UNITS
        .iter()
        .find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor));
    unit.map_or_else(|| "0s".to_owned(), |(unit, factor)| format!("{}{unit}", ms / factor))
}

/// So many milliseconds.
#[must_use]
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// So many seconds.
#[must_use]
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// So many hours.
#[must_use]
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 60 * 60)
}
