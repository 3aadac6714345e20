//! The audit: deeds become entries of a chain, in the transaction of the deed. Rows are never changed, and only the oldest go.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

use super::{
    Store, StoreError,
    administer::Refused,
    db::{Row, Statement, Story, Tx, Value},
};
use crate::{
    clock::{Clock, Timestamp},
    ids::{AccountId, AgentId, CommandId, EntityId, FileId, FleetId, PackageId, PersonId, TaskId},
    mdm::audit::{Actor, ActorKind, AuditKey, Deed, Entry, Head, Subject},
};

/// Entries that one list shows.
pub const ENTRIES_LISTED_MAX: usize = 1000;
/// Entries that one pruning forgets; the next one goes on.
const PRUNED_MAX: i64 = 10_000;
/// How long ago an entry must have been written to show that the clock is not wrong just now.
const CLOCK_SETTLES_MS: i64 = 3_600_000;
/// 2026-01-01: no entry is older than mdmq itself.
const BEFORE_MDMQ_MS: i64 = 1_767_225_600_000;
/// What is numbered below 1 or was forgotten is not of the chain, and shows in `Store::audit_oldest` only.
const OF_THE_CHAIN: &str = "number > 0 and number > coalesce((select number from audit_anchor), 0)";
const COLUMNS: &str = "select number, at, actor_kind, actor, peer, action, subject_kind, subject, serial, entity_id, detail, \
     previous, hash from audit";

tokio::task_local! {
    /// On whose behalf the stories of this task run.
    static BEHALF: Actor;
}

/// Runs something on behalf of somebody: what it does is written down under this name.
pub async fn on_behalf<T>(of: Actor, doing: impl Future<Output = T>) -> T {
    BEHALF.scope(of, doing).await
}

/// On whose behalf this task runs.
pub fn actor() -> Actor {
    BEHALF.try_with(Clone::clone).unwrap_or(Actor::SYSTEM)
}

/// What the writer's transaction knows of the chain.
pub(super) struct Chain {
    pub(super) key: AuditKey,
    pub(super) clock: Clock,
    /// On whose behalf the story that runs now does what it does.
    pub(super) by: Actor,
    /// Where the chain stands in this transaction; `None`: to be read.
    head: Option<Head>,
    last: Last,
}

/// The last entry that this process committed. The chain goes on from there, whatever became of the rows since.
#[derive(Clone)]
pub(super) struct Last(Arc<Mutex<Head>>);

impl Last {
    fn get(&self) -> Head {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The further one.
    fn or(&self, rows: Head) -> Head {
        let last = self.get();
        if last.number > rows.number { last } else { rows }
    }
}

impl Chain {
    pub(super) fn new(key: AuditKey, clock: Clock) -> Self {
        let last = Last(Arc::new(Mutex::new(Head::beginning())));
        Self { key, clock, by: Actor::SYSTEM, head: None, last }
    }

    /// The same chain over another connection.
    pub(super) fn reconnected(&self) -> Self {
        Self {
            by: Actor::SYSTEM,
            head: None,
            last: self.last.clone(),
            key: self.key.clone(),
            clock: self.clock.clone(),
        }
    }

    pub(super) fn last(&self) -> Last {
        self.last.clone()
    }

    /// What was written is committed.
    pub(super) fn committed(&self) {
        let Some(head) = &self.head else { return };
        let mut last = self.last.0.lock().unwrap_or_else(PoisonError::into_inner);
        if head.number > last.number {
            last.clone_from(head);
        }
    }

    /// What was written may be gone: a rollback, or a new connection.
    pub(super) fn forget(&mut self) {
        self.head = None;
    }
}

/// What a story made: the number of the thing, where it made one.
pub trait Made {
    /// Its number.
    fn number(&self) -> Option<i64> {
        None
    }

