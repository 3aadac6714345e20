//! Making, changing and removing items of every type that people may change.

use serde_json::json;

use super::{Desk, PARIS, World, input};
use crate::support::{enrollment, server::rows};

#[tokio::test]
async fn fleets_are_made_renamed_and_removed_one_or_many() {
    let world = World::new().await;
    let mut desk = Desk::of(&world.server).await;
    desk.notes("POST", "/PluginFlyvemdmFleet", input(json!({"name": "Trucks", "entities_id": PARIS}))).await;
    let id = desk.notes("POST", "/PluginFlyvemdmFleet", input(json!({"name": "Root"}))).await.body["id"].clone();
    desk.notes("POST", "/PluginFlyvemdmFleet", input(json!({"name": "Trucks", "entities_id": "76"}))).await;
    desk.notes("POST", "/PluginFlyvemdmFleet", input(json!({"name": "", "entities_id": 76}))).await;
    desk.notes("POST", "/PluginFlyvemdmFleet", input(json!({"name": "x", "entities_id": 4711}))).await;
    desk.notes("POST", "/PluginFlyvemdmFleet", input(json!([{"name": "One"}, {"name": "Two"}]))).await;
    desk.notes("POST", "/PluginFlyvemdmFleet", input(json!([{"name": "One"}, {"name": "Three"}]))).await;
    desk.notes("POST", "/PluginFlyvemdmFleet", input(json!([{"name": "One"}, {"name": "Two"}]))).await;
    desk.notes("POST", "/PluginFlyvemdmFleet", None).await;
    desk.notes("PUT", &format!("/PluginFlyvemdmFleet/{id}"), input(json!({"name": "Base", "is_default": 1}))).await;
    desk.notes("PUT", &format!("/PluginFlyvemdmFleet/{id}"), input(json!({"name": "Base", "is_default": 0}))).await;
    desk.get(&format!("/PluginFlyvemdmFleet/{id}")).await;
    desk.notes("DELETE", "/PluginFlyvemdmFleet/1", None).await;
    desk.notes("DELETE", &format!("/PluginFlyvemdmFleet/{id}"), None).await;
    desk.notes("DELETE", &format!("/PluginFlyvemdmFleet/{id}"), None).await;
    insta::assert_snapshot!(desk.transcript());
}

#[tokio::test]
async fn entities_and_paths_are_made_changed_and_removed() {
    let world = World::new().await;
    let mut desk = Desk::of(&world.server).await;
    let id = desk.notes("POST", "/Entity", input(json!({"name": "Nice", "entities_id": 76}))).await.body["id"].clone();
    desk.notes("PUT", &format!("/Entity/{id}"), input(json!({"name": "Cannes", "entities_id": 69}))).await;
    desk.get(&format!("/Entity/{id}")).await;
    desk.notes("PUT", "/Entity/76", input(json!({"entities_id": 69}))).await;
    desk.notes("DELETE", "/Entity/76", None).await;
    desk.notes("DELETE", &format!("/Entity/{id}"), None).await;
    desk.get("/Entity/0").await;
    let id =
        desk.notes("POST", "/PluginFlyvemdmWellKnownPath", input(json!({"name": "%APPS%"}))).await.body["id"].clone();
    desk.notes("POST", "/PluginFlyvemdmWellKnownPath", input(json!({"name": "%SDCARD%"}))).await;
    let path = format!("/PluginFlyvemdmWellKnownPath/{id}");
    desk.notes("PUT", &path, input(json!({"comment": "Programs", "is_default": 1}))).await;
    desk.get("/PluginFlyvemdmWellKnownPath").await;
    desk.notes("DELETE", &path, None).await;
    desk.notes("PUT", "/PluginFlyvemdmWellKnownPath/1", input(json!({"is_default": "1"}))).await;
    desk.notes("DELETE", &path, None).await;
    let paris = Desk::with_profile(&world.server, "pat", "administrator", PARIS).await;
    let said = paris.ask("PUT", "/PluginFlyvemdmWellKnownPath/1", input(json!({"comment": "mine"}))).await;
    assert_eq!(said.status, 401, "paths are everybody's: {said:?}");
    insta::assert_snapshot!(desk.transcript());
}

