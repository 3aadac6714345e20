//! Tasks in both databases: what is written when they come, change and go, and what reports may change.

use mdmq::{
    clock::Timestamp,
    ids::{AgentId, EntityId, FileId, FleetId, PackageId, TaskId},
    mdm::{
        change::Change,
        policy::{self, ItemId, Target},
    },
    store::{
        Store,
        administer::{NewFleet, Refused},
        task::{self, NewTask, StatusFilter, TASKS_PER_TARGET_MAX, TaskFilter, Touched},
    },
};
use serde_json::{Value, json};

use crate::store::{asked, did, enrolled, on_both, said};

const AT: Timestamp = Timestamp(1000);
const UNTIL: Timestamp = Timestamp(9000);

fn new(target: Target, symbol: &str, value: Value) -> NewTask {
    NewTask { target, policy: policy::by_symbol(symbol).unwrap(), value, item: None }
}

async fn adds(store: &Store, new: NewTask) -> Result<(TaskId, Touched), Refused> {
    store.add_task(new, AT).await.unwrap()
}

async fn fleet(store: &Store, name: &str) -> FleetId {
    store
        .add_fleet(NewFleet { entity: EntityId::ROOT, name: name.into(), is_recursive: false }, AT)
        .await
        .unwrap()
        .unwrap()
}

async fn statuses(store: &Store, agent: AgentId) -> Vec<(i64, String)> {
    let filter = StatusFilter { agent: Some(agent), ..StatusFilter::default() };
    let found = store.task_statuses(filter).await.unwrap();
    found.into_iter().map(|it| (it.task.0, it.status)).collect()
}

fn status(task: TaskId, status: &str) -> (i64, String) {
    (task.0, status.to_owned())
}

async fn reports(store: &Store, agent: AgentId, task: TaskId, status: &'static str) {
    said(store, vec![Change::TaskStatus { agent, task, status, at: Timestamp(2000) }]).await.unwrap();
}

/// A file and an analysed application.
async fn deployables(store: &Store) {
    let blob = "insert into blob (blob_id, size_bytes, created_at) values ('b', 1, 1) returning size_bytes as one";
    did(store, blob, vec![]).await;
    let file = "insert into file (entity_id, name, version, blob_id, created_at, updated_at) \
         values (0, 'a.pdf', 1, 'b', 1, 1) returning file_id as one";
    assert_eq!(did(store, file, vec![]).await[0].int("one"), 1);
    let package = "insert into package (entity_id, name, dl_filename, blob_id, created_at, updated_at) \
         values (0, 'F-Droid', 'f.apk', 'b', 1, 1) returning package_id as one";
    assert_eq!(did(store, package, vec![]).await[0].int("one"), 1);
}

