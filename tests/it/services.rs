//! Service accounts: retained messages, persistent sessions, several connections, wills, acknowledgements.

use std::{collections::BTreeSet, time::Duration};

use crate::support::{
    Server,
    phone::{Link, service_connect},
    until,
    wire::{self, Connect, Packet},
};

async fn backend(server: &Server) -> (String, String) {
    server.service("backend", &["#:rw"]).await
}

/// A client with a persistent session that hears `site/#`, what it says to come back, and somebody who writes.
async fn archive(server: &Server) -> (Connect, Link, Link) {
    let (name, password) = backend(server).await;
    let connect = service_connect(&name, &password, "archive", false);
    let mut reader = Link::plain(server, &connect).await;
    reader.subscribes("site/#", 1).await;
    (connect, reader, Link::service(server, &name, &password).await)
}

#[tokio::test]
async fn a_retained_message_is_heard_by_later_subscribers_until_it_is_cleared() {
    let server = Server::start().await;
    let (name, password) = backend(&server).await;
    let mut one = Link::service(&server, &name, &password).await;
    one.publishes_with("site/a", b"first", 1, true).await;
    one.publishes_with("site/a", b"second", 1, true).await;

    let mut two = Link::service(&server, &name, &password).await;
    assert_eq!(two.subscribes("site/#", 1).await, 1);
    let heard = two.hears("site/a").await;
    assert_eq!((heard.payload.as_str(), heard.retain, heard.qos), ("second", true, 1));

    one.publishes_with("site/a", b"third", 1, true).await;
    assert!(!two.hears("site/a").await.retain, "live: without the flag");
    one.publishes_with("site/a", b"", 1, true).await;
    two.hears("site/a").await;
    two.subscribes("site/#", 1).await;
    assert_eq!(two.heard_so_far().await, [], "cleared");
}

#[tokio::test]
async fn a_persistent_session_keeps_what_arrives_while_its_client_is_away() {
    let server = Server::start().await;
    let (name, password) = backend(&server).await;
    let connect = |clean| service_connect(&name, &password, "archive", clean);
    let mut reader = Link::plain(&server, &connect(false)).await;
    assert!(!reader.session_present);
    reader.subscribes("site/#", 2).await;
    drop(reader);

    let mut writer = Link::service(&server, &name, &password).await;
    for (topic, qos) in [("site/one", 1), ("site/two", 2)] {
        writer.publishes(topic, topic.as_bytes(), qos).await;
    }
    let mut reader = Link::plain(&server, &connect(false)).await;
    assert!(reader.session_present);
    assert_eq!(reader.hears("site/one").await.qos, 1);
    assert_eq!(reader.hears("site/two").await.qos, 2);
    reader.heard_so_far().await;
    drop(reader);

    let reader = Link::plain(&server, &connect(true)).await;
    assert!(!reader.session_present, "a clean session forgets");
    drop(reader);
    assert!(!Link::plain(&server, &connect(false)).await.session_present);
}

#[tokio::test]
async fn an_unacknowledged_message_is_sent_again_with_the_duplicate_flag() {
    let server = Server::start().await;
    let (connect, mut reader, mut writer) = archive(&server).await;
    writer.publishes("site/a", b"once", 1).await;
    match reader.next().await {
        Some(Packet::Publish { dup: false, id, .. }) => assert!(id > 0),
        other => panic!("{other:?}"),
    }
    drop(reader); // without PUBACK
    let mut reader = Link::plain(&server, &connect).await;
    assert!(reader.hears("site/a").await.dup);
}

#[tokio::test]
async fn a_service_may_connect_many_times_but_once_per_client_id() {
    let server = Server::start().await;
    let (name, password) = backend(&server).await;
    let mut a = Link::plain(&server, &service_connect(&name, &password, "a", true)).await;
    let mut b = Link::plain(&server, &service_connect(&name, &password, "b", true)).await;
    a.heard_so_far().await;
    b.heard_so_far().await;
    let mut again = Link::plain(&server, &service_connect(&name, &password, "a", true)).await;
    a.is_closed().await;
    b.heard_so_far().await;
    again.heard_so_far().await;
}

#[tokio::test]
async fn no_account_can_take_the_session_of_another_by_its_client_id() {
    let server = Server::start().await;
    let (name, password) = backend(&server).await;
    let (other, other_password) = server.service("other", &["#:rw"]).await;
    let mut mine = Link::plain(&server, &service_connect(&name, &password, "shared", false)).await;
    mine.subscribes("site/#", 1).await;
    let mut theirs = Link::plain(&server, &service_connect(&other, &other_password, "shared", false)).await;
    assert!(!theirs.session_present);
    theirs.publishes("site/a", b"hello", 1).await;
    assert_eq!(mine.hears("site/a").await.payload, "hello", "still connected, still subscribed");
}

