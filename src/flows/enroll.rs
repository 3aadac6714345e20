//! From invitation to agent: enrolling, the settings a device asks for, and what it says by HTTP afterwards.

use std::fmt;

use serde_json::{Map, Value};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    config::Enrollment,
    flows::{
        Flows, SecretKey, ToldSettings,
        certificates::{self, Wish},
        secrets,
        session::Speaker,
    },
    ids::{Address, AgentId, InvitationId, Serial},
    mdm::{
        audit::{Action, Deed, Subject},
        change::Change,
        enroll::{self, Attempt, Invitation, Refusal, Rules, SentInventory},
        inventory::Inventory,
    },
    store::{
        StoreError, audit,
        db::Tx,
        enroll::{self as sql, AgentRow},
        session::{self, Owner},
    },
};

/// Agents of one person that are listed at once.
const LISTED_MAX: i64 = 50;
/// Earlier agents that the entry of an enrollment names.
const REPLACED_TOLD_MAX: usize = 20;
/// What the owner of an agent is told once more each time he asks.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its topic, in the spelling that this server issues.
    pub topic: String,
    /// A password made for this answer.
    pub mqtt_password: Zeroizing<String>,
    /// Where the broker is.
    pub told: ToldSettings,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("topic", &self.topic).field("mqtt_password", &format_args!("***")).finish()
    }
}

/// What an agent says of itself by HTTP.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Said {
    /// It answered a ping.
    pub is_pong: bool,
    /// It came or goes.
    pub is_online: Option<bool>,
    /// Its inventory.
    pub inventory: Option<Box<Inventory>>,
    /// Where it is.
    pub position: Option<Position>,
}

/// Where a device is.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// When it was there.
    pub at: Timestamp,
    /// Decimal, or `na`.
    pub latitude: String,
    /// Decimal, or `na`.
    pub longitude: String,
}

