//! What is refused, and that the shipped file shows the defaults.

use super::*;

const SHIPPED: &str = "config/server.toml";

#[test]
fn the_shipped_file_shows_every_key_at_its_default() {
    let text = std::fs::read_to_string(SHIPPED).unwrap();
    let shipped: serde_json::Value = Figment::from(Toml::string(&text)).extract().unwrap();
    assert_eq!(shipped, serde_json::to_value(Config::default()).unwrap());
}

#[test]
fn the_defaults_work() {
    assert!(Config::default().check().is_ok());
}

fn check(change: impl FnOnce(&mut Config), expected: &str) {
    let mut config = Config::default();
    change(&mut config);
    let error = config.check().unwrap_err();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn settings_that_cannot_work_are_named() {
    check(|c| c.mqtt.tls_listen = "8883".into(), "mqtt.tls_listen");
    check(|c| c.mqtt.ws_listen = "0.0.0.0:80".into(), "mqtt.ws_listen is not available");
    check(|c| c.cluster.nats_url = "nats://x".into(), "cluster.nats_url is not available");
    check(|c| c.admin.listen.clear(), "admin.listen");
    check(|c| c.mqtt.key_file = "key.pem".into(), "mqtt.certificate_file");
    check(|c| c.mqtt.inflight_max = 0, "mqtt.inflight_max");
    check(|c| c.mqtt.client_certificate_life_s = 1, "mqtt.client_certificate_life_s");
    check(|c| c.mqtt.client_crl_files.push("crl.pem".into()), "mqtt.client_crl_files");
    check(|c| c.database.url.0 = "mysql://x".into(), "database.url");
    check(|c| c.files.downloads_max = 0, "files.downloads_max");
    check(|c| c.mqtt.connect_bytes_max = 10, "mqtt.connect_bytes_max");
    check(|c| c.mqtt.connect_timeout_s = 0, "mqtt.connect_timeout_s");
    check(|c| c.mqtt.handshake_timeout_s = 0, "mqtt.handshake_timeout_s");
    check(|c| c.http.request_timeout_s = 0, "http.request_timeout_s");
    check(|c| c.http.bodies_bytes_max = 10, "http.bodies_bytes_max");
    check(|c| c.mqtt.unfinished_bytes_max = 10, "mqtt.unfinished_bytes_max");
    check(|c| c.http.public_url = "http://x/".into(), "http.public_url");
    check(|c| c.http.trusted_proxies = vec!["10.0.0.0/8".into(), "proxy".into()], "http.trusted_proxies: \"proxy\"");
}

#[test]
fn a_level_of_the_log_that_would_print_nothing_is_refused() {
    for level in ["debgu", "", " ,", "mdmq", "info,debgu", "mdmq=debgu", "mdmq::net=debug,x y", "5"] {
        check(|c| c.log.level = level.into(), "log.level");
    }
    for level in ["info", "OFF", "Warn", "mdmq::net=debug", "info,mdmq::net=trace", "warn, mdmq=off", "mdmq::http"] {
        let mut config = Config::default();
        config.log.level = level.into();
        assert!(config.check().is_ok(), "{level}");
    }
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("server.toml");
    let name = file.display();
    let check = |text: &str, expected: &str| {
        std::fs::write(&file, text).unwrap();
        assert_eq!(Config::load(Some(&file)).unwrap_err(), format!("{name}: {expected}"));
    };
    check("[mqtt]\ntsl_listen = \"\"\n", "there is no setting mqtt.tsl_listen; did you mean mqtt.tls_listen?");
    check("[mtqq]\n", "there is no setting mtqq; did you mean mqtt?");
    check("[mqtt]\nfoo = 1\n", "there is no setting mqtt.foo");
    check("[mqtt]\npublic_port = \"x\"\n", "mqtt.public_port is string \"x\", but must be u16");
    check("[log]\nformat = \"xml\"\n", "log.format = \"xml\" must be one of text, json");
    std::fs::write(&file, "[database]\nurl = \"postgres://mdmq:hunter2@db\n").unwrap();
    let said = Config::load(Some(&file)).unwrap_err();
    assert!(said.contains("line 2") && !said.contains("hunter2") && !said.contains('\n'), "{said}");
    assert!(Config::load(Some(&home.path().join("none"))).unwrap_err().contains("cannot read"));
}

#[test]
fn what_others_can_read_on_the_way_is_unwise() {
    let unwise = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        config.check().unwrap().iter().any(|it| it.starts_with("http.listen"))
    };
    assert!(unwise(&|_| {}));
    assert!(!unwise(&|it| it.http.listen = "127.0.0.1:8080".into()));
    assert!(!unwise(&|it| it.http.listen = "[::1]:8080".into()));
    assert!(!unwise(&|it| it.http.listen.clear()));
    assert!(!unwise(&|it| it.http.trusted_proxies = vec!["10.0.0.1".into()]), "it is TLS up to there");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let mut config = Config::default();
    config.database.url.0 = "postgres://mdmq:hunter2@db/mdmq".into();
    assert!(!format!("{config:?}").contains("hunter2"));
}
