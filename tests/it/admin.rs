//! The command line as scripts use it: every command with `--json`, and the three exit codes.

use std::{fmt::Write, process::Output};

use serde_json::{Value, json};

use crate::support::{Phone, Server, server::rows};

async fn code_and_complaint(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = server.cli_output(arguments).await;
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Refused with exit code 1 and one line that holds these words.
async fn is_refused(server: &Server, arguments: &[&str], words: &str) {
    let (code, complaint) = code_and_complaint(server, arguments).await;
    assert_eq!(code, Some(1), "{arguments:?}: {complaint}");
    assert_eq!(complaint.trim_end().lines().count(), 1, "{arguments:?}: {complaint}");
    assert!(complaint.contains(words), "{arguments:?}: {complaint}");
}

#[tokio::test]
async fn tenants_and_fleets_are_added_changed_and_removed() {
    let server = Server::start().await;
    let paris = server.cli(&["entity", "add", "Paris", "--id", "76"]).await;
    assert_eq!(paris["id"], 76);
    server.cli(&["entity", "change", "76", "--name", "Lyon"]).await;
    assert_eq!(server.cli(&["entity", "show", "76"]).await["name"], "Lyon");
    assert_eq!(rows(&server.cli(&["entity", "list"]).await).len(), 2);

    let sales = server.cli(&["fleet", "add", "Sales", "--entity", "76"]).await["id"].to_string();
    server.cli(&["fleet", "change", &sales, "--name", "Field"]).await;
    assert_eq!(server.cli(&["fleet", "show", &sales]).await["name"], "Field");
    let fleets = server.cli(&["fleet", "list", "--entity", "76"]).await;
    assert_eq!(rows(&fleets).len(), 2, "the default fleet and ours: {fleets}");
    let default = rows(&fleets).iter().find(|it| it["is_default"] == true).unwrap()["id"].to_string();

    is_refused(&server, &["fleet", "remove", &default], "default").await;
    is_refused(&server, &["fleet", "change", &default, "--recursive", "true"], "default fleet").await;
    server.cli(&["fleet", "change", &default, "--recursive", "false", "--name", "Unsorted"]).await;
    let vans = server.cli(&["fleet", "add", "Vans", "--entity", "76", "--recursive"]).await;
    assert_eq!(vans["is_recursive"], true);
    let vans = vans["id"].to_string();
    let changed = server.cli(&["fleet", "change", &vans, "--recursive", "false", "--name", "Cars"]).await;
    assert_eq!((&changed["is_recursive"], &changed["name"]), (&json!(false), &json!("Cars")));
    let changed = server.cli(&["fleet", "change", &vans, "--recursive", "true"]).await;
    assert_eq!((&changed["is_recursive"], &changed["name"]), (&json!(true), &json!("Cars")));
    is_refused(&server, &["fleet", "change", "999", "--recursive", "true"], "there is no fleet 999").await;
    server.cli(&["fleet", "remove", &vans]).await;
    is_refused(&server, &["entity", "remove", "0"], "").await;
    let settings = server.cli(&["entity", "settings", "76", "--phone", "+33 1", "--device-limit", "5"]).await;
    assert_eq!(
        (&settings["phone"], &settings["own"], &settings["device_limit"]),
        (&json!("+33 1"), &json!(["phone"]), &json!(5))
    );
    server.cli(&["entity", "add", "Lyon", "--id", "77", "--parent", "76"]).await;
    let below = server.cli(&["entity", "settings", "77"]).await;
    assert_eq!((&below["phone"], &below["own"], &below["token_life_days"]), (&json!("+33 1"), &json!([]), &json!(7)));
    server.cli(&["entity", "remove", "77"]).await;
    is_refused(&server, &["entity", "settings", "99", "--phone", "1"], "99").await;
    server.cli(&["fleet", "remove", &sales]).await;
    server.cli(&["entity", "remove", "76"]).await;
    is_refused(&server, &["entity", "show", "76"], "76").await;
}

#[tokio::test]
async fn an_invitation_has_the_members_that_scripts_rely_on() {
    let server = Server::start().await;
    let invited = server.cli(&["invite", "--email", "ann@example.org"]).await;
    for member in ["invitation_token", "user_token", "deeplink", "expires_at"] {
        assert!(invited[member].as_str().is_some_and(|it| it.len() >= 15), "{member}: {invited}");
    }
    is_refused(&server, &["invite", "--email", "nobody"], "e-mail").await;
    is_refused(&server, &["invite", "--email", "ann@example.org", "--entity", "99"], "99").await;

    let shown = server.cli_output(&["invite", "--email", "ann@example.org"]).await;
    let terminal = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success());
    assert!(terminal.contains("?data=") && terminal.contains('█'), "a link and a QR code: {terminal}");
}

