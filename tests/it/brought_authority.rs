//! Certificates of an authority that the operator brings along.

use std::{
    fs,
    time::{Duration, UNIX_EPOCH},
};

use mdmq::clock::Clock;
use rcgen::{DnType, SanType, SerialNumber};
use tokio_rustls::rustls::HandshakeKind;

use crate::support::{
    Server,
    certified::{Ca, Client, Tried, bare, enrolled, named, number_of},
    enrollment::{self, Profile},
    openssl, until,
};

const BAD_CREDENTIALS: i32 = 4;
const NOT_AUTHORIZED: i32 = 5;
const NO_HANDSHAKE: i32 = -1;

#[tokio::test]
async fn devices_log_in_with_certificates_of_the_operators_own_authority() {
    let home = tempfile::tempdir().unwrap();
    let ca = Ca::new("Example Devices CA");
    let file = |name: &str| home.path().join(name).display().to_string();
    fs::write(file("ca.pem"), &ca.pem).unwrap();
    fs::write(file("crl.pem"), ca.crl(1, &[])).unwrap();
    let server = Server::with(&[
        ("MDMQ_MQTT__CLIENT_CA_FILE", &file("ca.pem")),
        ("MDMQ_MQTT__CLIENT_CRL_FILES", &format!("[\"{}\"]", file("crl.pem"))),
    ])
    .await;
    let (_, ours) = enrolled(&server, "OURS").await;
    server.enrolled("AZERTY").await;
    let numbered = |it: &mut rcgen::CertificateParams, number: u64| {
        it.serial_number = Some(SerialNumber::from(number));
    };
    let shown = ca.signs("AZERTY", |it| numbered(it, 0x4a01));
    let client = Client::new(&server, Some(&shown));
    let mut link = client.comes(&server).await.link();
    link.heard_so_far().await;
    assert_eq!(Client::new(&server, Some(&ours)).comes(&server).await.code(), 0, "both authorities are trusted");
    assert_eq!(Client::new(&server, Some(&ca.signs("NOBODY", |_| {}))).comes(&server).await.code(), NOT_AUTHORIZED);
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let of_backend = ca.signs("backend", |_| {});
    let backend = Client::new(&server, Some(&of_backend));
    let mut backend_link = backend.says(&server, &named(&name, Some(&password))).await.link();
    assert_eq!(backend.says(&server, &named(&name, Some("wrong"))).await.code(), BAD_CREDENTIALS);
    assert_eq!(backend.comes(&server).await.code(), NOT_AUTHORIZED);
    backend_link.heard_so_far().await;
    server.cli(&["certs", "revoke", &of_backend.number()]).await;
    backend_link.is_closed().await;
    assert_eq!(backend.says(&server, &named(&name, Some(&password))).await.code(), NOT_AUTHORIZED);

    // The name of a device is one even where it could be a number.
    server.enrolled("4A02").await;
    let refused = server.cli_output(&["certs", "revoke", "4A02"]).await;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && why.contains("no certificate"), "{why}");
    server.cli(&["certs", "revoke", "4A:02"]).await;

    // It was seen, so it is listed. Its authority revokes it: the connection closes, new handshakes fail.
    assert_eq!(server.cli(&["certs", "show", "4a01"]).await[0]["is_foreign"], true);
    fs::write(file("crl.pem"), ca.crl(2, &["4a01"])).unwrap();
    link.is_closed().await;
    let Tried::Answered(_, code, HandshakeKind::Resumed) = client.comes(&server).await else { panic!("resumed") };
    assert_eq!(i32::from(code), NOT_AUTHORIZED);
    until("new handshakes fail", async || {
        Client::new(&server, Some(&shown)).comes(&server).await.code() == NO_HANDSHAKE
    })
    .await;

    // One that was never seen can be revoked here too.
    let lost = ca.signs("AZERTY", |it| numbered(it, 0x4a02));
    server.cli(&["certs", "revoke", "4a02"]).await;
    assert_eq!(Client::new(&server, Some(&lost)).comes(&server).await.code(), NOT_AUTHORIZED);
    // A broken list is no list: the former one stays.
    fs::write(file("crl.pem"), "nonsense").unwrap();
    until("somebody says so", async || server.log().contains("the former authorities and revocation lists stay")).await;
    assert_eq!(Client::new(&server, Some(&shown)).comes(&server).await.code(), NO_HANDSHAKE);
}

