//! What the agents' HTTP listener answers when something is wrong that is not the agent's fault, and what outlives a restart.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{PATIENCE, Server, enrollment::Http, sqlite};

/// Sends these bytes and reads until the server closes: status line and body.
async fn raw(server: &Server, request: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.ports.http)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer in time").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.lines().next().unwrap_or_default().to_owned();
    (status, serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}")))
}

#[tokio::test]
async fn a_body_that_never_comes_is_answered_in_glpis_form() {
    let server = Server::with(&[("MDMQ_HTTP__REQUEST_TIMEOUT_S", "1")]).await;
    let request =
        "POST /PluginFlyvemdmAgent HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{\"in";
    let (status, body) = raw(&server, request).await;
    assert_eq!((status.as_str(), body), ("HTTP/1.1 408 Request Timeout", json!(["ERROR", "Request Timeout"])));
}

#[tokio::test]
async fn a_database_that_fails_is_answered_in_glpis_form_and_the_server_goes_on() {
    let server = Server::start().await;
    let phone = server.enrolled("BROKEN").await;
    let http = Http::of(&server);
    let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
    sqlite::execute(&server, "alter table http_session rename to mislaid").await;
    let (status, body) = http.get("/getFullSession", &session).await;
    assert_eq!((status, body), (500, json!(["ERROR_SQL", "Unexpected SQL Error"])));
    sqlite::execute(&server, "alter table mislaid rename to http_session").await;
    assert_eq!(http.get("/getFullSession", &session).await.0, 200);
}

#[tokio::test]
async fn a_session_outlives_a_restart_of_the_server() {
    let mut server = Server::start().await;
    let phone = server.enrolled("STEADY").await;
    let session = Http::of(&server).session(phone.settings["api_token"].as_str().unwrap()).await;
    server.restart().await;
    let http = Http::of(&server);
    assert_eq!(http.get("/getFullSession", &session).await.0, 200);
    assert_eq!(http.get("/killSession", &session).await.0, 200);
    assert_eq!(http.get("/getFullSession", &session).await.0, 401);
}
