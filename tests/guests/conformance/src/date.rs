//! Dates as JavaScript writes them in JSON.

const MS_A_DAY: u64 = 86_400_000;

/// Milliseconds since the Unix epoch as ISO 8601.
pub(crate) fn iso(ms: u64) -> String {
    let (days, ms) = (ms / MS_A_DAY, ms % MS_A_DAY);
    let (year, month, day) = civil(days);
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{ms:03}Z")
}

/// Year, month and day of a day since the Unix epoch, counted year by year, then month by month.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = |year| if leap(year) { 366 } else { 365 };
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let mut month = 1;
    for days_of_month in [
        31,
        if leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if days < days_of_month {
            break;
        }
        days -= days_of_month;
        month += 1;
    }
    (year, month, days + 1)
}
