//! How agents leave and move: deleted while away or here, asked to leave and kept after all, moved to another tenant.

use serde_json::json;

use crate::support::{Server, enrollment, until};

#[tokio::test]
async fn a_device_deleted_while_away_comes_back_only_to_hear_that_it_should_leave() {
    let server = Server::start().await;
    let fleet = server.fleet("Sales").await;
    let mut phone = server.enrolled("STOLEN").await;
    server.moves("STOLEN", fleet).await;
    server.wishes("lock", "STOLEN").await;
    server.deletes("STOLEN").await;
    assert!(!server.knows("STOLEN").await);
    phone.comes_up(&server).await;
    let heard = phone.hears("/Command/Unenroll").await;
    assert_eq!((heard.payload.as_str(), heard.retain), (r#"{"unenroll":"now"}"#, true));
    phone.says("Status/Ping", "!").await;
    assert_eq!(phone.link().heard_so_far().await, [], "neither its lock nor its fleet any more");
    assert!(!server.knows("STOLEN").await);
    // It may come more than once until it says that it left.
    phone.vanishes();
    phone.comes_up(&server).await;
    phone.hears("/Command/Unenroll").await;
    phone.says("Status/Unenroll", r#"{"unenroll": "unenrolled"}"#).await;
    phone.link().is_closed().await;
    assert_eq!(phone.tries_to_connect(&server).await, 4);
}

#[tokio::test]
async fn a_device_deleted_while_connected_is_told_and_then_its_password_is_dead() {
    let server = Server::start().await;
    let mut phone = server.enrolled("HERE").await;
    phone.comes_up(&server).await;
    server.deletes("HERE").await;
    let heard = phone.hears("/Command/Unenroll").await;
    assert_eq!((heard.payload.as_str(), heard.retain), (r#"{"unenroll":"now"}"#, false));
    phone.link().is_closed().await;
    assert_eq!(phone.tries_to_connect(&server).await, 4);
}

#[tokio::test]
async fn without_days_of_farewell_the_password_dies_at_once() {
    let server = Server::with(&[("MDMQ_COMMANDS__FAREWELL_DAYS", "0")]).await;
    let mut phone = server.enrolled("GONE").await;
    server.deletes("GONE").await;
    assert_eq!(phone.tries_to_connect(&server).await, 4);
}

#[tokio::test]
async fn a_device_that_enrolls_again_is_not_haunted_by_its_earlier_life() {
    let server = Server::start().await;
    let mut earlier = server.enrolled("AGAIN").await;
    server.deletes("AGAIN").await;
    let mut now = server.enrolled("AGAIN").await;
    assert_eq!(earlier.tries_to_connect(&server).await, 4, "the farewell to the earlier life is over");
    now.comes_up(&server).await;
    now.hears("/Command/Subscribe").await;
    assert_eq!(now.link().heard_so_far().await, []);
}

#[tokio::test]
async fn a_request_to_leave_can_be_taken_back_even_when_the_device_heard_it() {
    let server = Server::start().await;
    let mut phone = server.enrolled("KEPT").await;
    let (code, answer) =
        server.admin("DELETE", &format!("/api/v1/agents/{}/unenrollment", phone.settings["id"]), None).await;
    assert_eq!(code, 409, "{answer}");
    let wish = server.wishes("unenroll", "KEPT").await;
    phone.comes_up(&server).await;
    phone.hears("/Command/Unenroll").await;
    let kept = server.cli(&["agent", "unenroll", "KEPT", "--cancel"]).await;
    assert_eq!(kept["enroll_status"], json!("enrolled"));
    assert_eq!(server.command(&wish["command_id"]).await["state"], json!("cancelled"));
    phone.vanishes();
    phone.comes_up(&server).await;
    phone.hears("/Command/Subscribe").await;
    assert_eq!(phone.link().heard_so_far().await, [], "nothing asks it to leave any more");
    server.wishes("lock", "KEPT").await;
    phone.hears("/Command/Lock").await;
}

#[tokio::test]
async fn an_agent_moved_to_another_entity_keeps_the_topic_that_it_was_told() {
    let server = Server::start().await;
    server.cli(&["entity", "add", "Paris", "--id", "76"]).await;
    let fleet = server.cli(&["fleet", "add", "Sales", "--entity", "76"]).await["id"].clone();
    let mut phone = server.enrolled("MOVED").await;
    phone.comes_up(&server).await;
    phone.hears("/Command/Subscribe").await;
    server.cli(&["agent", "move", "MOVED", "--to-entity", "76", "--fleet", &fleet.to_string()]).await;
    let told = phone.hears("/Command/Subscribe").await;
    let told = if told.payload.contains("null") { phone.hears("/Command/Subscribe").await } else { told };
    assert_eq!(told.payload, format!(r#"{{"subscribe":[{{"topic":"76/fleet/{fleet}"}}]}}"#));
    let row = server.agent("MOVED").await;
    assert_eq!((&row["entity"], &row["fleet"], &row["topic"]), (&json!(76), &fleet, &json!("0/agent/MOVED")));
    assert_eq!(phone.link().subscribes(&format!("76/fleet/{fleet}/#"), 0).await, 0);
    let (name, password) = server.service("back-end", &["#:rw"]).await;
    let mut service = crate::support::phone::Link::service(&server, &name, &password).await;
    service.publishes(&format!("76/fleet/{fleet}/Policy/disableWifi/Task/1"), b"{}", 1).await;
    phone.hears("/Policy/disableWifi/Task/1").await;
    phone.says("Status/Online", r#"{"online":"false"}"#).await;
    until("its reports still find it", async || server.agent("MOVED").await["is_online"] == json!(false)).await;
    let again = enrollment::Http::of(&server);
    let session = again.session(phone.settings["api_token"].as_str().unwrap()).await;
    let (_, body) = again.get(&format!("/PluginFlyvemdmAgent/{}", phone.settings["id"]), &session).await;
    assert_eq!(body["entities_id"], json!(76));
}

#[tokio::test]
async fn a_dashboard_moves_an_agent_and_takes_an_unenrollment_back() {
    let server = Server::start().await;
    server.cli(&["entity", "add", "Paris", "--id", "76"]).await;
    let phone = server.enrolled("DESK").await;
    let http = enrollment::Http::of(&server);
    let session = http.session(&server.admin_token()).await;
    let path = format!("/PluginFlyvemdmAgent/{}", phone.settings["id"]);
    let put = async |input| http.send("PUT", &path, &session, Some(&json!({ "input": input }))).await;
    for input in [json!({"_unenroll_request": 1}), json!({"enroll_status": "enrolled"}), json!({"entities_id": 76})] {
        let (code, answer) = put(input).await;
        assert_eq!(code, 200, "{answer}");
    }
    let row = server.agent("DESK").await;
    assert_eq!((&row["enroll_status"], &row["entity"]), (&json!("enrolled"), &json!(76)));
    let (code, answer) = put(json!({"entities_id": 99})).await;
    assert_eq!((code, &answer[0]), (400, &json!("ERROR_GLPI_UPDATE")));
}
