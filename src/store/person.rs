//! People as rows: who they are, what they may do, their addresses and passwords. SQL only; refusals are values.

use serde::Serialize;

use super::{
    Store, StoreError,
    administer::{Answer, LIST_ROWS_MAX, Refused},
    audit,
    db::{Row, Statement, Tx, Value},
    session::{self, Owner},
};
use crate::{
    clock::Timestamp,
    ids::{EntityId, PersonId},
    mdm::{
        audit::{Action, Deed, Subject},
        rights::{Grant, Profile},
    },
};

/// Profiles that one person may have.
pub const GRANTS_PER_PERSON_MAX: i64 = 100;
/// Addresses that one person may have besides the default one.
pub const EMAILS_PER_PERSON_MAX: i64 = 20;
/// The address of the built-in person that the first administrator's token stands for. Nobody can receive mail there.
const BUILT_IN_EMAIL: &str = "administrator@mdmq.invalid";

/// A profile as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantView {
    /// `guest`, `viewer`, `operator` or `administrator`.
    pub profile: String,
    /// Where.
    pub entity: EntityId,
    /// And below it.
    pub is_recursive: bool,
}

/// A person without the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonView {
    /// Key.
    pub id: PersonId,
    /// What is typed to log in.
    pub login: String,
    /// Where mail goes.
    pub email: String,
    /// Further addresses.
    pub emails: Vec<String>,
    /// First name.
    pub firstname: String,
    /// Last name.
    pub realname: String,
    /// Phone.
    pub phone: String,
    /// Another phone.
    pub phone2: String,
    /// Whether sessions can be opened.
    pub is_active: bool,
    /// Whether there is a password; without one only tokens open sessions.
    pub has_password: bool,
    /// What he or she may do.
    pub profiles: Vec<GrantView>,
}

/// A new person. Everything is checked but what only the database knows.
#[derive(Debug, Clone)]
pub struct NewPerson {
    /// Login name; empty: the address.
    pub name: String,
    /// In lower case.
    pub email: String,
    /// The rest, as far as it is given.
    pub change: PersonChange,
}

/// What is to be different; what is `None` or empty stays.
#[derive(Clone, Default)]
pub struct PersonChange {
    /// Login name.
    pub name: Option<String>,
    /// First name.
    pub firstname: Option<String>,
    /// Last name.
    pub realname: Option<String>,
    /// Phone.
    pub phone: Option<String>,
    /// Another phone.
    pub phone2: Option<String>,
    /// Whether sessions can be opened.
    pub is_active: Option<bool>,
    /// Hash of a new password.
    pub secret: Option<String>,
    /// Further addresses, in lower case.
    pub emails: Vec<String>,
    /// The address that becomes the default one, in lower case; the old one stays a further one.
    pub default_email: Option<String>,
    /// A profile to give.
    pub grant: Option<Grant>,
    /// A profile to take.
    pub revoke: Option<(Profile, EntityId)>,
}

impl std::fmt::Debug for PersonChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let it = &mut f.debug_struct("PersonChange");
        it.field("name", &self.name).field("is_active", &self.is_active).field("grant", &self.grant);
        it.field("revoke", &self.revoke).field("secret", &self.secret.as_ref().map(|_| "***")).finish_non_exhaustive()
    }
}

impl PersonChange {
    /// The deed with the names of what is changed, and which rights were given and taken.
    fn told(&self, deed: Deed) -> Deed {
        let deed = deed.with_changed(&[
            ("name", self.name.is_some()),
            ("firstname", self.firstname.is_some()),
            ("realname", self.realname.is_some()),
            ("phone", self.phone.is_some()),
            ("phone2", self.phone2.is_some()),
            ("password", self.secret.is_some()),
            ("emails", !self.emails.is_empty() || self.default_email.is_some()),
        ]);
        let given = self.grant.map(|it| format!("{} of {}", it.profile.as_str(), it.entity));
        let taken = self.revoke.map(|(profile, entity)| format!("{} of {entity}", profile.as_str()));
        deed.with("is_active", self.is_active).with("given", given).with("taken", taken)
    }
}

impl Store {
    /// The person with this number, login name or address.
    ///
    /// # Errors
    /// The database failed.
    pub async fn find_person(&self, who: &str) -> Result<Option<PersonId>, StoreError> {
        let number = who.parse::<i64>().unwrap_or(0);
        let question = Statement::new(
            "select person_id from person where person_id = $1 or name = $2 or email = $3 \
             order by case when name = $2 then 0 else 1 end limit 1",
            [int(number), text(who), text(who.to_lowercase())],
        );
        Ok(self.row(question).await?.map(|row| PersonId(row.int("person_id"))))
    }

