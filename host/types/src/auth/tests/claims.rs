//! Claims as other JSON writers produce them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

/// A token signed with [`SECRET`], whose header and claims are these exact texts.
fn token_of(header: &str, claims: impl AsRef<[u8]>) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

const HEADER: &str = r#"{"alg":"HS256"}"#;

fn verified(claims: impl AsRef<[u8]>) -> Result<Identity, AuthError> {
    authenticator().verify(&token_of(HEADER, claims), NOW)
}

#[test]
fn a_lone_surrogate_in_a_token_becomes_the_replacement_character() {
    let exp = NOW_S + 60;
    let identity = verified(format!(
        r#"{{"sub":"alice","name":"Ali \ud83d","exp":{exp},"\ud83d":["\udc4b"]}}"#
    ))
    .unwrap();
    assert_eq!(&**identity.name(), "Ali \u{fffd}");
    let claims: Value = serde_json::from_str(identity.claims()).unwrap();
    assert_eq!(claims["\u{fffd}"], json!(["\u{fffd}"]));
    // Invalid UTF-8, such as a lone surrogate in three bytes, is read as Node reads it.
    let end = format!(r#"","exp":{exp}}}"#);
    let broken = [
        br#"{"sub":"alice","name":"Ali "#.as_slice(),
        b"\xed\xa0\xbd",
        end.as_bytes(),
    ];
    let identity = verified(broken.concat()).unwrap();
    assert!(identity.name().starts_with("Ali \u{fffd}"), "{}", identity.name());
}

#[test]
fn an_ambiguous_user_id_is_refused_but_an_ambiguous_name_is_not() {
    let exp = NOW_S + 60;
    for sub in [r"ann\ud83d", r" ", r"\u200b", r"\u202enna", r"ann\u200f", r"a\u0000"] {
        let refused = verified(format!(r#"{{"sub":"{sub}","exp":{exp}}}"#)).unwrap_err();
        assert_eq!(refused, AuthError::NoUser, "{sub}");
    }
    for (name, shown) in [(r"\u202enna", "\u{fffd}nna"), (r"\u200b ", "alice"), (" ", "alice")] {
        let identity = verified(format!(r#"{{"sub":"alice","name":"{name}","exp":{exp}}}"#)).unwrap();
        assert_eq!(&**identity.name(), shown, "{name}");
    }
}

#[test]
fn a_token_cannot_name_a_bot() {
    let exp = NOW_S + 60;
    for claims in [r#""sub":"bot:deploy""#, r#""id":"bot:""#, r#""sub":"\u0062ot:x""#] {
        let refused = verified(format!(r#"{{{claims},"exp":{exp}}}"#)).unwrap_err();
        assert_eq!(refused, AuthError::ReservedUser, "{claims}");
        assert!(refused.to_string().contains("`bot:`"));
    }
    for fine in ["Bot:x", "robot:x", "bot"] {
        assert!(verified(format!(r#"{{"sub":"{fine}","exp":{exp}}}"#)).is_ok(), "{fine}");
    }
}

#[test]
fn unused_claims_may_be_any_json() {
    let exp = NOW_S + 60;
    let deep = format!("{}1{}", "[".repeat(2000), "]".repeat(2000));
    for more in [
        r#""far":1e400"#,
        r#""big":123456789012345678901234567890"#,
        r#""a":1,"a":2"#,
        &format!("\"deep\":{deep}"),
    ] {
        let claims = format!(r#"{{"sub":"alice","exp":{exp},{more}}}"#);
        assert_eq!(&**verified(&claims).unwrap().claims(), claims, "as it was signed");
    }
    let twice = format!(r#"{{"sub":"mallory","exp":{exp},"sub":"alice"}}"#);
    assert_eq!(verified(twice).unwrap().user().as_str(), "alice", "the last one counts");
}

#[test]
fn a_time_that_is_not_a_number_is_refused_by_name() {
    for claim in ["exp", "iat", "nbf"] {
        for value in ["\"1800000060\"", "true", "[1800000060]", "{}"] {
            let exp = if claim == "exp" {
                String::new()
            } else {
                format!(r#","exp":{}"#, NOW_S + 60)
            };
            let refused = verified(format!(r#"{{"sub":"alice","{claim}":{value}{exp}}}"#)).unwrap_err();
            assert_eq!(refused, AuthError::NotANumber(claim), "{claim}: {value}");
            assert_eq!(
                refused.to_string(),
                format!("Authentication error: the token's `{claim}` is not a number")
            );
        }
    }
    for exp in ["1800000060.0", "1.80000006e9", "1e400"] {
        assert!(verified(format!(r#"{{"sub":"alice","exp":{exp}}}"#)).is_ok(), "{exp}");
    }
}

#[test]
fn a_user_may_be_a_whole_number_however_it_is_written() {
    let exp = NOW_S + 60;
    for (id, user) in [("42.0", "42"), ("1e3", "1000"), ("-7.0", "-7")] {
        let identity = verified(format!(r#"{{"sub":{id},"exp":{exp}}}"#)).unwrap();
        assert_eq!(identity.user().as_str(), user);
    }
    for id in ["1.5", "1e300", "123456789012345678901234567890"] {
        let refused = verified(format!(r#"{{"sub":{id},"exp":{exp}}}"#)).unwrap_err();
        assert_eq!(refused, AuthError::NoUser, "{id}");
    }
}

#[test]
fn a_token_can_be_revoked_by_its_id_or_is_refused() {
    let exp = NOW_S + 60;
    let id = |jti: &str| {
        let identity = verified(format!(r#"{{"sub":"alice","exp":{exp},"jti":{jti}}}"#))?;
        Ok(identity.token_id().map(|id| id.to_string()))
    };
    assert_eq!(id("\"t1\""), Ok(Some("t1".to_owned())));
    assert_eq!(id("7"), Ok(Some("7".to_owned())));
    assert_eq!(id("null"), Ok(None));
    assert_eq!(id("\"\""), Ok(None));
    for wrong in [r#""a\u0000b""#, r#""a\nb""#, "true", "[]", "{}", "1.5"] {
        assert_eq!(id(wrong), Err(AuthError::TokenId), "{wrong}");
    }
    assert_eq!(id(&format!("\"{}\"", "t".repeat(513))), Err(AuthError::TokenId));
}

#[test]
fn a_header_with_unsupported_extensions_is_refused() {
    let claims = claims().to_string();
    let verify = |header: &str| authenticator().verify(&token_of(header, &claims), NOW).map(drop);
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":"HS256","b64":null}"#,
        r#"{"alg":"HS256","b64":0}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","crit":"b64"}"#,
        r#"["HS256"]"#,
        r#"{"alg":["HS256"]}"#,
    ] {
        assert_eq!(verify(header), Err(AuthError::Malformed), "{header}");
    }
    for header in [
        r#"{"alg":"HS256","b64":true}"#,
        r#"{"alg":"HS256","typ":"at+jwt","more":1e400}"#,
        r#"{"alg":"HS256","note":"\ud83d"}"#,
    ] {
        assert_eq!(verify(header), Ok(()), "{header}");
    }
}
