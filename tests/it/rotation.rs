//! Certificates of the server and of its authority change while devices are connected.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use rcgen::SanType;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio_rustls::rustls::HandshakeKind;
use x509_parser::prelude::{DistributionPointName, GeneralName, ParsedExtension};

use crate::support::{
    Server,
    certified::{Ca, Client, DeviceKey, Shown, Tried, enrolled, named},
    openssl,
    server::rows,
    sqlite, until, write_private,
};

const NOT_AUTHORIZED: i32 = 5;
const NO_HANDSHAKE: i32 = -1;

/// The first certificate that the server presents on its MQTT listener, as stock OpenSSL sees it.
fn presented(server: &Server) -> Vec<u8> {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{}", server.ports.mqtt_tls), "-servername", "localhost"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    CertificateDer::from_pem_slice(&output.stdout).unwrap().to_vec()
}

fn first_of(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

async fn comes(server: &Server, shown: &Shown) -> i32 {
    Client::new(server, Some(shown)).comes(server).await.code()
}

#[tokio::test]
async fn an_authority_is_replaced_while_its_devices_come_and_go() {
    let server = Server::start().await;
    let (_, old) = enrolled(&server, "OLD").await;
    let trusting_the_old_one = Client::new(&server, Some(&old));
    let shown_before = presented(&server);

    let listed = server.cli(&["certs", "rotate"]).await;
    let roles: Vec<_> = rows(&listed).iter().map(|it| it["certificate"].as_str().unwrap().to_owned()).collect();
    assert_eq!(roles, ["authority", "next authority", "server"]);
    assert_eq!(server.cli_output(&["certs", "rotate"]).await.status.code(), Some(1), "one at a time");
    let trusting_both = Client::new(&server, Some(&old));

    server.cli(&["certs", "rotate", "--activate"]).await;
    server.hang_up();
    until("the new authority's certificate is presented", async || presented(&server) != shown_before).await;
    let mut link = trusting_both.comes(&server).await.link();
    assert_eq!(trusting_the_old_one.comes(&server).await.code(), -1, "it was not told of the new authority");
    let (_, new) = enrolled(&server, "NEW").await;
    let mut stays = Client::new(&server, Some(&new)).comes(&server).await.link();
    let crl = reqwest::get(format!("{}/crl.pem", server.http_url())).await.unwrap().text().await.unwrap();
    assert!(crl.contains("BEGIN X509 CRL"), "{crl}");

    server.cli(&["certs", "rotate", "--retire"]).await;
    server.hang_up();
    link.is_closed().await;
    assert_eq!(comes(&server, &old).await, -1, "no handshake with the former authority's certificate");
    assert_ne!(trusting_both.comes(&server).await.code(), 0, "nor with a session that it began");
    assert_eq!(comes(&server, &new).await, 0);
    stays.is_closed().await; // taken over by the line above, not before
    let states = server.cli(&["certs", "list"]).await;
    let state = |serial: &str| rows(&states).iter().find(|it| it["serial"] == serial).unwrap()["state"].clone();
    assert_eq!((state("OLD"), state("NEW")), ("revoked".into(), "valid".into()));
    assert_eq!(server.cli_output(&["certs", "rotate", "--retire"]).await.status.code(), Some(1), "nothing is left");
    assert_eq!(former_keys(&server), [""; 0], "nor its key");
    let deeds = server.cli(&["audit", "list", "--action", "authority.change"]).await;
    let trusted: Vec<_> = rows(&deeds).iter().map(|it| it["detail"]["trusted"].as_array().unwrap().len()).collect();
    assert_eq!(trusted.first(), Some(&1), "{deeds}");
    assert!(trusted[1..].contains(&2), "{deeds}");
}

/// Names of the files with keys of former authorities, which nobody but the server may read.
fn former_keys(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(server.data_dir().join("certs")).unwrap().map(Result::unwrap);
    let former: Vec<_> = entries.filter(|it| it.file_name().to_str().unwrap().starts_with("former-")).collect();
    assert!(former.iter().all(|it| it.metadata().unwrap().permissions().mode() & 0o777 == 0o600));
    former.into_iter().map(|it| it.file_name().into_string().unwrap()).collect()
}

/// Where a certificate says that its authority's list is, without the server's address.
fn list_of(shown: &Shown) -> String {
    let (_, pem) = x509_parser::pem::parse_x509_pem(shown.pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let points = certificate.extensions().iter().find_map(|it| match it.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(points.clone()),
        _ => None,
    });
    let Some(DistributionPointName::FullName(names)) = &points.as_ref().unwrap()[0].distribution_point else {
        panic!("{points:?}")
    };
    let [GeneralName::URI(uri)] = names[..] else { panic!("{names:?}") };
    uri.strip_prefix(PUBLIC_URL).unwrap().to_owned()
}

const PUBLIC_URL: &str = "http://mdm.example.test";

#[tokio::test]
async fn what_is_revoked_stays_out_and_listed_while_its_authority_is_replaced() {
    let mut server = Server::with(&[("MDMQ_HTTP__PUBLIC_URL", PUBLIC_URL)]).await;
    let (_, before) = enrolled(&server, "BEFORE").await;
    let (_, after) = enrolled(&server, "AFTER").await;
    let (_, stays) = enrolled(&server, "STAYS").await;
    let shown_before = presented(&server);
    server.cli(&["certs", "revoke", &before.number()]).await;
    server.cli(&["certs", "rotate"]).await;
    server.cli(&["certs", "rotate", "--activate"]).await;
    server.hang_up();
    until("the new authority signs", async || presented(&server) != shown_before).await;
    let (_, new) = enrolled(&server, "NEW").await;
    assert_eq!(comes(&server, &before).await, NO_HANDSHAKE, "revoked before the new authority signed");
    for shown in [&after, &new] {
        assert_eq!(comes(&server, shown).await, 0);
        server.cli(&["certs", "revoke", &shown.number()]).await;
        until("the handshake fails", async || comes(&server, shown).await == NO_HANDSHAKE).await;
    }
    assert_eq!(comes(&server, &stays).await, 0);

    // Whoever else verifies certificates of devices finds them listed, each by who signed it.
    for (name, shown, expected) in [
        ("before", &before, "certificate revoked"),
        ("after", &after, "certificate revoked"),
        ("new", &new, "certificate revoked"),
        ("stays", &stays, ": OK"),
    ] {
        let said = openssl::verifies(&server, &server.data_dir().join("certs/crl.pem"), &shown.files(&server, name).0);
        assert!(said.contains(expected), "{name}: {said}");
    }
    assert_eq!((list_of(&before), list_of(&after)), (list_of(&stays), list_of(&stays)));
    assert_ne!(list_of(&new), list_of(&stays));
    let get = async |path: &str| reqwest::get(format!("{}{path}", server.http_url())).await.unwrap();
    for (path, listed, missing) in [
        (list_of(&stays), vec![&before, &after], vec![&new]),
        (list_of(&new), vec![&new], vec![&before, &after]),
        ("/crl".into(), vec![&new], vec![&before, &after]),
    ] {
        let answer = get(&path).await;
        assert_eq!(answer.headers()["content-type"], "application/pkix-crl");
        let file = server.data_dir().join("list.der");
        fs::write(&file, answer.bytes().await.unwrap()).unwrap();
        let said = openssl::reads_list(&server, &file, "DER");
        assert!(said.contains("Next Update"), "{path}: {said}");
        let is_listed = |it: &&Shown| said.contains(&it.number().to_uppercase());
        assert!(listed.iter().all(is_listed) && !missing.iter().any(is_listed), "{path}: {said}");
        // Whoever has the list of another authority knows nothing of this certificate, rather than that it is good.
        let said = openssl::verifies(&server, &file, &stays.files(&server, "stays").0);
        let expected = if path == list_of(&stays) { ": OK" } else { "unable to get certificate CRL" };
        assert!(said.contains(expected), "{path}: {said}");
    }
    let file = fs::read_to_string(server.data_dir().join("certs/crl.pem")).unwrap();
    assert_eq!(get("/crl.pem").await.text().await.unwrap(), file);
    assert_eq!(file.matches("BEGIN X509 CRL").count(), 2);
    assert_eq!(get("/crl/4a01").await.status().as_u16(), 404);

    assert_eq!(former_keys(&server).len(), 1);
    server.restart().await;
    for (shown, code) in [(&before, NO_HANDSHAKE), (&after, NO_HANDSHAKE), (&new, NO_HANDSHAKE), (&stays, 0)] {
        assert_eq!(comes(&server, shown).await, code, "from the first handshake on");
    }
    // A data directory whose authority was replaced by a program that did not keep the key.
    assert!(server.stop().await.success());
    fs::remove_file(server.data_dir().join("certs").join(&former_keys(&server)[0])).unwrap();
    server.start_again().await;
    for (shown, code) in [(&before, NOT_AUTHORIZED), (&new, NO_HANDSHAKE), (&stays, 0)] {
        assert_eq!(comes(&server, shown).await, code, "the registry is the truth");
    }
    assert_eq!(server.log().matches("there is no revocation list of CN=mdmq private authority: ").count(), 1);
    server.cli(&["certs", "rotate", "--retire"]).await;
    server.hang_up();
    until("the former authority is trusted no more", async || comes(&server, &stays).await == NO_HANDSHAKE).await;
}

fn is_resumed(tried: &Tried) -> bool {
    matches!(tried, Tried::Answered(_, 0, HandshakeKind::Resumed))
}

#[tokio::test]
async fn a_session_does_not_outlive_the_trust_in_the_authority_that_let_it_in() {
    let home = tempfile::tempdir().unwrap();
    let (leaving, staying) = (Ca::new("Leaving CA"), Ca::new("Staying CA"));
    let file = home.path().join("ca.pem");
    let both = format!("{}{}", leaving.pem, staying.pem);
    fs::write(&file, &both).unwrap();
    let server = Server::with(&[("MDMQ_MQTT__CLIENT_CA_FILE", file.to_str().unwrap())]).await;
    server.enrolled("LEAVES").await;
    server.enrolled("STAYS").await;
    let (leaves, stays) = (leaving.signs("LEAVES", |_| {}), staying.signs("STAYS", |_| {}));
    let [leaver, stayer] = [&leaves, &stays].map(|it| Client::new(&server, Some(it)));
    for client in [&leaver, &stayer] {
        client.comes(&server).await.link();
        assert!(is_resumed(&client.comes(&server).await));
    }
    let [mut open, mut stays_open] = [leaver.comes(&server).await.link(), stayer.comes(&server).await.link()];
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let backend = Client::new(&server, Some(&leaving.signs("backend", |_| {})));
    let mut of_backend = backend.says(&server, &named(&name, Some(&password))).await.link();

    fs::write(&file, &staying.pem).unwrap();
    server.hang_up();
    open.is_closed().await;
    of_backend.is_closed().await;
    stays_open.heard_so_far().await;
    until("the authority is trusted no more", async || comes(&server, &leaves).await == -1).await;
    assert_eq!(leaver.comes(&server).await.code(), -1, "nor is a session that it let in");
    assert_eq!(stayer.comes(&server).await.code(), 0, "by a new handshake");
    assert!(is_resumed(&stayer.comes(&server).await));

    fs::write(&file, &both).unwrap();
    server.hang_up();
    until("the authority is trusted again", async || comes(&server, &leaves).await == 0).await;
    assert!(is_resumed(&stayer.comes(&server).await), "one more authority costs nobody a handshake");
}

#[tokio::test]
async fn what_a_retired_key_signed_is_not_taken_for_a_foreign_certificate() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("ca.pem");
    fs::write(&file, Ca::new("Example Devices CA").pem).unwrap();
    let server = Server::with(&[("MDMQ_MQTT__CLIENT_CA_FILE", file.to_str().unwrap())]).await;
    let (_, genuine) = enrolled(&server, "AZERTY").await;
    let agent = rows(&server.cli(&["certs", "list"]).await)[0]["agent"].clone();
    let uri = format!("urn:mdmq:agent:{agent}:entity:0:serial:AZERTY");
    let thief = Ca::of(&server);
    server.cli(&["certs", "rotate"]).await;
    let forged = [
        thief.signs("AZERTY", |it| it.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())]),
        thief.signs("AZERTY", |_| {}),
    ]
    .map(|it| Client::new(&server, Some(&it)));
    for client in &forged {
        assert_eq!(client.comes(&server).await.code(), 5, "the registry does not know it");
    }
    let shown_before = presented(&server);
    server.cli(&["certs", "rotate", "--activate"]).await;
    server.hang_up();
    until("the new authority signs", async || presented(&server) != shown_before).await;
    server.cli(&["certs", "rotate", "--retire"]).await;
    server.hang_up();
    until("the former authority is trusted no more", async || comes(&server, &genuine).await == -1).await;
    for client in &forged {
        assert_ne!(client.comes(&server).await.code(), 0, "it has a ticket of the time before");
    }
}