    /// One person, or all of them by number.
    ///
    /// # Errors
    /// The database failed.
    pub async fn people(&self, only: Option<PersonId>) -> Result<Vec<PersonView>, StoreError> {
        let (lowest, highest) = only.map_or((i64::MIN, i64::MAX), |it| (it.0, it.0));
        let ask = |sql: &'static str| self.rows(Statement::new(sql, [int(lowest), int(highest), int(LIST_ROWS_MAX)]));
        let rows = ask(
            "select person_id, name, email, firstname, realname, phone, phone2, is_active, secret is not null as has_password \
             from person where person_id >= $1 and person_id <= $2 order by person_id limit $3",
        )
        .await?;
        let mut people: Vec<PersonView> = rows.iter().map(person_view).collect();
        let addresses = ask("select person_id, email from person_email where person_id >= $1 and person_id <= $2 \
                             order by person_id, email limit $3")
        .await?;
        let grants = ask("select person_id, profile, entity_id, is_recursive from person_profile \
                          where person_id >= $1 and person_id <= $2 order by person_id, entity_id, profile limit $3")
        .await?;
        let at =
            |people: &[PersonView], row: &Row| people.binary_search_by_key(&row.int("person_id"), |it| it.id.0).ok();
        for row in &addresses {
            if let Some(at) = at(&people, row) {
                people[at].emails.push(row.text("email"));
            }
        }
        for row in &grants {
            if let Some(at) = at(&people, row) {
                people[at].profiles.push(GrantView {
                    profile: row.text("profile"),
                    entity: EntityId(row.int("entity_id")),
                    is_recursive: row.flag("is_recursive"),
                });
            }
        }
        Ok(people)
    }

    /// A new person.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_person(&self, new: NewPerson, at: Timestamp) -> Answer<PersonId> {
        let deed = Deed::new(Action::PersonAdd, Subject::Person).with("email", new.email.as_str());
        self.deed(new.change.told(deed), move |tx| {
            Box::pin(async move {
                let nobody = PersonId(0);
                let mut change = new.change;
                change.name = Some(new.name);
                for refused in [email_is_free(tx, nobody, &new.email).await?, entity_exists(tx, &change).await?] {
                    if let Err(refused) = refused {
                        return Ok(Err(refused));
                    }
                }
                let insert = "insert into person (email, created_at) values ($1, $2) returning person_id";
                let made = tx.row(Statement::new(insert, [text(new.email), int(at.0)])).await?;
                let id = PersonId(made.map_or(0, |row| row.int("person_id")));
                let changed = alter(tx, id, change).await?;
                if changed.is_err() {
                    tx.execute(Statement::new("delete from person where person_id = $1", [int(id.0)])).await?;
                }
                Ok(changed.map(|()| id))
            })
        })
        .await
    }

    /// Changes a person. A new password ends the sessions.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_person(&self, id: PersonId, change: PersonChange) -> Answer<()> {
        let deed = change.told(Deed::to(Action::PersonChange, Subject::Person, id));
        self.deed(deed, move |tx| {
            Box::pin(async move {
                if tx
                    .row(Statement::new("select 1 as n from person where person_id = $1", [int(id.0)]))
                    .await?
                    .is_none()
                {
                    return Ok(Err(absent(id)));
                }
                if let Err(refused) = entity_exists(tx, &change).await? {
                    return Ok(Err(refused));
                }
                alter(tx, id, change).await
            })
        })
        .await
    }

    /// Removes a person with tokens, sessions and invitations. Devices stay, without an owner.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_person(&self, id: PersonId) -> Answer<()> {
        self.deed(Deed::to(Action::PersonRemove, Subject::Person, id), move |tx| {
            Box::pin(async move {
                for statement in [
                    "update agent set person_id = null where person_id = $1",
                    "update computer set person_id = null where person_id = $1",
                    "delete from invitation where person_id = $1",
                ] {
                    tx.execute(Statement::new(statement, [int(id.0)])).await?;
                }
                let gone = tx.execute(Statement::new("delete from person where person_id = $1", [int(id.0)])).await?;
                Ok(if gone == 0 { Err(absent(id)) } else { Ok(()) })
            })
        })
        .await
    }

    /// Gives a person one more API token, which is good for every profile that he or she has.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_person_token(&self, id: PersonId, token_hash: String, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                session::add_full_token(tx, Owner::Person(id), &token_hash, at).await?;
                audit::append(tx, Deed::to(Action::PersonToken, Subject::Person, id)).await
            })
        })
        .await
    }

    /// Ends all API tokens and sessions of a person, those in deeplinks too.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revoke_person_tokens(&self, id: PersonId) -> Result<u64, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                tx.execute(Statement::new("delete from http_session where person_id = $1", [int(id.0)])).await?;
                audit::append(tx, Deed::to(Action::PersonTokensRevoke, Subject::Person, id)).await?;
                tx.execute(Statement::new("delete from api_token where person_id = $1", [int(id.0)])).await
            })
        })
        .await
    }

    /// The person that the first administrator's token stands for; made when first needed.
    ///
    /// # Errors
    /// The database failed.
    pub async fn built_in_administrator(&self, at: Timestamp) -> Result<PersonId, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let insert = "insert into person (email, realname, created_at) values ($1, 'Administrator', $2) \
                              on conflict (email) do update set is_active = true returning person_id";
                let row = tx.row(Statement::new(insert, [text(BUILT_IN_EMAIL), int(at.0)])).await?;
                let id = row.map_or(0, |row| row.int("person_id"));
                give(
                    tx,
                    PersonId(id),
                    Grant { profile: Profile::Administrator, entity: EntityId::ROOT, is_recursive: true },
                )
                .await?;
                Ok(PersonId(id))
            })
        })
        .await
    }

    /// The stored password of whoever logs in with this name or address.
    ///
    /// # Errors
    /// The database failed.
    pub async fn person_secret(&self, login: &str) -> Result<Option<(PersonId, Option<String>)>, StoreError> {
        let question = Statement::new(
            "select person_id, secret from person where is_active and (name = $1 or (name = '' and email = $2)) limit 1",
            [text(login), text(login.to_lowercase())],
        );
        Ok(self.row(question).await?.map(|row| (PersonId(row.int("person_id")), row.opt_text("secret"))))
    }

    /// How the hashes begin that came from elsewhere and were not replaced yet: kind and cost.
    ///
    /// # Errors
    /// The database failed.
    pub async fn imported_secrets(&self) -> Result<Vec<String>, StoreError> {
        let question = "select distinct substr(secret, 1, 7) as start from person where secret like $1";
        Ok(self.rows(Statement::new(question, ["$2%".into()])).await?.iter().map(|row| row.text("start")).collect())
    }

    /// Stores another hash of the same password, unless there is a new password meanwhile. Nobody did this, so it is no deed.
    ///
    /// # Errors
    /// The database failed.
    pub async fn renew_secret(&self, id: PersonId, outdated: String, renewed: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let update = "update person set secret = $3 where person_id = $1 and secret = $2";
                tx.execute(Statement::new(update, [int(id.0), text(outdated), text(renewed)])).await.map(drop)
            })
        })
        .await
    }
}

