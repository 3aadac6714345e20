//! Users: what administrators change, and what everybody may change about himself (spec/http.md §6.4).

use serde_json::Value;

use super::{
    Asked,
    change::{is_on, message_of, opt_text, text},
    write::{Input, Outcome},
};
use crate::{
    flows::{
        people::{Introduced, PersonChange},
        session::Speaker,
    },
    http::{agents::number, error::ApiError},
    ids::{EntityId, PersonId},
    mdm::rights::{Grant, Profile},
    store::items::ItemType,
};

/// What everybody may change about himself, by his device or an invitation too.
const OWN: [&str; 5] = ["id", "firstname", "realname", "phone", "phone2"];
/// What people may besides who work here: mail that goes to an address opens doors, and a phone gets into wrong hands.
const OWN_OF_STAFF: [&str; 2] = ["_useremails", "_default_email"];
const NO_RIGHT: &str = "You don't have permission to perform this action.";

pub async fn create(asked: &Asked<'_>, entity: EntityId, input: &Input) -> Outcome<i64> {
    let mut change = match change_of(input) {
        Ok(change) => change,
        Err(message) => return Ok(Err(message)),
    };
    change.grant = match grant_of(asked, entity, input).await? {
        Ok(grant) => Some(grant),
        Err(message) => return Ok(Err(message)),
    };
    let (mut name, mut email) = (text(input, "name"), change.default_email.take().unwrap_or_default());
    if email.is_empty() && !change.emails.is_empty() {
        email = change.emails.remove(0);
    }
    if name.contains('@') && (email.is_empty() || email.eq_ignore_ascii_case(&name)) {
        email = std::mem::take(&mut name);
    }
    change.name = None;
    change.emails.retain(|it| !it.eq_ignore_ascii_case(&email));
    let new = Introduced { name, email, password: opt_text(input, "password"), change };
    message_of(asked.flows.add_person(new).await?.map(|it| it.0))
}

/// By an administrator. Whoever also works elsewhere is changed by those who see all of it.
pub async fn change(asked: &Asked<'_>, id: PersonId, input: &Input) -> Outcome<String> {
    if !asked.flows.store.person_is_within(id, &asked.talk.scope).await? {
        return Ok(Err(NO_RIGHT.into()));
    }
    let mut change = match change_of(input) {
        Ok(change) => change,
        Err(message) => return Ok(Err(message)),
    };
    change.name = opt_text(input, "name").map(|name| if name.contains('@') { String::new() } else { name });
    if input.contains_key("_profiles_id") {
        change.grant = match grant_of(asked, asked.talk.entity, input).await? {
            Ok(grant) => Some(grant),
            Err(message) => return Ok(Err(message)),
        };
    }
    let password = opt_text(input, "password").filter(|it| !it.is_empty());
    message_of(asked.flows.change_person(id, change, password).await?.map(|()| String::new()))
}

pub async fn remove(asked: &Asked<'_>, id: PersonId) -> Outcome<()> {
    if asked.talk.is(id) || !asked.flows.store.person_is_within(id, &asked.talk.scope).await? {
        return Ok(Err(NO_RIGHT.into()));
    }
    message_of(asked.flows.remove_person(id).await?)
}

/// Whether this is the speaker, or the person who enrolled the speaking agent.
pub async fn is_self(asked: &Asked<'_>, of: &ItemType, id: i64) -> Result<bool, ApiError> {
    if of.name != "User" {
        return Ok(false);
    }
    Ok(match asked.talk.speaker {
        Speaker::Person(person) | Speaker::Invited(person, _) => person.0 == id,
        Speaker::Agent(agent) => {
            let agent = asked.flows.agent(agent).await?;
            agent.and_then(|it| it.person).is_some_and(|person| person.0 == id)
        }
    })
}

