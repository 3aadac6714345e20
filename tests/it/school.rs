//! One long story: a school invites fifty people from a list, groups their devices, deploys an application and a file, moves, locks,
//! wipes, lets go and removes some of them, and finds every row as it should be.

use serde_json::{Value, json};

use crate::support::{
    Phone, Server, apk,
    enrollment::{self, Http, Invitation, Profile},
    server::rows,
    sqlite, until,
};

const ENTITY: i64 = 76;
const DEVICES: usize = 50;
const TEACHERS: usize = 10;
const TIMETABLE: &[u8] = b"Monday: mathematics";

// The devices that something happens to; the number decides the kind of agent (see `profile`).
const OVERRIDDEN: usize = 10;
const MOVED: usize = 11;
const LOCKED: usize = 12;
const WIPED: usize = 13;
const LEAVES_BY_MQTT: usize = 14;
const LEAVES_BY_HTTP: usize = 15;
const REMOVED: usize = 16;

fn profile(number: usize) -> Profile {
    [Profile::android(), Profile::android_rc6(), Profile::apple()][number % 3].clone()
}

fn serial(number: usize) -> String {
    format!("DEVICE-{number:02}")
}

struct School {
    server: Server,
    phones: Vec<Phone>,
    teachers: i64,
    pupils: i64,
}

/// What was applied to the pupils.
struct Applied {
    app: i64,
    file: i64,
    camera: i64,
    file_id: i64,
}

impl School {
    async fn open() -> School {
        let server = Server::start().await;
        server.cli(&["entity", "add", "School", "--id", &ENTITY.to_string()]).await;
        let phones = invited_and_enrolled(&server).await;
        let fleet = async |name: &str| {
            let made = server.cli(&["fleet", "add", name, "--entity", &ENTITY.to_string()]).await;
            made["id"].as_i64().unwrap()
        };
        let (teachers, pupils) = (fleet("Teachers").await, fleet("Pupils").await);
        School { server, phones, teachers, pupils }
    }

    fn id(&self, number: usize) -> i64 {
        self.phones[number].settings["id"].as_i64().unwrap()
    }

