//! Signed bundles.

use std::fs;

use bundle::{Bundle, Error, KeyPair, Pack, SigningKey, TrustedKey};

use crate::place::*;
use crate::samples::*;

fn keys(place: &Place, name: &str) -> (SigningKey, TrustedKey) {
    let pair = KeyPair::generate().unwrap();
    let secret = place.store.dir().join(name);
    pair.write(&secret, &secret.with_extension("pub")).unwrap();
    (SigningKey::read(&secret).unwrap(), TrustedKey::find(&pair.public()).unwrap())
}

#[test]
fn a_bundle_is_trusted_if_a_trusted_key_signed_its_very_root() {
    let place = Place::new();
    let base = base(&place);
    let [(key, mine), (_, other)] = ["mine", "other"].map(|name| keys(&place, name));
    let path = place.path("it.samovar");
    let signed =
        || Pack { artifact: &base, provenance: "", key: Some(&key), threads: 0 }.write(&path, &mut |_, _| {});
    let summary = signed().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    signed().unwrap();
    assert!(fs::read(&path).unwrap() == bytes, "signing is as deterministic as the rest");
    let bundle = Bundle::open(&path).unwrap();
    assert_eq!(bundle.signer(), Some(mine.number()));
    bundle.trusted_by(&[other.clone(), mine.clone()]).unwrap();
    assert!(
        matches!(bundle.trusted_by(std::slice::from_ref(&other)), Err(Error::Untrusted { signer, .. }) if signer == mine.number())
    );
    assert!(matches!(bundle.trusted_by(&[]), Err(Error::Untrusted { .. })));

    // The signature of another bundle, put behind this one.
    let unsigned = pack(&base, &path, 0);
    assert!(unsigned.root != summary.root);
    assert!(matches!(
        Bundle::open(&path).unwrap().trusted_by(std::slice::from_ref(&mine)),
        Err(Error::Unsigned { .. })
    ));
    let mut forged = fs::read(&path).unwrap();
    let signature = &bytes[bytes.len() - (bytes.len() - bytes_without_signature(&bytes))..];
    forged[16..20].copy_from_slice(&(signature.len() as u32).to_le_bytes());
    forged.extend(signature);
    fs::write(&path, forged).unwrap();
    assert!(matches!(Bundle::open(&path).unwrap().trusted_by(&[mine]), Err(Error::WrongSignature { .. })));
}

fn bytes_without_signature(bytes: &[u8]) -> usize {
    bytes.len() - u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize
}

/// minisign's own program takes our keys and signatures, and we take its, where it is installed.
#[test]
fn minisign_agrees() {
    use std::process::Command;
    if Command::new("minisign").arg("-v").output().is_err() {
        eprintln!("skipped: minisign is not installed");
        return;
    }
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let place = Place::new();
    let base = base(&place);
    let path = place.path("it.samovar");
    let dir = place.store.dir().join("minisign");
    fs::create_dir(&dir).unwrap();
    run(Command::new("minisign").current_dir(&dir).args([
        "-G",
        "-W",
        "-p",
        "theirs.pub",
        "-s",
        "theirs.key",
    ]));
    let theirs = SigningKey::read(&dir.join("theirs.key")).unwrap();
    let summary =
        Pack { artifact: &base, provenance: "", key: Some(&theirs), threads: 0 }.write(&path, &mut |_, _| {});
    let root = summary.unwrap().root;
    let trusted = TrustedKey::find(dir.join("theirs.pub").to_str().unwrap()).unwrap();
    Bundle::open(&path).unwrap().trusted_by(&[trusted]).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(dir.join("signed"), format!("samovar bundle 1 {root}\n")).unwrap();
    fs::write(dir.join("signed.minisig"), &bytes[bytes_without_signature(&bytes)..]).unwrap();
    run(Command::new("minisign").current_dir(&dir).args(["-V", "-p", "theirs.pub", "-m", "signed"]));

    let ours = KeyPair::generate().unwrap();
    ours.write(&dir.join("ours.key"), &dir.join("ours.pub")).unwrap();
    run(Command::new("minisign")
        .current_dir(&dir)
        .args(["-S", "-s", "ours.key", "-m", "signed", "-x", "by-ours"]));
    run(Command::new("minisign")
        .current_dir(&dir)
        .args(["-V", "-p", "ours.pub", "-m", "signed", "-x", "by-ours"]));
}