    /// The deed with what is known only now.
    fn tell(&self, mut deed: Deed) -> Deed {
        if deed.id.is_empty() {
            deed.id = self.number().map(|it| it.to_string()).unwrap_or_default();
        }
        deed
    }
}

macro_rules! made {
    ($($type:ty),+) => {$( impl Made for $type { fn number(&self) -> Option<i64> { Some(self.0) } } )+};
}

made!(EntityId, FleetId, PersonId, AccountId, AgentId, TaskId, FileId, PackageId);
impl Made for CommandId {
    fn tell(&self, deed: Deed) -> Deed {
        deed.with("command_id", self.0)
    }
}
impl Made for () {}
impl Made for u64 {}
impl Made for Vec<AgentId> {}
impl Made for super::task::Touched {}
impl Made for (String, super::task::Touched) {}
impl Made for i64 {
    fn number(&self) -> Option<i64> {
        Some(*self)
    }
}
impl Made for (TaskId, super::task::Touched) {
    fn number(&self) -> Option<i64> {
        Some(self.0.0)
    }
}

/// A story that ends with the entry of its deed, unless it was refused.
pub(super) fn audited<T, F>(
    deed: Deed,
    story: F,
) -> impl for<'t> FnOnce(&'t mut Tx) -> Story<'t, Result<T, Refused>> + Send
where
    T: Made + Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> Story<'t, Result<T, Refused>> + Send + 'static,
{
    move |tx| {
        Box::pin(async move {
            let mut deed = deed;
            // Before, because afterwards it may be gone.
            locate(tx, &mut deed).await?;
            let answer = story(tx).await?;
            if let Ok(made) = &answer {
                let is_new = deed.id.is_empty();
                deed = made.tell(deed);
                if is_new {
                    locate(tx, &mut deed).await?;
                }
                write(tx, deed).await?;
            }
            Ok(answer)
        })
    }
}

/// Writes a deed down, in the transaction of the story that calls it.
///
/// # Errors
/// The database failed.
pub async fn append(tx: &mut Tx, mut deed: Deed) -> Result<(), StoreError> {
    locate(tx, &mut deed).await?;
    write(tx, deed).await
}

/// The end of an agent that says so itself; nothing, if it was gone already.
pub(super) async fn append_if_there(tx: &mut Tx, mut deed: Deed) -> Result<(), StoreError> {
    locate(tx, &mut deed).await?;
    if deed.serial.is_empty() { Ok(()) } else { write(tx, deed).await }
}

/// Tenant and device of the subject, as far as the deed does not say them.
async fn locate(tx: &mut Tx, deed: &mut Deed) -> Result<(), StoreError> {
    let Ok(id) = deed.id.parse::<i64>() else { return Ok(()) };
    let Some(question) = place_of(deed.subject) else { return Ok(()) };
    if let Some(row) = tx.row(Statement::new(question, [id.into()])).await? {
        deed.entity = deed.entity.or(row.opt_int("entity_id").map(EntityId));
        if deed.serial.is_empty() {
            deed.serial = row.text("serial");
        }
    }
    Ok(())
}

/// Asks where a thing belongs: `entity_id`, which may be null, and `serial`, which may be empty.
pub(super) fn place_of(subject: Subject) -> Option<&'static str> {
    Some(match subject {
        Subject::Entity => "select entity_id, '' as serial from entity where entity_id = $1",
        Subject::Agent => "select entity_id, serial from agent where agent_id = $1",
        Subject::Command => {
            "select a.entity_id, c.serial from command c left join agent a on a.agent_id = c.agent_id where c.command_id = $1"
        }
        Subject::Task => {
            "select coalesce(a.entity_id, f.entity_id) as entity_id, coalesce(a.serial, '') as serial from task t \
             left join agent a on a.agent_id = t.agent_id left join fleet f on f.fleet_id = t.fleet_id where t.task_id = $1"
        }
        Subject::Fleet => "select entity_id, '' as serial from fleet where fleet_id = $1",
        Subject::File => "select entity_id, '' as serial from file where file_id = $1",
        Subject::Package => "select entity_id, '' as serial from package where package_id = $1",
        Subject::Invitation => "select entity_id, '' as serial from invitation where invitation_id = $1",
        Subject::Computer => "select entity_id, serial from computer where computer_id = $1",
        Subject::Position => {
            "select c.entity_id, c.serial from geolocation g join computer c on c.computer_id = g.computer_id \
             where g.geolocation_id = $1"
        }
        _ => return None,
    })
}

