//! Which tokens are accepted, and which are refused.

mod claims;
mod jwks;
mod keys;

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING};
use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const NOW_S: u64 = 1_800_000_000;
const NOW: u64 = NOW_S * 1000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const LEEWAY_MS: u64 = 5_000;

/// A public key and its private key.
struct Pair {
    public: String,
    private: String,
}

fn pem_text(label: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(label, der))
}

fn rsa() -> Pair {
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        public: pem_text("PUBLIC KEY", public.as_ref()),
        private: pem_text("PRIVATE KEY", private.as_ref()),
    }
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Pair {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let private = pair.to_pkcs8v1().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        public: pem_text("PUBLIC KEY", public.as_ref()),
        private: pem_text("PRIVATE KEY", private.as_ref()),
    }
}

fn ed() -> Pair {
    let pair = Ed25519KeyPair::generate().unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        public: pem_text("PUBLIC KEY", public.as_ref()),
        private: pem_text("PRIVATE KEY", private.as_ref()),
    }
}

fn secret_key() -> Key {
    Key::from_secret(Algorithm::Hs256, SECRET).unwrap()
}

fn policy(keys: Vec<Key>) -> Policy {
    Policy {
        keys,
        jwks: Vec::new(),
        rules: TokenRules {
            leeway: Duration::from_millis(LEEWAY_MS),
            ..TokenRules::default()
        },
    }
}

fn accepting(policy: &Policy) -> Authenticator {
    Authenticator::new("acme", policy).unwrap()
}

/// An authenticator whose only key is [`SECRET`].
fn authenticator() -> Authenticator {
    accepting(&policy(vec![secret_key()]))
}

fn sign(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    encode(header, claims, key).unwrap()
}

/// A token signed with [`SECRET`].
fn token(claims: &Value) -> String {
    sign(&Header::default(), claims, &EncodingKey::from_secret(SECRET))
}

