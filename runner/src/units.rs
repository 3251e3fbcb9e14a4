//! Durations and sizes as people write them: `500ms`, `1.5s`, `2G`.

use std::time::Duration;

/// The longest duration that is accepted: a day.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration: a decimal number and `ms`, `s` or `m`.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let nanos_per_unit: u64 = match &text[digits.len()..] {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "" => return Err(format!("`{text}` has no unit; write for example 500ms, 2s or 1m")),
        other => return Err(format!("`{other}` is no unit of time; use ms, s or m")),
    };
    let nanos = decimal(digits, nanos_per_unit).ok_or_else(|| format!("`{digits}` is not a number"))?;
    match u64::try_from(nanos) {
        Ok(nanos) if Duration::from_nanos(nanos) <= MAX_DURATION => Ok(Duration::from_nanos(nanos)),
        _ => Err(format!("`{text}` is longer than a day")),
    }
}

/// `digits`, a decimal number, times `unit`, rounded down.
fn decimal(digits: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || (digits.contains('.') && fraction.is_empty()) {
        return None;
    }
    let number = |text: &str| -> Option<u128> {
        // Eighteen digits times the largest unit fit in 128 bits.
        (text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let mut value = number(whole)? * u128::from(unit);
    if !fraction.is_empty() {
        value += number(fraction)? * u128::from(unit) / 10u128.pow(fraction.len() as u32);
    }
    Some(value)
}

/// Reads a size in bytes: a whole number and `K`, `M` or `G` (powers of 1024;
/// `KiB` and so on mean the same), or plain bytes.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        other => return Err(format!("`{other}` is no unit of size; use K, M or G")),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{digits}` is not a whole number"));
    }
    let too_large = || format!("`{text}` is too large");
    let number: u64 = digits.parse().map_err(|_| too_large())?;
    number.checked_mul(1 << shift).ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("1.25s"), Ok(Duration::from_millis(1250)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1440m"), Ok(MAX_DURATION));
        for bad in ["", "2", "s", "-1s", "1.s", ".5s", "2 s", "2h", "1e3s", "1441m", "99999999999999999999s"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("512M"), Ok(512 << 20));
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert_eq!(parse_size("16k"), Ok(16 << 10));
        for bad in ["", "M", "1.5G", "-1G", "2T", "99999999999999999999", "18446744073709551615G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }

        #[test]
        fn milliseconds_come_back(ms in 0u64..86_400_000) {
            prop_assert_eq!(parse_duration(&format!("{ms}ms")), Ok(Duration::from_millis(ms)));
        }
    }
}
