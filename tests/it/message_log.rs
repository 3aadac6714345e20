//! The message log: what is written into it, what not, and that it does not grow for ever.

use serde_json::{Value, json};

use crate::support::{Server, server::rows, until};

/// Direction and message of the log of a device, latest first.
async fn logged(server: &Server, serial: &str) -> Vec<(String, String)> {
    let text = |it: &Value, member: &str| it[member].as_str().unwrap().to_owned();
    let log = server.cli(&["agent", "log", serial]).await;
    rows(&log).iter().map(|it| (text(it, "direction"), text(it, "message"))).collect()
}

fn line(direction: &str, message: &str) -> (String, String) {
    (direction.to_owned(), message.to_owned())
}

#[tokio::test]
async fn what_changes_something_is_logged_and_heartbeats_are_not() {
    let server = Server::start().await;
    let mut phone = server.enrolled("LOGGED").await;
    server.wishes("lock", "LOGGED").await;
    phone.comes_up(&server).await;
    phone.hears("/Command/Lock").await;
    phone.says("Status/Ping", "!").await;
    phone.says("Status/Online", r#"{"online":true}"#).await;
    phone.says("Status/Geolocation", r#"{"datetime":1499364642,"gps":"off"}"#).await;
    phone.says("Status/Inventory", "<REQUEST><CONTENT/></REQUEST>").await;
    let expected =
        [line("I", "(29 bytes)"), line("I", r#"{"datetime":1499364642,"gps":"off"}"#), line("O", r#"{"lock":"now"}"#)];
    assert_eq!(logged(&server, "LOGGED").await, expected);
    // What the device finds again when it comes back is no news.
    phone.vanishes();
    phone.comes_up(&server).await;
    phone.hears("/Command/Lock").await;
    assert_eq!(logged(&server, "LOGGED").await, expected);
    let first = server.cli(&["agent", "log", "LOGGED", "--limit", "1"]).await;
    assert_eq!(rows(&first)[0]["topic"], json!("0/agent/LOGGED/Status/Inventory"));
}

#[tokio::test]
async fn the_oldest_lines_go_when_there_are_too_many() {
    let settings = [("MDMQ_MESSAGE_LOG__MESSAGES", "all"), ("MDMQ_MESSAGE_LOG__ROWS_MAX", "3")];
    let server = Server::with(&settings).await;
    let mut phone = server.enrolled("MANY").await;
    phone.comes_up(&server).await;
    for at in 0..10 {
        phone.says("Status/Geolocation", &format!(r#"{{"datetime":{at},"gps":"off"}}"#)).await;
    }
    until("the log is cut", async || logged(&server, "MANY").await.len() == 3).await;
    assert_eq!(logged(&server, "MANY").await[0], line("I", r#"{"datetime":9,"gps":"off"}"#));
}
