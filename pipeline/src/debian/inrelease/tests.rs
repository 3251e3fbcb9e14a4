use pgp::composed::{KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder};
use pgp::crypto::hash::HashAlgorithm;
use pgp::types::{Password, Timestamp};
use rand_core::OsRng;

use super::*;

const NOW: u64 = 1_795_000_000;

fn key(name: &str) -> SignedSecretKey {
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_sign(true)
        .created_at(Timestamp::from_secs(NOW as u32 - 1000))
        .build()
        .unwrap();
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .created_at(Timestamp::from_secs(NOW as u32 - 1000))
        .primary_user_id(name.into())
        .subkeys(vec![subkey])
        .build()
        .unwrap()
        .generate(OsRng)
        .unwrap()
}

fn keyring(keys: &[&SignedSecretKey]) -> Keyring {
    let keys = keys.iter().map(|key| key.to_public_key()).collect();
    Keyring { origin: "keys".into(), keys }
}

/// `now` for signatures: they carry the time of signing.
fn now() -> u64 {
    u64::from(Timestamp::now().as_secs())
}

const TEXT: &str = "Origin: test\n- dashed\nSHA256:\n 00 1 x\n";

fn signed(key: &SignedSecretKey) -> String {
    let message = CleartextSignedMessage::sign(OsRng, TEXT, &key.primary_key, &Password::empty()).unwrap();
    message.to_armored_string(None.into()).unwrap()
}

fn verdict(keys: &Keyring, message: &str) -> Result<String, String> {
    keys.verified_text("InRelease", message.as_bytes(), now()).map_err(|error| {
        assert_eq!(error.exit_code(), 4);
        error.to_string()
    })
}

/// The fingerprints that Debian's FTP masters publish for the archive's keys.
#[test]
fn the_shipped_keys_are_debians_and_valid() {
    let shipped = Keyring::shipped().unwrap();
    let found: Vec<String> =
        shipped.keys.iter().map(|key| key.fingerprint().to_string().to_uppercase()).collect();
    let expected = [
        "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",
        "05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0",
        "4D64FEC119C2029067D6E791F8D2585B8783D481",
        "04B54C3CDCA79751B16BC6B5225629DF75B188BD",
        "5E04A1E3223A19A20706E20F9904613D4CCE68C6",
        "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
    ];
    assert_eq!(found, expected);
    for key in &shipped.keys {
        assert_eq!(check_primary(key, NOW), Ok(()));
        for subkey in &key.public_subkeys {
            assert_eq!(check_subkey(key, subkey, NOW), Ok(()));
        }
    }
}

#[test]
fn a_known_keys_signature_is_believed() {
    let (a, b) = (key("a"), key("b"));
    let text = verdict(&keyring(&[&b, &a]), &signed(&a)).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), TEXT.lines().collect::<Vec<_>>());
}

#[test]
fn a_subkeys_signature_is_believed() {
    let a = key("a");
    let subkey = &a.secret_subkeys[0].key;
    let message = CleartextSignedMessage::sign(OsRng, TEXT, subkey, &Password::empty()).unwrap();
    let message = message.to_armored_string(None.into()).unwrap();
    verdict(&keyring(&[&a]), &message).unwrap();
    // Bound to another key, it is nobody's.
    let mut keys = keyring(&[&a, &key("b")]);
    keys.keys[1].public_subkeys = keys.keys[0].public_subkeys.split_off(0);
    assert!(verdict(&keys, &message).unwrap_err().contains("is not bound"));
}

#[test]
fn a_strangers_signature_is_not() {
    let error = verdict(&keyring(&[&key("a")]), &signed(&key("b"))).unwrap_err();
    assert!(error.contains("is by none of them"), "{error}");
}

#[test]
fn changed_text_is_refused() {
    let a = key("a");
    let good = signed(&a);
    for (from, to) in
        [("Origin: test", "Origin: tesT"), ("00 1 x", "01 1 x"), ("- - dashed", "- - dashed\nmore")]
    {
        assert!(good.contains(from));
        verdict(&keyring(&[&a]), &good.replacen(from, to, 1)).expect_err(to);
    }
    // Around the signed part, too.
    verdict(&keyring(&[&a]), &format!("Evil: yes\n{good}")).expect_err("before");
    match verdict(&keyring(&[&a]), &format!("{good}Evil: yes\n")) {
        Ok(text) => assert!(!text.contains("Evil")),
        Err(error) => assert!(error.contains("signed message"), "{error}"),
    }
}

#[test]
fn unsigned_text_is_refused() {
    for text in ["", TEXT, "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n"] {
        verdict(&keyring(&[&key("a")]), text).expect_err(text);
    }
}

#[test]
fn an_expired_key_is_refused() {
    use pgp::packet::{SignatureConfig, Subpacket, SubpacketData};
    let a = key("a");
    let mut config = SignatureConfig::from_key(OsRng, &a.primary_key, SignatureType::Text).unwrap();
    // The key was made 1000 s before NOW.
    let lasts = SubpacketData::KeyExpirationTime(pgp::types::Duration::from_secs(1000));
    config.hashed_subpackets.push(Subpacket::regular(lasts).unwrap());
    let statement = config.sign(&a.primary_key, &Password::empty(), &b""[..]).unwrap();
    assert_eq!(check_expiry(&a.primary_key, &statement, NOW), Ok(()));
    assert!(check_expiry(&a.primary_key, &statement, NOW + 1).is_err());
}

#[test]
fn a_key_without_its_own_signature_is_refused() {
    let mut public = key("a").to_public_key();
    assert!(check_primary(&public, NOW).is_ok());
    public.details.users.clear();
    assert!(check_primary(&public, NOW).unwrap_err().contains("no valid signature"));
}

#[test]
fn a_signature_from_the_future_is_refused() {
    let a = key("a");
    let error = keyring(&[&a]).verified_text("x", signed(&a).as_bytes(), NOW - (1 << 30)).unwrap_err();
    assert!(error.to_string().contains("in the future"), "{error}");
}

#[test]
fn weak_hashes_are_refused() {
    let a = key("a");
    let message = CleartextSignedMessage::new_many(TEXT, |text| {
        let mut config = pgp::packet::SignatureConfig::from_key(OsRng, &a.primary_key, SignatureType::Text)?;
        config.hash_alg = HashAlgorithm::Sha1;
        Ok(vec![config.sign(&a.primary_key, &Password::empty(), text.as_bytes())?])
    });
    // Where even making such a signature is refused, there is nothing left to check.
    if let Ok(message) = message {
        verdict(&keyring(&[&a]), &message.to_armored_string(None.into()).unwrap()).expect_err("SHA-1");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>) {
        let keys = Keyring { origin: "keys".into(), keys: Vec::new() };
        proptest::prop_assert!(keys.verified_text("x", &bytes, NOW).is_err());
    }
}
