//! Online means online: wills, takeovers, silence, crashes.

use mdmq::clock::Clock;

use crate::support::{
    PATIENCE, Phone, Server,
    phone::{Link, paho_id},
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
