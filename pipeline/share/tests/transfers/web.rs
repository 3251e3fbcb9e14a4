//! Web servers that are honest, slow, broken and hostile.

use share::{Error, Remote};

use crate::place::{Place, base, contents};
use crate::samples::{next_base, pull, push};
use crate::server::{Manner, Server};

#[test]
fn it_is_fetched_in_parts_and_nothing_twice() {
    let (here, there) = (Place::new(), Place::new());
    let remote = here.path("remote").display().to_string();
    let (first, second) = (base(&here), next_base(&here));
    push(&first, &remote).unwrap();
    let server = Server::serve(&here.path("remote"));
    let pulled = pull("it", &server.url(), &there.store).unwrap();
    assert_eq!(contents(&pulled.artifact), contents(&first));
    assert_eq!(server.requests(), 3, "the name, the index, one pack");
    let whole = server.bytes();
    push(&second, &remote).unwrap();
    let pulled = pull("it", &format!("{}/", server.url()), &there.store).unwrap();
    assert_eq!(contents(&pulled.artifact), contents(&second));
    assert!(server.bytes() - whole < whole / 2, "{} after {whole}", server.bytes() - whole);
    drop(pulled);
    there.check();
    let error = push(&first, &server.url()).unwrap_err();
    assert!(matches!(error, Error::BadRemote { .. }) && error.hint().contains("directory"), "{error}");
}

#[test]
fn what_passes_is_borne() {
    let here = Place::new();
    let artifact = base(&here);
    push(&artifact, here.path("remote").to_str().unwrap()).unwrap();
    let server = Server::serve(&here.path("remote"));
    for manner in [Manner::NoRanges, Manner::HalfOnce, Manner::Busy] {
        for part in ["packs/", "indexes/", ""] {
            server.set(part, manner);
            let there = Place::new();
            let pulled = pull("it", &server.url(), &there.store).unwrap();
            assert_eq!(contents(&pulled.artifact), contents(&artifact), "{manner:?}");
            drop(pulled);
            assert_eq!(there.check(), 3);
        }
    }
}

#[test]
fn a_server_without_ranges_sends_each_pack_once() {
    let (here, there) = (Place::new(), Place::new());
    let remote = here.path("remote").display().to_string();
    let (first, second) = (base(&here), next_base(&here));
    push(&first, &remote).unwrap();
    push(&second, &remote).unwrap();
    let server = Server::serve(&here.path("remote"));
    server.set("", Manner::NoRanges);
    pull(&second.hash().to_string(), &server.url(), &there.store).unwrap();
    assert_eq!(server.requests(), 3, "the index and two packs");
}

#[test]
fn what_does_not_pass_is_said() {
    let here = Place::new();
    let artifact = base(&here);
    push(&artifact, here.path("remote").to_str().unwrap()).unwrap();
    let server = Server::serve(&here.path("remote"));
    for (manner, damage, why) in [
        (Manner::Half, false, "tried 4 times"),
        (Manner::WrongRange, false, "it answered from byte"),
        (Manner::Status(404), false, "not there"),
        (Manner::Status(403), false, "refused (HTTP 403)"),
        (Manner::Status(500), false, "HTTP 500 (tried 4 times)"),
        (Manner::Redirects, false, "redirected without end"),
        (Manner::Lies, true, "is not what was pushed"),
        (Manner::Endless, true, "is not what was pushed"),
    ] {
        let there = Place::new();
        server.set("packs/", manner);
        let error = pull("it", &server.url(), &there.store).unwrap_err();
        assert!(error.to_string().contains(why), "{manner:?}: {error}");
        assert!(error.to_string().contains("/packs/"), "it names what was asked for: {error}");
        assert_eq!(error.is_damage(), damage, "{manner:?}");
        assert!(there.store.list().unwrap().is_empty());
        // What may go better the next time is kept for it.
        if damage {
            assert_eq!(there.check(), 0);
        }
        server.set("", Manner::Honest);
        let pulled = pull("it", &server.url(), &there.store).unwrap();
        assert_eq!(contents(&pulled.artifact), contents(&artifact));
        drop(pulled);
        assert_eq!(there.check(), 3);
    }
    for (part, manner) in [
        ("indexes/", Manner::Lies),
        ("names/", Manner::Lies),
        ("indexes/", Manner::Endless),
        ("names/", Manner::Endless),
    ] {
        server.set(part, manner);
        let remote = Remote::parse(&server.url()).unwrap();
        let error = remote.index("it").unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(part), "{part} {manner:?}: {error}");
    }
}

#[test]
fn half_of_it_is_not_fetched_again() {
    let (here, there) = (Place::new(), Place::new());
    let artifact = base(&here);
    push(&artifact, here.path("remote").to_str().unwrap()).unwrap();
    let server = Server::serve(&here.path("remote"));
    server.set("packs/", Manner::Half);
    pull("it", &server.url(), &there.store).unwrap_err();
    server.set("", Manner::Honest);
    let pulled = pull("it", &server.url(), &there.store).unwrap();
    assert!(pulled.fetched < pulled.whole / 2, "{} of {}", pulled.fetched, pulled.whole);
}
