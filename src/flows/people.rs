//! People: who they are, what they may do, how they log in. Refuses to show a password or a token twice.

use std::fmt;

use zeroize::Zeroizing;

use super::{Flows, administer, passwords, secrets};
use crate::{ids::PersonId, store::StoreError};

pub use crate::store::{
    administer::{Answer, Refused},
    person::{GrantView, NewPerson, PersonChange, PersonView},
};

/// What is said of a new person, as it came.
#[derive(Clone, Default)]
pub struct Introduced {
    /// Login name; empty: the address.
    pub name: String,
    /// Where mail goes.
    pub email: String,
    /// In clear; `None`: only tokens open sessions.
    pub password: Option<String>,
    /// The rest.
    pub change: PersonChange,
}

impl fmt::Debug for Introduced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, email, password, change } = self;
        let password = password.as_ref().map(|_| format_args!("***").to_string());
        let it = &mut f.debug_struct("Introduced");
        it.field("name", name).field("email", email).field("password", &password).field("change", change).finish()
    }
}

impl Flows {
    /// A new person.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_person(&self, new: Introduced) -> Answer<PersonId> {
        let mut change = match checked(new.change) {
            Ok(change) => change,
            Err(refused) => return Ok(Err(refused)),
        };
        let (name, email) = match (login_name(&new.name), address(&new.email)) {
            (Ok(name), Ok(email)) => (name, email),
            (Err(refused), _) | (_, Err(refused)) => return Ok(Err(refused)),
        };
        change.secret = match self.hashed(new.password).await {
            Ok(secret) => secret,
            Err(refused) => return Ok(Err(refused)),
        };
        self.store.add_person(NewPerson { name, email, change }, self.clock.now()).await
    }

    /// Changes a person. A new password ends the sessions.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_person(&self, id: PersonId, change: PersonChange, password: Option<String>) -> Answer<()> {
        let mut change = match checked(change) {
            Ok(change) => change,
            Err(refused) => return Ok(Err(refused)),
        };
        change.secret = match self.hashed(password).await {
            Ok(secret) => secret,
            Err(refused) => return Ok(Err(refused)),
        };
        self.store.change_person(id, change).await
    }

    /// Removes a person. Devices stay, without an owner.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_person(&self, id: PersonId) -> Answer<()> {
        self.store.remove_person(id).await
    }

    /// An API token that is good for every profile of the person. Shown once.
    ///
    /// # Errors
    /// The database failed.
    pub async fn person_token(&self, id: PersonId) -> Result<Zeroizing<String>, StoreError> {
        let token = secrets::api_token();
        self.store.add_person_token(id, self.secret_key.hash(&token), self.clock.now()).await?;
        Ok(token)
    }

    async fn hashed(&self, password: Option<String>) -> Result<Option<String>, Refused> {
        let Some(password) = password.map(Zeroizing::new) else { return Ok(None) };
        if password.chars().count() < passwords::PASSWORD_CHARS_MIN || password.len() > passwords::PASSWORD_BYTES_MAX {
            let (least, most) = (passwords::PASSWORD_CHARS_MIN, passwords::PASSWORD_BYTES_MAX);
            return Err(Refused::Invalid(format!(
                "a password has at least {least} characters and at most {most} bytes"
            )));
        }
        self.passwords.hash(&password).await.map(Some).map_err(|crowded| {
            self.metrics.crowded_passwords.inc();
            Refused::Conflict(crowded.to_string())
        })
    }
}

/// The texts of a change, trimmed and within their bounds.
fn checked(mut change: PersonChange) -> Result<PersonChange, Refused> {
    if let Some(name) = &change.name {
        change.name = Some(login_name(name)?);
    }
    for text in
        [&mut change.firstname, &mut change.realname, &mut change.phone, &mut change.phone2].into_iter().flatten()
    {
        *text = text.trim().to_owned();
        if text.chars().count() > administer::NAME_CHARS_MAX || text.chars().any(char::is_control) {
            let most = administer::NAME_CHARS_MAX;
            return Err(Refused::Invalid(format!("names and phones have at most {most} characters, none of control")));
        }
    }
    for email in change.emails.iter_mut().chain(&mut change.default_email) {
        *email = address(email)?;
    }
    Ok(change)
}

/// Empty is the address. An "@" would let one person log in under the address of another.
fn login_name(text: &str) -> Result<String, Refused> {
    if text.is_empty() {
        Ok(String::new())
    } else if text.contains('@') || text.bytes().all(|it| it.is_ascii_digit()) {
        Err(Refused::Invalid("a login name holds no @ and is no number".into()))
    } else {
        administer::name_of(text)
    }
}

fn address(text: &str) -> Result<String, Refused> {
    let email = text.trim().to_lowercase();
    if administer::is_email(&email) {
        Ok(email)
    } else {
        Err(Refused::Invalid(format!("\"{email}\" is not an e-mail address")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_people_is_checked() {
        let change = |text: &str| checked(PersonChange { firstname: Some(text.into()), ..PersonChange::default() });
        assert_eq!(change(" Ada ").unwrap().firstname.unwrap(), "Ada");
        assert!(change(&"x".repeat(256)).is_err());
        assert!(change("a\u{7}b").is_err());
        assert_eq!(address(" Ada@Example.ORG ").unwrap(), "ada@example.org");
        assert!(address("ada").is_err());
        assert!(login_name("ada@example.org").is_err());
        assert!(login_name("17").is_err());
        assert_eq!(login_name("ada").unwrap(), "ada");
    }
}