impl Flows {
    /// Lets a device in, or says why not. The refusal is logged with the invitation, if there is one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn enroll(
        &self,
        speaker: Speaker,
        input: &Map<String, Value>,
    ) -> Result<Result<AgentId, Refusal>, StoreError> {
        let attempt = Attempt::read(input);
        if let Err(refusal) = attempt.check_method() {
            return Ok(Err(refusal));
        }
        let now = self.clock.now();
        let (rules, key) = (self.config.enrollment.clone(), self.secret_key.clone());
        let wish = self.certificate_wish(&attempt.csr);
        let made = self
            .store
            .write(move |tx| Box::pin(async move { admit(tx, &key, speaker, &attempt, &rules, wish, now).await }))
            .await?;
        Ok(made.map(|entry| {
            if entry.has_certificate {
                self.count_certificates("issued", 1);
            }
            if !entry.replaced.is_empty() {
                self.agents_changed(&entry.replaced);
                entry.replaced.iter().for_each(|agent| self.commands_settled(*agent));
            }
            entry.agent
        }))
    }

    /// The agent with this number.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agent(&self, agent: AgentId) -> Result<Option<AgentRow>, StoreError> {
        Ok(self.store.row(sql::agent(agent)).await?.map(|row| sql::agent_row(&row)))
    }

    /// The agents that this speaker may see.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agents_of(&self, speaker: Speaker) -> Result<Vec<AgentRow>, StoreError> {
        let question = match speaker {
            Speaker::Person(person) => sql::agents_of(person, LISTED_MAX),
            Speaker::Invited(_, invitation) => sql::agent_invited(invitation),
            Speaker::Agent(agent) => sql::agent(agent),
        };
        Ok(self.store.rows(question).await?.iter().map(sql::agent_row).collect())
    }

    /// What a device needs to reach the broker, with a fresh password. The earlier ones stay valid until the device connects with a
    /// newer one, so a lost answer locks nobody out. `None`: the agent is gone.
    ///
    /// # Errors
    /// The database failed.
    pub async fn settings(&self, agent: &AgentRow) -> Result<Option<Settings>, StoreError> {
        let mqtt_password = secrets::mqtt_password();
        let (id, secret, now) = (agent.id, self.secret_key.hash(&mqtt_password), self.clock.now());
        let is_there = self
            .store
            .write(move |tx| Box::pin(async move { sql::add_credential(tx, id, &secret, now).await }))
            .await?;
        let slash = if self.config.mqtt.slashed_topics { "/" } else { "" };
        let topic = match Serial::parse(&agent.serial) {
            Ok(serial) => format!("{slash}{}", Address { entity: agent.topic_entity, serial }),
            Err(_) => return Ok(None),
        };
        Ok(is_there.then(|| Settings { topic, mqtt_password, told: self.told_settings() }))
    }

    /// Writes down what an agent said by HTTP, and answers after the commit.
    ///
    /// # Errors
    /// The database failed.
    pub async fn hear(&self, agent: &AgentRow, said: Said) -> Result<(), StoreError> {
        let (id, at) = (agent.id, self.clock.now());
        // The shipped agent that unenrolls by HTTP says only that it goes offline (spec/http.md §2, AA@dev).
        let is_leaving = said.is_online == Some(false)
            && agent.enroll_status == "unenrolling"
            && self.store.row(sql::unenroll_on_its_way(id)).await?.is_some();
        let mut changes = vec![Change::Seen { agent: id, at }];
        if let Some(inventory) = said.inventory {
            changes.push(Change::Inventory { agent: id, computer: agent.computer, at, inventory });
            changes.push(Change::Answered { agent: id, command: "inventory", at });
        }
        if let Some(Position { at: then, latitude, longitude }) = said.position {
            changes.push(Change::Position { agent: id, computer: agent.computer, at: then, latitude, longitude });
            changes.push(Change::Answered { agent: id, command: "geolocate", at });
        }
        if said.is_pong {
            changes.push(Change::Answered { agent: id, command: "ping", at });
        }
        if let Some(is_online) = said.is_online {
            changes.push(Change::SaysOnline { agent: id, is_online, connection: None });
        }
        if is_leaving {
            changes.push(Change::Unenrolled { agent: id, at });
        }
        let may_settle = changes.iter().any(|it| matches!(it, Change::Answered { .. } | Change::Unenrolled { .. }));
        self.committed(changes).await?;
        if may_settle {
            self.commands_settled(id);
        }
        if is_leaving {
            self.agents_changed(&[id]);
        }
        Ok(())
    }

    /// Gives changes to the writer and waits for the commit.
    pub(super) async fn committed(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (done, wait) = oneshot::channel();
        self.store.submit(changes, move |result| {
            // Nobody waits any more when the request was given up; the changes are written all the same.
            let _ = done.send(result);
        });
        wait.await.unwrap_or_else(|_| Err(StoreError::Database("the writer stopped".into())))
    }

    /// What was set when the listeners opened; before that, what the configuration says.
    fn told_settings(&self) -> ToldSettings {
        self.told.get().cloned().unwrap_or_else(|| {
            let mqtt = &self.config.mqtt;
            let tls = !mqtt.tls_listen.is_empty();
            let listen = if tls { &mqtt.tls_listen } else { &mqtt.tcp_listen };
            let port = listen.rsplit(':').next().and_then(|it| it.parse().ok()).unwrap_or_default();
            let port = if mqtt.public_port == 0 { port } else { mqtt.public_port };
            ToldSettings { broker: mqtt.public_host.clone(), port, tls }
        })
    }
}

/// A new agent and those whose place it takes.
struct Entry {
    agent: AgentId,
    has_certificate: bool,
    replaced: Vec<AgentId>,
}

