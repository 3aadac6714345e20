//! Who may log in under a name, asked for many names at once. Compares no secrets.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Login, LoginOf, OpenCommand, Owed, Store, StoreError,
    db::{Readers, Row, Statement, Value},
};
use crate::{
    clock::Timestamp,
    ids::{AccountId, AgentId, CommandId, ComputerId, ConnectionNumber, CredentialId, EntityId, FleetId, Serial},
    mdm::agent::{Agent, EnrollStatus, LockWish},
};

/// Names in one question; the sizes it is asked in.
const NAMES_MAX: usize = 256;
const SIZES: [usize; 5] = [1, 4, 16, 64, NAMES_MAX];
/// How long a question waits for more names when the one before it had company: a fleet that comes back then costs a fraction,
/// because a question costs more than a name.
const GATHERING: Duration = Duration::from_millis(1);
/// Questions from this size on are big enough without waiting.
const BIG_QUESTION: usize = 128;
/// Lookups that may wait.
pub(super) const LOOKUPS_MAX: usize = 65_536;
/// Credentials per name, the newest first. Only placeholder serials ever have more than a few.
pub(super) const LOGINS_PER_NAME_MAX: i64 = 64;
/// Commands that one answer carries; the rest is owed afterwards.
const OWED_COMMANDS_MAX: i64 = 256;

/// The columns that [`agent`] reads; `a` is the agent and `f` its fleet.
pub(super) const AGENT_COLUMNS: &str = "a.agent_id, coalesce(a.topic_entity_id, a.entity_id) as topic_entity_id, \
     f.entity_id as fleet_entity_id, a.serial, a.computer_id, a.fleet_id, \
     f.is_default as fleet_is_default, a.enroll_status, a.lock_wish, a.wipe, a.mdm_type, a.policy_version, \
     f.policy_version as fleet_policy_version";
/// Whether the agent `a` must still hear that tasks were taken back.
pub(super) const HAS_REMOVALS: &str =
    "exists (select 1 from task_removal r where r.agent_id = a.agent_id) as has_removals";

/// Whether commands wait for the agent `a`.
pub(super) const HAS_OPEN_COMMANDS: &str = "exists (select 1 from command k where k.agent_id = a.agent_id \
     and k.state in ('queued', 'sent', 'delivered') and k.state <> 'delivered') as has_open_commands";

/// Somebody waits to know who has this name.
pub(super) struct Lookup {
    pub(super) username: String,
    pub(super) answer: oneshot::Sender<Result<Vec<Login>, StoreError>>,
}

/// The names of all service accounts. They are few, devices are many: a device's login asks nothing about them.
#[derive(Clone, Default)]
pub(super) struct AccountNames(Arc<RwLock<HashSet<String>>>);

impl AccountNames {
    /// Reads them from the database.
    pub(super) async fn load(&self, readers: &Readers) -> Result<(), StoreError> {
        let rows = readers.rows(Statement::new("select name from service_account", [])).await?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rows.iter().map(|row| row.text("name")).collect();
        Ok(())
    }

    /// To be called once an account of this name is written. A name whose account is gone may stay: it costs a question.
    pub(super) fn add(&self, name: String) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name);
    }

    /// Those of the names that accounts have.
    fn among(&self, names: &[String]) -> Vec<String> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().filter(|name| known.contains(*name)).cloned().collect()
    }
}

/// Asks for nobody in every size, so that the first devices find the statements prepared.
pub(super) async fn prepare_lookups(readers: &Readers) -> Result<(), StoreError> {
    for size in SIZES {
        credentials(readers, &vec![String::new(); size]).await?;
    }
    Ok(())
}

