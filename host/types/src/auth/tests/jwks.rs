//! Published key sets in files: which keys are used, which are ignored, and what a change of policy keeps.

use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::Jwk;

use super::super::jwks::read_file;
use super::*;

/// Most keys of a key set, as in `jwks.rs`.
const SET_KEYS: usize = 100;
/// Most bytes of a key set, as in `jwks.rs`.
const SET_BYTES: usize = 256 * 1024;

/// A key pair whose public key is published.
struct Published {
    jwk: Value,
    algorithm: jsonwebtoken::Algorithm,
    private: EncodingKey,
}

impl Published {
    fn new(kid: &str, algorithm: Algorithm, private: EncodingKey) -> Self {
        let algorithm = algorithm.to_library();
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&private, algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(kid);
        Self {
            jwk,
            algorithm,
            private,
        }
    }

    fn ed(kid: &str) -> Self {
        let private = EncodingKey::from_ed_pem(ed().private.as_bytes()).unwrap();
        Self::new(kid, Algorithm::EdDsa, private)
    }

    /// Sets a member of the published key.
    fn saying(mut self, name: &str, value: &str) -> Self {
        self.jwk[name] = json!(value);
        self
    }

    fn token(&self) -> String {
        let header = Header {
            kid: self.jwk["kid"].as_str().map(str::to_owned),
            ..Header::new(self.algorithm)
        };
        sign(&header, &claims(), &self.private)
    }
}

/// A file with a key set, and an authenticator that reads it.
struct Issuer {
    authenticator: Authenticator,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

fn reading(file: &Path) -> Policy {
    let mut policy = policy(vec![]);
    policy.jwks.push(JwksSource {
        location: JwksLocation::File(file.to_owned()),
        rules: JwksRules {
            refresh: Duration::from_secs(3600),
            unknown_key_refresh: Duration::from_millis(1),
            ..JwksRules::default()
        },
    });
    policy
}

impl Issuer {
    async fn of(jwks: &[Value]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, set(jwks)).unwrap();
        let issuer = Self {
            authenticator: accepting(&reading(&file)),
            file,
            _directory: directory,
        };
        issuer.is_read_again().await;
        issuer
    }

    /// Waits for a refresh that began after this was called.
    async fn is_read_again(&self) {
        let unknown = Published::ed("a key that is never published").token();
        // The first may report the end of a refresh that had begun before.
        for _ in 0..2 {
            let refused = self.authenticator.verify_fresh(&unknown, NOW).await.unwrap_err();
            assert_eq!(refused, AuthError::Unverified);
        }
    }

    async fn publish(&self, text: impl AsRef<[u8]>) {
        std::fs::write(&self.file, text).unwrap();
        self.is_read_again().await;
    }

    fn accepts(&self, key: &Published) -> bool {
        verdict(&self.authenticator, key)
    }
}

fn verdict(authenticator: &Authenticator, key: &Published) -> bool {
    match authenticator.verify(&key.token(), NOW) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error, AuthError::Unverified);
            false
        }
    }
}

fn set(jwks: &[Value]) -> String {
    json!({ "keys": jwks }).to_string()
}

#[tokio::test]
async fn usable_keys_of_a_set_are_used_and_others_ignored() {
    let rsa = EncodingKey::from_rsa_pem(rsa().private.as_bytes()).unwrap();
    let p256 = EncodingKey::from_ec_pem(ec(&ECDSA_P256_SHA256_FIXED_SIGNING).private.as_bytes()).unwrap();
    let good = [
        Published::new("rs", Algorithm::Rs256, rsa.clone()),
        Published::new("ps", Algorithm::Ps256, rsa.clone()),
        Published::new("es", Algorithm::Es256, p256.clone()),
        Published::ed("ed"),
    ];
    let bad = [
        Published::new("an RSA key for ES256", Algorithm::Rs256, rsa.clone()).saying("alg", "ES256"),
        Published::new("an RSA key for HS256", Algorithm::Rs256, rsa.clone()).saying("alg", "HS256"),
        Published::new("an RSA key for another RSA", Algorithm::Rs256, rsa.clone()).saying("alg", "PS256"),
        Published::new("an EC key for RS256", Algorithm::Es256, p256.clone()).saying("alg", "RS256"),
        Published::new("another curve", Algorithm::Es256, p256).saying("crv", "P-384"),
        Published::ed("an Ed25519 key for ES256").saying("alg", "ES256"),
        Published::ed("an algorithm of the future").saying("alg", "XS999"),
        Published::ed("a kind of the future").saying("kty", "XYZ"),
        Published::ed("for encryption").saying("use", "enc"),
        Published::ed("not base64").saying("x", "*"),
        Published::ed("too short").saying("x", "AAAA"),
        Published::new("a secret", Algorithm::Hs256, EncodingKey::from_secret(SECRET)),
    ];
    // The unusable ones come first: they must not affect the others.
    let jwks: Vec<Value> = bad.iter().chain(&good).map(|key| key.jwk.clone()).collect();
    let issuer = Issuer::of(&jwks).await;
    for key in &good {
        assert!(issuer.accepts(key), "{}", key.jwk["kid"]);
    }
    for key in &bad {
        assert!(!issuer.accepts(key), "{}", key.jwk["kid"]);
    }
    // Its only key is unusable: the set counts as unreadable, and the last one stays.
    issuer.publish(set(&[bad[0].jwk.clone()])).await;
    assert!(issuer.accepts(&good[0]));
}

