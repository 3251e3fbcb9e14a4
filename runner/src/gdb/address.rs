//! Where a debugger connects.

use std::{fmt, path::PathBuf, str::FromStr};

/// A TCP address or the path of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`; port 0 takes a free one.
    Tcp(String),
    /// A path, told by its slash.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Ok(Address::Unix(text.into()));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Address::Tcp(text.to_owned()))
            }
            _ => Err(format!(
                "`{text}` is neither HOST:PORT, such as 127.0.0.1:1234, nor the path of a socket"
            )),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => f.write_str(address),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_tells_a_path_from_a_host() {
        for tcp in ["127.0.0.1:1234", "localhost:0", "[::1]:1234"] {
            assert_eq!(tcp.parse(), Ok(Address::Tcp(tcp.into())));
        }
        for unix in ["./gdb", "/run/gdb:1234"] {
            assert_eq!(unix.parse(), Ok(Address::Unix(unix.into())));
        }
        for bad in ["", "1234", ":1234", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "localhost:gdb"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