#[test]
fn a_task_has_a_status_for_every_agent_from_its_first_moment_to_its_last() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let (first, second) = (enrolled(&store, "FIRST").await.0, enrolled(&store, "SECOND").await.0);
        let sales = fleet(&store, "Sales").await;
        let default = store.owed(first).await.unwrap().unwrap().agent.fleet;
        for agent in [first, second] {
            store.put_into_fleet(agent, sales, AT).await.unwrap().unwrap();
        }
        let (wifi, touched) = adds(&store, new(Target::Fleet(sales), "disableWifi", json!(1))).await.unwrap();
        assert_eq!(touched, Touched { fleets: vec![(sales, 1)], agents: vec![] });
        assert_eq!(store.owed(first).await.unwrap().unwrap().agent.fleet_policy_version, 1);
        let (own, touched) = adds(&store, new(Target::Agent(first), "disableWifi", json!(0))).await.unwrap();
        assert_eq!(touched, Touched { fleets: vec![], agents: vec![first] });
        assert_eq!(statuses(&store, first).await, [status(wifi, "overriden"), status(own, "pending")]);
        assert_eq!(statuses(&store, second).await, [status(wifi, "pending")]);

        reports(&store, first, wifi, "done").await;
        reports(&store, second, wifi, "waiting").await;
        reports(&store, second, own, "done").await;
        assert_eq!(statuses(&store, first).await, [status(wifi, "overriden"), status(own, "pending")]);
        assert_eq!(statuses(&store, second).await, [status(wifi, "pending")]);
        reports(&store, second, wifi, "done").await;
        assert_eq!(statuses(&store, second).await, [status(wifi, "done")]);

        // Who comes finds the task waiting; who leaves cancels it for itself alone, and keeps its own.
        store.put_into_fleet(first, default, AT).await.unwrap().unwrap();
        assert_eq!(statuses(&store, first).await, [status(wifi, "canceled"), status(own, "pending")]);
        reports(&store, first, wifi, "done").await;
        assert_eq!(statuses(&store, first).await[0], status(wifi, "canceled"));
        assert_eq!(statuses(&store, second).await, [status(wifi, "done")]);
        store.put_into_fleet(first, sales, AT).await.unwrap().unwrap();
        assert_eq!(statuses(&store, first).await[0], status(wifi, "overriden"));

        // The own task goes: that of the fleet counts again, and the device must hear of it.
        store.remove_task(own, AT, UNTIL).await.unwrap().unwrap();
        assert_eq!(statuses(&store, first).await, [status(wifi, "pending")]);
        assert!(store.owed(first).await.unwrap().unwrap().has_removals);
        assert_eq!(store.removals_of(first).await.unwrap()[0].task, own);
        assert!(!store.owed(second).await.unwrap().unwrap().has_removals);
        said(&store, vec![Change::RemovalHeard { agent: first, task: own }]).await.unwrap();
        assert!(!store.owed(first).await.unwrap().unwrap().has_removals);

        let touched = store.change_task(wifi, json!("0"), None, AT).await.unwrap().unwrap();
        assert_eq!(touched.fleets, [(sales, 2)]);
        assert_eq!(statuses(&store, second).await, [status(wifi, "pending")]);
        let tasks = store.tasks_of_fleet(sales).await.unwrap().unwrap();
        let expected = format!(r#"{{"disableWifi":"false","taskId":{wifi}}}"#);
        assert_eq!((tasks.version, tasks.applied[0].body.clone().unwrap()), (2, expected.into()));

        // The fleet goes: everybody must hear so, until the time is over.
        assert_eq!(store.remove_fleet(sales, UNTIL).await.unwrap().unwrap().len(), 2);
        assert_eq!(statuses(&store, first).await, []);
        assert_eq!(store.removals_of(second).await.unwrap()[0].fleet, Some(sales));
        assert_eq!(store.expire_removals(Timestamp(UNTIL.0 - 1)).await.unwrap(), 0);
        assert_eq!(store.expire_removals(UNTIL).await.unwrap(), 2);
        assert_eq!(store.expire_removals(UNTIL).await.unwrap(), 0);
        assert!(store.tasks_of_fleet(sales).await.unwrap().is_none());
        store.close().await.unwrap();
    });
}

