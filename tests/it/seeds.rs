//! The examples of the documents that the product was asked for from, sent as they stand.

use serde_json::json;

use crate::support::{Phone, Server, enrollment, enrollment::Http, phone::Link, until};

/// The world of the examples: entity 76 exists.
async fn server_with_entity_76() -> Server {
    let server = Server::start().await;
    server.cli(&["entity", "add", "Demo", "--id", "76"]).await;
    server
}

#[tokio::test]
async fn the_enrollment_of_the_use_cases_works_word_for_word() {
    let server = server_with_entity_76().await;
    let invitation = enrollment::invite(&server, "emailaddress", 76).await;
    let http = Http::of(&server);

    let (status, opened) = http.get(&format!("/initSession?user_token={}", invitation.user_token), "").await;
    assert_eq!(status, 200, "{opened}");
    let session = opened["session_token"].as_str().unwrap();

    // The session token travels in the query, and the profile stands at the top level.
    let (status, full) = http.get(&format!("/getFullSession?session_token={session}"), "").await;
    assert_eq!(status, 200);
    let guest = &full["plugin_flyvemdm_guest_profiles_id"];
    assert!(guest.is_i64(), "{full}");
    assert_eq!(&full["session"]["plugin_flyvemdm_guest_profiles_id"], guest, "and inside `session` for the agents");
    assert_eq!(&full["glpiactiveprofile"]["id"], guest);

    let path = format!("/changeActiveProfile?profiles_id={guest}&session_token={session}");
    assert_eq!(http.send("POST", &path, "", None).await.0, 200);
    let path = format!("/changeActiveProfile?profiles_id=999999&session_token={session}");
    assert_eq!(http.send("POST", &path, "", None).await, (404, json!(["ERROR_ITEM_NOT_FOUND", "Item not found"])));

    let mut input = json!({
        "_email": "somebody.else@example.com",
        "_invitation_token": invitation.invitation_token,
        "_serial": "0123456ATDJ-045",
        "_uuid": "49D53434-0200-9D08-9000-01DEA9028055",
        "csr": "",
        "firstname": "my first name",
        "lastname": "my lastname",
        "version": "0.99.0",
        "type": "android"
    });
    let path = format!("/PluginFlyvemdmAgent?session_token={session}");
    let (status, refused) = http.send("POST", &path, "", Some(&json!({ "input": input }))).await;
    assert_eq!((status, &refused[0]), (400, &json!("ERROR_GLPI_ADD")), "the wrong address: {refused}");
    assert_eq!(refused.as_array().map(Vec::len), Some(2));

    input["_email"] = json!(invitation.email);
    let (status, made) = http.send("POST", &path, "", Some(&json!({ "input": input }))).await;
    assert_eq!(status, 200, "{made}");
    let id = made["id"].as_i64().expect("a number, which agents and the document's readers both understand");

    let (status, settings) = http.get(&format!("/PluginFlyvemdmAgent/{id}?session_token={session}"), "").await;
    assert_eq!(status, 200);
    assert_eq!(settings["topic"], "76/agent/0123456ATDJ-045");
    assert_eq!((&settings["entities_id"], &settings["enroll_status"]), (&json!(76), &json!("enrolled")));
    for number in ["id", "computers_id", "wipe", "lock", "plugin_flyvemdm_fleets_id", "port", "tls"] {
        assert!(settings[number].is_i64(), "{number}: {settings}");
    }
    for text in ["name", "version", "certificate", "mqttpasswd", "api_token", "broker", "android_bugcollecctor_url"] {
        assert!(settings[text].is_string(), "{text}: {settings}");
    }
    let links = settings["links"].as_array().unwrap();
    for rel in ["Computer", "Entity", "PluginFlyvemdmFleet"] {
        let link = links.iter().find(|it| it["rel"] == rel).unwrap_or_else(|| panic!("{rel}: {settings}"));
        assert!(link["href"].as_str().unwrap().contains(&format!("/{rel}/")), "{link}");
    }

    assert_eq!(http.get(&format!("/killSession?session_token={session}"), "").await.0, 200);
    assert_eq!(http.get(&format!("/getFullSession?session_token={session}"), "").await.0, 401);
}

#[tokio::test]
async fn the_first_contract_without_type_uuid_and_inventory_still_enrolls() {
    let server = server_with_entity_76().await;
    let invitation = enrollment::invite(&server, "first-contract", 76).await;
    let http = Http::of(&server);
    let session = http.session(&invitation.user_token).await;
    let input = json!({
        "_email": invitation.email, "_invitation_token": invitation.invitation_token, "_serial": "0123456ATDJ-045",
        "csr": "", "firstname": "my first name", "lastname": "my lastname", "version": "0.99.0"
    });
    let path = format!("/PluginFlyvemdmAgent?session_token={session}");
    let (status, made) = http.send("POST", &path, "", Some(&json!({ "input": input }))).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(server.agent("0123456ATDJ-045").await["entity"], 76);
}

