//! What a simulated device says over HTTP, header by header as the released agents do: enrollment (spec/agent-behaviour.md §1)
//! and the reports of profile A. Decides nothing about MQTT.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Client, Method, RequestBuilder,
    header::{ACCEPT, CONTENT_TYPE, REFERER, USER_AGENT},
};
use serde_json::{Value, json};

use super::device::{Device, HttpReport, Profile};
use crate::{clock::Timestamp, mdm::deeplink::Deeplink};

/// Who wants to enroll.
pub struct Applicant {
    /// Which agent it runs.
    pub profile: Profile,
    /// Serial; for iOS the UUID as well.
    pub serial: String,
    /// UUID of the device.
    pub uuid: String,
    /// Address that was invited.
    pub email: String,
    /// Inventory XML without the tag of the invitation.
    pub inventory: String,
    /// The key that it wants a certificate for.
    pub key: Option<rcgen::KeyPair>,
}

/// What the server told a new agent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base of the HTTP API.
    pub base: String,
    /// Agent id.
    pub id: i64,
    /// Computer id.
    pub computer: i64,
    /// Host of the broker.
    pub broker: String,
    /// Port of the broker.
    pub port: u16,
    /// Whether the broker wants TLS.
    pub tls: bool,
    /// Topic prefix, as given.
    pub topic: String,
    /// MQTT password.
    pub password: String,
    /// Token for later HTTP sessions.
    pub api_token: String,
    /// The certificate that it asked for, or "".
    pub certificate: String,
    /// How it shakes hands with that instead of a password.
    pub certified: Option<Arc<rustls::ClientConfig>>,
}

/// Why a request did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No answer.
    #[error("{at}: {why}")]
    Unreachable {
        /// Which step.
        at: &'static str,
        /// Kind of failure.
        why: &'static str,
    },
    /// A GLPI error, or anything that an agent takes for one.
    #[error("{at}: {status} {code}")]
    Glpi {
        /// Which step.
        at: &'static str,
        /// HTTP status.
        status: u16,
        /// First element of the array, or the beginning of the body.
        code: String,
    },
    /// A success that the agent cannot use.
    #[error("{at}: {member} is missing or of the wrong type")]
    Lacks {
        /// Which step.
        at: &'static str,
        /// What is missing.
        member: &'static str,
    },
}

/// Enrolls: session, profile, agent, settings.
///
/// # Errors
/// The first step that a released agent would give up at.
pub async fn enroll(http: &Client, who: &Applicant, link: &Deeplink, base: &str) -> Result<Settings, Refused> {
    let talk = Talk { http, base, user_token: &link.user_token, apple: who.profile == Profile::F };
    let session = talk.open_session().await?;
    let full = talk.ask("getFullSession", Method::GET, "getFullSession", &session, None).await?;
    let guest = &full["session"]["plugin_flyvemdm_guest_profiles_id"];
    let guest =
        number(guest).ok_or(Refused::Lacks { at: "getFullSession", member: "plugin_flyvemdm_guest_profiles_id" })?;
    if talk.apple && full["session"]["glpiactiveprofile"]["id"].as_i64() != Some(guest) {
        // iOS goes on only when the guest profile is active already.
        return Err(Refused::Lacks { at: "getFullSession", member: "glpiactiveprofile.id" });
    }
    let change = format!("changeActiveProfile?profiles_id={guest}");
    talk.ask("changeActiveProfile", Method::POST, &change, &session, None).await?;

    let body = application(who, &link.invitation_token).to_string();
    // Android writes the low byte of every character; iOS writes UTF-8 (spec/http.md §1.1).
    let body = if talk.apple { body.into_bytes() } else { low_bytes(&body) };
    let made = talk.ask("POST agent", Method::POST, "PluginFlyvemdmAgent", &session, Some(body)).await?;
    let id = if talk.apple { made["id"].as_i64() } else { number(&made["id"]) };
    let id = id.ok_or(Refused::Lacks { at: "POST agent", member: "id" })?;

    let answer = talk.ask("GET agent", Method::GET, &format!("PluginFlyvemdmAgent/{id}"), &session, None).await?;
    settings(&answer, base)
}

