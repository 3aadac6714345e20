//! The audit: every deed leaves its entry, and nobody can change, remove or invent one unnoticed.

mod ends;

use std::{fs, path::Path, time::Duration};

use mdmq::{clock::Clock, mdm::audit::Action};
use serde_json::{Value, json};

use crate::{
    glpi::Desk,
    support::{
        Server, apk, enrollment,
        mailbox::{Mailbox, Manners},
        mariadb::Flyve,
        phone::Link,
        postgres::fresh_database,
        server::rows,
        sqlite, until,
    },
};

/// Who, what, to what kind of thing, which device, in which tenant.
type Line = (String, String, String, String, Value);

async fn lines(server: &Server) -> Vec<Line> {
    let listed = server.cli(&["audit", "list", "--limit", "1000"]).await;
    let text = |it: &Value, member: &str| it[member].as_str().unwrap().to_owned();
    let line = |it: &Value| {
        (text(it, "actor_kind"), text(it, "action"), text(it, "subject_kind"), text(it, "serial"), it["entity"].clone())
    };
    rows(&listed).iter().rev().map(line).collect()
}

async fn verdict(server: &Server) -> String {
    let output = server.cli_output(&["audit", "verify"]).await;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.success(), text.contains("the audit holds"), "{text}");
    text
}

fn administrator(action: &str, subject: &str, serial: &str, entity: Value) -> Line {
    ("administrator".into(), action.into(), subject.into(), serial.into(), entity)
}