#[tokio::test]
async fn a_new_authority_is_followed_although_the_database_failed_at_first() {
    let server = Server::start().await;
    let (_, old) = enrolled(&server, "OLD").await;
    sqlite::execute(
        &server,
        "create trigger audit_fails before insert on audit when new.action = 'authority.change' \
         begin select raise(abort, 'the disk had a hiccup'); end",
    )
    .await;
    server.cli(&["certs", "rotate"]).await;
    server.cli(&["certs", "rotate", "--activate"]).await;
    server.cli(&["certs", "rotate", "--retire"]).await;
    server.hang_up();
    until("the server says so", async || server.log().contains("cannot follow the change")).await;
    sqlite::execute(&server, "drop trigger audit_fails").await;
    server.hang_up();
    until("what the former authority signed is revoked", async || {
        server.cli(&["certs", "show", &old.number()]).await[0]["state"] == "revoked"
    })
    .await;
    let deeds = server.cli(&["audit", "list", "--action", "authority.change"]).await;
    assert!(!rows(&deeds).is_empty(), "the change is written down, late: {deeds}");
    let (_, new) = enrolled(&server, "NEW").await;
    assert_eq!(comes(&server, &new).await, 0, "the new authority signs");
}

#[tokio::test]
async fn files_that_an_acme_client_writes_are_taken_without_a_restart() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let make = |place: &std::path::Path| {
        let key = DeviceKey::new();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let pem = params.self_signed(&key.0).unwrap().pem();
        fs::write(place.join("chain.pem"), &pem).unwrap();
        write_private(&place.join("key.pem"), &key.0.serialize_pem());
        pem
    };
    let (first, second) = (make(one.path()), make(other.path()));
    let file = |name: &str| one.path().join(name).display().to_string();
    fs::set_permissions(file("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let server =
        Server::with(&[("MDMQ_MQTT__CERTIFICATE_FILE", &file("chain.pem")), ("MDMQ_MQTT__KEY_FILE", &file("key.pem"))])
            .await;
    assert_eq!(presented(&server), first_of(&first));
    let advice = format!("run: chmod 640 {}", file("key.pem"));
    assert!(server.log().contains(&advice), "others can read the key\n{}", server.log());

    // A chain whose key has not arrived yet is not taken, and complained of once.
    fs::copy(other.path().join("chain.pem"), file("chain.pem")).unwrap();
    server.hang_up();
    until("the server says so", async || server.log().contains("the former TLS settings stay")).await;
    assert_eq!(presented(&server), first_of(&first));
    fs::copy(other.path().join("key.pem"), file("key.pem")).unwrap();
    server.hang_up();
    until("the new certificate is presented", async || presented(&server) == first_of(&second)).await;
    assert_eq!(server.log().matches("the former TLS settings stay").count(), 1);
    assert!(server.metric("mdm_server_certificate_ends_timestamp_seconds").await > 1.0e9);
}
