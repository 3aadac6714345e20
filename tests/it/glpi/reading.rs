//! Lists, single items and searches of every type.

use serde_json::json;

use super::{Desk, LYON, PARIS, World, id_of};
use crate::support::postgres::fresh_database;

#[tokio::test]
async fn every_type_is_read_listed_and_searched() {
    insta::assert_snapshot!(all_types(&World::new().await).await);
}

#[tokio::test]
async fn both_databases_answer_alike() {
    let lite = World::new().await;
    let great = World::with(&[("MDMQ_DATABASE__URL", &fresh_database())]).await;
    assert_eq!(all_types(&lite).await, all_types(&great).await);
    assert_eq!(all_criteria(&lite).await, all_criteria(&great).await);
    assert_eq!(all_names(&lite).await, all_names(&great).await);
}

#[tokio::test]
async fn names_stand_in_the_place_of_numbers_on_request() {
    insta::assert_snapshot!(all_names(&World::new().await).await);
}

async fn all_names(world: &World) -> String {
    let server = &world.server;
    server.cli(&["task", "add", "--agent", "PARIS1", "--policy", "disableWifi", "--value", "1"]).await;
    server.cli(&["user", "add", "opa", "--email", "opa@example.org", "--profile", "operator", "--entity", "76"]).await;
    server.cli(&["invite", "--email", "opa@example.org", "--entity", "69", "--no-mail"]).await;
    let mut desk = Desk::of(server).await;
    for path in [
        "/PluginFlyvemdmAgent/1?expand_dropdowns=true",
        "/PluginFlyvemdmAgent/1?expand_dropdowns=false&get_hateoas=0",
        "/PluginFlyvemdmAgent?expand_dropdowns=1&get_hateoas=0",
        "/PluginFlyvemdmFleet?expand_dropdowns=1&get_hateoas=0",
        "/Entity/69/PluginFlyvemdmFleet?expand_dropdowns=1",
        // The root is below nothing.
        "/Entity?expand_dropdowns=1&get_hateoas=0",
        "/PluginFlyvemdmEntityConfig/69?expand_dropdowns=1",
        "/PluginFlyvemdmInvitation?expand_dropdowns=1&get_hateoas=0",
        "/UserEmail?expand_dropdowns=1&get_hateoas=0",
        "/Computer/2?expand_dropdowns=1",
        // A task has no name.
        "/PluginFlyvemdmTaskstatus/1?expand_dropdowns=1",
        "/PluginFlyvemdmTask/1?expand_dropdowns=1",
        "/PluginFlyvemdmPolicy/9?expand_dropdowns=1",
        "/PluginFlyvemdmPolicyCategory?expand_dropdowns=1&get_hateoas=0&range=0-1",
    ] {
        let said = desk.get(path).await;
        assert!(matches!(said.status, 200 | 206), "{path}: {said:?}");
    }
    desk.transcript()
}

async fn all_types(world: &World) -> String {
    let mut desk = Desk::of(&world.server).await;
    let types = [
        ("PluginFlyvemdmAgent", "1"),
        ("Computer", "1"),
        ("PluginFlyvemdmFleet", "2"),
        ("PluginFlyvemdmWellKnownPath", "1"),
        ("Entity", "69"),
        ("User", "1"),
        ("UserEmail", "101"),
        ("PluginFlyvemdmInvitation", "1"),
        ("PluginFlyvemdmInvitationlog", "1"),
        ("PluginFlyvemdmFile", "1"),
        ("PluginFlyvemdmPackage", "1"),
        ("PluginFlyvemdmGeolocation", "1"),
        ("PluginFlyvemdmMqttlog", "1"),
        ("PluginFlyvemdmPolicy", "9"),
        ("PluginFlyvemdmPolicyCategory", "7"),
        ("PluginFlyvemdmTask", "1"),
        ("PluginFlyvemdmTaskstatus", "1"),
    ];
    for (name, id) in types {
        desk.get(&format!("/{name}/{id}")).await;
        desk.get(&format!("/{name}?range=0-0&get_hateoas=0")).await;
        desk.get(&format!("/search/{name}?range=0-0&order=DESC")).await;
        let options = desk.ask("GET", &format!("/listSearchOptions/{name}"), None).await;
        assert_eq!((options.status, &options.body["2"]["uid"]), (200, &format!("{name}.id").into()), "{options:?}");
        assert_eq!(desk.ask("GET", &format!("/{name}/999"), None).await.status, 404);
    }
    desk.transcript()
}

