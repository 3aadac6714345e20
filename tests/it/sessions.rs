//! Sessions of service accounts that outlive their connections: how many there may be, and when they end.

use tokio::net::TcpStream;

use crate::support::{
    Server,
    phone::{Link, service_connect},
    until,
};

/// An account that connects under one client id after the other.
struct BackEnd {
    name: String,
    password: String,
}

impl BackEnd {
    async fn new(server: &Server, name: &str) -> BackEnd {
        let (name, password) = server.service(name, &["#:rw"]).await;
        BackEnd { name, password }
    }

    /// The connection and the return code of its CONNACK.
    async fn comes(&self, server: &Server, client_id: &str, clean_session: bool) -> (Link, u8) {
        let stream = TcpStream::connect(("127.0.0.1", server.ports.mqtt_tcp)).await.unwrap();
        Link::over(stream, &service_connect(&self.name, &self.password, client_id, clean_session)).await.unwrap()
    }
}

#[tokio::test]
async fn clean_sessions_take_no_place_of_those_that_stay() {
    let server = Server::with(&[("MDMQ_MQTT__PERSISTENT_SESSIONS_MAX", "2")]).await;
    let backend = BackEnd::new(&server, "backend").await;
    let mut links = Vec::new();
    for (client_id, clean_session, code) in [
        ("clean one", true, 0),
        ("clean two", true, 0),
        ("one", false, 0),
        ("two", false, 0),
        ("three", false, 3),
        ("clean three", true, 0),
    ] {
        let (link, answered) = backend.comes(&server, client_id, clean_session).await;
        assert_eq!(answered, code, "{client_id}");
        links.push(link);
    }
    assert_eq!(server.metric("mdm_persistent_sessions").await, 2.0);
    links.clear();
    until("the clean ones are forgotten", async || server.metric("mdm_service_sessions").await == 2.0).await;
    assert_eq!(backend.comes(&server, "three", false).await.1, 3, "the two wait for their clients");
    assert_eq!(backend.comes(&server, "two", false).await.1, 0, "which may come back");
}

#[tokio::test]
async fn one_account_leaves_places_to_the_others() {
    let server = Server::with(&[("MDMQ_MQTT__ACCOUNT_PERSISTENT_SESSIONS_MAX", "1")]).await;
    let (one, other) = (BackEnd::new(&server, "one").await, BackEnd::new(&server, "other").await);
    assert_eq!(one.comes(&server, "a", false).await.1, 0);
    assert_eq!(one.comes(&server, "b", false).await.1, 3);
    assert_eq!(other.comes(&server, "a", false).await.1, 0);
}

#[tokio::test]
async fn a_session_that_nobody_comes_back_to_ends_and_gives_its_place_back() {
    let settings = [("MDMQ_MQTT__SESSION_EXPIRY_S", "1"), ("MDMQ_MQTT__PERSISTENT_SESSIONS_MAX", "1")];
    let server = Server::with(&settings).await;
    let backend = BackEnd::new(&server, "backend").await;
    let (mut link, _) = backend.comes(&server, "archive", false).await;
    link.subscribes("site/#", 1).await;
    drop(link);
    until("it expires", async || server.metric("mdm_sessions_expired_total").await == 1.0).await;
    assert_eq!(server.metric("mdm_persistent_sessions").await, 0.0);
    let connect = service_connect(&backend.name, &backend.password, "archive", false);
    assert!(!Link::plain(&server, &connect).await.session_present);
}
