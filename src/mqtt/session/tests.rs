//! Conversations without sockets; the tests own the clock.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;

fn limits() -> Limits {
    Limits {
        packet_bytes_max: 1024,
        connect_bytes_max: 512,
        inflight_max: 2,
        receive_max: 2,
        connect_timeout: Duration::from_secs(10),
    }
}

#[allow(clippy::disallowed_methods)]
fn start() -> Instant {
    Instant::now()
}

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01a";
const PERSISTENT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x0a\x00\x01a";
const CONNECT_3_1: &[u8] = b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x0a\x00\x01a";

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn outputs(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

fn said(session: &mut Session) -> Vec<u8> {
    std::mem::take(session.transmit())
}

fn online(connect: &[u8], saved: Option<Saved>, now: Instant) -> Session {
    let mut session = Session::new(limits(), now);
    session.handle_bytes(connect, now);
    assert!(matches!(outputs(&mut session)[..], [Output::Connect(_)]));
    session.admit(saved, now);
    session
}

fn delivery(qos: QoS, tag: u64) -> Delivery {
    let message = Message { topic: "t".into(), payload: bytes::Bytes::from_static(b"x"), qos, retain: false };
    Delivery { message: Arc::new(message), qos, retain: false, slashed: false, tag: Some(tag), home: None }
}

#[test]
fn nothing_is_acknowledged_before_it_is_accepted_and_reading_stops_when_too_much_waits() {
    let now = start();
    let mut session = online(CONNECT, None, now);
    assert_eq!(said(&mut session), b"\x20\x02\x00\x00");
    session.handle_bytes(b"\x32\x05\x00\x01t\x00\x01\x34\x05\x00\x01t\x00\x02\x32\x05\x00\x01t\x00\x03", now);
    assert_eq!(outputs(&mut session).len(), 2);
    assert!(!session.wants_read());
    assert_eq!(said(&mut session), b"");
    session.accepted(id(2));
    session.accepted(id(1));
    assert_eq!(said(&mut session), b"\x50\x02\x00\x02\x40\x02\x00\x01");
    assert_eq!(outputs(&mut session).len(), 1);
    assert!(session.wants_read());
}

#[test]
fn a_message_of_qos_2_is_handed_on_once_even_across_connections() {
    let now = start();
    let mut session = online(PERSISTENT, None, now);
    session.handle_bytes(b"\x34\x05\x00\x01t\x00\x07", now);
    assert_eq!(outputs(&mut session).len(), 1);
    session.accepted(id(7));
    let mut session = online(PERSISTENT, Some(session.into_saved()), now);
    assert_eq!(said(&mut session), b"\x20\x02\x01\x00");
    session.handle_bytes(b"\x3c\x05\x00\x01t\x00\x07\x62\x02\x00\x07", now);
    assert_eq!(outputs(&mut session), []);
    assert_eq!(said(&mut session), b"\x50\x02\x00\x07\x70\x02\x00\x07");
    session.handle_bytes(b"\x34\x05\x00\x01t\x00\x07", now);
    assert_eq!(outputs(&mut session).len(), 1);
}

#[test]
fn a_message_of_qos_2_is_known_although_its_sender_left_right_behind_it() {
    let now = start();
    for ending in [b"\xe0\x00", b"\xf0\x00"] {
        let mut session = online(PERSISTENT, None, now);
        said(&mut session);
        session.handle_bytes(&[&b"\x34\x05\x00\x01t\x00\x07"[..], ending].concat(), now);
        assert!(matches!(outputs(&mut session)[..], [Output::Publish(_), Output::Close(_)]));
        session.accepted(id(7));
        assert_eq!(said(&mut session), b"", "nobody is there to hear it");
        let mut session = online(PERSISTENT, Some(session.into_saved()), now);
        session.handle_bytes(b"\x3c\x05\x00\x01t\x00\x07", now);
        assert_eq!(outputs(&mut session), []);
    }
}

#[test]
fn a_repeated_message_is_answered_in_its_turn() {
    let mut session = online(CONNECT, None, start());
    session.limits.receive_max = 8;
    let [one, two, three] = [1, 2, 3].map(|it| [&b"\x34\x05\x00\x01t\x00"[..], &[it]].concat());
    session.handle_bytes(&one, start());
    session.accepted(id(1));
    assert_eq!((outputs(&mut session).len(), said(&mut session).len()), (1, 8));
    session.handle_bytes(&[two, one.clone(), three].concat(), start());
    assert_eq!(outputs(&mut session).len(), 2, "two are new");
    assert_eq!(said(&mut session), b"");
    session.accepted(id(2));
    assert_eq!(said(&mut session), b"\x50\x02\x00\x02\x50\x02\x00\x01", "in the order of arrival");
    session.handle_bytes(&[&one[..], b"\x62\x02\x00\x01"].concat(), start());
    assert_eq!((outputs(&mut session).len(), said(&mut session).len()), (0, 0), "a release that runs ahead waits, too");
    session.accepted(id(3));
    assert_eq!(said(&mut session), b"\x50\x02\x00\x03\x50\x02\x00\x01\x70\x02\x00\x01");
}

#[test]
fn a_message_that_we_do_not_know_is_released() {
    let mut session = online(CONNECT, None, start());
    said(&mut session);
    session.handle_bytes(b"\x50\x02\x00\x09", start());
    assert_eq!(said(&mut session), b"\x62\x02\x00\x09", "or the client holds it forever");
    assert_eq!(outputs(&mut session), []);
}

#[test]
fn what_was_never_accepted_is_handed_on_again_after_a_lost_connection() {
    let now = start();
    let mut session = online(PERSISTENT, None, now);
    session.handle_bytes(b"\x34\x05\x00\x01t\x00\x07", now);
    let mut session = online(PERSISTENT, Some(session.into_saved()), now);
    session.handle_bytes(b"\x3c\x05\x00\x01t\x00\x07", now);
    assert_eq!(outputs(&mut session).len(), 1);
}

#[test]
fn unacknowledged_deliveries_are_repeated_in_order_with_dup() {
    let now = start();
    let mut session = online(PERSISTENT, None, now);
    said(&mut session);
    session.deliver(delivery(QoS::ExactlyOnce, 1));
    session.deliver(delivery(QoS::AtLeastOnce, 2));
    assert_eq!(said(&mut session), b"\x34\x06\x00\x01t\x00\x01x\x32\x06\x00\x01t\x00\x02x");
    assert!(!session.can_deliver());
    session.handle_bytes(b"\x50\x02\x00\x01", now);
    assert_eq!(outputs(&mut session), [Output::Delivered(1)]);
    let mut session = online(PERSISTENT, Some(session.into_saved()), now);
    assert_eq!(said(&mut session), b"\x20\x02\x01\x00\x62\x02\x00\x01\x3a\x06\x00\x01t\x00\x02x");
    session.handle_bytes(b"\x70\x02\x00\x01\x40\x02\x00\x02\x40\x02\x00\x02", now);
    assert_eq!(outputs(&mut session), [Output::Delivered(2)]);
    assert!(session.can_deliver());
}

#[test]
fn silence_closes_after_the_deadline_or_one_and_a_half_keep_alives() {
    let now = start();
    let mut session = Session::new(limits(), now);
    session.handle_timeout(now + Duration::from_millis(9_999));
    assert_eq!(outputs(&mut session), []);
    session.handle_timeout(now + Duration::from_secs(10));
    assert_eq!(outputs(&mut session), [Output::Close(Close::NoConnect)]);
    let mut session = online(CONNECT, None, now);
    session.handle_bytes(b"\xc0\x00", now + Duration::from_secs(14));
    session.handle_timeout(now + Duration::from_millis(28_999));
    assert_eq!(outputs(&mut session), []);
    session.handle_timeout(now + Duration::from_secs(29));
    assert_eq!(outputs(&mut session), [Output::Close(Close::KeepAlive)]);
}

#[test]
fn a_large_packet_on_a_slow_line_is_no_silence() {
    let now = start();
    let mut session = online(CONNECT, None, now);
    said(&mut session);
    for (at, byte) in b"\x32\x05\x00\x01t\x00\x01".iter().enumerate() {
        let now = now + Duration::from_secs(10 * at as u64);
        session.handle_timeout(now);
        session.handle_bytes(&[*byte], now);
    }
    assert!(matches!(outputs(&mut session)[..], [Output::Publish(_)]));
}

#[test]
fn a_release_that_comes_too_early_counts_once_the_message_is_safe() {
    let now = start();
    let mut session = online(PERSISTENT, None, now);
    said(&mut session);
    session.handle_bytes(b"\x34\x05\x00\x01t\x00\x07\x62\x02\x00\x07\x34\x05\x00\x01t\x00\x07", now);
    assert_eq!((outputs(&mut session).len(), said(&mut session)), (2, Vec::new()), "two messages, nothing safe yet");
    session.accepted(id(7));
    session.accepted(id(7));
    assert_eq!(said(&mut session), b"\x50\x02\x00\x07\x70\x02\x00\x07\x50\x02\x00\x07");
    session.handle_bytes(b"\x3c\x05\x00\x01t\x00\x07", now);
    assert_eq!((outputs(&mut session).len(), said(&mut session)), (0, b"\x50\x02\x00\x07".to_vec()));
}

#[test]
fn the_first_packet_decides() {
    fn check(bytes: &[u8], answer: &[u8], why: Close) {
        let now = start();
        let mut session = Session::new(limits(), now);
        session.handle_bytes(bytes, now);
        assert_eq!(outputs(&mut session), [Output::Close(why)], "{bytes:02x?}");
        assert_eq!(said(&mut session), answer, "{bytes:02x?}");
    }
    let unacceptable = Close::Refused(ConnectCode::UnacceptableVersion);
    check(b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x01a", b"\x20\x02\x00\x01", unacceptable);
    check(b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x0a\x00\x01a", b"\x20\x02\x00\x01", unacceptable);
    check(b"\x10\x0d\x00\x04MQTT\x84\x02\x00\x0a\x00\x01a", b"\x20\x02\x00\x01", unacceptable);
    check(b"\x10\x0d\x00\x04HTTP\x04\x02\x00\x0a\x00\x01a", b"", Close::Protocol(ProtocolError::ProtocolName));
    let rejected = Close::Refused(ConnectCode::IdentifierRejected);
    check(b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x0a\x00\x00", b"\x20\x02\x00\x02", rejected);
    check(b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x0a\x00\x00", b"\x20\x02\x00\x02", rejected);
    check(b"\xc0\x00", b"", Close::Protocol(ProtocolError::ConnectExpected));
    check(b"\x10\xff\xff\xff\xff\x01", b"", Close::Protocol(ProtocolError::RemainingLength));
    check(b"\x10\xff\xff\x01", b"", Close::Protocol(ProtocolError::PacketTooLarge));
}

#[test]
fn a_broken_rule_closes_without_an_answer() {
    fn check(bytes: &[u8], why: ProtocolError) {
        let now = start();
        let mut session = online(CONNECT, None, now);
        said(&mut session);
        session.handle_bytes(bytes, now);
        assert_eq!(outputs(&mut session), [Output::Close(Close::Protocol(why))], "{bytes:02x?}");
        assert_eq!(said(&mut session), b"", "{bytes:02x?}");
    }
    check(CONNECT, ProtocolError::SecondConnect);
    check(b"\x00\x00", ProtocolError::ReservedPacketType);
    check(b"\xf0\x00", ProtocolError::ReservedPacketType);
    check(b"\x36\x05\x00\x01t\x00\x01", ProtocolError::QualityOfService);
    check(b"\x38\x03\x00\x01t", ProtocolError::FixedHeaderFlags);
    check(b"\x32\x05\x00\x01t\x00\x00", ProtocolError::PacketIdZero);
    check(b"\x30\x03\x00\x01+", ProtocolError::TopicName);
    check(b"\x30\x02\x00\x00", ProtocolError::TopicName);
    check(b"\x30\x03\x00\x01\xff", ProtocolError::Utf8);
    check(b"\x30\x03\x00\x01\x00", ProtocolError::NulInText);
    check(b"\x30\x02\x00\x05", ProtocolError::PacketTooShort);
    check(b"\x80\x06\x00\x01\x00\x01t\x00", ProtocolError::FixedHeaderFlags);
    check(b"\x82\x06\x00\x01\x00\x01t\x03", ProtocolError::QualityOfService);
    check(b"\x82\x06\x00\x01\x00\x01t\x04", ProtocolError::QualityOfService);
    check(b"\x82\x02\x00\x01", ProtocolError::NoFilters);
    check(b"\xa2\x02\x00\x01", ProtocolError::NoFilters);
    check(b"\x82\x07\x00\x01\x00\x02t#\x00", ProtocolError::TopicFilter);
    check(b"\x40\x03\x00\x01\x00", ProtocolError::TrailingBytes);
    check(b"\xc0\x01\x00", ProtocolError::TrailingBytes);
    check(b"\xd0\x00", ProtocolError::UnexpectedPacket);
    check(b"\x20\x02\x00\x00", ProtocolError::UnexpectedPacket);
    check(b"\x90\x03\x00\x01\x00", ProtocolError::UnexpectedPacket);
    check(b"\xb0\x02\x00\x01", ProtocolError::UnexpectedPacket);
}

#[test]
fn level_3_is_lenient_about_unused_bits_and_never_hears_a_refused_filter() {
    let now = start();
    let mut session = online(CONNECT_3_1, Some(Saved::default()), now);
    assert_eq!(said(&mut session), b"\x20\x02\x00\x00");
    session.handle_bytes(b"\x8a\x06\x00\x01\x00\x01t\x01", now);
    assert_eq!(outputs(&mut session).len(), 1);
    session.granted(id(1), vec![None]);
    assert_eq!(said(&mut session), b"\x90\x03\x00\x01\x00");
}

#[test]
fn packets_behind_connect_wait_and_bytes_behind_disconnect_are_ignored() {
    let now = start();
    let mut session = Session::new(limits(), now);
    session.handle_bytes(&[CONNECT, b"\xc0\x00\xe0\x00\xff\xff"].concat(), now);
    assert!(matches!(outputs(&mut session)[..], [Output::Connect(_)]));
    assert!(!session.wants_read());
    session.admit(None, now);
    assert_eq!(said(&mut session), b"\x20\x02\x00\x00\xd0\x00");
    assert_eq!(outputs(&mut session), [Output::Close(Close::Goodbye)]);
}

#[test]
fn an_idle_session_is_small() {
    let mut session = online(CONNECT, None, start());
    said(&mut session);
    session.release_idle();
    let heap = session.held.capacity() + session.transmit.capacity() + session.outputs.capacity() * size_of::<Output>();
    assert!(size_of::<Session>() + heap < 500, "{} + {heap}", size_of::<Session>());
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_cuts_change_nothing(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), cut in 0usize..200
    ) {
        let now = start();
        let (mut whole, mut halves) = (online(CONNECT, None, now), online(CONNECT, None, now));
        whole.handle_bytes(&bytes, now);
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        halves.handle_bytes(first, now);
        halves.handle_bytes(second, now);
        proptest::prop_assert_eq!(outputs(&mut whole), outputs(&mut halves));
        proptest::prop_assert_eq!(said(&mut whole), said(&mut halves));
    }
}