#[tokio::test]
async fn an_authority_in_between_that_is_revoked_takes_its_devices_along() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name).display().to_string();
    let root = Ca::new("Example Devices CA");
    let between = root.below("between");
    fs::write(file("ca.pem"), &root.pem).unwrap();
    fs::write(file("crl.pem"), root.crl(1, &[])).unwrap();
    let server = Server::with(&[
        ("MDMQ_MQTT__CLIENT_CA_FILE", &file("ca.pem")),
        ("MDMQ_MQTT__CLIENT_CRL_FILES", &format!("[\"{}\"]", file("crl.pem"))),
    ])
    .await;
    server.enrolled("BELOW").await;
    server.enrolled("DIRECT").await;
    let [below, direct] = [between.signs("BELOW", |_| {}), root.signs("DIRECT", |_| {})];
    let [below, direct] = [below, direct].map(|it| Client::new(&server, Some(&it)));
    below.comes(&server).await.link();
    let [mut falls, mut stands] = [below.comes(&server).await.link(), direct.comes(&server).await.link()];

    fs::write(file("crl.pem"), root.crl(2, &[&number_of(&between.pem)])).unwrap();
    falls.is_closed().await;
    assert_ne!(below.comes(&server).await.code(), 0, "a resumed session neither");
    stands.heard_so_far().await;
}

#[tokio::test]
async fn a_serial_in_several_entities_needs_a_certificate_that_says_which() {
    let home = tempfile::tempdir().unwrap();
    let ca = Ca::limited("Example Devices CA", 0);
    let ca_file = home.path().join("ca.pem").display().to_string();
    fs::write(&ca_file, &ca.pem).unwrap();
    let server =
        Server::with(&[("MDMQ_MQTT__CLIENT_CA_FILE", &ca_file), ("MDMQ_MQTT__CLIENT_CERTIFICATE_MAPPING", "san_uri")])
            .await;
    server.cli(&["entity", "add", "school", "--id", "76"]).await;
    enrollment::enroll(&server, "TWICE", &Profile::android()).await;
    enrollment::enroll(&server, "twice-again", &Profile { entity: 76, ..Profile::android() }).await;
    let invitation = enrollment::invite(&server, "second", 76).await;
    enrollment::enroll_with(&server, "TWICE", &Profile { entity: 76, ..Profile::android() }, &invitation).await;
    let signed = |unit: Option<&str>| {
        ca.signs("whatever", |it| {
            it.subject_alt_names = vec![SanType::URI("urn:device:TWICE".try_into().unwrap())];
            unit.into_iter().for_each(|unit| it.distinguished_name.push(DnType::OrganizationalUnitName, unit));
        })
    };
    for (unit, code) in [
        (None, NOT_AUTHORIZED),
        (Some("sales"), NOT_AUTHORIZED),
        (Some("entity:5"), NOT_AUTHORIZED),
        (Some("entity:76"), 0),
        (Some("entity:0"), 0),
    ] {
        assert_eq!(Client::new(&server, Some(&signed(unit))).comes(&server).await.code(), code, "{unit:?}");
    }
    let between = ca.below("between").signs("x", |_| {});
    assert_eq!(Client::new(&server, Some(&between)).comes(&server).await.code(), NO_HANDSHAKE, "chain too long");
}

