//! Configurations of the kernel: what a fragment asks for, and whether it came to be.
//!
//! A fragment has lines as in a `.config` (Linux, Documentation/kbuild/kconfig.rst): `CONFIG_X=value`, or
//! `# CONFIG_X is not set`. Kconfig drops what it cannot set without a word; what was dropped is found here afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{IoContext, Result};
use crate::excerpt::Place;
use crate::recipe::{RecipeError, RecipeFile};

/// The fragment that is used where a recipe names none.
const OWN: &str = include_str!("../../../kernel-config/microvm.config");
const OWN_PATH: &str = "kernel-config/microvm.config";

/// No configuration comes near this.
const MAX_BYTES: u64 = 4 << 20;

/// Options whose values are files of the host, which nothing pins and a bundle's recipe could ask for (Linux, usr/Kconfig,
/// certs/Kconfig, drivers/base/firmware_loader/Kconfig).
const HOST_FILES: [&str; 7] = [
    "EXTRA_FIRMWARE",
    "EXTRA_FIRMWARE_DIR",
    "INITRAMFS_SOURCE",
    "MODULE_SIG_KEY",
    "SYSTEM_BLACKLIST_HASH_LIST",
    "SYSTEM_REVOCATION_KEYS",
    "SYSTEM_TRUSTED_KEYS",
];

const START: &str = "CONFIG_";
const UNSET: &str = " is not set";

/// What is asked of the kernel.
#[derive(Debug, Clone)]
pub struct Fragment {
    path: PathBuf,
    /// By their names, without `CONFIG_`.
    options: BTreeMap<String, Wanted>,
}

#[derive(Debug, Clone)]
struct Wanted {
    value: Value,
    line: usize,
}

/// The value of an option, as it is written; `n` is also what is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Value(String);

impl Value {
    fn is_no(&self) -> bool {
        self.0 == "n"
    }
}

/// An option that is not as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    name: String,
    line: usize,
    wanted: Value,
    found: Option<Value>,
}

impl Unmet {
    /// Whether the configuration does not speak of it at all.
    pub fn is_absent(&self) -> bool {
        self.found.is_none()
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unmet { name, line, wanted, found } = self;
        write!(f, "{START}{name}={} (line {line}) ", wanted.0)?;
        match found {
            None => write!(f, "is not there"),
            Some(found) => write!(f, "is {}", found.0),
        }
    }
}

impl Fragment {
    /// The fragment that a recipe names, or else our own.
    pub fn of(file: &RecipeFile, config: Option<&Path>) -> Result<Fragment> {
        Fragment::read(config.map(|path| file.resolve(path)).as_deref())
    }

    /// Reads the fragment at a path, or else our own.
    fn read(path: Option<&Path>) -> Result<Fragment> {
        let Some(path) = path else { return Ok(Fragment::parse(Path::new(OWN_PATH), OWN)?) };
        if fs::metadata(path).at(path)?.len() > MAX_BYTES {
            return Err(error(Place::of(path, "", 0..0), "is longer than 4 MiB", None).into());
        }
        let text = fs::read(path).at(path)?;
        Ok(Fragment::parse(path, &String::from_utf8_lossy(&text))?)
    }

