//! Dates as JavaScript writes them.

use time::OffsetDateTime;

/// The last millisecond of JavaScript's dates, before and after the epoch (ECMA-262, section 21.4.1.1).
const MS_MAX: i64 = 8_640_000_000_000_000;

/// Milliseconds since the Unix epoch of MessagePack's timestamp extension (its specification, "Timestamp extension
/// type").
pub(super) fn from_timestamp(bytes: &[u8]) -> Option<i64> {
    let number = |part: &[u8]| part.iter().fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    let (seconds, nanoseconds) = match bytes.len() {
        4 => (number(bytes).cast_signed(), 0),
        8 => {
            let both = number(bytes);
            ((both & 0x3_ffff_ffff).cast_signed(), both >> 34)
        }
        12 => (number(bytes.get(4..)?).cast_signed(), number(bytes.get(..4)?)),
        _ => return None,
    };
    if nanoseconds >= 1_000_000_000 {
        return None;
    }
    let ms = i64::try_from(nanoseconds / 1_000_000).ok()?;
    // A value that does not fit is not a JavaScript date either.
    Some(seconds.saturating_mul(1000).saturating_add(ms))
}

/// JavaScript's `Date.prototype.toISOString`; `None` for a date out of range.
pub(super) fn to_iso(ms: i64) -> Option<String> {
    if !(-MS_MAX..=MS_MAX).contains(&ms) {
        return None;
    }
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    let (year, month, day) = at.to_calendar_date();
    let (hours, minutes, seconds, ms) = at.to_hms_milli();
    let month = u8::from(month);
    let year = if (0..=9999).contains(&year) {
        format!("{year:04}")
    } else {
        format!("{year:+07}")
    };
    Some(format!(
        "{year}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_javascript_writes_them() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_790_000_000_123, "2026-09-21T14:13:20.123Z"),
            (-62_198_755_200_000, "-000001-01-01T00:00:00.000Z"),
            (MS_MAX, "+275760-09-13T00:00:00.000Z"),
            (-MS_MAX, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(to_iso(ms).as_deref(), Some(text));
        }
        assert_eq!(to_iso(MS_MAX + 1), None);
    }

    #[test]
    fn the_three_lengths_of_a_timestamp() {
        assert_eq!(from_timestamp(&[0, 0, 0, 5]), Some(5000));
        let both = (7_000_000u64 << 34) | 5;
        assert_eq!(from_timestamp(&both.to_be_bytes()), Some(5007));
        let mut long = 7_000_000u32.to_be_bytes().to_vec();
        long.extend((-5i64).to_be_bytes());
        assert_eq!(from_timestamp(&long), Some(-4993));
        assert_eq!(from_timestamp(&u64::MAX.to_be_bytes()), None);
        assert_eq!(from_timestamp(&[1, 2, 3]), None);
    }
}
