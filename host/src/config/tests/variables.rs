//! The variables of the environment: their names, which counts, secrets in files, and what means nothing.

use super::*;

/// The one error of this environment.
fn only(variables: &[(&str, &str)]) -> ConfigError {
    let errors = load_environment(variables).unwrap_err();
    assert_eq!(errors.errors().len(), 1, "{errors}");
    errors.errors()[0].clone()
}

#[test]
fn every_kind_of_setting_has_a_variable() {
    let config = load_environment(&[
        ("PARLANCE_SERVER_PORT", "8080"),
        ("PARLANCE_SERVER_COMPRESSION", "true"),
        ("PARLANCE_SERVER_TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("PARLANCE_SERVER_HANDSHAKE_HEADERS", "X-One"),
        ("PARLANCE_AUTH_AUDIENCE", "chat,web"),
        ("PARLANCE_LIMITS_PACKET", "128KiB"),
        ("PARLANCE_LIMITS_CONTENT", "1000"),
        ("PARLANCE_SANDBOX_GUEST_TIME", "20ms"),
        ("PARLANCE_SANDBOX_CACHE", "none"),
        ("PARLANCE_CLIENTS_PARSER", "msgpack"),
        ("PARLANCE_GRANTS_HTTP", "api.example.org"),
        ("PARLANCE_REDIS_KEY", "chat"),
    ])
    .unwrap();
    assert_eq!(config.server.port, 8080);
    assert!(config.protocol.compression);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(config.protocol.handshake_headers, ["x-one"]);
    assert_eq!((config.redis.key.as_str(), config.engine.cache), ("chat", None));
    let tenant = config.default_tenant;
    assert_eq!(tenant.auth.rules.audience, ["chat", "web"]);
    assert_eq!(tenant.limits.call.client.packet, 128 * 1024);
    assert_eq!(tenant.limits.call.client.content, 1000);
    assert_eq!(tenant.limits.guest.guest_time, Duration::from_millis(20));
    assert_eq!(tenant.limits.clients.parser, crate::tenant::Parser::MessagePack);
    assert_eq!(tenant.grants.http.len(), 1);
}

#[test]
fn the_file_gives_way_to_the_settings_variable_and_that_to_the_usual_name() {
    let file = file("[server]\nport = 1\n[tenants.acme]\n[limits]\nroom_id = 100\n");
    let own = ("PARLANCE_SERVER_PORT", "2");
    assert_eq!(file.load_with(&[own]).unwrap().server.port, 2);
    let both = file.load_with(&[own, ("PORT", "3")]).unwrap();
    assert_eq!(both.server.port, 3);
    assert_eq!(
        both.warnings,
        ["PARLANCE_SERVER_PORT and PORT both set server.port; PORT counts"]
    );
    assert!(file.load_with(&[("PORT", "3")]).unwrap().warnings.is_empty());
    // What a tenant does not set is as at the top level, wherever that has it from.
    let config = file.load_with(&[("PARLANCE_LIMITS_ROOM_ID", "50")]).unwrap();
    assert_eq!(config.tenants[0].limits.call.client.room_id, 50);
}

#[test]
fn a_wrong_value_is_named_with_its_variable() {
    let error = only(&[("PARLANCE_SANDBOX_GUEST_TIME", "fast")]).to_string();
    assert!(
        error.starts_with("sandbox.guest_time = \"fast\" (from PARLANCE_SANDBOX_GUEST_TIME): is not a duration"),
        "{error}"
    );
    assert_eq!(
        only(&[("PARLANCE_SERVER_COMPRESSION", "yes")]).problem,
        "is neither true nor false"
    );
    assert_eq!(
        only(&[("PARLANCE_LIMITS_ROOM_ID", "many")]).problem,
        "is not a whole number"
    );
}

#[test]
fn a_secret_may_be_in_a_file_whose_line_end_does_not_count() {
    let place = file("")
        .with("secret", &format!("{}\r\n", "s".repeat(32)))
        .with("url", "sqlite:a.db\n");
    let path = |name: &str| place.directory.path().join(name).display().to_string();
    let (secret, url) = (path("secret"), path("url"));
    let config = load_environment(&[
        ("JWT_SECRET_FILE", &*secret),
        ("PARLANCE_STORE_URL_FILE", &*url),
        ("PARLANCE_ADMIN_TOKEN_FILE", &*secret),
    ])
    .unwrap();
    let key = &config.default_tenant.auth.keys[0];
    assert_eq!(key.algorithm(), Algorithm::Hs256);
    assert_eq!(config.store.url, StoreUrl::Sqlite("a.db".into()));
    assert_eq!(config.admin.len(), 1);
    assert!(
        config.warnings.is_empty(),
        "32 bytes without the line end: {:?}",
        config.warnings
    );
    assert_eq!(
        load_environment(&[("DATABASE_URL_FILE", &*url)]).unwrap().store.url,
        StoreUrl::Sqlite("a.db".into())
    );
}

#[test]
fn a_secret_in_a_file_is_named_when_it_is_wrong() {
    let place = file("")
        .with("empty", "\n")
        .with("wrong", "carrier-pigeon://hush\n")
        .with("short", "hush\n");
    let path = |name: &str| place.directory.path().join(name).display().to_string();
    let both = only(&[("JWT_SECRET", "s"), ("JWT_SECRET_FILE", "/nowhere")]);
    assert_eq!(
        both.to_string(),
        "JWT_SECRET: and JWT_SECRET_FILE are both set\n    set one of them"
    );
    for (name, path, problem) in [
        ("REDIS_URL_FILE", path("absent"), "names a file that cannot be read"),
        ("PARLANCE_REDIS_URL_FILE", path("empty"), "names a file that is empty"),
    ] {
        let error = only(&[(name, &*path)]);
        assert_eq!(error.key, name);
        assert!(error.problem.starts_with(problem), "{error}");
    }
    let wrong = only(&[("PARLANCE_STORE_URL_FILE", &*path("wrong"))]).to_string();
    assert!(
        wrong.starts_with("store.url (from PARLANCE_STORE_URL_FILE): is not a database"),
        "{wrong}"
    );
    assert!(!wrong.contains("hush"));
    let short = only(&[("PARLANCE_ADMIN_TOKEN_FILE", &*path("short"))]);
    assert_eq!(short.key, "PARLANCE_ADMIN_TOKEN_FILE");
}

#[test]
fn a_variable_that_means_nothing_is_answered_with_the_nearest() {
    for (wrong, nearest) in [
        ("PARLANCE_SANDBOX_GUESTTIME", "PARLANCE_SANDBOX_GUEST_TIME"),
        ("PARLANCE_SERVER_PROT", "PARLANCE_SERVER_PORT"),
        ("PARLANCE_ADMIN_TOKENS", "PARLANCE_ADMIN_TOKEN"),
        // Only secrets are read from files.
        ("PARLANCE_LIMITS_PACKET_FILE", "PARLANCE_LIMITS_PACKET"),
    ] {
        let error = only(&[(wrong, "hush")]);
        assert_eq!((error.key.as_str(), error.problem.as_str()), (wrong, "is unknown"));
        assert_eq!(error.help, Some(format!("did you mean `{nearest}`?")));
    }
    assert!(only(&[("PARLANCE_ZZZ", "1")]).help.unwrap().contains("--defaults"));
    assert!(load_environment(&[("PARLANCE_ZZZ", ""), ("PARLANCE", "1"), ("PARLANCES_PORT", "1")]).is_ok());
}

#[test]
fn what_kubernetes_says_of_a_service_named_parlance_is_not_ours() {
    let links = [
        ("PARLANCE_SERVICE_HOST", "10.0.0.11"),
        ("PARLANCE_SERVICE_PORT", "3000"),
        ("PARLANCE_SERVICE_PORT_HTTP", "3000"),
        ("PARLANCE_PORT", "tcp://10.0.0.11:3000"),
        ("PARLANCE_PORT_3000_TCP", "tcp://10.0.0.11:3000"),
        ("PARLANCE_PORT_3000_TCP_PROTO", "tcp"),
        ("PARLANCE_PORT_3000_TCP_ADDR", "10.0.0.11"),
        ("PARLANCE_ADMIN_PORT_3001_TCP_PORT", "3001"),
    ];
    assert!(load_environment(&links).is_ok());
    assert_eq!(only(&[("PARLANCE_PORT", "3000")]).key, "PARLANCE_PORT");
}

#[test]
fn a_word_that_is_no_log_level_is_refused() {
    let level = |text: &str| file(&format!("[log]\nlevel = \"{text}\"\n")).load();
    for right in [
        "warn",
        "off",
        "INFO",
        "info,parlance=debug",
        "warn, parlance_hub",
        "tower::x=trace,error",
    ] {
        assert!(level(right).is_ok(), "{right}");
    }
    for (wrong, word) in [("wran", "wran"), ("info,verbose", "verbose")] {
        let error = only_error(&format!("[log]\nlevel = \"{wrong}\"\n"));
        assert!(error.problem.contains(&format!("{word:?}")), "{}", error.problem);
    }
}

#[test]
fn a_duration_has_units_that_nobody_takes_for_others() {
    let leeway = |text: &str| file(&format!("[auth]\nleeway = \"{text}\"\n")).load();
    for right in ["0", "0s", "90s", "1m 30s", "1m30s", "5 m"] {
        assert!(leeway(right).is_ok(), "{right}");
    }
    for wrong in ["1M", "1min", "1.5m", "1sec", "1000us", "1y", "", "m", "1"] {
        assert_eq!(
            only_error(&format!("[auth]\nleeway = \"{wrong}\"\n")).problem,
            "is not a duration",
            "{wrong}"
        );
    }
}
