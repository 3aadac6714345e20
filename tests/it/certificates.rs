//! Certificates of devices, from the request to the revocation.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_rustls::rustls::HandshakeKind;

use crate::support::{
    Server,
    certified::{Ca, Client, DeviceKey, Shown, Tried, bare, enrolled, named},
    clients::{Library, Login, Script},
    enrollment::{self, Http, Profile},
    openssl,
    postgres::fresh_database,
    server::rows,
    until,
};

const BAD_CREDENTIALS: i32 = 4;
const NOT_AUTHORIZED: i32 = 5;
const NO_HANDSHAKE: i32 = -1;

#[tokio::test]
async fn a_device_that_sends_a_request_logs_in_with_its_certificate_alone() {
    let server = Server::start().await;
    let (_, shown) = enrolled(&server, "AZERTY").await;
    let client = Client::new(&server, Some(&shown));
    let mut link = client.comes(&server).await.link();
    assert_eq!(link.subscribes("0/agent/AZERTY/#", 0).await, 0);
    link.publishes("0/agent/AZERTY/Status/Ping", b"!", 1).await;
    server.until_agent("AZERTY", |it| it["is_online"] == true && !it["last_contact"].is_null()).await;

    let listed = server.cli(&["certs", "list"]).await;
    let row = &rows(&listed)[0];
    assert_eq!(row["serial_number"], shown.number().as_str());
    assert_eq!((&row["serial"], &row["entity"], &row["state"]), (&json!("AZERTY"), &json!(0), &json!("valid")));
    let (_, parsed) = x509_parser::pem::parse_x509_pem(shown.pem.as_bytes()).unwrap();
    let certificate = parsed.parse_x509().unwrap();
    assert_eq!(certificate.subject().to_string(), "CN=AZERTY");
    let text = format!("{:?}", certificate.subject_alternative_name().unwrap().unwrap().value);
    assert!(text.contains(&format!("urn:mdmq:agent:{}:entity:0:serial:AZERTY", row["agent"])), "{text}");
    assert_eq!(server.cli(&["certs", "show", "AZERTY"]).await[0]["pem"], shown.pem.as_str());
    assert!(row["pem"].is_null(), "lists leave it out");
    assert_eq!(server.cli(&["certs", "show", &shown.number()]).await, server.cli(&["certs", "show", "AZERTY"]).await);
    assert_eq!(rows(&server.cli(&["certs", "list", "--expiring-days", "100"]).await).len(), 1);
    assert_eq!(rows(&server.cli(&["certs", "list", "--expiring-days", "10"]).await).len(), 0);
    assert_eq!(server.metric("mdm_certificate_logins_total").await, 1.0);
    assert_eq!(server.metric("mdm_certificates_valid").await, 1.0);
}

#[tokio::test]
async fn a_request_arrives_as_the_android_agent_sends_it() {
    let server = Server::start().await;
    let key = DeviceKey::new();
    for (serial, csr) in [
        ("ENCODED", utf8_percent_encode(&key.csr(), NON_ALPHANUMERIC).to_string()),
        ("SHA1", include_str!("../../src/pki/requests/android_rsa4096_sha1.pem").to_owned()),
    ] {
        let phone = enrollment::enroll(&server, serial, &Profile { csr, ..Profile::android() }).await;
        assert!(phone.settings["certificate"].as_str().unwrap().contains("BEGIN CERTIFICATE"), "{serial}");
        assert!(phone.settings["certificate_renew_after"].is_string());
    }
    // Without a request there is no certificate, as ever.
    assert_eq!(server.enrolled("NONE").await.settings["certificate"], "");
}

