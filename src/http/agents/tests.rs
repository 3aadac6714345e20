//! The sequence of the seeds and what can go wrong in it, over a real socket.

use std::{sync::Arc, sync::atomic::AtomicI64};

use reqwest::{Client, Method, header::HeaderMap};
use serde_json::{Value, json};

use crate::{
    broker::{hub::Hub, places::SessionBounds, retained::Retained},
    clock::{Clock, Timestamp},
    config::{Config, Database},
    flows::{
        Flows, SecretKey, ToldSettings, certificates::Desk, files::Traffic, invite::Wish, policies::Policies,
        settled::Settled,
    },
    ids::PersonId,
    metrics::Metrics,
    store::{
        Store,
        db::Statement,
        session::{self, Opening, Owner, Proof, Since, Terms},
    },
};

const START_MS: i64 = 1_700_000_000_000;

/// A server on a free port, its stories, and a client.
struct World {
    flows: Arc<Flows>,
    base: String,
    client: Client,
    now: Arc<AtomicI64>,
    _data: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
struct Said {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// Status and body, as snapshots show them.
    fn line(&self) -> String {
        format!("{} {}", self.status, self.body)
    }
}

impl World {
    async fn new(change: impl FnOnce(&mut Config)) -> World {
        let data = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(START_MS));
        let clock = Clock::Manual(now.clone());
        let mut config = Config::default();
        config.http.public_url = "http://mdm.example".into();
        change(&mut config);
        let (database, key) = (Database::default(), SecretKey::random().audit_key());
        let store = Store::open(&database, data.path(), clock.clone(), key, |_| {}).await.unwrap();
        let flows = Arc::new(Flows {
            store,
            hub: Hub::new(1, SessionBounds { sessions_max: 10, per_account_max: 10 }, Retained::new(10, 1000)),
            clock,
            metrics: Arc::new(Metrics::default()),
            traffic: Traffic::new(&config.files),
            certificates: Desk::open(&config, data.path(), Timestamp(START_MS)).unwrap(),
            guard: crate::flows::guard::Guard::new(&config, Clock::System.instant()),
            audit_watch: crate::flows::audit::Watch::new(data.path()),
            config: Arc::new(config),
            secret_key: SecretKey::random(),
            told: std::sync::OnceLock::new(),
            is_stopping: std::sync::atomic::AtomicBool::new(false),
            policies: Policies::default(),
            doubts: Arc::default(),
            settled: Settled::default(),
            mail_waits: tokio::sync::Notify::new(),
            passwords: crate::flows::passwords::Passwords::default(),
        });
        flows.told.set(ToldSettings { broker: "mqtt.example".into(), port: 8883, tls: true }).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = super::router(flows.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        World { flows, base, client: Client::new(), now, _data: data }
    }

