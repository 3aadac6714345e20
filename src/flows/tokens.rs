//! Admin tokens: named, with a role and the tenants that they are good for. Shown once, stored as a keyed hash.

use std::{collections::HashSet, fmt};

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    Flows,
    administer::{Answer, Refused, name_of},
    secrets,
};
use crate::{
    clock::Timestamp,
    ids::{EntityId, FleetId},
    mdm::{
        audit::Subject,
        rights::{Profile, Scope},
    },
    store::{StoreError, admin_token::NewToken, items::Purpose},
};

pub use crate::store::admin_token::TokenView;

/// The use of a token is noted at most so often, so that asking costs no commit.
const TOUCH_AFTER_MS: i64 = 60_000;
/// Days that a token may live.
const DAYS_MAX: u32 = 3650;
const DAY_MS: i64 = 86_400_000;
/// The name of whoever holds the token of the data directory.
pub const FIRST: &str = "administrator";

/// Who asks over the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Of the token; also in the rows of what was asked for.
    pub name: String,
    /// Whether it is the token of the data directory.
    pub is_first: bool,
    /// What it may do.
    pub role: Profile,
    /// Where.
    scope: Scope,
    /// The tenants of the scope; `None`: all.
    entities: Option<HashSet<EntityId>>,
}

impl Admin {
    /// Whoever holds the token of the data directory.
    pub fn first() -> Self {
        Self {
            name: FIRST.to_owned(),
            is_first: true,
            role: Profile::Administrator,
            scope: Scope::Everything,
            entities: None,
        }
    }

    /// Where he works.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether this tenant is the asker's.
    pub fn sees(&self, entity: EntityId) -> bool {
        self.entities.as_ref().is_none_or(|it| it.contains(&entity))
    }

    /// Whether all tenants are.
    pub fn sees_everything(&self) -> bool {
        self.entities.is_none()
    }
}

/// A new token, shown once.
#[derive(Serialize)]
pub struct MadeToken {
    /// What it is called.
    pub name: String,
    /// The token.
    #[serde(serialize_with = "secrets::shown_once")]
    pub token: Zeroizing<String>,
}

impl fmt::Debug for MadeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeToken").field("name", &self.name).field("token", &format_args!("***")).finish()
    }
}

impl Flows {
    /// Whose token this is. `None`: nobody's, or it has ended.
    ///
    /// # Errors
    /// The database failed.
    pub async fn admin_of(&self, token: &str) -> Result<Option<Admin>, StoreError> {
        // Ours have that many characters; anything else costs no question.
        if token.len() != secrets::API_TOKEN_CHARS {
            return Ok(None);
        }
        let now = self.clock.now();
        let Some(known) = self.store.admin_token(&self.secret_key.hash(token), now).await? else { return Ok(None) };
        let Some(role) = Profile::parse(&known.role).filter(|it| it.is_staff()) else { return Ok(None) };
        if known.last_used_at.is_none_or(|at| now.0 - at.0 >= TOUCH_AFTER_MS) {
            self.store.touch_admin_token(known.id, now).await?;
        }
        let scope = known.entity.map_or(Scope::Everything, |it| Scope::Entities(vec![(it, true)]));
        let entities = match known.entity {
            None => None,
            Some(_) => Some(self.store.entities_within(&scope).await?.into_iter().map(|(id, _)| id).collect()),
        };
        Ok(Some(Admin { name: known.name, is_first: false, role, scope, entities }))
    }

    /// Whether this thing is there for the asker and his purpose; the refusal is that of a thing that does not exist.
    ///
    /// # Errors
    /// The database failed.
    pub async fn must_see(&self, admin: &Admin, purpose: Purpose, subject: Subject, id: i64) -> Answer<()> {
        if admin.sees_everything() {
            return Ok(Ok(()));
        }
        let is_seen = match (subject, purpose) {
            (Subject::Fleet, Purpose::Looking) => self.store.fleet(FleetId(id), &admin.scope).await?.is_some(),
            _ => self.store.entity_of(subject, id).await?.is_some_and(|it| admin.sees(it)),
        };
        Ok(if is_seen { Ok(()) } else { Err(Refused::Absent(format!("there is no {} {id}", subject.as_str()))) })
    }

    /// The numbers of the agents and of the fleets that the asker sees; `None`: all.
    ///
    /// # Errors
    /// The database failed.
    pub async fn seen_by(&self, admin: &Admin) -> Result<Option<Seen>, StoreError> {
        if admin.sees_everything() {
            return Ok(None);
        }
        Ok(Some(Seen {
            agents: self.store.ids_within(Subject::Agent, &admin.scope).await?,
            fleets: self.store.ids_within(Subject::Fleet, &admin.scope).await?,
        }))
    }

    /// A new token.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_token(
        &self,
        name: &str,
        role: &str,
        entity: Option<EntityId>,
        days: Option<u32>,
    ) -> Answer<MadeToken> {
        let invalid = |why: String| Ok(Err(Refused::Invalid(why)));
        let name = match name_of(name) {
            Ok(name) => name,
            Err(refused) => return Ok(Err(refused)),
        };
        if name == FIRST {
            return invalid(format!("{FIRST} is the name of the token of the data directory"));
        }
        let Some(role) = Profile::parse(role).filter(|it| it.is_staff()) else {
            return invalid(format!("there is no role {role}; there are viewer, operator and administrator"));
        };
        if days.is_some_and(|it| !(1..=DAYS_MAX).contains(&it)) {
            return invalid(format!("a token lives 1 to {DAYS_MAX} days"));
        }
        let (token, now) = (secrets::api_token(), self.clock.now());
        let expires_at = days.map(|it| Timestamp(now.0 + i64::from(it) * DAY_MS));
        let token_hash = self.secret_key.hash(&token);
        let new = NewToken { name: name.clone(), token_hash, role: role.as_str(), entity, at: now, expires_at };
        Ok(self.store.add_admin_token(new).await?.map(|_| MadeToken { name, token }))
    }

    /// Ends a token.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_token(&self, name: &str) -> Answer<()> {
        self.store.remove_admin_token(name.to_owned()).await
    }

    /// All tokens.
    ///
    /// # Errors
    /// The database failed.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, StoreError> {
        self.store.admin_tokens().await
    }
}

/// What somebody with a token of one tenant sees.
pub struct Seen {
    /// Numbers of agents.
    pub agents: HashSet<i64>,
    /// Numbers of fleets.
    pub fleets: HashSet<i64>,
}
