//! Starting, refusing to start, and stopping.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Command};

use crate::support::{
    Server,
    contents::{World, written},
    postgres::fresh_database,
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

/// Containers run as root, so it is said and not refused.
#[tokio::test]
async fn whoever_starts_it_as_root_is_told_once() {
    let server = Server::start().await;
    let told = server.log().lines().filter(|line| line.contains("WARN") && line.contains("mdmq runs as root")).count();
    assert_eq!(told, usize::from(rustix::process::geteuid().is_root()), "{}", server.log());
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

async fn check_refuses_to_start_on(server: &Server, settings: &[(&str, &str)], needles: [&str; 2]) {
    let said = server.data_dir().join("stderr.txt");
    // Twice: what was refused once is not taken the second time.
    for _ in 0..2 {
        let _ = fs::remove_file(&said);
        let (code, stderr) = serve_and_fail(server.data_dir(), settings).await;
        // PostgreSQL says at INFO what it skips.
        let sentences: Vec<&str> = stderr.lines().filter(|it| !it.is_empty() && !it.contains(" INFO ")).collect();
        assert_eq!((code, sentences.len()), (Some(1), 1), "{stderr}");
        assert!(needles.iter().all(|it| stderr.contains(it)), "{stderr}");
    }
}

#[tokio::test]
async fn contents_outlive_a_start_with_a_new_database() {
    let mut world = World::new().await;
    let file = world.file("manual.pdf", b"first edition").await;
    assert!(world.server.stop().await.success());
    let (sqlite, aside) = (world.server.data_dir().join("mdmq.sqlite"), world.server.data_dir().join("kept"));
    fs::rename(&sqlite, &aside).unwrap();
    check_refuses_to_start_on(&world.server, &[], ["1 uploaded contents", "put the former database back"]).await;
    let url = fresh_database();
    let elsewhere = [("MDMQ_DATABASE__URL", url.as_str())];
    check_refuses_to_start_on(&world.server, &elsewhere, ["the database is new", "correct database.url"]).await;
    fs::rename(&aside, &sqlite).unwrap();
    world.server.start_again().await;
    assert_eq!(world.content(file, "").await.body, b"first edition");
}

#[tokio::test]
async fn a_database_that_was_used_elsewhere_is_one_line_and_exit_1() {
    let mut world = World::new().await;
    let file = world.file("manual.pdf", b"first edition").await;
    let url = fresh_database();
    let mut other = Server::with(&[("MDMQ_DATABASE__URL", &url)]).await;
    for server in [&mut world.server, &mut other] {
        assert!(server.stop().await.success());
    }
    let elsewhere = [("MDMQ_DATABASE__URL", url.as_str())];
    check_refuses_to_start_on(&world.server, &elsewhere, ["another secret.key", "correct database.url"]).await;
    world.server.start_again().await;
    assert_eq!(world.content(file, "").await.body, b"first edition");
}

/// An older copy of the database has the same key, and knows nothing of what came later.
#[tokio::test]
async fn an_older_copy_of_the_database_removes_nothing_and_says_what_is_not_as_it_should_be() {
    let mut world = World::new().await;
    let old = world.file("old.pdf", b"first edition").await;
    assert!(world.server.stop().await.success());
    let home = world.server.data_dir().to_owned();
    let (sqlite, copy, newer) = (home.join("mdmq.sqlite"), home.join("copy"), home.join("newer"));
    fs::copy(&sqlite, &copy).unwrap();
    world.server.start_again().await;
    assert!(!world.server.log().contains("contents"), "nothing to say:\n{}", world.server.log());
    let late = world.file("late.pdf", b"second edition").await;
    let changed = written(&world.server, "old.pdf", b"third edition");
    world.server.cli(&["file", "update", &old.to_string(), changed.to_str().unwrap()]).await;
    assert!(world.server.stop().await.success());

    fs::rename(&sqlite, &newer).unwrap();
    fs::rename(&copy, &sqlite).unwrap();
    world.server.start_again().await;
    let log = world.server.log();
    assert!(
        log.contains("1 contents of files and packages are missing")
            && log.contains("2 contents in blobs/ are unknown"),
        "{log}"
    );
    assert!(world.server.stop().await.success());

    fs::rename(&newer, &sqlite).unwrap();
    world.server.start_again().await;
    assert_eq!(world.content(late, "").await.body, b"second edition");
    assert_eq!(world.content(old, "").await.body, b"third edition");
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