    fn parse(path: &Path, text: &str) -> Result<Fragment, RecipeError> {
        let mut options: BTreeMap<String, Wanted> = BTreeMap::new();
        let mut start = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let at = start..start + line.trim_end().len();
            start += line.len();
            let refuse = |at: Range<usize>, message: &str, hint: &str| {
                error(Place::of(path, text, at), message, Some(hint.to_owned()))
            };
            let (name, value) = match entry(line.trim_end()) {
                Entry::Nothing => continue,
                Entry::Option(name, value) => (name, value),
                Entry::Wrong => {
                    let hint = "such as CONFIG_EXT4_FS=y, or # CONFIG_MODULES is not set";
                    return Err(refuse(at, "is no line of a kernel's configuration", hint));
                }
            };
            if value.0 == "m" {
                let hint = "write =y: of a kernel from source no module is loaded";
                return Err(refuse(at, "an option cannot be a module here", hint));
            }
            if HOST_FILES.contains(&name) && value.0 != "\"\"" {
                let hint =
                    "leave it out, or set it to \"\": a kernel is built of its source and options alone";
                return Err(refuse(at, "names a file of this host, which nothing pins", hint));
            }
            if let Some(first) = options.get(name) {
                let message = format!("{START}{name} was said in line {} already", first.line);
                return Err(refuse(at, &message, "take one of the two out"));
            }
            options.insert(name.to_owned(), Wanted { value, line: number + 1 });
        }
        Ok(Fragment { path: path.into(), options })
    }

    /// How messages call it.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What is asked for, and nothing else: neither remarks nor the order make another kernel.
    pub fn values(&self) -> BTreeMap<&str, &Value> {
        self.options.iter().map(|(name, wanted)| (&**name, &wanted.value)).collect()
    }

    /// The fragment as `make` takes it.
    pub fn to_text(&self) -> String {
        let line = |(name, value): (&str, &Value)| match value.is_no() {
            true => format!("# {START}{name}{UNSET}\n"),
            false => format!("{START}{name}={}\n", value.0),
        };
        self.values().into_iter().map(line).collect()
    }

    /// What of it is not in the configuration that came of it, in the order of the fragment.
    pub fn unmet(&self, made: &str) -> Vec<Unmet> {
        let made: BTreeMap<&str, Value> = made
            .lines()
            .filter_map(|line| match entry(line) {
                Entry::Option(name, value) => Some((name, value)),
                _ => None,
            })
            .collect();
        let unmet = self.options.iter().filter_map(|(name, wanted)| {
            let found = made.get(&**name);
            let met = match found {
                None => wanted.value.is_no(),
                Some(found) => *found == wanted.value,
            };
            let (name, line, wanted) = (name.clone(), wanted.line, wanted.value.clone());
            (!met).then(|| Unmet { name, line, wanted, found: found.cloned() })
        });
        let mut unmet: Vec<Unmet> = unmet.collect();
        unmet.sort_by_key(|unmet| unmet.line);
        unmet
    }
}

fn error(place: Place, message: &str, hint: Option<String>) -> RecipeError {
    RecipeError::At { place: Box::new(place), message: message.to_owned(), hint }
}

/// What a line says.
enum Entry<'a> {
    /// Nothing: it is empty or a remark.
    Nothing,
    /// The value of an option.
    Option(&'a str, Value),
    /// It is of no form that is known.
    Wrong,
}

