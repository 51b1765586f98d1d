use super::*;

fn limits() -> Limits {
    Limits {
        sessions: 10,
        sessions_per_address: 4,
        unauthenticated: 3,
        unauthenticated_per_address: 2,
        ..Limits::NONE
    }
}

fn from(text: &str) -> Option<PeerAddress> {
    Some(PeerAddress(text.parse().unwrap()))
}

#[test]
fn unauthenticated_sessions_are_limited_by_address_and_in_total() {
    let admission = Admission::new(limits());
    let now = Instant::now();
    let admit = |address| admission.admit(from(address), now);
    let first = admit("192.0.2.1").unwrap();
    let second = admit("192.0.2.1").unwrap();
    assert_eq!(admit("192.0.2.1").unwrap_err(), Refusal::UnauthenticatedPerAddress);
    let other = admit("192.0.2.2").unwrap();
    assert_eq!(admit("192.0.2.3").unwrap_err(), Refusal::Unauthenticated);
    first.authenticated();
    second.authenticated();
    assert_eq!((admission.sessions(), admission.unauthenticated()), (3, 1));
    let more = admit("192.0.2.1").unwrap();
    assert_eq!(admission.refused(Refusal::Unauthenticated), 1);
    drop((first, second, other, more));
    assert_eq!((admission.sessions(), admission.unauthenticated()), (0, 0));
}

#[test]
fn a_few_addresses_do_not_take_all_places() {
    let shared = Limits {
        unauthenticated: 12,
        unauthenticated_per_address: 6,
        ..Limits::NONE
    };
    let admission = Admission::new(shared);
    let admit = |address| admission.admit(from(address), Instant::now());
    let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
    let taken: Vec<_> = (0..30).filter_map(|n| admit(addresses[n % 3]).ok()).collect();
    assert_eq!(taken.len(), 9, "three of four parts");
    assert_eq!(admission.refused(Refusal::UnauthenticatedPerAddress), 21);
    assert!(admit("198.51.100.1").is_ok());
    // Unless one address may take all, as behind a proxy.
    let one = Admission::new(Limits {
        unauthenticated_per_address: 12,
        ..shared
    });
    let all: Vec<_> = (0..13)
        .filter_map(|_| one.admit(from("192.0.2.1"), Instant::now()).ok())
        .collect();
    assert_eq!(all.len(), 12);
}

#[test]
fn sessions_that_have_left_their_last_namespace_count_as_unauthenticated_again() {
    let admission = Admission::new(Limits {
        unauthenticated: 6,
        unauthenticated_per_address: 4,
        ..Limits::NONE
    });
    let admit = |address| {
        let session = admission.admit(from(address), Instant::now()).unwrap();
        session.authenticated();
        session
    };
    let [first, second, third] = [(); 3].map(|()| admit("192.0.2.1"));
    let [fourth, fifth] = ["192.0.2.2", "192.0.2.3"].map(admit);
    assert!(first.unauthenticated() && second.unauthenticated() && first.unauthenticated());
    assert_eq!(admission.unauthenticated(), 2, "each counts once");
    assert!(!third.unauthenticated(), "half of the address's places");
    assert!(fourth.unauthenticated());
    assert!(!fifth.unauthenticated(), "half of all places");
    first.authenticated();
    assert!(fifth.unauthenticated());
    drop((first, second, third, fourth, fifth));
    assert_eq!((admission.sessions(), admission.unauthenticated()), (0, 0));
}

#[test]
fn sessions_are_limited_by_address_and_in_total() {
    let admission = Admission::new(limits());
    let now = Instant::now();
    let admit = |address: String| {
        admission
            .admit(from(&address), now)
            .inspect(SessionPermit::authenticated)
    };
    let of_one: Vec<_> = (0..4).map(|_| admit("192.0.2.1".into()).unwrap()).collect();
    assert_eq!(
        admit("::ffff:192.0.2.1".into()).unwrap_err(),
        Refusal::SessionsPerAddress
    );
    let of_others: Vec<_> = (0..6).map(|n| admit(format!("198.51.100.{n}")).unwrap()).collect();
    assert_eq!(admit("203.0.113.1".into()).unwrap_err(), Refusal::Sessions);
    drop((of_one, of_others));
    admit("203.0.113.1".into()).unwrap();
}

#[test]
fn addresses_of_one_ipv6_network_count_as_one() {
    let admission = Admission::new(limits());
    let now = Instant::now();
    let _first = admission.admit(from("2001:db8::1"), now).unwrap();
    let _second = admission.admit(from("2001:db8::2"), now).unwrap();
    assert_eq!(
        admission.admit(from("2001:db8::3"), now).unwrap_err(),
        Refusal::UnauthenticatedPerAddress
    );
    assert!(admission.admit(from("2001:db8:0:1::1"), now).is_ok());
}

#[test]
fn handshakes_are_limited_by_rate_with_a_burst_of_one_second() {
    let admission = Admission::new(Limits {
        handshakes_per_second: 6,
        handshakes_per_second_per_address: 4,
        ..Limits::NONE
    });
    let begin = Instant::now();
    let admit = |address, ms| {
        admission
            .admit(from(address), begin + Duration::from_millis(ms))
            .map(drop)
    };
    for _ in 0..4 {
        admit("192.0.2.1", 0).unwrap();
    }
    assert_eq!(admit("192.0.2.1", 0).unwrap_err(), Refusal::HandshakesPerAddress);
    admit("192.0.2.2", 0).unwrap();
    admit("192.0.2.2", 0).unwrap();
    assert_eq!(admit("192.0.2.3", 0).unwrap_err(), Refusal::Handshakes);
    assert_eq!(admit("192.0.2.1", 200).unwrap_err(), Refusal::HandshakesPerAddress);
    admit("192.0.2.1", 260).unwrap();
}

#[test]
fn unused_addresses_are_removed() {
    let admission = Admission::new(Limits {
        handshakes_per_second_per_address: 10,
        ..Limits::NONE
    });
    let begin = Instant::now();
    for n in 0..SWEEP_MIN {
        let address = IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        drop(admission.admit(Some(PeerAddress(address)), begin).unwrap());
    }
    let kept = admission
        .admit(from("192.0.2.1"), begin + Duration::from_secs(1))
        .unwrap();
    assert_eq!(admission.addresses.lock().by_address.len(), 1);
    drop(kept);
}