async fn write(tx: &mut Tx, deed: Deed) -> Result<(), StoreError> {
    let head = match tx.chain.head.take() {
        Some(head) => head,
        None => newest(tx).await?,
    };
    let by = deed.by.unwrap_or_else(|| tx.chain.by.clone());
    let mut entry = Entry {
        number: head.number + 1,
        at: tx.chain.clock.now().0,
        actor_kind: by.kind.as_str().to_owned(),
        actor: name_of(tx, &by).await?,
        peer: by.peer,
        action: deed.action.as_str().to_owned(),
        subject_kind: deed.subject.as_str().to_owned(),
        subject: deed.id,
        serial: deed.serial,
        entity: deed.entity.map(|it| it.0),
        detail: serde_json::Value::Object(deed.detail).to_string(),
        previous: head.hash,
        hash: String::new(),
    };
    // The database keeps no NUL, and what is hashed must be what is kept.
    for text in [&mut entry.actor, &mut entry.subject, &mut entry.serial] {
        text.retain(|it| it != '\0');
    }
    entry.hash = entry.sealed(&tx.chain.key);
    let next = Head { number: entry.number, hash: entry.hash.clone() };
    tx.execute(insert(entry)).await?;
    tx.chain.head = Some(next);
    Ok(())
}

/// A person is written down with the name of that day.
async fn name_of(tx: &mut Tx, by: &Actor) -> Result<String, StoreError> {
    let (ActorKind::Person, Ok(id)) = (by.kind, by.name.parse::<i64>()) else { return Ok(by.name.clone()) };
    let question = Statement::new("select name, email from person where person_id = $1", [id.into()]);
    Ok(match tx.row(question).await? {
        Some(row) if row.text("name").is_empty() => format!("{id} {}", row.text("email")),
        Some(row) => format!("{id} {}", row.text("name")),
        None => by.name.clone(),
    })
}

async fn newest(tx: &mut Tx) -> Result<Head, StoreError> {
    for question in [NEWEST, ANCHOR] {
        if let Some(row) = tx.row(Statement::new(question, [])).await? {
            return Ok(tx.chain.last.or(head(&row)));
        }
    }
    Ok(tx.chain.last.get())
}

const NEWEST: &str = "select number, hash from audit order by number desc limit 1";
const ANCHOR: &str = "select number, hash, seal from audit_anchor";

fn insert(it: Entry) -> Statement {
    Statement::new(
        "insert into audit (number, at, actor_kind, actor, peer, action, subject_kind, subject, serial, entity_id, detail, \
         previous, hash) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        [
            it.number.into(),
            it.at.into(),
            it.actor_kind.into(),
            it.actor.into(),
            it.peer.into(),
            it.action.into(),
            it.subject_kind.into(),
            it.subject.into(),
            it.serial.into(),
            it.entity.into(),
            it.detail.into(),
            it.previous.into(),
            it.hash.into(),
        ],
    )
}

/// Which entries to list; `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct EntryFilter {
    /// By this kind of somebody, or by somebody of this name.
    pub actor: Option<String>,
    /// Of this kind, or of all kinds that begin so: `agent.` for all that agents did and suffered.
    pub action: Option<String>,
    /// Concerning this device.
    pub serial: Option<String>,
    /// Concerning this tenant.
    pub entity: Option<EntityId>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// With a higher number, oldest first; without it the newest come first.
    pub after: Option<i64>,
    /// With a lower number.
    pub before: Option<i64>,
    /// At most so many; [`ENTRIES_LISTED_MAX`] at most.
    pub limit: usize,
}

/// The end of the entries that were forgotten, and the seal under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anchor {
    /// The last of them.
    pub head: Head,
    /// Made with the key of the server.
    pub seal: String,
}

