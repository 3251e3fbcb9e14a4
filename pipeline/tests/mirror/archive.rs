//! A tiny Debian archive, and a server that can spoil it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use pgp::composed::{CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::ser::Serialize;
use pgp::types::Password;
use rand_core::OsRng;
use store::Hash;

pub const RECIPE: &str = r#"
name = "test"
[debian]
release = "trixie"
[kernel]
package = "linux-image-arm64"
command-line = "console=ttyAMA0"
[initramfs]
busybox = "busybox-static"
init = "init"
modules = ["alpha", "beta"]
[rootfs]
label = "test"
packages = ["tool"]
[overlay]
size = "16M"
[machine]
cpus = 1
memory = "64M"
display = { width = 640, height = 480 }
[warm-base]
ready = { console = "ready" }
limit-seconds = 1
"#;

/// A signed archive.
pub struct Archive {
    key: SignedSecretKey,
    files: BTreeMap<String, Vec<u8>>,
}

impl Archive {
    pub fn new() -> Archive {
        Archive::with_release(str::to_owned)
    }

    /// An archive whose Release files are changed before they are signed.
    pub fn with_release(change: impl Fn(&str) -> String) -> Archive {
        let key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_certify(true)
            .primary_user_id("test".into())
            .build()
            .unwrap()
            .generate(OsRng)
            .unwrap();
        Archive::of(key, packages(), "Wed, 01 Jan 2025 00:00:00 UTC", change)
    }

    /// The same archive a month later: there are newer versions, and the old ones are gone.
    pub fn later(&self) -> Archive {
        Archive::of(self.key.clone(), later_packages(), "Sat, 01 Feb 2025 00:00:00 UTC", str::to_owned)
    }

    fn of(
        key: SignedSecretKey,
        packages: Vec<Package>,
        date: &str,
        change: impl Fn(&str) -> String,
    ) -> Archive {
        let mut files = BTreeMap::new();
        let mut list = String::new();
        for package in packages {
            let Package { name, version, depends, .. } = package;
            let control =
                format!("Package: {name}\nVersion: {version}\nArchitecture: arm64\nDepends: {depends}\n");
            let deb = deb(&control, &package.contents);
            let path = format!("pool/{name}_{version}_arm64.deb");
            list.push_str(&format!(
                "{control}Filename: {path}\nSize: {}\nSHA256: {}\n\n",
                deb.len(),
                Hash::of(&deb)
            ));
            files.insert(format!("debian/{path}"), deb);
        }
        for (archive, suite, list) in [
            ("debian", "trixie", &*list),
            ("debian", "trixie-updates", ""),
            ("debian-security", "trixie-security", ""),
        ] {
            let packed = xz(list.as_bytes());
            let release = change(&format!(
                "Suite: {}\nCodename: {suite}\nDate: {date}\nArchitectures: arm64\nComponents: main\n\
                 SHA256:\n {} {} {p}\n {} {} {p}.xz\n",
                suite.replace("trixie", "stable"),
                Hash::of(list.as_bytes()),
                list.len(),
                Hash::of(&packed),
                packed.len(),
                p = "main/binary-arm64/Packages"
            ));
            files.insert(format!("{archive}/dists/{suite}/InRelease"), signed(&key, &release));
            files.insert(format!("{archive}/dists/{suite}/main/binary-arm64/Packages.xz"), packed);
        }
        Archive { key, files }
    }

    /// The same archive with Release files of another day, by the same key.
    pub fn of_day(&self, day: &str) -> Archive {
        let mut files = self.files.clone();
        for (path, bytes) in &mut files {
            if path.ends_with("InRelease") {
                let (message, _) =
                    CleartextSignedMessage::from_string(std::str::from_utf8(bytes).unwrap()).unwrap();
                let text = message.signed_text().replace("01 Jan 2025", day).replace("\r\n", "\n");
                *bytes = signed(&self.key, &text);
            }
        }
        Archive { key: self.key.clone(), files }
    }

    pub fn keyring(&self) -> Vec<u8> {
        self.key.to_public_key().to_bytes().unwrap()
    }

    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.files.clone()
    }
}

fn signed(key: &SignedSecretKey, text: &str) -> Vec<u8> {
    let message = CleartextSignedMessage::sign(OsRng, text, &key.primary_key, &Password::empty());
    message.unwrap().to_armored_bytes(None.into()).unwrap()
}