/// A token signed with [`SECRET`], with a header that the library would not write.
fn token_with_header(header: &Value, claims: &Value) -> String {
    let signed = token(claims);
    let payload = signed.split('.').nth(1).unwrap();
    let message = format!("{}.{payload}", base64url(&header.to_string()));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// The library encodes any value as the claims, so the second part is the encoded text.
fn base64url(json: &str) -> String {
    let value: Value = serde_json::from_str(json).unwrap();
    token(&value).split('.').nth(1).unwrap().to_owned()
}

fn claims() -> Value {
    json!({"sub": "alice", "exp": NOW_S + 60})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn refused(claims: &Value) -> AuthError {
    authenticator().verify(&token(claims), NOW).unwrap_err()
}

#[test]
fn every_algorithm_verifies_what_its_key_signed_and_nothing_else() {
    let (rsa, ec, ed) = (rsa(), ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ed());
    let public = |algorithm, pair: &Pair| Key::from_public_pem(algorithm, &pair.public).unwrap();
    let private = |pair: &Pair, read: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>| {
        read(pair.private.as_bytes()).unwrap()
    };
    let hmac = |algorithm| Key::from_secret(algorithm, SECRET).unwrap();
    let secret = || EncodingKey::from_secret(SECRET);
    let cases = [
        (hmac(Algorithm::Hs256), secret()),
        (hmac(Algorithm::Hs384), secret()),
        (hmac(Algorithm::Hs512), secret()),
        (public(Algorithm::Rs256, &rsa), private(&rsa, EncodingKey::from_rsa_pem)),
        (public(Algorithm::Ps256, &rsa), private(&rsa, EncodingKey::from_rsa_pem)),
        (public(Algorithm::Es256, &ec), private(&ec, EncodingKey::from_ec_pem)),
        (public(Algorithm::EdDsa, &ed), private(&ed, EncodingKey::from_ed_pem)),
    ];
    assert_eq!(cases.len(), Algorithm::ALL.len());
    for (signer, (key, encoding)) in cases.iter().enumerate() {
        let signed = sign(&Header::new(key.algorithm().to_library()), &claims(), encoding);
        for (verifier, (other, _)) in cases.iter().enumerate() {
            let result = accepting(&policy(vec![other.clone()])).verify(&signed, NOW);
            if signer == verifier {
                assert_eq!(result.unwrap().user().as_str(), "alice", "{:?}", key.algorithm());
            } else {
                assert_eq!(result.unwrap_err(), AuthError::Unverified, "{key:?} by {other:?}");
            }
        }
    }
}

#[test]
fn an_identity_has_what_the_token_said() {
    let claims = json!({
        "sub": "alice", "name": "Alice", "username": "al", "exp": NOW_S + 60, "iat": NOW_S - 1, "jti": "t1",
        "plan": {"seats": 3}
    });
    let identity = authenticator().verify(&token(&claims), NOW).unwrap();
    assert_eq!(identity.tenant().as_str(), "acme");
    assert_eq!(identity.user().as_str(), "alice");
    assert_eq!(&**identity.name(), "Alice");
    assert_eq!(identity.expires_at_ms(), (NOW_S + 60) * 1000);
    assert_eq!(identity.issued_at_ms(), Some((NOW_S - 1) * 1000));
    assert_eq!(identity.token_id().map(|id| &**id), Some("t1"));
    assert_eq!(serde_json::from_str::<Value>(identity.claims()).unwrap(), claims);
}

#[test]
fn a_token_with_algorithm_none_is_refused() {
    for alg in ["none", "None", "NONE", ""] {
        let signed = token_with_header(&json!({"typ": "JWT", "alg": alg}), &claims());
        let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
        for token in [signed, unsigned] {
            assert_eq!(
                authenticator().verify(&token, NOW).unwrap_err(),
                AuthError::Malformed,
                "{alg}"
            );
        }
    }
}

#[test]
fn a_public_key_is_not_accepted_as_an_hmac_secret() {
    let pair = rsa();
    let key = Key::from_public_pem(Algorithm::Rs256, &pair.public).unwrap();
    let authenticator = accepting(&policy(vec![key]));
    for secret in [pair.public.as_str(), pair.public.trim()] {
        let forged = sign(
            &Header::default(),
            &claims(),
            &EncodingKey::from_secret(secret.as_bytes()),
        );
        assert_eq!(authenticator.verify(&forged, NOW).unwrap_err(), AuthError::Unverified);
    }
}

#[test]
fn the_header_must_agree_with_the_keys_algorithm() {
    let signed = sign(
        &Header::new(jsonwebtoken::Algorithm::HS512),
        &claims(),
        &EncodingKey::from_secret(SECRET),
    );
    assert_eq!(authenticator().verify(&signed, NOW).unwrap_err(), AuthError::Unverified);
}

#[test]
fn a_token_expires_exactly_after_the_leeway() {
    let token = token(&claims());
    let end = (NOW_S + 60) * 1000 + LEEWAY_MS;
    assert!(authenticator().verify(&token, end - 1).is_ok());
    assert_eq!(authenticator().verify(&token, end).unwrap_err(), AuthError::Expired);
    // A date out of range, and one with a fraction.
    assert!(
        authenticator()
            .verify(&self::token(&with("exp", json!(u64::MAX))), NOW)
            .is_ok()
    );
    let identity = authenticator()
        .verify(&self::token(&with("exp", json!(1_800_000_000.25))), NOW)
        .unwrap();
    assert_eq!(identity.expires_at_ms(), 1_800_000_000_250);
}

#[test]
fn an_expiry_is_required() {
    assert_eq!(refused(&json!({"sub": "alice"})), AuthError::NoExpiry);
    assert_eq!(refused(&with("exp", json!(null))), AuthError::NoExpiry);
    assert_eq!(refused(&with("exp", json!(-1))), AuthError::Expired);
}

#[test]
fn a_token_is_valid_exactly_from_the_leeway_before_nbf() {
    let token = token(&with("nbf", json!(NOW_S)));
    assert!(authenticator().verify(&token, NOW - LEEWAY_MS).is_ok());
    assert_eq!(
        authenticator().verify(&token, NOW - LEEWAY_MS - 1).unwrap_err(),
        AuthError::NotYetValid
    );
}

#[test]
fn the_audience_counts_when_configured() {
    let any = authenticator();
    assert!(any.verify(&token(&with("aud", json!("elsewhere"))), NOW).is_ok());

    let mut policy = policy(vec![secret_key()]);
    policy.rules.audience = vec!["chat".to_owned(), "web".to_owned()];
    let authenticator = accepting(&policy);
    for aud in [json!("chat"), json!(["other", "web"])] {
        assert!(
            authenticator.verify(&token(&with("aud", aud.clone())), NOW).is_ok(),
            "{aud}"
        );
    }
    for aud in [json!("Chat"), json!(["other"]), json!([]), json!(1), json!(null)] {
        let refused = authenticator
            .verify(&token(&with("aud", aud.clone())), NOW)
            .unwrap_err();
        assert_eq!(refused, AuthError::WrongAudience, "{aud}");
    }
    assert_eq!(
        authenticator.verify(&token(&claims()), NOW).unwrap_err(),
        AuthError::WrongAudience
    );
}

#[test]
fn the_issuer_counts_when_configured() {
    assert!(
        authenticator()
            .verify(&token(&with("iss", json!("anybody"))), NOW)
            .is_ok()
    );

    let mut policy = policy(vec![secret_key()]);
    policy.rules.issuer = vec!["https://login.example.org".to_owned()];
    let authenticator = accepting(&policy);
    assert!(
        authenticator
            .verify(&token(&with("iss", json!("https://login.example.org"))), NOW)
            .is_ok()
    );
    for claims in [
        with("iss", json!("https://login.example.org.evil")),
        with("iss", json!(7)),
        claims(),
    ] {
        assert_eq!(
            authenticator.verify(&token(&claims), NOW).unwrap_err(),
            AuthError::WrongIssuer,
            "{claims}"
        );
    }
}

#[test]
fn garbage_is_refused() {
    let good = token(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    for token in [
        "x".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "\u{0}\u{ff}.é.ü".to_owned(),
        message.to_owned(),
        format!("{good}.{signature}"),
        format!("Bearer {good}"),
        format!("{payload}.{header}.{signature}"),
    ] {
        assert_eq!(
            authenticator().verify(&token, NOW).unwrap_err(),
            AuthError::Malformed,
            "{token}"
        );
    }
    assert_eq!(authenticator().verify("", NOW).unwrap_err(), AuthError::Missing);
    // Well-formed tokens with another payload or without a signature.
    let other = token(&with("sub", json!("mallory")));
    let (other, _) = other.rsplit_once('.').unwrap();
    for token in [format!("{other}.{signature}"), format!("{message}.")] {
        assert_eq!(
            authenticator().verify(&token, NOW).unwrap_err(),
            AuthError::Unverified,
            "{token}"
        );
    }
    // Signed, but not an object.
    assert_eq!(refused(&json!(["alice", 1])), AuthError::Malformed);
}

#[test]
fn a_token_that_is_too_long_is_refused() {
    // Each character of the pad is 4/3 characters of the token, so every length is reached within a few steps.
    let padded = |pad: usize| token(&with("pad", json!("p".repeat(pad))));
    let longest = (5_000..7_000)
        .map(padded)
        .take_while(|token| token.len() <= MAX_TOKEN_BYTES)
        .last()
        .unwrap();
    assert!(longest.len() + 2 > MAX_TOKEN_BYTES, "{}", longest.len());
    assert!(authenticator().verify(&longest, NOW).is_ok());
    let shortest = (5_000..7_000)
        .map(padded)
        .find(|token| token.len() > MAX_TOKEN_BYTES)
        .unwrap();
    assert_eq!(authenticator().verify(&shortest, NOW).unwrap_err(), AuthError::TooLong);
    // Only the length matters.
    let garbage = "x".repeat(MAX_TOKEN_BYTES);
    assert_eq!(authenticator().verify(&garbage, NOW).unwrap_err(), AuthError::Malformed);
    assert_eq!(
        authenticator().verify(&format!("{garbage}x"), NOW).unwrap_err(),
        AuthError::TooLong
    );
}

#[test]
fn the_user_is_sub_else_id_as_text_or_integer() {
    let exp = NOW_S + 60;
    for (claims, user) in [
        (json!({"exp": exp, "sub": "alice", "id": "bob"}), "alice"),
        (json!({"exp": exp, "id": "bob"}), "bob"),
        (json!({"exp": exp, "sub": null, "id": 42}), "42"),
        (json!({"exp": exp, "sub": 42}), "42"),
        (json!({"exp": exp, "id": -7}), "-7"),
        (json!({"exp": exp, "id": u64::MAX}), "18446744073709551615"),
        (json!({"exp": exp, "sub": "u".repeat(128)}), &*"u".repeat(128)),
    ] {
        assert_eq!(
            authenticator().verify(&token(&claims), NOW).unwrap().user().as_str(),
            user
        );
    }
    for claims in [
        json!({"exp": exp}),
        json!({"exp": exp, "sub": ""}),
        json!({"exp": exp, "sub": false, "id": "bob"}),
        json!({"exp": exp, "id": 1.5}),
        json!({"exp": exp, "id": true}),
        json!({"exp": exp, "sub": "a\nb"}),
        json!({"exp": exp, "sub": "u".repeat(129)}),
    ] {
        assert_eq!(refused(&claims), AuthError::NoUser, "{claims}");
    }
}

#[test]
fn control_characters_in_names_are_replaced() {
    let name = |claims: &Value| authenticator().verify(&token(claims), NOW).unwrap().name().to_string();
    assert_eq!(name(&claims()), "alice");
    assert_eq!(name(&with("username", json!("al"))), "al");
    assert_eq!(
        name(&json!({"sub": "a", "name": "", "username": "al", "exp": NOW_S + 1})),
        "al"
    );
    assert_eq!(name(&with("name", json!(5))), "alice");
    assert_eq!(name(&with("name", json!("a\u{1b}[31m\n"))), "a\u{fffd}[31m\u{fffd}");
    assert_eq!(name(&with("name", json!("n".repeat(128)))), "n".repeat(128));
    assert_eq!(name(&with("name", json!("n".repeat(129)))), "n".repeat(128));
    // 127 bytes and a character of two bytes: it does not fit and is left out.
    assert_eq!(
        name(&with("name", json!(format!("{}é", "n".repeat(127))))),
        "n".repeat(127)
    );
}

#[test]
fn a_kid_selects_among_the_keys() {
    let secret = |n: u8| [n; 32];
    let key = |n: u8| Key::from_secret(Algorithm::Hs256, &secret(n)).unwrap();
    let signed = |kid: Option<&str>, n: u8| {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::default()
        };
        sign(&header, &claims(), &EncodingKey::from_secret(&secret(n)))
    };
    let authenticator = accepting(&policy(vec![key(1).with_id("one"), key(2).with_id("two"), key(3)]));
    let verifies = |kid, n| match authenticator.verify(&signed(kid, n), NOW) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error, AuthError::Unverified);
            false
        }
    };
    assert!(verifies(Some("one"), 1));
    assert!(verifies(Some("two"), 2));
    assert!(!verifies(Some("one"), 2), "the key of another kid");
    assert!(
        !verifies(Some("one"), 3),
        "a key without an id, for a kid that is known"
    );
    for n in 1..=3 {
        assert!(verifies(None, n), "any key, for a token that names none");
    }
    assert!(verifies(Some("unknown"), 3), "a key without an id");
    assert!(!verifies(Some("unknown"), 1));
    assert!(!verifies(None, 4), "nobody's key");
}

#[test]
fn every_error_starts_as_clients_expect_and_tells_no_secret() {
    use AuthError::*;
    let all = [
        Missing,
        TooLong,
        Malformed,
        Unverified,
        NoExpiry,
        NotANumber("exp"),
        Expired,
        NotYetValid,
        WrongAudience,
        WrongIssuer,
        TokenId,
        NoUser,
        ReservedUser,
    ];
    let mut codes: Vec<_> = all.iter().map(|error| error.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), all.len());
    for error in all {
        assert!(error.to_string().starts_with("Authentication error: "), "{error}");
    }
    let shown = format!("{:?} {:?}", secret_key(), policy(vec![secret_key().with_id("one")]));
    assert!(!shown.contains("0123456789") && !shown.contains("48, 49"), "{shown}");
    assert!(shown.contains("one"));
}
