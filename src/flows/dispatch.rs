//! An administrator's wish becomes a row, and the row a message to the device.

use std::time::Duration;

use super::Flows;
pub use crate::store::administer::{Answer, CommandView, Refused};
use crate::{
    ids::{AgentId, CommandId, EntityId, FleetId},
    mdm::catalog,
    store::StoreError,
};

/// Longest wait for an answer that one request may ask for.
pub const WAIT_S_MAX: u64 = 300;

impl Flows {
    /// Wants something of a device. It is told at once when it is connected, otherwise when it comes back.
    ///
    /// # Errors
    /// The database failed.
    pub async fn command(
        &self,
        agent: AgentId,
        name: &str,
        by: &str,
    ) -> Result<Result<CommandId, Refused>, StoreError> {
        let Some(name) = catalog::command(name).map(|it| it.name) else {
            return Ok(Err(Refused::Invalid(format!("there is no command {name}"))));
        };
        let now = self.clock.now();
        let until = now.after(Duration::from_secs(self.config.commands.query_life_s.into()));
        let answer = self.store.order(agent, name, by.to_owned(), now, until).await?;
        if answer.is_ok() {
            self.agents_changed(&[agent]);
        }
        Ok(answer)
    }

    /// The command as it is when it is settled, or when the time is over.
    ///
    /// # Errors
    /// The database failed.
    pub async fn await_command(&self, id: CommandId, patience: Duration) -> Result<Option<CommandView>, StoreError> {
        let deadline = self.clock.instant() + patience.min(Duration::from_secs(WAIT_S_MAX));
        let Some(mut command) = self.store.command_view(id).await? else { return Ok(None) };
        let Some(watch) = self.settled.watch(command.agent) else { return Ok(Some(command)) };
        while !command.is_settled() && self.clock.instant() < deadline {
            let Some(news) = watch.notified() else { break };
            tokio::pin!(news);
            news.as_mut().enable();
            // What came before we listened is in the row; later news wake us.
            if let Some(now) = self.store.command_view(id).await? {
                command = now;
            }
            if command.is_settled() || tokio::time::timeout_at(deadline.into(), news).await.is_err() {
                break;
            }
        }
        self.store.command_view(id).await
    }

    /// Asks a device and waits for its answer, as long as the configuration says. Answers in the words of the original server
    /// (spec/mqtt.md §3.1): what succeeded, or what did not.
    ///
    /// # Errors
    /// The database failed.
    pub async fn ask(
        &self,
        agent: AgentId,
        query: &'static str,
        by: &str,
    ) -> Result<Result<&'static str, String>, StoreError> {
        let command = match self.command(agent, query, by).await? {
            Ok(command) => command,
            Err(refused) => return Ok(Err(refused.to_string())),
        };
        // A request that is cut off by its own time limit would tell nothing.
        let longest = u64::from(self.config.http.request_timeout_s).saturating_sub(1);
        let patience = Duration::from_secs(u64::from(self.config.commands.answer_wait_s).min(longest));
        let state = self.await_command(command, patience).await?.map(|it| it.state).unwrap_or_default();
        let (answered, silent) = match query {
            "geolocate" => ("The device sent its position", "Timeout requesting position"),
            "inventory" => ("Inventory received", "Timeout querying the device inventory"),
            _ => ("The device answered", "Timeout querying the device"),
        };
        if state != "answered" {
            return Ok(Err(silent.into()));
        }
        if query == "geolocate" && self.store.is_position_unknown(agent).await? {
            return Ok(Err("GPS is turned off or is not ready".into()));
        }
        Ok(Ok(answered))
    }

    /// Takes back a command that has not reached its device.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cancel_command(&self, id: CommandId, by: &str) -> Answer<()> {
        let answer = self.store.cancel_order(id, by.to_owned(), self.clock.now()).await?;
        if let Ok(agent) = &answer {
            self.agents_changed(&[*agent]);
        }
        Ok(answer.map(|_| ()))
    }

    /// Takes back the request to leave.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cancel_unenrollment(&self, agent: AgentId, by: &str) -> Answer<()> {
        let answer = self.store.cancel_unenrollment(agent, by.to_owned(), self.clock.now()).await?;
        if answer.is_ok() {
            self.agents_changed(&[agent]);
            self.commands_settled(agent);
        }
        Ok(answer)
    }

    /// Puts an agent into another fleet of its tenant and tells it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn move_agent(&self, agent: AgentId, fleet: FleetId) -> Answer<()> {
        let answer = self.store.put_into_fleet(agent, fleet, self.clock.now()).await?;
        if answer.is_ok() {
            self.agents_changed(&[agent]);
        }
        Ok(answer)
    }

    /// Moves an agent to another tenant, into its default fleet, and tells it. Its topic stays.
    ///
    /// # Errors
    /// The database failed.
    pub async fn move_agent_to_entity(&self, agent: AgentId, entity: EntityId) -> Answer<()> {
        let answer = self.store.put_into_entity(agent, entity, self.clock.now()).await?;
        if answer.is_ok() {
            self.hub.change_home(agent, entity);
            self.agents_changed(&[agent]);
        }
        Ok(answer)
    }

    /// Forgets an agent that may never come back: it is told to leave if it is connected, or else when it comes back within
    /// `commands.farewell_days`; its connection ends, its computer stays.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_agent(&self, agent: AgentId, by: &str) -> Answer<()> {
        let (now, days) = (self.clock.now(), u64::from(self.config.commands.farewell_days));
        let remembered_until = (days > 0).then(|| now.after(Duration::from_secs(days * 86_400)));
        let answer = self.store.forget_agent(agent, by.to_owned(), now, remembered_until).await?;
        if answer.is_ok() {
            self.agents_changed(&[agent]);
        }
        Ok(answer)
    }
}
