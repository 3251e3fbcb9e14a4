//! Relations between packages: `Depends` and its like (Debian Policy 7.1).

use super::version::Version;

/// One alternative of a relation: a package, perhaps only in some versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package, real or virtual.
    pub name: String,
    /// The architecture asked for behind a colon, if one is.
    pub qualifier: Option<Qualifier>,
    /// The versions that will do, if not all of them.
    pub constraint: Option<(Operator, Version)>,
}

/// Of which architecture a package must be (Debian Policy 7.1; the multiarch specification, "Dependencies involving
/// Architecture: all packages" and "Architecture-specific dependencies").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Qualifier {
    /// Any at all, which only a package that is `Multi-Arch: allowed` agrees to.
    Any,
    /// The one of this name.
    Architecture(String),
}

/// How versions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    /// Whether `version` will do where `bound` is asked for.
    pub fn holds(self, version: &Version, bound: &Version) -> bool {
        match self {
            Operator::Earlier => version < bound,
            Operator::EarlierOrEqual => version <= bound,
            Operator::Equal => version == bound,
            Operator::LaterOrEqual => version >= bound,
            Operator::Later => version > bound,
        }
    }
}

impl Relation {
    /// Whether a real package of this name and version will do.
    pub fn accepts(&self, version: &Version) -> bool {
        self.constraint.as_ref().is_none_or(|(operator, bound)| operator.holds(version, bound))
    }

    /// Whether a provided name will do: an unversioned `Provides` satisfies only an unversioned relation
    /// (Debian Policy 7.5).
    pub fn accepts_provided(&self, version: Option<&Version>) -> bool {
        match (&self.constraint, version) {
            (None, _) => true,
            (Some(_), Some(version)) => self.accepts(version),
            (Some(_), None) => false,
        }
    }
}

impl std::fmt::Display for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        match &self.qualifier {
            Some(Qualifier::Any) => f.write_str(":any")?,
            Some(Qualifier::Architecture(name)) => write!(f, ":{name}")?,
            None => {}
        }
        let Some((operator, version)) = &self.constraint else { return Ok(()) };
        let operator = match operator {
            Operator::Earlier => "<<",
            Operator::EarlierOrEqual => "<=",
            Operator::Equal => "=",
            Operator::LaterOrEqual => ">=",
            Operator::Later => ">>",
        };
        write!(f, " ({operator} {version})")
    }
}

/// A relation field: every group must be satisfied, by any one of its alternatives.
pub fn parse(field: &str) -> Option<Vec<Vec<Relation>>> {
    let groups = field.split(',').map(str::trim_ascii).filter(|group| !group.is_empty());
    groups.map(|group| group.split('|').map(|one| parse_one(one.trim_ascii())).collect()).collect()
}

fn parse_one(text: &str) -> Option<Relation> {
    let end = text.find([' ', '(', ':']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let (qualifier, rest) = match rest.strip_prefix(':') {
        Some(qualified) => {
            let end = qualified.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let (name, rest) = qualified.split_at(end.unwrap_or(qualified.len()));
            let qualifier = match name {
                "" => return None,
                "any" => Qualifier::Any,
                name => Qualifier::Architecture(name.to_owned()),
            };
            (Some(qualifier), rest)
        }
        None => (None, rest),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let name = name.to_owned();
    let rest = rest.trim_ascii();
    if rest.is_empty() {
        return Some(Relation { name, qualifier, constraint: None });
    }
    let inner = rest.strip_prefix('(')?.strip_suffix(')')?.trim_ascii();
    let operators = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
    ];
    let (sign, operator) = operators.into_iter().find(|(sign, _)| inner.starts_with(sign))?;
    let version = inner[sign.len()..].trim_ascii();
    // "1) x (>= 2" is two relations without their comma.
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
    let constraint = (!version.is_empty() && version.chars().all(plain)).then(|| Version::new(version))?;
    Some(Relation { name, qualifier, constraint: Some((operator, constraint)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_archive() {
        let field =
            "libc6 (>= 2.38), python3:any | perl, linux-image-6.12.117+deb13-arm64 (= 6.12.117-1),x(<<1)";
        let groups = parse(field).unwrap();
        let shown: Vec<Vec<String>> =
            groups.iter().map(|group| group.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(
            shown,
            [
                vec!["libc6 (>= 2.38)"],
                vec!["python3:any", "perl"],
                vec!["linux-image-6.12.117+deb13-arm64 (= 6.12.117-1)"],
                vec!["x (<< 1)"]
            ]
        );
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("a:any (>= 1), b:arm64").unwrap().concat()[1].to_string(), "b:arm64");
        for bad in
            ["a (1)", "a (>= )", "a (>= 1", "|", "a |", "a b", "(>= 1)", "a:", "a: (>= 1)", "a (= 1) b (= 2)"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn versions_that_will_do() {
        let accepts = |constraint: &str, version: &str| {
            parse(&format!("a ({constraint})")).unwrap()[0][0].accepts(&Version::new(version))
        };
        assert!(accepts(">= 1", "1") && accepts(">= 1", "2") && !accepts(">= 1", "0.9"));
        assert!(accepts(">> 1", "2") && !accepts(">> 1", "1"));
        assert!(accepts("<= 1", "1") && !accepts("<= 1", "2"));
        assert!(accepts("<< 1", "0.9") && accepts("<< 1", "1~") && !accepts("<< 1", "1"));
        assert!(accepts("= 1", "1") && !accepts("= 1", "2"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "([a-z0-9 |,()<=>:.+-]|\\PC){0,60}") {
            let _ = parse(&text);
        }
    }
}
