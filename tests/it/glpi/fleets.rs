//! Fleets that are seen below the entity that they belong to, and changed only there.

use serde_json::json;

use super::{Desk, LYON, OSLO, PARIS, Said, World, id_of, input};
use crate::support::{postgres::fresh_database, server::rows};

/// The fleet "Sales" of Paris in a world made by hand: the fifth, behind the default ones of four entities.
const SALES: i64 = 5;
const FIELD: i64 = 6;

fn total(said: &Said) -> i64 {
    said.body["totalcount"].as_i64().unwrap()
}

/// The numbers of the fleets in a list.
fn listed(said: &Said) -> Vec<i64> {
    rows(&said.body).iter().map(|it| it["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_recursive_fleet_is_seen_below_its_entity_and_changed_only_there() {
    let mut transcripts = Vec::new();
    for settings in [vec![], vec![("MDMQ_DATABASE__URL", fresh_database())]] {
        let settings: Vec<_> = settings.iter().map(|(key, value): &(_, String)| (*key, value.as_str())).collect();
        transcripts.push(told(&World::with(&settings).await).await);
    }
    assert_eq!(transcripts[0], transcripts[1], "both engines answer alike");
    insta::assert_snapshot!(transcripts[0]);
}

async fn told(world: &World) -> String {
    let server = &world.server;
    server.cli(&["entity", "add", "Croix-Rousse", "--id", "70", "--parent", "69"]).await;
    let mut lyon = Desk::with_profile(server, "lea", "administrator", LYON).await;
    let below = Desk::with_profile(server, "zoe", "administrator", 70).await;
    let oslo = Desk::with_profile(server, "ole", "administrator", OSLO).await;
    let paris = Desk::with_profile(server, "pat", "administrator", PARIS).await;
    let (sales, agent) = (format!("/PluginFlyvemdmFleet/{SALES}"), id_of(&world.lyon));

    // Nobody below sees what is not recursive.
    assert_eq!(lyon.get(&sales).await.status, 401);
    let own = listed(&lyon.ask("GET", "/PluginFlyvemdmFleet", None).await);
    assert!(own.contains(&FIELD) && !own.contains(&SALES), "{own:?}");
    let said = paris.ask("PUT", &sales, input(json!({"is_recursive": 1}))).await;
    assert_eq!(said.status, 200, "{said:?}");

    // From below it is there like the own ones, once; beside it is not.
    lyon.get(&sales).await;
    let seen = listed(&lyon.ask("GET", "/PluginFlyvemdmFleet", None).await);
    assert_eq!(seen.len(), own.len() + 1, "{seen:?}");
    assert_eq!(seen.iter().filter(|it| **it == SALES).count(), 1, "{seen:?}");
    assert_eq!(
        listed(&below.ask("GET", "/PluginFlyvemdmFleet", None).await).iter().filter(|it| **it == SALES).count(),
        1
    );
    for (desk, path, expected) in [
        (&lyon, "/search/PluginFlyvemdmFleet", 4),
        (&oslo, "/search/PluginFlyvemdmFleet", 1),
        (&paris, "/search/PluginFlyvemdmFleet", 5),
        // Of the entities below Lyon, which the fleet is not in.
        (
            &lyon,
            "/search/PluginFlyvemdmFleet?criteria[0][field]=80&criteria[0][searchtype]=under&criteria[0][value]=69",
            3,
        ),
        (
            &lyon,
            "/search/PluginFlyvemdmFleet?criteria[0][field]=80&criteria[0][searchtype]=under&criteria[0][value]=76",
            4,
        ),
        (
            &lyon,
            "/search/PluginFlyvemdmFleet?criteria[0][field]=80&criteria[0][searchtype]=notunder&criteria[0][value]=69",
            1,
        ),
        (
            &lyon,
            "/search/PluginFlyvemdmFleet?criteria[0][field]=86&criteria[0][searchtype]=equals&criteria[0][value]=1",
            1,
        ),
    ] {
        let said = desk.ask("GET", path, None).await;
        assert_eq!(total(&said), expected, "{path}: {said:?}");
    }
    let said = oslo.ask("GET", &sales, None).await;
    assert_eq!(said.status, 401, "{said:?}");
    lyon.get(&format!("{sales}/PluginFlyvemdmAgent")).await;

    // What is out of reach is answered as it is everywhere.
    lyon.notes("PUT", &sales, input(json!({"name": "Ours"}))).await;
    lyon.notes("DELETE", &sales, None).await;
    lyon.notes("PUT", "/PluginFlyvemdmFleet", input(json!([{"id": SALES, "name": "Ours"}]))).await;
    let task = |fleet: i64| {
        input(
            json!({"plugin_flyvemdm_policies_id": 19, "itemtype_applied": "PluginFlyvemdmFleet", "items_id_applied": fleet, "value": "1"}),
        )
    };
    let refused = lyon.notes("POST", "/PluginFlyvemdmTask", task(SALES)).await;
    assert_eq!(refused.body, lyon.ask("POST", "/PluginFlyvemdmTask", task(4711)).await.body);
    let said = paris.ask("POST", "/PluginFlyvemdmTask", task(SALES)).await;
    assert_eq!(said.status, 201, "where the fleet is at home it has a task: {said:?}");
    lyon.notes("PUT", &format!("/PluginFlyvemdmAgent/{agent}"), input(json!({"plugin_flyvemdm_fleets_id": SALES})))
        .await;
    assert_eq!(server.agent("LYON1").await["entity"], LYON);

    // The default one stays as it is; saying so again is no change.
    let default = rows(&server.cli(&["fleet", "list", "--entity", "69"]).await)
        .iter()
        .find(|it| it["is_default"] == true)
        .unwrap()["id"]
        .clone();
    let default = format!("/PluginFlyvemdmFleet/{default}");
    lyon.notes("PUT", &default, input(json!({"is_recursive": 1}))).await;
    lyon.notes("PUT", &default, input(json!({"is_default": 0}))).await;
    lyon.notes("PUT", &default, input(json!({"is_recursive": "0", "is_default": "1", "name": "Unsorted"}))).await;
    lyon.notes("POST", "/PluginFlyvemdmFleet", input(json!({"name": "Vans", "is_recursive": 1}))).await;
    lyon.notes("POST", "/PluginFlyvemdmFleet", input(json!({"name": "Cars", "is_default": 1}))).await;

    // It can be taken back, and the fleet can go.
    let said = paris.ask("PUT", &sales, input(json!({"is_recursive": 0}))).await;
    assert_eq!(said.status, 200, "{said:?}");
    assert_eq!(lyon.get(&sales).await.status, 401);
    let said = paris.ask("PUT", &sales, input(json!({"is_recursive": true}))).await;
    assert_eq!(said.status, 200, "{said:?}");
    assert_eq!(paris.ask("DELETE", &sales, None).await.status, 200);
    assert_eq!(lyon.get(&sales).await.status, 404);
    lyon.transcript()
}
