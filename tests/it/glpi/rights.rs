//! Each profile may do what the table says, and nothing else; and what there is, is described.

use std::fmt::Write;

use serde_json::json;

use super::{Desk, PARIS, World, input};
use crate::support::{Server, enrollment::Http};

#[tokio::test]
async fn the_table_of_rights_holds() {
    let world = World::new().await;
    let server = &world.server;
    let mut table = String::new();
    let guest = Desk::with_profile(server, "gus", "guest", 0).await;
    let viewer = Desk::with_profile(server, "vic", "viewer", 0).await;
    let operator = Desk::with_profile(server, "opa", "operator", 0).await;
    let administrator = Desk::with_profile(server, "adam", "administrator", 0).await;
    let agent = Desk::with_token(server, world.paris.settings["api_token"].as_str().unwrap()).await;
    let types = [
        ("PluginFlyvemdmAgent", 2),
        ("PluginFlyvemdmFleet", 4),
        ("PluginFlyvemdmWellKnownPath", 4),
        ("Computer", 1),
        ("Entity", 47),
        ("User", 1),
        ("UserEmail", 101),
        ("PluginFlyvemdmEntityConfig", 76),
        ("PluginFlyvemdmInvitation", 1),
        ("PluginFlyvemdmInvitationlog", 1),
        ("PluginFlyvemdmFile", 1),
        ("PluginFlyvemdmPackage", 1),
        ("PluginFlyvemdmGeolocation", 1),
        ("PluginFlyvemdmMqttlog", 1),
        ("PluginFlyvemdmPolicy", 1),
        ("PluginFlyvemdmPolicyCategory", 1),
        ("PluginFlyvemdmTask", 1),
        ("PluginFlyvemdmTaskstatus", 1),
    ];
    for (who, desk) in [
        ("agent", &agent),
        ("guest", &guest),
        ("viewer", &viewer),
        ("operator", &operator),
        ("administrator", &administrator),
    ] {
        writeln!(table, "{who:28} read list search post put delete").unwrap();
        for (name, id) in types {
            let mut line = format!("  {name:26}");
            for (method, path, body) in [
                ("GET", format!("/{name}/{id}"), None),
                ("GET", format!("/{name}"), None),
                ("GET", format!("/search/{name}"), None),
                // Refused for what is missing in it, if the right is there.
                ("POST", format!("/{name}"), input(json!({"name": ""}))),
                ("PUT", format!("/{name}/{id}"), input(json!({}))),
                // Nothing has this number: 401 is about the right, 404 about the thing.
                ("DELETE", format!("/{name}/{id}"), None),
            ] {
                if method == "DELETE" && who == "administrator" {
                    continue;
                }
                let said = desk.ask(method, &path, body).await;
                write!(line, " {}", said.status).unwrap();
            }
            writeln!(table, "{line}").unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn nobody_gets_to_see_people_of_another_tenant_by_inviting_numbers() {
    let world = World::new().await;
    let server = &world.server;
    let words = ["user", "add", "olaf", "--email", "olaf@example.org", "--profile", "viewer", "--entity", "47"];
    let olaf = server.cli(&words).await["id"].as_i64().unwrap();
    let desk = Desk::with_profile(server, "anne", "administrator", PARIS).await;
    assert_eq!(desk.ask("GET", &format!("/User/{olaf}"), None).await.status, 401);
    let invites = async |id: i64| desk.ask("POST", "/PluginFlyvemdmInvitation", input(json!({"users_id": id}))).await;
    let (theirs, nobodys) = (invites(olaf).await, invites(9999).await);
    assert_eq!((theirs.status, &theirs.body), (400, &json!(["ERROR_GLPI_ADD", "Invalid data"])));
    assert_eq!(theirs.body, nobodys.body, "as if there were nobody");
    let seen = desk.ask("GET", "/User", None).await.body.to_string();
    assert!(seen.contains("anne") && !seen.contains("olaf"), "{seen}");
    let own = world.paris.settings["users_id"].as_i64().unwrap();
    assert_eq!(invites(own).await.status, 201);
}

#[tokio::test]
async fn both_listeners_serve_the_description_and_every_get_in_it_answers() {
    let server = Server::start().await;
    let (status, text) = server.page("/openapi.json").await;
    assert_eq!(status, 200);
    let admin: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (status, document) = Http::of(&server).get("/openapi.json", "").await;
    assert_eq!((status, &document), (200, &admin));
    let desk = Desk::of(&server).await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let is_admin = path.starts_with("/api/v1") || operations["get"]["tags"][0] == "monitoring";
        if operations["get"].is_null() || is_admin || path == "/killSession" {
            continue;
        }
        let path = path.replace("{id}", "0");
        let said = desk.ask("GET", &path, None).await;
        let is_known = said.body[0] != "ERROR_RESOURCE_NOT_FOUND_NOR_COMMONDBTM" && said.status != 405;
        assert!(is_known && said.status < 500, "{path}: {said:?}");
    }
}
