//! The store as its users see it: one story that both engines must pass.

use std::{future::Future, time::Duration};

use mdmq::{
    clock::{Clock, Timestamp},
    config::{Database, Secret},
    ids::{AgentId, CommandId, ComputerId, ConnectionNumber, CredentialId, EntityId, TaskId},
    mdm::{change::Change, inventory::Inventory},
    store::{
        LoginOf, Store, StoreError,
        administer::{AgentFilter, NewAccount},
        agent::PresenceRow,
        db::{Row, Statement, Value},
    },
};

use crate::support::{postgres, until};

/// A database and its directory.
pub struct Place {
    database: Database,
    dir: tempfile::TempDir,
}

impl Place {
    pub async fn open(&self) -> Result<Store, StoreError> {
        let key = mdmq::mdm::audit::AuditKey::new([7; 32]);
        Store::open(&self.database, self.dir.path(), Clock::System, key, |_| {}).await
    }
}

/// Runs the story on each engine.
pub fn on_both<F: Future<Output = ()>>(story: impl Fn(Place) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for url in [String::new(), postgres::fresh_database()] {
        let place = Place { database: Database { url: Secret(url) }, dir: tempfile::tempdir().unwrap() };
        let story = story(place);
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), story).await.unwrap() });
    }
}

pub async fn said(store: &Store, changes: Vec<Change>) -> Result<(), StoreError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    store.submit(changes, move |outcome| tell.send(outcome).unwrap());
    told.await.unwrap()
}

pub async fn did(store: &Store, sql: &'static str, args: Vec<Value>) -> Vec<Row> {
    store.write(move |tx| Box::pin(async move { tx.rows(Statement::new(sql, args)).await })).await.unwrap()
}

pub async fn asked(store: &Store, sql: &'static str) -> Row {
    store.row(Statement::new(sql, [])).await.unwrap().unwrap()
}

/// A computer and an agent on it in the default fleet of the root, with one credential named after the serial.
pub async fn enrolled(store: &Store, serial: &'static str) -> (AgentId, ComputerId) {
    let computer = did(
        store,
        "insert into computer (entity_id, serial, created_at) values (0, $1, 1) returning computer_id",
        vec![serial.into()],
    )
    .await[0]
        .int("computer_id");
    let agent = did(
        store,
        "insert into agent (entity_id, serial, computer_id, fleet_id, created_at) \
         select 0, $1, $2, fleet_id, 1 from fleet where is_default returning agent_id",
        vec![serial.into(), computer.into()],
    )
    .await[0]
        .int("agent_id");
    credential(store, agent, serial).await;
    (AgentId(agent), ComputerId(computer))
}

async fn credential(store: &Store, agent: i64, username: &'static str) -> i64 {
    did(
        store,
        "insert into credential (agent_id, username, secret, created_at) values ($1, $2, 'hmac$00', 1) \
         returning credential_id",
        vec![agent.into(), username.into()],
    )
    .await[0]
        .int("credential_id")
}

/// A story that holds the writer up until it may go on: what comes meanwhile is one batch.
struct HeldUp {
    go: tokio::sync::oneshot::Sender<()>,
    story: tokio::task::JoinHandle<Result<(), StoreError>>,
}

impl HeldUp {
    async fn hold(store: &Store) -> HeldUp {
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel::<()>();
        let store = store.clone();
        let story = tokio::spawn(async move {
            let story = move || async move {
                started.send(()).unwrap();
                gone.await.map_err(|_| StoreError::Busy)
            };
            store.write(move |_| Box::pin(story())).await
        });
        running.await.unwrap();
        HeldUp { go, story }
    }

    async fn go_on(self) {
        self.go.send(()).unwrap();
        self.story.await.unwrap().unwrap();
    }
}

/// A position of an enrolled agent that the database will not take.
async fn unwritable(store: &Store) -> (AgentId, Change) {
    let (agent, computer) = enrolled(store, "AZERTY").await;
    did(store, "alter table geolocation rename to elsewhere", vec![]).await;
    let na = || "na".to_owned();
    (agent, Change::Position { agent, computer, at: Timestamp(5), latitude: na(), longitude: na() })
}

fn presence(agent: AgentId, is_online: bool, connection: i64, at: i64) -> Change {
    Change::Presence { agent, is_online, connection: ConnectionNumber(connection), at: Timestamp(at) }
}

