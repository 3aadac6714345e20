//! Agents that administrators delete, and what is kept so that a device which was away can still be told to leave
//! (spec/mqtt.md §7.6).

use super::{
    Store, StoreError,
    administer::{Answer, Refused},
    db::{Row, Statement, Value},
    login::LOGINS_PER_NAME_MAX,
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, ComputerId, EntityId, FleetId, Serial},
    mdm::{
        agent::{Agent, EnrollStatus, LockWish},
        audit::{Action, Deed},
    },
};

/// A password that opens a connection for the last message, and whose it was.
#[derive(Clone)]
pub struct LastLogin {
    /// `hmac$<hex>` or an imported `PBKDF2$…`.
    pub secret: String,
    /// The agent that is gone, as far as its connection needs it.
    pub agent: Agent,
}

impl std::fmt::Debug for LastLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LastLogin").field("agent", &self.agent).field("secret", &"***").finish_non_exhaustive()
    }
}

impl Store {
    /// Forgets an agent with its tokens; the computer stays, open commands are cancelled. Until `remembered_until` its passwords still
    /// let the device hear that it should leave; `None`: they are dead at once.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_agent(
        &self,
        agent: AgentId,
        by: String,
        at: Timestamp,
        remembered_until: Option<Timestamp>,
    ) -> Answer<()> {
        self.deed(Deed::to_agent(Action::AgentRemove, agent), move |tx| {
            Box::pin(async move {
                if let Some(until) = remembered_until {
                    tx.execute(Statement::new(
                        "insert into tombstone (agent_id, topic_entity_id, entity_id, serial, expires_at) \
                         select agent_id, coalesce(topic_entity_id, entity_id), entity_id, serial, $2 from agent where agent_id = $1",
                        [agent.0.into(), until.0.into()],
                    ))
                    .await?;
                    tx.execute(Statement::new(
                        "insert into tombstone_credential (agent_id, username, secret) \
                         select agent_id, username, secret from credential where agent_id = $1 on conflict do nothing",
                        [agent.0.into()],
                    ))
                    .await?;
                }
                let detail = format!("the agent was removed by {by}");
                super::command::cancel_all(tx, agent, &detail, at).await?;
                tx.execute(super::certificate::revoked_with(agent, at)).await?;
                let gone = tx.execute(Statement::new("delete from agent where agent_id = $1", [agent.0.into()])).await?;
                Ok(if gone == 0 { Err(Refused::Absent(format!("there is no agent {agent}"))) } else { Ok(()) })
            })
        })
        .await
    }

    /// The passwords of deleted agents under this user name, the latest agents first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn last_logins(&self, username: &str, now: Timestamp) -> Result<Vec<LastLogin>, StoreError> {
        let question = Statement::new(
            "select c.secret, t.agent_id, t.topic_entity_id, coalesce(t.entity_id, t.topic_entity_id) as entity_id, t.serial \
             from tombstone_credential c join tombstone t on t.agent_id = c.agent_id \
             where c.username = $1 and t.expires_at > $2 order by t.agent_id desc limit $3",
            [username.into(), now.0.into(), LOGINS_PER_NAME_MAX.into()],
        );
        Ok(self.rows(question).await?.iter().filter_map(last_login).collect())
    }

    /// Whether a device that was deleted must still hear that it should leave.
    ///
    /// # Errors
    /// The database failed.
    pub async fn is_remembered(&self, agent: AgentId) -> Result<bool, StoreError> {
        let question = Statement::new("select 1 as one from tombstone where agent_id = $1", [agent.0.into()]);
        Ok(self.row(question).await?.is_some())
    }

    /// The device heard it; its passwords are dead now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_tombstone(&self, agent: AgentId) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { tx.execute(forgotten(agent)).await.map(drop) })).await
    }

    /// Forgets for good whom it remembered long enough.
    ///
    /// # Errors
    /// The database failed.
    pub async fn forget_tombstones(&self, now: Timestamp) -> Result<u64, StoreError> {
        let over = Statement::new("select 1 as one from tombstone where expires_at <= $1 limit 1", [now.0.into()]);
        if self.row(over).await?.is_none() {
            return Ok(0);
        }
        let forget = Statement::new("delete from tombstone where expires_at <= $1", [now.0.into()]);
        self.write(move |tx| Box::pin(tx.execute(forget))).await
    }
}

/// The device left, or was told to: nothing of the agent is left.
pub(super) fn forgotten(agent: AgentId) -> Statement {
    Statement::new("delete from tombstone where agent_id = $1", [Value::from(agent.0)])
}

fn last_login(row: &Row) -> Option<LastLogin> {
    let agent = Agent {
        id: AgentId(row.int("agent_id")),
        entity: EntityId(row.int("topic_entity_id")),
        fleet_entity: EntityId(row.int("entity_id")),
        serial: Serial::parse(&row.text("serial")).ok()?,
        computer: ComputerId(0),
        fleet: FleetId(0),
        fleet_is_default: true,
        enroll_status: EnrollStatus::Purged,
        lock: LockWish::Never,
        wipe: false,
        is_apple: false,
        policy_version: 0,
        fleet_policy_version: 0,
    };
    Some(LastLogin { secret: row.text("secret"), agent })
}