#[tokio::test]
async fn users_are_made_changed_and_removed_within_the_own_entities() {
    let world = World::new().await;
    let server = &world.server;
    let mut root = Desk::of(server).await;
    let mut paris = Desk::with_profile(server, "pat", "administrator", PARIS).await;
    let ann = json!({"name": "ann", "realname": "Lee", "_useremails": ["ann@example.org"], "password": "correct horse battery"});
    let id = paris.notes("POST", "/User", input(ann)).await.body["id"].clone();
    paris.notes("POST", "/User", input(json!({"name": "ann", "_useremails": ["other@example.org"]}))).await;
    paris
        .notes("POST", "/User", input(json!({"name": "bob@example.org", "_profiles_id": 3, "_entities_id": 69})))
        .await;
    paris.notes("POST", "/User", input(json!({"name": "eve@example.org", "_profiles_id": 4, "_entities_id": 0}))).await;
    paris.notes("POST", "/User", input(json!({"name": "eve@example.org", "_profiles_id": 10}))).await;
    paris
        .notes("POST", "/User", input(json!({"name": "eve", "password": "short", "_useremails": "eve@example.org"})))
        .await;
    paris.notes("POST", "/User", input(json!({"name": "eve"}))).await;
    let path = format!("/User/{id}");
    paris.notes("PUT", &path, input(json!({"phone": "0123", "_profiles_id": 8, "_is_recursive": 1}))).await;
    paris.get(&format!("{path}?get_hateoas=0")).await;
    // Whoever also works elsewhere is out of reach, and nobody removes himself.
    let said = root.notes("PUT", &path, input(json!({"_profiles_id": 8, "_entities_id": 47}))).await;
    assert_eq!(said.status, 200);
    paris.notes("PUT", &path, input(json!({"password": "another horse battery"}))).await;
    paris.notes("DELETE", &path, None).await;
    let own = server.cli(&["user", "show", "pat"]).await["id"].clone();
    paris.notes("DELETE", &format!("/User/{own}"), None).await;
    root.notes("DELETE", &path, None).await;
    root.notes("DELETE", &path, None).await;
    let said = paris.transcript() + &root.transcript();
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn invitations_are_made_and_taken_back() {
    let world = World::new().await;
    let mut desk = Desk::with_profile(&world.server, "opa", "operator", PARIS).await;
    let made = desk.notes("POST", "/PluginFlyvemdmInvitation", input(json!({"_useremails": "new@example.org"}))).await;
    let id = made.body["id"].clone();
    let person = desk.get(&format!("/PluginFlyvemdmInvitation/{id}?get_hateoas=0")).await.body["users_id"].clone();
    let again = json!({"users_id": person, "entities_id": 69});
    desk.notes("POST", "/PluginFlyvemdmInvitation", input(again)).await;
    desk.notes("POST", "/PluginFlyvemdmInvitation", input(json!({"_useremails": "nobody"}))).await;
    desk.notes("POST", "/PluginFlyvemdmInvitation", input(json!({"users_id": 999}))).await;
    desk.notes("POST", "/PluginFlyvemdmInvitation", input(json!({"users_id": person, "entities_id": 47}))).await;
    desk.notes("POST", "/PluginFlyvemdmInvitation", input(json!({}))).await;
    desk.notes("PUT", &format!("/PluginFlyvemdmInvitation/{id}"), input(json!({"_notify": 1}))).await;
    desk.get(&format!("/User/{person}/PluginFlyvemdmInvitation?get_hateoas=0")).await;
    desk.notes("DELETE", &format!("/PluginFlyvemdmInvitation/{id}"), None).await;
    desk.get(&format!("/PluginFlyvemdmInvitation/{id}")).await;
    insta::assert_snapshot!(desk.transcript());
}

#[tokio::test]
async fn settings_of_entities_are_inherited_and_marked() {
    let world = World::with(&[
        ("MDMQ_ENROLLMENT__SUPPORT_NAME", "Everybody's desk"),
        ("MDMQ_ENROLLMENT__EXPLAIN_REFUSALS", "true"),
    ])
    .await;
    let mut desk = Desk::of(&world.server).await;
    desk.get("/PluginFlyvemdmEntityConfig/69").await;
    let own =
        json!({"support_name": "Paris desk", "support_phone": "0123", "agent_token_life": "P30D", "device_limit": "5"});
    desk.notes("PUT", "/PluginFlyvemdmEntityConfig/76", input(own)).await;
    let same = json!({"support_name": "Paris desk", "support_phone": "0456"});
    desk.notes("PUT", "/PluginFlyvemdmEntityConfig/69", input(same)).await;
    desk.get("/PluginFlyvemdmEntityConfig/76").await;
    desk.get("/PluginFlyvemdmEntityConfig/69").await;
    desk.notes("PUT", "/PluginFlyvemdmEntityConfig/69", input(json!({"support_phone": ""}))).await;
    desk.notes("PUT", "/PluginFlyvemdmEntityConfig/69", input(json!({"agent_token_life": "P181D"}))).await;
    desk.notes("PUT", "/PluginFlyvemdmEntityConfig/69", input(json!({"device_limit": -1}))).await;
    desk.notes("PUT", "/PluginFlyvemdmEntityConfig/69", input(json!({"enroll_token": "x"}))).await;
    desk.notes("PUT", "/PluginFlyvemdmEntityConfig/4711", input(json!({"support_phone": ""}))).await;
    desk.get("/PluginFlyvemdmEntityConfig/0").await;
    // A list says the same as each of its items alone, also of what comes from outside the list.
    let list = desk.get("/PluginFlyvemdmEntityConfig").await.body;
    for item in rows(&list) {
        let alone = desk.ask("GET", &format!("/PluginFlyvemdmEntityConfig/{}", item["id"]), None).await.body;
        assert_eq!(item, &alone);
    }
    let lyon = Desk::with_profile(&world.server, "lea", "viewer", 69).await;
    let below = lyon.ask("GET", "/PluginFlyvemdmEntityConfig", None).await.body;
    assert_eq!((rows(&below).len(), &below[0]["support_name"]), (1, &json!("Paris desk")), "{below}");
    let agent = Desk::with_token(&world.server, world.lyon.settings["api_token"].as_str().unwrap()).await;
    let seen = agent.ask("GET", "/PluginFlyvemdmEntityConfig/69", None).await;
    assert_eq!((seen.status, &seen.body["_support_name"], &seen.body["_support_phone"]), (200, &json!(-2), &json!(-2)));
    assert_eq!((&seen.body["support_name"], &seen.body["support_phone"]), (&json!("Paris desk"), &json!("0123")));
    // The limit holds at the next enrollment.
    desk.notes("PUT", "/PluginFlyvemdmEntityConfig/69", input(json!({"device_limit": 1}))).await;
    let invitation = enrollment::invite(&world.server, "LYON2", 69).await;
    let guest = Desk::with_token(&world.server, &invitation.user_token).await;
    let profile = enrollment::Profile { entity: 69, ..enrollment::Profile::android() };
    let enrolls = input(enrollment::enrollment_input("LYON2", &profile, &invitation));
    let said = guest.ask("POST", "/PluginFlyvemdmAgent", enrolls.clone()).await;
    assert_eq!((said.status, &said.body[1]), (400, &json!("Too many devices")));
    desk.notes("PUT", "/PluginFlyvemdmEntityConfig/69", input(json!({"device_limit": 2}))).await;
    let said = guest.ask("POST", "/PluginFlyvemdmAgent", enrolls).await;
    assert_eq!(said.status, 200, "{said:?}");
    assert_eq!(agent.ask("GET", "/PluginFlyvemdmEntityConfig/76", None).await.status, 401);
    assert_eq!(
        agent.ask("PUT", "/PluginFlyvemdmEntityConfig/69", input(json!({"support_phone": "1"}))).await.status,
        401
    );
    insta::assert_snapshot!(desk.transcript());
}

#[tokio::test]
async fn tasks_are_given_changed_and_taken_back() {
    let mut world = World::new().await;
    world.paris.comes_up(&world.server).await;
    let mut desk = Desk::with_profile(&world.server, "opa", "operator", PARIS).await;
    desk.get("/search/PluginFlyvemdmPolicy?uid_cols=true&forcedisplay[0]=2&forcedisplay[1]=3&forcedisplay[2]=4&forcedisplay[3]=5&range=0-1").await;
    let found = "/search/PluginFlyvemdmPolicy?forcedisplay=9&criteria[0][field]=9&criteria[0][searchtype]=equals&criteria[0][value]=";
    let wifi = desk.ask("GET", &format!("{found}disableWifi"), None).await.body["data"][0]["2"].clone();
    desk.get(&format!("/PluginFlyvemdmPolicy/{wifi}")).await;
    desk.get("/PluginFlyvemdmPolicyCategory?sort=id&range=0-2").await;
    let agent = super::id_of(&world.paris);
    let task = |members: serde_json::Value| {
        let mut task = json!({"plugin_flyvemdm_policies_id": wifi, "itemtype_applied": "PluginFlyvemdmAgent", "items_id_applied": agent, "value": "1"});
        members.as_object().unwrap().iter().for_each(|(name, value)| task[name] = value.clone());
        input(task)
    };
    let id = desk.notes("POST", "/PluginFlyvemdmTask", task(json!({}))).await.body["id"].clone();
    let heard = world.paris.hears(&format!("Policy/disableWifi/Task/{id}")).await;
    assert!(heard.payload.contains("disableWifi"), "{heard:?}");
    for wrong in [
        json!({}),
        json!({"value": "2"}),
        json!({"plugin_flyvemdm_policies_id": 4711}),
        json!({"itemtype_applied": "Computer"}),
        json!({"items_id_applied": 999}),
        json!({"itemtype_applied": "PluginFlyvemdmFleet", "items_id_applied": 1}),
        json!({"items_id_applied": null}),
        json!({"value": "2", "items_id_applied": 999}),
        json!({"plugin_flyvemdm_policies_id": 1, "value": {}, "itemtype": "PluginFlyvemdmPackage", "items_id": 999}),
        json!({"plugin_flyvemdm_policies_id": 1, "value": {"remove_on_delete": 1}, "itemtype": "PluginFlyvemdmPackage", "items_id": 999}),
    ] {
        desk.notes("POST", "/PluginFlyvemdmTask", task(wrong)).await;
    }
    desk.notes("PUT", &format!("/PluginFlyvemdmTask/{id}"), input(json!({"value": "0"}))).await;
    world.paris.hears(&format!("Policy/disableWifi/Task/{id}")).await;
    desk.get(&format!("/PluginFlyvemdmTask/{id}")).await;
    desk.get(&format!("/PluginFlyvemdmAgent/{agent}/PluginFlyvemdmTask?get_hateoas=0")).await;
    desk.get(&format!("/PluginFlyvemdmTask/{id}/PluginFlyvemdmTaskstatus?get_hateoas=0")).await;
    desk.get("/search/PluginFlyvemdmTaskstatus?forcedisplay[]=5&forcedisplay[]=6&forcedisplay[]=7").await;
    desk.get("/search/PluginFlyvemdmAgent?criteria[0][field]=18&criteria[0][searchtype]=contains&criteria[0][value]=wifi&forcedisplay=18").await;
    desk.notes("DELETE", &format!("/PluginFlyvemdmTask/{id}"), None).await;
    desk.get("/search/PluginFlyvemdmTask").await;
    insta::assert_snapshot!(desk.transcript());
}
