//! Bad input costs nothing: random bytes, mutated conversations, stalled handshakes, announced but never sent packets.

use std::time::Duration;

use mdmq::clock::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::support::{
    PATIENCE, Server,
    phone::{Link, service_connect, tls},
    random::Random,
    until, wire,
};

/// How much memory the server may gain by what it was sent: allocator noise, not one packet of what was announced.
const GROWTH_KIB_MAX: u64 = 24 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_random_and_mutated_byte_streams_leave_the_server_serving_and_its_memory_flat() {
    let mut server = Server::start().await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let conversation = conversation(&name, &password);
    let mut random = Random(0x5eed_0001);
    send_all(&server, (0..200).map(|n| stream_of_bytes(&mut random, &conversation, n)).collect()).await;
    let before = server.resident_kib();
    send_all(&server, (0..1000).map(|n| stream_of_bytes(&mut random, &conversation, n)).collect()).await;
    assert!(server.is_running());
    let after = server.resident_kib();
    assert!(after < before + GROWTH_KIB_MAX, "from {before} to {after} KiB");

    let mut phone = server.enrolled("SURVIVOR").await;
    phone.comes_up(&server).await;
    phone.says("Status/Ping", "!").await;
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_inside_and_instead_of_tls_are_survived() {
    let server = Server::start().await;
    let mut random = Random(0x5eed_0002);
    for _ in 0..50 {
        let garbage = random.bytes(300);
        let mut bare = TcpStream::connect(("127.0.0.1", server.ports.mqtt_tls)).await.unwrap();
        let _ = bare.write_all(&garbage).await;
        ends(&mut bare).await;
        let mut inside = tls(server.ports.mqtt_tls, &server.ca_file()).await;
        let _ = inside.write_all(&garbage).await;
        let _ = inside.shutdown().await;
        ends(&mut inside).await;
    }
    server.enrolled("SURVIVOR").await.comes_up(&server).await;
}

#[tokio::test]
async fn packets_that_are_announced_but_never_sent_reserve_nothing() {
    let server = Server::with(&[("MDMQ_MQTT__CONNECT_TIMEOUT_S", "3")]).await;
    let before = server.resident_kib();
    let mut streams = Vec::new();
    for announced in [0x7f_ff_ff_ff_u32, 0xff_ff_ff_7f, 0xff_ff_3f_00] {
        for _ in 0..100 {
            let mut stream = TcpStream::connect(("127.0.0.1", server.ports.mqtt_tcp)).await.unwrap();
            let length = announced.to_be_bytes();
            stream.write_all(&[&[0x10][..], &length].concat()).await.unwrap();
            streams.push(stream);
        }
    }
    for stream in &mut streams {
        ends(stream).await;
    }
    let after = server.resident_kib();
    assert!(after < before + GROWTH_KIB_MAX, "from {before} to {after} KiB");
}

#[tokio::test]
async fn stalled_handshakes_block_nobody_and_end_by_themselves() {
    let server = Server::with(&[("MDMQ_MQTT__HANDSHAKE_TIMEOUT_S", "3")]).await;
    let mut phone = server.enrolled("PROMPT").await;
    let mut stalled = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.ports.mqtt_tls)).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap(); // the beginning of a ClientHello
        }
        stalled.push(stream);
    }
    let began = Clock::System.instant();
    phone.comes_up(&server).await;
    assert!(began.elapsed() < Duration::from_secs(3), "connecting took {:?}", began.elapsed());
    for stream in &mut stalled {
        ends(stream).await;
    }
}

