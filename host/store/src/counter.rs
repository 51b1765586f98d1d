//! The arithmetic of [`Write::KvIncrement`](super::Write::KvIncrement), shared by all stores.

use super::Rejected;

/// The sum of the decimal integer at a key and `by`. An absent key counts as 0.
///
/// A decimal integer is what [`i64`] parses: an optional sign and digits, without spaces.
pub(super) fn add(current: Option<&[u8]>, by: i64) -> Result<i64, Rejected> {
    let current = match current {
        None => 0,
        Some(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| Rejected::NotANumber)?;
            text.parse::<i64>().map_err(|_| Rejected::NotANumber)?
        }
    };
    current.checked_add(by).ok_or(Rejected::NotANumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_bit_decimal_integers_count() {
        assert_eq!(add(None, -3), Ok(-3));
        assert_eq!(add(Some(b"41"), 1), Ok(42));
        assert_eq!(add(Some(b"9223372036854775806"), 1), Ok(i64::MAX));
        assert_eq!(add(Some(b"9223372036854775807"), 1), Err(Rejected::NotANumber));
        assert_eq!(add(Some(b"-9223372036854775808"), 0), Ok(i64::MIN));
        assert_eq!(add(Some(b"-9223372036854775808"), -1), Err(Rejected::NotANumber));
        for no_number in [
            &b""[..],
            b" 1",
            b"1 ",
            b"1.0",
            b"1e3",
            b"0x1",
            b"\xff",
            b"9223372036854775808",
        ] {
            assert_eq!(add(Some(no_number), 1), Err(Rejected::NotANumber), "{no_number:?}");
        }
    }
}
