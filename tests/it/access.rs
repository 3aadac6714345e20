//! Who hears what: default deny, both spellings, checks at every delivery, and no empty message ever for an agent.

use crate::support::{Server, phone::Link};

#[tokio::test]
async fn an_agent_is_answered_in_the_spelling_that_it_asked_for() {
    let server = Server::start().await;
    for (serial, slash) in [("PLAIN", ""), ("SLASHED", "/")] {
        let mut phone = server.enrolled(serial).await;
        phone.connects(&server).await;
        assert_eq!(phone.link().subscribes(&format!("{slash}0/agent/{serial}/#"), 0).await, 0);
        assert_eq!(phone.hears("/Command/Subscribe").await.topic, format!("{slash}0/agent/{serial}/Command/Subscribe"));
        server.cli(&["agent", "lock", serial]).await;
        assert_eq!(phone.hears("/Command/Lock").await.topic, format!("{slash}0/agent/{serial}/Command/Lock"));
        phone.link().publishes(&format!("{slash}0/agent/{serial}/Status/Ping"), b"!", 1).await;
        server.until_agent(serial, |it| !it["last_contact"].is_null()).await;
    }
}

#[tokio::test]
async fn an_agent_hears_nothing_outside_its_own_topics_whatever_it_subscribes() {
    let server = Server::start().await;
    let mut rogue = server.enrolled("ROGUE").await;
    rogue.level = 4;
    let mut neighbour = server.enrolled("NEIGHBOUR").await;
    rogue.connects(&server).await;
    neighbour.comes_up(&server).await;
    neighbour.hears("/Command/Subscribe").await;
    for filter in
        ["#", "+/agent/#", "0/agent/NEIGHBOUR/#", "/0/agent/NEIGHBOUR/#", "0/fleet/#", "$SYS/#", "0/agent/+/Command/#"]
    {
        let granted = rogue.link().subscribes(filter, 1).await;
        assert!(granted == 0x80 || granted <= 1, "{filter}: {granted}");
    }
    rogue.link().heard_so_far().await;

    server.cli(&["agent", "lock", "NEIGHBOUR"]).await;
    neighbour.hears("/Command/Lock").await;
    neighbour.says("Status/Ping", "!").await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let mut backend = Link::service(&server, &name, &password).await;
    for topic in
        ["0/agent/NEIGHBOUR/Command/Ping", "0/fleet/1/Policy/x/Task/1", "site/news", "1/agent/ROGUE/Command/Ping"]
    {
        backend.publishes(topic, b"hello", 1).await;
    }
    let heard = rogue.link().heard_so_far().await;
    assert!(heard.iter().all(|it| it.topic.trim_start_matches('/').starts_with("0/agent/ROGUE/")), "{heard:?}");
}

#[tokio::test]
async fn an_empty_message_is_never_delivered_to_an_agent() {
    let server = Server::start().await;
    let mut phone = server.enrolled("EMPTY").await;
    phone.comes_up(&server).await;
    phone.hears("/Command/Subscribe").await;
    let (name, password) = server.service("backend", &["#:rw"]).await;
    let mut backend = Link::service(&server, &name, &password).await;
    for topic in
        ["0/agent/EMPTY/Command/Unenroll", "0/agent/EMPTY/Policy/disableWifi/Task/1", "0/agent/EMPTY/Command/Lock"]
    {
        backend.publishes_with(topic, b"", 1, true).await;
        backend.publishes(topic, b"", 1).await;
    }
    assert_eq!(phone.link().heard_so_far().await, []);
}

#[tokio::test]
async fn nothing_that_an_agent_publishes_is_retained() {
    let server = Server::start().await;
    let mut phone = server.enrolled("RETAINER").await;
    phone.comes_up(&server).await;
    phone.link().publishes_with("0/agent/RETAINER/Status/Online", br#"{"online": true}"#, 1, true).await;
    let (name, password) = server.service("backend", &["#:r"]).await;
    let mut backend = Link::service(&server, &name, &password).await;
    assert_eq!(backend.subscribes("+/agent/+/Status/#", 1).await, 1);
    assert_eq!(backend.heard_so_far().await, []);
}

#[tokio::test]
async fn a_service_hears_and_says_what_its_list_grants_and_a_deny_wins() {
    let server = Server::start().await;
    let (name, password) = server.service("guest", &["site/#:rw", "site/secret/#:deny", "news/#:r"]).await;
    let (boss, boss_password) = server.service("boss", &["#:rw"]).await;
    let mut guest = Link::service(&server, &name, &password).await;
    let mut boss = Link::service(&server, &boss, &boss_password).await;
    for filter in ["site/#", "news/#"] {
        assert_eq!(guest.subscribes(filter, 1).await, 1);
    }
    boss.subscribes("#", 1).await;
    boss.heard_so_far().await;

    for topic in ["site/secret/a", "other/b", "site/a", "news/c"] {
        boss.publishes(topic, b"hello", 1).await;
    }
    guest.hears("news/c").await;
    let rest: Vec<String> = guest.heard_so_far().await.into_iter().map(|it| it.topic).collect();
    assert_eq!(rest, ["site/a"]);

    boss.heard_so_far().await;
    for topic in ["site/secret/a", "other/b", "news/c", "$SYS/x", "site/a"] {
        guest.publishes(topic, b"from the guest", 1).await;
    }
    assert_eq!(boss.hears("site/a").await.payload, "from the guest");
    assert_eq!(boss.heard_so_far().await, [], "the rest was acknowledged and dropped");
}
