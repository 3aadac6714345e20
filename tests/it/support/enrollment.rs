//! Enrollment over HTTP as the shipped agents do it, step by step.

use base64::Engine;
use serde_json::{Value, json};

use super::{PATIENCE, Phone, Server};

/// How a kind of agent enrolls.
#[derive(Debug, Clone)]
pub struct Profile {
    /// `android` or `apple`.
    pub kind: &'static str,
    /// Protocol level that it speaks afterwards.
    pub level: u8,
    /// Whether it sends `notification_type` (from Android rc.7 on).
    pub says_notification: bool,
    /// Entity that it is invited into.
    pub entity: i64,
    /// Path in front of the endpoints.
    pub base: &'static str,
    /// What it wants to have signed; "" for nothing.
    pub csr: String,
}

impl Profile {
    /// Profiles A and A7: Android rc.7 and later.
    pub fn android() -> Profile {
        Profile { kind: "android", level: 3, says_notification: true, entity: 0, base: "", csr: String::new() }
    }

    /// Profile B: Android rc.6, without notification settings.
    pub fn android_rc6() -> Profile {
        Profile { says_notification: false, ..Profile::android() }
    }

    /// Profile F: iOS.
    pub fn apple() -> Profile {
        Profile { kind: "apple", level: 4, says_notification: false, ..Profile::android() }
    }
}

/// What the deeplink carries, as `mdmq invite --json` prints it.
#[derive(Debug, Clone)]
pub struct Invitation {
    pub user_token: String,
    pub invitation_token: String,
    pub email: String,
}

/// Invites somebody new into the entity.
pub async fn invite(server: &Server, serial: &str, entity: i64) -> Invitation {
    let email = format!("{}@example.com", serial.to_lowercase());
    let made = server.cli(&["invite", "--email", &email, "--entity", &entity.to_string()]).await;
    let field = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("invite says no {name}: {made}")).to_owned();
    Invitation { user_token: field("user_token"), invitation_token: field("invitation_token"), email }
}

/// Invites and enrolls; answers with the phone that came of it, not connected yet.
pub async fn enroll(server: &Server, serial: &str, profile: &Profile) -> Phone {
    let invitation = invite(server, serial, profile.entity).await;
    enroll_with(server, serial, profile, &invitation).await
}

/// The steps of spec/agent-behaviour.md §1 with an invitation in hand.
pub async fn enroll_with(server: &Server, serial: &str, profile: &Profile, invitation: &Invitation) -> Phone {
    let http = Http { base: format!("{}{}", server.http_url(), profile.base), client: reqwest::Client::new() };
    let (status, opened) = http.get(&format!("/initSession?user_token={}", invitation.user_token), "").await;
    assert_eq!(status, 200, "initSession: {opened}\n{}", server.log());
    let session = opened["session_token"].as_str().unwrap().to_owned();

    let (status, full) = http.get("/getFullSession", &session).await;
    assert_eq!(status, 200, "getFullSession: {full}");
    let guest = full["session"]["plugin_flyvemdm_guest_profiles_id"].as_i64().expect("a numeric guest profile");
    let (status, body) = http.send("POST", &format!("/changeActiveProfile?profiles_id={guest}"), &session, None).await;
    assert_eq!(status, 200, "changeActiveProfile: {body}");

    let input = enrollment_input(serial, profile, invitation);
    let (status, made) = http.send("POST", "/PluginFlyvemdmAgent", &session, Some(&json!({ "input": input }))).await;
    assert!(status == 200 || status == 201, "enrollment: {status} {made}\n{}", server.log());
    let id = made["id"].as_i64().expect("a numeric id");

    let (status, settings) = http.get(&format!("/PluginFlyvemdmAgent/{id}"), &session).await;
    assert_eq!(status, 200, "settings: {settings}");
    let text = |name: &str| settings[name].as_str().unwrap_or_else(|| panic!("no {name} in {settings}"));
    let mut phone = Phone::new(serial, text("mqttpasswd"), text("topic"));
    phone.level = profile.level;
    if profile.kind == "apple" {
        phone.client_id = serial.to_owned();
        phone.will = Some((format!("{}/Status/Online", phone.topic), b"{ online: false }".to_vec(), 0, false));
    }
    phone.settings = settings;
    phone
}

/// The body of the enrollment POST.
pub fn enrollment_input(serial: &str, profile: &Profile, invitation: &Invitation) -> Value {
    let mut input = json!({
        "_email": invitation.email,
        "_invitation_token": invitation.invitation_token,
        "_serial": serial,
        "_uuid": format!("uuid-{serial}"),
        "csr": profile.csr,
        "firstname": "Ada",
        "lastname": "Lovelace",
        "phone": "",
        "version": "2.0.0-rc.7",
        "type": profile.kind,
        "has_system_permission": "0",
        "inventory": base64::engine::general_purpose::STANDARD.encode(inventory_xml(serial)),
    });
    if profile.says_notification {
        input["notification_type"] = json!("mqtt");
        input["notification_token"] = json!("");
    }
    input
}

/// A small FusionInventory document.
pub fn inventory_xml(serial: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<REQUEST><QUERY>INVENTORY</QUERY><VERSIONCLIENT>FlyveMDM-Agent_v2.0.0</VERSIONCLIENT>\
         <DEVICEID>{serial}-2018-12-17-10-00-00</DEVICEID><CONTENT><HARDWARE><NAME>Pixel of {serial}</NAME><UUID>uuid-{serial}</UUID>\
         <OSNAME>Android</OSNAME><OSVERSION>8.1.0</OSVERSION></HARDWARE><BIOS><SSN>{serial}</SSN><SMODEL>Pixel 2</SMODEL>\
         <SMANUFACTURER>Google</SMANUFACTURER></BIOS></CONTENT></REQUEST>"
    )
}

/// The agents' API, spoken with the headers of the Android agent.
pub struct Http {
    pub base: String,
    pub client: reqwest::Client,
}

impl Http {
    /// The API of this server under `/`.
    pub fn of(server: &Server) -> Http {
        Http { base: server.http_url(), client: reqwest::Client::new() }
    }

    /// A session opened with a user token or an agent's token.
    pub async fn session(&self, token: &str) -> String {
        let (status, opened) = self.get(&format!("/initSession?user_token={token}"), "").await;
        assert_eq!(status, 200, "initSession: {opened}");
        opened["session_token"].as_str().unwrap().to_owned()
    }

    /// GET: status and JSON body.
    pub async fn get(&self, path: &str, session: &str) -> (u16, Value) {
        self.send("GET", path, session, None).await
    }

    /// Any method: status and JSON body (`Null` where it is empty or no JSON).
    pub async fn send(&self, method: &str, path: &str, session: &str, body: Option<&Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .header("Accept", "application/json")
            .header("Content-Type", "application/json;charset=UTF-8")
            .header("User-Agent", "Flyve MDM")
            .timeout(PATIENCE);
        if !session.is_empty() {
            request = request.header("Session-Token", session);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }
}