#[tokio::test]
#[rustfmt::skip]
async fn every_deed_of_an_administrator_leaves_its_entry() {
    let server = Server::start().await;
    let manual = server.data_dir().join("manual.pdf");
    fs::write(&manual, b"content").unwrap();
    let program = server.data_dir().join("probe.apk");
    fs::write(&program, apk::apk("org.example.probe", "1.2.3", 10_203)).unwrap();
    let people = server.data_dir().join("people.csv");
    fs::write(&people, "email\nben@example.org\ncleo@example.org\n").unwrap();
    let agents = server.data_dir().join("agents.csv");
    fs::write(&agents, "serial,entity,mqttpasswd\nOLD1,76,PBKDF2$sha256$901$AAECAwQFBgcICQoL$qRak5VvzYwNL8Ayz/ou9K6G1EOeqzJCTikVYf1mFdixaoy0gfnnNaQKa1HzDZOLG\n").unwrap();
    let (manual, program, people, agents) = (manual.to_str().unwrap(), program.to_str().unwrap(), people.to_str().unwrap(), agents.to_str().unwrap());
    drop(server.enrolled("AZERTY").await);
    let before = lines(&server).await.len();

    // What is typed, and what the audit says of it.
    let deeds: &[(&[&str], Line)] = &[
        (&["entity", "add", "Paris", "--id", "76"],                  administrator("entity.add", "entity", "", json!(76))),
        (&["entity", "change", "76", "--name", "Lyon"],              administrator("entity.change", "entity", "", json!(76))),
        (&["entity", "settings", "76", "--phone", "+33"],            administrator("entity.settings", "entity", "", json!(76))),
        (&["fleet", "add", "Sales", "--entity", "76"],               administrator("fleet.add", "fleet", "", json!(76))),
        (&["fleet", "change", "3", "--name", "Field"],               administrator("fleet.rename", "fleet", "", json!(76))),
        (&["fleet", "change", "3", "--recursive", "true"],           administrator("fleet.change", "fleet", "", json!(76))),
        (&["fleet", "remove", "3"],                                  administrator("fleet.remove", "fleet", "", json!(76))),
        (&["invite", "--email", "ann@example.org", "--entity", "76"], administrator("invitation.add", "invitation", "", json!(76))),
        (&["invitation", "remove", "2"],                             administrator("invitation.remove", "invitation", "", json!(76))),
        (&["invite", "--csv", people],                               administrator("invitation.import", "server", "", Value::Null)),
        (&["user", "add", "dora", "--email", "dora@example.org"],    administrator("person.add", "person", "", Value::Null)),
        (&["user", "change", "dora", "--firstname", "Dora"],         administrator("person.change", "person", "", Value::Null)),
        (&["user", "token", "dora"],                                 administrator("person.token", "person", "", Value::Null)),
        (&["user", "token", "dora", "--revoke"],                     administrator("person.tokens_revoke", "person", "", Value::Null)),
        (&["user", "remove", "dora"],                                administrator("person.remove", "person", "", Value::Null)),
        (&["account", "add", "monitor", "--acl", "#:r", "--entity", "76"], administrator("account.add", "account", "", json!(76))),
        (&["account", "remove", "monitor"],                          administrator("account.remove", "account", "", Value::Null)),
        (&["token", "add", "helpdesk", "--role", "viewer", "--entity", "76"], administrator("token.add", "token", "", json!(76))),
        (&["token", "remove", "helpdesk"],                           administrator("token.remove", "token", "", Value::Null)),
        (&["file", "add", manual],                                   administrator("file.add", "file", "", json!(0))),
        (&["file", "change", "1", "--name", "book.pdf"],             administrator("file.change", "file", "", json!(0))),
        (&["file", "update", "1", manual],                           administrator("file.replace", "file", "", json!(0))),
        (&["file", "remove", "1"],                                   administrator("file.remove", "file", "", json!(0))),
        (&["package", "add", program],                               administrator("package.add", "package", "", json!(0))),
        (&["package", "change", "1", "--name", "Probe"],             administrator("package.change", "package", "", json!(0))),
        (&["package", "update", "1", program],                       administrator("package.replace", "package", "", json!(0))),
        (&["package", "remove", "1"],                                administrator("package.remove", "package", "", json!(0))),
        (&["path", "add", "%SDCARD%/Manuals"],                       administrator("path.add", "path", "", Value::Null)),
        (&["path", "remove", "5"],                                   administrator("path.remove", "path", "", Value::Null)),
        (&["task", "add", "--agent", "AZERTY", "--policy", "disableWifi", "--value", "1"], administrator("task.add", "task", "AZERTY", json!(0))),
        (&["task", "change", "1", "--value", "0"],                   administrator("task.change", "task", "AZERTY", json!(0))),
        (&["task", "remove", "1"],                                   administrator("task.remove", "task", "AZERTY", json!(0))),
        (&["agent", "ping", "AZERTY"],                               administrator("command.order", "agent", "AZERTY", json!(0))),
        (&["command", "cancel", "1"],                                administrator("command.cancel", "command", "AZERTY", json!(0))),
        (&["agent", "unenroll", "AZERTY"],                           administrator("command.order", "agent", "AZERTY", json!(0))),
        (&["agent", "unenroll", "AZERTY", "--cancel"],                               administrator("command.cancel", "agent", "AZERTY", json!(0))),
        (&["agent", "move", "AZERTY", "--to-entity", "76"],          administrator("agent.move", "agent", "AZERTY", json!(0))),
        (&["agent", "import", agents],                               administrator("agent.import", "server", "", Value::Null)),
        (&["agent", "remove", "AZERTY"],                             administrator("agent.remove", "agent", "AZERTY", json!(76))),
    ];
    for (at, (words, expected)) in deeds.iter().enumerate() {
        server.cli(words).await;
        let seen = lines(&server).await;
        assert_eq!(seen.get(before + at), Some(expected), "{words:?}");
        assert_eq!(seen.len(), before + at + 1, "{words:?} leaves one entry");
    }
    // What is refused is no deed.
    assert!(!server.cli_output(&["entity", "add", "Paris", "--id", "76"]).await.status.success());
    assert!(!server.cli_output(&["agent", "ping", "NOBODY"]).await.status.success());
    assert_eq!(lines(&server).await.len(), before + deeds.len());

    let text = server.cli(&["audit", "list", "--limit", "1000"]).await.to_string();
    assert!(text.contains(r#""peer":"127.0.0.1""#) && text.contains(r#""sha256""#), "{text}");
    assert!(verdict(&server).await.contains("the audit holds"));
    let exported = server.cli_output(&["audit", "export", "--format", "csv"]).await;
    assert_eq!(String::from_utf8(exported.stdout).unwrap().lines().count(), before + deeds.len() + 1);
}

#[tokio::test]
async fn devices_people_and_service_accounts_are_written_down_under_their_names() {
    let server = Server::start().await;
    let mut phone = server.enrolled("AZERTY").await;
    phone.comes_up(&server).await;
    // A second device with the first one's invitation.
    let invitation = enrollment::invite(&server, "OTHER", 0).await;
    drop(enrollment::enroll_with(&server, "OTHER", &enrollment::Profile::android(), &invitation).await);
    let http = enrollment::Http::of(&server);
    let session = http.session(&invitation.user_token).await;
    let again = json!({"input": enrollment::enrollment_input("THIRD", &enrollment::Profile::android(), &invitation)});
    assert_ne!(http.send("POST", "/PluginFlyvemdmAgent", &session, Some(&again)).await.0, 201);

    let (name, password) = server.service("backend", &["#:rw"]).await;
    let mut link = Link::service(&server, &name, &password).await;
    for _ in 0..3 {
        link.publishes("0/agent/AZERTY/Command/Ping", b"{\"query\":\"Ping\"}", 1).await;
    }
    until("the publishes are written down", async || lines(&server).await.iter().any(|it| it.1 == "account.publish"))
        .await;
    server.wishes("unenroll", "AZERTY").await;
    phone.hears("/Command/Unenroll").await;
    phone.says("Status/Unenroll", r#"{"unenroll": "unenrolled"}"#).await;
    until("the agent is gone", async || !server.knows("AZERTY").await).await;

    let seen = lines(&server).await;
    let of = |kind: &str, action: &str, subject: &str, serial: &str| {
        seen.iter()
            .any(|it| (it.0.as_str(), it.1.as_str(), it.2.as_str(), it.3.as_str()) == (kind, action, subject, serial))
    };
    for (kind, action, subject, serial) in [
        ("person", "agent.enroll", "agent", "AZERTY"),
        ("person", "agent.enroll", "agent", "OTHER"),
        ("person", "agent.refuse", "invitation", ""),
        ("account", "account.publish", "account", "AZERTY"),
        ("device", "agent.unenroll", "agent", "AZERTY"),
    ] {
        assert!(of(kind, action, subject, serial), "{kind} {action} {subject} {serial}: {seen:#?}");
    }
    // By a person of the staff, with the name of that day.
    server.cli(&["user", "add", "ada", "--email", "ada@example.org", "--profile", "operator"]).await;
    let token = server.cli(&["user", "token", "ada"]).await["user_token"].as_str().unwrap().to_owned();
    let session = http.session(&token).await;
    let id = server.agent("OTHER").await["id"].clone();
    let (status, _) =
        http.send("PUT", &format!("/PluginFlyvemdmAgent/{id}"), &session, Some(&json!({"input": {"lock": 1}}))).await;
    assert_eq!(status, 200);
    let listed = server.cli(&["audit", "list", "--serial", "OTHER", "--action", "command."]).await;
    let last = &rows(&listed)[0];
    assert!(last["actor"].as_str().unwrap().ends_with(" ada"), "{last}");
    assert_eq!((&last["actor_kind"], &last["detail"]["command"]), (&json!("person"), &json!("lock")));
    let opened = server.cli(&["audit", "list", "--action", "session.open"]).await;
    assert_eq!(rows(&opened).len(), 1, "{opened}");
    // Nothing that opens a door.
    let text = server.cli(&["audit", "list", "--limit", "1000"]).await.to_string();
    for secret in [&password, &token, &invitation.user_token, &invitation.invitation_token, &session] {
        assert!(!text.contains(secret.as_str()), "{secret}");
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn what_is_done_through_glpis_api_by_mail_and_by_moving_in_leaves_its_entry_too() {
    let mailbox = Mailbox::open(Manners::default()).await;
    let port = mailbox.port.to_string();
    let mail = [("MDMQ_MAIL__SMTP_HOST", "127.0.0.1"), ("MDMQ_MAIL__SMTP_PORT", &port), ("MDMQ_MAIL__TLS", "none"), ("MDMQ_MAIL__FROM", "mdm@example.com")];
    let server = Server::with(&mail).await;
    let mut phone = server.enrolled("AZERTY").await;
    phone.comes_up(&server).await;
    phone.says("Status/Geolocation", r#"{"latitude":"10.25","longitude":"-67.59","datetime":1499364642}"#).await;
    server.cli(&["agent", "remove", "AZERTY"]).await;
    server.cli(&["entity", "add", "Paris", "--id", "7001"]).await;
    server.cli(&["invite", "--email", "ann@example.org"]).await;
    let invitation = rows(&server.cli(&["invitation", "list"]).await)[0]["id"].to_string();
    let desk = Desk::of(&server).await;
    let mut before = lines(&server).await.len();

    let by = |action: &str, subject: &str, serial: &str, entity: Value| {
        ("person".to_owned(), action.to_owned(), subject.to_owned(), serial.to_owned(), entity)
    };
    // What is asked of GLPI's API, and what the audit says of it.
    for (method, path, body, expected) in [
        ("PUT",    "/PluginFlyvemdmWellKnownPath/1", Some(json!({"input": {"comment": "manuals"}})), by("path.change", "path", "", Value::Null)),
        ("DELETE", "/PluginFlyvemdmGeolocation/1",   None, by("position.remove", "position", "AZERTY", json!(0))),
        ("DELETE", "/Computer/1",                    None, by("computer.remove", "computer", "AZERTY", json!(0))),
    ] {
        let said = desk.ask(method, path, body).await;
        assert_eq!(said.status, 200, "{path}: {}", said.body);
        let seen = lines(&server).await;
        assert_eq!((seen.len(), &seen[before]), (before + 1, &expected), "{path}");
        before += 1;
    }
    let flyve = Flyve::new().await;
    for (words, expected) in [
        (vec!["invitation", "resend", &invitation],    administrator("invitation.resend", "invitation", "", json!(0))),
        (vec!["entity", "remove", "7001"],               administrator("entity.remove", "entity", "", json!(7001))),
        (vec!["import", "flyve", "--from", &flyve.url], administrator("server.move_in", "server", "", Value::Null)),
    ] {
        server.cli(&words).await;
        let seen = lines(&server).await;
        assert_eq!((seen.len(), &seen[before]), (before + 1, &expected), "{words:?}");
        before += 1;
    }
    assert!(verdict(&server).await.contains("the audit holds"));
}

#[test]
fn each_action_is_named_by_a_story() {
    fn text_of(place: &Path) -> String {
        if place.is_file() {
            return fs::read_to_string(place).unwrap();
        }
        fs::read_dir(place).unwrap().map(|it| text_of(&it.unwrap().path())).collect()
    }
    let stories = text_of(Path::new("tests/it"));
    let unnamed: Vec<&str> =
        Action::ALL.iter().map(|it| it.as_str()).filter(|it| !stories.contains(&format!("\"{it}\""))).collect();
    assert!(unnamed.is_empty(), "no story looks for the entries of {unnamed:?}");
}

#[tokio::test]
async fn what_a_back_end_says_for_the_first_time_is_written_at_once() {
    let server = Server::start().await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let mut link = Link::service(&server, &name, &password).await;
    let began = Clock::System.instant();
    for serial in ["A", "B", "C", "D"] {
        link.publishes(&format!("0/agent/{serial}/Command/Wipe"), br#"{"wipe":"now"}"#, 1).await;
        let is_written = async || lines(&server).await.iter().any(|it| it.1 == "account.publish" && it.3 == serial);
        until("the order is written down", is_written).await;
    }
    // Whoever looks every five seconds writes the fourth after fifteen.
    let took = Clock::System.instant().duration_since(began);
    assert!(took < Duration::from_secs(14), "{took:?}");
}

#[tokio::test]
async fn tampering_with_rows_is_found() {
    let mut server = Server::start().await;
    for name in ["a", "b", "c", "d"] {
        server.fleet(name).await;
    }
    assert!(verdict(&server).await.contains("4 entries"));
    assert!(server.stop().await.success());
    let refused = sqlite::refusal(&server, "update audit set actor = 'ann' where number = 2").await;
    assert!(refused.contains("append-only"), "{refused}");
    let refused = sqlite::refusal(&server, "delete from audit where number = 2").await;
    assert!(refused.contains("append-only"), "{refused}");

    for (statement, words) in [
        ("update audit set actor = 'ann' where number = 2", "entry 2 was changed"),
        ("update audit set actor = (select actor from audit where number = 1) where number = 2", "the audit holds"),
        ("delete from audit where number = 4", "entries were written up to 4"),
        ("delete from audit where number = 2", "entry 2 is missing"),
        (
            "insert into audit_anchor (audit_anchor_id, number, hash, seal) values (1, 2, (select previous from audit where number = 3), 'x')",
            "is not sealed by this server",
        ),
    ] {
        for trigger in ["audit_is_never_changed", "audit_is_never_shortened"] {
            sqlite::execute_text(&server, format!("drop trigger if exists {trigger}")).await;
        }
        sqlite::execute_text(&server, statement.to_owned()).await;
        server.start_again().await;
        let verdict = verdict(&server).await;
        assert!(verdict.contains(words), "{statement}: {verdict}");
        if words.starts_with("entries were") {
            until("the log says so", async || server.log().contains("the audit was cut")).await;
        }
        assert!(server.stop().await.success());
    }
}

#[tokio::test]
async fn the_oldest_entries_go_and_the_rest_still_holds() {
    let mut server = Server::with(&[("MDMQ_AUDIT__ROWS_MAX", "5")]).await;
    for at in 0..12 {
        server.fleet(&format!("fleet {at}")).await;
    }
    until("the oldest are forgotten", async || lines(&server).await.len() <= 7).await;
    let verdict_now = verdict(&server).await;
    assert!(verdict_now.contains("were forgotten, as configured"), "{verdict_now}");
    assert!(lines(&server).await.iter().any(|it| it.0 == "system" && it.1 == "audit.prune"));
    server.restart().await;
    server.fleet("one more").await;
    assert!(verdict(&server).await.contains("the audit holds"));
}

#[tokio::test]
async fn the_audit_holds_on_postgres_and_refuses_to_be_changed() {
    let url = fresh_database();
    let server = Server::with(&[("MDMQ_DATABASE__URL", &url)]).await;
    for name in ["a", "b"] {
        server.fleet(name).await;
    }
    assert!(verdict(&server).await.contains("2 entries"));
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    for statement in ["update audit set actor = 'ann'", "delete from audit where number = 1", "truncate audit"] {
        let refused = sqlx::query(statement).execute(&mut connection).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{statement}: {refused}");
    }
    sqlx::query("alter table audit disable trigger all").execute(&mut connection).await.unwrap();
    sqlx::query("update audit set actor = 'ann' where number = 1").execute(&mut connection).await.unwrap();
    assert!(verdict(&server).await.contains("entry 1 was changed"));
}