#[test]
fn an_older_connection_never_overwrites_a_newer_one() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let (agent, _) = enrolled(&store, "AZERTY").await;
        let check = async |changes: Vec<Change>, is_online: bool, connection: i64, last_contact: i64| {
            let label = format!("{changes:?}");
            said(&store, changes).await.unwrap();
            let row = asked(&store, "select is_online, connection, last_contact from agent").await;
            let got = (row.flag("is_online"), row.int("connection"), row.int("last_contact"));
            assert_eq!(got, (is_online, connection, last_contact), "{label}");
        };
        let says = |is_online, connection: Option<i64>| Change::SaysOnline {
            agent,
            is_online,
            connection: connection.map(ConnectionNumber),
        };
        check(vec![presence(agent, true, 7, 100)], true, 7, 100).await;
        check(vec![presence(agent, false, 5, 101)], true, 7, 100).await;
        check(vec![presence(agent, true, 9, 102), presence(agent, false, 7, 103)], true, 9, 102).await;
        check(vec![says(false, Some(8))], true, 9, 102).await;
        check(vec![says(false, Some(9))], false, 9, 102).await;
        check(vec![says(true, None)], true, 9, 102).await;
        check(vec![presence(agent, false, 9, 104)], false, 9, 102).await;
        check(vec![Change::Seen { agent, at: Timestamp(200) }], false, 9, 200).await;
        check(vec![Change::Seen { agent, at: Timestamp(150) }], false, 9, 200).await;
        let nobody = AgentId(agent.0 + 1000);
        check(vec![Change::Seen { agent: nobody, at: Timestamp(300) }], false, 9, 200).await;
        check(vec![presence(nobody, true, 1, 300)], false, 9, 200).await;
        store.close().await.unwrap();
    });
}

#[test]
fn a_login_is_found_by_its_name_newest_first() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        assert!(store.logins("AZERTY").await.unwrap().is_empty());
        let (agent, _) = enrolled(&store, "AZERTY").await;
        let newer = credential(&store, agent.0, "AZERTY").await;
        let logins = store.logins("AZERTY").await.unwrap();
        assert_eq!(logins.len(), 2);
        let LoginOf::Agent { agent: found, credential, has_older_credentials, has_open_commands, has_removals } =
            &logins[0].who
        else {
            panic!("an agent's login");
        };
        assert_eq!((found.id, *credential), (agent, CredentialId(newer)));
        assert!(found.fleet_is_default && *has_older_credentials && !has_open_commands && !has_removals);
        said(&store, vec![Change::CredentialUsed { agent, credential: CredentialId(newer) }]).await.unwrap();
        assert_eq!(store.logins("AZERTY").await.unwrap().len(), 1);

        let account = NewAccount {
            name: "AZERTY".into(),
            secret: "x".into(),
            entity: Some(EntityId(0)),
            access: vec![("+/agent/#".into(), "rw".into())],
            at: Timestamp(1),
        };
        store.add_account(account).await.unwrap().unwrap();
        let logins = store.logins("AZERTY").await.unwrap();
        let LoginOf::Service { name, access, entities, .. } = &logins[0].who else { panic!("the service comes first") };
        assert_eq!((name.as_str(), entities.as_ref().unwrap().len()), ("AZERTY", 1));
        assert_eq!(access, &[("+/agent/#".to_owned(), "rw".to_owned())]);
        store.close().await.unwrap();
    });
}

#[test]
fn reports_may_be_repeated_and_may_come_from_nowhere() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let (agent, computer) = enrolled(&store, "AZERTY").await;
        let inventory = Inventory {
            xml: "<REQUEST>\0</REQUEST>".into(),
            model: Some("Pixel".into()),
            serial: Some("OTHER".into()),
            ..Inventory::default()
        };
        let reports = |agent: AgentId, computer: ComputerId| {
            let at = Timestamp(50);
            vec![
                Change::Position { agent, computer, at, latitude: "48.8\0".into(), longitude: "2.3".into() },
                Change::Inventory { agent, computer, at, inventory: Box::new(inventory.clone()) },
                Change::TaskStatus { agent, task: TaskId(1), status: "received", at },
                Change::TaskStatus { agent, task: TaskId(1), status: "done", at },
                Change::RemovalHeard { agent, task: TaskId(1) },
                Change::AgentVersion { agent, version: "2.1\0".into() },
                Change::Answered { agent, command: "ping", at },
                Change::Sent { command: CommandId(99), connection: ConnectionNumber(1), at },
                Change::Delivered { command: CommandId(99), at },
                Change::CredentialUsed { agent, credential: CredentialId(1) },
            ]
        };
        said(&store, reports(agent, computer)).await.unwrap();
        said(&store, reports(agent, computer)).await.unwrap();
        said(&store, reports(AgentId(777), ComputerId(777))).await.unwrap();
        let counts = asked(
            &store,
            "select (select count(*) from geolocation) as positions, (select count(*) from task_status) as statuses, \
             (select version from agent) as version, \
             (select serial from agent) as serial, (select model from computer) as model, \
             (select latitude from geolocation) as latitude, (select inventory from computer) as xml",
        )
        .await;
        assert_eq!((counts.int("positions"), counts.int("statuses")), (1, 0), "nobody gave it a task");
        assert_eq!(counts.text("serial"), "AZERTY");
        assert_eq!(
            (counts.text("version").as_str(), counts.text("latitude").as_str()),
            ("2.1\u{fffd}", "48.8\u{fffd}")
        );
        assert_eq!(
            (counts.text("model").as_str(), counts.text("xml").as_str()),
            ("Pixel", "<REQUEST>\u{fffd}</REQUEST>")
        );
        store.close().await.unwrap();
    });
}