type Contents = Vec<(&'static str, Vec<u8>)>;

struct Package {
    name: &'static str,
    version: u32,
    depends: &'static str,
    contents: Contents,
}

fn packages() -> Vec<Package> {
    let package = |name, depends, contents| Package { name, version: 1, depends, contents };
    vec![
        package("linux-image-arm64", "linux-image-9-arm64 (= 1)", vec![]),
        package("linux-image-9-arm64", "kmod, initramfs-tools", kernel()),
        package("busybox-static", "", vec![("./usr/bin/busybox", b"busybox".to_vec())]),
        package("tool", "libtest (>= 1), busybox-static", vec![("./usr/bin/tool", noise(3 << 20))]),
        package("libtest", "", vec![("./usr/lib/libtest.so", b"library".to_vec())]),
        package("unhappy", "absent", vec![]),
        package("extra", "libtest", vec![("./usr/bin/extra", b"extra".to_vec())]),
        package("legacy", "oldlib", vec![]),
        package("oldlib", "", vec![]),
        package("linux-source", "linux-source-9 (= 1)", vec![]),
        package("linux-source-9", "binutils, xz-utils", kernel_source()),
        package(
            "config",
            "",
            vec![("./etc/app/policies.json", b"{\"policies\": {\"A\": 1, \"B\": {\"C\": 2}}}".to_vec())],
        ),
    ]
}

fn later_packages() -> Vec<Package> {
    let package = |name, depends, contents| Package { name, version: 2, depends, contents };
    vec![
        package("linux-image-arm64", "linux-image-10-arm64 (= 2)", vec![]),
        package("linux-image-10-arm64", "kmod, initramfs-tools", kernel()),
        package("busybox-static", "", vec![("./usr/bin/busybox", b"busybox 2".to_vec())]),
        package("tool", "libtest (>= 2), busybox-static", vec![("./usr/bin/tool", vec![8; 100_000])]),
        package("libtest", "", vec![("./usr/lib/libtest.so", b"library 2".to_vec())]),
        package("extra", "libtest", vec![("./usr/bin/extra", b"extra 2".to_vec())]),
        package("legacy", "newlib", vec![]),
        package("newlib", "", vec![]),
    ]
}

/// A kernel and two modules.
fn kernel() -> Contents {
    let mut image = vec![0; 4096];
    image[56..60].copy_from_slice(b"ARM\x64");
    vec![
        ("./boot/vmlinuz-9", image),
        ("./usr/lib/modules/9/kernel/alpha.ko.xz", xz(&module(b"depends=\0"))),
        ("./usr/lib/modules/9/kernel/beta.ko.xz", xz(&module(b"depends=alpha\0"))),
    ]
}

/// A kernel's build in miniature: Linux's targets, an image that tells what it was built with, and options that end badly.
const MAKEFILE: &str = r#"
allnoconfig:
	@grep -v DROPPED $(KCONFIG_ALLCONFIG) | sed 's/^# CONFIG_FORCED is not set/CONFIG_FORCED=y/' >.config
	@echo CONFIG_MORE=y >>.config

Image:
	@mkdir -p arch/arm64/boot include/config
	@echo 9.1 >include/config/kernel.release
	@if grep -q CONFIG_FAIL=y .config; then seq -f 'line %g' 100; echo 'here.c:1: error: no such thing' >&2; exit 3; fi
	@if grep -q CONFIG_SLOW=y .config; then sleep 600 & echo $$! >sleeper; wait; fi
	@gcc $(KCFLAGS) -c $(CURDIR)/here.c -o here.o
	@{ head -c 56 /dev/zero; printf 'ARM\144\n'; cat .config; umask | sed 's/^/umask /'; \
	echo user $(KBUILD_BUILD_USER) host $(KBUILD_BUILD_HOST) version $(KBUILD_BUILD_VERSION) \
	time $(KBUILD_BUILD_TIMESTAMP) epoch $$SOURCE_DATE_EPOCH; \
	echo environment $$(env | sed 's/=.*//' | sort); cat here.o; } >arch/arm64/boot/Image
"#;

/// What `linux-source-9` has, made on the first of January 2025.
fn kernel_source() -> Contents {
    let makefile = MAKEFILE.as_bytes().to_vec();
    let source = tar(&[
        ("linux-source-9/Makefile", makefile),
        ("linux-source-9/here.c", b"const char *here = __FILE__;\n".to_vec()),
        ("linux-source-9/Kconfig", vec![]),
    ]);
    vec![("./usr/src/linux-source-9.tar.xz", xz(&source))]
}

/// Bytes that cannot be compressed.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        // Knuth's MMIX generator; its upper bits are good enough.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// The smallest ELF file with a `.modinfo` section.
fn module(info: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 183;
    elf.extend(info);
    elf.extend(names);
    let table = elf.len() as u64;
    elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    (elf[0x3a], elf[0x3c], elf[0x3e]) = (64, 3, 2);
    for (name, start, size) in [(0u32, 0, 0), (1, 64, info.len()), (10, 64 + info.len(), names.len())] {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&(start as u64).to_le_bytes());
        header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
        elf.extend(header);
    }
    elf
}

