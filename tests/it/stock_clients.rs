//! The server driven by clients that nobody here wrote: mosquitto's in both protocol versions, rumqttc, paho-mqtt, mqtt.js.

use std::{fs, time::Duration};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Server,
    clients::{Library, Login, Script, mosquitto_pub, mosquitto_sub},
    phone::paho_id,
};

const VERSIONS: [&str; 2] = ["mqttv31", "mqttv311"];

#[tokio::test]
async fn mosquitto_clients_enrolled_as_devices_report_and_hear_their_state() {
    let server = Server::start().await;
    for version in VERSIONS {
        let serial = format!("MOSQUITTO-{version}");
        let phone = server.enrolled(&serial).await;
        let login = Login::new(&serial, &phone.password);
        let topic = format!("{}/Status/Online", phone.topic);
        for qos in ["0", "1", "2"] {
            let said =
                mosquitto_pub(&server, version, &login, &["-t", &topic, "-m", r#"{"online":"true"}"#, "-q", qos]).await;
            assert!(said.status.success(), "{version} {qos}: {}", String::from_utf8_lossy(&said.stderr));
        }
        server.until_agent(&serial, |it| it["last_contact"].is_string() || it["last_contact"].is_i64()).await;

        let own = format!("{}/#", phone.topic);
        let heard = mosquitto_sub(&server, version, &login, &["-t", &own, "-C", "1"]).await;
        let expected = format!("{}/Command/Subscribe 1 {{\"subscribe\":[{{\"topic\":null}}]}}\n", phone.topic);
        assert_eq!(String::from_utf8_lossy(&heard.stdout), expected);
    }
}

#[tokio::test]
async fn mosquitto_clients_with_a_wrong_password_are_told_why() {
    let server = Server::start().await;
    for version in VERSIONS {
        let login = Login::new("nobody", "nothing");
        let refused = mosquitto_pub(&server, version, &login, &["-t", "a", "-m", "b"]).await;
        let stderr = String::from_utf8_lossy(&refused.stderr).to_lowercase();
        assert!(!refused.status.success());
        assert!(stderr.contains("bad user name or password"), "{version}: {stderr}");
    }
}

#[tokio::test]
async fn mosquitto_clients_keep_and_clear_retained_messages() {
    let server = Server::start().await;
    let (name, password) = server.service("backend", &["site/#:rw"]).await;
    let login = Login::new(&name, &password);
    for version in VERSIONS {
        let topic = format!("site/{version}");
        assert!(
            mosquitto_pub(&server, version, &login, &["-t", &topic, "-m", "kept", "-q", "1", "-r"])
                .await
                .status
                .success()
        );
        let heard = mosquitto_sub(&server, version, &login, &["-t", "site/+", "-C", "1"]).await;
        assert_eq!(String::from_utf8_lossy(&heard.stdout), format!("{topic} 1 kept\n"));
        assert!(mosquitto_pub(&server, version, &login, &["-t", &topic, "-n", "-q", "1", "-r"]).await.status.success());
        let only = mosquitto_sub(&server, version, &login, &["-t", "site/+", "--retained-only", "-W", "2"]).await;
        assert_eq!(String::from_utf8_lossy(&only.stdout), "", "cleared");
    }
}

#[tokio::test]
async fn paho_and_mqtt_js_as_services_speak_every_quality_of_service() {
    let server = Server::start().await;
    let (name, password) = server.service("backend", &["site/#:rw"]).await;
    let login = Login::new(&name, &password);
    for library in [Library::Paho, Library::MqttJs] {
        for level in [3, 4] {
            let mut script = Script::new(
                &login,
                json!([
                    ["subscribe", "site/#", 2],
                    ["publish", "site/zero", "0", 0, false],
                    ["hear", 1],
                    ["publish", "site/one", "1", 1, false],
                    ["hear", 1],
                    ["publish", "site/two", "2", 2, false],
                    ["hear", 1],
                    ["unsubscribe", "site/#"],
                ]),
            );
            script.level = level;
            let lines = script.play(&server, library).await;
            assert_eq!(lines[0]["connected"], 0);
            assert_eq!(lines[1]["granted"], json!([2]));
            for (qos, word) in ["zero", "one", "two"].into_iter().enumerate() {
                let heard = lines.iter().filter_map(|it| it.get("heard")).nth(qos).unwrap();
                let expected =
                    json!({"topic": format!("site/{word}"), "payload": qos.to_string(), "qos": qos, "retain": false});
                assert_eq!(*heard, expected, "{library:?} level {level}");
            }
            assert_eq!(lines.last().unwrap()["unsubscribed"], "site/#");
        }
    }
}

#[tokio::test]
async fn paho_and_mqtt_js_as_devices_live_the_life_of_an_android_agent() {
    let server = Server::start().await;
    for library in [Library::Paho, Library::MqttJs] {
        let serial = format!("{library:?}").to_uppercase();
        let phone = server.enrolled(&serial).await;
        let mut script = Script::new(
            &Login::new(&serial, &phone.password),
            json!([
                ["publish", format!("{}/Status/Online", phone.topic), r#"{"online": true}"#, 1, false],
                ["subscribe", format!("{}/#", phone.topic), 0],
                ["subscribe", "FlyvemdmManifest/Status/Version", 0],
                ["hear", 4],
                ["publish", format!("{}/Status/Ping", phone.topic), "!", 1, false],
                ["vanish"],
            ]),
        );
        script.level = 3;
        script.will = json!([format!("{}/Status/Online", phone.topic), "{ \"online\": false }", 0, true]);
        let asked = server.cli(&["agent", "ping", &serial]).await;
        server.cli(&["agent", "lock", &serial]).await;
        let lines = script.play(&server, library).await;
        let heard: Vec<&str> = lines.iter().filter_map(|it| it["heard"]["topic"].as_str()).collect();
        for topic in ["/Command/Subscribe", "/Command/Lock", "/Command/Ping", "FlyvemdmManifest/Status/Version"] {
            assert!(heard.iter().any(|it| it.ends_with(topic)), "{library:?} {topic}: {heard:?}");
        }
        assert_eq!(server.command(&asked["command_id"]).await["state"], "answered");
        server.until_agent(&serial, |it| it["is_online"] == false).await;
    }
}

#[tokio::test]
async fn paho_and_mqtt_js_are_refused_with_a_wrong_password() {
    let server = Server::start().await;
    for library in [Library::Paho, Library::MqttJs] {
        let lines = Script::new(&Login::new("nobody", "nothing"), json!([])).play(&server, library).await;
        // paho maps the return code to MQTT 5's 134, bad user name or password.
        let expected = if library == Library::Paho { 134 } else { 4 };
        assert_eq!(lines, [connected(&lines[0], expected)], "{library:?}");
    }
}

fn connected(line: &Value, code: u8) -> Value {
    let mut line = line.clone();
    line["connected"] = json!(code);
    line
}

#[tokio::test]
async fn rumqttc_as_a_back_end_hears_devices_and_as_a_device_is_commanded() {
    let server = Server::start().await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let (backend, mut backend_loop) = AsyncClient::new(rumqttc(&server, &paho_id(), &name, &password), 10);
    backend.subscribe("+/agent/+/Status/#", QoS::AtLeastOnce).await.unwrap();
    next(&mut backend_loop, |it| matches!(it, Packet::SubAck(_))).await;

    let phone = server.enrolled("RUMQTTC").await;
    let (device, mut device_loop) = AsyncClient::new(rumqttc(&server, "RUMQTTC", "RUMQTTC", &phone.password), 10);
    device.subscribe(format!("{}/#", phone.topic), QoS::AtLeastOnce).await.unwrap();
    device.publish(format!("{}/Status/Ping", phone.topic), QoS::ExactlyOnce, false, "!").await.unwrap();
    next(&mut device_loop, |it| matches!(it, Packet::PubComp(_))).await;
    let heard = next(&mut backend_loop, |it| matches!(it, Packet::Publish(_))).await;
    let Packet::Publish(heard) = heard else { unreachable!() };
    assert_eq!((heard.topic.as_str(), &heard.payload[..]), ("0/agent/RUMQTTC/Status/Ping", &b"!"[..]));

    server.cli(&["agent", "lock", "RUMQTTC"]).await;
    let lock = |it: &Packet| matches!(it, Packet::Publish(it) if it.topic.ends_with("/Command/Lock"));
    let Packet::Publish(heard) = next(&mut device_loop, lock).await else { unreachable!() };
    assert_eq!((&heard.payload[..], heard.qos), (&br#"{"lock":"now"}"#[..], QoS::AtLeastOnce));
}

fn rumqttc(server: &Server, client_id: &str, username: &str, password: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, "localhost", server.ports.mqtt_tls);
    let ca = fs::read(server.ca_file()).unwrap();
    options.set_transport(Transport::Tls(TlsConfiguration::Simple { ca, alpn: None, client_auth: None }));
    options.set_credentials(username, password).set_keep_alive(Duration::from_secs(60));
    options
}

async fn next(events: &mut rumqttc::EventLoop, wanted: impl Fn(&Packet) -> bool) -> Packet {
    let search = async {
        loop {
            if let Event::Incoming(packet) = events.poll().await.unwrap()
                && wanted(&packet)
            {
                return packet;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("the packet in time")
}
