//! How devices get files and packages: rows, contents, ranges, and who sees what.

use std::{fs, io::Read, net::TcpStream};

use serde_json::json;

use crate::support::{
    apk,
    contents::{OCTETS, World, download_begins, pattern, refusal, rest, session_of, written},
    enrollment::{Http, invite},
};

#[tokio::test]
async fn the_download_of_the_use_cases_works_word_for_word() {
    let world = World::new().await;
    let content = pattern(504_750);
    assert_eq!(world.file("b_1_q_0_p_0.jpg", &content).await, 1, "the example asks for number 1");
    let path = format!("/PluginFlyvemdmFile/1?session_token={}", world.session);
    let headers = [("Accept", OCTETS), ("Content-Type", "application/json"), ("range", "bytes=0-")];
    let answer = world.get(&path, &headers).await;
    assert!(answer.body == content);
    insta::assert_snapshot!(answer.lines(), @r#"
    206
    accept-ranges: bytes
    access-control-expose-headers: content-type, content-range, accept-range
    cache-control: private, must-revalidate
    connection: keep-alive
    content-disposition: attachment; filename="b_1_q_0_p_0.jpg"
    content-length: 504750
    content-range: bytes 0-504749/504750
    content-security-policy: default-src 'none'; frame-ancestors 'none'
    content-transfer-encoding: binary
    content-type: application/octet-stream
    date: (a time)
    etag: "651edde3da2cd6126da2e01906e3b6739bf8e2e98d1f77f6abfee54f6bd05f16"
    expires: Mon, 26 Nov 1962 00:00:00 GMT
    last-modified: (a time)
    pragma: private
    referrer-policy: no-referrer
    x-content-type-options: nosniff
    x-frame-options: DENY
    "#);

    let application = written(&world.server, "probe.apk", &apk::apk("org.example.probe", "1.2.3", 10_203));
    world.server.cli(&["package", "add", application.to_str().unwrap()]).await;
    let path = format!("/PluginFlyvemdmPackage/1?session_token={}", world.session);
    let answer = world.get(&path, &headers).await;
    assert_eq!(answer.status, 206);
    assert!(answer.body == fs::read(&application).unwrap());
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"probe.apk\"");
}

#[tokio::test]
async fn rows_are_shown_as_json_unless_the_content_is_asked_for() {
    let world = World::new().await;
    let file = world.file("notes.txt", b"some text").await;
    let path = format!("/PluginFlyvemdmFile/{file}");
    let session = ("Session-Token", world.session.as_str());
    let shown = world.get(&path, &[session]).await;
    assert_eq!(shown.header("content-type"), "application/json; charset=UTF-8");
    insta::assert_snapshot!(world.at_usual_port(&format!("{} {:#}", shown.status, shown.json())), @r#"
    200 {
      "comment": "",
      "entities_id": 0,
      "filesize": 9,
      "id": 1,
      "links": [
        {
          "href": "http://localhost:8080/Entity/0",
          "rel": "Entity"
        }
      ],
      "mime_type": "application/octet-stream",
      "name": "notes.txt",
      "source": "0/b94f6f125c79e_notes.txt",
      "version": 1
    }
    "#);
    assert_eq!(world.get(&path, &[session, ("Accept", "application/octet-stream, */*")]).await.json()["id"], file);
    assert_eq!(world.get(&format!("{path}?alt=media"), &[session]).await.body, b"some text");
    let plain = world.content(file, "").await;
    assert_eq!(
        (plain.status, plain.body.as_slice(), plain.header("content-range")),
        (200, &b"some text"[..], "bytes 0-8/9")
    );

    let head = world.ask("HEAD", &path, &[session, ("Accept", OCTETS)]).await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, "9"));
    for absent in [
        "/PluginFlyvemdmFile/99",
        "/PluginFlyvemdmFile/99?alt=media",
        "/PluginFlyvemdmFile/-1",
        "/PluginFlyvemdmPackage/1",
    ] {
        let answer = world.get(absent, &[session]).await;
        assert_eq!(
            (answer.status, answer.json()),
            (404, json!(["ERROR_ITEM_NOT_FOUND", "Item not found"])),
            "{absent}"
        );
    }
    assert_eq!(world.get(&path, &[("Accept", OCTETS)]).await.status, 400, "without a session");
    assert_eq!(world.get(&path, &[("Accept", OCTETS), ("Session-Token", "x")]).await.status, 401);
    assert_eq!(world.ask("DELETE", &path, &[session]).await.status, 401);
}

/// Range, status, Content-Range, first and last byte of the body.
type Row = (&'static str, u16, &'static str, Option<(usize, usize)>);

async fn rows_hold(world: &World, file: i64, content: &[u8], rows: &[Row]) {
    for (range, status, content_range, part) in rows {
        let answer = world.content(file, range).await;
        assert_eq!((answer.status, answer.header("content-range")), (*status, *content_range), "{range}");
        match part {
            Some((first, last)) => {
                assert_eq!(answer.header("content-length"), (last - first + 1).to_string(), "{range}");
                assert!(answer.body == content[*first..=*last], "{range}");
            }
            None => assert_eq!(answer.json()[0], "ERROR_RANGE_NOT_SATISFIABLE", "{range}"),
        }
    }
}