#[tokio::test]
async fn the_will_of_a_service_is_heard_with_its_flags() {
    let server = Server::start().await;
    let (name, password) = backend(&server).await;
    let mut watcher = Link::service(&server, &name, &password).await;
    watcher.subscribes("site/#", 2).await;
    let mut connect = service_connect(&name, &password, "mortal", true);
    connect.will = Some(("site/will".to_owned(), b"gone".to_vec(), 2, true));
    drop(Link::plain(&server, &connect).await);
    let heard = watcher.hears("site/will").await;
    assert_eq!((heard.payload.as_str(), heard.qos), ("gone", 2));
    watcher.heard_so_far().await;
    watcher.subscribes("site/+", 1).await;
    assert!(watcher.hears("site/will").await.retain);
}

#[tokio::test]
async fn a_quality_of_service_2_message_that_is_said_twice_is_heard_once() {
    let server = Server::start().await;
    let (name, password) = backend(&server).await;
    let mut watcher = Link::service(&server, &name, &password).await;
    watcher.subscribes("site/#", 0).await;
    let mut link = Link::service(&server, &name, &password).await;
    let publish = wire::publish("site/a", b"once", 2, false, 7);
    link.sends(&publish).await;
    assert_eq!(link.next_answer().await, Some(Packet::Ack { kind: wire::PUBREC, id: 7 }));
    let mut again = publish.clone();
    again[0] |= 0x08; // DUP
    link.sends(&again).await;
    assert_eq!(link.next_answer().await, Some(Packet::Ack { kind: wire::PUBREC, id: 7 }));
    link.sends(&wire::ack(wire::PUBREL, 7)).await;
    assert_eq!(link.next_answer().await, Some(Packet::Ack { kind: wire::PUBCOMP, id: 7 }));
    assert_eq!(watcher.hears("site/a").await.payload, "once");
    assert_eq!(watcher.heard_so_far().await, []);
}

#[tokio::test]
async fn what_waits_retained_is_sent_as_the_client_takes_it_and_nothing_of_it_is_lost() {
    let server = Server::with(&[("MDMQ_MQTT__INFLIGHT_MAX", "10"), ("MDMQ_MQTT__QUEUE_MESSAGES_MAX", "20")]).await;
    let (name, password) = backend(&server).await;
    let mut writer = Link::service(&server, &name, &password).await;
    for n in 0..50 {
        writer.publishes_with(&format!("site/{n}"), b"kept", 1, true).await;
    }
    let connect = service_connect(&name, &password, "archive", false);
    let mut reader = Link::plain(&server, &connect).await;
    reader.sends(&wire::subscribe(1, &[("site/#", 1)])).await;
    assert_eq!(reader.next().await, Some(Packet::Suback { id: 1, granted: vec![1] }));
    reader.sends(&wire::PINGREQ).await;
    let mut heard = 0;
    while let Some(Packet::Publish { retain: true, .. }) = reader.next().await {
        heard += 1;
    }
    assert_eq!(heard, 10, "no more than may be unacknowledged");
    writer.publishes("site/live", b"live", 1).await;
    drop(reader); // the rest waits for the session
    let mut reader = Link::plain(&server, &connect).await;
    reader.hears("site/live").await;
    let heard = reader.heard_so_far().await;
    let topics: BTreeSet<_> = heard.iter().map(|it| it.topic.as_str()).collect();
    assert_eq!((heard.len(), topics.len()), (50, 50), "each once, before what came later");
}

#[tokio::test]
async fn a_client_that_is_slow_to_read_is_heard_all_the_while() {
    let server = Server::start().await;
    let (name, password) = backend(&server).await;
    let mut connect = service_connect(&name, &password, "slow", true);
    connect.keep_alive_s = 1;
    let mut reader = Link::plain(&server, &connect).await;
    reader.subscribes("site/#", 0).await;
    let mut writer = Link::service(&server, &name, &password).await;
    for _ in 0..5 {
        writer.publishes("site/large", &vec![b'x'; 4_000_000], 1).await;
    }
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        reader.sends(&wire::PINGREQ).await;
    }
    let (mut large, mut answers) = (0, 0);
    while (large, answers) != (5, 6) {
        match reader.next().await {
            Some(Packet::Publish { payload, .. }) if payload.len() == 4_000_000 => large += 1,
            Some(Packet::Pingresp) => answers += 1,
            other => panic!("{other:?} after {large} messages and {answers} answers"),
        }
    }
}

