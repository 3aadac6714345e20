//! The simulator against the real server: a mixed fleet enrolls, works, loses connections, comes back, and leaves nothing behind.

use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
};

use crate::support::{
    Server,
    server::{MDMQ, rows},
    until,
};

/// Ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn simulated_devices_carry_policies_out_as_their_agents_do() {
    let server = Server::start().await;
    let url = server.http_url();
    let mut command = Command::new(MDMQ);
    command.args(["simulate", "--agents", "3", "--duration", "0", "--keep", "--url", &url]);
    command.env("MDMQ_DATA_DIR", server.data_dir()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _simulation = Running(command.spawn().unwrap());
    let mut agents = Vec::new();
    until("three devices are online", async || {
        agents = rows(&server.cli(&["agent", "list"]).await).to_vec();
        agents.iter().filter(|it| it["is_online"] == true).count() == 3
    })
    .await;
    let fleet = server.fleet("Demo").await;
    for agent in &agents {
        server.moves(agent["serial"].as_str().unwrap(), fleet).await;
    }
    let arguments = ["task", "add", "--fleet", &fleet.to_string(), "--policy", "disableCamera", "--value", "1"];
    let task = server.cli(&arguments).await["id"].to_string();
    let mut counts = BTreeMap::new();
    // A reports by HTTP, B below the topic that the policy arrived on, F never.
    until("both Android devices are done", async || {
        counts = BTreeMap::new();
        for status in rows(&server.cli(&["task", "show", &task]).await["statuses"]) {
            *counts.entry(status["status"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        counts.get("done") == Some(&2)
    })
    .await;
    assert_eq!(counts.get("pending"), Some(&1), "{counts:?}");
}

#[tokio::test]
async fn simulated_devices_live_with_certificates_instead_of_passwords() {
    let server = Server::start().await;
    let url = server.http_url();
    let arguments = ["simulate", "--agents", "6", "--duration", "1", "--certificates", "--clean", "--url", &url];
    let done = server.cli_output(&arguments).await;
    assert!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stderr), server.log());
    assert!(server.metric("mdm_certificate_logins_total").await >= 6.0);
    let listed = server.cli(&["certs", "list"]).await;
    assert_eq!(rows(&listed).iter().filter(|it| it["state"] == "revoked").count(), 6, "they left: {listed}");
}

#[tokio::test]
async fn a_simulated_fleet_lives_without_an_error() {
    let server = Server::start().await;
    let url = server.http_url();
    let words =
        ["simulate", "--agents", "12", "--duration", "3", "--churn", "50", "--seed", "7", "--clean", "--url", &url];
    let told = server.cli(&words).await;
    assert_eq!((&told["enrolled"], &told["online"], &told["lost"]), (&12.into(), &12.into(), &0.into()), "{told}");
    assert_eq!(told["errors"], serde_json::json!({}), "{told}");
    let came_back = told["cuts"].as_u64().unwrap() + told["takeovers"].as_u64().unwrap();
    assert!(came_back > 0 && told["commands"].as_u64().unwrap() > 30, "{told}");
    assert_eq!(server.cli(&["agent", "list"]).await, serde_json::json!([]));
}

#[tokio::test]
async fn a_simulation_without_a_server_says_so_in_one_line() {
    let mut server = Server::start().await;
    assert!(server.stop().await.success());
    let output = server.cli_output(&["simulate", "--agents", "1"]).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let lines: Vec<&str> = complaint.lines().filter(|line| line.starts_with("mdmq:")).collect();
    assert_eq!(lines.len(), 1, "{complaint}");
}