/// Answers lookups; all that wait travel in one question.
pub(super) async fn answer_lookups(readers: Readers, accounts: AccountNames, mut queue: mpsc::Receiver<Lookup>) {
    let mut waiting = Vec::with_capacity(NAMES_MAX);
    let mut last_size = 0;
    loop {
        if (2..BIG_QUESTION).contains(&last_size) && queue.len() < BIG_QUESTION {
            tokio::time::sleep(GATHERING).await;
        }
        last_size = queue.recv_many(&mut waiting, NAMES_MAX).await;
        if last_size == 0 {
            break;
        }
        let mut names: Vec<_> = waiting.iter().map(|it| it.username.clone()).collect();
        names.sort_unstable();
        names.dedup();
        let is_shared = names.len() < waiting.len();
        let mut found = logins_of(&readers, &accounts, names).await;
        for lookup in waiting.drain(..) {
            let answer = match &mut found {
                Ok(found) if is_shared => Ok(found.get(&lookup.username).cloned().unwrap_or_default()),
                Ok(found) => Ok(found.remove(&lookup.username).unwrap_or_default()),
                Err(error) => Err(error.clone()),
            };
            drop(lookup.answer.send(answer));
        }
    }
}

async fn logins_of(
    readers: &Readers,
    accounts: &AccountNames,
    names: Vec<String>,
) -> Result<HashMap<String, Vec<Login>>, StoreError> {
    let mut found: HashMap<String, Vec<Login>> = HashMap::with_capacity(names.len());
    let of_accounts = accounts.among(&names);
    if !of_accounts.is_empty() {
        for (name, login) in service_accounts(readers, &of_accounts).await? {
            found.entry(name).or_default().push(login);
        }
    }
    for row in credentials(readers, &names).await? {
        let Some(agent) = agent(&row) else { continue };
        let who = LoginOf::Agent {
            agent,
            credential: CredentialId(row.int("credential_id")),
            has_older_credentials: row.flag("has_older_credentials"),
            has_open_commands: row.flag("has_open_commands"),
            has_removals: row.flag("has_removals"),
        };
        found.entry(row.text("username")).or_default().push(Login { secret: row.text("secret"), who });
    }
    // A name that nobody has may be that of an account which another server on this database has just added.
    let unknown: Vec<String> = names.into_iter().filter(|name| !found.contains_key(name)).collect();
    if !unknown.is_empty() {
        for (name, login) in service_accounts(readers, &unknown).await? {
            accounts.add(name.clone());
            found.entry(name).or_default().push(login);
        }
    }
    Ok(found)
}

/// Rows of the usual question, per name asked; a fleet without placeholder serials stays far below.
const USUAL_ROWS_PER_NAME_MAX: usize = 8;

/// The credentials of these names, the newest first. The usual question is cheap; where so many share a name that its limit is
/// reached, it is asked again with a limit per name.
async fn credentials(readers: &Readers, names: &[String]) -> Result<Vec<Row>, StoreError> {
    let (places, args) = names_as_arguments(names);
    let limit = args.len() * USUAL_ROWS_PER_NAME_MAX;
    // Unordered, so that no engine walks the whole table in the order asked for to save the sorting.
    let usual = format!("{} where c.username in ({places}) limit {limit}", credentials_from("credential"));
    let mut rows = readers.rows(Statement::new(usual, args.clone())).await?;
    if rows.len() < limit {
        rows.sort_unstable_by_key(|row| Reverse(row.int("credential_id")));
        return Ok(rows);
    }
    let ranked = format!(
        "(select credential_id, agent_id, username, secret, \
             row_number() over (partition by username order by credential_id desc) as place \
         from credential where username in ({places}))"
    );
    let bounded =
        format!("{} where c.place <= {LOGINS_PER_NAME_MAX} order by c.credential_id desc", credentials_from(&ranked));
    readers.rows(Statement::new(bounded, args)).await
}

fn credentials_from(credentials: &str) -> String {
    format!(
        "select c.username, c.secret, c.credential_id, {AGENT_COLUMNS}, \
         exists (select 1 from credential o where o.agent_id = a.agent_id and o.credential_id < c.credential_id) \
             as has_older_credentials, {HAS_OPEN_COMMANDS}, {HAS_REMOVALS} \
         from {credentials} c join agent a on a.agent_id = c.agent_id join fleet f on f.fleet_id = a.fleet_id"
    )
}

/// The placeholders and arguments of `in (…)`, filled up to one of few sizes with the first name.
fn names_as_arguments(names: &[String]) -> (String, Vec<Value>) {
    let size = SIZES.into_iter().find(|size| *size >= names.len()).unwrap_or(NAMES_MAX);
    let args: Vec<Value> =
        (0..size).filter_map(|n| names.get(n).or(names.first())).map(|name| name.clone().into()).collect();
    let places: Vec<_> = (1..=args.len()).map(|n| format!("${n}")).collect();
    (places.join(","), args)
}

