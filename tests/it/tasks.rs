//! Policies on their way to devices: found when a device subscribes, live when they change, taken back when they go; and what devices
//! report of them, in every way that shipped agents do.

use serde_json::{Value, json};

use crate::support::{
    Phone, Server,
    apk::apk,
    clients::{Login, mosquitto_sub},
    enrollment::{self, Http, Profile},
    phone::Heard,
    server::rows,
    sqlite, until,
};

async fn adds(server: &Server, arguments: &[&str]) -> i64 {
    let made = server.cli(&[&["task", "add"], arguments].concat()).await;
    made["id"].as_i64().unwrap_or_else(|| panic!("no number in {made}"))
}

/// Applies a policy to a fleet.
async fn fleet_task(server: &Server, fleet: i64, policy: &str, value: &str) -> i64 {
    adds(server, &["--fleet", &fleet.to_string(), "--policy", policy, "--value", value]).await
}

/// Applies a policy to one agent.
async fn own_task(server: &Server, serial: &str, policy: &str, value: &str) -> i64 {
    adds(server, &["--agent", serial, "--policy", policy, "--value", value]).await
}

async fn removes(server: &Server, task: i64) {
    server.cli(&["task", "remove", &task.to_string()]).await;
}

async fn statuses(server: &Server, task: i64) -> Vec<(String, String)> {
    let task = server.cli(&["task", "show", &task.to_string()]).await;
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    rows(&task["statuses"]).iter().map(|it| (text(&it["serial"]), text(&it["status"]))).collect()
}

async fn status(server: &Server, task: i64, serial: &str) -> String {
    let found = statuses(server, task).await.into_iter().find(|it| it.0 == serial);
    found.map_or_else(|| "none".to_owned(), |it| it.1)
}

async fn until_status(server: &Server, task: i64, serial: &str, wanted: &str) {
    let what = format!("task {task} of {serial} is {wanted}");
    until(&what, async || status(server, task, serial).await == wanted).await;
}

/// A fleet with a connected agent that listens to it.
async fn listening(server: &Server, serial: &str, fleet: i64, profile: &Profile) -> Phone {
    let mut phone = enrollment::enroll(server, serial, profile).await;
    server.moves(serial, fleet).await;
    phone.comes_up(server).await;
    phone.hears("/Command/Subscribe").await;
    phone.link().subscribes(&format!("0/fleet/{fleet}/#"), 1).await;
    phone
}

fn seen(heard: &Heard) -> (&str, &str, bool) {
    (&heard.topic, &heard.payload, heard.retain)
}