/// Says what profile A says by HTTP, each time in a new session that it never closes.
///
/// # Errors
/// The step that failed.
pub async fn report(
    http: &Client,
    device: &Device,
    settings: &Settings,
    report: HttpReport,
    now: Timestamp,
) -> Result<(), Refused> {
    let talk = Talk { http, base: &settings.base, user_token: &settings.api_token, apple: false };
    let session = talk.open_session().await?;
    let agent = format!("PluginFlyvemdmAgent/{}", settings.id);
    let (at, method, endpoint, input) = match report {
        HttpReport::Online(online) => ("PUT is_online", Method::PUT, agent, json!({"is_online": online})),
        HttpReport::Pong => ("PUT _pong", Method::PUT, agent, json!({"_pong": "!"})),
        HttpReport::Inventory => {
            ("PUT _inventory", Method::PUT, agent, json!({"_inventory": STANDARD.encode(&device.inventory)}))
        }
        HttpReport::Position => {
            let (latitude, longitude) = device.coordinates();
            let input = json!({
                "_datetime": now.0 / 1000, "_agents_id": settings.id, "computers_id": settings.computer,
                "latitude": format!("{latitude:.7}"), "longitude": format!("{longitude:.7}"),
            });
            ("POST geolocation", Method::POST, "PluginFlyvemdmGeolocation".to_owned(), input)
        }
        HttpReport::TaskStatus { task, statuses } => {
            let mut last = Ok(());
            for status in statuses {
                last = report_status(&talk, settings.id, task, status).await;
            }
            return last;
        }
    };
    let request = http
        .request(method, format!("{}/{endpoint}", settings.base))
        .header("Session-Token", &session)
        .header(ACCEPT, "application/octet-stream")
        .header(CONTENT_TYPE, "application/json")
        .body(low_bytes(&json!({"input": input}).to_string()));
    finish(at, request).await.map(|_| ())
}

/// Profile A opens a session for each status, looks for its row and takes the first that it finds.
async fn report_status(talk: &Talk<'_>, agent: i64, task: i64, status: &str) -> Result<(), Refused> {
    let session = talk.open_session().await?;
    let of_agent = format!("criteria[0][field]=5&criteria[0][searchtype]=contains&criteria[0][value]={agent}");
    let of_task = format!("criteria[1][field]=6&criteria[1][searchtype]=contains&criteria[1][value]={task}");
    let search = format!("search/PluginFlyvemdmTaskstatus/?{of_agent}&{of_task}&forcedisplay=2");
    let found = talk.ask("search task status", Method::GET, &search, &session, None).await?;
    // A task that was taken back in the meantime has no status any more.
    let Some(row) = number(&found["data"][0]["2"]) else { return Ok(()) };
    let body = low_bytes(&json!({"input": {"status": status}}).to_string());
    let endpoint = format!("PluginFlyvemdmTaskstatus/{row}");
    talk.ask("PUT task status", Method::PUT, &endpoint, &session, Some(body)).await.map(|_| ())
}

struct Talk<'a> {
    http: &'a Client,
    base: &'a str,
    user_token: &'a str,
    apple: bool,
}