fn entry(line: &str) -> Entry<'_> {
    if let Some(remark) = line.strip_prefix('#') {
        let name =
            remark.strip_prefix(' ').and_then(|remark| remark.strip_prefix(START)?.strip_suffix(UNSET));
        return match name.filter(|name| is_name(name)) {
            Some(name) => Entry::Option(name, Value("n".into())),
            None => Entry::Nothing,
        };
    }
    if line.is_empty() {
        return Entry::Nothing;
    }
    match line.strip_prefix(START).and_then(|rest| rest.split_once('=')) {
        Some((name, value)) if is_name(name) && is_value(value) => {
            Entry::Option(name, Value(value.to_owned()))
        }
        _ => Entry::Wrong,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_value(text: &str) -> bool {
    let all =
        |text: &str, is_digit: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|byte| is_digit(&byte));
    let quoted = |text: &str| {
        let mut escaped = false;
        text.bytes().all(|byte| {
            let plain = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            // The kernel's build has make and shells read its configuration, and both run what stands behind these.
            plain && !matches!(byte, b'$' | b'`') && (b' '..=b'~').contains(&byte)
        }) && !escaped
    };
    matches!(text, "y" | "m" | "n")
        || all(text.strip_prefix('-').unwrap_or(text), u8::is_ascii_digit)
        || text.strip_prefix("0x").is_some_and(|digits| all(digits, u8::is_ascii_hexdigit))
        || text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).is_some_and(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Fragment, RecipeError> {
        Fragment::parse(Path::new("a.config"), text)
    }

    const GOOD: &str = "# a remark\nCONFIG_A=y\n\nCONFIG_S=\"a \\\"b\\\" c\"\nCONFIG_N=-16\r\nCONFIG_X=0x1F\n# CONFIG_OFF is not set\nCONFIG_O2=n";

    #[test]
    fn a_fragment_is_read() {
        let fragment = parse(GOOD).unwrap();
        let normal = "CONFIG_A=y\nCONFIG_N=-16\n# CONFIG_O2 is not set\n# CONFIG_OFF is not set\n\
            CONFIG_S=\"a \\\"b\\\" c\"\nCONFIG_X=0x1F\n";
        assert_eq!(fragment.to_text(), normal);
        assert_eq!(parse(normal).unwrap().values(), fragment.values());
    }

    #[test]
    fn what_is_refused() {
        for (line, message) in [
            ("CONFIG_M=m", "a.config:9:1: an option cannot be a module here"),
            ("CONFIG_A=n", "a.config:9:1: CONFIG_A was said in line 2 already"),
            ("# CONFIG_A is not set", "a.config:9:1: CONFIG_A was said in line 2 already"),
            ("EXT4=y", "a.config:9:1: is no line of a kernel's configuration"),
            ("CONFIG_=y", "is no line"),
            ("CONFIG_B", "is no line"),
            ("CONFIG_B=yes", "is no line"),
            (" CONFIG_B=y", "is no line"),
            ("CONFIG_B=\"", "is no line"),
            ("CONFIG_B=\"a\"b\"", "is no line"),
            ("CONFIG_B=\"a\\\"", "is no line"),
            ("CONFIG_B=\"$(shell id)\"", "is no line"),
            ("CONFIG_B=\"a\\$(id)\"", "is no line"),
            ("CONFIG_B=\"`id`\"", "is no line"),
            ("CONFIG_INITRAMFS_SOURCE=\"/etc/shadow\"", "names a file of this host"),
            ("CONFIG_B=0x", "is no line"),
            ("CONFIG_B=y # because", "is no line"),
            ("source \"/etc/passwd\"", "is no line"),
        ] {
            let error = parse(&format!("{GOOD}\n{line}\n")).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert!(error.hint().is_some() && error.excerpt().is_some_and(|text| text.contains(line)));
        }
    }

    #[test]
    fn what_did_not_survive_is_named() {
        let fragment = parse(
            "CONFIG_Z=y\nCONFIG_A=y\nCONFIG_N=16\nCONFIG_S=\"x\"\n# CONFIG_OFF is not set\nCONFIG_O2=n\n",
        )
        .unwrap();
        let kept = "# Linux/arm64 6.12\nCONFIG_A=y\nCONFIG_N=16\nCONFIG_S=\"x\"\n# CONFIG_OFF is not set\nCONFIG_Z=y\nCONFIG_MORE=m\n";
        assert_eq!(fragment.unmet(kept), []);
        let unmet = |from: &str, to: &str| {
            assert!(kept.contains(from));
            let unmet = fragment.unmet(&kept.replace(from, to));
            unmet.iter().map(Unmet::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(unmet("CONFIG_A=y", "# CONFIG_A is not set"), "CONFIG_A=y (line 2) is n");
        assert_eq!(unmet("CONFIG_A=y\n", ""), "CONFIG_A=y (line 2) is not there");
        assert_eq!(unmet("CONFIG_A=y", "CONFIG_A=m"), "CONFIG_A=y (line 2) is m");
        assert_eq!(unmet("=16", "=8"), "CONFIG_N=16 (line 3) is 8");
        assert_eq!(unmet("\"x\"", "\"\""), "CONFIG_S=\"x\" (line 4) is \"\"");
        assert_eq!(unmet("# CONFIG_OFF is not set", "CONFIG_OFF=y"), "CONFIG_OFF=n (line 5) is y");
        assert_eq!(unmet("CONFIG_MORE", "CONFIG_O2"), "CONFIG_O2=n (line 6) is m");
        // In the order in which they stand in the fragment.
        assert_eq!(
            unmet("CONFIG_", "XX"),
            "CONFIG_Z=y (line 1) is not there; CONFIG_A=y (line 2) is not there; CONFIG_N=16 (line 3) is not there; CONFIG_S=\"x\" (line 4) is not there"
        );
    }

    #[test]
    fn our_own_is_good() {
        let own = Fragment::read(None).unwrap();
        for needed in ["VIRTIO_MMIO", "EXT4_FS", "OVERLAY_FS", "VMGENID", "DRM_VIRTIO_GPU"] {
            assert_eq!(own.values()[needed], &Value("y".into()), "{needed}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String, line in "(# )?CONFIG_[A-Z]{0,2}(=[ymn\"\\\\0-9x]{0,4}| is not set)") {
            let _ = parse(&text);
            if let Ok(fragment) = parse(&line) {
                // What is asked for and made is met.
                proptest::prop_assert_eq!(fragment.unmet(&fragment.to_text()), []);
                let again = parse(&fragment.to_text()).unwrap();
                proptest::prop_assert_eq!(again.values(), fragment.values());
            }
        }
    }
}