async fn alter(tx: &mut Tx, id: PersonId, change: PersonChange) -> Result<Result<(), Refused>, StoreError> {
    if let Some(name) = change.name.as_deref().filter(|it| !it.is_empty()) {
        let question = Statement::new("select person_id from person where name = $1", [text(name)]);
        if tx.row(question).await?.is_some_and(|row| row.int("person_id") != id.0) {
            return Ok(Err(Refused::Conflict(format!("the login name {name} is taken"))));
        }
    }
    for email in change.emails.iter().chain(&change.default_email) {
        if let Err(refused) = email_is_free(tx, id, email).await? {
            return Ok(Err(refused));
        }
    }
    if let Err(refused) = has_room(tx, id, &change).await? {
        return Ok(Err(refused));
    }
    // From here on nothing is refused any more: what was written stays.
    tx.execute(Statement::new(
        "update person set name = coalesce($2, name), firstname = coalesce($3, firstname), realname = coalesce($4, realname), \
         phone = coalesce($5, phone), phone2 = coalesce($6, phone2), is_active = coalesce($7, is_active), \
         secret = coalesce($8, secret) where person_id = $1",
        [
            int(id.0),
            Value::Text(change.name),
            Value::Text(change.firstname),
            Value::Text(change.realname),
            Value::Text(change.phone),
            Value::Text(change.phone2),
            Value::Bool(change.is_active),
            Value::Text(change.secret.clone()),
        ],
    ))
    .await?;
    if change.secret.is_some() {
        tx.execute(Statement::new("delete from http_session where person_id = $1", [int(id.0)])).await?;
    }
    add_emails(tx, id, change.emails, change.default_email).await?;
    if let Some((profile, entity)) = change.revoke {
        let delete = "delete from person_profile where person_id = $1 and profile = $2 and entity_id = $3";
        tx.execute(Statement::new(delete, [int(id.0), text(profile.as_str()), int(entity.0)])).await?;
    }
    if let Some(grant) = change.grant {
        give(tx, id, grant).await?;
    }
    Ok(Ok(()))
}

