//! HTTP sessions of agents and invited persons. They are rows, so they survive a restart; refuses passwords: only tokens open one.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    flows::{Flows, secrets},
    ids::{AgentId, PersonId},
    store::{
        StoreError,
        session::{self, Owner},
    },
};

/// An open session is noted as used at most so often, so that reading costs no commit.
const TOUCH_AFTER_MS: i64 = 60_000;

/// Who speaks in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// An invited human being, whose profile is the guest's.
    Person(PersonId),
    /// An enrolled agent.
    Agent(AgentId),
}

/// What a session shows of its speaker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Login name.
    pub name: String,
    /// As typed at enrollment.
    pub firstname: String,
    /// As typed at enrollment.
    pub realname: String,
    /// The entity of an agent; the root for persons.
    pub entity: i64,
}

impl Flows {
    /// Opens a session for the owner of an API token. `None`: nobody owns it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_session(&self, user_token: &str) -> Result<Option<String>, StoreError> {
        let now = self.clock.now();
        let question = session::token_owner(&self.secret_key.hash(user_token), now);
        let Some(owner) = self.store.row(question).await?.as_ref().and_then(Owner::read) else { return Ok(None) };
        let token = secrets::api_token();
        let (hash, oldest, max) =
            (self.secret_key.hash(&token), self.oldest_session(now), self.config.http.sessions_per_account_max);
        self.store
            .write(move |tx| Box::pin(async move { session::open(tx, owner, &hash, now, oldest, max).await }))
            .await?;
        Ok(Some(token))
    }

    /// Who speaks in this session. `None`: there is no such session, or it was idle too long.
    ///
    /// # Errors
    /// The database failed.
    pub async fn speaker(&self, session_token: &str) -> Result<Option<Speaker>, StoreError> {
        let now = self.clock.now();
        let hash = self.secret_key.hash(session_token);
        let Some(row) = self.store.row(session::session_owner(&hash, self.oldest_session(now))).await? else {
            return Ok(None);
        };
        let touch_after_ms = TOUCH_AFTER_MS.min(i64::from(self.config.http.session_idle_s) * 1000 / 4);
        if row.int("used_at").saturating_add(touch_after_ms) < now.0 {
            self.store.write(move |tx| Box::pin(async move { session::touch(tx, &hash, now).await })).await?;
        }
        Ok(Owner::read(&row).map(|owner| match owner {
            Owner::Person(id) => Speaker::Person(id),
            Owner::Agent(id) => Speaker::Agent(id),
        }))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The database failed.
    pub async fn close_session(&self, session_token: &str) -> Result<(), StoreError> {
        let hash = self.secret_key.hash(session_token);
        self.store.write(move |tx| Box::pin(async move { session::close(tx, &hash).await })).await
    }

    /// What the session shows of its speaker.
    ///
    /// # Errors
    /// The database failed.
    pub async fn profile(&self, speaker: Speaker) -> Result<Profile, StoreError> {
        Ok(match speaker {
            Speaker::Person(person) => {
                self.store.row(session::person(person)).await?.map_or_else(Profile::default, |row| Profile {
                    name: row.text("email"),
                    firstname: row.text("firstname"),
                    realname: row.text("realname"),
                    entity: 0,
                })
            }
            Speaker::Agent(agent) => self.agent(agent).await?.map_or_else(Profile::default, |it| Profile {
                name: format!("agent-{agent}"),
                firstname: String::new(),
                realname: it.serial,
                entity: it.entity.0,
            }),
        })
    }

    fn oldest_session(&self, now: Timestamp) -> Timestamp {
        let idle = Duration::from_secs(u64::from(self.config.http.session_idle_s));
        Timestamp(now.0.saturating_sub(i64::try_from(idle.as_millis()).unwrap_or(i64::MAX)))
    }
}
