//! The simulator against the real server: a mixed fleet enrolls, works, loses connections, comes back, and leaves nothing behind.

use crate::support::Server;

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
