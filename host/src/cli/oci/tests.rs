use std::time::{Duration, UNIX_EPOCH};

use super::address::Address;
use super::artefact::{Artefact, Config, Names, names, parts, sha256};
use super::{COMPONENT_BYTES, Source, credentials};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[test]
fn an_address_has_a_registry_a_name_and_a_tag_or_a_digest() {
    let tagged = address("oci://registry.example.org/acme/chat/moderation:1.2");
    assert_eq!(
        (
            tagged.registry(),
            tagged.repository(),
            tagged.version(),
            tagged.short_name()
        ),
        ("registry.example.org", "acme/chat/moderation", "1.2", "moderation")
    );
    assert_eq!(address("oci://localhost:5000/x").version(), "latest");
    let pinned = tagged.pinned(DIGEST);
    assert_eq!(
        pinned.to_string(),
        format!("oci://registry.example.org/acme/chat/moderation@{DIGEST}")
    );
    assert_eq!(address(&pinned.to_string()), pinned);
    let both = address(&format!("oci://registry.example.org/x:1@{DIGEST}"));
    assert_eq!(
        (both.version(), both.digest()),
        (DIGEST, Some(DIGEST)),
        "the digest counts"
    );
}

#[test]
fn only_registries_of_this_machine_need_no_tls() {
    for (text, loopback) in [
        ("oci://localhost/x:1", true),
        ("oci://localhost:5000/x:1", true),
        ("oci://127.0.0.1:5000/x:1", true),
        ("oci://127.9.9.9/x:1", true),
        ("oci://localhost.example.org/x:1", false),
        ("oci://127.0.0.1.example.org/x:1", false),
        ("oci://10.0.0.1:5000/x:1", false),
    ] {
        assert_eq!(address(text).is_loopback(), loopback, "{text}");
    }
}

#[test]
fn an_argument_is_an_address_only_with_the_scheme() {
    assert!(matches!(
        Source::parse("oci://registry.example.org/x:1".into()),
        Ok(Source::Registry(_))
    ));
    assert!(matches!(
        Source::parse("registry.example.org/x:1".into()),
        Ok(Source::File(_))
    ));
    assert!(
        Source::parse("oci://x:1".into())
            .unwrap_err()
            .contains("names no registry")
    );
}

#[test]
fn the_same_component_is_the_same_artefact() {
    let made = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let artefact = |made| Artefact::new(b"component".to_vec(), Names::default(), made).unwrap();
    let (one, other) = (artefact(made), artefact(made));
    assert_eq!(one.manifest.digest, other.manifest.digest);
    assert_eq!(one.component.digest, sha256(b"component"));
    let config: Config = serde_json::from_slice(&one.config.bytes).unwrap();
    assert_eq!(config.created, "2026-01-01T00:00:00Z");
    let read = parts(&address("oci://registry.example.org/x:1"), &one.manifest.bytes).unwrap();
    assert_eq!(read.component.digest().to_string(), one.component.digest);
    assert_eq!(read.config.digest().to_string(), one.config.digest);
    // A file of before 1970, or of a year that cannot be written, is an artefact all the same.
    for odd in [
        UNIX_EPOCH - Duration::from_secs(1),
        UNIX_EPOCH + Duration::from_secs(1 << 40),
    ] {
        artefact(odd);
    }
}

#[test]
fn a_manifest_cannot_announce_more_than_the_limit_or_another_digest() {
    let manifest = |size: usize, digest: &str| {
        let config = format!(r#"{{"mediaType":"application/vnd.wasm.config.v0+json","size":2,"digest":"{DIGEST}"}}"#);
        let layer = format!(r#"{{"mediaType":"application/wasm","size":{size},"digest":"{digest}"}}"#);
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#)
    };
    let read = |text: String| parts(&address("oci://registry.example.org/x:1"), text.as_bytes()).map(|_| ());
    read(manifest(COMPONENT_BYTES, DIGEST)).unwrap();
    let large = read(manifest(COMPONENT_BYTES + 1, DIGEST)).unwrap_err().to_string();
    assert!(large.contains("at most 536870912 are allowed"), "{large}");
    let sha512 = read(manifest(1, &format!("sha512:{}", "0".repeat(128))))
        .unwrap_err()
        .to_string();
    assert!(sha512.contains("only sha256"), "{sha512}");
    assert!(read(manifest(1, "sha256:../../etc")).is_err());
}

#[test]
fn the_names_are_those_of_the_component_and_not_of_what_is_in_it() {
    let text = r#"(component
        (import "outer" (func))
        (component (import "inner" (func)) (export "inner-too" (func 0)))
        (core module (import "core" "f" (func)) (export "g" (func 0)))
        (export "out" (func 0)))"#;
    let names = names(&wat::parse_str(text).unwrap()).unwrap();
    assert_eq!(
        (names.imports, names.exports, names.only_types),
        (vec!["outer".to_owned()], vec!["out".to_owned()], false)
    );
    let types = r#"(component (type (component)) (export "x" (type 0)))"#;
    assert!(
        super::artefact::names(&wat::parse_str(types).unwrap())
            .unwrap()
            .only_types
    );
}

#[test]
fn dockers_directory_is_that_of_the_environment_or_in_the_home_directory() {
    let of = |variables: &[(&str, &str)]| {
        credentials::directory(|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    };
    assert_eq!(
        of(&[("HOME", "home-of-ann")]).unwrap().to_str(),
        Some("home-of-ann/.docker")
    );
    assert_eq!(
        of(&[("HOME", "home-of-ann"), ("DOCKER_CONFIG", "elsewhere")])
            .unwrap()
            .to_str(),
        Some("elsewhere")
    );
    assert_eq!(of(&[]), None);
}
