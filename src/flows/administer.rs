//! What administrators do besides commanding devices: tenants, fleets, invitations, service accounts, bulk import.
//! Texts become values here; the database is asked through [`crate::store`] only.

use std::fmt;

use serde::Serialize;
use zeroize::Zeroizing;

use super::{Flows, secrets};
use crate::{
    broker::acl,
    ids::{AgentId, EntityId, FleetId},
    mail,
    mdm::rights::Scope,
};

pub use crate::store::StoreError;
pub use crate::store::administer::{
    AccountView, AgentFilter, AgentView, Answer, BAD_LINES_MAX, BadLine, CommandView, EntityView, FleetChange,
    FleetView, NewFleet, Refused,
};
use crate::store::administer::{ENTITY_NUMBER_MAX, NewAccount};

/// Entries in one access list.
pub const ACL_ENTRIES_MAX: usize = 1000;
/// Characters of a name that administrators give.
pub const NAME_CHARS_MAX: usize = 255;

/// A new service account with its password, shown once.
#[derive(Serialize)]
pub struct Opened {
    /// User name.
    pub name: String,
    /// Password.
    #[serde(serialize_with = "secrets::shown_once")]
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("name", &self.name).field("password", &format_args!("***")).finish()
    }
}

impl Flows {
    /// A new tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_entity(&self, name: &str, parent: EntityId, id: Option<EntityId>) -> Answer<EntityId> {
        match name_of(name) {
            Ok(_) if id.is_some_and(|id| !(1..=ENTITY_NUMBER_MAX).contains(&id.0)) => {
                Ok(Err(Refused::Invalid(format!("the number of an entity is 1 to {ENTITY_NUMBER_MAX}"))))
            }
            Ok(name) => self.store.add_entity(name, parent, id, self.clock.now()).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Another name or place for a tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_entity(&self, id: EntityId, name: Option<&str>, parent: Option<EntityId>) -> Answer<()> {
        match name.map(name_of).transpose() {
            Ok(name) => self.store.change_entity(id, name, parent).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// A new fleet.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_fleet(&self, new: NewFleet) -> Answer<FleetId> {
        match name_of(&new.name) {
            Ok(name) => self.store.add_fleet(NewFleet { name, ..new }, self.clock.now()).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Changes a fleet. What says again what is so is no change, for dashboards send back all that they read.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_fleet(&self, id: FleetId, change: FleetChange) -> Answer<()> {
        let name = match change.name.as_deref().map(name_of).transpose() {
            Ok(name) => name,
            Err(refused) => return Ok(Err(refused)),
        };
        let Some(now) = self.store.fleet(id, &Scope::Everything).await? else {
            return Ok(Err(Refused::Absent(format!("there is no fleet {id}"))));
        };
        let change = FleetChange {
            name: name.filter(|it| *it != now.name),
            is_recursive: change.is_recursive.filter(|it| *it != now.is_recursive),
        };
        if change == FleetChange::default() { Ok(Ok(())) } else { self.store.change_fleet(id, change).await }
    }

    /// Removes a fleet; its agents go to the default one and are told. Answers who was moved.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_fleet(&self, id: FleetId) -> Answer<Vec<AgentId>> {
        let answer = self.store.remove_fleet(id, self.removal_until()).await?;
        if let Ok(moved) = &answer {
            self.agents_changed(moved);
        }
        Ok(answer)
    }

    /// One more beginning of paths that files may be deployed to.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_path(&self, name: &str, comment: &str) -> Answer<i64> {
        match name_of(name) {
            Ok(name) => self.store.add_path(name, comment.to_owned()).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Another name, comment or default for a path.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_path(
        &self,
        id: i64,
        name: Option<String>,
        comment: Option<String>,
        is_default: bool,
    ) -> Answer<()> {
        match name.as_deref().map(name_of).transpose() {
            Ok(name) => self.store.change_path(id, name, comment, is_default).await,
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// A service account with a random password.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_account(&self, name: &str, acl: &[String], entity: Option<EntityId>) -> Answer<Opened> {
        let checked = name_of(name).and_then(|name| Ok((name, parse_acl(acl)?)));
        let (name, access) = match checked {
            Ok(checked) => checked,
            Err(refused) => return Ok(Err(refused)),
        };
        let password = secrets::mqtt_password();
        let secret = self.secret_key.hash(&password);
        let new = NewAccount { name: name.clone(), secret, entity, access, at: self.clock.now() };
        Ok(self.store.add_account(new).await?.map(|_| Opened { name, password }))
    }

    /// Removes a service account.
    ///
    /// # Errors
    /// The database failed.
    pub async fn close_account(&self, name: &str) -> Answer<()> {
        let removed = self.store.remove_account(name.to_owned()).await?;
        if let Ok(account) = &removed {
            self.hub.revoke_account(*account);
        }
        Ok(removed.map(|_| ()))
    }

    /// Whether the database answers.
    pub async fn answers(&self) -> bool {
        self.store.row(crate::store::administer::trivial_question()).await.is_ok()
    }
}

/// Reads the entries of an access list.
///
/// # Errors
/// What is wrong with the first bad entry.
fn parse_acl(entries: &[String]) -> Result<Vec<(String, String)>, Refused> {
    if entries.len() > ACL_ENTRIES_MAX {
        return Err(Refused::Invalid(format!("an access list has at most {ACL_ENTRIES_MAX} entries")));
    }
    let read = |entry: &String| match acl::parse_entry(entry) {
        Ok((filter, access)) => Ok((filter, access.as_str().to_owned())),
        Err(why) => Err(Refused::Invalid(format!("\"{entry}\": {why}"))),
    };
    entries.iter().map(read).collect()
}

pub(super) fn name_of(text: &str) -> Result<String, Refused> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Refused::Invalid(format!("a name has 1 to {NAME_CHARS_MAX} characters and no control characters")));
    }
    Ok(text.to_owned())
}

/// Whether mail can be sent there. Nothing with a line break is an address.
pub(super) fn is_email(text: &str) -> bool {
    text.chars().count() <= NAME_CHARS_MAX && mail::is_address(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e_mail_addresses_have_two_halves() {
        assert!(is_email("ann@example.org"));
        for bad in ["", "ann", "@example.org", "ann@", "a b@c", "a@b@c"] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