impl Talk<'_> {
    async fn open_session(&self) -> Result<String, Refused> {
        let url = format!("{}/initSession?user_token={}", self.base, self.user_token);
        let mut request = self.http.get(url).header("user_token", self.user_token);
        if self.apple {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let answer = finish("initSession", request).await?;
        let token = answer["session_token"].as_str().map(str::to_owned);
        token.ok_or(Refused::Lacks { at: "initSession", member: "session_token" })
    }

    async fn ask(
        &self,
        at: &'static str,
        method: Method,
        endpoint: &str,
        session: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Value, Refused> {
        let url = format!("{}/{endpoint}", self.base);
        let mut request = self.http.request(method, &url).header("Session-Token", session);
        request = if self.apple {
            request.header(CONTENT_TYPE, "application/json")
        } else {
            request
                .header(ACCEPT, "application/json")
                .header(CONTENT_TYPE, "application/json;charset=UTF-8")
                .header(USER_AGENT, "Flyve MDM")
                .header(REFERER, &url)
                .header("user_token", self.user_token)
        };
        if let Some(body) = body {
            request = request.body(body);
        }
        finish(at, request).await
    }
}

/// Sends and reads as the agents do: any body with `ERROR` in it is a failure, on any status (spec/http.md §1.2).
async fn finish(at: &'static str, request: RequestBuilder) -> Result<Value, Refused> {
    let answer = request.send().await.map_err(|error| Refused::Unreachable { at, why: kind(&error) })?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| Refused::Unreachable { at, why: kind(&error) })?;
    if !status.is_success() || body.contains("ERROR") || body.contains("EXCEPTION_HTTP") {
        return Err(Refused::Glpi { at, status: status.as_u16(), code: glpi_code(&body) });
    }
    Ok(serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn kind(error: &reqwest::Error) -> &'static str {
    match error {
        _ if error.is_timeout() => "no answer in time",
        _ if error.is_connect() => "cannot connect",
        _ => "the connection broke",
    }
}

fn glpi_code(body: &str) -> String {
    match serde_json::from_str::<[String; 2]>(body) {
        Ok([code, message]) => format!("{code} {}", message.split(';').next().unwrap_or_default()),
        Err(_) => body.chars().take(60).collect(),
    }
}

/// The `input` of the enrollment POST.
fn application(who: &Applicant, invitation: &str) -> Value {
    let tag = format!("<KEYNAME>TAG</KEYNAME><KEYVALUE>invitation_{invitation}</KEYVALUE>");
    let inventory = who.inventory.replace("<ACCOUNTINFO/>", &format!("<ACCOUNTINFO>{tag}</ACCOUNTINFO>"));
    let mut input = json!({
        "_email": who.email, "_invitation_token": invitation, "_serial": who.serial, "_uuid": who.uuid, "csr": csr(who),
        "firstname": "Zoé", "lastname": "Simulée", "phone": "+33 1 23 45 67 89",
        "version": "2.0.0-rc.6", "type": "android", "has_system_permission": "1",
        "inventory": STANDARD.encode(inventory),
    });
    match who.profile {
        Profile::A => {
            input["version"] = "2.0.0-rc.7".into();
            input["notification_type"] = "mqtt".into();
            input["notification_token"] = "".into();
        }
        Profile::B => {}
        Profile::C => input["version"] = "2.0.0-rc.5".into(),
        Profile::F => {
            input["version"] = "1.0.0".into();
            input["type"] = "apple".into();
            input["has_system_permission"] = "0".into();
        }
    }
    json!({ "input": input })
}

/// The request for a certificate, in URL encoding as Android sends it.
fn csr(who: &Applicant) -> String {
    let request = who.key.as_ref().and_then(|key| rcgen::CertificateParams::default().serialize_request(key).ok());
    let pem = request.and_then(|it| it.pem().ok()).unwrap_or_default();
    percent_encoding::utf8_percent_encode(&pem, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// What Android needs of the settings; a missing member aborts its enrollment (spec/http.md §5.1).
fn settings(answer: &Value, base: &str) -> Result<Settings, Refused> {
    let lacks = |member| Refused::Lacks { at: "GET agent", member };
    let text = |member: &'static str| answer[member].as_str().map(str::to_owned).ok_or(lacks(member));
    let integer = |member: &'static str| answer[member].as_i64().ok_or(lacks(member));
    text("name")?;
    for member in ["entities_id", "plugin_flyvemdm_fleets_id"] {
        integer(member)?;
    }
    Ok(Settings {
        base: base.to_owned(),
        id: integer("id")?,
        computer: integer("computers_id")?,
        broker: text("broker")?,
        port: u16::try_from(integer("port")?).map_err(|_| lacks("port"))?,
        tls: integer("tls")? == 1,
        topic: text("topic")?,
        password: text("mqttpasswd")?,
        api_token: text("api_token")?,
        certificate: text("certificate")?,
        certified: None,
    })
}

/// A number, or a number in quotes.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn low_bytes(text: &str) -> Vec<u8> {
    #[expect(clippy::cast_possible_truncation, reason = "the agents cut characters to their low byte")]
    text.chars().map(|it| u32::from(it) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applicant(profile: Profile) -> Applicant {
        let inventory = "<CONTENT><ACCOUNTINFO/></CONTENT>".into();
        Applicant { profile, serial: "S".into(), uuid: "U".into(), email: "a@example.org".into(), inventory, key: None }
    }

    #[test]
    fn only_profile_a_names_its_notification_type() {
        let input = |profile| application(&applicant(profile), "t")["input"].clone();
        assert_eq!(input(Profile::A)["notification_type"], "mqtt");
        assert!(input(Profile::B).get("notification_type").is_none());
        assert_eq!(
            (&input(Profile::F)["type"], &input(Profile::F)["has_system_permission"]),
            (&json!("apple"), &json!("0"))
        );
    }

    #[test]
    fn the_inventory_carries_the_tag_of_the_invitation() {
        let input = application(&applicant(Profile::B), "t0ken");
        let xml = STANDARD.decode(input["input"]["inventory"].as_str().unwrap()).unwrap();
        assert!(String::from_utf8(xml).unwrap().contains("<KEYVALUE>invitation_t0ken</KEYVALUE>"));
    }

    #[test]
    fn android_bodies_are_latin_1() {
        assert_eq!(low_bytes("Zoé"), b"Zo\xe9");
    }

    #[test]
    fn error_arrays_are_cut_at_the_semicolon() {
        assert_eq!(
            glpi_code(r#"["ERROR_GLPI_ADD","Enrollment failed; view more"]"#),
            "ERROR_GLPI_ADD Enrollment failed"
        );
        assert_eq!(glpi_code("<html>"), "<html>");
    }

    #[test]
    fn settings_without_a_password_are_of_no_use() {
        let mut answer = json!({
            "id": 17, "computers_id": 65, "entities_id": 0, "plugin_flyvemdm_fleets_id": 1, "broker": "localhost", "port": 8883, "tls": 1,
            "topic": "0/agent/S", "mqttpasswd": "p", "api_token": "t", "certificate": "", "name": "a@example.org",
        });
        assert!(settings(&answer, "http://localhost").unwrap().tls);
        answer["mqttpasswd"] = Value::Null;
        assert_eq!(settings(&answer, "").unwrap_err(), Refused::Lacks { at: "GET agent", member: "mqttpasswd" });
    }
}
