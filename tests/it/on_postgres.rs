//! The whole server on PostgreSQL: one story from invitation to unenrollment, across a crash.

use crate::support::{Server, postgres::fresh_database, until};

#[tokio::test]
async fn a_device_lives_its_life_on_postgres_across_a_crash() {
    let url = fresh_database();
    let mut server = Server::with(&[("MDMQ_DATABASE__URL", &url)]).await;
    assert!(!server.log().contains(&url), "the address may hold a password");
    let fleet = server.fleet("Sales").await;
    let mut phone = server.enrolled("ELEPHANT").await;
    server.moves("ELEPHANT", fleet).await;
    phone.comes_up(&server).await;
    let told = format!(r#"{{"subscribe":[{{"topic":"0/fleet/{fleet}"}}]}}"#);
    assert_eq!(phone.hears("/Command/Subscribe").await.payload, told);
    phone.says("Status/Online", r#"{"online": true}"#).await;
    phone.says("Status/Geolocation", r#"{"latitude":"10.25","longitude":"-67.59","datetime":1499364642}"#).await;
    server.until_agent("ELEPHANT", |it| it["is_online"] == true).await;
    let asked = server.cli(&["agent", "ping", "ELEPHANT"]).await;
    phone.hears("/Command/Ping").await;
    phone.says("Status/Ping", "!").await;
    until("the ping is answered", async || server.command(&asked["command_id"]).await["state"] == "answered").await;
    let number = fleet.to_string();
    let added = server.cli(&["task", "add", "--fleet", &number, "--policy", "disableCamera", "--value", "1"]).await;
    let task = added["id"].to_string();
    phone.link().subscribes(&format!("0/fleet/{fleet}/#"), 1).await;
    phone.hears(&format!("/Policy/disableCamera/Task/{task}")).await;
    phone.says(&format!("Status/Task/{task}"), r#"{ "status": "done" }"#).await;
    let status = async || server.cli(&["task", "show", &task]).await["statuses"][0]["status"].clone();
    until("the policy is carried out", async || status().await == "done").await;
    server.cli(&["task", "remove", &task]).await;
    assert!(phone.hears(&format!("/Policy/disableCamera/Task/{task}")).await.payload.contains("default"));

    server.kill_9();
    server.start_again().await;
    assert_eq!(server.agent("ELEPHANT").await["is_online"], false);
    server.cli(&["agent", "unenroll", "ELEPHANT"]).await;
    phone.comes_up(&server).await;
    phone.hears("/Command/Unenroll").await;
    phone.says("Status/Unenroll", r#"{"unenroll": "unenrolled"}"#).await;
    until("the agent is gone", async || !server.knows("ELEPHANT").await).await;
    assert_eq!(phone.tries_to_connect(&server).await, 4);
    assert!(server.stop().await.success());
}