#[tokio::test]
async fn a_device_finds_the_policies_of_its_fleet_and_its_own_when_it_subscribes() {
    let server = Server::start().await;
    let fleet = server.fleet("Sales").await;
    let mut phone = server.enrolled("FINDS").await;
    server.moves("FINDS", fleet).await;
    let wifi = fleet_task(&server, fleet, "disableWifi", "1").await;
    let length = fleet_task(&server, fleet, "passwordMinLength", "6").await;
    let camera = own_task(&server, "FINDS", "disableCamera", "0").await;
    assert_eq!(statuses(&server, wifi).await, [("FINDS".to_owned(), "pending".to_owned())]);

    phone.comes_up(&server).await;
    let heard = phone.link().heard_so_far().await;
    let (subscribe, own) = (&heard[0], &heard[1]);
    assert!(subscribe.topic.ends_with("/Command/Subscribe"), "{heard:?}");
    let topic = format!("0/agent/FINDS/Policy/disableCamera/Task/{camera}");
    let body = format!(r#"{{"disableCamera":"false","taskId":{camera}}}"#);
    assert_eq!(seen(own), (topic.as_str(), body.as_str(), true));
    assert_eq!(heard.len(), 2, "nothing of the fleet before it is subscribed: {heard:?}");

    phone.link().subscribes(&format!("/0/fleet/{fleet}/#"), 0).await;
    let heard = phone.link().heard_so_far().await;
    let expected = [
        (
            format!("/0/fleet/{fleet}/Policy/disableWifi/Task/{wifi}"),
            format!(r#"{{"disableWifi":"true","taskId":{wifi}}}"#),
        ),
        (
            format!("/0/fleet/{fleet}/Policy/passwordMinLength/Task/{length}"),
            format!(r#"{{"passwordMinLength":"6","taskId":{length}}}"#),
        ),
    ];
    let heard: Vec<_> = heard.into_iter().map(|it| (it.topic, it.payload, it.retain)).collect();
    assert_eq!(heard, expected.map(|(topic, body)| (topic, body, true)), "in the spelling that was asked for");
}

#[tokio::test]
async fn a_stock_client_finds_a_policy_as_a_retained_message() {
    let server = Server::start().await;
    let phone = server.enrolled("STOCK").await;
    let task = own_task(&server, "STOCK", "passwordEnabled", "PASSWORD_PIN").await;
    for version in ["mqttv31", "mqttv311"] {
        let topic = format!("0/agent/STOCK/Policy/passwordEnabled/Task/{task}");
        let login = Login::new("STOCK", &phone.password);
        let heard = mosquitto_sub(&server, version, &login, &["-t", &topic, "-C", "1", "-q", "1"]).await;
        let expected = format!("{topic} 1 {{\"passwordEnabled\":\"PASSWORD_PIN\",\"taskId\":{task}}}\n");
        assert_eq!(String::from_utf8_lossy(&heard.stdout), expected, "{version}");
    }
}

#[tokio::test]
async fn a_change_of_policies_is_heard_live_and_without_the_retain_flag() {
    let server = Server::start().await;
    let fleet = server.fleet("Sales").await;
    let mut phone = listening(&server, "LIVE", fleet, &Profile::android()).await;
    let mut other = server.enrolled("BYSTANDER").await;
    other.comes_up(&server).await;
    other.hears("/Command/Subscribe").await;
    other.link().subscribes(&format!("0/fleet/{fleet}/#"), 0).await;

    let task = fleet_task(&server, fleet, "passwordMinLength", "6").await;
    let heard = phone.hears(&format!("/Task/{task}")).await;
    let body = |length: &str| format!(r#"{{"passwordMinLength":"{length}","taskId":{task}}}"#);
    assert_eq!((heard.payload, heard.retain, heard.qos), (body("6"), false, 1));
    phone.says(&format!("Status/Task/{task}"), r#"{ "status": "done" }"#).await;
    until_status(&server, task, "LIVE", "done").await;

    server.cli(&["task", "change", &task.to_string(), "--value", "8"]).await;
    assert_eq!(phone.hears(&format!("/Task/{task}")).await.payload, body("8"));
    assert_eq!(status(&server, task, "LIVE").await, "pending", "a task that changed begins anew");
    assert_eq!(other.link().heard_so_far().await, [], "whoever is not in the fleet hears nothing");

    let own = own_task(&server, "LIVE", "disableGPS", "1").await;
    assert_eq!(phone.hears(&format!("/Task/{own}")).await.topic, format!("0/agent/LIVE/Policy/disableGPS/Task/{own}"));
    phone.vanishes();
    phone.comes_up(&server).await;
    assert!(phone.hears(&format!("/Task/{own}")).await.retain);
}

#[tokio::test]
async fn a_task_that_was_taken_back_is_heard_once_now_or_when_the_device_comes_back() {
    let server = Server::start().await;
    let fleet = server.fleet("Sales").await;
    let mut here = listening(&server, "HERE", fleet, &Profile::android()).await;
    let mut away = listening(&server, "AWAY", fleet, &Profile::android()).await;
    let wifi = fleet_task(&server, fleet, "disableWifi", "1").await;
    let own = own_task(&server, "AWAY", "disableNfc", "1").await;
    away.hears(&format!("/Task/{wifi}")).await;
    away.vanishes();
    removes(&server, wifi).await;
    removes(&server, own).await;
    assert_eq!(server.cli_output(&["task", "show", &wifi.to_string()]).await.status.code(), Some(1));

    let topic = format!("0/fleet/{fleet}/Policy/disableWifi/Task/{wifi}");
    let body = format!(r#"{{"disableWifi":"default","taskId":"{wifi}"}}"#);
    here.hears(&format!("/Task/{wifi}")).await; // as it was applied
    let heard = here.hears(&format!("/Task/{wifi}")).await;
    assert_eq!(seen(&heard), (topic.as_str(), body.as_str(), false));

    for _ in 0..2 {
        away.comes_up(&server).await;
        away.link().subscribes(&format!("0/fleet/{fleet}/#"), 1).await;
        let heard = away.link().heard_so_far().await;
        let told: Vec<_> = heard.iter().filter(|it| it.topic.contains("/Policy/")).map(seen).collect();
        if told.is_empty() {
            break; // the second time: it was told, and that was the end of it
        }
        let own_topic = format!("0/agent/AWAY/Policy/disableNfc/Task/{own}");
        let own_body = format!(r#"{{"disableNfc":"default","taskId":"{own}"}}"#);
        assert_eq!(told, [(own_topic.as_str(), own_body.as_str(), true), (topic.as_str(), body.as_str(), true)]);
        until("both are forgotten", async || sqlite::number(&server, "select count(*) from task_removal").await == 0)
            .await;
        away.vanishes();
    }
    assert_eq!(sqlite::number(&server, "select count(*) from task_status").await, 0);
}

#[tokio::test]
async fn policies_and_what_was_taken_back_survive_a_crash_and_reach_a_device_that_does_not_subscribe() {
    let mut server = Server::with(&[("MDMQ_MQTT__IMPLICIT_SUBSCRIPTION_AFTER_S", "1")]).await;
    let fleet = server.fleet("Sales").await;
    let mut phone = server.enrolled("DEAF").await;
    server.moves("DEAF", fleet).await;
    let wifi = fleet_task(&server, fleet, "disableWifi", "1").await;
    let camera = own_task(&server, "DEAF", "disableCamera", "1").await;
    removes(&server, camera).await;
    server.kill_9();
    server.start_again().await;
    phone.connects(&server).await;
    let heard = phone.hears(&format!("/Task/{camera}")).await;
    assert_eq!(heard.payload, format!(r#"{{"disableCamera":"default","taskId":"{camera}"}}"#));
    assert!(phone.hears(&format!("/Policy/disableWifi/Task/{wifi}")).await.retain);
    until("the removal is forgotten", async || sqlite::number(&server, "select count(*) from task_removal").await == 0)
        .await;
}

#[tokio::test]
async fn a_device_that_moves_hears_the_policies_of_its_new_fleet_and_no_others() {
    let server = Server::start().await;
    let (old, new) = (server.fleet("Old").await, server.fleet("New").await);
    let before = fleet_task(&server, old, "disableWifi", "1").await;
    let after = fleet_task(&server, new, "disableGPS", "1").await;
    let mut phone = listening(&server, "MOVER", old, &Profile::android()).await;
    let mut stays = listening(&server, "STAYS", old, &Profile::android()).await;
    let own = own_task(&server, "MOVER", "disableNfc", "1").await;
    phone.hears(&format!("/Task/{own}")).await;
    assert_eq!(
        phone.hears(&format!("/Task/{before}")).await.topic,
        format!("0/fleet/{old}/Policy/disableWifi/Task/{before}")
    );

    server.moves("MOVER", new).await;
    phone.hears("/Command/Subscribe").await;
    phone.link().subscribes(&format!("0/fleet/{new}/#"), 0).await;
    assert!(phone.hears(&format!("/Task/{after}")).await.retain);
    assert_eq!(status(&server, before, "MOVER").await, "canceled");
    assert_eq!(status(&server, before, "STAYS").await, "pending", "only the status of the agent that moved");
    assert_eq!(status(&server, own, "MOVER").await, "pending", "and only tasks of the fleet");
    assert_eq!(status(&server, after, "MOVER").await, "pending");

    phone.says(&format!("Status/Task/{before}"), r#"{"status":"done"}"#).await;
    assert_eq!(status(&server, before, "MOVER").await, "canceled", "what it left it reports in vain");
    let later = fleet_task(&server, old, "disableBluetooth", "1").await;
    stays.hears(&format!("/Task/{later}")).await;
    let rest = phone.link().heard_so_far().await;
    assert!(rest.iter().all(|it| !it.topic.contains("Bluetooth")), "{rest:?}");

    // Two filters lead to the new fleet: it hears a change once.
    let last = fleet_task(&server, new, "disableRoaming", "1").await;
    phone.hears(&format!("/Task/{last}")).await;
    server.moves("MOVER", old).await;
    phone.hears("/Command/Subscribe").await;
    assert!(!phone.hears(&format!("/Task/{before}")).await.retain, "the old filter is still there");
    assert_eq!(status(&server, before, "MOVER").await, "pending");
}

#[tokio::test]
async fn an_own_task_stands_in_the_place_of_that_of_the_fleet() {
    let server = Server::start().await;
    let fleet = server.fleet("Sales").await;
    let mut phone = listening(&server, "OWN", fleet, &Profile::android()).await;
    let mut other = listening(&server, "OTHER", fleet, &Profile::android()).await;
    let of_fleet = fleet_task(&server, fleet, "disableWifi", "1").await;
    phone.hears(&format!("/Task/{of_fleet}")).await;
    let own = own_task(&server, "OWN", "disableWifi", "0").await;
    phone.hears(&format!("/Task/{own}")).await;
    let both = async || (status(&server, of_fleet, "OWN").await, status(&server, of_fleet, "OTHER").await);
    assert_eq!(both().await, ("overriden".to_owned(), "pending".to_owned()));
    phone.says(&format!("Status/Task/{of_fleet}"), r#"{"status":"done"}"#).await;
    assert_eq!(both().await.0, "overriden", "it does not carry that out, whatever it says");

    server.cli(&["task", "change", &of_fleet.to_string(), "--value", "0"]).await;
    other.hears(&format!("/Task/{of_fleet}")).await;
    other.hears(&format!("/Task/{of_fleet}")).await;
    let heard = phone.link().heard_so_far().await;
    assert!(heard.iter().all(|it| !it.topic.ends_with(&format!("/Task/{of_fleet}"))), "{heard:?}");
    assert_eq!(both().await, ("overriden".to_owned(), "pending".to_owned()));

    removes(&server, own).await;
    assert!(phone.hears(&format!("/Task/{own}")).await.payload.contains("default"));
    let again = phone.hears(&format!("/Task/{of_fleet}")).await;
    assert_eq!(again.payload, format!(r#"{{"disableWifi":"false","taskId":{of_fleet}}}"#));
    assert_eq!(both().await, ("pending".to_owned(), "pending".to_owned()));
}

#[tokio::test]
async fn a_fleet_that_is_removed_takes_its_policies_back_and_leaves_deployments_alone() {
    let server = Server::start().await;
    sqlite::execute(&server, "insert into blob (blob_id, size_bytes, created_at) values ('b', 1, 1)").await;
    let file = "insert into file (entity_id, name, version, blob_id, created_at, updated_at) values (0, 'a.pdf', 3, 'b', 1, 1)";
    sqlite::execute(&server, file).await;
    let fleet = server.fleet("Gone").await;
    let mut phone = listening(&server, "ORPHAN", fleet, &Profile::android()).await;
    let wifi = fleet_task(&server, fleet, "disableWifi", "1").await;
    phone.hears(&format!("/Task/{wifi}")).await;
    let number = fleet.to_string();
    let arguments =
        ["--fleet", &number, "--policy", "deployFile", "--file", "1", "--value", "%SDCARD%/x", "--remove-on-delete"];
    let deployed = adds(&server, &arguments).await;
    let body = format!(r#"{{"deployFile":"%SDCARD%/x/","id":"1","version":"3","taskId":{deployed}}}"#);
    assert_eq!(phone.hears(&format!("/Task/{deployed}")).await.payload, body);

    server.cli(&["fleet", "remove", &number]).await;
    assert_eq!(phone.hears("/Command/Subscribe").await.payload, r#"{"subscribe":[{"topic":null}]}"#);
    let heard = phone.hears(&format!("/Task/{wifi}")).await;
    let topic = format!("0/agent/ORPHAN/Policy/disableWifi/Task/{wifi}");
    assert_eq!(heard.topic, topic, "the topic of the fleet is not for it any more");
    let rest = phone.link().heard_so_far().await;
    assert!(rest.iter().all(|it| !it.topic.contains("removeFile")), "{rest:?}");
    assert_eq!(rows(&server.cli(&["task", "list"]).await), [] as [Value; 0]);

    // The same deployment on the agent itself is undone with its task.
    let arguments =
        ["--agent", "ORPHAN", "--policy", "deployFile", "--file", "1", "--value", "%SDCARD%/x", "--remove-on-delete"];
    let deployed = adds(&server, &arguments).await;
    phone.hears(&format!("/Task/{deployed}")).await;
    removes(&server, deployed).await;
    assert!(phone.hears(&format!("/Task/{deployed}")).await.payload.contains("default"));
    let undoing = rows(&server.cli(&["task", "list", "--agent", "ORPHAN"]).await)[0].clone();
    assert_eq!((&undoing["policy"], &undoing["value"]), (&json!("removeFile"), &json!("%SDCARD%/x/a.pdf")));
    phone.hears(&format!("/Policy/removeFile/Task/{}", undoing["id"])).await;
}

#[tokio::test]
async fn a_new_upload_is_published_live_and_what_is_removed_is_taken_back() {
    let server = Server::start().await;
    let fleet = server.fleet("Sales").await;
    let mut phone = listening(&server, "UPLOADS", fleet, &Profile::android()).await;
    let (number, path) = (fleet.to_string(), server.data_dir().join("a.pdf"));
    let path = path.to_str().unwrap();
    std::fs::write(path, "one").unwrap();
    let file = server.cli(&["file", "add", path]).await["id"].to_string();
    let arguments = ["--fleet", &number, "--policy", "deployFile", "--file", &file, "--value", "%SDCARD%/x"];
    let deployed = adds(&server, &arguments).await;
    let body =
        |version| format!(r#"{{"deployFile":"%SDCARD%/x/","id":"{file}","version":"{version}","taskId":{deployed}}}"#);
    assert_eq!(phone.hears(&format!("/Task/{deployed}")).await.payload, body(1));
    phone.says(&format!("Status/Task/{deployed}"), r#"{ "status": "done" }"#).await;
    until_status(&server, deployed, "UPLOADS", "done").await;
    std::fs::write(path, "two").unwrap();
    server.cli(&["file", "update", &file, path]).await;
    assert_eq!(phone.hears(&format!("/Task/{deployed}")).await.payload, body(2));
    assert_eq!(status(&server, deployed, "UPLOADS").await, "pending");

    let path = server.data_dir().join("app.apk");
    std::fs::write(&path, apk("org.example.app", "1.0", 7)).unwrap();
    let package = server.cli(&["package", "add", path.to_str().unwrap()]).await["id"].to_string();
    let arguments = ["--fleet", &number, "--policy", "deployApp", "--package", &package, "--remove-on-delete"];
    let using = adds(&server, &arguments).await;
    let body = format!(r#"{{"deployApp":"org.example.app","id":"{package}","versionCode":"7","taskId":{using}}}"#);
    assert_eq!(phone.hears(&format!("/Task/{using}")).await.payload, body);
    server.cli(&["package", "remove", &package]).await;
    assert!(phone.hears(&format!("/Task/{using}")).await.payload.contains("default"));
    let tasks = server.cli(&["task", "list", "--fleet", &number]).await;
    let undoing = rows(&tasks).iter().find(|it| it["policy"] == "removeApp").unwrap_or_else(|| panic!("{tasks}"));
    assert_eq!(undoing["value"], "org.example.app");
    phone.hears(&format!("/Policy/removeApp/Task/{}", undoing["id"])).await;
}

#[tokio::test]
async fn statuses_come_by_mqtt_to_the_right_and_the_wrong_topic_and_only_for_own_tasks() {
    let server = Server::start().await;
    let (fleet, strange) = (server.fleet("Sales").await, server.fleet("Other").await);
    let mut phone = listening(&server, "REPORTER", fleet, &Profile::android_rc6()).await;
    let wifi = fleet_task(&server, fleet, "disableWifi", "1").await;
    let removal = own_task(&server, "REPORTER", "removeApp", "org.example").await;
    let foreign = fleet_task(&server, strange, "disableWifi", "1").await;
    let own = own_task(&server, "REPORTER", "disableNfc", "1").await;

    let arrival = format!("0/fleet/{fleet}/Policy/disableWifi/Task/{wifi}/Status/Task/{wifi}");
    phone.link().publishes(&arrival, br#"{ "status": "done" }"#, 1).await;
    until_status(&server, wifi, "REPORTER", "done").await;
    phone.says(&format!("Policy/disableNfc/Task/{own}/Status/Task/{own}"), r#"{ "status": "failed" }"#).await;
    until_status(&server, own, "REPORTER", "failed").await;
    phone.says(&format!("Status/Task/{removal}"), r#"{ "status": "waiting" }"#).await;
    until_status(&server, removal, "REPORTER", "waiting").await;
    phone.says("Status/Task", &format!(r#"{{"updateStatus":[{{"taskId":{removal},"status":"done"}}]}}"#)).await;
    until_status(&server, removal, "REPORTER", "done").await;

    for (task, word) in [(wifi, "waiting"), (wifi, "overridden"), (foreign, "done"), (9999, "done")] {
        phone.says(&format!("Status/Task/{task}"), &format!(r#"{{"status":"{word}"}}"#)).await;
    }
    assert_eq!(status(&server, wifi, "REPORTER").await, "done");
    assert_eq!(statuses(&server, foreign).await, []);
    assert_eq!(sqlite::number(&server, "select count(*) from task_status").await, 3);
}

#[tokio::test]
async fn statuses_come_by_http_as_profile_a_looks_them_up() {
    let server = Server::start().await;
    let fleet = server.fleet("Sales").await;
    let (phone, other) = (server.enrolled("HTTP-A").await, server.enrolled("HTTP-B").await);
    server.moves("HTTP-A", fleet).await;
    server.moves("HTTP-B", fleet).await;
    let task = fleet_task(&server, fleet, "disableWifi", "1").await;
    let http = Http::of(&server);
    let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
    let search = |agent: &Value| {
        format!(
            "/search/PluginFlyvemdmTaskstatus/?criteria[0][field]=5&criteria[0][searchtype]=contains&criteria[0][value]={agent}\
             &criteria[1][field]=6&criteria[1][searchtype]=contains&criteria[1][value]={task}&forcedisplay=2"
        )
    };
    let (code, found) = http.get(&search(&phone.settings["id"]), &session).await;
    assert_eq!(
        (code, &found["totalcount"], &found["count"], &found["content-range"]),
        (200, &json!(1), &json!(1), &json!("0-0/1"))
    );
    let row = found["data"][0]["2"].as_i64().expect("the number of the status");
    let (code, foreign) = http.get(&search(&other.settings["id"]), &session).await;
    assert_eq!((code, &foreign["totalcount"], foreign.get("data")), (200, &json!(0), None), "{foreign}");

    let put = async |session: &str, id: i64, status: &str| {
        let body = json!({"input": {"status": status}});
        http.send("PUT", &format!("/PluginFlyvemdmTaskstatus/{id}"), session, Some(&body)).await
    };
    assert_eq!(put(&session, row, "done").await, (200, json!([{ row.to_string(): true, "message": "" }])));
    assert_eq!(status(&server, task, "HTTP-A").await, "done");
    assert_eq!(status(&server, task, "HTTP-B").await, "pending");
    let (code, refused) = put(&session, row, "waiting").await;
    assert_eq!((code, &refused[0]), (400, &json!("ERROR_GLPI_UPDATE")));
    let strange = http.session(other.settings["api_token"].as_str().unwrap()).await;
    assert_eq!(put(&strange, row, "failed").await.0, 401);
    assert_eq!(put(&session, 9999, "done").await.0, 404);
    assert_eq!(status(&server, task, "HTTP-A").await, "done");
}

#[tokio::test]
async fn ios_reads_files_in_a_group_of_their_own() {
    let server = Server::start().await;
    let fleet = server.fleet("Pads").await;
    let group = format!("0/fleet/{fleet}/file");
    let first = fleet_task(&server, fleet, "removeFile", "%SDCARD%/a").await;
    let mut apple = listening(&server, "PAD", fleet, &Profile::apple()).await;
    let mut android = listening(&server, "PHONE", fleet, &Profile::android()).await;
    let element = |task: i64, path: &str| format!(r#"{{"removeFile":"{path}","taskId":"{task}"}}"#);
    let heard = apple.hears("/file").await;
    let body = format!(r#"{{"file":[{}]}}"#, element(first, "%SDCARD%/a"));
    assert_eq!(seen(&heard), (group.as_str(), body.as_str(), true));

    let second = fleet_task(&server, fleet, "removeFile", "%SDCARD%/b").await;
    let heard = apple.hears("/file").await;
    let body = format!(r#"{{"file":[{},{}]}}"#, element(first, "%SDCARD%/a"), element(second, "%SDCARD%/b"));
    assert_eq!(seen(&heard), (group.as_str(), body.as_str(), false));
    removes(&server, first).await;
    removes(&server, second).await;
    apple.hears("/file").await;
    assert_eq!(apple.hears("/file").await.payload, r#"{"file":[]}"#);
    android.hears(&format!("/Task/{second}")).await;
    let rest = android.link().heard_so_far().await;
    assert!(rest.iter().all(|it| it.topic != group), "{rest:?}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_the_words_of_the_original_server() {
    let server = Server::start().await;
    let fleet = server.fleet("Sales").await.to_string();
    let default = rows(&server.cli(&["fleet", "list"]).await)
        .iter()
        .find(|it| it["is_default"] == true)
        .map(|it| it["id"].to_string())
        .unwrap();
    let refused = async |arguments: &[&str], words: &str| {
        let output = server.cli_output(&[&["task", "add"], arguments].concat()).await;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {complaint}");
        assert!(complaint.contains(words), "{arguments:?}: {complaint}");
    };
    let to_fleet = ["--fleet", &fleet, "--policy"];
    let with = |rest: &[&'static str]| [&to_fleet[..], rest].concat();
    refused(&with(&["disableEverything", "--value", "1"]), "Policy not found").await;
    refused(&with(&["disableWifi", "--value", "2"]), "Incorrect value for this policy").await;
    refused(&["--fleet", "9999", "--policy", "disableWifi", "--value", "1"], "Cannot find the notifiable object").await;
    refused(
        &["--fleet", &default, "--policy", "disableWifi", "--value", "1"],
        "Cannot apply a policy on a not managed fleet",
    )
    .await;
    refused(&with(&["deployFile", "--value", "%SDCARD%"]), "You must choose a file to apply this policy").await;
    refused(&with(&["deployApp", "--package", "5"]), "The application does not exists").await;
    fleet_task(&server, fleet.parse().unwrap(), "disableWifi", "1").await;
    refused(&with(&["disableWifi", "--value", "0"]), "Policy already applied").await;
    let task = server.cli(&["policy", "show", "passwordMinLength"]).await;
    assert_eq!((&task["id"], &task["type"], &task["min"]), (&json!(9), &json!("int"), &json!(0)));
    assert_eq!(rows(&server.cli(&["policy", "list"]).await).len(), 41);
}