#[tokio::test]
async fn a_guest_who_takes_the_serial_of_another_or_the_name_of_a_back_end_keeps_nobody_out() {
    let home = tempfile::tempdir().unwrap();
    let ca = Ca::new("Example Devices CA");
    let ca_file = home.path().join("ca.pem").display().to_string();
    fs::write(&ca_file, &ca.pem).unwrap();
    let server = Server::with(&[("MDMQ_MQTT__CLIENT_CA_FILE", &ca_file)]).await;
    server.cli(&["entity", "add", "school", "--id", "76"]).await;
    server.enrolled("TWICE").await;
    let (known, unknown) = (ca.signs("TWICE", |_| {}), ca.signs("TWICE", |_| {}));
    assert_eq!(Client::new(&server, Some(&known)).comes(&server).await.code(), 0);
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let backend = Client::new(&server, Some(&ca.signs("backend", |_| {})));
    assert_eq!(backend.says(&server, &named(&name, Some(&password))).await.code(), 0);

    enrollment::enroll(&server, "TWICE", &Profile { entity: 76, ..Profile::android() }).await;
    enrollment::enroll(&server, "backend", &Profile { entity: 76, ..Profile::android() }).await;
    assert_eq!(Client::new(&server, Some(&known)).comes(&server).await.code(), 0, "it spoke for the first one before");
    assert_eq!(Client::new(&server, Some(&unknown)).comes(&server).await.code(), NOT_AUTHORIZED, "for which one?");
    assert_eq!(backend.says(&server, &named(&name, Some(&password))).await.code(), 0);
    assert_eq!(backend.comes(&server).await.code(), NOT_AUTHORIZED, "no device");
}

#[tokio::test]
async fn connections_end_with_the_certificates_that_opened_them() {
    let home = tempfile::tempdir().unwrap();
    let ca = Ca::new("Example Devices CA");
    let ca_file = home.path().join("ca.pem").display().to_string();
    fs::write(&ca_file, &ca.pem).unwrap();
    let server = Server::with(&[("MDMQ_MQTT__CLIENT_CA_FILE", &ca_file)]).await;
    server.enrolled("AZERTY").await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let soon_s = Clock::System.now().0 / 1000 + 6;
    let end = UNIX_EPOCH + Duration::from_secs(soon_s.unsigned_abs());
    let shown = ["AZERTY", "backend"].map(|it| ca.signs(it, |terms| terms.not_after = end.into()));
    let [device, backend] = shown.each_ref().map(|it| Client::new(&server, Some(it)));
    let mut of_device = device.comes(&server).await.link();
    let mut of_backend = backend.says(&server, &named(&name, Some(&password))).await.link();
    of_device.heard_so_far().await;
    of_backend.heard_so_far().await;
    of_device.is_closed().await;
    of_backend.is_closed().await;
    assert!(Clock::System.now().0 >= soon_s * 1000, "not before");
}

#[tokio::test]
async fn a_key_that_is_too_weak_ends_the_handshake_although_its_authority_is_trusted() {
    let home = tempfile::tempdir().unwrap();
    let ca = Ca::new("Example Devices CA");
    let ca_file = home.path().join("ca.pem").display().to_string();
    fs::write(&ca_file, &ca.pem).unwrap();
    let server = Server::with(&[("MDMQ_MQTT__CLIENT_CA_FILE", &ca_file)]).await;
    server.enrolled("AZERTY").await;
    let [weak, strong] = [1024, 2048].map(|bits| openssl::rsa(home.path(), &ca, "AZERTY", bits));
    for version in ["-tls1_2", "-tls1_3"] {
        // The client has no scruples.
        let arguments = [version, "-cipher", "DEFAULT@SECLEVEL=0"];
        let (heard, complaint) = openssl::says(&server, &arguments, Some(&strong), &bare());
        assert_eq!(heard, [0x20, 2, 0, 0], "{version}: {complaint}");
        let (heard, complaint) = openssl::says(&server, &arguments, Some(&weak), &bare());
        assert!(heard.is_empty() && complaint.contains("alert"), "{version}: {heard:?} {complaint}");
    }
}

