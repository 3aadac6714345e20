//! Who gets in, as what, where.

use serde_json::json;

use super::{Desk, PARIS, World, input};
use crate::support::{Server, enrollment, enrollment::Http};

#[tokio::test]
async fn an_administrator_works_with_all_entities_or_with_one() {
    let world = World::new().await;
    let mut desk = Desk::of(&world.server).await;
    let full = desk.ask("GET", "/getFullSession", None).await.body;
    assert_eq!(full["session"]["glpiactiveprofile"]["name"], "Super-Admin", "{full}");
    assert_eq!(full["session"]["glpiactiveentities"], json!({"0": "0", "47": "47", "69": "69", "76": "76"}));
    for path in ["/getMyProfiles", "/getActiveProfile", "/getMyEntities", "/getActiveEntities"] {
        desk.get(path).await;
    }
    desk.notes("POST", "/changeActiveEntities", Some(json!({"entities_id": PARIS, "is_recursive": true}))).await;
    desk.get("/getActiveEntities").await;
    desk.get("/search/PluginFlyvemdmFleet?forcedisplay=80").await;
    desk.notes("POST", "/changeActiveEntities", Some(json!({"entities_id": PARIS}))).await;
    desk.get("/getActiveEntities").await;
    desk.get("/search/PluginFlyvemdmFleet?forcedisplay=80").await;
    desk.notes("POST", "/changeActiveEntities", Some(json!({"entities_id": 4711}))).await;
    desk.notes("POST", "/changeActiveEntities", Some(json!({"entities_id": "all"}))).await;
    desk.get("/search/PluginFlyvemdmFleet?forcedisplay=80").await;
    insta::assert_snapshot!(desk.transcript());
}

#[tokio::test]
async fn people_log_in_with_a_password_or_a_token_of_their_own() {
    let world = World::new().await;
    let server = &world.server;
    let file = server.data_dir().join("password.txt");
    std::fs::write(&file, "correct horse battery\n").unwrap();
    let words = ["user", "add", "ann", "--email", "ann@example.org", "--profile", "operator", "--entity", "76"];
    let made = server.cli(&[&words[..], &["--password-file", file.to_str().unwrap()]].concat()).await;
    assert_eq!(made["has_password"], true);
    assert!(!made.to_string().contains("horse"), "{made}");
    let http = Http::of(server);
    let log_in = async |login: &str, password: &str| {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{login}:{password}"));
        let request = reqwest::Client::new().get(format!("{}/initSession", http.base));
        let response = request.header("Authorization", format!("Basic {text}")).send().await.unwrap();
        (response.status().as_u16(), response.json::<serde_json::Value>().await.unwrap())
    };
    let wrong = (401, json!(["ERROR_GLPI_LOGIN", "Incorrect username or password"]));
    assert_eq!(log_in("ann", "wrong horse battery").await, wrong);
    assert_eq!(log_in("nobody", "correct horse battery").await, wrong);
    assert_eq!(log_in("ann@example.org", "correct horse battery").await, wrong, "the login name counts");
    let (status, opened) = log_in("ann", "correct horse battery").await;
    assert_eq!(status, 200, "{opened}");
    let session = opened["session_token"].as_str().unwrap();
    let (_, active) = http.get("/getActiveProfile", session).await;
    assert_eq!(
        active["active_profile"],
        json!({"id": 3, "name": "Admin", "entities": [{"id": 76, "name": "Paris", "is_recursive": 1}]})
    );
    assert_eq!(http.get("/PluginFlyvemdmAgent", session).await.0, 200);

    // Rights that are taken away are away at once, and so is a person.
    server.cli(&["user", "change", "ann", "--profile", "viewer", "--entity", "69"]).await;
    server.cli(&["user", "change", "ann", "--take", "operator", "--entity", "76"]).await;
    assert_eq!(http.get("/getActiveProfile", session).await.1["active_profile"]["id"], 9, "a guest is left");
    assert_eq!(http.get("/PluginFlyvemdmFleet", session).await.0, 401);
    assert_eq!(http.get("/changeActiveProfile?profiles_id=8", session).await.0, 200);
    assert_eq!(http.get("/changeActiveProfile?profiles_id=4", session).await.0, 404);
    assert_eq!(http.get("/PluginFlyvemdmFleet", session).await.0, 200);
    server.cli(&["user", "change", "ann", "--disable"]).await;
    assert_eq!(http.get("/PluginFlyvemdmFleet", session).await.0, 401);
    assert_eq!(log_in("ann", "correct horse battery").await, wrong);
    server.cli(&["user", "change", "ann", "--enable"]).await;

    let token = server.cli(&["user", "token", "ann"]).await["user_token"].as_str().unwrap().to_owned();
    let session = http.session(&token).await;
    assert_eq!(http.get("/getActiveProfile", &session).await.1["active_profile"]["id"], 8);
    server.cli(&["user", "token", "ann", "--revoke"]).await;
    assert_eq!(http.get("/getActiveProfile", &session).await.0, 401);
    assert_eq!(http.get(&format!("/initSession?user_token={token}"), "").await.0, 401);
    server.cli(&["user", "remove", "ann"]).await;
    assert!(!server.cli(&["user", "list"]).await.to_string().contains("ann@example.org"));
}