#[tokio::test]
async fn a_connection_without_connect_is_closed_after_a_while() {
    let server = Server::with(&[("MDMQ_MQTT__CONNECT_TIMEOUT_S", "1")]).await;
    let began = Clock::System.instant();
    let mut plain = TcpStream::connect(("127.0.0.1", server.ports.mqtt_tcp)).await.unwrap();
    let mut secure = tls(server.ports.mqtt_tls, &server.ca_file()).await;
    secure.write_all(&[0x10]).await.unwrap();
    ends(&mut plain).await;
    ends(&mut secure).await;
    assert!((900..6000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_packet_beyond_the_limit_closes_the_connection_and_one_below_it_does_not() {
    let server = Server::with(&[("MDMQ_MQTT__PACKET_BYTES_MAX", "100000")]).await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let mut link = Link::service(&server, &name, &password).await;
    link.publishes("site/a", &vec![b'x'; 99_000], 1).await;
    link.sends(&wire::publish("site/a", &vec![b'x'; 101_000], 1, false, 9)).await;
    link.is_closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_reads_nothing_costs_only_its_bounded_queue() {
    let server =
        Server::with(&[("MDMQ_MQTT__QUEUE_MESSAGES_MAX", "100"), ("MDMQ_MQTT__QUEUE_BYTES_MAX", "1000000")]).await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let mut deaf = TcpStream::connect(("127.0.0.1", server.ports.mqtt_tcp)).await.unwrap();
    deaf.write_all(&service_connect(&name, &password, "deaf", true).encode()).await.unwrap();
    deaf.write_all(&wire::subscribe(1, &[("site/#", 0)])).await.unwrap();
    let mut writer = Link::service(&server, &name, &password).await;
    let payload = vec![b'x'; 50_000];
    writer.publishes("site/warm", &payload, 1).await;
    let before = server.resident_kib();
    for _ in 0..2000 {
        writer.publishes("site/a", &payload, 1).await; // 100 MB
    }
    let after = server.resident_kib();
    assert!(after < before + GROWTH_KIB_MAX, "from {before} to {after} KiB");
}

/// A good conversation as packets, to be spoilt.
fn conversation(name: &str, password: &str) -> Vec<Vec<u8>> {
    let mut connect = service_connect(name, password, "mutant", true);
    connect.will = Some(("site/will".to_owned(), b"gone".to_vec(), 1, true));
    vec![
        connect.encode(),
        wire::subscribe(1, &[("site/#", 2), ("+/agent/+/Status/#", 1)]),
        wire::publish("site/a", b"hello", 0, true, 0),
        wire::publish("site/b", b"hello", 1, false, 2),
        wire::publish("site/c", b"hello", 2, true, 3),
        wire::ack(wire::PUBREL, 3),
        wire::unsubscribe(4, &["site/#"]),
        wire::PINGREQ.to_vec(),
        wire::DISCONNECT.to_vec(),
    ]
}

/// Every third is noise, the others are good conversations with something wrong in them.
fn stream_of_bytes(random: &mut Random, conversation: &[Vec<u8>], n: usize) -> Vec<u8> {
    if n.is_multiple_of(3) {
        let length = random.below(2000);
        return random.bytes(length);
    }
    let keep_connect = n % 3 == 1;
    let mut bytes = if keep_connect { conversation[0].clone() } else { Vec::new() };
    let mut rest: Vec<u8> = Vec::new();
    for _ in 0..1 + random.below(12) {
        let first = usize::from(keep_connect);
        rest.extend(&conversation[first + random.below(conversation.len() - first)]);
    }
    for _ in 0..1 + random.below(6) {
        let at = random.below(rest.len());
        match random.below(4) {
            0 => rest[at] = u8::try_from(random.below(256)).unwrap(),
            1 => rest[at] ^= 1 << random.below(8),
            2 => rest.truncate(at + 1),
            _ => rest.insert(at, u8::try_from(random.below(256)).unwrap()),
        }
    }
    bytes.extend(rest);
    bytes
}

async fn send_all(server: &Server, streams: Vec<Vec<u8>>) {
    let mut running = JoinSet::new();
    for bytes in streams {
        while running.len() >= 50 {
            running.join_next().await.unwrap().unwrap();
        }
        let port = server.ports.mqtt_tcp;
        running.spawn(async move {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            ends(&mut stream).await;
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    until("all streams are closed", async || server.metric("mdm_connections").await < 1.0).await;
}

/// Reads until the server closes.
async fn ends(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut heard = vec![0; 4096];
    let read = async { while stream.read(&mut heard).await.is_ok_and(|length| length > 0) {} };
    timeout(PATIENCE, read).await.expect("the server closes the connection");
}
