//! Reads JSON numbers as JavaScript does.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A number. Integers of 64 bits are exact; all others are doubles, as in JavaScript.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A non-negative integer.
    Unsigned(u64),
    /// A negative integer.
    Signed(i64),
    /// A number with a fraction or an exponent, or beyond 64 bits. Infinite if it is beyond all doubles.
    Float(f64),
}

impl Number {
    /// Parses a JSON number; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return None;
        }
        let is_zero_below = text == "-0";
        if !is_zero_below && let Ok(number) = text.parse() {
            return Some(Self::Unsigned(number));
        }
        if !is_zero_below && let Ok(number) = text.parse() {
            return Some(Self::Signed(number));
        }
        text.parse().ok().map(Self::Float)
    }

    /// The number as a double.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Unsigned(number) => number as f64,
            Self::Signed(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

/// Reads a non-negative integer, however it is written (`10`, `10.0`, `1e1`), for `deserialize_with`. `null` counts as
/// absent. A number beyond 64 bits becomes the largest.
///
/// # Errors
/// When it is anything else.
pub fn whole<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<u64>, D::Error> {
    // Read as text, since serde's number types refuse numbers beyond doubles.
    let text = Box::<RawValue>::deserialize(reader)?;
    let wrong = |unexpected| {
        Err(D::Error::invalid_value(
            unexpected,
            &"a whole number that is not negative",
        ))
    };
    match Number::parse(text.get()) {
        None if text.get() == "null" => Ok(None),
        None => wrong(Unexpected::Other(text.get())),
        Some(Number::Unsigned(number)) => Ok(Some(number)),
        Some(Number::Signed(number)) => wrong(Unexpected::Signed(number)),
        Some(Number::Float(number)) if number < 0.0 || number.fract() != 0.0 && number.is_finite() => {
            wrong(Unexpected::Float(number))
        }
        // `as` saturates.
        Some(Number::Float(number)) => Ok(Some(number as u64)),
    }
}

/// [`whole`] for 32 bits: a number beyond them becomes the largest.
///
/// # Errors
/// When it is anything else.
pub fn whole_u32<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<u32>, D::Error> {
    let number = whole(reader)?;
    Ok(number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_javascript_does_and_integers_of_64_bits_exactly() {
        for (text, number) in [
            ("0", Number::Unsigned(0)),
            ("18446744073709551615", Number::Unsigned(u64::MAX)),
            ("18446744073709551616", Number::Float(18_446_744_073_709_551_616.0)),
            ("-1", Number::Signed(-1)),
            ("-9223372036854775808", Number::Signed(i64::MIN)),
            ("-9223372036854775809", Number::Float(-9_223_372_036_854_775_808.0)),
            ("1.0", Number::Float(1.0)),
            ("1e400", Number::Float(f64::INFINITY)),
            ("-1e400", Number::Float(f64::NEG_INFINITY)),
            ("1e-400", Number::Float(0.0)),
        ] {
            assert_eq!(Number::parse(text), Some(number), "{text}");
        }
        assert!(matches!(Number::parse("-0"), Some(Number::Float(zero)) if zero.is_sign_negative()));
        for none in ["", "inf", "NaN", "\"1\"", "true", "+1", "x"] {
            assert_eq!(Number::parse(none), None, "{none}");
        }
    }

    #[test]
    fn integers_are_recognised_in_every_notation() {
        let read = |text: &str| whole(&mut serde_json::Deserializer::from_str(text));
        for (text, number) in [
            ("10", 10),
            ("10.0", 10),
            ("1e1", 10),
            ("-0", 0),
            ("-0.0", 0),
            ("18446744073709551616", u64::MAX),
            ("1e300", u64::MAX),
            ("1e400", u64::MAX),
        ] {
            assert_eq!(read(text).unwrap(), Some(number), "{text}");
        }
        assert_eq!(read("null").unwrap(), None);
        for wrong in ["1.5", "-1", "-1e300", "-1e400", "\"10\"", "true", "[]"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("a whole number that is not negative"), "{error}");
        }
        let narrow = |text: &str| whole_u32(&mut serde_json::Deserializer::from_str(text));
        assert_eq!(narrow("4294967296").unwrap(), Some(u32::MAX));
    }
}