#[tokio::test]
async fn a_deeplink_makes_a_guest_even_of_an_administrator() {
    let server = Server::start().await;
    server.cli(&["user", "add", "boss", "--email", "boss@example.com", "--profile", "administrator"]).await;
    let invitation = enrollment::invite(&server, "BOSS", 0).await;
    assert_eq!(invitation.email, "boss@example.com");
    let http = Http::of(&server);
    let session = http.session(&invitation.user_token).await;
    assert_eq!(http.get("/getFullSession", &session).await.1["glpiactiveprofile"]["id"], 9);
    assert_eq!(http.get("/changeActiveProfile?profiles_id=4", &session).await.0, 404, "the link travels by mail");
    assert_eq!(http.get("/PluginFlyvemdmFleet", &session).await.0, 401);
    let phone = enrollment::enroll_with(&server, "BOSS", &enrollment::Profile::android(), &invitation).await;
    assert_eq!(phone.topic, "0/agent/BOSS");
}

#[tokio::test]
async fn everybody_changes_own_names_and_phones_and_who_works_here_own_addresses_and_nothing_else() {
    let server = Server::start().await;
    let invitation = enrollment::invite(&server, "AZERTY", 0).await;
    let phone = enrollment::enroll_with(&server, "AZERTY", &enrollment::Profile::android(), &invitation).await;
    let other = enrollment::invite(&server, "QWERTY", 0).await;
    let person = phone.settings["users_id"].as_i64().unwrap();
    let path = format!("/User/{person}");
    // Whatever the owner may do, the device and the link in the mail are for a guest.
    server.cli(&["user", "change", &invitation.email, "--profile", "administrator"]).await;
    let names = json!({
        "firstname": "new firstname", "realname": "new realname", "phone": "0123456789", "phone2": "0987654321",
    });
    // The seed's example, but for the comma that no JSON has.
    let mut seed = names.clone();
    seed["_useremails"] = json!({"0": "email1@example.com", "1": "email2@example.com"});
    seed["_default_email"] = json!("1");
    for token in [&invitation.user_token, phone.settings["api_token"].as_str().unwrap()] {
        let mut desk = Desk::with_token(&server, token).await;
        let said = desk.notes("PUT", &path, input(names.clone())).await;
        assert_eq!(said.status, 200, "{said:?}");
        desk.notes("PUT", &path, input(seed.clone())).await;
        desk.notes("PUT", &path, input(json!({"_useremails": ["evil@example.com"]}))).await;
        desk.notes("PUT", &path, input(json!({"_default_email": "evil@example.com"}))).await;
        desk.notes("PUT", &path, input(json!({"name": "root"}))).await;
        desk.notes("PUT", &path, input(json!({"firstname": "x", "_profiles_id": 4}))).await;
        desk.notes("PUT", &format!("/User/{}", person + 1), input(json!({"firstname": "x"}))).await;
        desk.notes("PUT", "/User/99", input(json!({"firstname": "x"}))).await;
        desk.notes("DELETE", &path, None).await;
        insta::assert_snapshot!("own_person", desk.transcript());
    }
    let shown = server.cli(&["user", "show", &invitation.email]).await;
    assert_eq!((&shown["firstname"], &shown["emails"]), (&json!("new firstname"), &json!([])));

    let desk = Desk::with_profile(&server, "vic", "viewer", 0).await;
    let path = format!("/User/{}", server.cli(&["user", "show", "vic"]).await["id"]);
    for (wish, status) in [
        (seed, 200),
        (json!({"_useremails": [other.email]}), 400),
        (json!({"_useremails": ["no address"]}), 400),
        (json!({"name": "root"}), 401),
    ] {
        let said = desk.ask("PUT", &path, input(wish.clone())).await;
        assert_eq!(said.status, status, "{wish} {said:?}");
    }
    let shown = server.cli(&["user", "show", "vic"]).await;
    assert_eq!(shown["email"], "email2@example.com");
    assert_eq!(shown["emails"], json!(["email1@example.com", "vic@example.org"]));
}
