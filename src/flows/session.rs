//! HTTP sessions of agents and people. They are rows, so they survive a restart. What somebody may do is read again with each request.

use crate::{
    clock::Timestamp,
    flows::{
        Flows,
        audit::{Actor, Deed},
        passwords::{Crowded, Verdict, heaviest},
        secrets,
    },
    ids::{AgentId, EntityId, InvitationId, PersonId},
    mdm::{
        audit::{Action, ActorKind, Subject},
        rights::{Grant, Profile as Role, Scope},
    },
    store::{
        StoreError, audit,
        enroll::AgentRow,
        session::{self, Opening, Owner, Proof, Since, Terms},
    },
};

/// An open session is noted as used at most so often, so that reading costs no commit.
const TOUCH_AFTER_MS: i64 = 60_000;

/// Who speaks in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// A human being.
    Person(PersonId),
    /// One with a deeplink: a guest, who has to do with what came of this invitation only.
    Invited(PersonId, InvitationId),
    /// An enrolled agent.
    Agent(AgentId),
}

impl Speaker {
    /// The human being, if it is one.
    pub fn person(self) -> Option<PersonId> {
        match self {
            Speaker::Person(person) | Speaker::Invited(person, _) => Some(person),
            Speaker::Agent(_) => None,
        }
    }

    /// Whether this is who enrolled the agent, and may have its settings.
    pub fn enrolled(self, agent: &AgentRow) -> bool {
        match self {
            Speaker::Person(person) => agent.person == Some(person),
            Speaker::Invited(_, invitation) => agent.invitation == Some(invitation),
            Speaker::Agent(_) => false,
        }
    }
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

/// Who speaks in a session, with which rights, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Whose session it is.
    pub speaker: Speaker,
    /// The active profile; that of a guest for agents, who are told apart by `speaker`.
    pub role: Role,
    /// The profiles of the person; every person is a guest besides.
    pub grants: Vec<Grant>,
    /// Where the active profile is good now.
    pub scope: Scope,
    /// Where new things go.
    pub entity: EntityId,
    /// What the session works with, as stored.
    pub terms: Terms,
}

impl Conversation {
    /// The profiles that this session may switch to.
    pub fn may_become(&self, role: Role) -> bool {
        let is_within_limit = self.terms.limited_to.is_none_or(|limit| limit == role);
        is_within_limit && (role == Role::Guest || self.grants.iter().any(|it| it.profile == role))
    }

    /// Where this profile of the person is good.
    pub fn grants_of(&self, role: Role) -> Vec<Grant> {
        self.grants.iter().filter(|it| it.profile == role).copied().collect()
    }

    /// Whether this person speaks.
    pub fn is(&self, person: PersonId) -> bool {
        self.speaker.person() == Some(person)
    }
}

