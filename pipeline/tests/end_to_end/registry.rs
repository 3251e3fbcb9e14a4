//! A registry of container images, which keeps bases too.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::programs::{PATIENCE, tool};

/// Debian's registry on a port of this machine, for as long as this value lives.
pub struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    /// Starts an empty one that keeps its files in `dir`.
    pub fn start(dir: &Path) -> Registry {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.join("registry.yml");
        let storage = dir.join("registry");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = tool("docker-registry", "docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.env("OTEL_TRACES_EXPORTER", "none").spawn().unwrap();
        let registry = Registry { child, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "the registry does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// A repository in it.
    pub fn remote(&self) -> String {
        format!("oci://127.0.0.1:{}/team/bases", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