/// The whole story inside one transaction. A refusal is a value, so that its log line is committed.
async fn admit(
    tx: &mut Tx,
    key: &SecretKey,
    speaker: Speaker,
    attempt: &Attempt,
    enrollment: &Enrollment,
    wish: Result<Option<Wish>, &'static str>,
    now: Timestamp,
) -> Result<Result<Entry, Refusal>, StoreError> {
    // Somebody else's invitation is no invitation: the deeplink carries both tokens.
    let is_own = |it: &Invitation| match speaker {
        Speaker::Person(person) => it.person == person,
        Speaker::Invited(person, invitation) => (it.person, it.id) == (person, invitation),
        Speaker::Agent(_) => false,
    };
    let invitation = sql::invitation(tx, &key.hash(&attempt.invitation_token)).await?.filter(is_own);
    let Some(mut invitation) = invitation else { return Ok(Err(Refusal::NoInvitation)) };
    // Each address of the person is as good as the one that was invited.
    if sql::is_further_address(tx, invitation.person, &attempt.email).await? {
        invitation.email.clone_from(&attempt.email);
    }
    let replaced = match attempt.serial() {
        Ok(serial) => sql::earlier_agents(tx, invitation.entity, &serial, &attempt.uuid()).await?,
        Err(_) => Vec::new(),
    };
    let replaced_count = i64::try_from(replaced.len()).unwrap_or(i64::MAX);
    let configured = enrollment.agents_per_entity_max;
    let (place, limit) = sql::place(tx, invitation.entity, replaced_count, configured).await?;
    let rules = Rules {
        android_version_min: &enrollment.android_version_min,
        apple_version_min: &enrollment.apple_version_min,
        agents_per_entity_max: limit,
    };
    let id = invitation.id;
    // A bad request is told after everything else was found right, and does not spend the invitation.
    let checked = enroll::check(attempt, Some(invitation), place, rules, now);
    let wish = match (&checked, wish) {
        (Ok(_), Err(why)) => return refused(tx, id, now, Refusal::NotSigned(why)).await,
        (_, wish) => wish.unwrap_or_default(),
    };
    let accepted = match checked {
        Ok(accepted) if sql::consume(tx, id, now).await? => accepted,
        Ok(_) => return refused(tx, id, now, Refusal::NotPending).await,
        Err(refusal) => return refused(tx, id, now, refusal).await,
    };
    for agent in &replaced {
        sql::end_agent(tx, *agent, now).await?;
    }
    let replaced_ids: Vec<i64> = replaced.iter().take(REPLACED_TOLD_MAX).map(|it| it.0).collect();
    let computer = sql::computer(tx, &accepted, attempt, now).await?;
    let agent = sql::new_agent(tx, &accepted, attempt, computer, now).await?;
    if let Some(wish) = &wish {
        certificates::issue_first(tx, wish, agent, accepted.invitation.entity, &accepted.serial).await?;
    }
    let token_hash = key.hash(&key.agent_token(agent, now));
    session::add_token(tx, Owner::Agent(agent), &token_hash, now).await?;
    sql::log(tx, id, now, &format!("enrolled as agent {agent}")).await?;
    let deed = Deed::to_agent(Action::AgentEnroll, agent).with("invitation", id.0);
    audit::append(tx, if replaced_ids.is_empty() { deed } else { deed.with("replaced", replaced_ids) }).await?;
    Ok(Ok(Entry { agent, has_certificate: wish.is_some(), replaced }))
}

async fn refused(
    tx: &mut Tx,
    invitation: InvitationId,
    now: Timestamp,
    refusal: Refusal,
) -> Result<Result<Entry, Refusal>, StoreError> {
    // The log of an invitation has a bound, and so has what is written down here.
    if sql::log(tx, invitation, now, &refusal.to_string()).await? {
        let deed = Deed::to(Action::AgentRefuse, Subject::Invitation, invitation).with("why", refusal.to_string());
        audit::append(tx, deed).await?;
    }
    Ok(Err(refusal))
}

/// What an agent says in the `input` of a PUT.
///
/// # Errors
/// The text that the device is answered.
pub fn said(input: &Map<String, Value>) -> Result<Said, &'static str> {
    let is_online = match input.get("is_online") {
        None => None,
        Some(Value::Bool(flag)) => Some(*flag),
        Some(Value::Number(number)) if number.as_i64() == Some(1) => Some(true),
        Some(Value::Number(number)) if number.as_i64() == Some(0) => Some(false),
        Some(Value::String(text)) if text == "1" => Some(true),
        Some(Value::String(text)) if text == "0" => Some(false),
        Some(_) => return Err("Invalid status value"),
    };
    let inventory = match enroll::sent_inventory(input.get("_inventory")) {
        SentInventory::Absent => None,
        SentInventory::Read(inventory) => Some(inventory),
        SentInventory::Empty => return Err("Device inventory XML is mandatory"),
        SentInventory::Malformed => return Err("Inventory XML is not well formed"),
    };
    let is_pong = input.get("_pong").and_then(Value::as_str) == Some("!");
    Ok(Said { is_pong, is_online, inventory, position: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_agents_say_is_read_in_all_spellings() {
        let check = |input: Value, expected: Result<Option<bool>, &'static str>| {
            assert_eq!(said(input.as_object().unwrap()).map(|it| it.is_online), expected, "{input}");
        };
        check(json!({}), Ok(None));
        check(json!({"is_online": true}), Ok(Some(true)));
        check(json!({"is_online": "0"}), Ok(Some(false)));
        check(json!({"is_online": 1}), Ok(Some(true)));
        check(json!({"is_online": "maybe"}), Err("Invalid status value"));
        check(json!({"is_online": null}), Err("Invalid status value"));
        check(json!({"is_online": 2}), Err("Invalid status value"));
        check(json!({"_inventory": "***"}), Err("Inventory XML is not well formed"));
        assert!(said(json!({"_pong": "!"}).as_object().unwrap()).unwrap().is_pong);
    }
}