#[tokio::test]
async fn ranges_follow_the_table_of_the_specification() {
    const SIZE: usize = 16_385;
    let content = pattern(SIZE);
    let world = World::new().await;
    let file = world.file("ranges.bin", &content).await;
    rows_hold(
        &world,
        file,
        &content,
        &[
            ("", 200, "bytes 0-16384/16385", Some((0, 16_384))),
            ("bytes=0-", 206, "bytes 0-16384/16385", Some((0, 16_384))),
            ("bytes=10-100", 206, "bytes 10-100/16385", Some((10, 100))),
            ("bytes=10-", 206, "bytes 10-16384/16385", Some((10, 16_384))),
            ("bytes=-100", 206, "bytes 0-100/16385", Some((0, 100))),
            ("bytes=16000-99999", 206, "bytes 16000-16384/16385", Some((16_000, 16_384))),
            ("bytes=16385-", 416, "bytes */16385", None),
            ("bytes=100-10", 200, "bytes 0-16384/16385", Some((0, 16_384))),
            ("bytes=0-0", 206, "bytes 0-0/16385", Some((0, 0))),
            ("bytes=16384-16384", 206, "bytes 16384-16384/16385", Some((16_384, 16_384))),
            ("bytes=0-1,5-6", 200, "bytes 0-16384/16385", Some((0, 16_384))),
            ("pages=1-2", 200, "bytes 0-16384/16385", Some((0, 16_384))),
            ("bytes=0-99999999999999999999999", 206, "bytes 0-16384/16385", Some((0, 16_384))),
        ],
    )
    .await;
    let tag = world.content(file, "").await.header("etag").to_owned();
    let path = format!("/PluginFlyvemdmFile/{file}");
    for (if_range, status) in [(tag.as_str(), 206), ("\"other\"", 200), ("Fri, 02 Sep 2016 13:57:41 GMT", 200)] {
        let headers =
            [("Accept", OCTETS), ("Session-Token", &world.session), ("Range", "bytes=1-2"), ("If-Range", if_range)];
        assert_eq!(world.get(&path, &headers).await.status, status, "{if_range}");
    }

    for (if_none_match, status, bytes) in [(tag.as_str(), 304, 0), ("*", 304, 0), ("\"other\"", 200, 16_385)] {
        let headers = [("Accept", OCTETS), ("Session-Token", &world.session), ("If-None-Match", if_none_match)];
        let answer = world.get(&path, &headers).await;
        assert_eq!((answer.status, answer.body.len(), answer.header("etag")), (status, bytes, tag.as_str()));
    }

    let (past, future) = ("Fri, 02 Sep 2016 13:57:41 GMT", "Fri, 02 Sep 2101 13:57:41 GMT");
    for (name, value, range, status) in [
        ("If-Match", tag.as_str(), "bytes=1-2", 206),
        ("If-Match", "\"other\"", "bytes=1-2", 412),
        ("If-Match", "\"other\"", "bytes=99999-", 412),
        ("If-Unmodified-Since", future, "bytes=1-2", 206),
        ("If-Unmodified-Since", past, "bytes=1-2", 412),
        ("If-Modified-Since", future, "bytes=1-2", 304),
        ("If-Modified-Since", past, "bytes=1-2", 206),
    ] {
        let headers = [("Accept", OCTETS), ("Session-Token", &world.session), (name, value), ("Range", range)];
        let answer = world.get(&path, &headers).await;
        assert_eq!(answer.status, status, "{name}: {value}");
        if status == 412 {
            let [code, _]: [String; 2] = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(code, "ERROR_PRECONDITION_FAILED", "agents read two strings");
        }
    }

    let one = world.file("one.bin", b"x").await;
    rows_hold(
        &world,
        one,
        b"x",
        &[("", 200, "bytes 0-0/1", Some((0, 0))), ("bytes=0-0", 206, "bytes 0-0/1", Some((0, 0)))],
    )
    .await;
    let none = world.file("none.bin", b"").await;
    let empty = world.content(none, "bytes=0-").await;
    assert_eq!((empty.status, empty.body.len(), empty.header("content-length")), (200, 0, "0"));
}

