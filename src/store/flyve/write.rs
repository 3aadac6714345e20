//! Writes a move from Flyve down: tenants, people, fleets, invitations. The table `imported` remembers which of their rows became which of
//! ours, so that a second run changes instead of adding.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Prepared,
    contents::Stored,
    plan::{Entity, Fleet, Person},
    report::Report,
    source::Line,
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, EntityId, PersonId},
    store::{
        StoreError,
        administer::{Refused, was_in_use},
        db::{Statement, Tx, Value},
        session::{self, Owner},
        task::Touched,
    },
};

type Hash = Arc<dyn Fn(&str) -> String + Send + Sync>;
type AgentToken = Arc<dyn Fn(AgentId, Timestamp) -> String + Send + Sync>;

/// How secrets are made into what is stored.
#[derive(Clone)]
pub struct Secrets {
    /// The hash of a token.
    pub hash: Hash,
    /// The token that an agent is told when it asks for its settings.
    pub agent_token: AgentToken,
}

/// What a move did.
#[derive(Debug, Clone)]
pub struct Moved {
    /// For people.
    pub report: Report,
    /// Whose connections must look again.
    pub agents: Vec<AgentId>,
    /// Theirs to ours.
    pub computers: HashMap<i64, i64>,
    /// Whose policies changed.
    pub touched: Touched,
    /// Contents that nothing may refer to any more.
    pub let_go: Vec<String>,
}

/// One move while it is written.
pub(super) struct Move<'t> {
    pub(super) tx: &'t mut Tx,
    pub(super) source: String,
    pub(super) secrets: Secrets,
    pub(super) now: Timestamp,
    pub(super) known: HashMap<(String, i64), i64>,
    pub(super) report: Report,
    pub(super) agents: Vec<AgentId>,
    /// Default fleets of the tenants that came.
    pub(super) defaults: HashMap<i64, i64>,
    /// Numbers, there, of tasks that are new here.
    pub(super) fresh_tasks: HashSet<i64>,
    pub(super) touched: Touched,
    pub(super) let_go: Vec<String>,
}

