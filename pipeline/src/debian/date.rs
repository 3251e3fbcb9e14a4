//! The dates in Release files, as seconds since 1970.

/// Reads a date such as `Sat, 21 Nov 2026 09:15:44 UTC`, the only form Debian's archive writes.
pub fn parse(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace();
    let _weekday = words.next()?.strip_suffix(',')?;
    let day: u64 = number(words.next()?, 1, 31)?;
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = number(words.next()?, 1970, 9999)?;
    let mut clock = words.next()?.split(':');
    let (hour, minute, second) =
        (number(clock.next()?, 0, 23)?, number(clock.next()?, 0, 59)?, number(clock.next()?, 0, 60)?);
    if clock.next().is_some() || !matches!(words.next()?, "UTC" | "GMT" | "+0000") || words.next().is_some() {
        return None;
    }
    // Days since 1970 with years that begin in March, so that the leap day is a year's last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    // The same sum for 1970-01-01; an earlier date (a day of January 1970 counts from there) cannot be.
    const EPOCH: u64 = 1969 * 365 + 1969 / 4 - 1969 / 100 + 1969 / 400 + (10 * 153 + 2) / 5;
    Some((days - EPOCH) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn number(text: &str, min: u64, max: u64) -> Option<u64> {
    let plain = text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| plain && (min..=max).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        // Each value from `date -d '...' +%s`.
        let cases = [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Tue, 29 Feb 2000 12:34:56 UTC", 951_827_696),
            ("Sat, 21 Nov 2026 09:15:44 UTC", 1_795_252_544),
            ("Mon, 31 Dec 2029 23:59:59 GMT", 1_893_455_999),
            ("Fri, 1 Mar 2024 0:00:00 UTC", 1_709_251_200),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
        for bad in
            ["", "Sat, 21 Nov 2026 09:15:44", "Sat, 21 Nov 2026 09:15 UTC", "x, 0 Nov 2026 09:15:44 UTC"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[A-Za-z]{3}, [0-9]{1,3} (Jan|Feb|Mar|Dec) [0-9]{4} [0-9:+]{5,9} UTC") {
            let _ = parse(&text);
        }
    }
}
