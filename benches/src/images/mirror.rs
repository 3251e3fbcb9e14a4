//! A mirror on this host, so that what is measured is not somebody's network.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use runner::error::{Failure, Status};
use samovar::{
    debian::{
        inrelease::Keyring,
        release::Release,
        sources::{ARCHIVES, Archive},
    },
    lock::{Lock, LockedPackage, Step},
    recipe::Debian,
};
use store::{Hash, Store};

use super::refused;
use crate::{host_failure, process::Process};

/// No InRelease file comes near this.
const MAX_INRELEASE: u64 = 8 << 20;

/// How long the server may take to start.
const START: Duration = Duration::from_secs(10);

/// A mirror of what one root file system needs. It is served until this is dropped.
#[derive(Debug)]
pub struct Mirror {
    dir: PathBuf,
    address: SocketAddr,
    _server: Process,
}

impl Mirror {
    /// Lays out in `dir` what `store` has fetched for the root file system of `lock`, as an archive has it, and serves it.
    ///
    /// # Errors
    /// If something is not in the store, or the server does not start.
    pub fn of(store: &Store, lock: &Lock, debian: &Debian, dir: &Path) -> Result<Self, Failure> {
        let cached = |hash: &Hash| store.dir().join("cache").join(hash.to_string());
        for package in lock.packages(Step::Rootfs) {
            link(&cached(&package.sha256), &dir.join(package.archive.name()).join(&package.path))?;
        }
        let keyring = Keyring::trusted().map_err(|error| refused(&error))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for (archive, suite) in suites(&debian.release) {
            let what = format!("{} {suite} InRelease", archive.name());
            let message = store
                .remembered(&what, MAX_INRELEASE)
                .map_err(|error| refused(&error))?
                .ok_or_else(|| Failure::new(Status::Other, format!("the store has no {what}")))?;
            let text = keyring.verified_text(&what, &message, now).map_err(|error| refused(&error))?;
            let release = Release::parse(&what, &text, &suite, &debian.components, now)
                .map_err(|error| refused(&error))?;
            let lists = dir.join(archive.name()).join("dists").join(&suite);
            link(&cached(&Hash::of(&message)), &lists.join("InRelease"))?;
            for list in &release.lists {
                let path = lists.join(&list.path);
                link(&cached(&list.sha256), &path)?;
                // apt asks for a list by its hash.
                let by_hash = path.with_file_name("by-hash").join("SHA256").join(list.sha256.to_string());
                link(&cached(&list.sha256), &by_hash)?;
            }
        }
        let (address, server) = serve(dir)?;
        Ok(Mirror { dir: dir.to_owned(), address, _server: server })
    }

    /// Where a package is on this host.
    pub fn path_of(&self, package: &LockedPackage) -> PathBuf {
        self.dir.join(package.archive.name()).join(&package.path)
    }

    /// The environment that leads `samovar` here.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        ARCHIVES.into_iter().map(|archive| (archive.variable(), self.url(archive)))
    }

    /// Lines of sources.list(5).
    pub fn apt_lines(&self, release: &str, components: &str) -> Vec<String> {
        suites(release)
            .into_iter()
            .map(|(archive, suite)| format!("deb {} {suite} {components}", self.url(archive)))
            .collect()
    }

    fn url(&self, archive: Archive) -> String {
        format!("http://{}/{}", self.address, archive.name())
    }
}

/// The suites of a release.
fn suites(release: &str) -> [(Archive, String); 3] {
    [
        (Archive::Debian, release.to_owned()),
        (Archive::Debian, format!("{release}-updates")),
        (Archive::DebianSecurity, format!("{release}-security")),
    ]
}

/// Puts a file in a second place.
fn link(from: &Path, to: &Path) -> Result<(), Failure> {
    let dir = to.parent().unwrap_or(to);
    fs::create_dir_all(dir)
        .and_then(|()| match fs::hard_link(from, to) {
            // Equal lists of two suites have one hash.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        })
        .map_err(|error| host_failure(&format!("can't make {}", to.display()), &error))
}

/// Starts nginx on a free port of the loopback interface.
fn serve(dir: &Path) -> Result<(SocketAddr, Process), Failure> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| host_failure("can't find a free port", &error))?;
    let state = dir.join("nginx");
    let config = state.join("nginx.conf");
    let at = |name: &str| state.join(name).display().to_string();
    let text = format!(
        "daemon off; master_process off; pid {pid}; error_log stderr crit;\n\
         events {{}}\n\
         http {{\n\
         access_log off; sendfile on; keepalive_requests 100000;\n\
         client_body_temp_path {t}; proxy_temp_path {t}; fastcgi_temp_path {t}; uwsgi_temp_path {t}; scgi_temp_path {t};\n\
         server {{ listen {address}; root {root}; }}\n\
         }}\n",
        pid = at("pid"),
        t = at("tmp"),
        root = dir.display(),
    );
    fs::create_dir_all(&state)
        .and_then(|()| fs::write(&config, text))
        .map_err(|error| host_failure(&format!("can't write {}", config.display()), &error))?;
    let mut command = Command::new("nginx");
    command.arg("-e").arg("stderr").arg("-p").arg(&state).arg("-c").arg(&config);
    let mut server = Process::start(command, "nginx")?;
    while TcpStream::connect(address).is_err() {
        if server.has_ended() || server.seconds() > START.as_secs_f64() {
            return Err(Failure::new(Status::Host, "nginx does not start"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok((address, server))
}