async fn ordered(store: &Store, agent: AgentId, name: &'static str, query_expires_at: i64) -> CommandId {
    store.order(agent, name, "admin".into(), Timestamp(10), Timestamp(query_expires_at)).await.unwrap().unwrap()
}

async fn state_of(store: &Store, id: CommandId) -> (String, String) {
    let row = store.command_view(id).await.unwrap().unwrap();
    (row.state, row.detail)
}

#[test]
fn a_command_goes_through_its_states_to_an_end() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let (agent, _) = enrolled(&store, "AZERTY").await;
        let check = async |id, state: &str, detail: &str| {
            assert_eq!(state_of(&store, id).await, (state.to_owned(), detail.to_owned()));
        };
        let (connection, at) = (ConnectionNumber(4), Timestamp(20));
        let ping = ordered(&store, agent, "ping", i64::MAX - 1).await;
        let owed = store.owed(agent).await.unwrap().unwrap();
        assert_eq!((owed.agent.id, owed.commands[0].id, owed.commands[0].sent_to), (agent, ping, None));
        said(&store, vec![Change::Sent { command: ping, connection, at }]).await.unwrap();
        check(ping, "sent", "").await;
        assert_eq!(store.owed(agent).await.unwrap().unwrap().commands[0].sent_to, Some(connection));
        said(&store, vec![Change::Delivered { command: ping, at }]).await.unwrap();
        check(ping, "delivered", "").await;
        assert!(store.owed(agent).await.unwrap().unwrap().commands.is_empty());
        said(&store, vec![Change::Answered { agent, command: "ping", at }]).await.unwrap();
        check(ping, "answered", "").await;
        said(&store, vec![Change::Sent { command: ping, connection, at }]).await.unwrap();
        check(ping, "answered", "").await;

        let late = ordered(&store, agent, "ping", i64::MAX - 1).await;
        assert_eq!(store.expire_commands(Timestamp(30)).await.unwrap(), []);
        assert_eq!(store.expire_commands(Timestamp(i64::MAX)).await.unwrap(), [agent]);
        check(late, "expired", "not answered in time").await;

        let lock = ordered(&store, agent, "lock", 0).await;
        let unlock = ordered(&store, agent, "unlock", 0).await;
        check(lock, "cancelled", "superseded by unlock").await;
        let wipe = ordered(&store, agent, "wipe", 0).await;
        check(unlock, "cancelled", "superseded by wipe").await;
        let unenroll = ordered(&store, agent, "unenroll", 0).await;
        said(&store, vec![Change::Seen { agent, at }, Change::Unenrolled { agent, at }, presence(agent, true, 9, 9)])
            .await
            .unwrap();
        check(unenroll, "answered", "").await;
        check(wipe, "cancelled", "unenrolled").await;
        assert!(store.owed(agent).await.unwrap().is_none());
        assert!(store.logins("AZERTY").await.unwrap().is_empty());
        let listed = store.command_views(Some("AZERTY"), None).await.unwrap();
        assert_eq!(listed[..2].iter().map(|it| it.id).collect::<Vec<_>>(), [unenroll, wipe]);
        assert_eq!(store.commands_by_state().await.unwrap().iter().map(|it| it.1).sum::<i64>(), 6);

        let (again, _) = enrolled(&store, "AZERTY").await;
        assert!(again > agent, "an enrollment is a generation of its own");
        assert!(store.owed(again).await.unwrap().unwrap().commands.is_empty());
        store.close().await.unwrap();
    });
}