#[tokio::test]
async fn a_bad_request_is_refused_with_a_reason_and_does_not_spend_the_invitation() {
    let server = Server::with(&[("MDMQ_ENROLLMENT__EXPLAIN_REFUSALS", "true")]).await;
    let invitation = enrollment::invite(&server, "WEAK", 0).await;
    let http = Http::of(&server);
    let session = http.session(&invitation.user_token).await;
    let mut ca_wish = rcgen::CertificateParams::default();
    ca_wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_wish = ca_wish.serialize_request(&DeviceKey::new().0).unwrap().pem().unwrap();
    for (csr, why) in [
        (json!(include_str!("../../src/pki/requests/rsa1024.pem")), "the key must be"),
        (json!(ca_wish), "a device cannot be an authority"),
        (json!("nonsense"), "it is no certificate request"),
        (json!(7), "it is no certificate request"),
        (json!({ "pem": true }), "it is no certificate request"),
    ] {
        let mut input = enrollment::enrollment_input("WEAK", &Profile::android(), &invitation);
        input["csr"] = csr;
        let (status, body) =
            http.send("POST", "/PluginFlyvemdmAgent", &session, Some(&json!({ "input": input }))).await;
        assert_eq!((status, &body[0]), (400, &json!("ERROR_GLPI_ADD")));
        let text = body[1].as_str().unwrap();
        assert!(text.starts_with(&format!("Failed to sign the certificate: {why}")), "{text}");
    }
    assert_eq!(server.metric("mdm_certificate_requests_refused_total").await, 5.0);
    let csr = DeviceKey::new().csr();
    let phone = enrollment::enroll_with(&server, "WEAK", &Profile { csr, ..Profile::android() }, &invitation).await;
    assert!(!phone.settings["certificate"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn certificates_that_tls_cannot_verify_end_the_handshake() {
    let server = Server::with(&[("MDMQ_LOG__LEVEL", "mdmq=debug")]).await;
    let (_, good) = enrolled(&server, "AZERTY").await;
    let own = Ca::of(&server);
    let server_pem = fs::read_to_string(server.data_dir().join("certs/server.pem")).unwrap();
    let server_key = fs::read_to_string(server.data_dir().join("certs/server-key.pem")).unwrap();
    for (what, shown) in [
        ("wrong authority", Ca::new("mdmq private authority").signs("AZERTY", |_| {})),
        ("expired", own.signs("AZERTY", |it| it.not_after = date_time_ymd(2026, 1, 1))),
        ("not yet valid", own.signs("AZERTY", |it| it.not_before = date_time_ymd(2090, 1, 1))),
        ("wrong usage", own.signs("AZERTY", |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
        ("chain too long", own.below("between").signs("AZERTY", |_| {})),
        ("the server's own", Shown { pem: server_pem, key_pem: server_key }),
    ] {
        let tried = Client::new(&server, Some(&shown)).comes(&server).await;
        assert_eq!(tried.code(), NO_HANDSHAKE, "{what}");
    }
    let failed = || -> Vec<String> {
        server.log().lines().filter(|it| it.contains("TLS handshake failed")).map(str::to_owned).collect()
    };
    until("the log tells of each", async || failed().len() == 6).await;
    assert!(failed().iter().all(|it| it.contains("peer.addr=127.0.0.1:")), "{:?}", failed());
    assert_eq!(Client::new(&server, Some(&good)).comes(&server).await.code(), 0);
    assert_eq!(server.agent("AZERTY").await["serial"], "AZERTY");
}

#[tokio::test]
async fn what_a_certificate_says_must_agree_with_the_registry_and_with_what_the_client_says() {
    let server = Server::start().await;
    let (phone, shown) = enrolled(&server, "AZERTY").await;
    let other = server.enrolled("OTHER").await;
    let client = Client::new(&server, Some(&shown));
    for (what, connect, code) in [
        ("its name", named("AZERTY", None), 0),
        ("its name and password", named("AZERTY", Some(&phone.password)), 0),
        ("a wrong password", named("AZERTY", Some("wrong")), BAD_CREDENTIALS),
        ("somebody else's password", named("AZERTY", Some(&other.password)), BAD_CREDENTIALS),
        ("somebody else's name", named("OTHER", None), NOT_AUTHORIZED),
        ("somebody else's name and password", named("OTHER", Some(&other.password)), NOT_AUTHORIZED),
        ("no name", bare(), 0),
    ] {
        assert_eq!(client.says(&server, &connect).await.code(), code, "{what}");
    }
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let as_service = client.says(&server, &named(&name, Some(&password))).await;
    assert_eq!(as_service.code(), NOT_AUTHORIZED, "a device is no back end");

    // Signed with the authority's key, but never issued: the registry does not know it.
    let agent = server.agent("OTHER").await["id"].as_i64().unwrap();
    let uri = format!("urn:mdmq:agent:{agent}:entity:0:serial:OTHER");
    let forged = Ca::of(&server)
        .signs("OTHER", |it| it.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())]);
    assert_eq!(Client::new(&server, Some(&forged)).comes(&server).await.code(), NOT_AUTHORIZED);
    // The log says which certificate it was, and why: such a client has no other name.
    for (number, reason, times) in
        [(shown.number(), "mismatch", 3), (shown.number(), "bad_password", 2), (forged.number(), "unknown", 1)]
    {
        let fields = format!("certificate=\"{number}\" reason=\"{reason}\"");
        let told = |line: &&str| line.contains("refused a certificate peer.addr=127.0.0.1:") && line.contains(&fields);
        assert_eq!(server.log().lines().filter(told).count(), times, "{fields}\n{}", server.log());
    }
    assert!(!server.log().contains(&phone.password) && !server.log().contains(&other.password));
    // Agents without a certificate go on as ever.
    assert_eq!(Client::new(&server, None).says(&server, &named("OTHER", Some(&other.password))).await.code(), 0);
    assert_eq!(Client::new(&server, None).comes(&server).await.code(), NOT_AUTHORIZED);
}

#[tokio::test]
async fn a_revoked_certificate_closes_its_connection_and_opens_no_other() {
    let server = Server::start().await;
    let (mut phone, shown) = enrolled(&server, "AZERTY").await;
    let client = Client::new(&server, Some(&shown));
    let mut link = client.comes(&server).await.link();
    link.heard_so_far().await;
    server.until_agent("AZERTY", |it| it["is_online"] == true).await;
    let done = server.cli(&["certs", "revoke", &shown.number().to_uppercase(), "--reason", "key_compromise"]).await;
    assert_eq!(done["revoked"], json!([shown.number()]));
    link.is_closed().await;
    server.until_agent("AZERTY", |it| it["is_online"] == false).await;

    // A ticket from before carries its certificate past the verifier, and no further.
    let Tried::Answered(_, code, kind) = client.comes(&server).await else { panic!("resumption is on") };
    assert_eq!((i32::from(code), kind), (NOT_AUTHORIZED, HandshakeKind::Resumed));
    until("new handshakes fail", async || {
        Client::new(&server, Some(&shown)).comes(&server).await.code() == NO_HANDSHAKE
    })
    .await;
    is_listed(&server, &shown.number()).await;
    let row = server.cli(&["certs", "show", &shown.number()]).await;
    assert_eq!((&row[0]["state"], &row[0]["reason"]), (&json!("revoked"), &json!("key_compromise")));

    let deeds = server.cli(&["audit", "list", "--serial", "AZERTY", "--action", "certificate."]).await;
    let told: Vec<_> = rows(&deeds).iter().map(|it| (&it["action"], &it["actor_kind"], &it["subject"])).collect();
    let number = json!(shown.number());
    assert_eq!(
        told,
        [
            (&json!("certificate.revoke"), &json!("administrator"), &number),
            (&json!("certificate.issue"), &json!("person"), &number)
        ]
    );
    // The password is another credential: the device can come back with it, and stays when a certificate is revoked.
    phone.comes_up(&server).await;
    phone.says("Status/Ping", "!").await;
    let again = server.cli(&["certs", "revoke", "AZERTY"]).await;
    assert_eq!(again["revoked"], json!([]), "it was revoked already");
    phone.says("Status/Ping", "!").await;
    let unknown = server.cli_output(&["certs", "revoke", "NOBODY"]).await;
    assert!(!unknown.status.success());
}

/// The list is signed, fresh, and names this certificate: over HTTP in both forms, and as a file.
async fn is_listed(server: &Server, number: &str) {
    let folder = server.data_dir();
    for path in ["/crl", "/crl.pem", "/glpi/apirest.php/crl"] {
        let answer = reqwest::get(format!("{}{path}", server.http_url())).await.unwrap();
        assert!(answer.status().is_success());
        if path == "/crl" {
            assert_eq!(answer.headers()["content-type"], "application/pkix-crl");
        }
        fs::write(folder.join(path.trim_matches('/').replace('/', "-")), answer.bytes().await.unwrap()).unwrap();
    }
    for (file, form) in [("crl", "DER"), ("crl.pem", "PEM"), ("certs/crl.pem", "PEM")] {
        let said = openssl::reads_list(server, &folder.join(file), form);
        assert!(said.contains("Next Update") && said.contains(&number.to_uppercase()), "{file}: {said}");
    }
}

#[tokio::test]
async fn an_agent_that_leaves_or_is_removed_takes_its_certificates_along() {
    let server = Server::start().await;
    let (_, removed) = enrolled(&server, "REMOVED").await;
    let (_, left) = enrolled(&server, "LEFT").await;
    let (_, again) = enrolled(&server, "AGAIN").await;
    let mut link = Client::new(&server, Some(&removed)).comes(&server).await.link();
    server.deletes("REMOVED").await;
    link.is_closed().await;
    let mut link = Client::new(&server, Some(&left)).comes(&server).await.link();
    link.publishes("0/agent/LEFT/Status/Unenroll", br#"{"unenroll":"unenrolled"}"#, 1).await;
    let (_, newer) = enrolled(&server, "AGAIN").await;
    for (what, shown) in [("removed", &removed), ("left", &left), ("enrolled again", &again)] {
        until("it is revoked", async || {
            let row = server.cli(&["certs", "show", &shown.number()]).await;
            row[0]["state"] == "revoked" && row[0]["reason"] == "cessation_of_operation"
        })
        .await;
        let code = Client::new(&server, Some(shown)).comes(&server).await.code();
        assert!([NO_HANDSHAKE, NOT_AUTHORIZED].contains(&code), "{what}: {code}");
    }
    assert_eq!(Client::new(&server, Some(&newer)).comes(&server).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_slips_in_while_a_certificate_is_revoked() {
    let server = Arc::new(Server::start().await);
    let (_, shown) = enrolled(&server, "AZERTY").await;
    let client = Client::new(&server, Some(&shown));
    let is_revoked = Arc::new(AtomicBool::new(false));
    let mut comers = JoinSet::new();
    for _ in 0..4 {
        let (server, client, is_revoked) = (server.clone(), client.clone(), is_revoked.clone());
        comers.spawn(async move {
            // The last connection that was let in is kept; until then they take over from each other.
            let mut last = None;
            loop {
                let is_late = is_revoked.load(Ordering::SeqCst);
                match client.comes(&server).await {
                    Tried::Answered(link, 0, _) => {
                        assert!(!is_late, "let in with a revoked certificate");
                        last = Some(link);
                    }
                    _ if is_late => return last,
                    _ => {}
                }
            }
        });
    }
    until("some were let in", async || server.metric("mdm_certificate_logins_total").await >= 20.0).await;
    server.cli(&["certs", "revoke", &shown.number()]).await;
    is_revoked.store(true, Ordering::SeqCst);
    while let Some(last) = comers.join_next().await {
        if let Some(mut link) = last.unwrap() {
            link.is_closed().await;
        }
    }
    server.until_agent("AZERTY", |it| it["is_online"] == false).await;
}

#[tokio::test]
async fn a_stolen_authority_ends_everything_that_it_signed() {
    let server = Server::start().await;
    let (_, one) = enrolled(&server, "ONE").await;
    let (_, two) = enrolled(&server, "TWO").await;
    let mut by_password = server.enrolled("PASSWORD").await;
    by_password.comes_up(&server).await;
    let mut links = Vec::new();
    for shown in [&one, &two] {
        links.push(Client::new(&server, Some(shown)).comes(&server).await.link());
    }
    let done = server.cli(&["certs", "revoke", "--all", "--yes"]).await;
    assert_eq!((&done["revoked"], &done["reason"]), (&json!(2), &json!("ca_compromise")));
    let deeds = server.cli(&["audit", "list", "--action", "certificate.revoke"]).await;
    assert_eq!((rows(&deeds).len(), &rows(&deeds)[0]["detail"]["certificates"]), (1, &json!(2)), "one entry for all");
    for link in &mut links {
        link.is_closed().await;
    }
    assert_eq!(server.cli(&["certs", "show", "ONE"]).await[0]["state"], "revoked");
    by_password.says("Status/Ping", "!").await;
}

#[tokio::test]
async fn a_listener_can_require_certificates_and_the_policy_can_want_the_password_too() {
    let optional = Server::with(&[("MDMQ_MQTT__PASSWORD_WITH_CERTIFICATE", "true")]).await;
    let (phone, shown) = enrolled(&optional, "AZERTY").await;
    let client = Client::new(&optional, Some(&shown));
    assert_eq!(client.comes(&optional).await.code(), BAD_CREDENTIALS);
    assert_eq!(client.says(&optional, &named("AZERTY", None)).await.code(), BAD_CREDENTIALS);
    assert_eq!(client.says(&optional, &named("AZERTY", Some(&phone.password))).await.code(), 0);

    let required = Server::with(&[("MDMQ_MQTT__CLIENT_CERTIFICATES", "required")]).await;
    let (phone, shown) = enrolled(&required, "AZERTY").await;
    let login = named("AZERTY", Some(&phone.password));
    assert_eq!(Client::new(&required, None).says(&required, &login).await.code(), NO_HANDSHAKE);
    assert_eq!(Client::new(&required, Some(&shown)).says(&required, &login).await.code(), 0);

    let off = Server::with(&[("MDMQ_MQTT__CLIENT_CERTIFICATES", "off")]).await;
    let profile = Profile { csr: DeviceKey::new().csr(), ..Profile::android() };
    let phone = enrollment::enroll(&off, "AZERTY", &profile).await;
    assert_eq!(phone.settings["certificate"], "");
    let login = named("AZERTY", Some(&phone.password));
    assert_eq!(Client::new(&off, Some(&shown)).says(&off, &login).await.code(), 0, "it is not asked for");
    let answer = reqwest::get(format!("{}/crl", off.http_url())).await.unwrap();
    assert_eq!(answer.status().as_u16(), 404);
}

#[tokio::test]
async fn a_device_renews_its_certificate_over_http_and_the_old_one_overlaps() {
    for (overlap_s, old_code) in [("3600", 0), ("1", NOT_AUTHORIZED)] {
        let server = Server::with(&[("MDMQ_MQTT__CLIENT_CERTIFICATE_OVERLAP_S", overlap_s)]).await;
        let (phone, old) = enrolled(&server, "AZERTY").await;
        let id = phone.settings["id"].as_i64().unwrap();
        let mut link = Client::new(&server, Some(&old)).comes(&server).await.link();
        link.heard_so_far().await;
        let http = Http::of(&server);
        let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
        let key = DeviceKey::new();
        let path = format!("/PluginFlyvemdmAgent/{id}");
        let (status, body) = http.send("PUT", &path, &session, Some(&json!({"input": {"csr": key.csr()}}))).await;
        assert_eq!((status, &body[0][id.to_string()]), (200, &json!(true)), "{body}");
        let new = key.with(body[0]["certificate"].as_str().unwrap());
        let (_, settings) = http.get(&path, &session).await;
        assert_eq!(settings["certificate"], new.pem.as_str());
        if old_code == 0 {
            link.heard_so_far().await;
        } else {
            // The overlap ends while it is connected.
            link.is_closed().await;
        }
        assert_eq!(Client::new(&server, Some(&new)).comes(&server).await.code(), 0);
        assert_eq!(Client::new(&server, Some(&old)).comes(&server).await.code(), old_code);
        assert_eq!(server.cli(&["certs", "show", &old.number()]).await[0]["state"], "superseded");

        let weak = include_str!("../../src/pki/requests/rsa1024.pem");
        let (status, body) = http.send("PUT", &path, &session, Some(&json!({"input": {"csr": weak}}))).await;
        assert_eq!((status, &body[0]), (400, &json!("ERROR_GLPI_UPDATE")), "{body}");
        let other = server.enrolled("OTHER").await;
        let session = http.session(other.settings["api_token"].as_str().unwrap()).await;
        let (status, _) = http.send("PUT", &path, &session, Some(&json!({"input": {"csr": key.csr()}}))).await;
        assert!(status >= 400, "somebody else's certificate: {status}");
        // All of a device at once, and it cannot help itself to another one.
        let done = server.cli(&["certs", "revoke", "AZERTY", "--reason", "key_compromise"]).await;
        assert_eq!(done["revoked"].as_array().unwrap().len(), 2);
        let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
        let (status, body) = http.send("PUT", &path, &session, Some(&json!({"input": {"csr": key.csr()}}))).await;
        assert!(status == 400 && body.to_string().contains("has to enroll again"), "{status} {body}");
        assert_eq!(Client::new(&server, Some(&new)).comes(&server).await.code().max(0) % 5, 0, "refused either way");
    }
}

#[tokio::test]
async fn a_device_that_asks_for_certificates_without_end_gets_no_more() {
    let server = Server::start().await;
    let (phone, _) = enrolled(&server, "AZERTY").await;
    let http = Http::of(&server);
    let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
    let path = format!("/PluginFlyvemdmAgent/{}", phone.settings["id"]);
    let csr = DeviceKey::new().csr();
    for expected in [[200; 20].as_slice(), &[400; 3]].concat() {
        let (status, body) = http.send("PUT", &path, &session, Some(&json!({"input": {"csr": csr}}))).await;
        assert_eq!((status, body.to_string().contains("too many requests")), (expected, expected == 400), "{body}");
    }
    let deeds = server.cli(&["audit", "list", "--action", "certificate.issue"]).await;
    assert_eq!(deeds.as_array().unwrap().len(), 21, "one at the enrollment, 20 renewals: {deeds}");
}

#[tokio::test]
async fn certificates_work_with_openssl_mosquitto_and_paho() {
    let server = Server::start().await;
    let (_, shown) = enrolled(&server, "AZERTY").await;
    let files = shown.files(&server, "azerty");
    let (cert, key) = files.clone();
    let ca = server.ca_file();
    for version in ["-tls1_2", "-tls1_3"] {
        let greeting = openssl::greets(&server, &[version]);
        let taken = greeting.split_once("Acceptable client certificate CA names").map(|it| it.1);
        assert!(taken.is_some_and(|it| it.contains("mdmq private authority")), "whose are taken? {greeting}");
        let (heard, complaint) = openssl::says(&server, &[version], Some(&files), &bare());
        assert_eq!(heard, [0x20, 2, 0, 0], "{version}: {complaint}");
        let (heard, complaint) = openssl::says(&server, &[version], None, &bare());
        assert_eq!(heard, [0x20, 2, 0, NOT_AUTHORIZED as u8], "without one, {version}: {complaint}");
    }
    for version in ["mqttv31", "mqttv311"] {
        let output = Command::new("mosquitto_pub")
            .args(["-h", "localhost", "-p", &server.ports.mqtt_tls.to_string(), "-V", version, "-q", "1"])
            .args(["-t", "0/agent/AZERTY/Status/Ping", "-m", "!"])
            .arg("--cafile")
            .arg(&ca)
            .arg("--cert")
            .arg(&cert)
            .arg("--key")
            .arg(&key)
            .output()
            .unwrap();
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
    }
    server.until_agent("AZERTY", |it| !it["last_contact"].is_null()).await;
    let steps = json!([
        ["subscribe", "0/agent/AZERTY/#", 1],
        ["publish", "0/agent/AZERTY/Status/Ping", "!", 1, false],
        ["hear", 1],
    ]);
    let mut script = Script::new(&Login::new("", ""), steps);
    script.certificate = Some((cert, key));
    let lines = script.play(&server, Library::Paho).await;
    assert_eq!(lines[0]["connected"], 0);
    let heard: Vec<&Value> = lines.iter().filter_map(|it| it["heard"].get("topic")).collect();
    assert_eq!(heard, ["0/agent/AZERTY/Command/Subscribe"]);
    assert_eq!(server.metric("mdm_certificate_logins_total").await, 5.0);

    server.cli(&["certs", "revoke", &shown.number()]).await;
    for version in ["-tls1_2", "-tls1_3"] {
        // Until TLS has read the list, the registry refuses.
        until("the handshake fails", async || openssl::says(&server, &[version], Some(&files), &bare()).0.is_empty())
            .await;
        let (heard, complaint) = openssl::says(&server, &[version], Some(&files), &bare());
        assert!(
            heard.is_empty() && complaint.contains("alert certificate revoked"),
            "{version}: {heard:?} {complaint}"
        );
    }
}

#[tokio::test]
async fn the_registry_works_on_postgres_across_a_restart() {
    let url = fresh_database();
    let mut server = Server::with(&[("MDMQ_DATABASE__URL", &url)]).await;
    let (phone, shown) = enrolled(&server, "AZERTY").await;
    let http = Http::of(&server);
    let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
    let path = format!("/PluginFlyvemdmAgent/{}", phone.settings["id"]);
    let key = DeviceKey::new();
    let (status, body) = http.send("PUT", &path, &session, Some(&json!({"input": {"csr": key.csr()}}))).await;
    assert_eq!(status, 200, "{body}");
    let new = key.with(body[0]["certificate"].as_str().unwrap());
    let mut link = Client::new(&server, Some(&new)).comes(&server).await.link();
    assert_eq!(Client::new(&server, Some(&shown)).says(&server, &named("AZERTY", Some("wrong"))).await.code(), 4);
    assert_eq!(rows(&server.cli(&["certs", "list", "--serial", "AZERTY", "--expiring-days", "100"]).await).len(), 2);
    server.cli(&["certs", "revoke", &new.number()]).await;
    link.is_closed().await;
    assert_eq!(Client::new(&server, Some(&shown)).comes(&server).await.code(), 0, "the other is taken still");
    server.restart().await;
    assert_eq!(
        Client::new(&server, Some(&new)).comes(&server).await.code(),
        NO_HANDSHAKE,
        "from the first handshake on"
    );
    is_listed(&server, &new.number()).await;
    server.deletes("AZERTY").await;
    assert_eq!(server.cli(&["certs", "show", &shown.number()]).await[0]["state"], "revoked");
    assert!(server.page("/metrics").await.1.contains("mdm_certificates_valid 0"));
}
