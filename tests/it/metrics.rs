//! What monitoring sees.

use crate::support::{Phone, Server, until};

/// Names and kinds that dashboards rely on.
const METRICS: &[&str] = &[
    "mdm_connections gauge",
    "mdm_connects counter",
    "mdm_tls_handshakes counter",
    "mdm_reports counter",
    "mdm_publishes_denied counter",
    "mdm_commit_duration_seconds histogram",
    "mdm_commit_batch_submissions histogram",
    "mdm_outbox_messages gauge",
    "mdm_messages_posted counter",
    "mdm_wills counter",
    "mdm_failed_logins counter",
    "mdm_bans counter",
    "mdm_clone_alarms counter",
    "mdm_connects_held counter",
    "mdm_sessions_rate_limited counter",
    "mdm_requests_crowded_out counter",
    "mdm_passwords_crowded_out counter",
    "mdm_passwords_waiting gauge",
    "mdm_open_sockets gauge",
    "mdm_tls_handshakes_in_progress gauge",
    "mdm_remembered gauge",
    "mdm_http_answers counter",
];

#[tokio::test]
async fn metrics_follow_what_happens_and_no_label_names_a_device() {
    let server = Server::start().await;
    let mut phone = server.enrolled("COUNTED").await;
    phone.comes_up(&server).await;
    phone.says("Status/Ping", "!").await;
    phone.link().publishes("0/agent/OTHER/Status/Ping", b"!", 1).await;
    let mut stranger = Phone::new("COUNTED", "wrong", &phone.topic);
    assert_eq!(stranger.tries_to_connect(&server).await, 4);
    server.cli(&["agent", "lock", "COUNTED"]).await;

    until("the refused publish is counted", async || server.metric("mdm_publishes_denied_total").await >= 1.0).await;
    assert!(server.metric("mdm_connections").await >= 1.0);
    assert!(server.metric("mdm_reports_total").await >= 1.0);
    assert!(server.metric("mdm_connects_total").await >= 2.0);
    assert!(server.metric("mdm_commit_duration_seconds_count").await >= 1.0);

    let (_, page) = server.page("/metrics").await;
    let kinds: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(kinds.iter().all(|it| it.starts_with("mdm_")), "{kinds:?}");
    let missing: Vec<_> = METRICS.iter().filter(|it| !kinds.contains(it)).collect();
    assert!(missing.is_empty(), "{missing:?} in {kinds:?}");
    assert!(!page.contains("COUNTED") && !page.contains("0/agent"), "{page}");
}

#[tokio::test]
async fn health_and_metrics_are_open_and_everything_else_needs_the_token() {
    let server = Server::start().await;
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.page(open).await.0, 200, "{open}");
    }
    for closed in ["/api/v1/agents", "/api/v1/entities", "/api/v1/commands"] {
        assert_eq!(server.page(closed).await.0, 401, "{closed}");
    }
}