#[tokio::test]
async fn lists_come_in_pieces_and_say_so() {
    let world = World::new().await;
    for name in ["A", "B", "C", "D", "E"] {
        world.server.cli(&["fleet", "add", name, "--entity", "47"]).await;
    }
    let mut desk = Desk::of(&world.server).await;
    for query in [
        "range=0-1&sort=name&order=DESC",
        "range=9-20&sort=name",
        "range=11-20",
        "range=12-13",
        "range=2-1",
        "range=a-b",
        "searchText[name]=^C$",
        "searchText[name]=nothing",
        "searchText[nothing]=x",
        "is_deleted=1",
        "expand_dropdowns=1&range=0-0",
    ] {
        desk.get(&format!("/PluginFlyvemdmFleet?get_hateoas=false&{query}")).await;
    }
    desk.get("/Entity/76/PluginFlyvemdmFleet?get_hateoas=false&sort=name").await;
    desk.get("/Entity/4711/PluginFlyvemdmFleet").await;
    desk.get("/Computer/1/PluginFlyvemdmFleet").await;
    desk.get("/PluginFlyvemdmFleet/2/Monitor").await;
    insta::assert_snapshot!(desk.transcript());
}

#[tokio::test]
async fn searches_meet_their_criteria() {
    insta::assert_snapshot!(all_criteria(&World::new().await).await);
}

async fn all_criteria(world: &World) -> String {
    let mut desk = Desk::of(&world.server).await;
    let one = |field: &str, searchtype: &str, value: &str| {
        format!("criteria[0][field]={field}&criteria[0][searchtype]={searchtype}&criteria[0][value]={value}")
    };
    let two = |link: &str| {
        format!(
            "{}&criteria[1][link]={link}&criteria[1][field]=5&criteria[1][searchtype]=contains&criteria[1][value]=lyon",
            one("5", "contains", "PAR")
        )
    };
    for query in [
        one("5", "contains", "aris"),
        one("5", "contains", "^paris1$"),
        one("5", "contains", "%25"),
        one("5", "notcontains", "lyon"),
        one("5", "equals", "LYON1"),
        one("5", "notequals", "lyon1"),
        one("2", "contains", "1"),
        one("2", "lessthan", "2"),
        one("2", "morethan", "1"),
        one("11", "equals", "0"),
        one("8", "morethan", "2000-01-01"),
        one("view", "contains", "sales"),
        one("17", "contains", "lyon"),
        one("17", "under", "76"),
        one("17", "notunder", "69"),
        one("80", "under", "69"),
        one("17", "under", "Paris"),
        one("2", "under", "1"),
        two("AND"),
        two("OR"),
        two("AND%20NOT"),
        format!(
            "{}&sort=5&order=DESC&forcedisplay[0]=5&forcedisplay[]=3&forcedisplay[]=4711",
            one("2", "contains", "")
        ),
        format!("{}&uid_cols=1&forcedisplay=3", one("2", "contains", "1")),
        format!("{}&withindexes=true&rawdata=1", one("2", "contains", "1")),
        one("99", "contains", "1"),
        one("2", "like", "1"),
        "criteria[0][field]=2".into(),
    ] {
        desk.get(&format!("/search/PluginFlyvemdmAgent/?{query}")).await;
    }
    desk.transcript()
}

#[tokio::test]
async fn what_a_device_says_of_its_place_and_its_computer_is_found_under_the_number_that_it_was_told() {
    let world = World::new().await;
    let device = Desk::with_token(&world.server, world.lyon.settings["api_token"].as_str().unwrap()).await;
    let desk = Desk::of(&world.server).await;
    let (agent, computer) = (&world.lyon.settings["id"], &world.lyon.settings["computers_id"]);
    for (at, latitude) in [(1_499_364_642, "10.2"), (1_499_364_643, "10.3"), (1_499_364_642, "10.2")] {
        let said = json!({"_agents_id": agent, "computers_id": computer, "_datetime": at, "latitude": latitude, "longitude": "-67.5"});
        let made = device.ask("POST", "/PluginFlyvemdmGeolocation", Some(json!({ "input": said }))).await;
        let found = desk.ask("GET", &format!("/PluginFlyvemdmGeolocation/{}", made.body["id"]), None).await;
        assert_eq!((made.status, &found.body["latitude"]), (201, &json!(latitude)), "{found:?}");
    }
    let path = format!("/Computer/{computer}");
    let date = desk.ask("GET", &path, None).await.body["date_mod"].as_str().unwrap().to_owned();
    let (day, time) = date.split_once(' ').unwrap();
    let header = desk.header(&path, "last-modified").await;
    assert!(
        header.starts_with(|it: char| it.is_ascii_alphabetic()) && header.ends_with(&format!("{time} GMT")),
        "{header}"
    );
    assert_eq!(&header[5..7], &day[8..], "{header} is {date}");
    assert_eq!(desk.header("/Entity/69", "last-modified").await, "");
}

