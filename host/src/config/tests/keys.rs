//! The keys that verify tokens.

use super::*;
use parlance_types::auth::{JwksLocation, JwksRules, JwksSource};

#[test]
fn a_short_secret_of_the_environment_is_a_warning_and_a_shorter_one_an_error() {
    let secret = |bytes| load_environment(&[("JWT_SECRET", &*"s".repeat(bytes))]);
    assert_eq!(secret(15).unwrap_err().errors()[0].key, "JWT_SECRET");
    for (bytes, warnings) in [(16, 1), (31, 1), (32, 0)] {
        let config = secret(bytes).unwrap();
        assert_eq!(config.warnings.len(), warnings, "{bytes}");
        assert_eq!(config.default_tenant.auth.keys.len(), 1);
        assert_eq!(config.default_tenant.auth.keys[0].algorithm(), Algorithm::Hs256);
    }
    assert!(secret(0).unwrap().default_tenant.auth.keys.is_empty());
}

#[test]
fn a_secret_of_the_file_is_long_or_refused() {
    let text = |bytes| {
        format!(
            "[[auth.keys]]\nalgorithm = \"HS512\"\nsecret = \"{}\"\n",
            "s".repeat(bytes)
        )
    };
    let error = only_error(&text(31));
    assert_eq!((error.key.as_str(), &error.value), ("auth.keys[0].secret", &None));
    assert!(error.help.unwrap().contains("openssl rand -hex 32"));
    let keys = file(&text(32)).load().unwrap().default_tenant.auth.keys;
    assert_eq!(keys[0].algorithm(), Algorithm::Hs512);
}

#[test]
fn keys_come_from_files_beside_the_configuration() {
    let config = file(
        "[auth]\naudience = [\"chat\"]\nissuer = [\"https://login.example\"]\n\
         [[auth.keys]]\nalgorithm = \"HS256\"\nsecret_file = \"secret\"\nkid = \"a\"\n\
         [[auth.keys]]\nalgorithm = \"EdDSA\"\npublic_key_file = \"public.pem\"\n",
    )
    .with("secret", &format!("{}\n", "s".repeat(32)))
    .with("public.pem", ED25519);
    let auth = config.load().unwrap().default_tenant.auth;
    assert_eq!(
        auth.keys.iter().map(|key| key.id()).collect::<Vec<_>>(),
        [Some("a"), None]
    );
    assert_eq!(
        (auth.rules.audience, auth.rules.issuer),
        (vec!["chat".to_owned()], vec!["https://login.example".to_owned()])
    );

    let over = config.load_with(&[("JWT_SECRET", &*"e".repeat(32))]).unwrap();
    assert_eq!(over.default_tenant.auth.keys.len(), 1);
    assert!(
        over.warnings[0].contains("auth.keys of the file is not used"),
        "{:?}",
        over.warnings
    );
    // The white space around a secret in a file does not count towards its length.
    assert!(
        config
            .with("secret", &format!("{}\n\n", "s".repeat(31)))
            .load()
            .is_err()
    );
}

#[test]
fn every_wrong_key_is_named() {
    let errors = file(&format!(
        "[[auth.keys]]\nsecret = \"{}\"\nkid = \"\"\n\
         [[auth.keys]]\nalgorithm = \"RS256\"\nsecret_file = \"absent\"\n\
         [[auth.keys]]\nalgorithm = \"RS256\"\nsecret = \"x\"\npublic_key = \"y\"\n\
         [[auth.keys]]\nalgorithm = \"RS256\"\n\
         [[auth.keys]]\nalgorithm = \"RS256\"\npublic_key = '''{ED25519}'''\n\
         [[auth.keys]]\nalgorithm = \"ES256\"\nsecret = \"s\"\nsecrets = 1\n",
        "s".repeat(32)
    ))
    .load()
    .unwrap_err();
    let found: Vec<_> = errors
        .errors()
        .iter()
        .map(|error| (error.key.as_str(), error.problem.as_str()))
        .collect();
    let one_key = "must have exactly one of secret, secret_file, public_key, public_key_file";
    let expected = [
        ("auth.keys[0].algorithm", "is missing"),
        ("auth.keys[0].kid", "is empty"),
        (
            "auth.keys[1].secret_file",
            "names a file that cannot be read (No such file or directory (os error 2))",
        ),
        ("auth.keys[2]", one_key),
        ("auth.keys[3]", one_key),
        (
            "auth.keys[4].public_key",
            "this is not a PEM public key for RS256 (expected RSA)",
        ),
        ("auth.keys[5].secret", "ES256 needs a public key, not a secret"),
        ("auth.keys[5].secrets", "is unknown"),
    ];
    assert_eq!(found, expected);
    assert_eq!(only_error("[auth]\nkeys = 1\n").key, "auth.keys");
    assert_eq!(only_error("[auth]\nkeys = [1]\n").key, "auth.keys[0]");
}

