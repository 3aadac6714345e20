//! Attacks on HTTP, and the care that its answers take.

use std::{cell::Cell, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{
    PATIENCE, Phone, Server,
    enrollment::{self, Http, Profile},
    phone::tls,
    stranger::{STRANGE, asks, asks_port, connect_from, ends, get},
    until,
};

fn api_token(phone: &Phone) -> String {
    phone.settings["api_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn guesses_at_tokens_end_in_a_ban_that_spares_who_is_known() {
    let server = Server::with(&[("MDMQ_LIMITS__FAILED_LOGINS_BURST", "10")]).await;
    let (known, unknown) = (server.enrolled("KNOWN").await, server.enrolled("UNKNOWN").await);
    let opens = async |phone: &Phone| {
        let header = format!("Authorization: user_token {}\r\n", api_token(phone));
        asks(&server, STRANGE, &get("/initSession", &header)).await.unwrap()
    };
    assert_eq!(opens(&known).await.0, 200);
    let mut statuses = Vec::new();
    for n in 0..20 {
        statuses.push(asks(&server, STRANGE, &get(&format!("/initSession?user_token=guess{n}"), "")).await.unwrap());
    }
    let (first, last) = (&statuses[0], statuses.iter().find(|it| it.0 == 429).expect("a ban"));
    assert_eq!(
        (first.0, serde_json::from_str(&first.2).ok()),
        (401, Some(json!(["ERROR_GLPI_LOGIN_USER_TOKEN", "parameter user_token seems invalid"])))
    );
    assert_eq!(
        (last.0, serde_json::from_str(&last.2).ok()),
        (429, Some(json!(["ERROR_TOO_MANY_REQUESTS", "Too many attempts, try again later"])))
    );
    assert!(last.1.contains("retry-after: 300") || last.1.contains("retry-after: 29"), "{}", last.1);
    assert_eq!(opens(&known).await.0, 200, "it opened a session from there before");
    let status = opens(&unknown).await.0;
    assert!([200, 429].contains(&status), "{status}: it is one of a few that are looked at, or one of many guesses");
    until("a token that is new there gets in after a moment", async || opens(&unknown).await.0 == 200).await;
    let ada = get("/initSession", "Authorization: Basic YWRhOndyb25nIHBhc3N3b3Jk\r\n");
    assert_eq!(asks(&server, STRANGE, &ada).await.unwrap().0, 429, "passwords of people can be guessed");
    Http::of(&server).session(&api_token(&unknown)).await;
    assert!(server.metric("mdm_bans_total").await >= 1.0);
}

#[tokio::test]
async fn who_was_invited_may_fail_to_enroll_as_often_as_it_takes() {
    let server = Server::with(&[("MDMQ_LIMITS__FAILED_LOGINS_BURST", "5")]).await;
    let (profile, http) = (Profile::android(), Http::of(&server));
    let invitation = enrollment::invite(&server, "CLUMSY", 0).await;
    let session = http.session(&invitation.user_token).await;
    let tries = async |member: &str, value: &str| {
        let mut input = enrollment::enrollment_input("CLUMSY", &profile, &invitation);
        input[member] = json!(value);
        let (status, body) =
            http.send("POST", "/PluginFlyvemdmAgent", &session, Some(&json!({ "input": input }))).await;
        (status, body[0].as_str().unwrap_or_default().to_owned())
    };
    let refused_at_once = timeout(Duration::from_secs(8), async {
        for _ in 0..20 {
            assert_eq!(tries("version", "none").await, (400, "ERROR_GLPI_ADD".into()));
        }
    });
    refused_at_once.await.expect("refusals wait for nothing");
    assert_eq!(server.metric("mdm_bans_total").await, 0.0);
    for n in 0..20 {
        let wrong = format!("{n:064}");
        if tries("_invitation_token", &wrong).await.0 == 429 {
            return;
        }
    }
    panic!("guesses at invitations were never stopped");
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_that_it_names_is_banned() {
    let server = Server::with(&[
        ("MDMQ_LIMITS__FAILED_LOGINS_BURST", "5"),
        ("MDMQ_HTTP__TRUSTED_PROXIES", &format!("[\"{STRANGE}/32\"]")),
    ])
    .await;
    let tries = Cell::new(0);
    let guess = async |from: &str, forwarded: &str| {
        // Another one each time: the same would be answered later and later. Of tokens a few are looked at during a ban as well.
        tries.set(tries.get() + 1);
        let path = format!("/initSession?login=guess{}&password=wrong", tries.get());
        asks(&server, from, &get(&path, &format!("X-Forwarded-For: {forwarded}\r\n"))).await.unwrap().0
    };
    let mut last = 0;
    for _ in 0..20 {
        last = guess(STRANGE, "198.51.100.9").await;
    }
    assert_eq!(last, 429);
    assert_eq!(guess(STRANGE, "203.0.113.5").await, 401, "the proxy speaks for others as well");
    assert_eq!(
        guess(STRANGE, "203.0.113.5, 198.51.100.9").await,
        429,
        "what the guesser wrote himself is not believed"
    );
    assert_eq!(guess(STRANGE, "ü, 198.51.100.9").await, 429, "nor does what is no text hide him");
    assert_eq!(guess("127.0.0.3", "198.51.100.9").await, 401, "this is no proxy: its own address counts");
    for n in 0..20 {
        last = guess("127.0.0.3", &format!("192.0.2.{n}")).await;
    }
    assert_eq!(last, 429, "and it cannot blame others");
}

#[tokio::test]
async fn sessions_and_enrollments_of_one_address_have_a_rate() {
    let limits = [("MDMQ_LIMITS__ADDRESS_SESSIONS_PER_S", "1"), ("MDMQ_LIMITS__ADDRESS_SESSIONS_BURST", "5")];
    let server = Server::with(&limits).await;
    let phone = server.enrolled("HURRIED").await;
    let header = format!("Authorization: user_token {}\r\n", api_token(&phone));
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(asks(&server, STRANGE, &get("/initSession", &header)).await.unwrap());
    }
    assert_eq!(answers[0].0, 200);
    let (status, head, _) = answers.iter().find(|it| it.0 != 200).expect("some are refused");
    assert!(*status == 429 && head.contains("retry-after: 1"), "{head}");
    let refused = server.metric("mdm_sessions_rate_limited_total").await;
    assert!(refused >= 1.0);

    // Enrollments of another address, with a session that was opened elsewhere: nobody else has used its allowance.
    let invitation = enrollment::invite(&server, "CROWD", 0).await;
    let session = Http::of(&server).session(&invitation.user_token).await;
    let mut input = enrollment::enrollment_input("CROWD", &Profile::android(), &invitation);
    input["version"] = json!("none");
    let body = json!({ "input": input }).to_string();
    let attempt = format!(
        "POST /PluginFlyvemdmAgent HTTP/1.1\r\nHost: mdm\r\nSession-Token: {session}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(asks(&server, "127.0.0.7", &attempt).await.unwrap());
    }
    assert_eq!(answers[0].0, 400, "the first is looked at: {}", answers[0].2);
    let (status, head, _) = answers.iter().find(|it| it.0 != 400).expect("some are refused");
    assert!(*status == 429 && head.contains("retry-after: 1"), "{status} {head}");
    let late = answers.iter().filter(|it| it.0 == 429).count();
    assert_eq!(server.metric("mdm_sessions_rate_limited_total").await, refused + late as f64);
}

#[tokio::test]
async fn more_passwords_than_may_wait_are_asked_to_come_again() {
    let generous = [("MDMQ_LIMITS__ADDRESS_SESSIONS_BURST", "1000"), ("MDMQ_LIMITS__FAILED_LOGINS_BURST", "1000")];
    let server = Server::with(&generous).await;
    let login = |n: usize| get(&format!("/initSession?login=nobody{n}&password=guess"), "");
    let guesses: Vec<String> = (0..150).map(login).collect();
    let statuses = futures_util::future::join_all(guesses.iter().map(|it| asks(&server, STRANGE, it))).await;
    let count = |status: u16| statuses.iter().filter(|it| it.as_ref().is_some_and(|it| it.0 == status)).count();
    assert!(count(503) >= 1 && count(401) >= 64, "{} refused, {} looked at", count(503), count(401));
    assert_eq!(server.metric("mdm_passwords_crowded_out_total").await, count(503) as f64);
    assert_eq!(server.metric("mdm_passwords_waiting").await, 0.0);
    assert_eq!(asks(&server, STRANGE, &login(150)).await.unwrap().0, 401, "and there is room again");
}

#[tokio::test]
async fn guesses_at_the_administrators_token_are_slowed_down_and_the_right_one_is_not() {
    let server = Server::with(&[("MDMQ_LIMITS__FAILED_LOGINS_BURST", "3")]).await;
    let guess = get("/api/v1/agents", "Authorization: Bearer wrong\r\n");
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(asks_port(server.ports.admin, STRANGE, &guess).await.unwrap().0);
        if statuses.last() == Some(&429) {
            break;
        }
    }
    assert_eq!((statuses.first(), statuses.last()), (Some(&401), Some(&429)), "{statuses:?}");
    let right = get("/api/v1/agents", &format!("Authorization: Bearer {}\r\n", server.admin_token()));
    assert_eq!(asks_port(server.ports.admin, STRANGE, &right).await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_come_byte_by_byte_have_their_time_and_no_more() {
    let server = Server::with(&[("MDMQ_HTTP__HEADER_TIMEOUT_S", "1")]).await;
    let before = server.resident_kib();
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = connect_from(STRANGE, server.ports.http).await.unwrap();
        stream.write_all(b"GET /initSession HTTP/1.1\r\nX-A: b").await.unwrap();
        slow.push(stream);
    }
    server.enrolled("SERVED").await;
    for stream in &mut slow {
        let _ = stream.write_all(b"c").await;
        ends(stream).await;
    }
    assert!(server.resident_kib() < before + (48 << 10));
}

#[tokio::test]
async fn many_connections_of_one_address_leave_places_for_the_others() {
    let server = Server::with(&[("MDMQ_HTTP__ADDRESS_CONNECTIONS_MAX", "50")]).await;
    let mut open = Vec::new();
    for _ in 0..300 {
        open.extend(connect_from(STRANGE, server.ports.http).await);
    }
    until("the rest is turned away", async || server.metric("mdm_connections_turned_away_total").await >= 250.0).await;
    server.enrolled("SERVED").await;
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = Server::start().await;
    let mut stream = connect_from(STRANGE, server.ports.http).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
    for _ in 0..1000 {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    ends(&mut stream).await;
    server.enrolled("SERVED").await;
}

#[tokio::test]
async fn a_head_may_be_as_large_as_the_settings_say() {
    let server = Server::with(&[("MDMQ_HTTP__HEADER_BYTES_MAX", "8192")]).await;
    let empty = get("/crl.pem", "X-Filler: \r\n").len();
    for port in [server.ports.http, server.ports.admin] {
        for (bytes, is_refused) in [(8192, false), (8193, true), (12_000, true), (100_000, true)] {
            let head = get("/crl.pem", &format!("X-Filler: {}\r\n", "x".repeat(bytes - empty)));
            assert_eq!(head.len(), bytes);
            // What is far beyond is not read to its end, and the answer may be lost with the connection.
            let status = asks_port(port, STRANGE, &head).await.map_or(431, |it| it.0);
            assert_eq!(status == 431, is_refused, "{bytes}: {status}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_far_too_large_is_refused_when_it_is_announced() {
    let server = Server::with(&[("MDMQ_HTTP__BODY_BYTES_MAX", "1000000")]).await;
    for lines in ["Content-Length: 9999999999", "Content-Length: 1000001\r\nExpect: 100-continue"] {
        let head = format!("POST /PluginFlyvemdmAgent HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n\r\n");
        let (status, head, body) = asks(&server, STRANGE, &head).await.unwrap();
        assert_eq!(status, 413, "{lines}: {head}");
        assert!(body.contains("The request body is too large"), "{body}");
    }
}

#[tokio::test]
async fn a_body_of_tiny_objects_is_refused_before_it_becomes_a_tree() {
    let server = Server::start().await;
    let known = server.enrolled("KNOWN").await;
    let bomb = format!(r#"{{"user_token":"x","input":[{}0]}}"#, r#"{"":0},"#.repeat(600_000));
    let before = server.resident_kib();
    let client = reqwest::Client::new();
    for _ in 0..3 {
        let answer = client.post(format!("{}/initSession", server.http_url())).body(bomb.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 413);
    }
    assert!(server.resident_kib() < before + (48 << 10), "{} KiB, before {before}", server.resident_kib());
    // It costs no room that others need.
    Http::of(&server).session(&api_token(&known)).await;
}

#[tokio::test]
async fn bodies_beyond_what_memory_may_hold_are_asked_to_come_again() {
    let limits = [("MDMQ_HTTP__BODY_BYTES_MAX", "1000000"), ("MDMQ_HTTP__BODIES_BYTES_MAX", "1500000")];
    let server = Server::with(&limits).await;
    let head = "POST /initSession HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n";
    let mut first = None;
    until("the second finds no room", async || {
        // Where the second is faster it is the first that finds none: then both try again.
        let mut stream = connect_from(STRANGE, server.ports.http).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b' '; 900_000]).await.unwrap();
        first = Some(stream);
        let body = " ".repeat(1_000_000);
        let (status, _, text) = asks(&server, STRANGE, &format!("{head}{body}")).await.unwrap_or_default();
        status == 503 && text.contains("busy")
    })
    .await;
    assert!(server.metric("mdm_requests_crowded_out_total").await >= 1.0);
    drop(first);
    until("there is room again", async || {
        let body = " ".repeat(1_000_000);
        asks(&server, STRANGE, &format!("{head}{body}")).await.is_some_and(|it| it.0 == 400)
    })
    .await;
}

#[tokio::test]
async fn every_answer_is_careful_and_over_tls_it_insists_on_tls() {
    let server = Server::with(&[("MDMQ_HTTP__TLS_LISTEN", "127.0.0.1:0")]).await;
    let careful =
        ["x-content-type-options: nosniff", "referrer-policy: no-referrer", "content-security-policy: ", "no-store"];
    let check = |head: &str| {
        for line in careful {
            assert!(head.contains(line), "{line} in {head}");
        }
    };
    for path in ["/initSession", "/getFullSession", "/nothing", "/openapi.json", "/deeplink/?data=x"] {
        let (_, head, _) = asks(&server, STRANGE, &get(path, "")).await.unwrap();
        check(&head);
        assert!(!head.contains("strict-transport-security"), "{head}");
    }
    for path in ["/api/v1/agents", "/metrics", "/healthz"] {
        check(&asks_port(server.ports.admin, STRANGE, &get(path, "")).await.unwrap().1);
    }
    assert_ne!(server.ports.http_tls, 0);
    let mut stream = tls(server.ports.http_tls, &server.ca_file()).await;
    stream.write_all(get("/initSession", "").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 400 ") && answer.contains("error_login_parameters_missing"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");
    check(&answer);
}

#[tokio::test]
async fn a_session_ends_when_its_life_is_over_although_it_is_used() {
    let server = Server::with(&[("MDMQ_HTTP__SESSION_LIFE_S", "2")]).await;
    let phone = server.enrolled("SHORT").await;
    let http = Http::of(&server);
    let session = http.session(&api_token(&phone)).await;
    assert_eq!(http.get("/getFullSession", &session).await.0, 200);
    until("the session is over", async || http.get("/getFullSession", &session).await.0 == 401).await;
}

/// Whoever reads the log, however much was asked to be in it, learns no secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_holds_no_secret_at_any_level() {
    let server = Server::with(&[("MDMQ_LOG__LEVEL", "trace"), ("MDMQ_HTTP__TLS_LISTEN", "127.0.0.1:0")]).await;
    let invitation = enrollment::invite(&server, "DISCREET", 0).await;
    let mut phone = enrollment::enroll_with(&server, "DISCREET", &Profile::android(), &invitation).await;
    phone.comes_up(&server).await;
    phone.says("Status/Ping", "!").await;
    let http = Http::of(&server);
    let session = http.session(&api_token(&phone)).await;
    for path in [format!("/getFullSession?session_token={session}"), "/initSession?user_token=wrong-token".into()] {
        http.get(&path, "").await;
    }
    http.send("GET", "/initSession", "", Some(&json!({"login": "ada", "password": "wrong-password"}))).await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    crate::support::phone::Link::service(&server, &name, &password).await;
    let mut stranger = Phone::new("DISCREET", "wrong-mqtt-password", &phone.topic);
    assert_eq!(stranger.tries_to_connect(&server).await, 4);
    let user = json!({"email": "ada@example.com", "password": "correct horse battery"});
    assert_eq!(server.admin("POST", "/api/v1/users", Some(&user)).await.0, 201);
    let pair = [("login", "ada@example.com"), ("password", "correct horse battery")];
    let asked: Value = pair.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    assert_eq!(http.send("GET", "/initSession", "", Some(&asked)).await.0, 200);
    tokio::time::timeout(Duration::from_secs(20), phone.says_goodbye()).await.unwrap();

    let log = server.log();
    assert!(log.lines().count() > 100, "trace says a lot");
    let secrets = [
        ("user token", invitation.user_token.as_str()),
        ("invitation token", &invitation.invitation_token),
        ("password of the device", &phone.password),
        ("token of the agent", &api_token(&phone)),
        ("session token", &session),
        ("password of the service", &password),
        ("password of a person", "correct horse battery"),
        ("token of the administrator", &server.admin_token()),
        ("a wrong token", "wrong-token"),
        ("a wrong password", "wrong-password"),
        ("a wrong password of a device", "wrong-mqtt-password"),
    ];
    for (what, secret) in secrets {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{what} is in the log");
    }
}
