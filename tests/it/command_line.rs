//! The command line towards people: what it asks before, what it refuses to overwrite, and whether its complaints say what helps.

use std::{fs, process::Stdio};

use serde_json::{Value, json};

use crate::support::{
    Server,
    server::{bare_command, rows},
    until,
};

/// What a command that must fail with 1 complains of, in one line.
async fn complaint(server: &Server, arguments: &[&str]) -> String {
    let output = server.cli_output(arguments).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{arguments:?}: {said}");
    said
}

/// Runs without a server and without settings: exit code, what it printed, what it complained of.
fn alone(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = bare_command().args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn what_cannot_be_taken_back_wants_a_yes_where_nobody_can_be_asked() {
    let server = Server::start().await;
    server.enrolled("AZERTY").await;
    for arguments in
        [&["agent", "wipe", "AZERTY"][..], &["agent", "wipe", "AZERTY", "--json"], &["certs", "revoke", "--all"]]
    {
        let said = complaint(&server, arguments).await;
        assert!(said.contains("say --yes if that is meant"), "{arguments:?}: {said}");
    }
    assert_eq!(server.agent("AZERTY").await["wipe"], false);
    assert_eq!(rows(&server.cli(&["command", "list"]).await).len(), 0);
    server.cli(&["agent", "wipe", "AZERTY", "--yes"]).await;
    assert_eq!(server.agent("AZERTY").await["wipe"], true);
    assert_eq!(server.cli(&["certs", "revoke", "--all", "--yes"]).await["revoked"], 0);
}

#[tokio::test]
async fn a_secret_whose_file_cannot_be_made_is_not_made_either() {
    let server = Server::start().await;
    server.cli(&["user", "add", "ann", "--email", "ann@example.org"]).await;
    let file = |name: &str| server.data_dir().join(name).display().to_string();
    fs::write(file("taken"), "precious").unwrap();
    for (path, why) in [(file("taken"), "is there already"), (file("none/secret"), "cannot write")] {
        for words in [
            &["account", "add", "lost", "--acl", "#:r", "--password-file"][..],
            &["token", "add", "lost", "--role", "viewer", "--out"],
            &["user", "token", "ann", "--token-file"],
        ] {
            let said = complaint(&server, &[words, &[path.as_str()]].concat()).await;
            assert!(said.contains(why) && said.contains(&path), "{words:?}: {said}");
        }
    }
    assert_eq!(fs::read_to_string(file("taken")).unwrap(), "precious");
    for list in ["account", "token"] {
        assert_eq!(server.cli(&[list, "list"]).await, json!([]), "{list}");
    }
    let deeds = server.cli(&["audit", "list", "--action", "person."]).await;
    assert_eq!(rows(&deeds).len(), 1, "no token was made: {deeds}");

    let fresh = file("fresh");
    complaint(&server, &["account", "add", "monitor", "--acl", "nonsense", "--password-file", &fresh]).await;
    let made = server.cli(&["account", "add", "monitor", "--acl", "#:r", "--password-file", &fresh]).await;
    assert_eq!((&made["password"], &made["password_file"]), (&Value::Null, &json!(fresh)));
    assert!(fs::read_to_string(&fresh).unwrap().len() > 20);
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_is_told_apart_from_one_that_refuses() {
    let server = Server::with(&[("MDMQ_LIMITS__FAILED_LOGINS_BURST", "1")]).await;
    let agents = format!("http://127.0.0.1:{}", server.ports.http);
    let bare = format!("127.0.0.1:{}", server.ports.admin);
    for (named, why) in [
        (bare.as_str(), "lacks http:// or https://"),
        (&agents, "not as the admin API does"),
        ("http://127.0.0.1:1", "cannot reach the server at http://127.0.0.1:1 (Connection refused"),
    ] {
        let said = complaint(&server, &["--server", named, "agent", "list"]).await;
        assert!(said.contains(why) && !said.contains("--data-dir"), "{named}: {said}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let nowhere = elsewhere.path().to_str().unwrap();
    let url = server.admin_url();
    let said = complaint(&server, &["--server", &url, "--data-dir", nowhere, "agent", "list"]).await;
    assert!(said.contains("--admin-token-file"), "{said}");
    let said = complaint(&server, &["--server", &url, "--data-dir", nowhere, "certs", "ca"]).await;
    assert!(said.contains("which --server does not reach"), "{said}");
    let file = elsewhere.path().join("file");
    fs::write(&file, "").unwrap();
    let said = complaint(&server, &["--data-dir", file.to_str().unwrap(), "certs", "ca"]).await;
    assert!(said.contains("cannot read") && said.contains("ca.pem"), "{said}");

    fs::write(&file, "x".repeat(40)).unwrap();
    let wrong = ["--server", &url, "--admin-token-file", file.to_str().unwrap(), "agent", "list"];
    assert!(complaint(&server, &wrong).await.contains("missing or wrong"));
    until("it is said that the address is banned", async || {
        complaint(&server, &wrong).await.contains("this address is banned for another")
    })
    .await;
    server.cli(&["agent", "list"]).await;
}

#[tokio::test]
async fn a_tenant_that_does_not_exist_is_no_empty_list_and_whose_token_it_is_must_name_his() {
    let server = Server::start().await;
    let said = complaint(&server, &["agent", "list", "--entity", "99"]).await;
    assert!(said.contains("there is no entity 99"), "{said}");
    server.cli(&["entity", "add", "Paris", "--id", "76"]).await;
    assert_eq!(server.cli(&["agent", "list", "--entity", "76"]).await, json!([]));

    let file = server.data_dir().join("paris.token").display().to_string();
    server.cli(&["token", "add", "paris", "--role", "operator", "--entity", "76", "--out", &file]).await;
    let said = complaint(&server, &["--admin-token-file", &file, "invite", "--email", "ann@example.org"]).await;
    assert!(said.contains("the token paris is not for entity 0: name its own (--entity)"), "{said}");
    let said = complaint(&server, &["--admin-token-file", &file, "agent", "list", "--entity", "0"]).await;
    assert!(said.contains("there is no entity 0"), "{said}");
}

#[tokio::test]
async fn an_export_that_nobody_reads_to_its_end_is_no_failure() {
    let server = Server::start().await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut export = bare_command();
    export.args(["audit", "export", "--format", "csv"]).env("MDMQ_DATA_DIR", server.data_dir()).stdout(writer);
    let output = tokio::task::spawn_blocking(move || export.stderr(Stdio::piped()).output().unwrap()).await.unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}

#[tokio::test]
async fn a_configuration_is_checked_with_the_files_that_it_names() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("server.toml");
    let name = file.to_str().unwrap();
    let secret = home.path().join("smtp");
    fs::write(&secret, "name\npassword\n").unwrap();
    let mail = "[mail]\nsmtp_host = \"mail.example.org\"\nfrom = \"mdm@example.org\"\n";
    for (settings, why) in [
        ("[mqtt]\nclient_ca_file = \"/none.pem\"\n".to_owned(), "mqtt.client_ca_file: cannot read /none.pem"),
        (
            "[mqtt]\ncertificate_file = \"/none.pem\"\nkey_file = \"/none.key\"\n".to_owned(),
            "mqtt.certificate_file: cannot read /none.pem",
        ),
        (format!("{mail}credentials_file = \"/none\"\n"), "mail.credentials_file /none: "),
        ("[mqtt]\ntls_listen = \"here\"\n".to_owned(), "mqtt.tls_listen = \"here\" is not an address"),
        (
            "[mqtt]\ntsl_listen = \"\"\n".to_owned(),
            "there is no setting mqtt.tsl_listen; did you mean mqtt.tls_listen?",
        ),
    ] {
        fs::write(&file, settings).unwrap();
        let (code, said, complaint) = alone(&["check-config", name]);
        assert_eq!((code, said.as_str()), (Some(1), ""), "{why}");
        assert!(complaint.starts_with(&format!("mdmq: {name}: {why}")), "{complaint}");
        assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
    }
    fs::write(&file, format!("{mail}credentials_file = \"{}\"\n", secret.display())).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&secret, open).unwrap();
    let (code, said, complaint) = alone(&["check-config", name]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    for note in ["mail.credentials_file: ", "http.listen is reachable from other machines in clear text"] {
        assert!(said.contains(&format!("note: {note}")), "{said}");
    }
}