#[test]
fn key_sets_come_from_a_file_beside_the_configuration_or_from_an_address() {
    let config = file(
        "[[auth.jwks]]\nfile = \"set.json\"\n\
         [[auth.jwks]]\nurl = \"https://issuer.example/jwks\"\nrefresh = \"1h\"\nunknown_key_refresh = \"5s\"\n\
         [[auth.jwks]]\nurl = \"http://127.0.0.1/jwks\"\nallow_http = true\n\
         allow_private_addresses = true\n",
    );
    let beside = config.path.with_file_name("set.json");
    let source = |location, allow_private_addresses, refresh, unknown| JwksSource {
        location,
        rules: JwksRules {
            allow_private_addresses,
            refresh: Duration::from_secs(refresh),
            unknown_key_refresh: Duration::from_secs(unknown),
        },
    };
    let url = |url: &str| JwksLocation::Url(url.to_owned());
    assert_eq!(
        config.load().unwrap().default_tenant.auth.jwks,
        [
            source(JwksLocation::File(beside), false, 600, 30),
            source(url("https://issuer.example/jwks"), false, 3600, 5),
            source(url("http://127.0.0.1/jwks"), true, 600, 30),
        ]
    );
}

#[test]
fn every_wrong_key_set_is_named() {
    let wrong = |text: &str| {
        let error = only_error(&format!("[[auth.jwks]]\n{text}\n"));
        (error.key, error.problem)
    };
    let url = "url = \"https://issuer.example/jwks\"";
    let one_of = (
        "auth.jwks[0]".to_owned(),
        "must have exactly one of url, file".to_owned(),
    );
    assert_eq!(wrong(&format!("{url}\nfile = \"set.json\"")), one_of);
    assert_eq!(wrong("refresh = \"10m\""), one_of);
    let no_https = ("auth.jwks[0].url".to_owned(), "is not an https address".to_owned());
    for plain in ["http://issuer.example/jwks", "file:///jwks", "issuer.example"] {
        assert_eq!(wrong(&format!("url = \"{plain}\"")), no_https, "{plain}");
    }
    assert_eq!(wrong("url = \"ftp://issuer.example\"\nallow_http = true"), no_https);
    assert_eq!(wrong("url = 1").0, "auth.jwks[0].url");
    assert_eq!(wrong("file = \"\"").0, "auth.jwks[0].file");
    for time in ["refresh", "unknown_key_refresh"] {
        for edge in ["999ms", "86401s"] {
            let key = format!("auth.jwks[0].{time}");
            assert_eq!(wrong(&format!("{url}\n{time} = \"{edge}\"")).0, key, "{edge}");
        }
        for edge in ["1s", "24h"] {
            let text = format!("[[auth.jwks]]\n{url}\n{time} = \"{edge}\"\n");
            assert!(file(&text).load().is_ok(), "{time} {edge}");
        }
    }
    assert_eq!(wrong(&format!("{url}\nrefesh = \"1s\"")).0, "auth.jwks[0].refesh");
    assert_eq!(only_error("[auth]\njwks = 1\n").key, "auth.jwks");
    assert_eq!(only_error("[auth]\njwks = [1]\n").key, "auth.jwks[0]");
}

const ED25519: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA2DeBbpo+vJiX2ePg3BS1BaXpg9fiTeqQ0V788nZF7Ng=
-----END PUBLIC KEY-----
";