#[tokio::test]
async fn a_device_with_the_password_and_the_slashed_topic_of_the_example_lives() {
    let server = server_with_entity_76().await;
    let file = server.data_dir().join("devices.csv");
    std::fs::write(&file, "entity,serial,mqttpasswd\n76,AZERTY,YTQUJagG7iBas45thrbwDxtzaQxZIhp4g\n").unwrap();
    server.cli(&["agent", "import", file.to_str().unwrap()]).await;

    let mut phone = Phone::new("AZERTY", "YTQUJagG7iBas45thrbwDxtzaQxZIhp4g", "/76/agent/AZERTY");
    phone.will = Some(("/76/agent/AZERTY/Status/Online".to_owned(), br#"{"online": "false"}"#.to_vec(), 0, false));
    phone.comes_up(&server).await;
    assert_eq!(phone.hears("/Command/Subscribe").await.topic, "/76/agent/AZERTY/Command/Subscribe");
    phone.says("Status/Online", r#"{"online": "true"}"#).await;
    assert_eq!(server.agent("AZERTY").await["is_online"], true);
    phone.says("Status/Online", r#"{"online": "false"}"#).await;
    assert_eq!(server.agent("AZERTY").await["is_online"], false);
    phone.says("Status/Online", r#"{"online": "true"}"#).await;
    assert_eq!(server.agent("AZERTY").await["is_online"], true);
    phone.vanishes();
    server.until_agent("AZERTY", |it| it["is_online"] == false).await;

    phone.comes_up(&server).await;
    server.cli(&["agent", "unenroll", "AZERTY"]).await;
    phone.hears("/Command/Unenroll").await;
    phone.says("Status/Unenroll", r#"{"unenroll": "unenrolled"}"#).await;
    until("the agent is gone", async || !server.knows("AZERTY").await).await;
}

#[tokio::test]
async fn a_password_hash_of_a_flyve_server_still_opens() {
    let server = Server::start().await;
    let hash = "PBKDF2$sha256$901$AAECAwQFBgcICQoL$qRak5VvzYwNL8Ayz/ou9K6G1EOeqzJCTikVYf1mFdixaoy0gfnnNaQKa1HzDZOLG";
    let file = server.data_dir().join("devices.csv");
    std::fs::write(&file, format!("entity,serial,mqttpasswd\n0,OLD,{hash}\n")).unwrap();
    server.cli(&["agent", "import", file.to_str().unwrap()]).await;
    let mut phone = Phone::new("OLD", "abcdefghijklmnopqrstuvwxyz012345", "0/agent/OLD");
    phone.comes_up(&server).await;
    let mut stranger = Phone::new("OLD", hash, "0/agent/OLD");
    assert_eq!(stranger.tries_to_connect(&server).await, 4, "the hash itself is no password");
}

#[tokio::test]
async fn reports_as_the_documents_write_them_become_rows() {
    let server = Server::start().await;
    let mut phone = server.enrolled("REPORTS").await;
    let mut tasks = Vec::new();
    for policy in ["disableWifi", "disableGPS", "disableNfc"] {
        let task = server.cli(&["task", "add", "--agent", "REPORTS", "--policy", policy, "--value", "1"]).await;
        tasks.push(task["id"].as_i64().unwrap());
    }
    let [first, second, third] = tasks[..] else { panic!("three tasks") };
    phone.comes_up(&server).await;
    for (topic, body) in [
        ("Status/Geolocation", r#"{"latitude":"10.2485486","longitude":"-67.5904498","datetime":1499364642}"#),
        ("Status/Geolocation", r#"{"latitude":48.1054276,"longitude":-1.67820699,"datetime":1476345332}"#),
        ("Status/Geolocation", r#"{"datetime":1499364643,"gps":"off"}"#),
        ("Status/Geolocation", "?"),
        (&format!("Status/Task/{first}"), r#"{ "status": "done" }"#),
        ("Status/Task", &format!(r#"{{"updateStatus":[{{"taskId":{second},"status":"received"}}]}}"#)),
        (&format!("Policy/disableNfc/Task/{third}/Status/Task/{third}"), r#"{ "status": "done" }"#),
        ("Status/Inventory", &enrollment::inventory_xml("REPORTS")),
        ("FlyvemdmManifest/Status/Version", r#"{"version":"2.0.1"}"#),
    ] {
        phone.says(topic, body).await;
    }
    let positions = crate::support::sqlite::pairs(&server, "select latitude, at from geolocation order by at").await;
    let expected = [("48.1054276", 1_476_345_332), ("10.2485486", 1_499_364_642), ("na", 1_499_364_643)];
    assert_eq!(positions, expected.map(|(latitude, at)| (latitude.to_owned(), at * 1000)));
    let question = "select status, task_id from task_status order by task_id";
    let statuses = crate::support::sqlite::pairs(&server, question).await;
    let expected = [("done", first), ("received", second), ("done", third)];
    assert_eq!(statuses, expected.map(|(status, id)| (status.to_owned(), id)));
    let question = "select serial || '/' || uuid || '/' || name || '/' || model || '/' || os_name || '/' || os_version, 1 from computer";
    let computers = crate::support::sqlite::pairs(&server, question).await;
    assert_eq!(computers[0].0, "REPORTS/uuid-REPORTS/Pixel of REPORTS/Pixel 2/Android/8.1.0");
}

#[tokio::test]
async fn a_back_end_of_old_with_one_wide_subscription_hears_every_report() {
    let server = Server::start().await;
    let (name, password) = server.service("flyvemdm-backend", &["#:rw"]).await;
    let mut backend = Link::service(&server, &name, &password).await;
    assert_eq!(backend.subscribes("#", 0).await, 0);
    let mut phone = server.enrolled("HEARD").await;
    phone.comes_up(&server).await;
    phone.says("Status/Online", r#"{"online": true}"#).await;
    assert_eq!(backend.hears("/Status/Online").await.topic, "0/agent/HEARD/Status/Online");
    backend.publishes("0/agent/HEARD/Command/Ping", br#"{"query":"Ping"}"#, 0).await;
    assert_eq!(phone.hears("/Command/Ping").await.payload, r#"{"query":"Ping"}"#);
}