pub async fn change_self(asked: &Asked<'_>, id: PersonId, input: &Input) -> Outcome<String> {
    let is_staff = asked.talk.is(id) && asked.talk.role.is_staff();
    let may_change = |name: &str| OWN.contains(&name) || is_staff && OWN_OF_STAFF.contains(&name);
    if !input.keys().all(|name| may_change(name)) {
        return Err(ApiError::no_right());
    }
    match change_of(input) {
        Ok(change) => message_of(asked.flows.change_person(id, change, None).await?.map(|()| String::new())),
        Err(message) => Ok(Err(message)),
    }
}

/// Names, phones and addresses. `_default_email` is a key of `_useremails`, or an address.
fn change_of(input: &Input) -> Result<PersonChange, String> {
    let addresses: Vec<(String, String)> = match input.get("_useremails") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![("0".into(), one.clone())],
        Some(Value::Array(many)) => (0_usize..)
            .zip(many)
            .map(|(at, it)| Some((at.to_string(), it.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .ok_or("Invalid data")?,
        Some(Value::Object(many)) => many
            .iter()
            .map(|(key, it)| Some((key.clone(), it.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .ok_or("Invalid data")?,
        Some(_) => return Err("Invalid data".into()),
    };
    let default = match opt_text(input, "_default_email").filter(|it| !it.is_empty()) {
        None => None,
        Some(address) if address.contains('@') => Some(address),
        Some(key) => {
            let found =
                addresses.iter().find(|it| it.0 == key).ok_or("The default e-mail address is not in the list")?;
            Some(found.1.clone())
        }
    };
    Ok(PersonChange {
        firstname: opt_text(input, "firstname"),
        realname: opt_text(input, "realname"),
        phone: opt_text(input, "phone"),
        phone2: opt_text(input, "phone2"),
        is_active: input.get("is_active").map(|it| is_on(Some(it))),
        emails: addresses.into_iter().map(|it| it.1).filter(|it| !it.trim().is_empty()).collect(),
        default_email: default,
        ..PersonChange::default()
    })
}

/// The profile that a person is given: a guest's unless another one is named.
async fn grant_of(asked: &Asked<'_>, entity: EntityId, input: &Input) -> Outcome<Grant> {
    let profile = match input.get("_profiles_id") {
        None => Profile::Guest,
        Some(given) => match number(Some(given)).and_then(Profile::numbered) {
            Some(profile) => profile,
            None => return Ok(Err("Invalid data".into())),
        },
    };
    let entity = number(input.get("_entities_id")).map_or(entity, EntityId);
    let is_recursive = is_on(input.get("_is_recursive"));
    // Nobody gives what he does not have.
    let good: Vec<Grant> = asked.talk.grants_of(asked.talk.role);
    let good: Vec<Grant> = good.into_iter().filter(|it| !is_recursive || it.is_recursive).collect();
    let scope = crate::mdm::rights::Scope::of(&good, None);
    if !asked.flows.store.entity_is_within(entity, &scope).await? {
        return Ok(Err(NO_RIGHT.into()));
    }
    Ok(Ok(Grant { profile, entity, is_recursive }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_read_in_all_shapes() {
        fn check(input: Value, emails: &[&str], default: Result<Option<&str>, &str>) {
            let read = change_of(input.as_object().unwrap());
            assert_eq!(read.as_ref().map(|it| it.default_email.as_deref()).map_err(String::as_str), default, "{input}");
            if let Ok(read) = read {
                assert_eq!(read.emails, emails, "{input}");
            }
        }
        check(
            json!({"_useremails": {"0": "a@b", "1": "c@d"}, "_default_email": "1"}),
            &["a@b", "c@d"],
            Ok(Some("c@d")),
        );
        check(json!({"_useremails": ["a@b", ""], "_default_email": 0}), &["a@b"], Ok(Some("a@b")));
        check(json!({"_useremails": "a@b"}), &["a@b"], Ok(None));
        check(json!({"_default_email": "x@y"}), &[], Ok(Some("x@y")));
        check(json!({"_default_email": "7"}), &[], Err("The default e-mail address is not in the list"));
        check(json!({"_useremails": 7}), &[], Err("Invalid data"));
        check(json!({"_useremails": {"0": 1}}), &[], Err("Invalid data"));
        check(json!({}), &[], Ok(None));
    }
}
