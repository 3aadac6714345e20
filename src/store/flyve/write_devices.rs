//! Writes a move from Flyve down: computers, agents and what devices log in with.

use super::{
    plan_devices::{Agent, Computer},
    write::Move,
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, FleetId, Serial},
    store::{
        StoreError,
        db::Statement,
        session::{self, Owner},
        task,
    },
};

/// Where an agent that is already here stands.
enum Here {
    No,
    /// It never connected here: the other server still knows better.
    Waiting(i64),
    /// Its device lives here now.
    Living,
    Gone,
}

impl Move<'_> {
    pub(super) async fn computers(&mut self, computers: &[Computer]) -> Result<(), StoreError> {
        for computer in computers {
            if !self.defaults.contains_key(&computer.entity) {
                let why = format!("its entity {} did not come", computer.entity);
                self.report.skip("computers", computer.id, &computer.name, why);
                continue;
            }
            let owner = self.ours("users", computer.owner);
            let ours = match self.ours("computers", computer.id) {
                Some(ours) => Some(ours),
                None => self.computer_here(computer).await?,
            };
            if let Some(ours) = ours {
                let changed = self
                    .run(
                        "update computer set uuid = case when uuid = '' then $2 else uuid end, \
                         name = case when name = '' then $3 else name end, \
                         person_id = coalesce(person_id, $4) where computer_id = $1",
                        [ours.into(), computer.uuid.as_str().into(), computer.name.as_str().into(), owner.into()],
                    )
                    .await?;
                if changed > 0 {
                    self.remember("computers", computer.id, ours).await?;
                    self.report.updated("computers");
                    continue;
                }
            }
            let insert = "insert into computer (entity_id, serial, uuid, name, manufacturer, model, person_id, created_at) \
                          values ($1, $2, $3, $4, $5, $6, $7, $8) returning computer_id as n";
            let args = [
                computer.entity.into(),
                computer.serial.as_str().into(),
                computer.uuid.as_str().into(),
                computer.name.as_str().into(),
                computer.manufacturer.as_str().into(),
                computer.model.as_str().into(),
                owner.into(),
                computer.created_at.unwrap_or(self.now.0).into(),
            ];
            let ours = self.made(insert, args).await?;
            self.remember("computers", computer.id, ours).await?;
            self.report.added("computers");
        }
        Ok(())
    }

    /// The record of this very device, if it enrolled here before. Placeholder serials name many devices.
    async fn computer_here(&mut self, computer: &Computer) -> Result<Option<i64>, StoreError> {
        let is_placeholder = Serial::parse(&computer.serial).map_or(true, |it| it.is_placeholder());
        if is_placeholder && computer.uuid.is_empty() {
            return Ok(None);
        }
        self.number(
            "select computer_id as n from computer where entity_id = $1 and serial = $2 and lower(uuid) = lower($3) \
             order by computer_id desc limit 1",
            [computer.entity.into(), computer.serial.as_str().into(), computer.uuid.as_str().into()],
        )
        .await
    }

    pub(super) async fn agents(&mut self, agents: &[Agent]) -> Result<(), StoreError> {
        for agent in agents {
            let Some(default) = self.defaults.get(&agent.entity).copied() else {
                let why = format!("its entity {} did not come", agent.entity);
                self.report.skip("agents", agent.id, &agent.serial, why);
                continue;
            };
            let Some(computer) = self.ours("computers", agent.computer) else {
                self.report.skip("agents", agent.id, &agent.serial, "its computer did not come");
                continue;
            };
            let fleet = self.fleet_of(agent, default).await?;
            match self.agent_here(agent).await? {
                Here::Living => {
                    let why = "its device connects here already; what is known here stays";
                    self.report.skip("agents", agent.id, &agent.serial, why);
                }
                Here::Gone => self.report.skip("agents", agent.id, &agent.serial, "was removed here"),
                Here::Waiting(ours) => {
                    let question = "select fleet_id as n from agent where agent_id = $1";
                    let before = self.made(question, [ours.into()]).await?;
                    self.change_agent(ours, agent, fleet).await?;
                    if before != fleet {
                        task::left(self.tx, AgentId(ours), FleetId(before), self.now).await?;
                        task::joined(self.tx, AgentId(ours), self.now).await?;
                    }
                    self.credentials(ours, agent).await?;
                    self.agents.push(AgentId(ours));
                    self.report.updated("agents");
                }
                Here::No => {
                    let ours = self.new_agent(agent, computer, fleet).await?;
                    self.remember("agents", agent.id, ours).await?;
                    task::joined(self.tx, AgentId(ours), self.now).await?;
                    self.credentials(ours, agent).await?;
                    self.report.added("agents");
                }
            }
        }
        Ok(())
    }

    async fn fleet_of(&mut self, agent: &Agent, default: i64) -> Result<i64, StoreError> {
        let Some(fleet) = self.ours("fleets", agent.fleet) else { return Ok(default) };
        let question = "select fleet_id as n from fleet where fleet_id = $1 and entity_id = $2";
        match self.number(question, [fleet.into(), agent.entity.into()]).await? {
            Some(fleet) => Ok(fleet),
            None => {
                self.report.note(format!(
                    "agent {} ({}) was in a fleet of another entity; now in the default one of its own",
                    agent.id, agent.serial
                ));
                Ok(default)
            }
        }
    }

    async fn agent_here(&mut self, agent: &Agent) -> Result<Here, StoreError> {
        if let Some(ours) = self.ours("agents", agent.id) {
            let question = Statement::new("select connection from agent where agent_id = $1", [ours.into()]);
            return Ok(match self.tx.row(question).await?.map(|row| row.int("connection")) {
                None => Here::Gone,
                Some(0) => Here::Waiting(ours),
                Some(_) => Here::Living,
            });
        }
        if Serial::parse(&agent.serial).is_ok_and(|it| it.is_placeholder()) {
            return Ok(Here::No);
        }
        let question = "select agent_id as n from agent where serial = $1 and entity_id = $2 limit 1";
        let here = self.number(question, [agent.serial.as_str().into(), agent.entity.into()]).await?;
        Ok(if here.is_some() { Here::Living } else { Here::No })
    }

    async fn new_agent(&mut self, agent: &Agent, computer: i64, fleet: i64) -> Result<i64, StoreError> {
        let created_at = agent.created_at.unwrap_or(self.now.0);
        let insert = "insert into agent (entity_id, serial, computer_id, fleet_id, person_id, name, version, mdm_type, \
                      has_system_permission, enroll_status, lock_wish, wipe, last_contact, notification_type, \
                      notification_token, certificate, created_at) \
                      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
                      returning agent_id as n";
        let args = [
            agent.entity.into(),
            agent.serial.as_str().into(),
            computer.into(),
            fleet.into(),
            self.ours("users", agent.owner).into(),
            agent.name.as_str().into(),
            agent.version.as_str().into(),
            agent.mdm_type.into(),
            agent.has_system_permission.into(),
            status(agent).into(),
            lock_wish(agent).into(),
            agent.wipe.into(),
            agent.last_contact.into(),
            agent.notification_type.into(),
            agent.notification_token.as_str().into(),
            agent.certificate.as_str().into(),
            created_at.into(),
        ];
        self.made(insert, args).await
    }

    async fn change_agent(&mut self, ours: i64, agent: &Agent, fleet: i64) -> Result<(), StoreError> {
        self.run(
            "update agent set fleet_id = $2, name = $3, version = $4, has_system_permission = $5, enroll_status = $6, \
             lock_wish = $7, wipe = $8, last_contact = $9, notification_type = $10, notification_token = $11, \
             certificate = $12 where agent_id = $1",
            [
                ours.into(),
                fleet.into(),
                agent.name.as_str().into(),
                agent.version.as_str().into(),
                agent.has_system_permission.into(),
                status(agent).into(),
                lock_wish(agent).into(),
                agent.wipe.into(),
                agent.last_contact.into(),
                agent.notification_type.into(),
                agent.notification_token.as_str().into(),
                agent.certificate.as_str().into(),
            ],
        )
        .await?;
        Ok(())
    }

    /// Its MQTT password as Flyve hashed it, the token that it keeps, and the one that it will be told from now on.
    async fn credentials(&mut self, ours: i64, agent: &Agent) -> Result<(), StoreError> {
        if let Some(secret) = &agent.secret {
            self.run("delete from credential where agent_id = $1", [ours.into()]).await?;
            self.run(
                "insert into credential (agent_id, username, secret, created_at) values ($1, $2, $3, $4)",
                [ours.into(), agent.serial.as_str().into(), secret.as_str().into(), self.now.0.into()],
            )
            .await?;
        }
        let created_at = self.made("select created_at as n from agent where agent_id = $1", [ours.into()]).await?;
        let told = (self.secrets.agent_token)(AgentId(ours), Timestamp(created_at));
        for token in [agent.api_token.as_str(), told.as_str()].into_iter().filter(|it| !it.is_empty()) {
            let hash = (self.secrets.hash)(token);
            session::add_token(self.tx, Owner::Agent(AgentId(ours)), &hash, self.now).await?;
        }
        Ok(())
    }
}

fn status(agent: &Agent) -> &'static str {
    if agent.is_unenrolling { "unenrolling" } else { "enrolled" }
}

fn lock_wish(agent: &Agent) -> &'static str {
    if agent.is_locked { "lock" } else { "never" }
}