#[tokio::test]
async fn a_certificate_names_its_device_where_the_mapping_looks_and_nowhere_else() {
    let home = tempfile::tempdir().unwrap();
    let ca = Ca::new("Example Devices CA");
    let ca_file = home.path().join("ca.pem").display().to_string();
    fs::write(&ca_file, &ca.pem).unwrap();
    let with_host = |it: &mut rcgen::CertificateParams, name: &str| {
        it.subject_alt_names.push(SanType::DnsName(name.try_into().unwrap()));
    };
    let with_number = |it: &mut rcgen::CertificateParams, name: &str| {
        it.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), name);
    };
    type With<'a> = &'a dyn Fn(&mut rcgen::CertificateParams, &str);
    for (mapping, right, wrong) in
        [("san_dns", &with_host as With<'_>, &with_number as With<'_>), ("serial_number", &with_number, &with_host)]
    {
        let server = Server::with(&[
            ("MDMQ_MQTT__CLIENT_CA_FILE", &ca_file),
            ("MDMQ_MQTT__CLIENT_CERTIFICATE_MAPPING", mapping),
        ])
        .await;
        server.enrolled("AZERTY").await;
        server.enrolled("QWERTY").await;
        let named = ca.signs("QWERTY", |it| right(it, "AZERTY"));
        let mut link = Client::new(&server, Some(&named)).comes(&server).await.link();
        link.publishes("0/agent/AZERTY/Status/Ping", b"!", 1).await;
        server.until_agent("AZERTY", |it| it["is_online"] == true && !it["last_contact"].is_null()).await;
        server.until_agent("QWERTY", |it| it["is_online"] == false).await;
        for (what, shown) in [
            ("elsewhere", ca.signs("AZERTY", |it| wrong(it, "AZERTY"))),
            ("nobody enrolled", ca.signs("AZERTY", |it| right(it, "NOBODY"))),
        ] {
            let code = Client::new(&server, Some(&shown)).comes(&server).await.code();
            assert_eq!(code, NOT_AUTHORIZED, "{mapping}: {what}");
        }
        if mapping == "san_dns" {
            let two = ca.signs("AZERTY", |it| ["AZERTY", "QWERTY"].iter().for_each(|name| right(it, name)));
            assert_eq!(Client::new(&server, Some(&two)).comes(&server).await.code(), NOT_AUTHORIZED, "which one?");
        }
    }
}

#[tokio::test]
async fn a_list_that_could_not_be_read_is_read_again() {
    let home = tempfile::tempdir().unwrap();
    let (ca_file, list) = (home.path().join("ca.pem"), home.path().join("crl.pem"));
    let ca = Ca::new("Example Devices CA");
    fs::write(&ca_file, &ca.pem).unwrap();
    fs::write(&list, ca.crl(1, &[])).unwrap();
    let server = Server::with(&[
        ("MDMQ_MQTT__CLIENT_CA_FILE", ca_file.to_str().unwrap()),
        ("MDMQ_MQTT__CLIENT_CRL_FILES", &format!("[\"{}\"]", list.display())),
    ])
    .await;
    server.enrolled("AZERTY").await;
    let shown = ca.signs("AZERTY", |it| it.serial_number = Some(SerialNumber::from(0x4a03)));
    let mut link = Client::new(&server, Some(&shown)).comes(&server).await.link();
    fs::write(&list, "half of a list").unwrap();
    let at = fs::metadata(&list).unwrap().modified().unwrap();
    until("it is complained of", async || server.log().contains("revocation lists stay")).await;
    link.heard_so_far().await;
    // What was in the way goes, and the file looks as old as it was.
    fs::write(&list, ca.crl(2, &["4a03"])).unwrap();
    fs::File::options().append(true).open(&list).unwrap().set_modified(at).unwrap();
    link.is_closed().await;
    assert_eq!(server.log().matches("revocation lists stay").count(), 1, "said once");
}
