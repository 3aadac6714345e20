//! Admin tokens: what each role may do, and that a token of one tenant sees nothing of the others.

use std::fs;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, enrollment, server::rows};

/// A token of this role; `entity`: only there and below.
async fn token(server: &Server, role: &str, entity: Option<i64>) -> String {
    let name = format!("{role}-{}", entity.map_or("all".into(), |it| it.to_string()));
    let entity = entity.map(|it| it.to_string());
    let mut words = vec!["token", "add", &name, "--role", role];
    words.extend(entity.iter().flat_map(|it| ["--entity", it.as_str()]));
    server.cli(&words).await["token"].as_str().unwrap().to_owned()
}

async fn ask(server: &Server, token: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let url = format!("{}/api/v1{path}", server.admin_url());
    let mut request = reqwest::Client::new().request(method, url).bearer_auth(token).timeout(PATIENCE);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
}

/// Every endpoint of the admin API as `/openapi.json` tells of it: method and path.
async fn endpoints(server: &Server) -> Vec<(String, String)> {
    let described: Value = serde_json::from_str(&server.page("/openapi.json").await.1).unwrap();
    let paths = described["paths"].as_object().unwrap();
    let admin = paths.iter().filter_map(|(path, it)| Some((path.strip_prefix("/api/v1")?, it)));
    admin
        .flat_map(|(path, it)| {
            it.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.to_owned()))
        })
        .collect()
}

/// The least role by what the role is for; the table in the server is written by hand, so this one is by rule.
fn least_role(method: &str, path: &str) -> &'static str {
    let is_for_administrators = ["/audit", "/tokens"].iter().any(|it| path.starts_with(it));
    let is_operated = ["/invitations", "/tasks", "/commands", "/files", "/packages", "/certificates/"]
        .iter()
        .any(|it| path.starts_with(it))
        || (path.starts_with("/agents/") && (method, path) != ("DELETE", "/agents/{id}"));
    match method {
        _ if is_for_administrators => "administrator",
        // It holds the deeplink.
        "GET" if path == "/invitations/{id}" => "operator",
        "GET" => "viewer",
        _ if is_operated => "operator",
        _ => "administrator",
    }
}

#[tokio::test]
async fn each_route_asks_for_its_least_role() {
    let server = Server::start().await;
    let all = endpoints(&server).await;
    assert!(all.len() > 60, "{}", all.len());
    let roles = ["viewer", "operator", "administrator"];
    for (at, role) in roles.iter().enumerate() {
        let token = token(&server, role, None).await;
        for (method, path) in &all {
            let least = roles.iter().position(|it| *it == least_role(method, path)).unwrap();
            // Nothing has these numbers, so whoever may do it changes nothing.
            let path = ["{id}", "{name}", "{who}", "{symbol}", "{serial}"]
                .iter()
                .fold(path.clone(), |it, part| it.replace(part, "999999"));
            let (status, said) = ask(&server, &token, method, &path, None).await;
            assert_eq!(status == 403, at < least, "{role} {method} {path}: {status} {said}");
            assert_ne!(status, 401, "{role} {method} {path}");
        }
    }
    for bad in ["", "wrong", &"x".repeat(40)] {
        assert_eq!(ask(&server, bad, "GET", "/agents", None).await.0, 401);
    }
    assert_eq!(ask(&server, &server.admin_token(), "GET", "/nowhere", None).await.0, 404);
    assert_eq!(ask(&server, &server.admin_token(), "PUT", "/agents", None).await.0, 405);
}

/// Two tenants with the same things in each: the numbers of those of the second.
async fn two_tenants(server: &Server) -> Value {
    let mut made = json!({});
    for (id, serial) in [("76", "MINE"), ("77", "THEIRS")] {
        server.cli(&["entity", "add", &format!("Tenant {id}"), "--id", id]).await;
        let fleet = server.cli(&["fleet", "add", "Sales", "--entity", id]).await["id"].to_string();
        let invitation = enrollment::invite(server, serial, id.parse().unwrap()).await;
        drop(enrollment::enroll_with(server, serial, &enrollment::Profile::android(), &invitation).await);
        let open = server.cli(&["invite", "--email", &format!("{serial}@example.org"), "--entity", id]).await;
        let invitations = server.cli(&["invitation", "list", "--entity", id]).await;
        let asked = server.cli(&["agent", "ping", serial]).await;
        let task = server.cli(&["task", "add", "--fleet", &fleet, "--policy", "disableWifi", "--value", "1"]).await;
        let path = server.data_dir().join(format!("{serial}.pdf"));
        fs::write(&path, serial).unwrap();
        let file = server.cli(&["file", "add", path.to_str().unwrap(), "--entity", id]).await;
        let apk = server.data_dir().join(format!("{serial}.apk"));
        fs::write(&apk, crate::support::apk::apk("org.example.probe", "1", 1)).unwrap();
        let package = server.cli(&["package", "add", apk.to_str().unwrap(), "--entity", id]).await;
        assert!(open["deeplink"].is_string());
        made = json!({
            "entities": id.parse::<i64>().unwrap(),
            "fleets": fleet.parse::<i64>().unwrap(),
            "agents": server.agent(serial).await["id"],
            "invitations": rows(&invitations)[0]["id"],
            "commands": asked["command_id"],
            "tasks": task["id"],
            "files": file["id"],
            "packages": package["id"],
            "mine": if id == "76" { json!(rows(&invitations)[0]["id"]) } else { made["mine"].clone() },
            "my_fleet": if id == "76" { json!(fleet.parse::<i64>().unwrap()) } else { made["my_fleet"].clone() },
            "my_agent": if id == "76" { server.agent(serial).await["id"].clone() } else { made["my_agent"].clone() },
        });
    }
    made
}

