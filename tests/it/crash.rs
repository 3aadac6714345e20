//! Acknowledged means written: a server that is killed at a random moment has every acknowledged report and every accepted
//! command in its database when it starts again.

use std::{
    collections::HashSet,
    fmt::Write as _,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use crate::support::{
    Server,
    phone::paho_id,
    random::Random,
    server::rows,
    sqlite,
    wire::{self, Connect, Packet},
};

const DEVICES: usize = 200;
const CRASHES: usize = 10;
const PASSWORD: &str = "a password of a machine that is long and random";

/// What the outside was promised.
#[derive(Default, Clone)]
struct Promised {
    /// Serial and time in milliseconds of each acknowledged position.
    reports: HashSet<(String, i64)>,
    /// Numbers of accepted commands.
    commands: HashSet<i64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_a_random_moment_has_lost_nothing_that_it_acknowledged_ten_times_over() {
    let mut server = Server::start().await;
    import(&server).await;
    let listed = server.cli(&["agent", "list"]).await;
    let agents: Vec<i64> = rows(&listed).iter().map(|it| it["id"].as_i64().unwrap()).collect();
    assert_eq!(agents.len(), DEVICES);

    let mut random = Random(0x5eed_0003);
    let promised = Arc::new(Mutex::new(Promised::default()));
    for crash in 0..CRASHES {
        let mut outside = JoinSet::new();
        for device in 0..DEVICES {
            outside.spawn(reports(server.ports.mqtt_tcp, device, crash, promised.clone()));
        }
        let url = format!("{}/api/v1/agents", server.admin_url());
        outside.spawn(commands(url, server.admin_token(), agents.clone(), promised.clone()));
        let before = promised.lock().unwrap().reports.len();
        let moment = Duration::from_millis(200 + u64::try_from(random.below(1500)).unwrap());
        tokio::time::sleep(moment).await; // the moment is random on purpose
        while promised.lock().unwrap().reports.len() < before + 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.kill_9();
        while let Some(ended) = outside.join_next().await {
            ended.unwrap();
        }
        server.start_again().await;
        let so_far = promised.lock().unwrap().clone();
        check_nothing_is_lost(&server, &so_far, crash).await;
    }
    let promised = promised.lock().unwrap();
    assert!(promised.reports.len() > 10 * DEVICES, "only {} reports: not much of a test", promised.reports.len());
    assert!(promised.commands.len() > CRASHES, "only {} commands: not much of a test", promised.commands.len());
}

async fn check_nothing_is_lost(server: &Server, promised: &Promised, crash: usize) {
    let question = "select c.serial, g.at from geolocation g join computer c on c.computer_id = g.computer_id";
    let written: HashSet<(String, i64)> = sqlite::pairs(server, question).await.into_iter().collect();
    let lost: Vec<_> = promised.reports.difference(&written).collect();
    assert!(lost.is_empty(), "crash {crash}: {} acknowledged reports are lost, such as {:?}", lost.len(), lost[0]);
    let question = "select name, command_id from command";
    let written: HashSet<i64> = sqlite::pairs(server, question).await.into_iter().map(|(_, id)| id).collect();
    let lost: Vec<_> = promised.commands.difference(&written).collect();
    assert!(lost.is_empty(), "crash {crash}: accepted commands are lost: {lost:?}");
    let online = sqlite::number(server, "select count(*) from agent where is_online").await;
    assert_eq!(online, 0, "crash {crash}: nobody is connected yet");
}

/// Stages the devices, with one password for all.
async fn import(server: &Server) {
    let mut csv = "entity,serial,mqttpasswd\n".to_owned();
    for device in 0..DEVICES {
        writeln!(csv, "0,CRASH-{device},{PASSWORD}").unwrap();
    }
    let file = server.data_dir().join("devices.csv");
    fs::write(&file, csv).unwrap();
    server.cli(&["agent", "import", file.to_str().unwrap()]).await;
}

/// One device that reports positions, one after the other, until the server is gone.
async fn reports(port: u16, device: usize, crash: usize, promised: Arc<Mutex<Promised>>) {
    let serial = format!("CRASH-{device}");
    let connect = Connect {
        level: 3,
        client_id: paho_id(),
        clean_session: true,
        keep_alive_s: 60,
        username: Some(serial.clone()),
        password: Some(PASSWORD.to_owned()),
        will: None,
    };
    let topic = format!("0/agent/{serial}/Status/Geolocation");
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = stream.write_all(&connect.encode()).await;
    match wire::read(&mut stream).await {
        Ok(Packet::Connack { code: 0, .. }) => {}
        Ok(other) => panic!("{serial}: {other:?}"),
        Err(_) => return,
    }
    for n in 0..60_000_u16 {
        let at = i64::try_from(1_500_000_000 + crash * 100_000 + usize::from(n)).unwrap();
        let body = format!(r#"{{"latitude":"10.5","longitude":"-67.5","datetime":{at}}}"#);
        let _ = stream.write_all(&wire::publish(&topic, body.as_bytes(), 1, false, n + 1)).await;
        loop {
            match wire::read(&mut stream).await {
                Ok(Packet::Ack { kind: wire::PUBACK, id }) if id == n + 1 => break,
                Ok(Packet::Publish { qos: 1, id, .. }) => {
                    let _ = stream.write_all(&wire::ack(wire::PUBACK, id)).await;
                }
                Ok(Packet::Publish { .. }) => {}
                Ok(other) => panic!("{serial}: {other:?}"),
                Err(_) => return,
            }
        }
        promised.lock().unwrap().reports.insert((serial.clone(), at * 1000));
        tokio::time::sleep(Duration::from_millis(20)).await; // two hundred devices share two cores with the server
    }
}

/// An administrator who asks one agent after the other, until the server is gone.
async fn commands(url: String, token: String, agents: Vec<i64>, promised: Arc<Mutex<Promised>>) {
    let client = reqwest::Client::new();
    for agent in agents.iter().cycle() {
        let request = client.post(format!("{url}/{agent}/commands")).bearer_auth(&token).json(&json!({"name": "ping"}));
        let Ok(response) = request.send().await else { return };
        let status = response.status();
        let Ok(body) = response.json::<serde_json::Value>().await else { return };
        assert!(status.is_success(), "{status}: {body}");
        promised.lock().unwrap().commands.insert(body["command_id"].as_i64().unwrap());
    }
}
