//! Configured keys, the development key, and minting.

use super::*;

#[test]
fn a_minted_token_satisfies_its_policy() {
    let mut policy = policy(vec![secret_key().with_id("dev")]);
    policy.rules.audience = vec!["chat".to_owned()];
    policy.rules.issuer = vec!["here".to_owned()];
    let minter = Minter::new(&policy.keys[0], &policy).unwrap();
    let token = minter
        .mint("alice", Some("Alice"), Duration::from_secs(60), NOW + 999)
        .unwrap();
    let identity = accepting(&policy).verify(&token, NOW).unwrap();
    assert_eq!((identity.user().as_str(), &**identity.name()), ("alice", "Alice"));
    assert_eq!(identity.expires_at_ms(), (NOW_S + 60) * 1000);
    assert_eq!(identity.issued_at_ms(), Some(NOW));
    assert_eq!(jsonwebtoken::decode_header(&token).unwrap().kid.as_deref(), Some("dev"));

    let public = Key::from_public_pem(Algorithm::EdDsa, &ed().public).unwrap();
    assert!(matches!(
        Minter::new(&public, &policy),
        Err(MintError::NotASecret(Algorithm::EdDsa))
    ));
}

#[test]
fn a_key_must_fit_its_algorithm() {
    let (rsa, ed, p384) = (rsa(), ed(), ec(&ECDSA_P384_SHA384_FIXED_SIGNING));
    let pem = |algorithm, text: &str| Key::from_public_pem(algorithm, text).unwrap_err();
    assert_eq!(pem(Algorithm::Rs256, &rsa.private), KeyError::Private);
    assert_eq!(
        pem(Algorithm::Es256, &rsa.public),
        KeyError::NotThisKind(Algorithm::Es256)
    );
    assert_eq!(
        pem(Algorithm::Rs256, &ed.public),
        KeyError::NotThisKind(Algorithm::Rs256)
    );
    assert_eq!(
        pem(Algorithm::EdDsa, &rsa.public),
        KeyError::NotThisKind(Algorithm::EdDsa)
    );
    assert_eq!(
        pem(Algorithm::Es256, &p384.public),
        KeyError::NotThisKind(Algorithm::Es256)
    );
    assert_eq!(pem(Algorithm::Rs256, "no key"), KeyError::NotThisKind(Algorithm::Rs256));
    let certificate = rsa.public.replace("PUBLIC KEY", "CERTIFICATE");
    assert_eq!(
        pem(Algorithm::Rs256, &certificate),
        KeyError::NotThisKind(Algorithm::Rs256)
    );
    assert_eq!(
        pem(Algorithm::Hs256, &rsa.public),
        KeyError::NeedsSecret(Algorithm::Hs256)
    );
    assert_eq!(pem(Algorithm::Rs256, RSA_1024), KeyError::WeakRsa(1024));
    let secret = |algorithm, bytes: &[u8]| Key::from_secret(algorithm, bytes).unwrap_err();
    assert_eq!(
        secret(Algorithm::Rs256, SECRET),
        KeyError::NeedsPublicKey(Algorithm::Rs256)
    );
    assert_eq!(secret(Algorithm::Hs256, b""), KeyError::EmptySecret);
}

#[test]
fn the_development_key_is_created_once_and_reused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(dev_key::load(directory.path()).unwrap().is_none());
    let made = dev_key::load_or_create(directory.path()).unwrap();
    assert!(made.created);
    let found = dev_key::load_or_create(directory.path()).unwrap();
    assert!(!found.created);
    assert_eq!(made.path, found.path);

    let token = Minter::new(&made.key, &policy(vec![]))
        .unwrap()
        .mint("a", None, Duration::from_secs(9), NOW)
        .unwrap();
    assert!(accepting(&policy(vec![found.key])).verify(&token, NOW).is_ok());
    let elsewhere = dev_key::load_or_create(tempfile::tempdir().unwrap().path()).unwrap();
    assert_eq!(
        accepting(&policy(vec![elsewhere.key])).verify(&token, NOW).unwrap_err(),
        AuthError::Unverified
    );

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&made.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    }
}

#[test]
fn an_unusable_development_key_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let made = dev_key::load_or_create(directory.path()).unwrap();
    std::fs::write(&made.path, "short\n").unwrap();
    let error = dev_key::load(directory.path()).unwrap_err().to_string();
    assert!(error.contains("5 bytes") && error.contains("delete it"), "{error}");

    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = dev_key::load_or_create(&file).unwrap_err().to_string();
    assert!(error.contains("development secret") && error.contains(';'), "{error}");
}

/// A public key that is too short. Its private key does not exist.
const RSA_1024: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCk/MM7M3GnevbUBzon3jYu02Mx
wjRlFiTWtvRk9aCc17+rmldiM7JWi1SaZwGEsMQs+2ivj81tiBy7cpMVdls0HBXV
2ah3cQJFYF6cKwLvpezbJgzIIwZriXix8oaL+DdvW6DHzEJKPqZmsfk09dzmLiBA
PG/Of16Grg4gS7TcvQIDAQAB
-----END PUBLIC KEY-----";
