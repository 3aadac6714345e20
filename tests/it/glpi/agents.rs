//! Agents: asked, moved, locked, wiped, unenrolled and deleted, as a dashboard does it.

use serde_json::json;

use super::{Desk, OSLO, PARIS, World, id_of, input};
use crate::support::enrollment;

#[tokio::test]
async fn a_request_waits_for_the_answer_of_the_device() {
    let mut world = World::new().await;
    world.paris.comes_up(&world.server).await;
    let mut desk = Desk::of(&world.server).await;
    let path = format!("/PluginFlyvemdmAgent/{}", id_of(&world.paris));
    let phone = &mut world.paris;
    for (names, topic, report, payload) in [
        (["_ping_request", "_ping"], "Command/Ping", "Status/Ping", "!".to_owned()),
        (
            ["_geolocate_request", "_geolocate"],
            "Command/Geolocate",
            "Status/Geolocation",
            r#"{"latitude":10.2,"longitude":-67.5,"datetime":1499364642}"#.to_owned(),
        ),
        (
            ["_inventory_request", "_inventory"],
            "Command/Inventory",
            "Status/Inventory",
            enrollment::inventory_xml("PARIS1"),
        ),
    ] {
        for name in names {
            let asked = desk.notes("PUT", &path, input(json!({name: ""})));
            let answers = async {
                phone.hears(topic).await;
                phone.says(report, &payload).await;
            };
            let (said, ()) = tokio::join!(asked, answers);
            assert_eq!(said.status, 200, "{said:?}");
        }
    }
    let asked = desk.notes("PUT", &path, input(json!({"_geolocate": ""})));
    let answers = async {
        phone.hears("Command/Geolocate").await;
        phone.says("Status/Geolocation", r#"{"gps":"off","datetime":1499364643}"#).await;
    };
    let (said, ()) = tokio::join!(asked, answers);
    assert_eq!(said.status, 400, "{said:?}");
    desk.get("/Computer/1/PluginFlyvemdmGeolocation?get_hateoas=0").await;
    insta::assert_snapshot!(desk.transcript());
}

#[tokio::test]
async fn a_device_that_does_not_answer_is_told_of() {
    let world = World::with(&[("MDMQ_COMMANDS__ANSWER_WAIT_S", "1")]).await;
    let mut desk = Desk::of(&world.server).await;
    let path = format!("/PluginFlyvemdmAgent/{}", id_of(&world.paris));
    for name in ["_ping_request", "_geolocate_request", "_inventory_request"] {
        desk.notes("PUT", &path, input(json!({name: 1}))).await;
    }
    insta::assert_snapshot!(desk.transcript());
}

#[tokio::test]
async fn wishes_reach_the_device_and_show_in_the_item() {
    let mut world = World::new().await;
    world.paris.comes_up(&world.server).await;
    let mut desk = Desk::with_profile(&world.server, "opa", "operator", PARIS).await;
    let path = format!("/PluginFlyvemdmAgent/{}", id_of(&world.paris));
    // A dashboard sends the number as text.
    desk.notes("PUT", &path, input(json!({"lock": "1"}))).await;
    assert_eq!(world.paris.hears("Command/Lock").await.payload, r#"{"lock":"now"}"#);
    desk.notes("PUT", &path, input(json!({"lock": "1"}))).await;
    desk.notes("PATCH", &path, input(json!({"lock": 0}))).await;
    assert_eq!(world.paris.hears("Command/Lock").await.payload, r#"{"lock":"unlock"}"#);
    desk.notes("PUT", &path, input(json!({"lock": 0}))).await;
    desk.notes("PUT", &path, input(json!({"plugin_flyvemdm_fleets_id": 4}))).await;
    let sales = desk
        .ask(
            "GET",
            "/search/PluginFlyvemdmFleet?criteria[0][field]=1&criteria[0][searchtype]=equals&criteria[0][value]=Sales",
            None,
        )
        .await;
    let sales = &sales.body["data"][0]["2"];
    desk.notes(
        "PUT",
        "/PluginFlyvemdmAgent",
        input(json!({"id": id_of(&world.paris), "plugin_flyvemdm_fleets_id": sales})),
    )
    .await;
    let subscribe = world.paris.hears("Command/Subscribe").await.payload;
    assert!(subscribe.contains(&format!("76/fleet/{sales}")) || subscribe.contains("null"), "{subscribe}");
    desk.notes("PUT", &path, input(json!({"plugin_flyvemdm_fleets_id": 999}))).await;
    desk.notes("PUT", &path, input(json!({"wipe": "1", "lock": 1}))).await;
    assert_eq!(world.paris.hears("Command/Wipe").await.payload, r#"{"wipe":"now"}"#);
    desk.notes("PUT", &path, input(json!({"lock": 1, "enroll_status": "unenrolled", "is_online": 0}))).await;
    desk.notes("PUT", &path, input(json!({"wipe": 0}))).await;
    desk.notes("PUT", &path, input(json!({"_unenroll": ""}))).await;
    assert_eq!(world.paris.hears("Command/Unenroll").await.payload, r#"{"unenroll":"now"}"#);
    desk.get(&path).await;
    desk.notes("DELETE", &path, None).await;
    insta::assert_snapshot!(desk.transcript());
}

#[tokio::test]
async fn many_agents_are_changed_at_once_and_each_says_what_became_of_it() {
    let world = World::new().await;
    let mut desk = Desk::of(&world.server).await;
    let (paris, lyon) = (id_of(&world.paris), id_of(&world.lyon));
    desk.notes("PUT", "/PluginFlyvemdmAgent", input(json!([{"id": paris, "lock": 1}, {"id": 999, "lock": 1}]))).await;
    desk.notes("PUT", "/PluginFlyvemdmAgent", input(json!([{"id": 998, "lock": 1}, {"id": 999, "lock": 1}]))).await;
    desk.notes("PUT", "/PluginFlyvemdmAgent", input(json!([{"id": paris, "lock": 0}, {"id": lyon, "lock": 1}]))).await;
    desk.notes("PUT", "/PluginFlyvemdmAgent", input(json!([{"lock": 1}]))).await;
    desk.notes("PUT", "/PluginFlyvemdmAgent", input(json!([]))).await;
    desk.notes("PUT", "/PluginFlyvemdmAgent", input(json!([1]))).await;
    desk.notes("PUT", "/PluginFlyvemdmAgent", Some(json!({"input": "x"}))).await;
    desk.notes("PUT", "/PluginFlyvemdmAgent/999", input(json!({"lock": 1}))).await;
    desk.notes("POST", "/PluginFlyvemdmAgent", input(json!({"name": "x"}))).await;
    desk.notes("DELETE", "/PluginFlyvemdmAgent", input(json!([{"id": paris}, {"id": 999}]))).await;
    desk.notes("DELETE", &format!("/PluginFlyvemdmAgent/{lyon}?force_purge=true"), None).await;
    desk.notes("DELETE", &format!("/PluginFlyvemdmAgent/{lyon}"), None).await;
    desk.get("/search/PluginFlyvemdmAgent").await;
    // The computers are left, and are removed by hand.
    desk.notes("DELETE", "/Computer", input(json!([{"id": 1}, {"id": 2}]))).await;
    let of_oslo = Desk::with_profile(&world.server, "ole", "administrator", OSLO).await;
    let said = of_oslo.ask("PUT", "/PluginFlyvemdmFleet/2", input(json!({"name": "x"}))).await;
    assert_eq!(said.status, 401, "{said:?}");
    insta::assert_snapshot!(desk.transcript());
}

/// What the dashboard of Flyve sends, read from its sources: forms of requests, not their order.
#[tokio::test]
async fn a_dashboard_finds_what_it_asks_for() {
    let world = World::new().await;
    let mut desk = Desk::of(&world.server).await;
    let agent = id_of(&world.paris);
    for path in [
        "/search/PluginFlyvemdmAgent?uid_cols=true&forcedisplay[0]=2&forcedisplay[1]=3&forcedisplay[2]=4&forcedisplay[3]=12&order=ASC&range=0-14".to_owned(),
        "/search/PluginFlyvemdmAgent?criteria[0][link]=and&criteria[0][field]=3&criteria[0][searchtype]=contains&criteria[0][value]=not managed".to_owned(),
        "/search/PluginFlyvemdmInvitation?uid_cols=true&forcedisplay[0]=1&forcedisplay[1]=2&forcedisplay[2]=3&order=ASC&range=0-14".to_owned(),
        "/search/PluginFlyvemdmInvitation?criteria[0][field]=3&criteria[0][searchtype]=contains&criteria[0][value]=pending".to_owned(),
        "/search/PluginFlyvemdmFleet?uid_cols=true&forcedisplay[0]=2&order=ASC&range=0-14".to_owned(),
        "/search/PluginFlyvemdmFile?uid_cols=true&forcedisplay[0]=1&forcedisplay[1]=2&forcedisplay[2]=3&order=ASC&range=0-14".to_owned(),
        "/search/PluginFlyvemdmPackage?uid_cols=true&forcedisplay[0]=1&forcedisplay[1]=2&forcedisplay[2]=3&forcedisplay[3]=4&forcedisplay[4]=5&forcedisplay[5]=6&order=ASC&range=0-14".to_owned(),
        "/search/PluginFlyvemdmInvitationlog?uid_cols=true&forcedisplay[0]=1&forcedisplay[1]=4&forcedisplay[2]=5".to_owned(),
        "/search/User?uid_cols=true&forcedisplay[0]=2&forcedisplay[1]=1&forcedisplay[2]=34&forcedisplay[3]=5".to_owned(),
        "/search/Computer?forcedisplay[0]=45&forcedisplay[1]=46".to_owned(),
        format!("/PluginFlyvemdmAgent/{agent}"),
        "/PluginFlyvemdmFleet".to_owned(),
        "/Computer/1?expand_dropdowns=true".to_owned(),
        "/User/1/UserEmail".to_owned(),
        "/PluginFlyvemdmGeolocation?searchText[computers_id]=1".to_owned(),
    ] {
        let said = desk.get(&path).await;
        assert!(matches!(said.status, 200 | 206), "{path}: {said:?}");
    }
    insta::assert_snapshot!(desk.transcript());
}