#[tokio::test]
async fn accounts_show_their_password_once_and_lose_their_connection_when_removed() {
    let server = Server::start().await;
    let account = server.cli(&["account", "add", "monitor", "--acl", "+/agent/+/Status/#:r", "x/y:deny"]).await;
    assert_eq!(account["name"], "monitor");
    let password = account["password"].as_str().unwrap().to_owned();
    let shown = server.cli(&["account", "show", "monitor"]).await;
    assert!(!shown.to_string().contains(&password), "the password is not kept: {shown}");
    assert_eq!(rows(&server.cli(&["account", "list"]).await).len(), 1);

    is_refused(&server, &["account", "add", "monitor", "--acl", "#:r"], "monitor").await;
    is_refused(&server, &["account", "add", "other", "--acl", "a/#/b:r"], "filter").await;
    is_refused(&server, &["account", "add", "other", "--acl", "a:x"], ":deny").await;

    let mut link = crate::support::phone::Link::service(&server, "monitor", &password).await;
    server.cli(&["account", "remove", "monitor"]).await;
    link.is_closed().await;
    is_refused(&server, &["account", "show", "monitor"], "monitor").await;
}

#[tokio::test]
async fn commands_are_rows_that_wait_and_can_be_taken_back() {
    let server = Server::start().await;
    let phone = server.enrolled("AZERTY").await;
    drop(phone);
    let ping = server.cli(&["agent", "ping", "AZERTY"]).await;
    assert_eq!(ping["state"], "queued");
    let id = ping["command_id"].to_string();
    assert_eq!(server.cli(&["command", "show", &id]).await["state"], "queued");
    let listed = server.cli(&["command", "list", "--serial", "AZERTY", "--state", "queued"]).await;
    assert_eq!(rows(&listed).len(), 1, "{listed}");
    server.cli(&["command", "cancel", &id]).await;
    assert_eq!(server.cli(&["command", "show", &id]).await["state"], "cancelled");
    is_refused(&server, &["command", "cancel", &id], "cancelled").await;
    is_refused(&server, &["command", "show", "999"], "999").await;
    is_refused(&server, &["agent", "ping", "NOBODY"], "NOBODY").await;
}

#[tokio::test]
async fn a_command_that_waits_sees_the_answer() {
    let server = Server::start().await;
    let mut phone = server.enrolled("AZERTY").await;
    phone.comes_up(&server).await;
    let asks = server.cli(&["agent", "ping", "AZERTY", "--wait", "20"]);
    let answers = async {
        phone.hears("Command/Ping").await;
        phone.says("Status/Ping", "!").await;
    };
    let (asked, ()) = tokio::join!(asks, answers);
    assert_eq!(asked["state"], "answered", "{asked}");
}

