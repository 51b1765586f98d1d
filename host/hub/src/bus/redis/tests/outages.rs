use super::*;

#[tokio::test]
async fn messages_during_an_outage_are_dropped_and_counted() {
    let mut server = Server::start();
    let mut one = Node::start(&server.url(), "default").await;
    let mut two = Node::start(&server.url(), "default").await;
    server.kill();
    for node in [&mut one, &mut two] {
        node.until(|inbound| matches!(inbound, Inbound::Disconnected).then_some(()))
            .await;
        let status = node.bus.status();
        assert!(!status.connected && status.error.is_some());
    }
    let before = one.bus.status().dropped;
    one.send(r#"["lost"]"#);
    assert_eq!(one.bus.status().dropped, before + 1);
    server.restart();
    for node in [&mut one, &mut two] {
        node.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
            .await;
        assert!(node.bus.status().connected);
    }
    one.send(r#"["kept"]"#);
    assert_eq!(two.broadcast().await.packet.text, r#"["kept"]"#);
}

#[tokio::test]
async fn a_bus_starts_without_redis_and_connects_later() {
    let mut server = Server::start();
    server.kill();
    let mut one = Node::starting(&server.url(), "default");
    eventually("an error", || one.bus.status().error.is_some()).await;
    assert!(!one.bus.status().connected);
    server.restart();
    one.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
        .await;
}

#[tokio::test]
async fn a_slow_redis_delays_events_and_drops_none() {
    let server = Server::start();
    let one = Node::start(&server.url(), "default").await;
    let mut two = Node::start(&server.url(), "default").await;
    server.command(&["CLIENT", "PAUSE", "700", "ALL"]);
    for at in 0..100 {
        one.send(&format!(r#"["e",{at}]"#));
    }
    for at in 0..100 {
        assert_eq!(two.broadcast().await.packet.text, format!(r#"["e",{at}]"#));
    }
    assert_eq!(one.bus.status().dropped, 0);
}

#[tokio::test]
async fn a_redis_that_hangs_counts_as_lost() {
    let server = Server::start();
    let mut one = Node::start(&server.url(), "default").await;
    server.command(&["CLIENT", "PAUSE", "6000", "ALL"]);
    one.until(|inbound| matches!(inbound, Inbound::Disconnected).then_some(()))
        .await;
    one.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
        .await;
}

#[tokio::test]
async fn a_lost_subscription_renews_both_connections() {
    let server = Server::start();
    let one = Node::start(&server.url(), "default").await;
    let mut two = Node::start(&server.url(), "default").await;
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    two.until(|inbound| matches!(inbound, Inbound::Disconnected).then_some(()))
        .await;
    two.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
        .await;
    eventually("connected", || one.bus.status().connected).await;
    one.send(r#"["e"]"#);
    assert_eq!(two.broadcast().await.packet.text, r#"["e"]"#);
}

#[tokio::test]
async fn shutting_down_sends_what_is_queued() {
    let server = Server::start();
    let one = Node::start(&server.url(), "default").await;
    let mut two = Node::start(&server.url(), "default").await;
    for at in 0..500 {
        one.send(&format!(r#"["e",{at}]"#));
    }
    one.bus.shut_down(DEADLINE).await;
    for at in 0..500 {
        assert_eq!(two.broadcast().await.packet.text, format!(r#"["e",{at}]"#));
    }
}

#[tokio::test]
async fn a_server_without_tls_is_an_error_and_not_a_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rediss://{}", listener.local_addr().unwrap());
    let bus = RedisBus::start(settings(&url)).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut hello = [0; 3];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut hello)
        .await
        .unwrap();
    assert_eq!(hello, [0x16, 3, 1], "a TLS handshake");
    drop((stream, listener));
    eventually("an error", || bus.status().error.is_some()).await;
    assert!(!bus.status().connected);
}

#[tokio::test]
async fn a_malformed_url_is_refused_without_being_shown() {
    let Err(error) = RedisBus::start(settings("redis://user:swordfish@host:port")) else {
        panic!("it was taken");
    };
    assert!(!error.to_string().contains("swordfish"), "{error}");
}
