//! Files and applications that people upload and remove through GLPI's API.

use serde_json::json;

use super::{Desk, PARIS, World, input};
use crate::support::contents::pattern;

#[tokio::test]
async fn files_are_uploaded_replaced_described_and_removed() {
    let world = World::new().await;
    let mut desk = Desk::with_profile(&world.server, "opa", "operator", PARIS).await;
    let viewer = Desk::with_profile(&world.server, "vic", "viewer", PARIS).await;
    // More than a request of another kind may have, and more than once around the buffers.
    let large = pattern(9 << 20);
    let manifest = json!({"input": {"name": "map.bin", "comment": "of the town", "entities_id": PARIS}});
    let id =
        desk.uploads("POST", "/PluginFlyvemdmFile", manifest, Some(("upload.bin", &large))).await.body["id"].clone();
    let path = format!("/PluginFlyvemdmFile/{id}");
    let shown = desk.ask("GET", &path, None).await.body;
    assert_eq!((&shown["name"], &shown["entities_id"], &shown["version"]), (&json!("map.bin"), &json!(76), &json!(1)));
    assert_eq!((&shown["comment"], &shown["filesize"]), (&json!("of the town"), &json!(large.len())));
    assert!(desk.content(&path).await == (200, large), "the content comes back whole");
    desk.uploads("PUT", &path, json!({}), Some(("upload.bin", b"second"))).await;
    assert_eq!(viewer.content(&path).await, (200, b"second".to_vec()));
    desk.notes("PUT", &path, input(json!({"comment": "of the village"}))).await;
    let shown = desk.ask("GET", &path, None).await.body;
    assert_eq!((&shown["version"], &shown["comment"]), (&json!(2), &json!("of the village")));

    desk.uploads("POST", "/PluginFlyvemdmFile", json!({}), None).await;
    desk.uploads("POST", "/PluginFlyvemdmFile", json!({"input": {"entities_id": 47}}), Some(("a.txt", b"x"))).await;
    desk.uploads("POST", "/PluginFlyvemdmFile", json!({}), Some(("..", b"x"))).await;
    desk.uploads("POST", "/PluginFlyvemdmPackage", json!({}), Some(("a.txt", b"x"))).await;
    desk.uploads("PUT", "/PluginFlyvemdmFile/999", json!({}), Some(("a.txt", b"x"))).await;
    desk.notes("POST", "/PluginFlyvemdmFile", input(json!({"name": "x"}))).await;
    let mut viewer = viewer;
    let said = viewer.uploads("POST", "/PluginFlyvemdmFile", json!({}), Some(("a.txt", b"x"))).await;
    assert_eq!(said.status, 401, "{said:?}");
    assert_eq!(viewer.ask("DELETE", &path, None).await.status, 401);
    let names = desk.ask("GET", "/search/PluginFlyvemdmFile", None).await.body;
    assert_eq!(names["totalcount"], 1, "what was refused is not there: {names}");
    desk.notes("DELETE", &path, None).await;
    desk.notes("DELETE", &path, None).await;
    insta::assert_snapshot!(desk.transcript());
}
