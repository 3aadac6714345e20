//! People: what they may do, and their API tokens. Passwords come in and never go out.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Error;
use crate::{
    flows::{
        Flows,
        people::{Introduced, PersonChange, PersonView},
    },
    ids::{EntityId, PersonId},
    mdm::rights::{Grant, Profile},
};

type Here = State<Arc<Flows>>;
type Body<T> = Result<Json<T>, JsonRejection>;

/// A profile on an entity.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    profile: String,
    entity: Option<EntityId>,
    is_recursive: Option<bool>,
}

/// What is said of a person, new or known. What is left out stays.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Said {
    name: Option<String>,
    email: Option<String>,
    emails: Vec<String>,
    firstname: Option<String>,
    realname: Option<String>,
    phone: Option<String>,
    phone2: Option<String>,
    is_active: Option<bool>,
    password: Option<String>,
    give: Option<Given>,
    take: Option<Given>,
}

impl Said {
    fn change(self) -> Result<PersonChange, Error> {
        let grant = |it: &Given| match Profile::parse(&it.profile) {
            Some(profile) => Ok(Grant {
                profile,
                entity: it.entity.unwrap_or(EntityId::ROOT),
                is_recursive: it.is_recursive.unwrap_or(true),
            }),
            None => Err(Error::invalid(format!("there is no profile {}", it.profile))),
        };
        Ok(PersonChange {
            name: self.name,
            firstname: self.firstname,
            realname: self.realname,
            phone: self.phone,
            phone2: self.phone2,
            is_active: self.is_active,
            secret: None,
            emails: self.emails,
            default_email: self.email,
            grant: self.give.as_ref().map(grant).transpose()?,
            revoke: self.take.as_ref().map(grant).transpose()?.map(|it| (it.profile, it.entity)),
        })
    }
}

pub async fn list(State(flows): Here) -> Result<Json<Vec<PersonView>>, Error> {
    Ok(Json(flows.store.people(None).await?))
}

pub async fn show(State(flows): Here, Path(who): Path<String>) -> Result<Json<PersonView>, Error> {
    let id = find(&flows, &who).await?;
    let found = flows.store.people(Some(id)).await?.into_iter().next();
    found.map(Json).ok_or_else(|| absent(&who))
}

pub async fn add(State(flows): Here, body: Body<Said>) -> Result<(StatusCode, Json<PersonView>), Error> {
    let Json(mut said) = body?;
    let (mut name, mut email) = (said.name.take().unwrap_or_default(), said.email.take().unwrap_or_default());
    if email.is_empty() && name.contains('@') {
        email = std::mem::take(&mut name);
    }
    let password = said.password.take();
    let id = flows.add_person(Introduced { name, email, password, change: said.change()? }).await??;
    let Json(made) = show(State(flows), Path(id.to_string())).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub async fn change(State(flows): Here, Path(who): Path<String>, body: Body<Said>) -> Result<Json<PersonView>, Error> {
    let Json(mut said) = body?;
    let id = find(&flows, &who).await?;
    let password = said.password.take();
    flows.change_person(id, said.change()?, password).await??;
    show(State(flows), Path(id.to_string())).await
}

pub async fn remove(State(flows): Here, Path(who): Path<String>) -> Result<Json<Value>, Error> {
    let id = find(&flows, &who).await?;
    flows.remove_person(id).await??;
    Ok(Json(json!({ "id": id, "removed": true })))
}

pub async fn add_token(State(flows): Here, Path(who): Path<String>) -> Result<(StatusCode, Json<Value>), Error> {
    let id = find(&flows, &who).await?;
    let token = flows.person_token(id).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "user_token": *token }))))
}

pub async fn revoke_tokens(State(flows): Here, Path(who): Path<String>) -> Result<Json<Value>, Error> {
    let id = find(&flows, &who).await?;
    Ok(Json(json!({ "id": id, "revoked": flows.store.revoke_person_tokens(id).await? })))
}

async fn find(flows: &Flows, who: &str) -> Result<PersonId, Error> {
    flows.store.find_person(who).await?.ok_or_else(|| absent(who))
}

fn absent(who: &str) -> Error {
    Error::absent(format!("there is no user {who}"))
}