async fn give(tx: &mut Tx, id: PersonId, grant: Grant) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "insert into person_profile (person_id, profile, entity_id, is_recursive) values ($1, $2, $3, $4) \
         on conflict (person_id, profile, entity_id) do update set is_recursive = excluded.is_recursive",
        [int(id.0), text(grant.profile.as_str()), int(grant.entity.0), Value::Bool(Some(grant.is_recursive))],
    ))
    .await?;
    Ok(())
}

async fn has_room(tx: &mut Tx, id: PersonId, change: &PersonChange) -> Result<Result<(), Refused>, StoreError> {
    let emails = count(tx, "select count(*) as n from person_email where person_id = $1", id).await?;
    let more = change.emails.len() + usize::from(change.default_email.is_some());
    if more > 0 && emails.saturating_add(i64::try_from(more).unwrap_or(i64::MAX)) > EMAILS_PER_PERSON_MAX {
        return Ok(Err(Refused::Conflict(format!("a person has at most {EMAILS_PER_PERSON_MAX} further addresses"))));
    }
    let grants = count(tx, "select count(*) as n from person_profile where person_id = $1", id).await?;
    if change.grant.is_some() && grants >= GRANTS_PER_PERSON_MAX {
        return Ok(Err(Refused::Conflict(format!("a person has at most {GRANTS_PER_PERSON_MAX} profiles"))));
    }
    Ok(Ok(()))
}

async fn add_emails(tx: &mut Tx, id: PersonId, emails: Vec<String>, default: Option<String>) -> Result<(), StoreError> {
    const ADD: &str = "insert into person_email (person_id, email) select $1, $2 where not exists \
                       (select 1 from person where person_id = $1 and email = $2) on conflict do nothing";
    for email in emails {
        tx.execute(Statement::new(ADD, [int(id.0), text(email)])).await?;
    }
    if let Some(default) = default {
        let row = tx.row(Statement::new("select email from person where person_id = $1", [int(id.0)])).await?;
        let old = row.map(|row| row.text("email")).unwrap_or_default();
        let delete = "delete from person_email where person_id = $1 and email = $2";
        tx.execute(Statement::new(delete, [int(id.0), text(default.clone())])).await?;
        let update = "update person set email = $2 where person_id = $1";
        tx.execute(Statement::new(update, [int(id.0), text(default)])).await?;
        tx.execute(Statement::new(ADD, [int(id.0), text(old)])).await?;
    }
    Ok(())
}

async fn count(tx: &mut Tx, question: &'static str, id: PersonId) -> Result<i64, StoreError> {
    Ok(tx.row(Statement::new(question, [int(id.0)])).await?.map_or(0, |row| row.int("n")))
}

/// An address belongs to one person.
async fn email_is_free(tx: &mut Tx, id: PersonId, email: &str) -> Result<Result<(), Refused>, StoreError> {
    let question = Statement::new(
        "select 1 as n from person where email = $2 and person_id <> $1 \
         union all select 1 as n from person_email where email = $2 and person_id <> $1",
        [int(id.0), text(email)],
    );
    let is_taken = tx.row(question).await?.is_some();
    Ok(if is_taken { Err(Refused::Conflict(format!("the address {email} belongs to somebody else"))) } else { Ok(()) })
}

async fn entity_exists(tx: &mut Tx, change: &PersonChange) -> Result<Result<(), Refused>, StoreError> {
    let Some(grant) = change.grant else { return Ok(Ok(())) };
    let question = Statement::new("select 1 as n from entity where entity_id = $1", [int(grant.entity.0)]);
    let is_there = tx.row(question).await?.is_some();
    Ok(if is_there { Ok(()) } else { Err(Refused::Absent(format!("there is no entity {}", grant.entity))) })
}

fn person_view(row: &Row) -> PersonView {
    let (name, email) = (row.text("name"), row.text("email"));
    PersonView {
        id: PersonId(row.int("person_id")),
        login: if name.is_empty() { email.clone() } else { name },
        email,
        emails: Vec::new(),
        firstname: row.text("firstname"),
        realname: row.text("realname"),
        phone: row.text("phone"),
        phone2: row.text("phone2"),
        is_active: row.flag("is_active"),
        has_password: row.flag("has_password"),
        profiles: Vec::new(),
    }
}

fn absent(id: PersonId) -> Refused {
    Refused::Absent(format!("there is no user {id}"))
}

fn int(value: i64) -> Value {
    Value::Int(Some(value))
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(Some(value.into()))
}
