//! Tenants that come and go: their numbers, what keeps them, and who speaks for a device that was moved from one to another.

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Phone, Server,
    enrollment::{self, Profile},
    phone::Link,
    postgres::fresh_database,
    sqlite,
};

/// One on each database.
async fn servers() -> [Server; 2] {
    [Server::start().await, Server::with(&[("MDMQ_DATABASE__URL", &fresh_database())]).await]
}

async fn refusal(server: &Server, arguments: &[&str]) -> String {
    let said = server.cli_output(arguments).await;
    assert_eq!(said.status.code(), Some(1), "{arguments:?} {said:?}");
    String::from_utf8(said.stderr).unwrap()
}

async fn adds(server: &Server, id: Option<&str>) -> i64 {
    let words = [&["entity", "add", "Tenant"][..], &id.map_or(vec![], |it| vec!["--id", it])].concat();
    server.cli(&words).await["id"].as_i64().unwrap()
}

async fn enrolled_in(server: &Server, serial: &str, entity: i64) -> Phone {
    enrollment::enroll(server, serial, &Profile { entity, ..Profile::android() }).await
}

#[tokio::test]
async fn the_number_of_a_removed_entity_is_never_given_again() {
    for mut server in servers().await {
        assert_eq!((adds(&server, Some("2")).await, adds(&server, None).await), (2, 3));
        server.cli(&["entity", "remove", "3"]).await;
        server.restart().await;
        assert_eq!(adds(&server, None).await, 4, "3 was somebody's");
        let why = refusal(&server, &["entity", "add", "Again", "--id", "3"]).await;
        assert!(why.contains("there was an entity 3 before"), "{why}");
        assert_eq!(adds(&server, Some("9")).await, 9, "a number that nobody had is free, in front of others too");
        assert_eq!((adds(&server, Some("7")).await, adds(&server, None).await), (7, 10));
    }
}

#[tokio::test]
async fn an_entity_stays_as_long_as_a_device_elsewhere_carries_its_number() {
    let server = Server::start().await;
    adds(&server, Some("2")).await;
    adds(&server, Some("9")).await;
    enrolled_in(&server, "DEVX", 9).await;
    server.cli(&["agent", "move", "DEVX", "--to-entity", "2"]).await;
    let why = refusal(&server, &["entity", "remove", "9"]).await;
    assert!(why.contains("entity 9 still stands in the topic of DEVX, which was moved away"), "{why}");

    server.deletes("DEVX").await;
    let why = refusal(&server, &["entity", "remove", "9"]).await;
    assert!(why.contains("DEVX, which was removed and must still be told to leave"), "{why}");
    enrolled_in(&server, "OTHER", 2).await;
    assert!(refusal(&server, &["entity", "remove", "2"]).await.contains("still has agents"));
}

/// The password of a back end of one tenant.
async fn account(server: &Server, name: &str, entity: &str) -> String {
    let made = server.cli(&["account", "add", name, "--acl", "#:rw", "--entity", entity]).await;
    made["password"].as_str().unwrap().to_owned()
}

/// A back end that hears everything it may.
async fn back_end(server: &Server, name: &str, password: &str) -> Link {
    let mut link = Link::service(server, name, password).await;
    assert_eq!(link.subscribes("#", 1).await, 1);
    link
}

async fn hears_of(link: &mut Link, word: &str) -> Vec<String> {
    let heard = link.heard_so_far().await.into_iter();
    heard.filter(|it| it.topic.contains("DEVX") && it.topic.contains(word)).map(|it| it.payload).collect()
}

