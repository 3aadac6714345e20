//! Attacks on MQTT from another address of this machine. In each a well-behaved device goes on being served, memory stays within a
//! bound, and what happened is counted.

use tokio::{io::AsyncWriteExt, task::JoinSet, time::timeout};

use crate::support::{
    PATIENCE, Phone, Server,
    phone::{Link, service_connect},
    stranger::{STRANGE, connect_from, ends, tries},
    until,
    wire::{self, Packet},
};

/// What an attack of these sizes may cost, in KiB: the buffers of its connections and allocator noise.
const GROWTH_KIB_MAX: u64 = 48 << 10;

/// A device that is served all the time.
struct Calm {
    phone: Phone,
    before_kib: u64,
}

impl Calm {
    async fn on(server: &Server) -> Calm {
        let mut phone = server.enrolled("CALM").await;
        phone.comes_up(server).await;
        Calm { phone, before_kib: server.resident_kib() }
    }

    /// Its reports are acknowledged, and it may come back.
    async fn is_served(&mut self, server: &Server) {
        self.phone.says("Status/Ping", "!").await;
        self.phone.comes_up(server).await;
        self.phone.says("Status/Ping", "!").await;
    }

    fn memory_is_bounded(&self, server: &Server) {
        let now = server.resident_kib();
        assert!(now < self.before_kib + GROWTH_KIB_MAX, "from {} to {now} KiB", self.before_kib);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_wrong_passwords_bans_its_address_and_nobody_else() {
    let server = Server::with(&[("MDMQ_LIMITS__FAILED_LOGINS_BURST", "40")]).await;
    let mut calm = Calm::on(&server).await;
    let refused = guesses(&server, 200).await;
    assert!(
        (40..=150).contains(&refused),
        "{refused} guesses were looked at: those before the ban, and a few a second since"
    );
    assert!(server.metric("mdm_bans_total").await >= 1.0);
    assert!(server.metric("mdm_failed_logins_total").await >= 40.0);
    until("the address is turned away before it says anything", async || {
        guesses(&server, 40).await;
        server.metric("mdm_connections_turned_away_total").await >= 1.0
    })
    .await;
    calm.is_served(&server).await;
    calm.memory_is_bounded(&server);
    assert_eq!(server.log().matches("banned 127.0.0.2").count(), 1, "one line:\n{}", server.log());
}

/// Wrong logins, some at a time, under a name each; says how many were looked at.
async fn guesses(server: &Server, count: usize) -> usize {
    let mut looked_at = 0;
    for _ in 0..count / 20 {
        let tried = (0..20).map(|n| {
            let name = format!("guess{n}-{looked_at}");
            async move { tries(server, STRANGE, &name, "wrong").await }
        });
        looked_at += futures_util::future::join_all(tried).await.iter().filter(|it| **it == Some(4)).count();
    }
    looked_at
}

#[tokio::test]
async fn a_stranger_behind_the_same_address_locks_no_device_out() {
    let server = Server::with(&[("MDMQ_LIMITS__FAILED_LOGINS_BURST", "5")]).await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let newcomer = server.service("newcomer", &["#:rw"]).await;
    assert_eq!(tries(&server, STRANGE, &name, &password).await, Some(0));
    assert!(guesses(&server, 20).await >= 5);
    assert!(server.metric("mdm_bans_total").await >= 1.0);
    assert_eq!(tries(&server, STRANGE, &name, &password).await, Some(0), "it logged in from there before");
    until("an account that nobody knows there gets in after a moment", async || {
        tries(&server, STRANGE, &newcomer.0, &newcomer.1).await == Some(0)
    })
    .await;
    assert!(server.metric("mdm_banned_logins_total").await >= 1.0);
    assert_eq!(tries(&server, "127.0.0.3", &newcomer.0, &newcomer.1).await, Some(0));
}

#[tokio::test]
async fn connects_beyond_the_rate_of_an_address_are_turned_away_before_they_cost_anything() {
    let limits = [("MDMQ_LIMITS__ADDRESS_CONNECTS_PER_S", "1"), ("MDMQ_LIMITS__ADDRESS_CONNECTS_BURST", "30")];
    let server = Server::with(&limits).await;
    let mut calm = Calm::on(&server).await;
    let mut answered = 0;
    for _ in 0..100 {
        let Ok(mut stream) = connect_from(STRANGE, server.ports.mqtt_tcp).await else { continue };
        let connect = service_connect("nobody", "wrong", "x", true).encode();
        let _ = stream.write_all(&connect[..5]).await;
        let is_open = timeout(std::time::Duration::from_millis(20), ends(&mut stream)).await.is_err();
        answered += usize::from(is_open);
    }
    assert!((25..=45).contains(&answered), "{answered} were let in");
    assert!(server.metric("mdm_connections_turned_away_total").await >= 50.0);
    calm.is_served(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_and_stalled_handshakes_take_only_the_places_of_their_address() {
    let limits = [("MDMQ_LIMITS__ADDRESS_HANDSHAKES_MAX", "100"), ("MDMQ_LIMITS__ADDRESS_CONNECTIONS_MAX", "200")];
    let server = Server::with(&limits).await;
    let mut calm = Calm::on(&server).await;
    let mut stalled = Vec::new();
    for n in 0..400 {
        let Ok(mut stream) = connect_from(STRANGE, server.ports.mqtt_tls).await else { continue };
        if n % 2 == 0 {
            let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await; // the beginning of a ClientHello
        }
        stalled.push(stream);
    }
    for _ in 0..400 {
        stalled.extend(connect_from(STRANGE, server.ports.mqtt_tcp).await);
    }
    until("the rest is turned away", async || server.metric("mdm_connections_turned_away_total").await >= 600.0).await;
    assert!(server.metric("mdm_tls_handshakes_in_progress").await <= 100.0);
    assert!(server.metric("mdm_open_sockets").await <= 210.0);
    calm.is_served(&server).await;
    calm.memory_is_bounded(&server);
}

/// The share of the processor is the scheduler's business; what we can show is what it is told.
#[tokio::test]
async fn strangers_http_and_back_ends_have_threads_that_leave_half_of_the_cores_to_devices() {
    let server = Server::start().await;
    server.enrolled("WEIGHED").await.comes_up(&server).await;
    let cores_of = |thread: &str| {
        let status = std::fs::read_to_string(format!("/proc/{}/task/{thread}/status", server.pid())).unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
        let range = |it: &str| -> Vec<u32> {
            let (from, to) = it.split_once('-').unwrap_or((it, it));
            (from.parse().unwrap()..=to.parse().unwrap()).collect()
        };
        list.split(',').flat_map(range).collect::<Vec<u32>>()
    };
    let all = cores_of(&server.pid().to_string());
    let niceness_of = |thread: &str| -> (String, i32) {
        let stat = std::fs::read_to_string(format!("/proc/{}/task/{thread}/stat", server.pid())).unwrap();
        let (name, figures) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        (name.to_owned(), figures.split_whitespace().nth(16).unwrap().parse().unwrap())
    };
    let (_, usual) = niceness_of(&server.pid().to_string());
    let expected = |name: &str| match name {
        "door" => 19,
        "web" | "services" => 10,
        // Also those that open a database for HTTP.
        _ => usual,
    };
    let mut kinds = std::collections::BTreeSet::new();
    for thread in std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap() {
        let thread = thread.unwrap().file_name().into_string().unwrap();
        let (name, niceness) = niceness_of(&thread);
        assert_eq!(niceness, expected(&name), "{name}");
        let is_aside = ["door", "web", "services"].contains(&&*name) && all.len() > 1;
        let half = if is_aside { &all[all.len() / 2..] } else { &all[..] };
        assert_eq!(cores_of(&thread), half, "{name}");
        kinds.insert(name);
    }
    assert!(["door", "web", "services"].iter().all(|it| kinds.contains(*it)), "{kinds:?}");
    assert!(kinds.iter().any(|it| it.starts_with("sqlite-")), "{kinds:?}");
}

#[tokio::test]
async fn a_connect_that_comes_byte_by_byte_has_its_time_and_no_more() {
    let server = Server::with(&[("MDMQ_MQTT__CONNECT_TIMEOUT_S", "1")]).await;
    let mut calm = Calm::on(&server).await;
    let mut slow = JoinSet::new();
    for _ in 0..50 {
        let mut stream = connect_from(STRANGE, server.ports.mqtt_tcp).await.unwrap();
        slow.spawn(async move {
            let connect = service_connect("nobody", &"x".repeat(500), "x", true).encode();
            for byte in connect {
                if stream.write_all(&[byte]).await.is_err() {
                    return true;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            false
        });
    }
    calm.is_served(&server).await;
    while let Some(was_closed) = slow.join_next().await {
        assert!(was_closed.unwrap(), "ten seconds of bytes were listened to");
    }
    calm.memory_is_bounded(&server);
}

#[tokio::test]
async fn a_giant_packet_of_a_stranger_is_refused_when_it_is_announced() {
    let server = Server::start().await;
    let mut calm = Calm::on(&server).await;
    // 100 KB: less than a packet of a known client may have, more than a CONNECT may.
    for announced in [&[0x10, 0xa0, 0x8d, 0x06][..], &[0x10, 0xff, 0xff, 0xff, 0x7f], &[0x30, 0xff, 0xff, 0xff, 0x7f]] {
        let mut stream = connect_from(STRANGE, server.ports.mqtt_tcp).await.unwrap();
        stream.write_all(announced).await.unwrap();
        ends(&mut stream).await;
    }
    assert!(server.metric("mdm_protocol_errors_total").await >= 3.0);
    calm.is_served(&server).await;
    calm.memory_is_bounded(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_of_subscriptions_and_retained_messages_meet_their_bounds() {
    let bounds = [("MDMQ_MQTT__RETAINED_MESSAGES_MAX", "500"), ("MDMQ_MQTT__RETAINED_BYTES_MAX", "1000000")];
    let server = Server::with(&bounds).await;
    let mut calm = Calm::on(&server).await;
    let (name, password) = server.service("bomber", &["#:rw"]).await;
    let mut bomber = Link::service(&server, &name, &password).await;
    for round in 0..20 {
        let filters: Vec<String> = (0..500).map(|n| format!("+/{round}/+/{n}/#")).collect();
        let filters: Vec<(&str, u8)> = filters.iter().map(|it| (it.as_str(), 1)).collect();
        bomber.sends(&wire::subscribe(1 + round, &filters)).await;
        bomber.next_answer().await.expect("an answer to every bomb");
    }
    for n in 0..1000 {
        bomber.publishes_with(&format!("site/{n}"), &[b'x'; 4000], 1, true).await;
    }
    assert!(server.metric("mdm_subscriptions_refused_total").await >= 9_900.0);
    assert!(server.metric("mdm_retained_refused_total").await >= 500.0);
    calm.is_served(&server).await;
    calm.memory_is_bounded(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inventories_that_expand_or_nest_without_end_are_refused() {
    let server = Server::start().await;
    let mut calm = Calm::on(&server).await;
    let mut laughs = String::from("<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY l0 \"lol\">");
    for n in 1..10 {
        laughs += &format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10));
    }
    laughs += "]><REQUEST><CONTENT>&l9;</CONTENT></REQUEST>";
    let deep = "<a>".repeat(1_000_000);
    let outside = "<!DOCTYPE x [<!ENTITY f SYSTEM \"file:///etc/passwd\">]><REQUEST>&f;</REQUEST>";
    for bomb in [&laughs, &deep, outside] {
        calm.phone.says("Status/Inventory", bomb).await;
    }
    until("the bombs are counted", async || {
        let (_, page) = server.page("/metrics").await;
        let is_it =
            |it: &&str| it.starts_with("mdm_reports_total{report=\"Status/Inventory\"") && !it.contains("accepted");
        page.lines().find(is_it).is_some_and(|it| it.ends_with(" 3"))
    })
    .await;
    calm.is_served(&server).await;
    calm.memory_is_bounded(&server);
}

#[tokio::test]
async fn a_device_that_strains_the_patience_of_the_server_is_answered_and_heard_more_rarely() {
    let server = Server::start().await;
    let mut phone = server.enrolled("NONSENSE").await;
    phone.keep_alive_s = 1;
    phone.comes_up(&server).await;
    let topic = format!("{}/Status/Inventory", phone.topic);
    let bombs: Vec<u8> = (1..=35).flat_map(|id| wire::publish(&topic, b"<a><b>", 1, false, id)).collect();
    phone.link().sends(&bombs).await;
    for id in 1..=35 {
        assert_eq!(phone.link().next_answer().await, Some(Packet::Ack { kind: wire::PUBACK, id }));
    }
    let nonsense = server.metric("mdm_device_pauses_total").await;
    assert!(nonsense >= 1.0);
    // Its silence is ours meanwhile: it is not taken for dead.
    phone.link().heard_so_far().await;
    phone.says("Status/Online", r#"{"online":true}"#).await;

    let filters: Vec<String> = (0..600).map(|n| format!("{}/{n}/#", phone.topic)).collect();
    let filters: Vec<_> = filters.iter().map(|it| (it.as_str(), 0)).collect();
    phone.link().sends(&wire::subscribe(36, &filters)).await;
    assert_eq!(phone.link().next_answer().await, Some(Packet::Suback { id: 36, granted: vec![0; 600] }));
    assert!(server.metric("mdm_device_pauses_total").await > nonsense);
    phone.says("Status/Online", r#"{"online":true}"#).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_comes_back_all_the_time_waits_and_two_places_with_one_password_are_noticed() {
    let server =
        Server::with(&[("MDMQ_LIMITS__RECONNECTS_PER_MIN", "600"), ("MDMQ_LIMITS__RECONNECTS_BURST", "5")]).await;
    let mut phone = server.enrolled("TWICE").await;
    for _ in 0..20 {
        phone.connects(&server).await;
    }
    assert!(server.metric("mdm_connects_held_total").await >= 1.0);
    until("the alarm is raised", async || server.metric("mdm_clone_alarms_total").await >= 1.0).await;
    assert_eq!(server.log().matches("two places keep taking TWICE").count(), 1, "{}", server.log());
    timeout(PATIENCE, phone.comes_up(&server)).await.expect("it is never refused for ever");
}

#[tokio::test]
async fn strangers_write_no_long_lines_into_the_log_and_none_before_connect() {
    let server = Server::start().await;
    let mut stream = connect_from(STRANGE, server.ports.mqtt_tcp).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    ends(&mut stream).await;
    assert_eq!(server.metric("mdm_protocol_errors_total").await, 1.0);
    assert!(!server.log().contains("closed a connection"), "{}", server.log());

    let (name, id) = ("n\u{e4}".repeat(2_000), "i".repeat(20_000));
    let mut stream = connect_from(STRANGE, server.ports.mqtt_tcp).await.unwrap();
    stream.write_all(&service_connect(&name, "wrong", &id, true).encode()).await.unwrap();
    ends(&mut stream).await;
    let log = server.log();
    let line = log.lines().find(|it| it.contains("refused a connection")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(&"i".repeat(64)) && line.contains(&"n\u{e4}".repeat(32)), "{line}");
    assert!(line.len() < 500, "{} bytes", line.len());

    // Some devices say their password where their name belongs.
    let password = "Zz9".repeat(11)[..32].to_owned();
    let mut stream = connect_from(STRANGE, server.ports.mqtt_tcp).await.unwrap();
    stream.write_all(&service_connect(&password, "wrong", "phone", true).encode()).await.unwrap();
    ends(&mut stream).await;
    until("the refusal is in the log", async || server.log().matches("refused a connection").count() == 2).await;
    assert!(!server.log().contains(&password), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowds_of_two_addresses_shut_nobody_out() {
    let limits = [
        ("MDMQ_LIMITS__HANDSHAKES_MAX", "100"),
        ("MDMQ_LIMITS__ADDRESS_HANDSHAKES_MAX", "60"),
        ("MDMQ_HTTP__CONNECTIONS_MAX", "100"),
        ("MDMQ_HTTP__ADDRESS_CONNECTIONS_MAX", "60"),
    ];
    let server = Server::with(&limits).await;
    let mut calm = Calm::on(&server).await;
    let mut silent = Vec::new();
    for _ in 0..60 {
        for (address, port) in [STRANGE, "127.0.0.3"]
            .iter()
            .flat_map(|it| [server.ports.mqtt_tls, server.ports.mqtt_tcp, server.ports.http].map(|port| (*it, port)))
        {
            silent.extend(connect_from(address, port).await);
        }
    }
    until("all places are taken", async || {
        let (_, page) = server.page("/metrics").await;
        page.contains(r#"listener="mqtt",reason="handshakes"#) && page.contains(r#"listener="http",reason="full"#)
    })
    .await;
    calm.is_served(&server).await;
    server.enrolled("NEW").await.comes_up(&server).await;
    let (_, page) = server.page("/metrics").await;
    for listener in ["mqtt", "http"] {
        assert!(page.contains(&format!(r#"listener="{listener}",reason="displaced""#)), "{listener}");
    }
    calm.memory_is_bounded(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_that_are_never_completed_share_what_memory_there_is() {
    let limits = [("MDMQ_MQTT__PACKET_BYTES_MAX", "1048576"), ("MDMQ_MQTT__UNFINISHED_BYTES_MAX", "2097152")];
    let server = Server::with(&limits).await;
    let mut calm = Calm::on(&server).await;
    let (name, password) = server.service("bomber", &["#:rw"]).await;
    let mut begun = Vec::new();
    for _ in 0..40 {
        let mut stream = connect_from(STRANGE, server.ports.mqtt_tcp).await.unwrap();
        // 60,000 bytes of CONNECT are announced, 50,000 come.
        let _ = stream
            .write_all(&[&[0x10, 0xe0, 0xd4, 0x03][..], b"\x00\x04MQTT\x04\x02\x00\x3c", &[b'x'; 50_000]].concat())
            .await;
        begun.push(stream);
    }
    for n in 0..10 {
        let mut stream = connect_from(STRANGE, server.ports.mqtt_tcp).await.unwrap();
        stream.write_all(&service_connect(&name, &password, &format!("bomber-{n}"), true).encode()).await.unwrap();
        assert!(matches!(wire::read(&mut stream).await, Ok(Packet::Connack { code: 0, .. })));
        // A message of 1,000,000 bytes, of which 900,000 come.
        let _ = stream.write_all(&[&[0x30, 0xc0, 0x84, 0x3d][..], b"\x00\x01t", &[b'x'; 900_000]].concat()).await;
        begun.push(stream);
    }
    let crowded = async || {
        let (_, page) = server.page("/metrics").await;
        let line = page.lines().find(|it| it.starts_with("mdm_disconnects_total{reason=\"crowded\""));
        line.and_then(|it| it.rsplit_once(' ')?.1.parse::<f64>().ok()).unwrap_or_default()
    };
    until("whoever does not fit is disconnected", async || crowded().await >= 28.0 + 8.0).await;
    calm.phone.says("Status/Inventory", &crate::support::enrollment::inventory_xml("CALM")).await;
    calm.is_served(&server).await;
    calm.memory_is_bounded(&server);
}
