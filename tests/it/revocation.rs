//! What people see of certificates, and whose they revoke.

use serde_json::{Value, json};

use crate::support::{
    Server,
    certified::{Client, DeviceKey, enrolled},
    enrollment::{self, Profile},
    server::rows,
    sqlite,
};

/// What a command prints for people.
async fn printed(server: &Server, arguments: &[&str]) -> String {
    let output = server.cli_output(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// More certificates like the first of a device, with numbers from here on; they are good until `ends_at`, where that is said.
async fn copies(server: &mut Server, serial: &str, numbers: std::ops::Range<u32>, ends_at: &str) {
    assert!(server.stop().await.success());
    let (first, end) = (numbers.start, numbers.end);
    let statement = format!(
        "insert into certificate (serial_number, fingerprint, issuer, is_foreign, agent_id, entity_id, serial, state, issued_at, \
         not_before, not_after, ends_at) with recursive n (i) as (select {first} union all select i + 1 from n where i + 1 < {end}) \
         select c.serial_number || n.i, c.fingerprint || n.i, c.issuer, c.is_foreign, c.agent_id, c.entity_id, c.serial, 'valid', \
         c.issued_at, c.not_before, c.not_after, {ends_at} from certificate c, n \
         where c.serial = '{serial}' and c.certificate_id = (select min(certificate_id) from certificate)"
    );
    sqlite::execute_text(server, statement).await;
    server.start_again().await;
}

#[tokio::test]
async fn certificates_are_shown_as_people_need_them() {
    let mut server = Server::start().await;
    let (_, shown) = enrolled(&server, "PHONE1").await;
    let text = printed(&server, &["certs", "show", "PHONE1"]).await;
    assert!(text.contains(shown.pem.trim()) && !text.contains('\u{fffd}'), "{text}");
    copies(&mut server, "PHONE1", 10..11, "1").await;
    let ended = server.cli(&["certs", "list", "--state", "ended"]).await;
    assert_eq!((rows(&ended).len(), &rows(&ended)[0]["serial_number"]), (1, &json!(format!("{}10", shown.number()))));
    let valid = server.cli(&["certs", "list", "--state", "valid"]).await;
    assert_eq!((rows(&valid).len(), &rows(&valid)[0]["serial_number"]), (1, &json!(shown.number())));
    let table = printed(&server, &["certs", "list"]).await;
    assert!(table.lines().next().unwrap().contains("ISSUER"), "{table}");
    assert!(table.lines().skip(1).all(|line| line.contains("  mdmq private authority")), "{table}");

    printed(&server, &["certs", "revoke", "PHONE1"]).await;
    assert_eq!(printed(&server, &["certs", "revoke", "PHONE1"]).await, "there was nothing left to revoke\n");

    let overview = server.cli(&["certs", "show"]).await;
    let built_in = server.data_dir().join("certs/server.pem").display().to_string();
    assert_eq!(rows(&overview).last().unwrap()["file"], built_in);
    let settings = server.data_dir().join("server.toml").display().to_string();
    let (brought, key) = shown.files(&server, "brought");
    let text = format!("[mqtt]\ncertificate_file = {brought:?}\nkey_file = {key:?}\n");
    std::fs::write(&settings, text).unwrap();
    let overview = server.cli(&["certs", "show", "--config", &settings]).await;
    let row = rows(&overview).last().unwrap();
    assert_eq!((&row["certificate"], &row["file"]), (&json!("server"), &json!(brought)));
}

#[tokio::test]
async fn a_serial_of_several_tenants_is_revoked_in_the_one_that_is_named() {
    let server = Server::start().await;
    server.cli(&["entity", "add", "Paris", "--id", "76"]).await;
    let (_, here) = enrolled(&server, "DUP").await;
    let key = DeviceKey::new();
    let invitation = enrollment::invite(&server, "there", 76).await;
    let profile = Profile { csr: key.csr(), entity: 76, ..Profile::android() };
    let phone = enrollment::enroll_with(&server, "DUP", &profile, &invitation).await;
    let there = key.with(phone.settings["certificate"].as_str().unwrap());

    let refused = server.cli_output(&["certs", "revoke", "DUP"]).await;
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && why.contains("say which with --entity: 0, 76"), "{why}");
    let refused = server.cli_output(&["certs", "revoke", "DUP", "--entity", "77"]).await;
    assert!(String::from_utf8(refused.stderr).unwrap().contains("for the device DUP in entity 77"));
    let deeds = server.cli(&["audit", "list", "--action", "certificate.revoke"]).await;
    assert_eq!(deeds, json!([]), "nothing was revoked");

    let done = server.cli(&["certs", "revoke", "DUP", "--entity", "76"]).await;
    assert_eq!(done["revoked"], json!([there.number()]));
    assert_eq!(Client::new(&server, Some(&here)).comes(&server).await.code(), 0);
    // What was revoked before leaves no doubt.
    assert_eq!(server.cli(&["certs", "revoke", "DUP"]).await["revoked"], json!([here.number()]));
}

#[tokio::test]
async fn the_audit_of_a_device_tells_of_all_its_revocations() {
    let mut server = Server::start().await;
    enrolled(&server, "PHONE1").await;
    server.cli(&["certs", "revoke", "PHONE1"]).await;
    let deeds = async |server: &Server| -> Vec<Value> {
        let told = server.cli(&["audit", "list", "--serial", "PHONE1", "--action", "certificate.revoke"]).await;
        rows(&told).to_vec()
    };
    // As many as get an entry each, beside one that was revoked before.
    copies(&mut server, "PHONE1", 10..26, "c.ends_at").await;
    assert_eq!(server.cli(&["certs", "revoke", "PHONE1"]).await["revoked"].as_array().unwrap().len(), 16);
    let told = deeds(&server).await;
    assert_eq!(told.len(), 17);
    assert!(told.iter().all(|it| it["entity"] == 0 && !it["subject"].as_str().unwrap().is_empty()), "{told:?}");
    // One more gets one entry for all, which is found as well.
    copies(&mut server, "PHONE1", 30..47, "c.ends_at").await;
    server.cli(&["certs", "revoke", "PHONE1"]).await;
    let told = deeds(&server).await;
    assert_eq!(told.len(), 18);
    assert_eq!((&told[0]["detail"]["certificates"], &told[0]["entity"]), (&json!(17), &json!(0)), "{}", told[0]);
}
