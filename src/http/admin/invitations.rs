//! Invitations, and the move of everybody from another server.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::Error,
    who::{Who, whose},
};
use crate::{
    flows::{
        Flows,
        invite::{InvitationDetails, InvitationFilter, InvitationView, Invited, Wish},
        invite_many::FileOutcome,
        move_in::{MoveWish, Report},
    },
    ids::{EntityId, InvitationId},
};

type Here = State<Arc<Flows>>;
type Body<T> = Result<Json<T>, JsonRejection>;

#[derive(Deserialize)]
pub struct Wanted {
    entity: Option<EntityId>,
    email: Option<String>,
    status: Option<String>,
}

pub async fn list(
    State(flows): Here,
    who: Who,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<InvitationView>>, Error> {
    let Wanted { entity, email, status } = wanted;
    let email = email.map(|it| it.to_lowercase());
    let mut found = flows.invitations(&InvitationFilter { id: None, entity, email, status }).await?;
    found.retain(|it| who.sees(it.entity));
    Ok(Json(found))
}

pub async fn show(State(flows): Here, Path(id): Path<InvitationId>) -> Result<Json<InvitationDetails>, Error> {
    Ok(Json(flows.invitation(id).await??))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    email: String,
    entity: Option<i64>,
    #[serde(default)]
    firstname: String,
    #[serde(default)]
    lastname: String,
    #[serde(default)]
    phone: String,
    #[serde(default)]
    invited_by: String,
    /// Whether to send a mail, where mail is on.
    mail: Option<bool>,
}

pub async fn invite(
    State(flows): Here,
    who: Who,
    body: Body<NewInvitation>,
) -> Result<(StatusCode, Json<Invited>), Error> {
    let Json(new) = body?;
    let entity = whose(&who, new.entity.map(EntityId))?;
    let wish = Wish {
        email: new.email,
        entity: entity.0,
        firstname: new.firstname,
        lastname: new.lastname,
        phone: new.phone,
        invited_by: new.invited_by,
        is_mailed: new.mail.unwrap_or(true),
    };
    Ok((StatusCode::CREATED, Json(flows.invite(wish).await??)))
}

#[derive(Deserialize)]
pub struct Defaults {
    entity: Option<i64>,
    mail: Option<bool>,
    invited_by: Option<String>,
}

/// 200 with the outcome of each line, failures included; 422 when the file as a whole cannot be read.
pub async fn invite_many(
    State(flows): Here,
    Query(defaults): Query<Defaults>,
    body: Bytes,
) -> Result<Json<FileOutcome>, Error> {
    let wish = Wish {
        entity: defaults.entity.unwrap_or_default(),
        invited_by: defaults.invited_by.unwrap_or_default(),
        is_mailed: defaults.mail.unwrap_or(true),
        ..Wish::default()
    };
    Ok(Json(flows.invite_many(&body, &wish).await??))
}

pub async fn resend(State(flows): Here, Path(id): Path<InvitationId>) -> Result<Json<Value>, Error> {
    flows.resend_invitation(id).await??;
    Ok(Json(json!({ "id": id, "mail": "queued" })))
}

pub async fn remove(State(flows): Here, Path(id): Path<InvitationId>) -> Result<Json<Value>, Error> {
    flows.remove_invitation(id).await??;
    Ok(Json(json!({ "id": id, "removed": true })))
}

pub async fn move_in(State(flows): Here, body: Body<MoveWish>) -> Result<Json<Report>, Error> {
    let Json(wish) = body?;
    Ok(Json(flows.move_in(wish).await??))
}
