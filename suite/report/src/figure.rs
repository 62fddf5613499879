//! Figures formatted for people: few digits, always with a unit.

/// A whole number with narrow spaces between thousands.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A number with about three significant digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "–".to_owned(),
        _ if size < 1000.0 && value == value.round() => format!("{value:.0}"),
        _ if size >= 1000.0 => {
            let sign = if value < 0.0 { "−" } else { "" };
            format!("{sign}{}", count(size.round() as u64))
        }
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A duration given in µs, in the unit that fits.
pub fn micros(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} µs"),
        1_000..1_000_000 => format!("{} ms", number(value as f64 / 1e3)),
        _ => format!("{} s", number(value as f64 / 1e6)),
    }
}

/// A share from 0 to 1 in %. A share below 1 is never rounded up to 100 %, nor one above 0 down to 0 %.
pub fn share(value: f64) -> String {
    let percent = value * 100.0;
    match percent {
        _ if !value.is_finite() => "–".to_owned(),
        _ if percent > 99.99 && percent < 100.0 => "> 99.99 %".to_owned(),
        _ if percent > 0.0 && percent < 0.01 => "< 0.01 %".to_owned(),
        _ if (percent - percent.round()).abs() < 1e-9 => format!("{percent:.0} %"),
        _ => format!("{percent:.2} %"),
    }
}

/// Bytes in the unit of thousands that fits.
pub fn bytes(value: u64) -> String {
    match value {
        0..1_000 => format!("{value} B"),
        1_000..1_000_000 => format!("{} KB", number(value as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{} MB", number(value as f64 / 1e6)),
        _ => format!("{} GB", number(value as f64 / 1e9)),
    }
}

/// A moment given in ms since 1970, in UTC: `2026-11-23 22:05:27 UTC`.
///
/// Source of the calendar: Hinnant, *chrono-Compatible Low-Level Date Algorithms*, `civil_from_days`.
pub fn moment(ms: u64) -> String {
    let (seconds, days) = (ms / 1000 % 86_400, ms / 86_400_000 + 719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let day = day - (153 * shifted + 2) / 5 + 1;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(
            (number(0.0), number(0.5), number(12.345), number(-1234.5)),
            ("0".into(), "0.50".into(), "12.3".into(), "−1\u{202f}235".into())
        );
        assert_eq!(
            (micros(999), micros(1_500), micros(2_000_000)),
            ("999 µs".into(), "1.50 ms".into(), "2 s".into())
        );
        assert_eq!(
            (bytes(10), bytes(1_500), bytes(36_300_000)),
            ("10 B".into(), "1.50 KB".into(), "36.3 MB".into())
        );
    }

    #[test]
    fn almost_all_is_not_all() {
        assert_eq!(
            (share(1.0), share(0.999_999), share(0.000_001), share(0.0)),
            ("100 %".into(), "> 99.99 %".into(), "< 0.01 %".into(), "0 %".into())
        );
        assert_eq!(share(0.1234), "12.34 %");
    }

    #[test]
    fn moments_follow_the_calendar() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_782_399_000), "2000-02-28 23:59:59 UTC");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(1_795_471_527_267), "2026-11-23 22:05:27 UTC");
    }
}
