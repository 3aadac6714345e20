//! What monitoring sees.

use crate::support::{Phone, Server, until};

/// The names and kinds of all metrics, as a page of their own, so that a change of one is seen in review.
#[tokio::test]
async fn the_metrics_page_lists_what_dashboards_rely_on() {
    let server = Server::start().await;
    let (status, page) = server.page("/metrics").await;
    assert_eq!(status, 200);
    let mut kinds: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    kinds.sort_unstable();
    assert!(kinds.iter().all(|it| it.starts_with("mdm_")), "{kinds:?}");
    insta::assert_snapshot!(kinds.join("\n"));
}

#[tokio::test]
async fn counters_follow_what_happens_and_no_label_names_a_device() {
    let server = Server::start().await;
    let mut phone = server.enrolled("COUNTED").await;
    phone.comes_up(&server).await;
    phone.says("Status/Ping", "!").await;
    phone.link().publishes("0/agent/OTHER/Status/Ping", b"!", 1).await;
    let mut stranger = Phone::new("COUNTED", "wrong", &phone.topic);
    assert_eq!(stranger.tries_to_connect(&server).await, 4);
    server.cli(&["agent", "lock", "COUNTED"]).await;

    assert!(
        server.metric("mdm_connections").await >= 1.0 || !server.page("/metrics").await.1.contains("mdm_connections ")
    );
    until("the refused publish is counted", async || sum(&server, "mdm_publishes_denied").await >= 1.0).await;
    assert!(sum(&server, "mdm_reports_total").await >= 1.0);
    assert!(sum(&server, "mdm_connects_total").await >= 2.0);
    assert!(sum(&server, "mdm_commit_duration_seconds_count").await >= 1.0);
    let (_, page) = server.page("/metrics").await;
    assert!(!page.contains("COUNTED") && !page.contains("0/agent"), "{page}");
}

/// All series of one metric together.
async fn sum(server: &Server, name: &str) -> f64 {
    let (_, page) = server.page("/metrics").await;
    let lines = page.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn health_is_open_and_everything_else_needs_the_token() {
    let server = Server::start().await;
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.page(open).await.0, 200, "{open}");
    }
    for closed in ["/api/v1/agents", "/api/v1/entities", "/api/v1/commands"] {
        assert_eq!(server.page(closed).await.0, 401, "{closed}");
    }
}