impl Flows {
    /// Opens a session for the owner of an API token. `None`: nobody owns it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_session(&self, user_token: &str) -> Result<Option<String>, StoreError> {
        let token_hash = self.secret_key.hash(user_token);
        let question = session::token_owner(&token_hash, self.clock.now());
        let Some(row) = self.store.row(question).await? else { return Ok(None) };
        let Some(owner) = Owner::read(&row) else { return Ok(None) };
        let is_limited = row.opt_text("limited_to").is_some();
        let terms = match owner {
            Owner::Person(person) if !is_limited => self.highest_terms(person).await?,
            _ => Terms::GUEST,
        };
        self.open(owner, Proof::Token(token_hash), terms).await
    }

    /// Opens a session for whoever holds the first administrator's token.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_administrator_session(&self) -> Result<Option<String>, StoreError> {
        let person = self.store.built_in_administrator(self.clock.now()).await?;
        let terms = Terms { profile: Role::Administrator, limited_to: None, narrowed: None };
        self.open(Owner::Person(person), Proof::Administrator, terms).await
    }

    /// Opens a session for a person with a password. `None`: wrong name or wrong password.
    ///
    /// # Errors
    /// The database failed, or too many people log in at once.
    pub async fn open_session_with_password(
        &self,
        login: &str,
        password: &str,
    ) -> Result<Result<Option<String>, Crowded>, StoreError> {
        let (person, secret) = self.store.person_secret(login).await?.unzip();
        let secret = secret.flatten();
        let imported = self.store.imported_secrets().await?;
        let verdict = match self.passwords.verify(password, secret.clone(), heaviest(&imported)).await {
            Ok(verdict) => verdict,
            Err(crowded) => {
                self.metrics.crowded_passwords.inc();
                return Ok(Err(crowded));
            }
        };
        let (Some(person), Some(mut secret)) = (person.filter(|_| verdict != Verdict::Wrong), secret) else {
            return Ok(Ok(None));
        };
        if let Verdict::Outdated(renewed) = verdict {
            self.store.renew_secret(person, secret, renewed.clone()).await?;
            secret = renewed;
        }
        let terms = self.highest_terms(person).await?;
        self.open(Owner::Person(person), Proof::Secret(secret), terms).await.map(Ok)
    }

    /// `None`: what was presented is good no longer.
    async fn open(&self, owner: Owner, proof: Proof, terms: Terms) -> Result<Option<String>, StoreError> {
        let now = self.clock.now();
        let token = secrets::api_token();
        let opening = Opening { owner, proof, token_hash: self.secret_key.hash(&token), terms };
        let (since, max) = (self.sessions_that_hold(now), self.config.http.sessions_per_account_max);
        let person = if let Owner::Person(person) = owner { Some(person) } else { None };
        let by_staff = person.filter(|_| terms.profile.is_staff()).map(|person| {
            let by = Actor { kind: ActorKind::Person, name: person.to_string(), peer: audit::actor().peer };
            Deed::to(Action::SessionOpen, Subject::Person, person).by(by).with("profile", terms.profile.as_str())
        });
        let story = self.store.write(move |tx| {
            Box::pin(async move {
                let is_open = session::open(tx, &opening, now, since, max).await?;
                if let Some(deed) = by_staff.filter(|_| is_open) {
                    audit::append(tx, deed).await?;
                }
                Ok(is_open)
            })
        });
        Ok(story.await?.then(|| token.to_string()))
    }

    async fn highest_terms(&self, person: PersonId) -> Result<Terms, StoreError> {
        let profile = self.grants(person).await?.iter().map(|it| it.profile).max().unwrap_or(Role::Guest);
        Ok(Terms { profile, limited_to: None, narrowed: None })
    }

    async fn grants(&self, person: PersonId) -> Result<Vec<Grant>, StoreError> {
        Ok(self.store.rows(session::grants(person)).await?.iter().filter_map(session::grant).collect())
    }

    /// Who speaks in this session, with what rights. `None`: there is no such session, or it was idle too long.
    ///
    /// # Errors
    /// The database failed.
    pub async fn conversation(&self, session_token: &str) -> Result<Option<Conversation>, StoreError> {
        let Some((speaker, terms)) = self.session(session_token).await? else { return Ok(None) };
        Ok(Some(match speaker {
            Speaker::Person(person) => {
                let grants = self.grants(person).await?;
                self.conversation_of(speaker, terms, grants).await?
            }
            Speaker::Invited(person, invitation) => {
                let to = self.store.row(session::invited_to(invitation)).await?;
                let entity = to.map(|row| EntityId(row.int("entity_id")));
                let mut grants = self.grants(person).await?;
                grants.retain(|it| it.profile == Role::Guest && Some(it.entity) == entity);
                self.conversation_of(speaker, terms, grants).await?
            }
            Speaker::Agent(agent) => {
                let entity = self.agent(agent).await?.map_or(EntityId::ROOT, |it| it.entity);
                let scope = Scope::Entities(vec![(entity, false)]);
                Conversation { speaker, role: Role::Guest, grants: Vec::new(), scope, entity, terms }
            }
        }))
    }

    /// Whether a session works with a profile of the staff, as far as the session itself knows: [`Flows::conversation`] asks whether
    /// the profile was taken away meanwhile. One question, for the endpoints that devices use.
    ///
    /// # Errors
    /// The database failed.
    pub async fn may_be_staff(&self, session_token: &str) -> Result<bool, StoreError> {
        Ok(self.session(session_token).await?.is_some_and(|(_, terms)| terms.profile.is_staff()))
    }

    /// A profile or an entity that was taken away is not active any more.
    async fn conversation_of(
        &self,
        speaker: Speaker,
        mut terms: Terms,
        grants: Vec<Grant>,
    ) -> Result<Conversation, StoreError> {
        if !grants.iter().any(|it| it.profile == terms.profile) {
            terms = Terms { profile: Role::Guest, narrowed: None, ..terms };
        }
        let own: Vec<Grant> = grants.iter().filter(|it| it.profile == terms.profile).copied().collect();
        if let Some(narrowed) = terms.narrowed
            && !self.is_good_there(&own, narrowed).await?
        {
            terms.narrowed = None;
        }
        let scope = Scope::of(&own, terms.narrowed);
        let entity = terms.narrowed.map(|it| it.0).or(own.first().map(|it| it.entity)).unwrap_or(EntityId::ROOT);
        Ok(Conversation { speaker, role: terms.profile, grants, scope, entity, terms })
    }

    /// Makes another profile the active one. `false`: the person has no such profile, or the session may not have it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn become_profile(&self, session_token: &str, it: &Conversation, role: Role) -> Result<bool, StoreError> {
        if !it.may_become(role) {
            return Ok(false);
        }
        if role != it.role {
            self.change_session(session_token, Terms { profile: role, narrowed: None, ..it.terms }).await?;
        }
        Ok(true)
    }

    /// Narrows a session to one entity of its profile, or widens it again. `false`: the profile is not good there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn narrow(
        &self,
        session_token: &str,
        it: &Conversation,
        to: Option<(EntityId, bool)>,
    ) -> Result<bool, StoreError> {
        if let Some(narrowed) = to
            && !self.is_good_there(&it.grants_of(it.role), narrowed).await?
        {
            return Ok(false);
        }
        self.change_session(session_token, Terms { narrowed: to, ..it.terms }).await?;
        Ok(true)
    }

    /// With the entities below one only where a grant is good below it.
    async fn is_good_there(&self, own: &[Grant], (entity, is_deep): (EntityId, bool)) -> Result<bool, StoreError> {
        let good: Vec<Grant> = own.iter().filter(|grant| !is_deep || grant.is_recursive).copied().collect();
        self.store.entity_is_within(entity, &Scope::of(&good, None)).await
    }

    async fn change_session(&self, session_token: &str, terms: Terms) -> Result<(), StoreError> {
        let hash = self.secret_key.hash(session_token);
        self.store.write(move |tx| Box::pin(async move { session::change(tx, &hash, terms).await })).await
    }

    /// Who speaks in this session. `None`: there is no such session, or it was idle too long.
    ///
    /// # Errors
    /// The database failed.
    pub async fn speaker(&self, session_token: &str) -> Result<Option<Speaker>, StoreError> {
        Ok(self.session(session_token).await?.map(|it| it.0))
    }

    async fn session(&self, session_token: &str) -> Result<Option<(Speaker, Terms)>, StoreError> {
        let now = self.clock.now();
        let hash = self.secret_key.hash(session_token);
        let Some(row) = self.store.row(session::session_owner(&hash, self.sessions_that_hold(now))).await? else {
            return Ok(None);
        };
        let touch_after_ms = TOUCH_AFTER_MS.min(i64::from(self.config.http.session_idle_s) * 1000 / 4);
        if row.int("used_at").saturating_add(touch_after_ms) < now.0 {
            self.store.write(move |tx| Box::pin(async move { session::touch(tx, &hash, now).await })).await?;
        }
        let terms = Terms::read(&row);
        Ok(Owner::read(&row).map(|owner| match owner {
            Owner::Person(id) => (Speaker::Person(id), terms),
            Owner::Invited(id, invitation) => (Speaker::Invited(id, invitation), terms),
            Owner::Agent(id) => (Speaker::Agent(id), terms),
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
            Speaker::Person(person) | Speaker::Invited(person, _) => {
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

    fn sessions_that_hold(&self, now: Timestamp) -> Since {
        let ago = |seconds: u32| Timestamp(now.0.saturating_sub(i64::from(seconds) * 1000));
        let http = &self.config.http;
        Since { used: ago(http.session_idle_s), opened: ago(http.session_life_s) }
    }
}