#[tokio::test]
async fn agents_are_shown_moved_and_removed() {
    let server = Server::start().await;
    let phone = server.enrolled("AZERTY").await;
    let shown = server.cli(&["agent", "show", "AZERTY"]).await;
    for member in [
        "id",
        "serial",
        "entity",
        "fleet",
        "topic",
        "is_online",
        "last_contact",
        "enroll_status",
        "lock",
        "wipe",
        "connection",
    ] {
        assert!(shown.get(member).is_some(), "{member}: {shown}");
    }
    assert_eq!(
        (&shown["topic"], &shown["lock"], &shown["wipe"]),
        (&json!("0/agent/AZERTY"), &json!(false), &json!(false))
    );
    let fleet = server.cli(&["fleet", "add", "Sales"]).await["id"].clone();
    server.cli(&["agent", "move", "AZERTY", "--fleet", &fleet.to_string()]).await;
    assert_eq!(server.agent("AZERTY").await["fleet"], fleet);
    is_refused(&server, &["agent", "move", "AZERTY", "--fleet", "999"], "fleet").await;
    server.cli(&["agent", "remove", "AZERTY"]).await;
    is_refused(&server, &["agent", "show", "AZERTY"], "AZERTY").await;
    drop(phone);
}

#[tokio::test]
async fn an_import_stages_all_devices_or_none() {
    let server = Server::start().await;
    let file = server.data_dir().join("devices.csv");
    let path = file.to_str().unwrap().to_owned();
    let import = ["agent", "import", &path];

    std::fs::write(&file, "entity,serial,mqttpasswd\n0,GOOD,secret-one\n7,LOST,secret\n0,A/B,secret\n0,GOOD,x\n")
        .unwrap();
    let (code, complaint) = code_and_complaint(&server, &import).await;
    assert_eq!(code, Some(1));
    for words in ["line 4", "line 5"] {
        assert!(complaint.contains(words), "{words}: {complaint}");
    }
    assert!(!server.knows("GOOD").await, "all or nothing");

    // The second password is the hash of spec/mqtt.md §6.3.
    let hash = "PBKDF2$sha256$901$AAECAwQFBgcICQoL$qRak5VvzYwNL8Ayz/ou9K6G1EOeqzJCTikVYf1mFdixaoy0gfnnNaQKa1HzDZOLG";
    std::fs::write(
        &file,
        format!("serial,entity,mqttpasswd,name\nCLEAR,0,a-clear-password,Ann\nHASHED,0,{hash},Bob\n"),
    )
    .unwrap();
    let staged: Value = server.cli(&import).await;
    assert!(staged.to_string().contains('2'), "{staged}");
    for (serial, password) in [("CLEAR", "a-clear-password"), ("HASHED", "abcdefghijklmnopqrstuvwxyz012345")] {
        let mut phone = Phone::new(serial, password, &format!("0/agent/{serial}"));
        phone.connects(&server).await;
        server.until_agent(serial, |it| it["is_online"] == true).await;
    }
    let (code, complaint) = code_and_complaint(&server, &import).await;
    assert_eq!(code, Some(1));
    assert_eq!(complaint.matches("already enrolled").count(), 2, "a sentence for each bad line: {complaint}");
}

#[tokio::test]
async fn fifty_thousand_devices_are_staged_at_once() {
    let server = Server::start().await;
    let mut csv = String::from("entity,serial,mqttpasswd\n");
    for number in 0..50_000 {
        writeln!(csv, "0,BULK-{number},password-of-device-{number}").unwrap();
    }
    let file = server.data_dir().join("bulk.csv");
    std::fs::write(&file, csv).unwrap();
    server.cli(&["agent", "import", file.to_str().unwrap()]).await;
    assert!(server.knows("BULK-0").await && server.knows("BULK-49999").await);
}

#[tokio::test]
async fn wrong_usage_is_told_apart_from_refusal() {
    let server = Server::start().await;
    assert_eq!(code_and_complaint(&server, &["agent", "explode"]).await.0, Some(2));
    assert_eq!(code_and_complaint(&server, &["invite"]).await.0, Some(2));
    assert_eq!(code_and_complaint(&server, &["agent", "list"]).await.0, Some(0));
    assert_eq!(code_and_complaint(&server, &["agent", "ping", "--help"]).await.0, Some(0));
}