/// Compressed in little time: the archive is made for every test, and much of it cannot be compressed.
fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deb(control: &str, contents: &Contents) -> Vec<u8> {
    let control = tar(&[("./control", control.as_bytes().to_vec())]);
    let data = xz(&tar(contents));
    let mut ar = b"!<arch>\n".to_vec();
    for (name, bytes) in
        [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", &xz(&control)), ("data.tar.xz", &data)]
    {
        ar.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, bytes.len()).bytes());
        ar.extend(bytes);
        if bytes.len() % 2 == 1 {
            ar.push(b'\n');
        }
    }
    ar
}

fn tar(contents: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in contents {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        // 2025-01-01 00:00:00 UTC
        header.set_mtime(1_735_689_600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, path.trim_start_matches("./"), &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// How the server answers requests for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// Half of what is asked for, then no more.
    Half,
    HalfOnce,
    /// Half of it; whoever asks for the rest gets all.
    HalfWithoutRanges,
    /// Half of it; whoever asks for the rest gets another part.
    WrongRange,
    /// All of it, and whoever asks for a part is told that there is no such part.
    NoRange,
    ErrorOnce,
    /// One changed byte.
    Flipped,
    /// One byte too many.
    Longer,
    /// One byte too few, and a length that agrees.
    Shorter,
    /// Says that it is longer than what it sends.
    Boastful,
    /// No length, and no end.
    Endless,
    /// A header without end.
    EndlessHeader,
    /// Nothing, for ever.
    Silent,
    /// The beginning, then nothing for ever.
    Stalling,
    /// A byte now and then.
    Trickling,
    /// All of it, but so slowly that there is time to interrupt.
    Slow,
    /// To another place that sends back.
    RedirectForEver,
    /// To where there is nothing.
    RedirectNowhere,
    Unsigned,
}

impl Answer {
    /// Whether it is given once only.
    fn is_once(self) -> bool {
        use Answer::*;
        matches!(self, HalfOnce | ErrorOnce)
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// The answer to requests whose path has this in it.
    spoilt: Vec<(String, Answer)>,
    requests: usize,
    /// What the requests for ranges began with.
    ranges: Vec<u64>,
}

/// A server on this host, for as long as the test runs.
pub struct Mirror {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Mirror {
    pub fn serve(files: BTreeMap<String, Vec<u8>>) -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let served = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = served.clone();
                // A client that hangs up ends only its own thread.
                std::thread::spawn(move || answer(stream, &state));
            }
        });
        Mirror { port, state }
    }

    pub fn url(&self, archive: &str) -> String {
        format!("http://127.0.0.1:{}/{archive}", self.port)
    }

    /// From now on, files with this in their path are answered so.
    pub fn set(&mut self, path: &str, answer: Answer) {
        let mut state = self.state.lock().unwrap();
        state.spoilt.retain(|(spoilt, _)| spoilt != path);
        state.spoilt.push((path.to_owned(), answer));
    }

    /// From now on, these files are served.
    pub fn serve_now(&self, files: BTreeMap<String, Vec<u8>>) {
        self.state.lock().unwrap().files = files;
    }

    /// From now on, all is answered as it should be.
    pub fn repent(&mut self) {
        self.state.lock().unwrap().spoilt.clear();
    }

    /// Where the requests for the rest of a file began so far.
    pub fn ranges(&self) -> Vec<u64> {
        self.state.lock().unwrap().ranges.clone()
    }

    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut from = 0;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        let lower = line.to_ascii_lowercase();
        if let Some(range) = lower.strip_prefix("range: bytes=") {
            from = range.trim_end().trim_end_matches('-').parse().unwrap();
        }
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let (file, spoilt) = {
        let mut state = state.lock().unwrap();
        state.requests += 1;
        if from > 0 {
            state.ranges.push(from as u64);
        }
        let at = state.spoilt.iter().position(|(part, _)| path.contains(part));
        let spoilt = at.map(|at| state.spoilt[at].1);
        if let Some(at) = at
            && spoilt.is_some_and(Answer::is_once)
        {
            state.spoilt.remove(at);
        }
        (state.files.get(&path).cloned(), spoilt)
    };
    let (mut status, mut body) = match file {
        Some(body) => (200, body),
        None => (404, Vec::new()),
    };
    let whole = body.len();
    let mut sent = None;
    let mut more = String::new();
    let mut announced = None;
    let pause = |milliseconds| std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    match spoilt {
        None
        | Some(
            Answer::Stalling | Answer::Trickling | Answer::Slow | Answer::Endless | Answer::EndlessHeader,
        ) => {}
        Some(Answer::Status(other)) => (status, body) = (other, Vec::new()),
        Some(Answer::ErrorOnce) => (status, body) = (503, Vec::new()),
        Some(Answer::NoRange) if from > 0 => (status, body, from) = (416, Vec::new(), 0),
        Some(Answer::NoRange) => {}
        Some(Answer::HalfWithoutRanges) if from > 0 => from = 0,
        Some(Answer::WrongRange) if from > 0 => from -= 1,
        Some(Answer::Half | Answer::HalfOnce | Answer::HalfWithoutRanges | Answer::WrongRange) => {
            sent = Some((body.len() - from) / 2);
        }
        Some(Answer::Flipped) => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        Some(Answer::Longer) => body.push(0),
        Some(Answer::Shorter) => drop(body.pop()),
        Some(Answer::Boastful) => announced = Some(1 << 40),
        Some(Answer::Silent) => {
            pause(60_000);
            return Ok(());
        }
        Some(Answer::RedirectForEver) => {
            (status, body) = (302, Vec::new());
            let turn = path.bytes().filter(|byte| *byte == b'?').count() % 2;
            more = format!("Location: /{path}{}\r\n", if turn == 0 { "?" } else { "&" });
        }
        Some(Answer::RedirectNowhere) => {
            (status, body) = (301, Vec::new());
            more = "Location: ftp://there.test/x\r\n".to_owned();
        }
        Some(Answer::Unsigned) => {
            let text = String::from_utf8(body).unwrap();
            let text = text.split("\n\n").nth(1).unwrap().split("-----BEGIN").next().unwrap();
            body = text.as_bytes().to_vec();
        }
    }
    if from > 0 && status == 200 && from < body.len() {
        status = 206;
        more = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len().max(whole));
        body.drain(..from);
    }
    let length = announced.unwrap_or(body.len());
    let length = match spoilt {
        Some(Answer::Endless) => String::new(),
        _ => format!("Content-Length: {length}\r\n"),
    };
    let head = format!("HTTP/1.1 {status} X\r\n{length}{more}Connection: close\r\n\r\n");
    match spoilt {
        Some(Answer::EndlessHeader) => {
            stream.write_all(b"HTTP/1.1 200 X\r\n")?;
            loop {
                stream.write_all(b"X-More: and more, and more, and more, and more\r\n")?;
            }
        }
        Some(Answer::Endless) => {
            stream.write_all(head.as_bytes())?;
            loop {
                stream.write_all(&body)?;
            }
        }
        Some(Answer::Stalling) => {
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body[..body.len() / 2])?;
            pause(60_000);
            Ok(())
        }
        Some(Answer::Trickling) => {
            stream.write_all(head.as_bytes())?;
            for byte in body {
                stream.write_all(&[byte])?;
                pause(100);
            }
            Ok(())
        }
        Some(Answer::Slow) => {
            stream.write_all(head.as_bytes())?;
            for part in body.chunks(body.len() / 8 + 1) {
                pause(50);
                stream.write_all(part)?;
            }
            Ok(())
        }
        _ => {
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body[..sent.unwrap_or(body.len())])?;
            stream.flush()
        }
    }
}