#[test]
fn a_start_finds_nobody_online_and_a_removed_agent_is_gone() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let (id, _) = enrolled(&store, "AZERTY").await;
        ordered(&store, id, "lock", 0).await;
        said(&store, vec![presence(id, true, 1, 1)]).await.unwrap();
        let by_serial = AgentFilter { serial: Some("AZERTY".into()), ..Default::default() };
        let row = store.agents_like(&by_serial).await.unwrap().remove(0);
        assert!(row.is_online && row.lock_wish == "lock" && row.enroll_status == "enrolled");
        assert_eq!(store.mark_all_offline().await.unwrap(), 1);
        assert!(!store.agents_like(&by_serial).await.unwrap()[0].is_online);
        assert_eq!((store.start_number(5).await.unwrap(), store.start_number(5).await.unwrap()), (1, 2));
        for expected in [true, false] {
            let removed = store.forget_agent(id, "me".into(), Timestamp(1), Some(Timestamp(9))).await.unwrap();
            assert_eq!(removed.is_ok(), expected);
        }
        assert!(store.agents_like(&by_serial).await.unwrap().is_empty());
        assert!(store.logins("AZERTY").await.unwrap().is_empty());
        let last = store.last_logins("AZERTY", Timestamp(8)).await.unwrap();
        assert_eq!((last.len(), last[0].agent.id), (1, id));
        assert!(store.last_logins("AZERTY", Timestamp(9)).await.unwrap().is_empty(), "its time is over");
        assert_eq!(store.forget_tombstones(Timestamp(9)).await.unwrap(), 1);
        assert!(!store.is_remembered(id).await.unwrap());
        store.close().await.unwrap();
    });
}

#[test]
fn rows_of_presence_are_read_some_at_a_time() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let (first, _) = enrolled(&store, "AZERTY").await;
        let (second, _) = enrolled(&store, "QWERTY").await;
        said(&store, vec![presence(second, true, 7, 100)]).await.unwrap();
        let row =
            |agent, connection, is_online| PresenceRow { agent, connection: ConnectionNumber(connection), is_online };
        assert_eq!(store.presence_after(None, 1).await.unwrap(), [row(first, 0, false)]);
        assert_eq!(store.presence_after(Some(first), 9).await.unwrap(), [row(second, 7, true)]);
        assert_eq!(store.presence_after(Some(second), 9).await.unwrap(), []);
        store.close().await.unwrap();
    });
}

#[test]
fn a_note_that_cannot_be_written_says_so() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let (_, position) = unwritable(&store).await;
        let (tell, told) = tokio::sync::oneshot::channel();
        store.note(vec![position], move |written| tell.send(written.is_err()).unwrap());
        assert!(told.await.unwrap());
        store.close().await.unwrap();
    });
}

#[test]
fn what_fails_fails_alone() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let (agent, position) = unwritable(&store).await;
        let seen = Change::Seen { agent, at: Timestamp(5) };
        let held_up = HeldUp::hold(&store).await;
        let refused = store.write(|tx| {
            Box::pin(async move {
                tx.execute(Statement::new("update agent set name = 'half'", [])).await?;
                tx.execute(Statement::new("insert into agent (serial) values ('x')", [])).await
            })
        });
        let panics = store
            .write(|tx| Box::pin(async move { Ok(tx.rows(Statement::new("select 1 as one", [])).await?[1].int("x")) }));
        let (before, bad) = (said(&store, vec![seen.clone()]), said(&store, vec![position]));
        let after = said(&store, vec![presence(agent, true, 3, 8)]);
        let (before, refused, panics, bad, after, ()) =
            tokio::join!(before, refused, panics, bad, after, held_up.go_on());
        assert!(before.is_ok() && after.is_ok(), "{before:?} {after:?}");
        assert!(refused.is_err() && panics.is_err() && bad.is_err());
        let row = asked(&store, "select name, is_online, last_contact from agent").await;
        assert_eq!((row.text("name").as_str(), row.flag("is_online"), row.int("last_contact")), ("", true, 8));
        store.close().await.unwrap();
    });
}

#[test]
fn a_writer_that_cannot_keep_up_says_busy() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let held_up = HeldUp::hold(&store).await;
        for _ in 0..Store::SUBMISSIONS_MAX {
            store.submit(vec![], |outcome| outcome.unwrap());
        }
        assert!(matches!(said(&store, vec![]).await, Err(StoreError::Busy)));
        held_up.go_on().await;
        store.close().await.unwrap();
        assert!(said(&store, vec![]).await.is_err());
    });
}