#[tokio::test]
async fn people_see_the_entities_of_their_profile_and_no_other() {
    let world = World::new().await;
    let server = &world.server;
    let of_paris = Desk::with_profile(server, "paris", "viewer", PARIS).await;
    let of_lyon = Desk::with_profile(server, "lyon", "viewer", LYON).await;
    server
        .cli(&[
            "user",
            "add",
            "alone",
            "--email",
            "alone@example.org",
            "--profile",
            "viewer",
            "--entity",
            "76",
            "--only-here",
        ])
        .await;
    let token = server.cli(&["user", "token", "alone"]).await["user_token"].as_str().unwrap().to_owned();
    let alone = Desk::with_token(server, &token).await;
    let (paris, lyon) = (id_of(&world.paris), id_of(&world.lyon));
    for (desk, sees_paris, sees_lyon) in [(&of_paris, true, true), (&of_lyon, false, true), (&alone, true, false)] {
        let count = i64::from(sees_paris) + i64::from(sees_lyon);
        for (name, total) in [
            ("PluginFlyvemdmAgent", count),
            ("Computer", count),
            ("PluginFlyvemdmInvitation", count),
            ("PluginFlyvemdmInvitationlog", count),
            ("Entity", count),
            ("PluginFlyvemdmFleet", 2 * count),
            ("PluginFlyvemdmEntityConfig", count),
        ] {
            let said = desk.ask("GET", &format!("/search/{name}"), None).await;
            assert_eq!(said.body["totalcount"], total, "{name}: {said:?}");
        }
        let status = |sees: bool| if sees { 200 } else { 401 };
        assert_eq!(desk.ask("GET", &format!("/PluginFlyvemdmAgent/{paris}"), None).await.status, status(sees_paris));
        assert_eq!(desk.ask("GET", &format!("/PluginFlyvemdmAgent/{lyon}"), None).await.status, status(sees_lyon));
        assert_eq!(desk.ask("GET", "/PluginFlyvemdmAgent/999", None).await.status, 404);
        assert_eq!(desk.ask("GET", "/changeActiveEntities?entities_id=47", None).await.status, 400);
    }
    let users = of_lyon.ask("GET", "/User?get_hateoas=0", None).await.body.to_string();
    assert!(users.contains("lyon1@example.com") && !users.contains("paris1@example.com"), "{users}");
}

#[tokio::test]
async fn hostile_queries_are_refused_in_good_order() {
    let world = World::new().await;
    let desk = Desk::of(&world.server).await;
    let long = "x".repeat(20_000);
    let many: String = (0..2000).map(|it| format!("forcedisplay[{it}]={it}&")).collect();
    let criteria: String = (0..500)
        .map(|it| format!("criteria[{it}][field]=5&criteria[{it}][searchtype]=contains&criteria[{it}][value]=%25_%5C&"))
        .collect();
    for (query, expected) in [
        (
            "criteria[0][field]=5&criteria[0][searchtype]=equals&criteria[0][value]=%27%20or%20%271%27=%271".to_owned(),
            200,
        ),
        ("criteria[0][field]=5&criteria[0][searchtype]=contains&criteria[0][value]=%00%27%22%3b--".to_owned(), 200),
        (
            "criteria[0][field]=2&criteria[0][searchtype]=equals&criteria[0][value]=1;drop%20table%20agent".to_owned(),
            200,
        ),
        ("criteria[0][field]=5)%20or%20(1&criteria[0][searchtype]=equals&criteria[0][value]=1".to_owned(), 400),
        (format!("criteria[0][field]=5&criteria[0][searchtype]=contains&criteria[0][value]={long}"), 200),
        ("criteria[99999999999999999999][field]=5".to_owned(), 400),
        ("criteria[0][0][0]=5".to_owned(), 400),
        ("sort=name);drop%20table%20agent&order=;--".to_owned(), 200),
        ("range=0-99999999999999999999999".to_owned(), 400),
        ("range=99999-100000".to_owned(), 400),
        ("forcedisplay[]=-1&forcedisplay[]=x&forcedisplay=&forcedisplay[]=65536".to_owned(), 200),
        ("%ff%fe=%ff&[]=&[[[=]]]&=&&&".to_owned(), 200),
        ("searchText[name]=%27".to_owned(), 200),
        (many, 200),
        (criteria, 400),
    ] {
        for path in ["/search/PluginFlyvemdmAgent", "/PluginFlyvemdmAgent"] {
            let said = desk.ask("GET", &format!("{path}?{query}"), None).await;
            let is_list_of_criteria = path.starts_with("/PluginFlyvemdm") && query.contains("criteria");
            let expected = if is_list_of_criteria { 200 } else { expected };
            assert_eq!(said.status, expected, "{path}?{}: {said:?}", &query[..query.len().min(100)]);
        }
    }
    for path in [
        "/search",
        "/search/",
        "/search/Monitor",
        "/listSearchOptions/x%27",
        "/PluginFlyvemdmAgent/-1",
        "/PluginFlyvemdmAgent/1%20or%201",
    ] {
        let said = desk.ask("GET", path, None).await;
        assert!((400..500).contains(&said.status), "{path}: {said:?}");
        assert_eq!(said.body.as_array().map(Vec::len), Some(2), "{path}: {said:?}");
    }
    assert_eq!(desk.ask("GET", "/search/PluginFlyvemdmAgent", None).await.body["totalcount"], 2, "nothing is lost");
}
