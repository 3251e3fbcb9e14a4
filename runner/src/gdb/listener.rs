//! Connections from debuggers, one at a time.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use gdbstub::conn::Connection;

use super::Address;
use crate::session::{Command, Handle};

/// What comes from debuggers, on its way; one that sends faster waits.
const QUEUED: usize = 16;

/// Bytes that are taken from a connection at once.
const CHUNK: usize = 4096;

/// Bytes that are held back for one write.
const HELD_BACK: usize = 16 << 10;

/// How long a debugger may leave what it asked for unread before it is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A place where debuggers connect; nobody listens any more once it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    /// The file to remove.
    _path: Option<SocketPath>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A Unix socket's file, removed when dropped.
#[derive(Debug)]
struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Nobody is left to tell if it has gone already.
        let _ = fs::remove_file(&self.0);
    }
}

/// What debuggers do.
#[derive(Debug)]
pub enum Event {
    /// One has come. The next comes only after this one has gone.
    Connected(Wire),
    /// It says something.
    Bytes(Vec<u8>),
    /// It has gone.
    Gone,
}

/// What debuggers do, as it comes, and the socket's file as long as this lives.
pub struct Events {
    /// In the order in which it happened.
    pub receiver: Receiver<Event>,
    _path: Option<SocketPath>,
}

impl Listener {
    /// Listens at `address`.
    ///
    /// # Errors
    /// If the host refuses, or the address is in use.
    pub fn bind(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => {
                let socket = TcpListener::bind(address)?;
                let address = Address::Tcp(socket.local_addr()?.to_string());
                Listener { socket: Socket::Tcp(socket), address, _path: None }
            }
            Address::Unix(path) => Listener {
                socket: Socket::Unix(UnixListener::bind(path)?),
                address: address.clone(),
                _path: Some(SocketPath(path.clone())),
            },
        })
    }

    /// Where it listens, with the port that the host chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Hands on what debuggers do, and has `session` look each time.
    ///
    /// # Errors
    /// If the host can't start a thread.
    pub fn start(self, session: Handle) -> io::Result<Events> {
        let (sender, receiver) = sync_channel(QUEUED);
        let socket = self.socket;
        thread::Builder::new().name("gdb".into()).spawn(move || accept(&socket, &sender, &session))?;
        Ok(Events { receiver, _path: self._path })
    }
}

fn accept(socket: &Socket, events: &SyncSender<Event>, session: &Handle) {
    let busy = Arc::new(AtomicBool::new(false));
    loop {
        let stream = match socket {
            Socket::Tcp(socket) => socket.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Socket::Unix(socket) => socket.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        let Ok(stream) = stream else {
            // Such as no file descriptor left: not for ever.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        // A second one is turned away: dropped, so closed.
        if busy.swap(true, Ordering::SeqCst) {
            continue;
        }
        let seat = Seat { busy: Arc::clone(&busy), events: events.clone(), session: session.clone() };
        let Ok(wire) = stream.wire() else { continue };
        // If the thread can't be made its closure is dropped, and the seat with it.
        let _ = thread::Builder::new().name("gdb".into()).spawn(move || seat.relay(stream, wire));
    }
}

/// The one debugger that may be connected; free again when dropped.
struct Seat {
    busy: Arc<AtomicBool>,
    events: SyncSender<Event>,
    session: Handle,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.busy.store(false, Ordering::SeqCst);
    }
}

impl Seat {
    fn relay(self, mut stream: Stream, wire: Wire) {
        self.tell(Event::Connected(wire));
        let mut chunk = [0; CHUNK];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    if !self.tell(Event::Bytes(chunk[..count].to_vec())) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.tell(Event::Gone);
    }

    /// Whether anybody listens.
    fn tell(&self, event: Event) -> bool {
        let told = self.events.send(event).is_ok();
        if told {
            self.session.send(Command::Look);
        }
        told
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// What is said to the debugger.
    fn wire(&self) -> io::Result<Wire> {
        let stream = match self {
            Stream::Tcp(stream) => {
                // Every packet awaits its answer.
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                Stream::Tcp(stream.try_clone()?)
            }
            Stream::Unix(stream) => {
                stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                Stream::Unix(stream.try_clone()?)
            }
        };
        Ok(Wire { stream, held_back: Vec::new() })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

/// What is said to a debugger. The connection ends when it is dropped.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    held_back: Vec<u8>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        // It may have gone already.
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Connection for Wire {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.write_all(&[byte])
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.held_back.extend_from_slice(bytes);
        if self.held_back.len() >= HELD_BACK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = match &mut self.stream {
            Stream::Tcp(stream) => Write::write_all(stream, &self.held_back),
            Stream::Unix(stream) => Write::write_all(stream, &self.held_back),
        };
        self.held_back.clear();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session;

    fn next(events: &Events) -> Event {
        events.receiver.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn one_at_a_time_and_the_file_goes_with_the_last_event() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gdb");
        let listener = Listener::bind(&Address::Unix(path.clone())).unwrap();
        let (session, _seat) = session::pair();
        let events = listener.start(session).unwrap();

        let mut first = UnixStream::connect(&path).unwrap();
        let Event::Connected(mut wire) = next(&events) else { panic!("no connection") };
        assert_eq!(
            UnixStream::connect(&path).unwrap().read(&mut [0]).unwrap(),
            0,
            "the second is turned away"
        );
        Write::write_all(&mut first, b"+").unwrap();
        assert!(matches!(next(&events), Event::Bytes(bytes) if bytes == b"+"));
        wire.write_all(b"ok").unwrap();
        Connection::flush(&mut wire).unwrap();
        let mut said = [0; 2];
        first.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"ok");
        drop(wire);
        assert_eq!(first.read(&mut said).unwrap(), 0, "closed");
        assert!(matches!(next(&events), Event::Gone));

        // The seat is free a moment after it was told.
        let third = loop {
            let third = UnixStream::connect(&path).unwrap();
            if let Ok(event) = events.receiver.recv_timeout(Duration::from_millis(100)) {
                assert!(matches!(event, Event::Connected(_)));
                break third;
            }
        };
        drop((events, third));
        assert!(!path.exists());
    }

    #[test]
    fn a_free_port_is_told() {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let Address::Tcp(address) = listener.address() else { panic!("{:?}", listener.address()) };
        assert!(!address.ends_with(":0"), "{address}");
        assert!(Listener::bind(listener.address()).is_err(), "in use");
    }
}