#[test]
fn large_reports_that_wait_are_bounded_by_their_bytes_and_leave_room_for_small_ones() {
    const LARGE: usize = 4 << 20;
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let (agent, computer) = enrolled(&store, "AZERTY").await;
        let inventory = || {
            let inventory = Box::new(Inventory { xml: "x".repeat(LARGE), ..Inventory::default() });
            vec![Change::Inventory { agent, computer, at: Timestamp(5), inventory }]
        };
        let held_up = HeldUp::hold(&store).await;
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut taken = 0;
        while store.payload_bytes() + LARGE <= Store::PAYLOAD_BYTES_MAX / 4 * 3 {
            let tell = tell.clone();
            store.submit(inventory(), move |outcome| tell.send(outcome.is_ok()).unwrap());
            taken += 1;
        }
        assert!(matches!(said(&store, inventory()).await, Err(StoreError::Busy)));
        assert_eq!(store.payload_bytes(), taken * LARGE);
        let small = tell.clone();
        store.submit_with(100, vec![], move |outcome| small.send(outcome.is_ok()).unwrap());
        held_up.go_on().await;
        for _ in 0..=taken {
            assert!(told.recv().await.unwrap(), "what was taken is written");
        }
        // Room is made once for a whole commit, after everybody was told.
        until("there is room again", async || store.payload_bytes() == 0).await;
        said(&store, inventory()).await.unwrap();
        store.close().await.unwrap();
        assert_eq!(store.payload_bytes(), 0);
    });
}

#[test]
fn a_database_of_a_later_release_is_refused() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let later = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
             select 99, description, success, checksum, 0 from _sqlx_migrations where version = 1 returning 1 as one";
        did(&store, later, vec![]).await;
        store.close().await.unwrap();
        assert!(matches!(place.open().await.err(), Some(StoreError::Newer(99))));
    });
}

#[test]
fn a_database_out_of_reach_is_one_clear_line() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = Place {
        database: Database { url: Secret("postgres://nobody@127.0.0.1:1/none".into()) },
        dir: tempfile::tempdir().unwrap(),
    };
    let error = runtime.block_on(place.open()).err().unwrap().to_string();
    assert!(error.starts_with("database: cannot be reached:") && !error.contains('\n'), "{error}");
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let place = Place { database: Database::default(), dir: tempfile::tempdir().unwrap() };
        let store = place.open().await.unwrap();
        let (agent, _) = enrolled(&store, "AZERTY").await;
        said(&store, vec![presence(agent, true, 3, 8)]).await.unwrap();
        // What a crash would leave: the files as they are now.
        let left = Place { database: Database::default(), dir: tempfile::tempdir().unwrap() };
        for file in ["mdmq.sqlite", "mdmq.sqlite-wal"] {
            std::fs::copy(place.dir.path().join(file), left.dir.path().join(file)).unwrap();
        }
        let reopened = left.open().await.unwrap();
        let row = asked(&reopened, "select is_online, connection from agent").await;
        assert!(row.flag("is_online") && row.int("connection") == 3);
    });
}

#[test]
fn both_engines_have_the_same_tables() {
    let (tell, told) = std::sync::mpsc::channel();
    on_both(|place| {
        let tell = tell.clone();
        async move {
            let store = place.open().await.unwrap();
            let question = if place.database.url.0.is_empty() {
                "select m.name as t, p.name as c, lower(p.type) as kind, p.\"notnull\" <> 0 or p.pk > 0 as required \
                 from sqlite_master m join pragma_table_info(m.name) p where m.type = 'table' and m.name not like '%sqlite_%'"
            } else {
                "select table_name::text as t, column_name::text as c, data_type::text as kind, \
                 is_nullable = 'NO' as required from information_schema.columns where table_schema = 'public'"
            };
            let rows = store.rows(Statement::new(question, [])).await.unwrap();
            let mut columns: Vec<_> = rows
                .iter()
                .filter(|row| !row.text("t").starts_with('_'))
                .map(|row| {
                    let kind = row.text("kind").replace("bigint", "integer");
                    format!("{}.{} {kind} {}", row.text("t"), row.text("c"), row.flag("required"))
                })
                .collect();
            columns.sort();
            tell.send(columns).unwrap();
            store.close().await.unwrap();
        }
    });
    let (sqlite, postgres) = (told.recv().unwrap(), told.recv().unwrap());
    assert!(sqlite.len() > 80, "{sqlite:?}");
    assert_eq!(sqlite, postgres);
}