async fn service_accounts(readers: &Readers, names: &[String]) -> Result<Vec<(String, Login)>, StoreError> {
    let (places, args) = names_as_arguments(names);
    let sql = format!("select account_id, name, secret, entity_id from service_account where name in ({places})");
    let mut found = Vec::new();
    for row in readers.rows(Statement::new(sql, args)).await? {
        let account = row.int("account_id");
        let name = row.text("name");
        let who = LoginOf::Service {
            id: AccountId(account),
            name: name.clone(),
            access: access_of(readers, account).await?,
            entities: match row.opt_int("entity_id") {
                Some(top) => Some(sub_tree(readers, top).await?),
                None => None,
            },
        };
        found.push((name, Login { secret: row.text("secret"), who }));
    }
    Ok(found)
}

async fn access_of(readers: &Readers, account: i64) -> Result<Vec<(String, String)>, StoreError> {
    let entries = Statement::new(
        "select filter, access from service_access where account_id = $1 order by position",
        [account.into()],
    );
    Ok(readers.rows(entries).await?.iter().map(|row| (row.text("filter"), row.text("access"))).collect())
}

async fn sub_tree(readers: &Readers, top: i64) -> Result<Vec<EntityId>, StoreError> {
    let below = Statement::new(
        "with recursive below (entity_id) as (select entity_id from entity where entity_id = $1 \
         union select e.entity_id from entity e join below b on e.parent_id = b.entity_id) \
         select entity_id from below order by entity_id",
        [top.into()],
    );
    Ok(readers.rows(below).await?.iter().map(|row| EntityId(row.int("entity_id"))).collect())
}

/// Reads [`AGENT_COLUMNS`]. `None` for a row whose serial no topic can carry; none is ever stored.
pub(super) fn agent(row: &Row) -> Option<Agent> {
    Some(Agent {
        id: AgentId(row.int("agent_id")),
        entity: EntityId(row.int("topic_entity_id")),
        fleet_entity: EntityId(row.int("fleet_entity_id")),
        serial: Serial::parse(&row.text("serial")).ok()?,
        computer: ComputerId(row.int("computer_id")),
        fleet: FleetId(row.int("fleet_id")),
        fleet_is_default: row.flag("fleet_is_default"),
        enroll_status: EnrollStatus::parse(&row.text("enroll_status"))?,
        lock: LockWish::parse(&row.text("lock_wish"))?,
        wipe: row.flag("wipe"),
        is_apple: row.text("mdm_type") == "apple",
        policy_version: row.int("policy_version"),
        fleet_policy_version: row.int("fleet_policy_version"),
    })
}

impl Store {
    /// What this agent is owed.
    ///
    /// # Errors
    /// The database failed.
    pub async fn owed(&self, agent: AgentId) -> Result<Option<Owed>, StoreError> {
        let now: Timestamp = self.clock().now();
        let sql = format!(
            "select {AGENT_COLUMNS}, {HAS_REMOVALS}, k.command_id, k.name as command_name, k.sent_to \
             from agent a join fleet f on f.fleet_id = a.fleet_id \
             left join command k on k.agent_id = a.agent_id and k.state in ('queued', 'sent', 'delivered') \
                 and k.state <> 'delivered' and (k.expires_at is null or k.expires_at > $2) \
             where a.agent_id = $1 order by k.command_id limit {OWED_COMMANDS_MAX}"
        );
        let rows = self.rows(Statement::new(sql, [agent.0.into(), now.0.into()])).await?;
        let commands = rows.iter().filter_map(|row| {
            Some(OpenCommand {
                id: CommandId(row.opt_int("command_id")?),
                name: row.text("command_name"),
                sent_to: row.opt_int("sent_to").map(ConnectionNumber),
            })
        });
        let commands = commands.collect();
        let has_removals = rows.first().is_some_and(|row| row.flag("has_removals"));
        let agent = rows.first().and_then(self::agent);
        Ok(agent.map(|agent| Owed { agent, commands, has_removals }))
    }
}
