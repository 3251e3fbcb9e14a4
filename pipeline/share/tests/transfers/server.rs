//! A web server that serves a directory, and can be made to misbehave.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How files are served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Manner {
    /// All as they are, and parts of them.
    Honest,
    /// Always all of them.
    NoRanges,
    /// The first answer for each breaks off in the middle, then all is well.
    HalfOnce,
    /// Each breaks off in the middle.
    Half,
    /// Some bytes are others.
    Lies,
    /// Other bytes than those that were asked for, and that is what it says.
    WrongRange,
    /// The head comes, and then nothing.
    Stalls,
    /// Only this status.
    Status(u16),
    /// Each answer leads to the same place.
    Redirects,
    /// It never ends.
    Endless,
    /// Each second goes well, others are too much for it.
    Busy,
}

/// The server, for as long as the test runs.
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    manner: Mutex<(&'static str, Manner)>,
    requests: AtomicUsize,
    bytes: AtomicU64,
}

impl Server {
    /// Serves a directory on a free port of this machine.
    pub fn serve(root: &Path) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            root: root.into(),
            manner: Mutex::new(("", Manner::Honest)),
            requests: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        });
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                thread::spawn(move || drop(shared.answer(stream)));
            }
        });
        Server { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on, paths that have `part` in them are served in this manner, and all others honestly.
    pub fn set(&self, part: &'static str, manner: Manner) {
        *self.shared.manner.lock().unwrap() = (part, manner);
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many bytes of files were sent.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        let (mut line, mut range) = (String::new(), None);
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            if let Some(text) = header.to_ascii_lowercase().trim().strip_prefix("range: bytes=") {
                let (from, to) = text.split_once('-').unwrap();
                range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().ok()));
            }
        }
        let count = self.requests.fetch_add(1, Ordering::SeqCst);
        let (part, manner) = *self.manner.lock().unwrap();
        let manner = if path.contains(part) { manner } else { Manner::Honest };
        let Ok(mut bytes) = fs::read(self.root.join(path.trim_start_matches('/'))) else {
            return write!(
                stream,
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        };
        match manner {
            Manner::Status(status) => {
                return write!(
                    stream,
                    "HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
            }
            Manner::Busy if count.is_multiple_of(2) => {
                return write!(stream, "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
            Manner::Redirects => {
                let head = format!("HTTP/1.1 302 Found\r\nlocation: {path}\r\ncontent-length: 0\r\n");
                return write!(stream, "{head}connection: close\r\n\r\n");
            }
            Manner::Endless => {
                write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                loop {
                    stream.write_all(&[0x55; 1 << 16])?;
                }
            }
            Manner::Lies => bytes.iter_mut().step_by(1000).for_each(|byte| *byte ^= 0x10),
            _ => {}
        }
        let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
        if let (Some((from, to)), true) = (range, manner != Manner::NoRanges) {
            let size = bytes.len();
            let end = to.map_or(size, |to| to + 1).min(size);
            if from >= end {
                return write!(stream, "HTTP/1.1 416 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
            let said = if manner == Manner::WrongRange { from + 1 } else { from };
            bytes = bytes[from..end].to_vec();
            head = format!("HTTP/1.1 206 Part\r\ncontent-range: bytes {said}-{}/{size}\r\n", end - 1);
        }
        let half = manner == Manner::Half || manner == Manner::HalfOnce;
        write!(stream, "{head}content-length: {}\r\nconnection: close\r\n\r\n", bytes.len())?;
        if manner == Manner::Stalls {
            thread::sleep(Duration::from_secs(20));
            return Ok(());
        }
        if half {
            bytes.truncate(bytes.len() / 2);
        }
        if manner == Manner::HalfOnce {
            self.manner.lock().unwrap().1 = Manner::Honest;
        }
        self.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        stream.write_all(&bytes)
    }
}
