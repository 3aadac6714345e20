//! What is written is read back, and no input makes the reader panic.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::mqtt::packet::{Connect, Message};

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|number| PacketId::new(number).unwrap())
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn message() -> impl Strategy<Value = Message> {
    ("[a-zü/]{1,20}", payload(), qos(), any::<bool>()).prop_map(|(topic, payload, qos, retain)| Message {
        topic: topic.into(),
        payload,
        qos,
        retain,
    })
}

fn connect() -> impl Strategy<Value = Connect> {
    let version = prop_oneof![Just(Version::V3_1), Just(Version::V3_1_1)];
    let login = prop::option::of(("[a-zü]{0,9}", prop::option::of(payload())));
    (version, "[a-z0-9]{1,30}", any::<bool>(), any::<u16>(), prop::option::of(message()), login).prop_map(
        |(version, client_id, clean_session, keep_alive_s, will, login)| {
            let (username, password) = login.map_or((None, None), |(name, password)| (Some(name), password));
            Connect { version, client_id, clean_session, keep_alive_s, will, username, password }
        },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let filter = prop_oneof!["[a-z]{1,5}(/[a-z]{0,5}){0,3}", Just("#".to_owned()), Just("a/+/b".to_owned())];
    let filters = prop::collection::vec(filter, 1..5);
    prop_oneof![
        connect().prop_map(|connect| Packet::Connect(Box::new(connect))),
        (message(), any::<bool>(), id()).prop_map(|(message, dup, id)| {
            let has_id = message.qos != QoS::AtMostOnce;
            Packet::Publish(Publish {
                dup: dup && has_id,
                qos: message.qos,
                retain: message.retain,
                topic: message.topic,
                packet_id: has_id.then_some(id),
                payload: message.payload,
            })
        }),
        id().prop_map(Packet::Puback),
        id().prop_map(Packet::Pubrel),
        (id(), filters.clone(), qos()).prop_map(|(packet_id, filters, qos)| Packet::Subscribe {
            packet_id,
            filters: filters.into_iter().map(|filter| (filter, qos)).collect(),
        }),
        (id(), filters).prop_map(|(packet_id, filters)| Packet::Unsubscribe { packet_id, filters }),
        (id(), prop::collection::vec(prop::option::of(qos()), 1..5))
            .prop_map(|(packet_id, granted)| Packet::Suback { packet_id, granted }),
        Just(Packet::Connack { session_present: true, code: ConnectCode::NotAuthorized }),
        Just(Packet::Pingreq),
        Just(Packet::Disconnect),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_no_prefix_of_it_is_a_packet(packet in packet()) {
        let mut bytes = Vec::new();
        encode(&packet, &mut bytes);
        let length = bytes.len();
        for end in 0..length {
            prop_assert_eq!(decode(&bytes[..end], 4096, Version::V3_1_1), Ok(None));
        }
        prop_assert_eq!(decode(&bytes, 4096, Version::V3_1_1), Ok(Some((packet, length))));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), first in 0u8..=255) {
        let framed = [&[first, bytes.len() as u8 & 0x7f][..], &bytes].concat();
        for version in [Version::V3_1, Version::V3_1_1] {
            let _ = decode(&bytes, 4096, version);
            let _ = decode(&framed, 4096, version);
        }
    }
}