    async fn send(&self, method: &str, path: &str, session: &str, body: impl Into<reqwest::Body>) -> Said {
        let mut request = self
            .client
            .request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(body);
        if !session.is_empty() {
            request = request.header("Session-Token", session);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let said = Said { status, headers, body: answer.text().await.unwrap() };
        if status >= 400 {
            let pair: [String; 2] = serde_json::from_str(&said.body).unwrap_or_else(|e| panic!("{e}: {said:?}"));
            assert!(!pair[0].is_empty());
        } else if status != 207 {
            assert!(!said.body.contains("ERROR"), "{said:?}");
        }
        assert!(said.headers["content-type"].to_str().unwrap().starts_with("application/json"));
        said
    }

    async fn get(&self, path: &str, session: &str) -> Said {
        self.send("GET", path, session, "").await
    }

    /// Invitation token and user token.
    async fn invite(&self, email: &str) -> (String, String) {
        let invited = self.flows.invite(Wish::of(email)).await.unwrap().unwrap();
        (invited.invitation_token, invited.user_token)
    }

    async fn session(&self, user_token: &str) -> String {
        let said = self.get(&format!("/initSession?user_token={user_token}"), "").await;
        assert_eq!(said.status, 200, "{said:?}");
        said.json()["session_token"].as_str().unwrap().to_owned()
    }

    async fn enroll(&self, session: &str, invitation: &str, changes: Value) -> Said {
        self.send("POST", "/PluginFlyvemdmAgent", session, seed_body(invitation, changes).to_string()).await
    }

    /// An enrolled agent: number, session of the person, settings.
    async fn enrolled(&self, email: &str, changes: Value) -> (i64, String, Value) {
        let (invitation, user_token) = self.invite(email).await;
        let session = self.session(&user_token).await;
        let mut changes = changes;
        changes["_email"] = email.into();
        let said = self.enroll(&session, &invitation, changes).await;
        assert_eq!(said.status, 200, "{said:?}");
        let id = said.json()["id"].as_i64().unwrap();
        let settings = self.get(&format!("/PluginFlyvemdmAgent/{id}"), &session).await;
        assert_eq!(settings.status, 200, "{settings:?}");
        (id, session, settings.json())
    }

    async fn execute(&self, sql: String) {
        let story = Statement::new(sql, []);
        self.flows.store.write(move |tx| Box::pin(async move { tx.execute(story).await })).await.unwrap();
    }

    async fn count(&self, sql: &'static str) -> i64 {
        self.flows.store.row(Statement::new(sql, [])).await.unwrap().unwrap().int("n")
    }
}

/// The body of the seed with some members changed.
fn seed_body(invitation: &str, changes: Value) -> Value {
    let mut input = json!({
        "_email": "emailaddress@domain.com", "_invitation_token": invitation, "_serial": "0123456ATDJ-045",
        "_uuid": "49D53434-0200-9D08-9000-01DEA9028055", "csr": "", "firstname": "my first name",
        "lastname": "my lastname", "version": "0.99.0", "type": "android",
    });
    for (name, value) in changes.as_object().unwrap() {
        input[name] = value.clone();
    }
    json!({ "input": input })
}

#[tokio::test]
async fn the_seeds_sequence_enrolls_a_device_under_every_base() {
    let mut told = Vec::new();
    for base in ["", "/api", "/apirest.php", "/glpi/apirest.php", "//glpi//apirest.php/"] {
        let world = World::new(|_| {}).await;
        let (invitation, user_token) = world.invite("emailaddress@domain.com").await;
        let said = world.get(&format!("{base}/initSession?user_token={user_token}"), "").await;
        assert_eq!(said.status, 200);
        let token = said.json()["session_token"].as_str().unwrap().to_owned();
        let full = world.get(&format!("{base}/getFullSession?session_token={token}"), "").await.json();
        assert_eq!(full["plugin_flyvemdm_guest_profiles_id"], 9);
        assert_eq!(full["glpiactiveprofile"]["id"], 9);
        assert_eq!(full["session"]["plugin_flyvemdm_guest_profiles_id"], 9);
        let path = format!("{base}/changeActiveProfile?profiles_id=9&session_token={token}");
        assert_eq!(world.send("POST", &path, "", "").await.line(), "200 true");
        assert_eq!(world.get(&path, "").await.line(), "200 true");
        let path = format!("{base}/PluginFlyvemdmAgent?session_token={token}");
        let said = world.send("POST", &path, "", seed_body(&invitation, json!({})).to_string()).await;
        assert_eq!(said.line(), r#"200 {"id":1,"message":""}"#);
        let mut settings = world.get(&format!("{base}/PluginFlyvemdmAgent/1/?session_token={token}"), "").await.json();
        assert_eq!(settings["mqttpasswd"].as_str().unwrap().len(), 32);
        assert_eq!(settings["api_token"].as_str().unwrap().len(), 40);
        settings["mqttpasswd"] = "password".into();
        settings["api_token"] = "token".into();
        told.push(settings.to_string());
        let killed = world.get(&format!("{base}/killSession?session_token={token}"), "").await;
        assert_eq!(killed.line(), "200 ");
        let said = world.get(&format!("{base}/getFullSession?session_token={token}"), "").await;
        assert_eq!(said.line(), r#"401 ["ERROR_SESSION_TOKEN_INVALID","session_token seems invalid"]"#);
    }
    told.dedup();
    assert_eq!(told.len(), 1, "the base changes nothing");
    insta::assert_snapshot!(told[0], @r#"{"android_bugcollecctor_url":"","android_bugcollector_login":"","android_bugcollector_passwd":"","api_token":"token","broker":"mqtt.example","certificate":"","computers_id":1,"enroll_status":"enrolled","entities_id":0,"has_system_permission":0,"id":1,"is_online":0,"last_contact":null,"last_report":null,"links":[{"href":"http://mdm.example/Computer/1","rel":"Computer"},{"href":"http://mdm.example/Entity/0","rel":"Entity"},{"href":"http://mdm.example/PluginFlyvemdmFleet/1","rel":"PluginFlyvemdmFleet"}],"lock":0,"mdm_type":"android","mqttpasswd":"password","name":"emailaddress@domain.com","notification_token":"","notification_type":"mqtt","plugin_flyvemdm_fleets_id":1,"port":8883,"tls":1,"topic":"0/agent/0123456ATDJ-045","users_id":1,"version":"0.99.0","wipe":0}"#);
}

#[tokio::test]
async fn refusals_are_hidden_or_explained_and_always_logged() {
    for explain in [false, true] {
        let world = World::new(|config| config.enrollment.explain_refusals = explain).await;
        let (invitation, user_token) = world.invite("emailaddress@domain.com").await;
        let session = world.session(&user_token).await;
        let cases = [
            (json!({"_email": ""}), "Unable to find a enrollment method"),
            (json!({"_invitation_token": "x"}), "Invitation token invalid"),
            (json!({"notification_type": "pigeon"}), "Notification settings are invalid"),
            (json!({"_serial": "", "_uuid": ""}), "One of serial and uuid is mandatory"),
            (json!({"inventory": ""}), "Device inventory XML is mandatory"),
            (json!({"inventory": "eA=="}), "Inventory XML is not well formed"),
            (json!({"version": ""}), "Agent version missing"),
            (json!({"type": "symbian"}), "unknown MDM type"),
            (json!({"version": "1"}), "Bad agent version"),
            (json!({"_email": "other@domain.com"}), "Wrong email address"),
        ];
        for (change, text) in cases {
            let said = world.enroll(&session, &invitation, change).await;
            let text = if explain { text } else { "Enrollment failed" };
            assert_eq!(said.line(), format!(r#"400 ["ERROR_GLPI_ADD","{text}"]"#));
        }
        assert_eq!(
            world.count("select count(*) as n from invitation_log where event = 'Wrong email address'").await,
            1
        );
        assert_eq!(world.enroll(&session, &invitation, json!({})).await.status, 200, "a refusal spends nothing");
        let again = world.enroll(&session, &invitation, json!({})).await;
        assert_eq!(again.json()[1], if explain { "Invitation is not pending" } else { "Enrollment failed" });
    }
}

#[tokio::test]
async fn one_invitation_lets_one_of_many_in() {
    let world = Arc::new(World::new(|_| {}).await);
    let (invitation, user_token) = world.invite("emailaddress@domain.com").await;
    let session = world.session(&user_token).await;
    let tries: Vec<_> = (0..20)
        .map(|n| {
            let (world, session, invitation) = (world.clone(), session.clone(), invitation.clone());
            tokio::spawn(async move {
                world.enroll(&session, &invitation, json!({"_serial": format!("S{n}"), "_uuid": n})).await.status
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for one in tries {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], statuses.len()), (200, 400, 20));
    assert_eq!(world.count("select count(*) as n from agent").await, 1);
}

#[tokio::test]
async fn settings_may_be_asked_for_again_and_every_password_opens() {
    let world = World::new(|config| config.mqtt.slashed_topics = true).await;
    let (id, session, first) = world.enrolled("a@b.example", json!({})).await;
    let second = world.get(&format!("/PluginFlyvemdmAgent/{id}"), &session).await.json();
    assert_eq!(second["topic"], "/0/agent/0123456ATDJ-045");
    assert_eq!(first["api_token"], second["api_token"]);
    assert_ne!(first["mqttpasswd"], second["mqttpasswd"]);
    let logins = world.flows.store.logins("0123456ATDJ-045").await.unwrap();
    for settings in [&first, &second] {
        let password = settings["mqttpasswd"].as_str().unwrap().as_bytes();
        let opens = |secret: &str| crate::flows::secrets::verify(&world.flows.secret_key, secret, password);
        assert_eq!(logins.iter().filter(|it| opens(&it.secret)).count(), 1);
    }
    for _ in 0..20 {
        world.get(&format!("/PluginFlyvemdmAgent/{id}"), &session).await;
    }
    assert_eq!(world.count("select count(*) as n from credential").await, 8);
}

#[tokio::test]
async fn an_agent_reports_over_its_own_session_only() {
    let world = World::new(|_| {}).await;
    let (id, person, settings) = world.enrolled("a@b.example", json!({})).await;
    let (other, _, others) = world.enrolled("c@d.example", json!({"_serial": "OTHER", "_uuid": "other"})).await;
    let agent = world.session(settings["api_token"].as_str().unwrap()).await;
    let path = format!("/PluginFlyvemdmAgent/{id}");
    let own = world.get(&path, &agent).await.json();
    assert_eq!(own["api_token"], settings["api_token"]);
    assert!(own.get("mqttpasswd").is_none() && own.get("topic").is_none() && own.get("broker").is_none());
    let done = format!(r#"200 [{{"{id}":true,"message":""}}]"#);
    let inventory = "PFJFUVVFU1Q+PENPTlRFTlQ+PEJJT1M+PFNTTj5BPC9TU04+PC9CSU9TPjwvQ09OVEVOVD48L1JFUVVFU1Q+";
    for input in
        [json!({"_pong": "!"}), json!({"is_online": true}), json!({"is_online": "0"}), json!({"_inventory": inventory})]
    {
        for method in ["PUT", "PATCH"] {
            let said = world.send(method, &path, &agent, json!({"input": input}).to_string()).await;
            assert!(
                said.line() == done
                    || said.line() == done.replace(r#""1":true,"message":"""#, r#""message":"","1":true"#),
                "{said:?}"
            );
        }
    }
    let said = world.send("PUT", &path, &agent, r#"{"input":{"is_online":"perhaps"}}"#).await;
    assert_eq!(said.line(), r#"400 ["ERROR_GLPI_UPDATE","Invalid status value"]"#);
    let said = world
        .send("PUT", "/PluginFlyvemdmAgent", &agent, json!({"input": [{"id": id, "_pong": "!"}]}).to_string())
        .await;
    assert_eq!(said.status, 200);
    assert_eq!(world.send("PUT", &path, &agent, "done").await.status, 400);
    assert_eq!(world.get(&path, &agent).await.json()["last_contact"], "2023-11-14 22:13:20");
    assert_eq!(world.send("PUT", &path, &person, r#"{"input":{"_pong":"!"}}"#).await.status, 401);
    assert_eq!(
        world.send("PUT", &format!("/PluginFlyvemdmAgent/{other}"), &agent, r#"{"input":{"_pong":"!"}}"#).await.status,
        401
    );
    assert_eq!(world.get(&format!("/PluginFlyvemdmAgent/{other}"), &person).await.status, 401);
    assert_eq!(world.get("/PluginFlyvemdmAgent/999", &person).await.status, 404);
    let stranger = world.session(others["api_token"].as_str().unwrap()).await;
    assert_eq!(world.get(&path, &stranger).await.status, 401);
}

#[tokio::test]
async fn a_device_that_enrolls_again_starts_a_new_life() {
    let world = World::new(|_| {}).await;
    let (old, _, settings) = world.enrolled("a@b.example", json!({})).await;
    let session = world.session(settings["api_token"].as_str().unwrap()).await;
    world
        .execute(format!("insert into command (agent_id, serial, name, created_at) values ({old}, 's', 'wipe', 0)"))
        .await;
    let (new, _, _) = world.enrolled("a@b.example", json!({"_uuid": ""})).await;
    assert_ne!(old, new);
    assert_eq!(world.count("select count(*) as n from agent").await, 1);
    assert_eq!(world.count("select count(*) as n from computer").await, 1);
    assert_eq!(world.count("select count(*) as n from credential").await, 1);
    assert_eq!(world.count("select count(*) as n from command where state = 'cancelled'").await, 1);
    assert_eq!(world.get("/getFullSession", &session).await.status, 401, "its session went with it");
    let api_token = settings["api_token"].as_str().unwrap();
    assert_eq!(world.get(&format!("/initSession?user_token={api_token}"), "").await.status, 401);
    world.enrolled("c@d.example", json!({"_serial": "Unknown", "_uuid": ""})).await;
    world.enrolled("e@f.example", json!({"_serial": "Unknown", "_uuid": ""})).await;
    world.enrolled("g@h.example", json!({"_serial": "Unknown", "_uuid": "one"})).await;
    assert_eq!(world.count("select count(*) as n from agent where serial = 'Unknown'").await, 3);
    world.enrolled("g@h.example", json!({"_serial": "Unknown", "_uuid": "ONE"})).await;
    assert_eq!(world.count("select count(*) as n from agent where serial = 'Unknown'").await, 3);
}

#[tokio::test]
async fn going_offline_acknowledges_an_unenrollment_that_arrived() {
    let world = World::new(|_| {}).await;
    let (id, _, settings) = world.enrolled("a@b.example", json!({})).await;
    let agent = world.session(settings["api_token"].as_str().unwrap()).await;
    let path = format!("/PluginFlyvemdmAgent/{id}");
    let offline = r#"{"input":{"is_online":false}}"#;
    world.execute("update agent set enroll_status = 'unenrolling'".into()).await;
    world
        .execute(format!("insert into command (agent_id, serial, name, created_at) values ({id}, 's', 'unenroll', 0)"))
        .await;
    assert_eq!(world.send("PUT", &path, &agent, offline).await.status, 200);
    assert_eq!(world.count("select count(*) as n from agent").await, 1, "it was never told");
    world.execute("update command set state = 'sent'".into()).await;
    assert_eq!(world.send("PUT", &path, &agent, offline).await.status, 200);
    assert_eq!(world.count("select count(*) as n from agent").await, 0);
    assert_eq!(world.count("select count(*) as n from computer").await, 1);
    assert_eq!(world.count("select count(*) as n from command where state = 'answered'").await, 1);
}

#[tokio::test]
async fn latin_1_and_names_that_look_like_errors_are_harmless() {
    let world = World::new(|_| {}).await;
    let (invitation, user_token) = world.invite("emailaddress@domain.com").await;
    let session = world.session(&user_token).await;
    let body = seed_body(&invitation, json!({"firstname": "JosX", "lastname": "ERROR"})).to_string();
    let mut bytes = body.into_bytes();
    let at = bytes.windows(4).position(|it| it == b"JosX").unwrap();
    bytes[at + 3] = 0xe9;
    assert_eq!(world.send("POST", "/PluginFlyvemdmAgent", &session, bytes).await.status, 200);
    let full = world.get("/getFullSession", &session).await.json();
    assert_eq!((&full["glpifirstname"], &full["glpirealname"]), (&json!("José"), &json!("ERROR")));
}

#[tokio::test]
async fn sessions_end_when_idle_and_the_oldest_when_there_are_many() {
    let world = World::new(|config| config.http.sessions_per_account_max = 3).await;
    let (_, user_token) = world.invite("a@b.example").await;
    let (_, of_others) = world.invite("a@b.example").await;
    let other = world.session(&of_others).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(world.session(&user_token).await);
        world.now.fetch_add(1000, std::sync::atomic::Ordering::Relaxed);
    }
    assert_eq!(world.get("/getFullSession", &other).await.status, 200, "whoever else invites the address ends none");
    assert_eq!(world.get("/getFullSession", &sessions[0]).await.status, 401);
    assert_eq!(world.get("/getFullSession", &sessions[1]).await.status, 200);
    world.now.fetch_add(24 * 60 * 1000 - 10_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(world.get("/getFullSession", &sessions[3]).await.status, 200, "use keeps it alive");
    world.now.fetch_add(20_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(world.get("/getFullSession", &sessions[3]).await.status, 200);
    assert_eq!(world.get("/getFullSession", &sessions[1]).await.status, 401);
}

#[tokio::test]
async fn what_ends_while_it_is_looked_at_opens_no_session() {
    let world = World::new(|_| {}).await;
    let (_, user_token) = world.invite("a@b.example").await;
    let token = Proof::Token(world.flows.secret_key.hash(&user_token));
    let opens = async |proof: &Proof, session: &str| {
        let owner = Owner::Person(PersonId(1));
        let opening = Opening { owner, proof: proof.clone(), token_hash: session.into(), terms: Terms::GUEST };
        let (now, ever) = (Timestamp(START_MS), Since { used: Timestamp(0), opened: Timestamp(0) });
        let story =
            world.flows.store.write(move |tx| Box::pin(async move { session::open(tx, &opening, now, ever, 9).await }));
        story.await.unwrap()
    };
    assert!(opens(&token, "one").await);
    assert!(!opens(&Proof::Secret("of before".into()), "two").await);
    let end = Statement::new("delete from api_token", []);
    world.flows.store.write(move |tx| Box::pin(tx.execute(end))).await.unwrap();
    assert!(!opens(&token, "three").await);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_glpis_words() {
    let world = World::new(|_| {}).await;
    let (_, user_token) = world.invite("a@b.example").await;
    let s = world.session(&user_token).await;
    let mut lines = String::new();
    let deep = "[".repeat(100_000);
    let cases: Vec<(&str, &str, &str, &str)> = vec![
        ("GET", "/", "", ""),
        ("GET", "/nothing", &s, ""),
        ("GET", "/initSession", "", ""),
        ("GET", "/initSession?user_token=wrong", "", ""),
        ("GET", "/initSession?login=a&password=b", "", ""),
        ("GET", "/getFullSession", "", ""),
        ("GET", "/getFullSession", "wrong", ""),
        ("POST", "/changeActiveProfile", &s, ""),
        ("POST", "/changeActiveProfile?profiles_id=4", &s, ""),
        ("DELETE", "/PluginFlyvemdmAgent/1", &s, ""),
        ("GET", "/PluginFlyvemdmAgent/0", &s, ""),
        ("GET", "/PluginFlyvemdmAgent/99999999999999999999999", &s, ""),
        ("POST", "/PluginStorkmdmAgent", &s, ""),
        ("POST", "/PluginFlyvemdmAgent", &s, "{\"input\":"),
        ("POST", "/PluginFlyvemdmAgent", &s, &deep),
        ("POST", "/PluginFlyvemdmAgent", &s, r#"{"input":[1]}"#),
        ("POST", "/PluginFlyvemdmAgent", &s, r#"{"input":7e400}"#),
        ("POST", "/PluginFlyvemdmAgent", &s, r#"{"input":{"_email":{},"_invitation_token":[[]]}}"#),
    ];
    for (method, path, session, body) in cases {
        let said = world.send(method, path, session, body.to_owned()).await;
        lines.push_str(&format!("{method} {path} -> {}\n", said.line()));
    }
    insta::assert_snapshot!(lines, @r#"
    GET / -> 400 ["ERROR_RESOURCE_MISSING","resource is missing"]
    GET /nothing -> 400 ["ERROR_RESOURCE_NOT_FOUND_NOR_COMMONDBTM","resource not found or not an instance of CommonDBTM"]
    GET /initSession -> 400 ["ERROR_LOGIN_PARAMETERS_MISSING","parameter(s) login, password or user_token are missing"]
    GET /initSession?user_token=wrong -> 401 ["ERROR_GLPI_LOGIN_USER_TOKEN","parameter user_token seems invalid"]
    GET /initSession?login=a&password=b -> 401 ["ERROR_GLPI_LOGIN","Incorrect username or password"]
    GET /getFullSession -> 400 ["ERROR_SESSION_TOKEN_MISSING","parameter session_token is missing or empty"]
    GET /getFullSession -> 401 ["ERROR_SESSION_TOKEN_INVALID","session_token seems invalid"]
    POST /changeActiveProfile -> 400 ["ERROR","Bad Request"]
    POST /changeActiveProfile?profiles_id=4 -> 404 ["ERROR_ITEM_NOT_FOUND","Item not found"]
    DELETE /PluginFlyvemdmAgent/1 -> 405 ["ERROR_METHOD_NOT_ALLOWED","Method Not Allowed"]
    GET /PluginFlyvemdmAgent/0 -> 404 ["ERROR_ITEM_NOT_FOUND","Item not found"]
    GET /PluginFlyvemdmAgent/99999999999999999999999 -> 404 ["ERROR_ITEM_NOT_FOUND","Item not found"]
    POST /PluginStorkmdmAgent -> 400 ["ERROR_BAD_ARRAY","input parameter must be an array of objects"]
    POST /PluginFlyvemdmAgent -> 400 ["ERROR_JSON_PAYLOAD_INVALID","JSON payload seems not valid"]
    POST /PluginFlyvemdmAgent -> 400 ["ERROR_JSON_PAYLOAD_INVALID","JSON payload seems not valid"]
    POST /PluginFlyvemdmAgent -> 400 ["ERROR_BAD_ARRAY","input parameter must be an array of objects"]
    POST /PluginFlyvemdmAgent -> 400 ["ERROR_JSON_PAYLOAD_INVALID","JSON payload seems not valid"]
    POST /PluginFlyvemdmAgent -> 400 ["ERROR_GLPI_ADD","Enrollment failed"]
    "#);
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered() {
    let world = World::new(|config| config.http.body_bytes_max = 1 << 20).await;
    let said = world.send("POST", "/PluginFlyvemdmAgent", "x", vec![b' '; (1 << 20) + 1]).await;
    assert_eq!(said.status, 413);
    let said = world.send("POST", "/PluginFlyvemdmAgent", "x", vec![b' '; 1 << 20]).await;
    assert_eq!(said.status, 401, "read, then judged");
}

#[tokio::test]
async fn browsers_may_ask_from_elsewhere() {
    let world = World::new(|_| {}).await;
    let request =
        world.client.request(Method::OPTIONS, format!("{}/initSession", world.base)).header("origin", "http://x");
    let answer = request.header("access-control-request-method", "GET").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["access-control-allow-methods"], "PUT, GET, POST, DELETE, OPTIONS");
}