#[tokio::test]
async fn the_number_of_keys_of_a_set_is_limited() {
    let keys: Vec<Published> = (0..=SET_KEYS).map(|n| Published::ed(&format!("key {n}"))).collect();
    // Unusable keys do not count towards the limit.
    let secret = Published::new("a secret", Algorithm::Hs256, EncodingKey::from_secret(SECRET));
    let jwks: Vec<Value> = std::iter::once(&secret)
        .chain(&keys)
        .map(|key| key.jwk.clone())
        .collect();
    let issuer = Issuer::of(&jwks).await;
    assert!(issuer.accepts(&keys[SET_KEYS - 1]));
    assert!(!issuer.accepts(&keys[SET_KEYS]));
}

#[tokio::test]
async fn several_keys_may_have_one_kid_and_a_kid_may_be_reassigned() {
    let [one, two, other] = ["same", "same", "other"].map(Published::ed);
    let issuer = Issuer::of(&[one.jwk.clone(), two.jwk.clone(), other.jwk.clone()]).await;
    assert!(issuer.accepts(&one) && issuer.accepts(&two), "two keys with one kid");
    let mislabelled = Published {
        jwk: Published::ed("same").jwk,
        ..other
    };
    assert!(!issuer.accepts(&mislabelled), "the key of another kid");
    // A new key gets the kid, so the old one verifies nothing any more.
    let fresh = Published::ed("same");
    issuer.publish(set(std::slice::from_ref(&fresh.jwk))).await;
    assert!(issuer.accepts(&fresh));
    assert!(!issuer.accepts(&one) && !issuer.accepts(&two));
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_without_reading_it_all() {
    let [good, late] = ["good", "late"].map(Published::ed);
    let issuer = Issuer::of(std::slice::from_ref(&good.jwk)).await;
    let text = set(std::slice::from_ref(&late.jwk));
    let padded = |bytes: usize| text.clone() + &" ".repeat(bytes - text.len());
    issuer.publish(padded(SET_BYTES + 1)).await;
    assert!(issuer.accepts(&good) && !issuer.accepts(&late), "one byte more");
    issuer.publish(padded(SET_BYTES)).await;
    assert!(!issuer.accepts(&good) && issuer.accepts(&late), "the edge");
    // A sparse file, larger than any memory.
    std::fs::File::create(&issuer.file).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(read_file(&issuer.file).unwrap().len(), SET_BYTES + 1);
}

#[tokio::test]
async fn a_missing_or_special_file_changes_nothing() {
    let good = Published::ed("good");
    let issuer = Issuer::of(std::slice::from_ref(&good.jwk)).await;
    std::fs::remove_file(&issuer.file).unwrap();
    issuer.is_read_again().await;
    assert!(issuer.accepts(&good), "absent");
    std::fs::create_dir(&issuer.file).unwrap();
    issuer.is_read_again().await;
    assert!(issuer.accepts(&good), "a directory");
    #[cfg(unix)]
    assert!(read_file(Path::new("/dev/null")).is_err(), "a device");
}

#[tokio::test]
async fn another_policy_keeps_the_keys_of_the_same_source() {
    let good = Published::ed("good");
    let issuer = Issuer::of(std::slice::from_ref(&good.jwk)).await;
    std::fs::remove_file(&issuer.file).unwrap();
    let same = reading(&issuer.file);
    let mut slower = same.clone();
    slower.jwks[0].rules.refresh *= 2;
    let mut elsewhere = same.clone();
    elsewhere.jwks[0].location = JwksLocation::File(issuer.file.with_extension("other"));
    let mut without = same.clone();
    without.jwks.clear();
    for (policy, kept) in [(&same, true), (&slower, true), (&elsewhere, false), (&without, false)] {
        let renewed = issuer.authenticator.with_policy(policy);
        assert_eq!(verdict(&renewed, &good), kept, "{:?}", policy.jwks);
        // The reused source is still refreshed.
        std::fs::write(&issuer.file, set(std::slice::from_ref(&good.jwk))).unwrap();
        assert_eq!(renewed.verify_fresh(&good.token(), NOW).await.is_ok(), kept);
        std::fs::remove_file(&issuer.file).unwrap();
    }
    // The old authenticator is dropped with the old policy; the keys that the new one took over are still refreshed.
    let Issuer {
        authenticator,
        file,
        _directory,
    } = issuer;
    let renewed = authenticator.with_policy(&same);
    drop(authenticator);
    let fresh = Published::ed("fresh");
    std::fs::write(&file, set(std::slice::from_ref(&fresh.jwk))).unwrap();
    let issuer = Issuer {
        authenticator: renewed,
        file,
        _directory,
    };
    issuer.is_read_again().await;
    assert!(issuer.accepts(&fresh));
}

#[test]
fn another_policy_keeps_revocations() {
    let mut policy = policy(vec![secret_key()]);
    let authenticator = accepting(&policy);
    let token = token(&with("jti", json!("lost")));
    authenticator.set_revocations(&[Revocation::Token {
        id: "lost".to_owned(),
        expires_at: u64::MAX,
    }]);
    policy.rules.expiring_notice *= 2;
    let renewed = authenticator.with_policy(&policy);
    assert_eq!(renewed.expiring_notice(), policy.rules.expiring_notice);
    assert_eq!(renewed.verify(&token, NOW).unwrap_err(), AuthError::Revoked);
    renewed.set_revocations(&[]);
    assert!(renewed.verify(&token, NOW).is_ok());
    assert_eq!(authenticator.verify(&token, NOW).unwrap_err(), AuthError::Revoked);
}