#[test]
fn deployments_follow_what_they_deploy() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        deployables(&store).await;
        let agent = enrolled(&store, "DEPLOYED").await.0;
        let sales = fleet(&store, "Sales").await;
        store.put_into_fleet(agent, sales, AT).await.unwrap().unwrap();
        let app = |target| NewTask {
            item: Some(ItemId::Package(PackageId(1))),
            ..new(target, "deployApp", json!({"remove_on_delete": 1}))
        };
        let refused = adds(&store, app(Target::Fleet(sales))).await.unwrap_err();
        assert_eq!(refused.to_string(), "The application is not analysed yet; try again in a moment");
        let parsed = "update package set parse_status = 'parsed', package_name = 'org.fdroid', version_code = '7' \
             returning package_id as one";
        did(&store, parsed, vec![]).await;
        let (app_task, _) = adds(&store, app(Target::Fleet(sales))).await.unwrap();
        let file = NewTask {
            item: Some(ItemId::File(FileId(1))),
            ..new(Target::Agent(agent), "deployFile", json!({"destination": "%SDCARD%/x", "remove_on_delete": "0"}))
        };
        let (file_task, _) = adds(&store, file.clone()).await.unwrap();
        assert_eq!(adds(&store, file.clone()).await.unwrap_err().to_string(), "Policy already applied");
        let elsewhere = "insert into entity (entity_id, parent_id, name, created_at) values (70, 0, 'Elsewhere', 1) returning entity_id as one";
        let elsewhere = did(&store, elsewhere, vec![]).await[0].int("one");
        let foreign = "insert into file (entity_id, name, version, blob_id, created_at, updated_at) \
             values ($1, 'b.pdf', 1, 'b', 1, 1) returning file_id as one";
        let foreign = FileId(did(&store, foreign, vec![elsewhere.into()]).await[0].int("one"));
        let foreign = NewTask { target: Target::Fleet(sales), item: Some(ItemId::File(foreign)), ..file };
        let refused = adds(&store, foreign).await.unwrap_err().to_string();
        assert_eq!(refused, "The file belongs to another entity; the devices could not fetch it");
        let body = async |fleet: bool| {
            let applied = if fleet {
                store.tasks_of_fleet(sales).await.unwrap().unwrap().applied
            } else {
                store.tasks_of_agent(agent).await.unwrap()
            };
            let body = applied[0].body.clone();
            (applied[0].revision, body.map(|it| String::from_utf8(it.to_vec()).unwrap()).unwrap_or_default())
        };
        let app_body = format!(r#"{{"deployApp":"org.fdroid","id":"1","versionCode":"7","taskId":{app_task}}}"#);
        assert_eq!(body(true).await, (AT.0, app_body));

        // A new version is published again, and everybody begins anew.
        reports(&store, agent, file_task, "done").await;
        did(&store, "update file set version = 2 returning file_id as one", vec![]).await;
        let touched =
            store.write(|tx| Box::pin(task::republish(tx, ItemId::File(FileId(1)), Timestamp(3000)))).await.unwrap();
        assert_eq!(touched, Touched { fleets: vec![], agents: vec![agent] });
        let file_body = format!(r#"{{"deployFile":"%SDCARD%/x/","id":"1","version":"2","taskId":{file_task}}}"#);
        assert_eq!(body(false).await, (3000, file_body));
        assert!(statuses(&store, agent).await.contains(&status(file_task, "pending")));

        // An application that is being analysed again says nothing, but is not taken back.
        let pending = "update package set parse_status = 'pending', package_name = '' returning package_id as one";
        did(&store, pending, vec![]).await;
        assert_eq!(body(true).await, (AT.0, String::new()));
        did(&store, parsed, vec![]).await;

        // The application goes: its task goes first, and leaves the task that removes it from devices.
        let touched = store
            .write(|tx| Box::pin(task::remove_tasks_of(tx, ItemId::Package(PackageId(1)), AT, UNTIL)))
            .await
            .unwrap();
        assert_eq!(touched.fleets.len(), 1);
        did(&store, "delete from package returning package_id as one", vec![]).await;
        let left = store.tasks(TaskFilter { fleet: Some(sales), ..TaskFilter::default() }).await.unwrap();
        let left: Vec<_> = left.iter().map(|it| (it.policy.as_str(), it.value.as_str())).collect();
        assert_eq!(left, [("removeApp", "org.fdroid")]);
        assert_eq!(store.removals_of(agent).await.unwrap()[0].task, app_task);
        store.close().await.unwrap();
    });
}

#[test]
fn targets_refuse_what_makes_no_sense_and_have_a_bound() {
    on_both(|place| async move {
        let store = place.open().await.unwrap();
        let agent = enrolled(&store, "FULL").await.0;
        let default = store.owed(agent).await.unwrap().unwrap().agent.fleet;
        let complaint = async |new: NewTask| adds(&store, new).await.unwrap_err().to_string();
        let wifi = |target, value: i64| new(target, "disableWifi", json!(value));
        let at_default = Target::Fleet(default);
        assert_eq!(complaint(wifi(at_default, 2)).await, "Incorrect value for this policy", "the value comes first");
        assert_eq!(complaint(wifi(at_default, 1)).await, "Cannot apply a policy on a not managed fleet");
        assert_eq!(complaint(wifi(Target::Agent(AgentId(99)), 1)).await, "Cannot find the notifiable object");
        for n in 0..TASKS_PER_TARGET_MAX {
            adds(&store, new(Target::Agent(agent), "removeFile", format!("%SDCARD%/{n}").into())).await.unwrap();
        }
        assert!(complaint(wifi(Target::Agent(agent), 1)).await.contains("at most"));
        let applied = store.tasks_of_agent(agent).await.unwrap();
        assert_eq!(i64::try_from(applied.len()).unwrap(), TASKS_PER_TARGET_MAX);
        let gone = asked(&store, "select count(*) as count from task_removal").await.int("count");
        assert_eq!(gone, 0);
        store.close().await.unwrap();
    });
}
