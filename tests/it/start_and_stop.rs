//! Starting, refusing to start, and stopping.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Command};

use crate::support::{
    Server,
    server::{MDMQ, serve_and_fail},
    sqlite, write_private,
};

#[tokio::test]
async fn a_server_without_configuration_makes_what_it_needs_and_stops_cleanly() {
    let mut server = Server::start().await;
    for file in ["ports.json", "admin-token", "certs/ca.pem"] {
        assert!(server.data_dir().join(file).exists(), "{file}\n{}", server.log());
    }
    assert_eq!(server.page("/healthz").await.0, 200);
    assert_eq!(server.page("/readyz").await.0, 200);
    assert_eq!(server.stop().await.code(), Some(0), "{}", server.log());
}

#[tokio::test]
async fn the_admin_token_is_for_the_owner_only() {
    let server = Server::start().await;
    let mode = fs::metadata(server.data_dir().join("admin-token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

async fn check_refuses_to_start(settings: &[(&str, &str)], needle: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (code, stderr) = serve_and_fail(dir.path(), settings).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "one line, please:\n{stderr}");
    assert!(stderr.contains(needle), "{stderr}");
}

#[tokio::test]
async fn a_port_in_use_is_one_line_and_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for listener in ["MDMQ_MQTT__TLS_LISTEN", "MDMQ_HTTP__LISTEN", "MDMQ_ADMIN__LISTEN"] {
        check_refuses_to_start(&[(listener, &address)], &address).await;
    }
}

#[tokio::test]
async fn a_key_that_others_can_read_is_one_line_and_exit_1() {
    let mut server = Server::start().await;
    assert!(server.stop().await.success());
    let file = server.data_dir().join("secret.key");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, stderr) = serve_and_fail(server.data_dir(), &[]).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&format!("run: chmod 600 {}", file.display())), "{stderr}");
}

#[tokio::test]
async fn a_lost_key_is_one_line_and_no_other_takes_its_place() {
    let mut server = Server::start().await;
    assert!(server.stop().await.success());
    let file = server.data_dir().join("secret.key");
    let aside = server.data_dir().join("kept.key");
    fs::rename(&file, &aside).unwrap();
    for _ in 0..2 {
        let (code, stderr) = serve_and_fail(server.data_dir(), &[]).await;
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("restore the key from the backup"), "{stderr}");
    }
    fs::rename(&aside, &file).unwrap();
    server.start_again().await;
}

#[tokio::test]
async fn an_unreadable_certificate_is_one_line_and_exit_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nonsense.pem");
    write_private(&file, "this is not a certificate");
    let path = file.to_str().unwrap();
    check_refuses_to_start(&[("MDMQ_MQTT__CERTIFICATE_FILE", path), ("MDMQ_MQTT__KEY_FILE", path)], "nonsense.pem")
        .await;
    check_refuses_to_start(
        &[("MDMQ_MQTT__CERTIFICATE_FILE", "/does/not/exist.pem"), ("MDMQ_MQTT__KEY_FILE", path)],
        "/does/not/exist.pem",
    )
    .await;
}

#[tokio::test]
async fn a_database_that_is_newer_than_the_program_is_one_line_and_exit_1() {
    let mut server = Server::start().await;
    assert!(server.stop().await.success());
    let future = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                  values (999999, 'from the future', true, x'00', 0)";
    sqlite::execute(&server, future).await;
    fs::remove_file(server.data_dir().join("stderr.txt")).unwrap();
    let (code, stderr) = serve_and_fail(server.data_dir(), &[]).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "one line, please:\n{stderr}");
    assert!(stderr.contains("newer than this program"), "{stderr}");
}

#[tokio::test]
async fn a_wrong_setting_is_one_line_that_names_it() {
    check_refuses_to_start(&[("MDMQ_MQTT__TLS_LISTEN", "here")], "mqtt.tls_listen").await;
    check_refuses_to_start(&[("MDMQ_MQTT__NO_SUCH_KEY", "1")], "no_such_key").await;
    check_refuses_to_start(&[("MDMQ_LOG__LEVEL", "debgu")], "log.level").await;
    check_refuses_to_start(&[("MDMQ_CLUSTER__NATS_URL", "nats://localhost")], "cluster.nats_url").await;
}

fn mdmq(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(MDMQ);
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("MDMQ_")) {
        command.env_remove(key);
    }
    let output = command.args(arguments).envs(variables.iter().copied()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn variables_of_the_command_line_are_no_settings() {
    let variables = [("MDMQ_SERVER", "http://127.0.0.1:1"), ("MDMQ_TOKEN_FILE", "/nowhere")];
    Server::with(&variables).await;
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().to_str().unwrap();
    assert_eq!(mdmq(&["check-config", "config/server.toml"], &variables), (Some(0), String::new()));
    assert_eq!(mdmq(&["certs", "issue-server", "--data-dir", data_dir], &variables), (Some(0), String::new()));
}

#[tokio::test]
async fn looking_at_certificates_in_the_wrong_place_makes_no_authority() {
    let home = tempfile::tempdir().unwrap();
    let wrong = home.path().join("wrong");
    for verb in [&["show"][..], &["list"], &["ca"], &["rotate"]] {
        let arguments = [&["certs"], verb, &["--data-dir", wrong.to_str().unwrap()]].concat();
        let (code, stderr) = mdmq(&arguments, &[]);
        assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{verb:?}: {stderr}");
        assert!(stderr.contains(wrong.to_str().unwrap()) && !wrong.exists(), "{verb:?}: {stderr}");
    }
}

#[tokio::test]
async fn a_restart_keeps_token_certificates_and_agents() {
    let mut server = Server::start().await;
    let (token, ca) = (server.admin_token(), fs::read(server.ca_file()).unwrap());
    let mut phone = server.enrolled("KEPT").await;
    server.restart().await;
    assert_eq!((server.admin_token(), fs::read(server.ca_file()).unwrap()), (token, ca));
    phone.comes_up(&server).await;
}
