//! Who is where: the operators' socket, proxies, origins.

use super::*;
use crate::config::{AdminAddress, normal_origin};

fn server(line: &str) -> String {
    format!("[server]\n{line}\n")
}

#[test]
fn operators_have_a_socket_of_their_own_share_the_clients_or_have_none() {
    let own = |host: &str, port| AdminAddress::Own {
        host: host.to_owned(),
        port,
    };
    assert_eq!(
        load_environment(&[]).unwrap().server.admin_address,
        own("127.0.0.1", 3001)
    );
    for (text, address) in [
        ("0.0.0.0:0", own("0.0.0.0", 0)),
        ("[::1]:9000", own("::1", 9000)),
        ("ops.example:9000", own("ops.example", 9000)),
        ("shared", AdminAddress::Shared),
        ("off", AdminAddress::Off),
        ("", AdminAddress::Off),
    ] {
        let config = file(&server(&format!("admin_address = \"{text}\""))).load().unwrap();
        assert_eq!(config.server.admin_address, address, "{text}");
    }
    for text in [
        "3001",
        "localhost",
        "::1:3001",
        "127.0.0.1:70000",
        "http://localhost:3001",
        ":3001",
    ] {
        let error = only_error(&server(&format!("admin_address = \"{text}\"")));
        assert_eq!(error.key, "server.admin_address", "{text}");
    }
    let environment = load_environment(&[("PARLANCE_ADMIN_ADDRESS", "off")]).unwrap();
    assert_eq!(environment.server.admin_address, AdminAddress::Off);
}

#[test]
fn the_clients_and_the_operators_cannot_have_one_socket() {
    for (host, admin) in [
        ("127.0.0.1", "127.0.0.1:4000"),
        ("0.0.0.0", "127.0.0.1:4000"),
        ("::", "[::1]:4000"),
    ] {
        let error = only_error(&server(&format!(
            "host = \"{host}\"\nport = 4000\nadmin_address = \"{admin}\""
        )));
        assert_eq!(error.key, "server.admin_address");
        assert!(error.help.unwrap().contains("shared"));
    }
    let apart = server("host = \"127.0.0.1\"\nport = 4000\nadmin_address = \"127.0.0.2:4000\"");
    assert!(file(&apart).load().is_ok());
}

#[test]
fn proxies_are_addresses_and_networks() {
    let config = file(&server(
        "trusted_proxies = [\"10.0.0.0/8\", \"192.0.2.7\", \"fd00::/8\", \"::1\"]",
    ))
    .load();
    let shown: Vec<_> = config
        .unwrap()
        .server
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "::1/128"]);
    for network in ["proxy.example", "10.0.0.0/33", "10.0.0"] {
        let error = only_error(&server(&format!("trusted_proxies = [\"{network}\"]")));
        assert_eq!(error.key, "server.trusted_proxies", "{network}");
    }
}

#[test]
fn origins_are_compared_as_browsers_send_them() {
    for (written, sent) in [
        ("https://one.example:443", "https://one.example"),
        ("HTTPS://One.Example/", "https://one.example"),
        ("http://one.example:80", "http://one.example"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://one.example:80", "https://one.example:80"),
        ("http://one.example:8080", "http://one.example:8080"),
    ] {
        assert_eq!(normal_origin(written).as_deref(), Some(sent));
        assert_eq!(normal_origin(sent).as_deref(), Some(sent));
    }
    for none in [
        "null",
        "*",
        "https://",
        "https://:443",
        "ftp://one.example",
        "https://one.example/path",
    ] {
        assert_eq!(normal_origin(none), None, "{none}");
    }
}

#[test]
fn limits_of_transports_are_not_a_tenants() {
    for key in [
        "connects_per_second = 1",
        "header_timeout = \"1s\"",
        "silent_connections = 100",
        "handshake = 100",
    ] {
        let error = only_error(&format!("[tenants.acme.limits]\n{key}\n"));
        assert_eq!(error.problem, "is the same for all tenants", "{key}");
    }
}

#[test]
fn a_tenants_packet_is_one_that_the_server_reads() {
    let acme = |packet: &str| {
        format!(
            "[limits]\npacket = \"64KiB\"\noutbound_bytes = \"8MiB\"\n[tenants.acme.limits]\npacket = \"{packet}\"\nqueue_bytes = \"8MiB\"\nbyte_burst = \"8MiB\"\n"
        )
    };
    assert!(file(&acme("2MiB")).load().is_ok());
    let error = only_error(&acme("2049KiB"));
    assert_eq!(error.key, "tenants.acme.limits.packet");
    assert_eq!(
        error.problem,
        "must not be larger than 32 times that of the file's top level, which is 64KiB"
    );
}