#[tokio::test]
async fn at_the_limit_of_filters_a_client_may_still_ask_again_for_those_it_has() {
    let server = Server::with(&[("MDMQ_MQTT__SUBSCRIPTIONS_MAX", "2")]).await;
    let (name, password) = backend(&server).await;
    let mut link = Link::service(&server, &name, &password).await;
    for (filter, wish, granted) in [("a", 0, 0), ("b", 0, 0), ("c", 0, 0x80), ("a", 2, 2)] {
        assert_eq!(link.subscribes(filter, wish).await, granted, "{filter}");
    }
}

#[tokio::test]
async fn what_is_asked_for_again_and_again_is_found_once() {
    let server = Server::with(&[("MDMQ_MQTT__INFLIGHT_MAX", "10")]).await;
    let (name, password) = backend(&server).await;
    let mut writer = Link::service(&server, &name, &password).await;
    for n in 0..50 {
        writer.publishes_with(&format!("site/{n}"), b"kept", 1, true).await;
    }
    let mut reader = Link::service(&server, &name, &password).await;
    let overlapping = [("site/#", 1), ("site/+", 1), ("+/+", 1), ("+/#", 1), ("#", 1)].repeat(20);
    reader.sends(&wire::subscribe(1, &overlapping)).await;
    for id in 2..12 {
        // Nothing was acknowledged yet, so ten are on their way and forty wait.
        reader.sends(&wire::subscribe(id, &[("site/#", 1)])).await;
    }
    for _ in 1..12 {
        assert!(matches!(reader.next_answer().await, Some(Packet::Suback { .. })));
    }
    // What waits comes as acknowledgements arrive, which an answer to PINGREQ may overtake.
    let (mut heard, mut topics) = (0, BTreeSet::new());
    until("everything was found", async || {
        let more = reader.heard_so_far().await;
        heard += more.len();
        topics.extend(more.into_iter().map(|it| it.topic));
        topics.len() == 50
    })
    .await;
    heard += reader.heard_so_far().await.len();
    assert!(heard <= 50 + 10 * 10, "{heard} messages: only those that were on their way come again");

    let phone = &mut server.enrolled("ASKING").await;
    phone.connects(&server).await;
    let filter = format!("{}/#", phone.topic);
    phone.link().sends(&wire::subscribe(1, &[(filter.as_str(), 0); 100])).await;
    assert_eq!(phone.link().next_answer().await, Some(Packet::Suback { id: 1, granted: vec![0; 100] }));
    let found: Vec<_> = phone.link().heard_so_far().await.into_iter().map(|it| it.topic).collect();
    let distinct: BTreeSet<_> = found.iter().collect();
    assert!(!found.is_empty() && found.len() == distinct.len(), "{found:?}");
}

#[tokio::test]
async fn subscribing_and_unsubscribing_are_answered_in_their_order() {
    let server = Server::start().await;
    let (name, password) = backend(&server).await;
    let mut link = Link::service(&server, &name, &password).await;
    let both = [wire::subscribe(1, &[("site/a", 1)]), wire::unsubscribe(2, &["site/a"])].concat();
    link.sends(&both).await;
    assert_eq!(link.next().await, Some(Packet::Suback { id: 1, granted: vec![1] }));
    assert_eq!(link.next().await, Some(Packet::Ack { kind: wire::UNSUBACK, id: 2 }));
    link.publishes("site/a", b"nobody", 1).await;
    assert_eq!(link.heard_so_far().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_take_over_a_session_in_a_stream_of_messages_lose_none() {
    const MESSAGES: usize = 3000;
    let server = Server::start().await;
    let (connect, mut reader, mut writer) = archive(&server).await;
    let writing = tokio::spawn(async move {
        for n in 0..MESSAGES {
            writer.publishes(&format!("site/{n}"), b"x", 1).await;
        }
    });
    let mut topics = BTreeSet::new();
    while topics.len() < MESSAGES {
        // The former connection is open when its session is taken, and messages are on their way to it.
        let mut next = Link::plain(&server, &connect).await;
        assert!(next.session_present);
        let heard = next.heard_so_far().await;
        let is_over = writing.is_finished() && heard.is_empty();
        topics.extend(heard.into_iter().map(|it| it.topic));
        reader = next;
        assert!(!is_over || topics.len() == MESSAGES, "only {} of {MESSAGES} came", topics.len());
    }
    drop(reader);
    writing.await.unwrap();
}
