//! Invitations: made, sent again, taken back (spec/admin.md §3). Their tokens are never shown here.

use serde_json::Value;

use super::{
    Asked,
    change::{message_of, opt_text},
    write::{Input, Outcome},
};
use crate::{
    flows::invite::Wish,
    http::{agents::number, error::ApiError},
    ids::{EntityId, InvitationId, PersonId},
    store::items::{Purpose, item_type},
};

/// For a person that is known, or for an address: one text, or the only member of an object or a list.
pub async fn create(asked: &Asked<'_>, entity: EntityId, input: &Input) -> Outcome<i64> {
    let address = match number(input.get("users_id")) {
        Some(id) => match person_in_sight(asked, id).await? {
            Some(email) => Some(email),
            None => return Ok(Err("Invalid data".into())),
        },
        None => only_text(input.get("_useremails")),
    };
    let Some(email) = address else { return Ok(Err("Invalid data".into())) };
    let invited_by = asked.flows.profile(asked.talk.speaker).await?.name;
    let wish = Wish { email, entity: entity.0, invited_by, is_mailed: true, ..Wish::default() };
    message_of(asked.flows.invite(wish).await?.map(|it| it.invitation_id.0))
}

/// The only wish there is: the same mail again.
pub async fn change(asked: &Asked<'_>, id: InvitationId, input: &Input) -> Outcome<String> {
    let is_wanted =
        opt_text(input, "_notify").is_some_and(|it| it != "0") || input.get("_notify") == Some(&Value::Bool(true));
    if !is_wanted {
        return Ok(Ok(String::new()));
    }
    message_of(asked.flows.resend_invitation(id).await?.map(|()| String::new()))
}

/// The address of a person whom the speaker sees. An invitation makes its person seen, so a number alone must not be enough for one.
async fn person_in_sight(asked: &Asked<'_>, id: i64) -> Result<Option<String>, ApiError> {
    let people = item_type("User").ok_or_else(ApiError::no_item)?;
    if asked.flows.store.item(people, &asked.sight(Purpose::Looking), id).await?.is_none() {
        return Ok(None);
    }
    Ok(asked.flows.store.people(Some(PersonId(id))).await?.pop().map(|it| it.email))
}

fn only_text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Array(many) if many.len() == 1 => only_text(many.first()),
        Value::Object(many) if many.len() == 1 => only_text(many.values().next()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_comes_in_many_shapes() {
        let check =
            |value: Value, expected: Option<&str>| assert_eq!(only_text(Some(&value)).as_deref(), expected, "{value}");
        check(json!("a@b"), Some("a@b"));
        check(json!(["a@b"]), Some("a@b"));
        check(json!({"-1": "a@b"}), Some("a@b"));
        check(json!(["a@b", "c@d"]), None);
        check(json!([]), None);
        check(json!(7), None);
        assert_eq!(only_text(None), None);
    }
}