#[tokio::test]
async fn a_token_of_one_tenant_sees_and_touches_nothing_of_another() {
    let server = Server::start().await;
    let theirs = two_tenants(&server).await;
    let scoped = token(&server, "administrator", Some(76)).await;
    // Every item of the other tenant is answered like one that does not exist.
    for (method, path) in endpoints(&server).await {
        let kind = path.split('/').nth(1).unwrap();
        if !path.contains("{id}") || theirs.get(kind).is_none() {
            continue;
        }
        let with = |id: &str| path.replace("{id}", id);
        let id = theirs[kind].to_string();
        let (status, said) = ask(&server, &scoped, &method, &with(&id), Some(json!({}))).await;
        assert_eq!(status, 404, "{method} {path}: {said}");
        let (status, absent) = ask(&server, &scoped, &method, &with("999999"), Some(json!({}))).await;
        assert_eq!(status, 404, "{method} {path}: {absent}");
        assert_eq!(said.to_string().replace(&id, "999999"), absent.to_string(), "{method} {path}");
    }
    // Lists show the own things only, and there is something to see.
    for list in ["entities", "fleets", "agents", "invitations", "commands", "tasks", "files", "packages"] {
        let (status, said) = ask(&server, &scoped, "GET", &format!("/{list}"), None).await;
        assert_eq!(status, 200, "{list}: {said}");
        let key = if list == "commands" { "command_id" } else { "id" };
        assert!(!rows(&said).is_empty(), "{list}");
        assert!(rows(&said).iter().all(|it| it[key] != theirs[list]), "{list}: {said}");
        assert!(!said.to_string().contains("THEIRS"), "{list}: {said}");
    }
    // What concerns all tenants is nobody's who has one.
    for (method, path) in [
        ("GET", "/users"),
        ("GET", "/accounts"),
        ("POST", "/paths"),
        ("GET", "/audit"),
        ("POST", "/tokens"),
        ("POST", "/import"),
        ("POST", "/invitations/csv"),
    ] {
        assert_eq!(ask(&server, &scoped, method, path, Some(json!({}))).await.0, 403, "{method} {path}");
    }
    // Nothing is moved, made or applied where the token does not reach.
    let (mine, fleet) = (theirs["my_agent"].to_string(), theirs["my_fleet"].clone());
    for (method, path, body) in [
        ("PATCH", format!("/agents/{mine}"), json!({"entity": 77})),
        ("PATCH", format!("/agents/{mine}"), json!({"fleet": theirs["fleets"]})),
        ("POST", "/entities".into(), json!({"name": "x"})),
        ("POST", "/entities".into(), json!({"name": "x", "parent": 77})),
        ("PATCH", "/entities/76".into(), json!({"parent": 77})),
        ("POST", "/fleets".into(), json!({"name": "x", "entity": 77})),
        ("POST", "/fleets".into(), json!({"name": "x"})),
        ("POST", "/invitations".into(), json!({"email": "x@example.org", "entity": 77})),
        ("POST", "/invitations".into(), json!({"email": "x@example.org"})),
        ("POST", "/tasks".into(), json!({"fleet": theirs["fleets"], "policy": "disableWifi", "value": 1})),
        ("POST", "/tasks".into(), json!({"agent": theirs["agents"], "policy": "disableWifi", "value": 1})),
        (
            "POST",
            "/tasks".into(),
            json!({"fleet": fleet, "policy": "deployFile", "value": "%SDCARD%", "file": theirs["files"]}),
        ),
        ("GET", format!("/messages?agent={}", theirs["agents"]), Value::Null),
    ] {
        let (status, said) = ask(&server, &scoped, method, &path, Some(body.clone())).await;
        assert_eq!(status, 404, "{method} {path} {body}: {said}");
    }
    assert_eq!(ask(&server, &scoped, "GET", "/messages", None).await.0, 422);
    let form = reqwest::multipart::Form::new()
        .text("entity", "77")
        .part("file", reqwest::multipart::Part::bytes(b"x".to_vec()).file_name("x.pdf"));
    let sent = reqwest::Client::new().post(format!("{}/api/v1/files", server.admin_url())).bearer_auth(&scoped);
    assert_eq!(sent.multipart(form).send().await.unwrap().status().as_u16(), 404);

    // At home it works, and the name of the token is written down.
    let (status, made) =
        ask(&server, &scoped, "POST", &format!("/agents/{mine}/commands"), Some(json!({"name": "lock"}))).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(server.command(&made["command_id"]).await["requested_by"], "administrator-76");
    let (status, _) = ask(&server, &scoped, "POST", "/entities", Some(json!({"name": "Below", "parent": 76}))).await;
    assert_eq!(status, 201);
    let listed = server.cli(&["audit", "list", "--actor", "administrator-76"]).await;
    let actions: Vec<&Value> = rows(&listed).iter().map(|it| &it["action"]).collect();
    assert_eq!(actions, ["entity.add", "command.order"]);
    assert_eq!(rows(&listed)[0]["actor_kind"], "token");
}

