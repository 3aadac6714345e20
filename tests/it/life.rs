//! The life of one agent, step by step, as the shipped agents live it: Android with answers over HTTP (A), Android rc.6 with
//! everything over MQTT (B), iOS (F). The steps are those of the checklist in the description of the agents.

use std::time::Duration;

use mdmq::clock::Clock;
use serde_json::{Value, json};

use crate::support::{
    Phone, Server,
    enrollment::{self, Http, Profile, inventory_xml},
    phone::Link,
    until,
};

fn profiles() -> [(&'static str, Profile); 3] {
    [("A", Profile::android()), ("B", Profile::android_rc6()), ("F", Profile::apple())]
}

#[tokio::test]
async fn step_01_enrollment_gives_an_agent_all_its_settings() {
    let server = Server::start().await;
    for (name, profile) in profiles() {
        let serial = format!("ENROLL-{name}");
        let phone = enrollment::enroll(&server, &serial, &profile).await;
        let settings = &phone.settings;
        assert_eq!(settings["topic"], json!(format!("0/agent/{serial}")));
        assert_eq!((&settings["tls"], &settings["port"]), (&json!(1), &json!(server.ports.mqtt_tls)));
        assert!(phone.password.len() >= 32, "a machine's password is long");
        for number in ["id", "computers_id", "entities_id", "plugin_flyvemdm_fleets_id"] {
            assert!(settings[number].is_i64(), "{number}: {settings}");
        }
        for text in ["broker", "api_token", "name", "certificate", "enroll_status"] {
            assert!(settings[text].is_string(), "{text}: {settings}");
        }
        let row = server.agent(&serial).await;
        assert_eq!((&row["is_online"], &row["enroll_status"]), (&json!(false), &json!("enrolled")));
    }
}

#[tokio::test]
async fn step_02_an_agent_connects_and_a_wrong_password_is_answered_with_4() {
    let server = Server::start().await;
    for (name, profile) in profiles() {
        let mut phone = enrollment::enroll(&server, &format!("CONNECT-{name}"), &profile).await;
        phone.connects(&server).await;
        let serial = phone.serial.clone();
        server.until_agent(&serial, |it| it["is_online"] == true).await;
        for (username, password) in [(serial.as_str(), "wrong"), ("nobody", "wrong"), (serial.as_str(), "")] {
            let mut stranger = Phone::new(username, password, &phone.topic);
            stranger.level = profile.level;
            assert_eq!(stranger.tries_to_connect(&server).await, 4, "{username} with {password:?}");
        }
    }
}

#[tokio::test]
async fn step_03_an_agent_that_subscribes_finds_its_state_and_never_hears_itself() {
    let server = Server::start().await;
    for (name, profile) in profiles() {
        let mut phone = enrollment::enroll(&server, &format!("STATE-{name}"), &profile).await;
        phone.connects(&server).await;
        let filter = format!("{}/#", phone.topic);
        let qos = u8::from(name == "F");
        assert_eq!(phone.link().subscribes(&filter, qos).await, qos);
        let heard = phone.hears("/Command/Subscribe").await;
        assert_eq!((heard.payload.as_str(), heard.retain, heard.qos), (r#"{"subscribe":[{"topic":null}]}"#, true, qos));
        phone.says("Status/Ping", "!").await;
        phone.says("Status/Online", r#"{"online": true}"#).await;
        assert_eq!(phone.link().heard_so_far().await, [], "nothing of its own comes back");
    }
}

#[tokio::test]
async fn step_04_an_agent_reads_the_manifest_in_either_spelling() {
    let server = Server::start().await;
    let mut phone = server.enrolled("MANIFEST").await;
    phone.comes_up(&server).await;
    for filter in ["FlyvemdmManifest/Status/Version", "/FlyvemdmManifest/Status/Version"] {
        assert_eq!(phone.link().subscribes(filter, 0).await, 0);
        let heard = phone.hears("FlyvemdmManifest/Status/Version").await;
        assert_eq!((heard.topic.as_str(), heard.retain), (filter, true));
        assert!(heard.payload.starts_with(r#"{"version":""#), "{heard:?}");
    }
}

#[tokio::test]
async fn step_05_an_agent_moved_to_a_fleet_is_told_at_once_and_again_after_a_reconnect() {
    let server = Server::start().await;
    let mut phone = server.enrolled("FLEET").await;
    phone.comes_up(&server).await;
    assert_eq!(phone.hears("/Command/Subscribe").await.payload, r#"{"subscribe":[{"topic":null}]}"#);

    let fleet = server.fleet("Sales").await;
    server.moves("FLEET", fleet).await;
    let told = format!(r#"{{"subscribe":[{{"topic":"0/fleet/{fleet}"}}]}}"#);
    assert_eq!(phone.hears("/Command/Subscribe").await.payload, told);
    assert_eq!(phone.link().subscribes(&format!("0/fleet/{fleet}/#"), 0).await, 0);

    phone.vanishes();
    phone.comes_up(&server).await;
    let heard = phone.hears("/Command/Subscribe").await;
    assert_eq!((heard.payload, heard.retain), (told, true));
}

#[tokio::test]
async fn step_06_an_agent_that_falls_silent_is_dropped_after_one_and_a_half_keep_alives() {
    let server = Server::start().await;
    let mut phone = server.enrolled("SILENT").await;
    phone.keep_alive_s = 2;
    phone.comes_up(&server).await;
    server.until_agent("SILENT", |it| it["is_online"] == true).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(1)).await; // the passing of time is what is tested
        phone.link().heard_so_far().await; // PINGREQ
    }
    let fell_silent = Clock::System.instant();
    phone.link().is_closed().await;
    let silent_for = fell_silent.elapsed();
    assert!((2900..6000).contains(&silent_for.as_millis()), "closed after {silent_for:?}");
    server.until_agent("SILENT", |it| it["is_online"] == false).await;
}

#[tokio::test]
async fn step_07_questions_are_answered_over_mqtt_by_b_and_f() {
    let server = Server::start().await;
    for (name, profile) in profiles().into_iter().skip(1) {
        let serial = format!("ANSWER-{name}");
        let mut phone = enrollment::enroll(&server, &serial, &profile).await;
        phone.comes_up(&server).await;
        let inventory = inventory_xml(&serial);
        let position = r#"{"latitude":"10.2485486","longitude":"-67.5904498","datetime":1499364642}"#;
        for (question, topic, body, status, answer) in [
            ("ping", "/Command/Ping", r#"{"query":"Ping"}"#, "Status/Ping", "!"),
            ("geolocate", "/Command/Geolocate", r#"{"query":"Geolocate"}"#, "Status/Geolocation", position),
            ("inventory", "/Command/Inventory", r#"{"query":"Inventory"}"#, "Status/Inventory", inventory.as_str()),
        ] {
            let arguments = ["agent", question, &serial, "--wait", "10"];
            let asks = server.cli(&arguments);
            let answers = async {
                let heard = phone.hears(topic).await;
                assert_eq!((heard.payload.as_str(), heard.retain), (body, false));
                phone.says(status, answer).await;
            };
            let (command, ()) = tokio::join!(asks, answers);
            assert_eq!(command["state"], "answered", "{name} {question}: {command}");
        }
    }
}

#[tokio::test]
async fn step_07_questions_are_answered_over_http_by_a() {
    let server = Server::start().await;
    let mut phone = server.enrolled("ANSWER-A").await;
    phone.comes_up(&server).await;
    let inventory = base64_of(&inventory_xml("ANSWER-A"));
    let (agent, http) = (phone.settings["id"].as_i64().unwrap(), Http::of(&server));
    let own = format!("/PluginFlyvemdmAgent/{agent}");
    let position = json!({"_agents_id": agent, "computers_id": phone.settings["computers_id"], "_datetime": 1_499_364_642,
        "latitude": "48.1054276", "longitude": "-1.67820699"});
    for (question, topic, method, path, input) in [
        ("ping", "/Command/Ping", "PUT", own.as_str(), json!({"_pong": "!"})),
        ("geolocate", "/Command/Geolocate", "POST", "/PluginFlyvemdmGeolocation", position),
        ("inventory", "/Command/Inventory", "PUT", own.as_str(), json!({ "_inventory": inventory })),
    ] {
        let arguments = ["agent", question, "ANSWER-A", "--wait", "10"];
        let asks = server.cli(&arguments);
        let answers = async {
            phone.hears(topic).await;
            let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
            let (status, body) = http.send(method, path, &session, Some(&json!({ "input": input }))).await;
            assert!(status == 200 || status == 201, "{question}: {status} {body}");
        };
        let (command, ()) = tokio::join!(asks, answers);
        assert_eq!(command["state"], "answered", "{question}: {command}");
    }
}

#[tokio::test]
async fn step_08_an_agent_hears_nothing_of_the_fleet_it_left() {
    let server = Server::start().await;
    let mut phone = server.enrolled("MOVED").await;
    let (old, new) = (server.fleet("Old").await, server.fleet("New").await);
    server.moves("MOVED", old).await;
    phone.comes_up(&server).await;
    phone.link().subscribes(&format!("0/fleet/{old}/#"), 0).await;

    let (name, password) = server.service("backend", &["#:rw"]).await;
    let mut backend = Link::service(&server, &name, &password).await;
    let policy = |fleet: i64| format!("0/fleet/{fleet}/Policy/disableWifi/Task/41");
    backend.publishes(&policy(old), br#"{"disableWifi":true,"taskId":41}"#, 1).await;
    assert_eq!(phone.hears("/Task/41").await.topic, policy(old));

    server.moves("MOVED", new).await;
    phone.hears("/Command/Subscribe").await;
    phone.link().subscribes(&format!("0/fleet/{new}/#"), 0).await; // and keeps the old subscription, as Android does
    backend.publishes(&policy(old), br#"{"disableWifi":false,"taskId":41}"#, 1).await;
    backend.publishes(&policy(new), br#"{"disableWifi":true,"taskId":41}"#, 1).await;
    assert_eq!(phone.hears("/Task/41").await.topic, policy(new), "the first it hears is of the new fleet");
    let rest = phone.link().heard_so_far().await;
    assert!(rest.iter().all(|it| !it.topic.starts_with(&format!("0/fleet/{old}/"))), "{rest:?}");
}

#[tokio::test]
async fn step_09_lock_unlock_and_wipe_are_heard_at_once_and_again_after_a_reconnect() {
    let server = Server::start().await;
    let mut phone = server.enrolled("LOCKED").await;
    phone.comes_up(&server).await;
    for (wish, topic, body) in [
        ("lock", "/Command/Lock", r#"{"lock":"now"}"#),
        ("unlock", "/Command/Lock", r#"{"lock":"unlock"}"#),
        ("wipe", "/Command/Wipe", r#"{"wipe":"now"}"#),
    ] {
        server.wishes(wish, "LOCKED").await;
        assert_eq!(phone.hears(topic).await.payload, body);
        phone.vanishes();
        phone.comes_up(&server).await;
        let replayed = phone.hears(topic).await;
        assert_eq!((replayed.payload.as_str(), replayed.retain), (body, true));
    }
    let row = server.agent("LOCKED").await;
    assert_eq!(row["wipe"], true, "{row}");
}

#[tokio::test]
async fn step_09_what_was_wished_while_the_device_was_away_waits_for_it() {
    let server = Server::start().await;
    let mut phone = server.enrolled("AWAY").await;
    let asked = server.cli(&["agent", "ping", "AWAY"]).await;
    assert_eq!(asked["state"], "queued");
    server.cli(&["agent", "lock", "AWAY"]).await;
    phone.comes_up(&server).await;
    assert_eq!(phone.hears("/Command/Lock").await.payload, r#"{"lock":"now"}"#);
    assert_eq!(phone.hears("/Command/Ping").await.payload, r#"{"query":"Ping"}"#);
    phone.says("Status/Ping", "!").await;
    let id = asked["command_id"].clone();
    until("the ping is answered", async || server.command(&id).await["state"] == "answered").await;
}

#[tokio::test]
async fn step_10_a_device_that_vanishes_is_offline_and_one_that_comes_back_takes_over_without_a_flap() {
    let server = Server::start().await;
    let mut phone = server.enrolled("BACK").await;
    phone.comes_up(&server).await;
    server.until_agent("BACK", |it| it["is_online"] == true).await;
    phone.vanishes();
    server.until_agent("BACK", |it| it["is_online"] == false).await;

    phone.comes_up(&server).await;
    let first = server.until_agent("BACK", |it| it["is_online"] == true).await;
    let mut old = phone.take_link();
    phone.comes_up(&server).await;
    old.is_closed().await;
    let second = server.until_agent("BACK", |it| it["connection"] != first["connection"]).await;
    assert_eq!(second["is_online"], true, "{second}");
    for _ in 0..5 {
        phone.says("Status/Ping", "!").await;
        assert_eq!(server.agent("BACK").await["is_online"], true, "the end of the old connection changes nothing");
    }
}

#[tokio::test]
async fn step_11_an_agent_that_acknowledges_its_unenrollment_is_gone_and_its_password_dead() {
    let server = Server::start().await;
    for (name, profile) in profiles().into_iter().skip(1) {
        let serial = format!("LEAVING-{name}");
        let mut phone = enrollment::enroll(&server, &serial, &profile).await;
        phone.comes_up(&server).await;
        server.cli(&["agent", "unenroll", &serial]).await;
        assert_eq!(phone.hears("/Command/Unenroll").await.payload, r#"{"unenroll":"now"}"#);
        assert_eq!(server.agent(&serial).await["enroll_status"], "unenrolling");
        phone.says("Status/Unenroll", r#"{"unenroll": "unenrolled"}"#).await;
        phone.link().is_closed().await;
        until("the agent is gone", async || !server.knows(&serial).await).await;
        assert_eq!(phone.tries_to_connect(&server).await, 4);
    }
}

#[tokio::test]
async fn step_11_profile_a_acknowledges_its_unenrollment_by_saying_over_http_that_it_is_offline() {
    let server = Server::start().await;
    let mut phone = server.enrolled("LEAVING-A").await;
    phone.comes_up(&server).await;
    server.cli(&["agent", "unenroll", "LEAVING-A"]).await;
    phone.hears("/Command/Unenroll").await;
    phone.link().heard_so_far().await; // the delivery is known to be over
    let http = Http::of(&server);
    let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
    let path = format!("/PluginFlyvemdmAgent/{}", phone.settings["id"]);
    let (status, body) = http.send("PUT", &path, &session, Some(&json!({"input": {"is_online": false}}))).await;
    assert_eq!(status, 200, "{body}");
    until("the agent is gone", async || !server.knows("LEAVING-A").await).await;
}

#[tokio::test]
async fn step_12_a_device_that_enrolls_again_meets_nothing_of_its_earlier_life() {
    let server = Server::start().await;
    for (name, profile) in profiles() {
        let serial = format!("AGAIN-{name}");
        let mut first = enrollment::enroll(&server, &serial, &profile).await;
        first.comes_up(&server).await;
        for wish in ["lock", "wipe", "ping", "unenroll"] {
            server.wishes(wish, &serial).await;
        }
        first.hears("/Command/Unenroll").await;
        first.vanishes();

        let mut second = enrollment::enroll(&server, &serial, &profile).await;
        assert_ne!(first.password, second.password);
        assert_eq!(first.tries_to_connect(&server).await, 4, "the earlier password is dead");
        second.comes_up(&server).await;
        let heard = second.link().heard_so_far().await;
        let topics: Vec<&str> = heard.iter().map(|it| it.topic.as_str()).collect();
        assert_eq!(topics, [format!("{}/Command/Subscribe", second.topic)], "profile {name}");
        let row = server.agent(&serial).await;
        assert_eq!((&row["wipe"], &row["enroll_status"]), (&json!(false), &json!("enrolled")), "{row}");
        assert_ne!(row["lock"], json!(true), "{row}");
    }
}

#[tokio::test]
async fn step_13_what_a_device_must_not_say_is_acknowledged_and_has_no_effect() {
    let server = Server::start().await;
    let mut victim = server.enrolled("VICTIM").await;
    victim.comes_up(&server).await;
    server.until_agent("VICTIM", |it| it["is_online"] == true).await;
    let fleet = server.fleet("Everybody").await;
    let mut rogue = server.enrolled("ROGUE").await;
    server.moves("ROGUE", fleet).await;
    rogue.comes_up(&server).await;
    let (name, password) = server.service("watcher", &["#:r"]).await;
    let mut watcher = Link::service(&server, &name, &password).await;
    watcher.subscribes("#", 1).await;
    watcher.heard_so_far().await;

    let policy = format!("0/fleet/{fleet}/Policy/disableWifi/Task/1");
    for topic in [
        "0/agent/VICTIM/Status/Online",
        "/0/agent/VICTIM/Status/Online",
        "0/agent/VICTIM/Status/Unenroll",
        "0/agent/VICTIM/Command/Wipe",
        "0/agent/ROGUE/Command/Wipe",
        "1/agent/ROGUE/Status/Ping",
        "FlyvemdmManifest/Status/Version",
        "$SYS/broker/uptime",
        "anything",
        policy.as_str(),
    ] {
        for qos in 0..=2 {
            rogue.link().publishes(topic, br#"{"online":false,"wipe":"now"}"#, qos).await;
        }
    }
    rogue.says("Status/Ping", "!").await;
    assert_eq!(watcher.hears("/Status/Ping").await.topic, "0/agent/ROGUE/Status/Ping");
    let heard: Vec<_> = watcher.heard_so_far().await.into_iter().filter(|it| it.payload.contains("wipe")).collect();
    assert_eq!(heard, [], "nobody hears what was refused");
    assert!(victim.link().heard_so_far().await.iter().all(|it| it.topic.ends_with("/Command/Subscribe")));
    assert_eq!(server.agent("VICTIM").await["is_online"], true);
    assert_eq!(server.agent("ROGUE").await["wipe"], false);
}

fn base64_of(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn an_agent_deleted_by_force_is_thrown_out_and_its_computer_stays() {
    let server = Server::start().await;
    let mut phone = server.enrolled("FORCED").await;
    let computer: Value = phone.settings["computers_id"].clone();
    phone.comes_up(&server).await;
    server.deletes("FORCED").await;
    phone.link().is_closed().await;
    assert!(!server.knows("FORCED").await);
    assert_eq!(phone.tries_to_connect(&server).await, 4);
    let again = server.enrolled("FORCED").await;
    assert_eq!(again.settings["computers_id"], computer, "the same computer");
}
