//! Online means online: wills, takeovers, silence, crashes.

use mdmq::clock::Clock;

use crate::support::{
    PATIENCE, Phone, Server,
    phone::{Link, paho_id},
    postgres, sqlite, until, wire,
};

#[tokio::test]
async fn the_will_of_a_device_that_vanishes_is_heard_and_one_that_says_goodbye_leaves_none() {
    let server = Server::start().await;
    let (name, password) = server.service("watcher", &["#:r"]).await;
    let mut watcher = Link::service(&server, &name, &password).await;
    watcher.subscribes("+/agent/+/Status/Online", 1).await;

    let mut phone = server.enrolled("WILL").await;
    phone.comes_up(&server).await;
    phone.says_goodbye().await;
    server.until_agent("WILL", |it| it["is_online"] == false).await;
    assert_eq!(watcher.heard_so_far().await, [], "no will after DISCONNECT");

    phone.comes_up(&server).await;
    phone.vanishes();
    let will = watcher.hears("0/agent/WILL/Status/Online").await;
    assert_eq!((will.payload.as_str(), will.retain), (r#"{ "online": false }"#, false));
    server.until_agent("WILL", |it| it["is_online"] == false).await;
}

#[tokio::test]
async fn a_will_to_a_foreign_topic_is_accepted_and_dropped() {
    let server = Server::start().await;
    let (name, password) = server.service("watcher", &["#:r"]).await;
    let mut watcher = Link::service(&server, &name, &password).await;
    watcher.subscribes("#", 1).await;
    let mut phone = server.enrolled("RC5").await;
    phone.will = Some(("/Status/Online".to_owned(), b"{ online: false }".to_vec(), 0, false)); // as rc.1 to rc.5 do
    phone.comes_up(&server).await;
    server.until_agent("RC5", |it| it["is_online"] == true).await;
    phone.vanishes();
    server.until_agent("RC5", |it| it["is_online"] == false).await;
    assert!(watcher.heard_so_far().await.iter().all(|it| it.topic != "/Status/Online"));
}

#[tokio::test]
async fn a_device_that_comes_back_under_a_new_client_id_again_and_again_is_never_shown_offline() {
    let server = Server::start().await;
    let mut phone = server.enrolled("FLAPPER").await;
    phone.comes_up(&server).await;
    server.until_agent("FLAPPER", |it| it["is_online"] == true).await;
    let mut old_links: Vec<Link> = Vec::new();
    for _ in 0..10 {
        old_links.push(phone.take_link());
        phone.client_id = paho_id();
        phone.comes_up(&server).await;
        assert_eq!(server.agent("FLAPPER").await["is_online"], true);
    }
    for link in &mut old_links {
        link.is_closed().await;
    }
    phone.says("Status/Ping", "!").await;
    assert_eq!(server.agent("FLAPPER").await["is_online"], true);
}

#[tokio::test]
async fn after_a_crash_nobody_is_shown_online_and_devices_come_back() {
    let mut server = Server::start().await;
    let mut phones: Vec<Phone> = Vec::new();
    for n in 0..5 {
        let mut phone = server.enrolled(&format!("CRASH-{n}")).await;
        phone.comes_up(&server).await;
        phones.push(phone);
    }
    for phone in &phones {
        server.until_agent(&phone.serial, |it| it["is_online"] == true).await;
    }
    server.kill_9();
    server.start_again().await;
    for phone in &phones {
        assert_eq!(server.agent(&phone.serial).await["is_online"], false, "{}", phone.serial);
    }
    for phone in &mut phones {
        phone.comes_up(&server).await;
        server.until_agent(&phone.serial, |it| it["is_online"] == true).await;
    }
}

#[tokio::test]
async fn a_clean_stop_closes_connections_and_leaves_nobody_online() {
    let mut server = Server::start().await;
    let mut phone = server.enrolled("STOP").await;
    phone.comes_up(&server).await;
    server.until_agent("STOP", |it| it["is_online"] == true).await;
    let began = Clock::System.instant();
    assert_eq!(server.stop().await.code(), Some(0), "{}", server.log());
    assert!(began.elapsed() < PATIENCE / 2, "SIGTERM took {:?}", began.elapsed());
    phone.link().is_closed().await;
    server.start_again().await;
    assert_eq!(server.agent("STOP").await["is_online"], false);
}

#[tokio::test]
async fn who_comes_or_leaves_while_the_database_takes_nothing_is_shown_as_he_is_afterwards() {
    for url in [String::new(), postgres::fresh_database()] {
        let server = Server::with(&[("MDMQ_DATABASE__URL", &url)]).await;
        let (mut leaver, mut comer) = (server.enrolled("LEAVER").await, server.enrolled("COMER").await);
        leaver.comes_up(&server).await;
        server.until_agent("LEAVER", |it| it["is_online"] == true).await;
        refuse_presence(&server, &url).await;
        comer.comes_up(&server).await;
        leaver.says_goodbye().await;
        until("both are remembered", async || server.metric("mdm_presence_unwritten").await == 2.0).await;
        assert_eq!(server.agent("LEAVER").await["is_online"], true);
        assert_eq!(server.agent("COMER").await["is_online"], false);

        take_presence(&server, &url).await;
        server.until_agent("LEAVER", |it| it["is_online"] == false).await;
        server.until_agent("COMER", |it| it["is_online"] == true).await;
        until("nothing is in doubt", async || server.metric("mdm_presence_unwritten").await == 0.0).await;
    }
}

/// From now on nothing that says who is online can be written.
async fn refuse_presence(server: &Server, url: &str) {
    if url.is_empty() {
        let refuse = "create trigger full before update of is_online on agent begin select raise(abort, 'full'); end";
        return sqlite::execute(server, refuse).await;
    }
    postgres::execute(
        url,
        "create function full_disk() returns trigger as $$ begin raise 'full'; end $$ language plpgsql",
    );
    postgres::execute(
        url,
        "create trigger full_disk before update of is_online on agent for each row execute function full_disk()",
    );
}

async fn take_presence(server: &Server, url: &str) {
    if url.is_empty() {
        return sqlite::execute(server, "drop trigger full").await;
    }
    postgres::execute(url, "drop trigger full_disk on agent");
}

#[tokio::test]
async fn a_device_that_leaves_while_postgres_is_away_is_shown_offline_when_it_is_back() {
    let url = postgres::fresh_database();
    let server = Server::with(&[("MDMQ_DATABASE__URL", &url)]).await;
    let (mut reporter, mut silent) = (server.enrolled("REPORTER").await, server.enrolled("SILENT").await);
    for phone in [&mut reporter, &mut silent] {
        phone.comes_up(&server).await;
        server.until_agent(&phone.serial, |it| it["is_online"] == true).await;
    }
    postgres::stop_database(&url);
    let topic = format!("{}/Status/Ping", reporter.topic);
    reporter.link().sends(&wire::publish(&topic, b"!", 1, false, 1)).await;
    // It is not acknowledged what could not be written.
    reporter.link().is_closed().await;
    silent.vanishes();
    until("the loss is noticed", async || server.log().matches("not written").count() >= 2).await;
    postgres::start_database(&url);
    until("the server is ready", async || server.page("/readyz").await.0 == 200).await;
    for serial in ["REPORTER", "SILENT"] {
        server.until_agent(serial, |it| it["is_online"] == false).await;
    }
}

#[tokio::test]
async fn a_device_that_cannot_be_served_as_if_it_had_subscribed_is_let_go_and_comes_again() {
    let server = Server::with(&[("MDMQ_MQTT__IMPLICIT_SUBSCRIPTION_AFTER_S", "3")]).await;
    let mut phone = server.enrolled("SILENT").await;
    server.cli(&["agent", "ping", "SILENT"]).await;
    phone.connects(&server).await;
    sqlite::execute(&server, "alter table command rename to command_away").await;
    phone.link().is_closed().await;
    sqlite::execute(&server, "alter table command_away rename to command").await;
    phone.connects(&server).await;
    phone.hears("Command/Ping").await;
}
