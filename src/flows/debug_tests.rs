//! Whatever holds a secret shows `***` when it is printed for people who look for a fault.

use bytes::Bytes;

use super::{SecretKey, administer::Opened, enroll::Settings, invite::Invited, people::Introduced, tokens::MadeToken};
use crate::{
    config::Secret,
    flows::ToldSettings,
    ids::InvitationId,
    mdm::{deeplink::Deeplink, enroll::Attempt},
    mqtt::packet::{Connect, Version},
    store::person::PersonChange,
};

/// Stands for every secret.
const SECRET: &str = "s3cr3t-s3cr3t";

#[test]
fn nothing_shows_the_secret_that_it_holds() {
    let text = || SECRET.to_owned();
    let input = serde_json::json!({ "_invitation_token": SECRET, "notification_token": SECRET, "_email": "a@b.org" });
    let link = Deeplink { user_token: text(), invitation_token: text(), ..Deeplink::default() };
    let told = ToldSettings { broker: "mqtt".into(), port: 1, tls: true };
    let invited = Invited {
        invitation_id: InvitationId(1),
        invitation_token: text(),
        user_token: text(),
        deeplink: text(),
        expires_at: String::new(),
        mail: "none",
    };
    let connect = Connect {
        version: Version::V3_1_1,
        client_id: "phone".into(),
        clean_session: true,
        keep_alive_s: 60,
        will: None,
        username: Some("AZERTY".into()),
        password: Some(Bytes::from_static(SECRET.as_bytes())),
    };
    let change = PersonChange { secret: Some(text()), ..PersonChange::default() };
    let person = Introduced { password: Some(text()), change: change.clone(), ..Introduced::default() };
    let all = [
        format!("{:?}", Secret(text())),
        format!("{:?}", SecretKey::random()),
        format!("{:?}", SecretKey::random().audit_key()),
        format!("{:?}", Opened { name: "backend".into(), password: text().into() }),
        format!("{:?}", MadeToken { name: "helpdesk".into(), token: text().into() }),
        format!("{:?}", Settings { topic: "t".into(), mqtt_password: text().into(), told }),
        format!("{person:?}"),
        format!("{change:?}"),
        format!("{invited:?}"),
        format!("{link:?}"),
        format!("{:?}", Attempt::read(input.as_object().unwrap())),
        format!("{connect:?}"),
    ];
    for shown in &all {
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(shown.contains("***"), "{shown}");
    }
}
