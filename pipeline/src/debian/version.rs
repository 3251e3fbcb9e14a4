//! Package versions and their order (Debian Policy 5.6.12, deb-version(7)).

use std::cmp::Ordering;
use std::fmt;

/// A package version. Its text is kept as it was written; only its order is Debian's.
#[derive(Debug, Clone)]
pub struct Version(String);

impl Version {
    /// Takes any text: what the archive calls a version is one.
    pub fn new(text: impl Into<String>) -> Version {
        Version(text.into())
    }

    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Epoch, upstream version and Debian revision; an absent revision is the same as "0".
    fn parts(&self) -> (&str, &str, &str) {
        let (epoch, rest) = self.0.split_once(':').unwrap_or(("", &self.0));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        compare_number(a.0.as_bytes(), b.0.as_bytes())
            .then_with(|| compare_part(a.1, b.1))
            .then_with(|| compare_part(a.2, b.2))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b) = (take(&mut a, false), take(&mut b, false));
        let length = text_a.len().max(text_b.len());
        for index in 0..length {
            let order = weight(text_a.get(index)).cmp(&weight(text_b.get(index)));
            if order.is_ne() {
                return order;
            }
        }
        let order = compare_number(take(&mut a, true), take(&mut b, true));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the longest run of digits, or of anything else, off the front.
fn take<'a>(rest: &mut &'a [u8], digits: bool) -> &'a [u8] {
    let end = rest.iter().position(|byte| byte.is_ascii_digit() != digits).unwrap_or(rest.len());
    let (run, after) = rest.split_at(end);
    *rest = after;
    run
}

/// `~` sorts before the end, the end before letters, letters before the rest.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Numbers of any length, so that none overflows.
fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |digits: &[u8]| digits.iter().position(|byte| *byte != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[strip(a)..], &b[strip(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn policys_own_order() {
        // "~~, ~~a, ~, the empty part, a" (Debian Policy 5.6.12), and what the archive has.
        let sorted =
            ["1~~", "1~~a", "1~", "1", "1a", "1+b1", "1.0", "1.0-1", "1.0-1+deb13u1", "1.0-2", "1.9", "1.10"];
        for pair in sorted.windows(2) {
            assert!(Version::new(pair[0]) < Version::new(pair[1]), "{pair:?}");
        }
        assert!(Version::new("1:0") > Version::new("99"));
        assert_eq!(Version::new("0:1.0-0"), Version::new("1.00"));
        assert!(Version::new("99999999999999999999999") > Version::new("99999999999999999999998"));
    }

    /// What dpkg says of two versions, if it is on this host and takes them.
    fn dpkg(a: &str, b: &str) -> Option<Ordering> {
        for (relation, order) in [("lt", Ordering::Less), ("eq", Ordering::Equal), ("gt", Ordering::Greater)]
        {
            let output = Command::new("dpkg").args(["--compare-versions", a, relation, b]).output().ok()?;
            if !output.stderr.is_empty() {
                return None;
            }
            if output.status.success() {
                return Some(order);
            }
        }
        None
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn agrees_with_dpkg(
            a in "([0-2]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-c+~.]{1,4})?",
            b in "([0-2]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-c+~.]{1,4})?",
        ) {
            if let Some(order) = dpkg(&a, &b) {
                prop_assert_eq!(Version::new(&*a).cmp(&Version::new(&*b)), order, "{} {}", a, b);
            }
        }

        #[test]
        fn any_text_has_a_place(a: String, b: String) {
            let (a, b) = (Version::new(a), Version::new(b));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        }
    }
}