#[tokio::test]
async fn ranges_follow_the_rfc_on_request() {
    let content = pattern(1000);
    let world = World::with(&[("MDMQ_HTTP__RANGE_SUFFIX", "rfc")]).await;
    let file = world.file("ranges.bin", &content).await;
    rows_hold(
        &world,
        file,
        &content,
        &[
            ("", 200, "", Some((0, 999))),
            ("bytes=0-", 206, "bytes 0-999/1000", Some((0, 999))),
            ("bytes=-100", 206, "bytes 900-999/1000", Some((900, 999))),
            ("bytes=-0", 416, "bytes */1000", None),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_session_sees_the_items_of_its_entity_and_of_those_above() {
    let world = World::new().await;
    let server = &world.server;
    server.cli(&["entity", "add", "Above", "--id", "10"]).await;
    server.cli(&["entity", "add", "Below", "--id", "20", "--parent", "10"]).await;
    server.cli(&["entity", "add", "Beside", "--id", "30"]).await;
    let path = written(server, "a.txt", b"a");
    let mut files = Vec::new();
    for entity in ["0", "10", "20", "30"] {
        files.push(
            server.cli(&["file", "add", path.to_str().unwrap(), "--entity", entity]).await["id"].as_i64().unwrap(),
        );
    }
    let seen = async |session: &str| {
        let mut seen = Vec::new();
        for (file, entity) in files.iter().zip([0, 10, 20, 30]) {
            let path = format!("/PluginFlyvemdmFile/{file}?alt=media");
            if world.get(&path, &[("Session-Token", session)]).await.status == 200 {
                seen.push(entity);
            }
        }
        seen
    };
    assert_eq!(seen(&world.session).await, [0]);
    assert_eq!(seen(&session_of(server, "MIDDLE", 10).await).await, [0, 10]);
    assert_eq!(seen(&session_of(server, "LEAF", 20).await).await, [0, 10, 20]);
    let guest = invite(server, "GUEST", 30).await;
    assert_eq!(seen(&Http::of(server).session(&guest.user_token).await).await, [0, 30], "an invited person");
    let refused = refusal(server, &["entity", "remove", "30"]).await;
    assert!(refused.contains("30 still has"), "{refused}");
}

#[tokio::test]
async fn a_content_that_is_not_on_the_disk_is_an_empty_404() {
    let world = World::new().await;
    let file = world.file("lost.txt", b"lost").await;
    fs::remove_file(&world.blobs()[0]).unwrap();
    let answer = world.content(file, "").await;
    assert_eq!((answer.status, answer.body.len()), (404, 0));
    assert_eq!(
        world.get(&format!("/PluginFlyvemdmFile/{file}"), &[("Session-Token", &world.session)]).await.status,
        200
    );
}

#[tokio::test]
async fn a_download_goes_on_while_its_file_is_replaced_and_removed() {
    let world = World::with(&[("MDMQ_HTTP__REQUEST_TIMEOUT_S", "1")]).await;
    let content = pattern(24 << 20);
    let file = world.file("map.bin", &content).await;
    let (slow, slower) = (download_begins(&world, file), download_begins(&world, file));
    let next = written(&world.server, "map.bin", b"another map");
    world.server.cli(&["file", "update", &file.to_string(), next.to_str().unwrap()]).await;
    assert_eq!(world.content(file, "").await.body, b"another map");
    assert!(rest(slow).await == content, "the old content to the last byte");
    world.server.cli(&["file", "remove", &file.to_string()]).await;
    assert!(world.blobs().is_empty());
    assert!(rest(slower).await == content, "also when the file is gone");
}

#[tokio::test]
async fn large_files_move_in_little_memory() {
    const SIZE: u64 = 64 << 20;
    const GROWTH_KIB_MAX: u64 = 24 << 10;
    let world = World::new().await;
    let path = world.server.data_dir().join("large.bin");
    fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
    // What every part needs once is there before it is measured.
    let small = world.file("small.bin", &pattern(1 << 20)).await;
    world.content(small, "").await;
    let before = world.server.resident_kib();
    let added = world.server.cli(&["file", "add", path.to_str().unwrap()]).await;
    assert_eq!(added["size"], SIZE);
    assert_eq!(added["sha256"], "3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351");
    let after_upload = world.server.resident_kib();
    let sockets: Vec<TcpStream> = (0..4).map(|_| download_begins(&world, added["id"].as_i64().unwrap())).collect();
    for socket in sockets {
        assert_eq!(rest(socket).await.len() as u64, SIZE);
    }
    let after_download = world.server.resident_kib();
    let highest = after_upload.max(after_download);
    assert!(
        highest < before + GROWTH_KIB_MAX,
        "KiB: {before} before, {after_upload} after upload, {after_download} after downloads"
    );
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_download() {
    let world = World::with(&[("MDMQ_FILES__STALL_TIMEOUT_S", "1"), ("MDMQ_FILES__DOWNLOADS_MAX", "1")]).await;
    let file = world.file("big.bin", &pattern(32 << 20)).await;
    let stalled = download_begins(&world, file);
    // The only turn comes back, and whoever waited for it gets the content.
    assert_eq!(world.content(file, "bytes=0-9").await.status, 206);
    let mut rest = stalled;
    let mut all = Vec::new();
    let ended = tokio::task::spawn_blocking(move || rest.read_to_end(&mut all).map(|_| all.len())).await.unwrap();
    assert!(ended.is_err() || ended.is_ok_and(|it| it < 32 << 20), "the connection ends early");
}
