//! Moving in from Flyve: a real MariaDB with its tables, and a phone that notices nothing.

use serde_json::{Value, json};

use crate::support::{Phone, Server, enrollment::Http, mariadb::Flyve, postgres::fresh_database, server::rows, sqlite};

/// The password of AZERTY, of which the database has Flyve's hash (spec/mqtt.md §6.3).
const PASSWORD: &str = "abcdefghijklmnopqrstuvwxyz012345";

async fn move_in(server: &Server, flyve: &Flyve, more: &[&str]) -> Value {
    server.cli(&[&["import", "flyve", "--from", &flyve.url], more].concat()).await
}

fn count(report: &Value, kind: &str) -> (u64, u64, u64) {
    let it = &report["taken"][kind];
    let number = |name: &str| it[name].as_u64().unwrap_or_else(|| panic!("{kind} {name}: {report:#}"));
    (number("added"), number("updated"), number("skipped"))
}

fn why(report: &Value, kind: &str, id: i64) -> String {
    let found = rows(&report["skipped"]).iter().find(|it| it["kind"] == kind && it["id"] == id);
    found.unwrap_or_else(|| panic!("{kind} {id}: {report:#}"))["why"].as_str().unwrap().to_owned()
}

/// One on each database.
async fn servers() -> [Server; 2] {
    [Server::start().await, Server::with(&[("MDMQ_DATABASE__URL", &fresh_database())]).await]
}

