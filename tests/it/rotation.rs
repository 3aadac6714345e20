//! Certificates of the server and of its authority change while devices are connected.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::support::{
    Server,
    certified::{Client, DeviceKey, Shown, enrolled},
    server::rows,
    until, write_private,
};

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
    let deeds = server.cli(&["audit", "list", "--action", "authority.change"]).await;
    let trusted: Vec<_> = rows(&deeds).iter().map(|it| it["detail"]["trusted"].as_array().unwrap().len()).collect();
    assert_eq!(trusted.first(), Some(&1), "{deeds}");
    assert!(trusted[1..].contains(&2), "{deeds}");
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
