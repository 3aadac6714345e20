//! The store as its users see it: one story that both engines must pass.

use std::{future::Future, time::Duration};

use mdmq::{
    clock::{Clock, Timestamp},
    config::{Database, Secret},
    ids::{AgentId, ComputerId, ConnectionNumber, CredentialId},
    mdm::change::Change,
    store::{
        LoginOf, Store, StoreError,
        db::{Row, Statement, Value},
    },
};

use crate::support::postgres;

/// A database and its directory.
struct Place {
    database: Database,
    dir: tempfile::TempDir,
}

impl Place {
    async fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.database, self.dir.path(), Clock::System, |_| {}).await
    }
}

/// Runs the story on each engine.
fn on_both<F: Future<Output = ()>>(story: impl Fn(Place) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for url in [String::new(), postgres::fresh_database()] {
        let place = Place { database: Database { url: Secret(url) }, dir: tempfile::tempdir().unwrap() };
        let story = story(place);
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), story).await.unwrap() });
    }
}

async fn said(store: &Store, changes: Vec<Change>) -> Result<(), StoreError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    store.submit(changes, move |outcome| tell.send(outcome).unwrap());
    told.await.unwrap()
}

async fn did(store: &Store, sql: &'static str, args: Vec<Value>) -> Vec<Row> {
    store.write(move |tx| Box::pin(async move { tx.rows(Statement::new(sql, args)).await })).await.unwrap()
}

async fn asked(store: &Store, sql: &'static str) -> Row {
    store.row(Statement::new(sql, [])).await.unwrap().unwrap()
}

/// A computer and an agent on it in the default fleet of the root, with one credential named after the serial.
async fn enrolled(store: &Store, serial: &'static str) -> (AgentId, ComputerId) {
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
        let LoginOf::Agent { agent: found, credential, has_older_credentials, has_open_commands } = &logins[0].who
        else {
            panic!("an agent's login");
        };
        assert_eq!((found.id, *credential), (agent, CredentialId(newer)));
        assert!(found.fleet_is_default && *has_older_credentials && !has_open_commands);
        said(&store, vec![Change::CredentialUsed { agent, credential: CredentialId(newer) }]).await.unwrap();
        assert_eq!(store.logins("AZERTY").await.unwrap().len(), 1);

        did(
            &store,
            "insert into service_account (name, secret, entity_id, created_at) values ('AZERTY', 'x', 0, 1) returning 1 as one",
            vec![],
        )
        .await;
        did(
            &store,
            "insert into service_access (account_id, position, filter, access) \
             select account_id, 0, '+/agent/#', 'rw' from service_account returning 1 as one",
            vec![],
        )
        .await;
        let logins = store.logins("AZERTY").await.unwrap();
        let LoginOf::Service { name, access, entities, .. } = &logins[0].who else { panic!("the service comes first") };
        assert_eq!((name.as_str(), entities.as_ref().unwrap().len()), ("AZERTY", 1));
        assert_eq!(access, &[("+/agent/#".to_owned(), "rw".to_owned())]);
        store.close().await.unwrap();
    });
}