#[tokio::test]
async fn a_token_of_a_tenant_looks_at_recursive_fleets_from_above_and_leaves_them_alone() {
    let server = Server::start().await;
    for (id, parent) in [("76", "0"), ("77", "76"), ("78", "0")] {
        server.cli(&["entity", "add", &format!("Tenant {id}"), "--id", id, "--parent", parent]).await;
    }
    let shared = server.cli(&["fleet", "add", "Sales", "--entity", "76", "--recursive"]).await["id"].clone();
    let kept = server.cli(&["fleet", "add", "Field", "--entity", "76"]).await["id"].clone();
    let beside = server.cli(&["fleet", "add", "Sales", "--entity", "78", "--recursive"]).await["id"].clone();
    let scoped = token(&server, "administrator", Some(77)).await;
    let agent =
        enrollment::enroll(&server, "MINE", &enrollment::Profile { entity: 77, ..enrollment::Profile::android() })
            .await;
    for (fleet, expected) in [(&shared, 200), (&kept, 404), (&beside, 404)] {
        assert_eq!(ask(&server, &scoped, "GET", &format!("/fleets/{fleet}"), None).await.0, expected, "{fleet}");
    }
    let ids = |said: &Value| rows(said).iter().map(|it| it["id"].clone()).collect::<Vec<_>>();
    let listed = ids(&ask(&server, &scoped, "GET", "/fleets", None).await.1);
    assert!(listed.len() == 2 && listed.contains(&shared), "the own default one and this: {listed:?}");
    assert_eq!(ids(&ask(&server, &scoped, "GET", "/fleets?entity=76", None).await.1), std::slice::from_ref(&shared));

    let path = format!("/fleets/{shared}");
    let task = json!({"fleet": shared, "policy": "disableWifi", "value": 1});
    for (method, path, body) in
        [("PATCH", path.as_str(), json!({"name": "Ours"})), ("DELETE", &path, Value::Null), ("POST", "/tasks", task)]
    {
        let (status, said) = ask(&server, &scoped, method, path, Some(body)).await;
        assert_eq!(status, 404, "{method} {path}: {said}");
    }
    let path = format!("/agents/{}", agent.settings["id"]);
    let (status, said) = ask(&server, &scoped, "PATCH", &path, Some(json!({"fleet": shared}))).await;
    assert!(status == 409 && said.to_string().contains("belongs to entity 76"), "{status} {said}");
}

#[tokio::test]
async fn tokens_are_used_by_the_command_line_and_end() {
    let server = Server::start().await;
    let file = server.data_dir().join("look.token");
    let words = ["token", "add", "look", "--role", "viewer", "--days", "1", "--out", file.to_str().unwrap()];
    assert_eq!(server.cli(&words).await["token"], Value::Null, "the token is in the file");
    let secret = fs::read_to_string(&file).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let url = server.admin_url();
    let mut with_it = vec!["--server", &url, "--admin-token-file", file.to_str().unwrap()];
    with_it.extend(["--data-dir", elsewhere.path().to_str().unwrap()]);
    let looked = server.cli_output(&[&with_it[..], &["entity", "list", "--json"]].concat()).await;
    assert!(looked.status.success(), "{}", String::from_utf8_lossy(&looked.stderr));
    let refused = server.cli_output(&[&with_it[..], &["entity", "add", "x"]].concat()).await;
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert!(complaint.contains("needs the role administrator") && complaint.contains("look"), "{complaint}");

    let listed = server.cli(&["token", "list"]).await;
    let row = &rows(&listed)[0];
    assert_eq!((&row["name"], &row["role"], &row["entity"]), (&json!("look"), &json!("viewer"), &Value::Null));
    assert!(row["expires_at"].is_string() && row["last_used_at"].is_string(), "{row}");
    assert!(!listed.to_string().contains(secret.trim()), "shown once");
    for (words, why) in [
        (&["token", "add", "look", "--role", "viewer"][..], "already"),
        (&["token", "add", "administrator", "--role", "viewer"], "data directory"),
        (&["token", "add", "x", "--role", "viewer", "--entity", "99"], "there is no entity 99"),
        (&["token", "add", "x", "--role", "viewer", "--days", "0"], "days"),
        (&["token", "remove", "nobody"], "there is no token nobody"),
    ] {
        let refused = server.cli_output(words).await;
        assert!(String::from_utf8(refused.stderr).unwrap().contains(why), "{words:?}");
    }
    server.cli(&["token", "remove", "look"]).await;
    assert_eq!(ask(&server, secret.trim(), "GET", "/entities", None).await.0, 401);
}