/// Writes everything, or nothing: a refusal and a dry run leave no trace.
///
/// # Errors
/// The database failed.
pub async fn move_in(
    tx: &mut Tx,
    prepared: Prepared,
    found: HashMap<(&'static str, i64), Stored>,
    secrets: Secrets,
    now: Timestamp,
) -> Result<Result<Moved, Refused>, StoreError> {
    tx.control("savepoint flyve").await?;
    let is_dry = prepared.report.dry_run;
    let outcome = write(tx, prepared, &found, secrets, now).await?;
    if is_dry || outcome.is_err() {
        tx.control("rollback to savepoint flyve").await?;
    }
    tx.control("release savepoint flyve").await?;
    Ok(outcome)
}

async fn write(
    tx: &mut Tx,
    mut prepared: Prepared,
    found: &HashMap<(&'static str, i64), Stored>,
    secrets: Secrets,
    now: Timestamp,
) -> Result<Result<Moved, Refused>, StoreError> {
    let source = prepared.source.clone();
    let question = "select kind, their_id, our_id from imported where source = $1";
    let known = tx.rows(Statement::new(question, [source.as_str().into()])).await?;
    let known = known.iter().map(|row| ((row.text("kind"), row.int("their_id")), row.int("our_id"))).collect();
    let report = std::mem::take(&mut prepared.report);
    let mut it = Move {
        tx,
        source,
        secrets,
        now,
        known,
        report,
        agents: Vec::new(),
        defaults: HashMap::new(),
        fresh_tasks: HashSet::new(),
        touched: Touched::default(),
        let_go: Vec::new(),
    };
    if let Err(refused) = it.entities(&prepared.entities).await? {
        return Ok(Err(refused));
    }
    it.fleets(&prepared.fleets).await?;
    it.people(&prepared.people).await?;
    it.computers(&prepared.computers).await?;
    it.agents(&prepared.agents).await?;
    it.paths(&prepared.tables.paths).await?;
    it.files(&prepared.tables.files, found).await?;
    it.packages(&prepared.tables.packages, found).await?;
    it.tasks(&prepared.tables.tasks, &prepared.tables.policies, &prepared.tables.packages).await?;
    it.statuses(&prepared.tables.statuses).await?;
    it.invitations(&prepared.tables.invitations, &prepared.tables.invitation_logs).await?;
    let computers = it.known.iter().filter(|((kind, _), _)| kind == "computers");
    let computers = computers.map(|((_, their), ours)| (*their, *ours)).collect();
    Ok(Ok(Moved { report: it.report, agents: it.agents, computers, touched: it.touched, let_go: it.let_go }))
}

impl Move<'_> {
    /// What their row is here.
    pub(super) fn ours(&self, kind: &str, their: i64) -> Option<i64> {
        self.known.get(&(kind.to_owned(), their)).copied()
    }

    pub(super) async fn remember(&mut self, kind: &'static str, their: i64, our: i64) -> Result<(), StoreError> {
        self.run(
            "insert into imported (source, kind, their_id, our_id) values ($1, $2, $3, $4) \
             on conflict (source, kind, their_id) do update set our_id = excluded.our_id",
            [self.source.as_str().into(), kind.into(), their.into(), our.into()],
        )
        .await?;
        self.known.insert((kind.to_owned(), their), our);
        Ok(())
    }

    pub(super) async fn run(&mut self, sql: &'static str, args: impl Into<Vec<Value>>) -> Result<u64, StoreError> {
        self.tx.execute(Statement::new(sql, args)).await
    }

    /// The column `n` of the first row.
    pub(super) async fn number(
        &mut self,
        sql: &'static str,
        args: impl Into<Vec<Value>>,
    ) -> Result<Option<i64>, StoreError> {
        Ok(self.tx.row(Statement::new(sql, args)).await?.map(|row| row.int("n")))
    }

    pub(super) async fn made(&mut self, sql: &'static str, args: impl Into<Vec<Value>>) -> Result<i64, StoreError> {
        let lost = || StoreError::Database("a row that was just written is missing".into());
        self.number(sql, args).await?.ok_or_else(lost)
    }

    /// Tenants keep their numbers, because topics carry them: one that is here already and means something else ends the move.
    async fn entities(&mut self, entities: &[Entity]) -> Result<Result<(), Refused>, StoreError> {
        for entity in entities {
            let question = Statement::new("select name from entity where entity_id = $1", [entity.id.into()]);
            let here = self.tx.row(question).await?.map(|row| row.text("name"));
            match (here, self.ours("entities", entity.id)) {
                (Some(name), None) if entity.id != 0 && name.to_lowercase() != entity.name.to_lowercase() => {
                    return Ok(Err(Refused::Conflict(format!(
                        "entity {} is \"{name}\" here and \"{}\" there; topics carry the number, so nothing was moved",
                        entity.id, entity.name
                    ))));
                }
                (None, Some(_)) => self.report.skip("entities", entity.id, &entity.name, "was removed here"),
                (Some(_), _) => {
                    // The root has its name and place.
                    self.run(
                        "update entity set name = $2, parent_id = $3 where entity_id = $1 and entity_id <> 0",
                        [entity.id.into(), entity.name.as_str().into(), entity.parent.into()],
                    )
                    .await?;
                    self.settings(entity).await?;
                    self.report.updated("entities");
                }
                (None, None) if was_in_use(self.tx, EntityId(entity.id)).await? => {
                    return Ok(Err(Refused::Conflict(format!(
                        "there was an entity {} here before \"{}\" came; topics carry the number, so nothing was moved",
                        entity.id, entity.name
                    ))));
                }
                (None, None) => {
                    self.run(
                        "insert into entity (entity_id, parent_id, name, created_at) values ($1, $2, $3, $4)",
                        [entity.id.into(), entity.parent.into(), entity.name.as_str().into(), self.now.0.into()],
                    )
                    .await?;
                    self.run(
                        "insert into fleet (entity_id, name, is_default, created_at) values ($1, 'not managed fleet', true, $2)",
                        [entity.id.into(), self.now.0.into()],
                    )
                    .await?;
                    self.settings(entity).await?;
                    self.report.added("entities");
                }
            }
            let fleet = "select fleet_id as n from fleet where entity_id = $1 and is_default";
            if let Some(fleet) = self.number(fleet, [entity.id.into()]).await? {
                self.defaults.insert(entity.id, fleet);
                self.remember("entities", entity.id, entity.id).await?;
            }
        }
        Ok(Ok(()))
    }

    async fn settings(&mut self, entity: &Entity) -> Result<(), StoreError> {
        let desk = &entity.help_desk;
        self.run(
            "update entity set support_name = $2, support_phone = $3, support_website = $4, support_email = $5, \
             support_address = $6, download_url = $7, token_life_days = $8, device_limit = $9 where entity_id = $1",
            [
                entity.id.into(),
                desk.name.as_str().into(),
                desk.phone.as_str().into(),
                desk.website.as_str().into(),
                desk.email.as_str().into(),
                desk.address.as_str().into(),
                desk.download_url.as_str().into(),
                entity.token_life_days.into(),
                entity.device_limit.into(),
            ],
        )
        .await?;
        Ok(())
    }

    async fn fleets(&mut self, fleets: &[Fleet]) -> Result<(), StoreError> {
        for fleet in fleets {
            let Some(default) = self.defaults.get(&fleet.entity).copied() else {
                let why = format!("its entity {} did not come", fleet.entity);
                self.report.skip("fleets", fleet.id, &fleet.name, why);
                continue;
            };
            if fleet.is_default {
                self.remember("fleets", fleet.id, default).await?;
                self.report.updated("fleets");
                continue;
            }
            if let Some(ours) = self.ours("fleets", fleet.id) {
                let sql = "update fleet set is_recursive = $2 where fleet_id = $1";
                if self.run(sql, [ours.into(), fleet.is_recursive.into()]).await? == 0 {
                    self.report.skip("fleets", fleet.id, &fleet.name, "was removed here");
                } else {
                    self.report.updated("fleets");
                }
                continue;
            }
            let taken = "select fleet_id as n from fleet where entity_id = $1 and name = $2";
            let is_taken = self.number(taken, [fleet.entity.into(), fleet.name.as_str().into()]).await?.is_some();
            let name = if is_taken { format!("{} ({})", fleet.name, fleet.id) } else { fleet.name.clone() };
            let insert = "insert into fleet (entity_id, name, is_recursive, created_at) values ($1, $2, $3, $4) \
                          returning fleet_id as n";
            let args = [fleet.entity.into(), name.into(), fleet.is_recursive.into(), self.now.0.into()];
            let ours = self.made(insert, args).await?;
            self.remember("fleets", fleet.id, ours).await?;
            self.report.added("fleets");
        }
        Ok(())
    }

    async fn people(&mut self, people: &[Person]) -> Result<(), StoreError> {
        for person in people {
            let Some(email) = person.emails.first() else { continue };
            let here =
                self.number("select person_id as n from person where email = $1", [email.as_str().into()]).await?;
            let ours = match (self.ours("users", person.id), here) {
                (Some(ours), _) | (None, Some(ours)) => {
                    self.run(
                        "update person set firstname = case when firstname = '' then $2 else firstname end, \
                         realname = case when realname = '' then $3 else realname end, \
                         phone = case when phone = '' then $4 else phone end, \
                         phone2 = case when phone2 = '' then $5 else phone2 end where person_id = $1",
                        [
                            ours.into(),
                            person.firstname.as_str().into(),
                            person.realname.as_str().into(),
                            person.phone.as_str().into(),
                            person.phone2.as_str().into(),
                        ],
                    )
                    .await?;
                    self.report.updated("users");
                    ours
                }
                (None, None) => {
                    self.report.added("users");
                    self.new_person(person, email).await?
                }
            };
            let is_here = self.number("select person_id as n from person where person_id = $1", [ours.into()]).await?;
            if is_here.is_some() {
                self.remember("users", person.id, ours).await?;
                self.belongings(person, ours).await?;
            }
        }
        Ok(())
    }

    async fn new_person(&mut self, person: &Person, email: &str) -> Result<i64, StoreError> {
        let taken = "select person_id as n from person where name = $1 and name <> ''";
        let is_taken = self.number(taken, [person.login.as_str().into()]).await?.is_some();
        let login = if is_taken || person.login.to_lowercase() == email { "" } else { person.login.as_str() };
        self.made(
            "insert into person (email, name, firstname, realname, phone, phone2, is_active, created_at) \
             values ($1, $2, $3, $4, $5, $6, $7, $8) returning person_id as n",
            [
                email.into(),
                login.into(),
                person.firstname.as_str().into(),
                person.realname.as_str().into(),
                person.phone.as_str().into(),
                person.phone2.as_str().into(),
                person.is_active.into(),
                self.now.0.into(),
            ],
        )
        .await
    }

    async fn belongings(&mut self, person: &Person, ours: i64) -> Result<(), StoreError> {
        for email in &person.emails[1..] {
            self.run(
                "insert into person_email (person_id, email) values ($1, $2) on conflict (person_id, email) do nothing",
                [ours.into(), email.as_str().into()],
            )
            .await?;
        }
        for (profile, entity, is_recursive) in &person.profiles {
            if self.defaults.contains_key(entity) {
                self.run(
                    "insert into person_profile (person_id, profile, entity_id, is_recursive) values ($1, $2, $3, $4) \
                     on conflict (person_id, profile, entity_id) do nothing",
                    [ours.into(), (*profile).into(), (*entity).into(), (*is_recursive).into()],
                )
                .await?;
            }
        }
        if let Some(secret) = &person.secret {
            // What somebody set here counts more, and so does what a login here made of an earlier run's hash.
            let update = "update person set secret = $2 where person_id = $1 and secret is null";
            match self.run(update, [ours.into(), secret.as_str().into()]).await? {
                0 => self.report.updated("passwords"),
                _ => self.report.added("passwords"),
            }
        }
        if !person.api_token.is_empty() {
            let (hash, owner) = ((self.secrets.hash)(&person.api_token), Owner::Person(PersonId(ours)));
            // A token that travelled by mail is good for guests only, whatever else its owner may do.
            if person.is_invited {
                session::add_token(self.tx, owner, &hash, self.now).await?;
            } else {
                session::add_full_token(self.tx, owner, &hash, self.now).await?;
            }
        }
        Ok(())
    }

    async fn paths(&mut self, paths: &[Line]) -> Result<(), StoreError> {
        for path in paths {
            let (id, name) = (path.int("id"), path.text("name"));
            if name.is_empty() {
                self.report.skip("wellknownpaths", id, &name, "has no name");
                continue;
            }
            let added = self
                .run(
                    "insert into well_known_path (name, comment, is_default) values ($1, $2, $3) on conflict (name) do nothing",
                    [name.into(), path.text("comment").into(), path.flag("is_default").into()],
                )
                .await?;
            if added > 0 {
                self.report.added("wellknownpaths");
            } else {
                self.report.updated("wellknownpaths");
            }
        }
        Ok(())
    }

    async fn invitations(&mut self, invitations: &[Line], logs: &[Line]) -> Result<(), StoreError> {
        let mut fresh = HashSet::new();
        for line in invitations {
            let (id, name) = (line.int("id"), line.text("name"));
            let (entity, token) = (line.int("entities_id"), line.raw("invitation_token"));
            let person = self.ours("users", line.int("users_id"));
            let (Some(person), true, false) = (person, self.defaults.contains_key(&entity), token.is_empty()) else {
                self.report.skip("invitations", id, &name, "its person or its entity did not come, or it has no token");
                continue;
            };
            let status = if line.text("status") == "done" { "done" } else { "pending" };
            let expires_at = line.millis("expiration_date").unwrap_or(0);
            if let Some(ours) = self.ours("invitations", id) {
                // What was used here stays used.
                let update = "update invitation set status = case when status = 'done' then status else $2 end, \
                              expires_at = $3 where invitation_id = $1";
                if self.run(update, [ours.into(), status.into(), expires_at.into()]).await? == 0 {
                    self.report.skip("invitations", id, &name, "was removed here");
                } else {
                    self.report.updated("invitations");
                }
                continue;
            }
            let hash = (self.secrets.hash)(&token);
            let insert = "insert into invitation (person_id, entity_id, token_hash, status, created_at, expires_at) \
                          values ($1, $2, $3, $4, $5, $6) on conflict (token_hash) do nothing returning invitation_id as n";
            let args = [person.into(), entity.into(), hash.into(), status.into(), self.now.0.into(), expires_at.into()];
            let Some(ours) = self.number(insert, args).await? else {
                self.report.skip("invitations", id, &name, "its token is here already");
                continue;
            };
            fresh.insert(id);
            self.remember("invitations", id, ours).await?;
            self.report.added("invitations");
        }
        for line in logs.iter().filter(|it| fresh.contains(&it.int("plugin_flyvemdm_invitations_id"))) {
            let Some(ours) = self.ours("invitations", line.int("plugin_flyvemdm_invitations_id")) else { continue };
            let at = line.millis("date_creation").unwrap_or(self.now.0);
            self.run(
                "insert into invitation_log (invitation_id, created_at, event) values ($1, $2, $3)",
                [ours.into(), at.into(), line.text("event").into()],
            )
            .await?;
            self.report.added("invitationlogs");
        }
        Ok(())
    }
}
