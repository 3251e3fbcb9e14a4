//! The list of the software in an artifact, for programs that look for licences and holes: SPDX 2.3 as JSON.
//!
//! What is known is what the lock says: names, versions and hashes of Debian's packages. Licences are not looked into.

use serde_json::{Value, json};
use store::Hash;

use crate::lock::LockedPackage;

/// The file in an artifact.
pub const FILE: &str = "software.spdx.json";

/// When every list was made. SPDX 2.3, 6.9 asks for a time; a real one would make each artifact another.
const CREATED: &str = "2025-08-09T00:00:00Z";

/// The list of what is in `artifact`, such as "rootfs".
pub fn spdx(artifact: &str, packages: &[&LockedPackage]) -> Vec<u8> {
    let described: Vec<Value> = packages.iter().map(|package| describe(package)).collect();
    let contains = described.iter().map(|package| {
        json!({
            "spdxElementId": "SPDXRef-Artifact",
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": package["SPDXID"],
        })
    });
    let describes = json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": "SPDXRef-Artifact",
    });
    let whole = json!({
        "SPDXID": "SPDXRef-Artifact",
        "name": artifact,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    });
    let relationships: Vec<Value> = [describes].into_iter().chain(contains).collect();
    let packages: Vec<Value> = [whole].into_iter().chain(described).collect();
    // 6.5: a name of the document that no other document has. What it lists makes it so.
    let content = Hash::of(json!(packages).to_string().as_bytes());
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": artifact,
        "documentNamespace": format!("urn:samovar:software:{content}"),
        "creationInfo": {
            "created": CREATED,
            "creators": [format!("Tool: samovar-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relationships,
    });
    // In order of the keys, whatever features `serde_json` was built with.
    document.sort_all_objects();
    format!("{document:#}\n").into_bytes()
}

fn describe(package: &LockedPackage) -> Value {
    let LockedPackage { name, version, architecture, sha256, .. } = package;
    json!({
        "SPDXID": format!("SPDXRef-Package-{}", identifier(name)),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "checksums": [{ "algorithm": "SHA256", "checksumValue": sha256 }],
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": format!(
                "pkg:deb/debian/{}@{}?arch={architecture}",
                percent(name),
                percent(version)
            ),
        }],
    })
}

/// 3.2: letters, digits, '.' and '-'. Of what Debian's names have, only '+' is none of these.
fn identifier(name: &str) -> String {
    name.replace('+', ".plus")
}

/// As a part of a package URL: all but the unreserved characters of RFC 3986 is encoded.
fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::sources::Archive;

    #[test]
    fn each_package_is_listed_once_and_tied_to_the_artifact() {
        let package = |name: &str, version: &str| LockedPackage {
            name: name.into(),
            version: version.into(),
            architecture: "arm64".into(),
            archive: Archive::Debian,
            suite: "trixie".into(),
            path: format!("pool/{name}.deb"),
            size: 1,
            sha256: Hash::of(name.as_bytes()),
            steps: Vec::new(),
        };
        let (one, other) =
            (package("libstdc++6", "14.2.0-19"), package("zlib1g", "1:1.3.dfsg+really1.3.1-1"));
        let document: Value = serde_json::from_slice(&spdx("rootfs", &[&one, &other])).unwrap();
        let packages = document["packages"].as_array().unwrap();
        let locators: Vec<&Value> =
            packages[1..].iter().map(|package| &package["externalRefs"][0]["referenceLocator"]).collect();
        assert_eq!(
            locators,
            [
                "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=arm64",
                "pkg:deb/debian/zlib1g@1%3A1.3.dfsg%2Breally1.3.1-1?arch=arm64"
            ]
        );
        assert_eq!(packages[1]["SPDXID"], "SPDXRef-Package-libstdc.plus.plus6");
        let related = document["relationships"].as_array().unwrap();
        let tied: Vec<&Value> = related.iter().map(|relation| &relation["relatedSpdxElement"]).collect();
        assert_eq!(
            tied,
            ["SPDXRef-Artifact", "SPDXRef-Package-libstdc.plus.plus6", "SPDXRef-Package-zlib1g"]
        );
    }
}