impl Store {
    /// Tells a story that is a deed: its entry is committed with it, and there is none where it was refused.
    pub(super) async fn deed<T, F>(&self, deed: Deed, story: F) -> super::administer::Answer<T>
    where
        T: Made + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Story<'t, Result<T, Refused>> + Send + 'static,
    {
        self.write(audited(deed, story)).await
    }

    /// Writes down a deed that changes no other row.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit(&self, deed: Deed) -> Result<(), StoreError> {
        self.audit_all(vec![deed]).await
    }

    /// Writes down such deeds, all or none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_all(&self, deeds: Vec<Deed>) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                for deed in deeds {
                    append(tx, deed).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Entries.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_entries(&self, filter: &EntryFilter) -> Result<Vec<Entry>, StoreError> {
        let mut args: Vec<Value> = Vec::new();
        let mut sql = format!("{COLUMNS} where {OF_THE_CHAIN}");
        let conditions: [(&str, Option<Value>); 7] = [
            ("$ in (actor_kind, actor)", filter.actor.clone().map(Into::into)),
            ("substr(action, 1, length($)) = $", filter.action.clone().map(Into::into)),
            ("serial = $", filter.serial.clone().map(Into::into)),
            ("entity_id = $", filter.entity.map(|it| it.0.into())),
            ("at >= $", filter.since.map(|it| it.0.into())),
            ("number > $", filter.after.map(Into::into)),
            ("number < $", filter.before.map(Into::into)),
        ];
        for (condition, value) in conditions {
            if let Some(value) = value {
                args.push(value);
                sql += &format!(" and {}", condition.replace('$', &format!("${}", args.len())));
            }
        }
        let direction = if filter.after.is_some() { "" } else { " desc" };
        sql += &format!(" order by number{direction} limit {}", filter.limit.clamp(1, ENTRIES_LISTED_MAX));
        Ok(self.rows(Statement::new(sql, args)).await?.iter().map(entry).collect())
    }

    /// The last entry, or the last that was forgotten. It stays the last one that this process committed where that row is gone.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_head(&self) -> Result<Head, StoreError> {
        let rows = match self.row(Statement::new(NEWEST, [])).await? {
            Some(row) => head(&row),
            None => self.audit_anchor().await?.map_or_else(Head::beginning, |it| it.head),
        };
        Ok(self.audit_last.or(rows))
    }

    /// The last entry that this process committed; number 0: none yet.
    pub fn audit_last(&self) -> Head {
        self.audit_last.get()
    }

    /// The end of what was forgotten.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_anchor(&self) -> Result<Option<Anchor>, StoreError> {
        let row = self.row(Statement::new(ANCHOR, [])).await?;
        Ok(row.map(|row| Anchor { head: head(&row), seal: row.text("seal") }))
    }

    /// The hash of one entry.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_hash(&self, number: i64) -> Result<Option<String>, StoreError> {
        let question = "select hash from audit where number = $1";
        Ok(self.row(Statement::new(question, [number.into()])).await?.map(|row| row.text("hash")))
    }

    /// The smallest number that is there, whether it belongs there or not.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_oldest(&self) -> Result<Option<i64>, StoreError> {
        self.number("select min(number) as number from audit", []).await
    }

    /// Forgets the oldest entries beyond `rows_max` and those older than `kept_ms` (0: whatever their age), a bounded number at a time,
    /// and leaves an anchor and an entry that says so. Answers how many went.
    ///
    /// # Errors
    /// The database failed.
    pub async fn prune_audit(&self, rows_max: i64, kept_ms: i64, now: Timestamp) -> Result<i64, StoreError> {
        let ends = "select min(number) as oldest, max(number) as newest from audit";
        let Some(ends) = self.row(Statement::new(ends, [])).await? else { return Ok(0) };
        let (Some(oldest), Some(newest)) = (ends.opt_int("oldest"), ends.opt_int("newest")) else { return Ok(0) };
        // The newest always stays, so that the chain goes on from a row.
        let most = oldest.saturating_add(PRUNED_MAX - 1).min(newest - 1);
        let too_many = newest.saturating_sub(rows_max).min(most);
        let too_old = if kept_ms > 0 { self.too_old(oldest, most, kept_ms, now).await? } else { None };
        let last = too_many.max(too_old.unwrap_or(i64::MIN));
        if last < oldest {
            return Ok(0);
        }
        self.write(move |tx| Box::pin(prune(tx, last))).await
    }

    /// The last of the entries up to `most` that are too old: those before the first that is not. Clocks are wrong at times (a start
    /// before the network told the time), so an entry of a time that cannot be says nothing and goes with the next; and nothing is too old
    /// until an entry that is not was written some time ago, by the same clock.
    async fn too_old(&self, oldest: i64, most: i64, kept_ms: i64, now: Timestamp) -> Result<Option<i64>, StoreError> {
        let until = now.0.saturating_sub(kept_ms);
        let first = "select number from audit where number = $1 and at not between $2 and $3";
        if self.number(first, [oldest.into(), until.into(), now.0.into()]).await?.is_none() {
            return Ok(None);
        }
        let settled = "select at as number from audit where at between $1 and $2 order by number desc limit 1";
        let a_while_ago = now.0 - CLOCK_SETTLES_MS.min(kept_ms / 2);
        if self.number(settled, [BEFORE_MDMQ_MS.into(), a_while_ago.into()]).await?.is_none_or(|at| at < until) {
            return Ok(None);
        }
        let kept = "select number from audit where number <= $1 and at between $2 and $3 order by number limit 1";
        let kept = self.number(kept, [most.into(), until.into(), now.0.into()]).await?.unwrap_or(most + 1);
        let last = "select number from audit where number < $1 and at >= $2 and at < $3 order by number desc limit 1";
        self.number(last, [kept.into(), BEFORE_MDMQ_MS.into(), until.into()]).await
    }

    async fn number<const N: usize>(
        &self,
        question: &'static str,
        args: [Value; N],
    ) -> Result<Option<i64>, StoreError> {
        Ok(self.row(Statement::new(question, args)).await?.and_then(|row| row.opt_int("number")))
    }
}

