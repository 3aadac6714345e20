//! Service accounts: retained messages, persistent sessions, several connections, wills, acknowledgements.

use crate::support::{
    Server,
    phone::{Link, service_connect},
    wire::{self, Packet},
};

async fn backend(server: &Server) -> (String, String) {
    server.service("backend", &["#:rw"]).await
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
    let (name, password) = backend(&server).await;
    let connect = service_connect(&name, &password, "archive", false);
    let mut reader = Link::plain(&server, &connect).await;
    reader.subscribes("site/#", 1).await;
    let mut writer = Link::service(&server, &name, &password).await;
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