#[tokio::test]
async fn a_device_that_was_moved_is_spoken_to_and_heard_by_the_back_ends_of_the_entity_where_it_is() {
    let server = Server::start().await;
    for id in ["2", "9"] {
        adds(&server, Some(id)).await;
    }
    let mut phone = enrolled_in(&server, "DEVX", 9).await;
    phone.comes_up(&server).await;
    let (of_old, of_new) = (account(&server, "old", "9").await, account(&server, "new", "2").await);
    let (mut old, mut new) = (back_end(&server, "old", &of_old).await, back_end(&server, "new", &of_new).await);
    let topic = "9/agent/DEVX/Command/Lock";
    let says = async |old: &mut Link, new: &mut Link, phone: &mut Phone, reaches: &[&str]| {
        old.publishes(topic, b"of the old", 1).await;
        new.publishes_with(topic, b"of the new", 1, true).await;
        phone.says("Status/Ping", "!").await;
        let heard = hears_of(phone.link(), "Command/Lock").await;
        assert_eq!(heard, reaches);
        [hears_of(old, "Status/Ping").await.len(), hears_of(new, "Status/Ping").await.len()]
    };
    assert_eq!(says(&mut old, &mut new, &mut phone, &["of the old"]).await, [1, 0]);

    server.cli(&["agent", "move", "DEVX", "--to-entity", "2"]).await;
    old.heard_so_far().await;
    assert_eq!(says(&mut old, &mut new, &mut phone, &["of the new"]).await, [0, 1]);
    assert_eq!(hears_of(&mut old, "").await, [""; 0]);
    let mut late = back_end(&server, "old", &of_old).await;
    assert_eq!(hears_of(&mut late, "").await, [""; 0], "nothing that is for the device is kept where others find it");

    // So it is when it comes back, and when it is told to leave.
    phone.vanishes();
    phone.comes_up(&server).await;
    assert_eq!(says(&mut old, &mut new, &mut phone, &["of the new"]).await, [0, 1]);
    phone.vanishes();
    server.until_agent("DEVX", |it| it["is_online"] == false).await;
    server.deletes("DEVX").await;
    phone.comes_up(&server).await;
    phone.hears("/Command/Unenroll").await;
    old.heard_so_far().await;
    phone.says("Status/Unenroll", r#"{"unenroll": "unenrolled"}"#).await;
    new.hears("9/agent/DEVX/Status/Unenroll").await;
    assert_eq!(hears_of(&mut old, "").await, [""; 0]);
}

#[tokio::test]
async fn numbers_of_entities_that_were_removed_before_are_found_when_the_database_is_brought_up_to_date() {
    let mut server = Server::start().await;
    for id in ["2", "9", "12"] {
        adds(&server, Some(id)).await;
    }
    enrolled_in(&server, "DEVX", 9).await;
    server.cli(&["agent", "move", "DEVX", "--to-entity", "2"]).await;
    server.cli(&["entity", "remove", "12"]).await;
    assert!(server.stop().await.success());
    for undone in [
        "delete from fleet where entity_id = 9",
        "delete from invitation where entity_id = 9",
        "delete from person_profile where entity_id = 9",
        "delete from entity where entity_id = 9",
        "drop table former_entity",
        "alter table tombstone drop column entity_id",
        "delete from _sqlx_migrations where version = 8",
    ] {
        sqlite::execute(&server, undone).await;
    }
    server.start_again().await;
    for id in ["9", "12"] {
        let why = refusal(&server, &["entity", "add", "Again", "--id", id]).await;
        assert!(why.contains(&format!("there was an entity {id} before")), "{why}");
    }
    assert_eq!(adds(&server, None).await, 13);
}

#[tokio::test]
async fn no_number_of_an_entity_keeps_others_from_being_added() {
    for mut server in servers().await {
        adds(&server, Some("2147483647")).await;
        assert_eq!((adds(&server, None).await, adds(&server, None).await), (1, 2), "the next one would be too large");
        for id in ["2147483648", "9223372036854775807", "0"] {
            let why = refusal(&server, &["entity", "add", "Large", "--id", id]).await;
            assert!(why.contains("the number of an entity is 1 to 2147483647"), "{id}: {why}");
        }
        let made = server.cli(&["token", "add", "desk", "--role", "administrator", "--entity", "1"]).await;
        let asks = async |body: Value| {
            let url = format!("{}/api/v1/entities", server.admin_url());
            let request = reqwest::Client::new().post(url).bearer_auth(made["token"].as_str().unwrap());
            let response = request.json(&body).timeout(PATIENCE).send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        let (status, said) = asks(json!({"name": "Mine", "parent": 1, "id": 77})).await;
        assert!(status == 403 && said.contains("needs a token of all entities"), "{status} {said}");
        assert_eq!(asks(json!({"name": "Mine", "parent": 1})).await.0, 201);
        assert!(server.stop().await.success() && !server.log().contains("panicked"), "{}", server.log());
    }
}

#[tokio::test]
async fn a_number_from_before_there_was_a_bound_keeps_nobody_from_adding_entities() {
    let mut server = Server::start().await;
    assert!(server.stop().await.success());
    let huge = "insert into entity (entity_id, parent_id, name, created_at) values (9223372036854775807, 0, 'Huge', 0)";
    sqlite::execute(&server, huge).await;
    server.start_again().await;
    assert_eq!(adds(&server, None).await, 1);
}

#[tokio::test]
async fn an_entity_goes_with_its_guests_and_stays_for_its_staff() {
    for server in servers().await {
        adds(&server, Some("76")).await;
        enrollment::invite(&server, "GUEST", 76).await;
        let listed = server.cli(&["invitation", "list"]).await;
        let invitation = crate::support::server::rows(&listed)[0]["id"].to_string();
        server.cli(&["invitation", "remove", &invitation]).await;
        let words = ["user", "add", "vic", "--email", "vic@example.org", "--profile", "viewer", "--entity", "76"];
        server.cli(&words).await;
        let why = refusal(&server, &["entity", "remove", "76"]).await;
        assert!(why.contains("entity 76 still has people with a profile"), "{why}");
        server.cli(&["user", "change", "vic", "--take", "viewer", "--entity", "76"]).await;
        server.cli(&["entity", "remove", "76"]).await;
        let guest = server.cli(&["user", "show", "guest@example.com"]).await;
        assert!(!guest.to_string().contains("76"), "{guest}");
    }
}