    async fn groups_and_connects_them(&mut self) {
        for number in 0..DEVICES {
            let fleet = if number < TEACHERS { self.teachers } else { self.pupils };
            let path = format!("/api/v1/agents/{}", self.id(number));
            let (status, answer) = self.server.admin("PATCH", &path, Some(&json!({ "fleet": fleet }))).await;
            assert_eq!(status, 200, "{answer}");
            let phone = &mut self.phones[number];
            phone.comes_up(&self.server).await;
            let told = phone.hears("/Command/Subscribe").await.payload;
            assert_eq!(told, format!(r#"{{"subscribe":[{{"topic":"{ENTITY}/fleet/{fleet}"}}]}}"#));
            phone.link().subscribes(&format!("{ENTITY}/fleet/{fleet}/#"), 1).await;
        }
    }

    async fn adds_task(&self, arguments: &[&str]) -> i64 {
        self.server.cli(&[&["task", "add"], arguments].concat()).await["id"].as_i64().unwrap()
    }

    async fn applies_policies(&self) -> Applied {
        let write = |name: &str, content: &[u8]| {
            let path = self.server.data_dir().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let entity = ENTITY.to_string();
        let app = write("reader.apk", &apk::apk("org.example.reader", "2.1", 21));
        let app = self.server.cli(&["package", "add", &app, "--entity", &entity]).await["id"].to_string();
        let file = write("timetable.txt", TIMETABLE);
        let file = self.server.cli(&["file", "add", &file, "--entity", &entity]).await["id"].to_string();
        let (fleet, own) = (self.pupils.to_string(), serial(OVERRIDDEN));
        let on_fleet = ["--fleet", &fleet, "--policy"];
        let at = ["deployFile", "--value", "%SDCARD%/school", "--file", &file];
        let removable = r#"{"remove_on_delete":0}"#;
        let applied = Applied {
            app: self
                .adds_task(&[&on_fleet[..], &["deployApp", "--value", removable, "--package", &app]].concat())
                .await,
            file: self.adds_task(&[&on_fleet[..], &at].concat()).await,
            camera: self.adds_task(&[&on_fleet[..], &["disableCamera", "--value", "1"]].concat()).await,
            file_id: file.parse().unwrap(),
        };
        self.adds_task(&["--agent", &own, "--policy", "disableCamera", "--value", "0"]).await;
        let teachers = self.teachers.to_string();
        self.adds_task(&["--fleet", &teachers, "--policy", "passwordMinLength", "--value", "6"]).await;
        applied
    }

    /// Every pupil hears its policies, fetches the file and says how far it got, in the way of its agent.
    async fn pupils_obey(&mut self, applied: &Applied) {
        for number in TEACHERS..DEVICES {
            let phone = &mut self.phones[number];
            let app = phone.hears(&format!("/Policy/deployApp/Task/{}", applied.app)).await.payload;
            assert!(
                app.contains(r#""deployApp":"org.example.reader""#) && app.contains(r#""versionCode":"21""#),
                "{app}"
            );
            phone.hears(&format!("/Policy/deployFile/Task/{}", applied.file)).await;
            if number == OVERRIDDEN {
                phone.hears("/Policy/disableCamera/Task/4").await;
            }
            let http = Http::of(&self.server);
            let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
            let url = format!(
                "{}/PluginFlyvemdmFile/{}?alt=media&session_token={session}",
                self.server.http_url(),
                applied.file_id
            );
            assert_eq!(reqwest::get(url).await.unwrap().bytes().await.unwrap(), TIMETABLE, "{}", phone.serial);
            self.says_done(number, applied.file).await;
        }
    }

    async fn says_done(&mut self, number: usize, task: i64) {
        let phone = &mut self.phones[number];
        match number % 3 {
            0 => says_done_by_http(&self.server, phone, task).await,
            1 => phone.says(&format!("Status/Task/{task}"), r#"{ "status": "done" }"#).await,
            _ => {} // iOS says nothing.
        }
    }

    async fn statuses(&self, task: i64) -> Vec<(String, String)> {
        let task = self.server.cli(&["task", "show", &task.to_string()]).await;
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        let mut all: Vec<_> =
            rows(&task["statuses"]).iter().map(|it| (text(&it["serial"]), text(&it["status"]))).collect();
        all.sort();
        all
    }
}

/// One CSV file of people, one device for each of them.
async fn invited_and_enrolled(server: &Server) -> Vec<Phone> {
    let mut csv = "email,entity\n".to_owned();
    (0..DEVICES).for_each(|number| csv.push_str(&format!("{}@school.example,{ENTITY}\n", serial(number))));
    let file = server.data_dir().join("people.csv");
    std::fs::write(&file, csv).unwrap();
    let invited = server.cli(&["invite", "--csv", file.to_str().unwrap()]).await;
    assert_eq!((&invited["invited"], &invited["failed"]), (&json!(DEVICES), &json!(0)));
    let mut phones = Vec::new();
    for (number, line) in invited["lines"].as_array().unwrap().iter().enumerate() {
        let text = |member: &str| line[member].as_str().unwrap().to_owned();
        let invitation = Invitation {
            user_token: text("user_token"),
            invitation_token: text("invitation_token"),
            email: text("email").to_lowercase(),
        };
        phones.push(enrollment::enroll_with(server, &serial(number), &profile(number), &invitation).await);
    }
    phones
}

/// As Android rc.7 and later do it: search for the row, then change it.
async fn says_done_by_http(server: &Server, phone: &Phone, task: i64) {
    let http = Http::of(server);
    let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
    let search = format!(
        "/search/PluginFlyvemdmTaskstatus/?criteria[0][field]=5&criteria[0][searchtype]=contains&criteria[0][value]={}\
         &criteria[1][field]=6&criteria[1][searchtype]=contains&criteria[1][value]={task}&forcedisplay=2",
        phone.settings["id"]
    );
    let (status, found) = http.get(&search, &session).await;
    assert!(status == 200 || status == 206, "{status} {found}");
    let path = format!("/PluginFlyvemdmTaskstatus/{}", found["data"][0]["2"]);
    let (status, answer) = http.send("PUT", &path, &session, Some(&json!({"input": {"status": "done"}}))).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn fifty_people_get_their_devices_and_every_row_is_as_it_should_be() {
    let mut school = School::open().await;
    school.groups_and_connects_them().await;
    let applied = school.applies_policies().await;
    school.pupils_obey(&applied).await;
    one_is_moved(&mut school, &applied).await;
    one_is_locked_and_one_wiped(&mut school).await;
    three_leave(&mut school).await;
    agents_are_right(&school).await;
    statuses_are_right(&school, &applied).await;
    the_rest_is_right(&school).await;
}

async fn one_is_moved(school: &mut School, applied: &Applied) {
    let teachers = school.teachers;
    school.server.moves(&serial(MOVED), teachers).await;
    let phone = &mut school.phones[MOVED];
    phone.hears("/Command/Subscribe").await;
    phone.link().subscribes(&format!("{ENTITY}/fleet/{teachers}/#"), 1).await;
    phone.hears("/Policy/passwordMinLength/Task/5").await;
    let all = school.statuses(applied.camera).await;
    assert!(all.contains(&(serial(MOVED), "canceled".into())), "{all:?}");
}

async fn one_is_locked_and_one_wiped(school: &mut School) {
    school.server.wishes("lock", &serial(LOCKED)).await;
    school.server.wishes("wipe", &serial(WIPED)).await;
    assert_eq!(school.phones[LOCKED].hears("/Command/Lock").await.payload, r#"{"lock":"now"}"#);
    assert_eq!(school.phones[WIPED].hears("/Command/Wipe").await.payload, r#"{"wipe":"now"}"#);
}

async fn three_leave(school: &mut School) {
    let server = &school.server;
    for number in [LEAVES_BY_MQTT, LEAVES_BY_HTTP] {
        server.wishes("unenroll", &serial(number)).await;
        school.phones[number].hears("/Command/Unenroll").await;
    }
    let phone = &mut school.phones[LEAVES_BY_MQTT];
    phone.says("Status/Unenroll", r#"{"unenroll": "unenrolled"}"#).await;
    phone.link().is_closed().await;
    // The last Android agent says only that it goes offline.
    let phone = &school.phones[LEAVES_BY_HTTP];
    let http = Http::of(server);
    let session = http.session(phone.settings["api_token"].as_str().unwrap()).await;
    let path = format!("/PluginFlyvemdmAgent/{}", phone.settings["id"]);
    let (status, answer) = http.send("PUT", &path, &session, Some(&json!({"input": {"is_online": false}}))).await;
    assert_eq!(status, 200, "{answer}");
    until("it has left", async || !server.knows(&serial(LEAVES_BY_HTTP)).await).await;

    let phone = &mut school.phones[REMOVED];
    phone.vanishes();
    server.until_agent(&serial(REMOVED), |it| it["is_online"] == false).await;
    server.deletes(&serial(REMOVED)).await;
    phone.comes_up(server).await;
    phone.hears("/Command/Unenroll").await;
    assert_eq!(phone.link().heard_so_far().await, [], "no policy any more");
    phone.says("Status/Unenroll", r#"{"unenroll": "unenrolled"}"#).await;
    phone.link().is_closed().await;
}

fn is_here(number: usize) -> bool {
    ![LEAVES_BY_MQTT, LEAVES_BY_HTTP, REMOVED].contains(&number)
}

async fn agents_are_right(school: &School) {
    let listed = school.server.cli(&["agent", "list", "--entity", &ENTITY.to_string()]).await;
    let is: Vec<Value> = rows(&listed)
        .iter()
        .map(|it| {
            json!([
                it["serial"],
                it["fleet_name"],
                it["is_online"],
                it["lock"],
                it["wipe"],
                it["enroll_status"],
                it["mdm_type"]
            ])
        })
        .collect();
    let expected = (0..DEVICES).filter(|number| is_here(*number)).map(|number| {
        let fleet = if number < TEACHERS || number == MOVED { "Teachers" } else { "Pupils" };
        json!([serial(number), fleet, true, number == LOCKED, number == WIPED, "enrolled", profile(number).kind])
    });
    assert_eq!(is, expected.collect::<Vec<_>>());
}

async fn statuses_are_right(school: &School, applied: &Applied) {
    let expected = |of: &dyn Fn(usize) -> &'static str| -> Vec<(String, String)> {
        let pupils = (TEACHERS..DEVICES).filter(|number| is_here(*number));
        pupils
            .map(|number| (serial(number), if number == MOVED { "canceled" } else { of(number) }.to_owned()))
            .collect()
    };
    let file = expected(&|number| if number % 3 == 2 { "pending" } else { "done" });
    assert_eq!(school.statuses(applied.file).await, file);
    assert_eq!(school.statuses(applied.app).await, expected(&|_| "pending"));
    let camera = expected(&|number| if number == OVERRIDDEN { "overriden" } else { "pending" });
    assert_eq!(school.statuses(applied.camera).await, camera);
}

async fn the_rest_is_right(school: &School) {
    let server = &school.server;
    let invitations = server.cli(&["invitation", "list", "--entity", &ENTITY.to_string()]).await;
    assert_eq!(rows(&invitations).len(), DEVICES);
    assert!(rows(&invitations).iter().all(|it| it["status"] == "done"), "{invitations}");
    let commands = server.cli(&["command", "list"]).await;
    let mut states: Vec<(String, String)> = rows(&commands)
        .iter()
        .map(|it| {
            (it["serial"].as_str().unwrap().to_owned(), format!("{} {}", it["name"], it["state"]).replace('"', ""))
        })
        .collect();
    states.sort();
    let expected = [
        (LOCKED, "lock delivered"),
        (WIPED, "wipe delivered"),
        (LEAVES_BY_MQTT, "unenroll answered"),
        (LEAVES_BY_HTTP, "unenroll answered"),
    ];
    assert_eq!(states.len(), expected.len(), "{states:?}");
    for ((number, state), (serial_is, is)) in expected.into_iter().zip(&states) {
        assert_eq!(*serial_is, serial(number));
        // A lock is settled by handing it over where the subscription asks for no acknowledgement.
        assert!(is == state || is.replace("sent", "delivered") == state, "{is} / {state}");
    }
    assert_eq!(sqlite::number(server, "select count(*) from computer").await, 50, "computers outlive their agents");
    assert_eq!(sqlite::number(server, "select count(*) from computer where inventory is not null").await, 50);
    let open = "select count(*) from tombstone";
    assert_eq!(sqlite::number(server, open).await, 0, "who left needs no farewell any more");
}