#[tokio::test]
async fn a_phone_reconnects_with_its_old_password_and_is_locked() {
    for server in servers().await {
        let flyve = Flyve::new().await;
        let report = move_in(&server, &flyve, &[]).await;
        assert_eq!(count(&report, "agents"), (2, 0, 2), "{report:#}");
        assert!(why(&report, "agents", 10).contains("enrolled again as agent 11"));
        assert!(why(&report, "agents", 13).contains("serial"));

        let mut phone = Phone::new("AZERTY", PASSWORD, "76/agent/AZERTY");
        phone.comes_up(&server).await;
        let lock = phone.hears("/Command/Lock").await;
        assert!(lock.retain && lock.payload == r#"{"lock":"now"}"#, "{}", lock.payload);
        let agent = server.until_agent("AZERTY", |it| it["is_online"] == true).await;
        assert_eq!((&agent["entity"], &agent["lock"], &agent["wipe"]), (&json!(76), &json!(true), &json!(false)));
        assert_eq!((&agent["fleet_name"], &agent["version"]), (&json!("Sales"), &json!("2.0.0-rc.7")));
        let fleet = agent["fleet"].as_i64().unwrap();
        let told = format!(r#"{{"subscribe":[{{"topic":"76/fleet/{fleet}"}}]}}"#);
        assert_eq!(phone.hears("/Command/Subscribe").await.payload, told);
        let other = server.agent("QWERTY").await;
        assert_eq!((&other["wipe"], &other["enroll_status"]), (&json!(true), &json!("unenrolling")));

        // The token that the device keeps opens its sessions, as it did.
        let http = Http::of(&server);
        let session = http.session("agentagentagentagentagentagentagentagent").await;
        let (status, full) = http.get("/getFullSession", &session).await;
        assert_eq!(status, 200, "{full}");

        // The administrator's token was never in a mail, so it is good for more than a guest's.
        let session = http.session("adminadminadminadminadminadminadminadmin").await;
        let (status, profiles) = http.get("/getMyProfiles", &session).await;
        assert!(status == 200 && profiles.to_string().contains("Super-Admin"), "{status} {profiles}");

        // An invitation that was sent before still enrolls.
        let session = http.session("annannannannannannannannannannannannanna").await;
        let input = json!({ "input": {
            "_email": "ann@example.com", "_serial": "NEWPHONE", "_uuid": "uuid-new", "csr": "", "firstname": "", "lastname": "",
            "_invitation_token": "6f1ed002ab5595859014ebf0951522d9c0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f", "version": "2.0.0", "type": "android",
        }});
        let (status, made) = http.send("POST", "/PluginFlyvemdmAgent", &session, Some(&input)).await;
        assert!(status == 200 || status == 201, "{status} {made}\n{}", server.log());
        assert_eq!(server.agent("NEWPHONE").await["entity"], 76);

        // Its device lives here now: what the other server says of it counts no more.
        flyve
            .execute("update glpi_plugin_flyvemdm_agents set `lock` = 0, plugin_flyvemdm_fleets_id = 2 where id = 11")
            .await;
        let again = move_in(&server, &flyve, &[]).await;
        assert_eq!(count(&again, "agents"), (0, 1, 3), "{again:#}");
        assert!(why(&again, "agents", 11).contains("connects here already"));
        let agent = server.agent("AZERTY").await;
        assert_eq!(
            (&agent["lock"], &agent["fleet_name"], &agent["is_online"]),
            (&json!(true), &json!("Sales"), &json!(true))
        );
    }
}

#[tokio::test]
async fn everything_comes_once_and_what_stays_behind_is_told() {
    let (mut server, flyve) = (Server::start().await, Flyve::new().await);
    let report = move_in(&server, &flyve, &[]).await;
    for (kind, expected) in [
        ("entities", (2, 1, 0)),
        ("fleets", (2, 3, 0)),
        ("users", (5, 0, 1)),
        ("passwords", (1, 0, 2)),
        ("computers", (3, 0, 0)),
        ("agents", (2, 0, 2)),
        ("invitations", (2, 0, 1)),
        ("invitationlogs", (1, 0, 0)),
        ("wellknownpaths", (1, 1, 0)),
        ("geolocations", (2, 0, 1)),
        ("files", (0, 0, 3)),
        ("packages", (0, 0, 1)),
        ("tasks", (2, 0, 5)),
        ("taskstatuses", (2, 0, 2)),
    ] {
        assert_eq!(count(&report, kind), expected, "{kind}: {report:#}");
    }
    assert!(why(&report, "files", 1).contains("--files"));
    assert!(why(&report, "tasks", 5).contains("no policy \"gone\""));
    assert!(why(&report, "tasks", 6).contains("its fleet or agent"));
    assert!(why(&report, "users", 7).contains("no e-mail"));
    assert!(why(&report, "mqttusers", 1).contains("mdmq account add"));
    assert!(report["notes"].to_string().contains("4 MQTT access rules"), "{report:#}");
    assert!(!server.log().contains("adminadmin"), "no token in the log");

    assert_eq!(server.cli(&["entity", "show", "76"]).await["name"], "Paris <south>");
    assert_eq!(server.cli(&["entity", "show", "77"]).await["parent"], 76);
    let fleets = server.cli(&["fleet", "list", "--entity", "76"]).await;
    let mut names: Vec<&str> = rows(&fleets).iter().map(|it| it["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Sales", "Sales (4)", "not managed fleet"]);
    let recursive: Vec<&Value> =
        rows(&fleets).iter().filter(|it| it["is_recursive"] == true).map(|it| &it["id"]).collect();
    server.cli(&["user", "add", "olga", "--email", "olga@example.com", "--profile", "viewer", "--entity", "77"]).await;
    let token = server.cli(&["user", "token", "olga"]).await["user_token"].as_str().unwrap().to_owned();
    let (http, mut seen) = (Http::of(&server), Vec::new());
    let session = http.session(&token).await;
    for fleet in rows(&fleets) {
        let (status, shown) = http.get(&format!("/PluginFlyvemdmFleet/{}", fleet["id"]), &session).await;
        seen.extend((status == 200).then_some(shown["name"].clone()));
    }
    assert_eq!((recursive.len(), &seen), (1, &vec![json!("Sales")]), "seen in the office below: {fleets}");
    let invitation = server.cli(&["invite", "--email", "new@example.com", "--entity", "77", "--no-mail"]).await;
    let link = mdmq::mdm::deeplink::Deeplink::parse(invitation["deeplink"].as_str().unwrap()).unwrap();
    assert_eq!((link.support_name.as_str(), link.support_phone.as_str()), ("Company desk", "+33 1 23"), "inherited");

    // Nothing changed there: nothing is new here.
    let again = move_in(&server, &flyve, &[]).await;
    for (kind, it) in again["taken"].as_object().unwrap() {
        assert_eq!(it["added"], 0, "{kind}: {again:#}");
    }
    flyve.execute("update glpi_plugin_flyvemdm_agents set `lock` = 0 where id = 11; \
                   insert into glpi_plugin_flyvemdm_geolocations (computers_id, latitude, longitude) values (30, '3', '4')").await;
    let changed = move_in(&server, &flyve, &[]).await;
    assert_eq!(count(&changed, "geolocations"), (1, 0, 0));
    assert_eq!(server.agent("AZERTY").await["lock"], false);

    assert!(server.stop().await.success());
    let question = "select profile, entity_id from person_profile p join person using (person_id) where email = 'gert@example.com'";
    assert_eq!(sqlite::pairs(&server, question).await, [("administrator".to_owned(), 0)]);
    let question = "select email, person_id from person_email";
    assert_eq!(sqlite::pairs(&server, question).await.len(), 1);
    let question = "select event, created_at from invitation_log";
    assert_eq!(sqlite::pairs(&server, question).await[0].0, "Wrong email address");
    let question = "select manufacturer || ' ' || model, inventory_at is null from computer where serial = 'AZERTY'";
    assert_eq!(sqlite::pairs(&server, question).await, [("Google Pixel 2".to_owned(), 1)]);
    assert_eq!(sqlite::number(&server, "select count(*) from geolocation").await, 3);
    assert_eq!(sqlite::number(&server, "select token_life_days from entity where entity_id = 76").await, 30);
}

/// Whether somebody may log in with login and password, as at GLPI.
async fn logs_in(server: &Server, login: &str, password: &str) -> u16 {
    let request =
        reqwest::Client::new().get(format!("{}/initSession", server.http_url())).basic_auth(login, Some(password));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn people_log_in_with_the_passwords_that_they_had() {
    for server in servers().await {
        let flyve = Flyve::new().await;
        let report = move_in(&server, &flyve, &[]).await;
        assert_eq!(count(&report, "passwords"), (1, 0, 2), "{report:#}");
        assert!(why(&report, "passwords", 8).contains("no bcrypt hash"));
        assert!(why(&report, "passwords", 9).contains("directory"));
        assert!(report["notes"].to_string().contains("mdmq user change LOGIN"), "{report:#}");
        assert!(!server.log().contains("$2y$"), "no hash in the log");

        assert_eq!(logs_in(&server, "glpi", "GLPI").await, 401);
        assert_eq!(logs_in(&server, "bob", "glpi").await, 401, "whoever has no profile there has no login here");
        assert_eq!(logs_in(&server, "glpi", "glpi").await, 200);
        // From now on it is our own hash, which a later run does not touch.
        flyve.execute("update glpi_users set password = '$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e' where id = 2").await;
        assert_eq!(count(&move_in(&server, &flyve, &[]).await, "passwords"), (0, 1, 2));
        assert_eq!(logs_in(&server, "glpi", "glpi").await, 200);
        assert_eq!(logs_in(&server, "glpi", "correct horse").await, 401);
    }
}

#[tokio::test]
async fn the_first_login_replaces_the_hash_of_another_server() {
    let (mut server, flyve) = (Server::start().await, Flyve::new().await);
    move_in(&server, &flyve, &[]).await;
    assert_eq!(logs_in(&server, "glpi", "wrong").await, 401);
    assert_eq!(logs_in(&server, "glpi", "glpi").await, 200);
    assert!(server.stop().await.success());
    let question = "select substr(secret, 1, 10), person_id is null from person where secret is not null";
    assert_eq!(sqlite::pairs(&server, question).await, [("$argon2id$".to_owned(), 0)]);
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_writes_nothing() {
    let (server, flyve) = (Server::start().await, Flyve::new().await);
    let dry = move_in(&server, &flyve, &["--dry-run"]).await;
    assert_eq!(dry["dry_run"], true);
    assert_eq!(rows(&server.cli(&["entity", "list"]).await).len(), 1);
    assert!(!server.knows("AZERTY").await);
    let real = move_in(&server, &flyve, &[]).await;
    for part in ["taken", "skipped", "notes"] {
        assert_eq!(dry[part], real[part], "{part}");
    }
    let shown = server.cli_output(&["import", "flyve", "--from", &flyve.url, "--dry-run"]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("LEFT BEHIND") && shown.ends_with("nothing was written: this was a dry run\n"), "{shown}");
}

#[tokio::test]
async fn a_move_that_would_mix_tenants_changes_nothing() {
    let (server, flyve) = (Server::start().await, Flyve::new().await);
    server.cli(&["entity", "add", "Lyon", "--id", "77"]).await;
    let refused = server.cli_output(&["import", "flyve", "--from", &flyve.url]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("entity 77 is \"Lyon\" here"));
    assert_eq!(rows(&server.cli(&["entity", "list"]).await).len(), 2, "76 did not come either");
    server.cli(&["entity", "remove", "77"]).await;
    let refused = server.cli_output(&["import", "flyve", "--from", &flyve.url]).await;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && why.contains("there was an entity 77 here before"), "{why}");
    assert_eq!(rows(&server.cli(&["entity", "list"]).await).len(), 1);
}

#[tokio::test]
async fn what_is_no_flyve_is_refused_in_one_line() {
    let (server, flyve) = (Server::start().await, Flyve::new().await);
    let other = flyve.url.replace("/flyve_", "/mysql?x=flyve_");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("mysql://root@{closed}/glpi");
    for (url, words) in [
        ("postgres://x/y", "mysql://user@host"),
        (other.split('?').next().unwrap(), "no table"),
        (&nobody, "cannot open"),
    ] {
        let words = if url == nobody { "" } else { words };
        let refused = server.cli_output(&["import", "flyve", "--from", url]).await;
        let complaint = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{url}: {complaint}");
        assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
        assert!(complaint.contains(words), "{url}: {complaint}");
    }
}

#[tokio::test]
async fn files_and_packages_come_with_their_contents_and_tasks_reach_the_phone() {
    let (server, flyve) = (Server::start().await, Flyve::new().await);
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in [("file/76/5b1_rules.pdf", "no running"), ("package/76/5b3_fdroid.apk", "an archive")] {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let files = ["--files", dir.path().to_str().unwrap()];
    let dry = move_in(&server, &flyve, &[&files[..], &["--dry-run"]].concat()).await;
    let report = move_in(&server, &flyve, &files).await;
    assert_eq!(dry["taken"], report["taken"]);
    assert_eq!((count(&report, "files"), count(&report, "packages")), ((1, 0, 2), (1, 0, 0)), "{report:#}");
    assert_eq!((count(&report, "tasks"), count(&report, "taskstatuses")), ((4, 0, 3), (2, 0, 2)), "{report:#}");
    assert!(why(&report, "files", 2).contains("is not there"));
    assert!(why(&report, "files", 3).contains("is not there"), "nothing outside the directory is read");
    assert!(why(&report, "tasks", 7).contains("its file or package"));

    let file = &rows(&server.cli(&["file", "list"]).await)[0].clone();
    assert_eq!((&file["name"], &file["version"], &file["size"]), (&json!("rules.pdf"), &json!(3), &json!(10)));
    let package = &rows(&server.cli(&["package", "list"]).await)[0].clone();
    assert_eq!((&package["package_name"], &package["parse_status"]), (&json!("org.fdroid.fdroid"), &json!("parsed")));

    let mut phone = Phone::new("AZERTY", PASSWORD, "76/agent/AZERTY");
    phone.comes_up(&server).await;
    let tasks = server.cli(&["task", "list"]).await;
    let own = rows(&tasks).iter().find(|it| it["policy"] == "passwordEnabled").unwrap()["id"].clone();
    let own = phone.hears(&format!("/Policy/passwordEnabled/Task/{own}")).await;
    assert!(own.payload.contains("PASSWORD_PIN"), "{}", own.payload);

    // The next version there is the next version here; what did not change stays as it is.
    std::fs::write(dir.path().join("file/76/5b1_rules.pdf"), "no running, no singing").unwrap();
    let again = move_in(&server, &flyve, &files).await;
    for kind in ["files", "packages", "tasks"] {
        assert_eq!(count(&again, kind).0, 0, "{kind}: {again:#}");
    }
    let file = &rows(&server.cli(&["file", "list"]).await)[0].clone();
    assert_eq!((&file["version"], &file["size"]), (&json!(4), &json!(22)));
}
