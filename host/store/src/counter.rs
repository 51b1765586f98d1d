//! The arithmetic of [`Write::KvIncrement`](super::Write::KvIncrement) and [`Write::KvRaise`](super::Write::KvRaise),
//! shared by all stores.

use super::Rejected;

/// The sum of the decimal integer at a key and `by`. An absent key counts as 0.
///
/// A decimal integer is what [`i64`] parses: an optional sign and digits, without spaces.
pub(super) fn add(current: Option<&[u8]>, by: i64) -> Result<i64, Rejected> {
    number(current)?.checked_add(by).ok_or(Rejected::NotANumber)
}

/// What the decimal integer at a key becomes that is raised to `to`; `None` where it is as great already.
pub(super) fn raise(current: Option<&[u8]>, to: i64) -> Result<Option<i64>, Rejected> {
    Ok((number(current)? < to).then_some(to))
}

fn number(value: Option<&[u8]>) -> Result<i64, Rejected> {
    let Some(bytes) = value else { return Ok(0) };
    let text = std::str::from_utf8(bytes).map_err(|_| Rejected::NotANumber)?;
    text.parse().map_err(|_| Rejected::NotANumber)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_only_raised() {
        assert_eq!(raise(None, 0), Ok(None));
        assert_eq!(raise(None, 3), Ok(Some(3)));
        assert_eq!(raise(Some(b"3"), 3), Ok(None));
        assert_eq!(raise(Some(b"3"), 4), Ok(Some(4)));
        assert_eq!(raise(Some(b"x"), 4), Err(Rejected::NotANumber));
    }

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