async fn prune(tx: &mut Tx, last: i64) -> Result<i64, StoreError> {
    let last =
        Statement::new("select number, hash from audit where number <= $1 order by number desc limit 1", [last.into()]);
    let Some(row) = tx.row(last).await? else { return Ok(0) };
    let anchor = head(&row);
    let seal = anchor.sealed(&tx.chain.key);
    tx.execute(Statement::new(
        "insert into audit_anchor (audit_anchor_id, number, hash, seal) values (1, $1, $2, $3) \
         on conflict (audit_anchor_id) do update set number = excluded.number, hash = excluded.hash, seal = excluded.seal",
        [anchor.number.into(), anchor.hash.into(), seal.into()],
    ))
    .await?;
    let gone = tx.execute(Statement::new("delete from audit where number <= $1", [anchor.number.into()])).await?;
    let gone = i64::try_from(gone).unwrap_or(i64::MAX);
    let action = crate::mdm::audit::Action::AuditPrune;
    write(tx, Deed::new(action, Subject::Server).with("until_number", anchor.number).with("entries", gone)).await?;
    Ok(gone)
}

fn head(row: &Row) -> Head {
    Head { number: row.int("number"), hash: row.text("hash") }
}

fn entry(row: &Row) -> Entry {
    Entry {
        number: row.int("number"),
        at: row.int("at"),
        actor_kind: row.text("actor_kind"),
        actor: row.text("actor"),
        peer: row.text("peer"),
        action: row.text("action"),
        subject_kind: row.text("subject_kind"),
        subject: row.text("subject"),
        serial: row.text("serial"),
        entity: row.opt_int("entity_id"),
        detail: row.text("detail"),
        previous: row.text("previous"),
        hash: row.text("hash"),
    }
}
