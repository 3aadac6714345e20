//! One item, all items, items below an item.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value};

use super::{Asked, answer, object, params, piece, settings};
use crate::{
    http::error::ApiError,
    ids::PersonId,
    mdm::rights::Verb,
    store::items::{ItemType, Purpose, Wanted, item_type, moment},
};

pub async fn one(asked: &Asked<'_>, of: &'static ItemType, id: i64) -> Result<Response, ApiError> {
    // Everybody may look at himself.
    let is_self = of.name == "User" && asked.talk.is(PersonId(id));
    if !is_self {
        asked.must(of, Verb::Read)?;
    }
    let sight = if is_self { asked.sight_of_all() } else { asked.sight(Purpose::Looking) };
    let Some(values) = asked.flows.store.item(of, &sight, id).await? else {
        let is_there = asked.flows.store.item(of, &asked.sight_of_all(), id).await?.is_some();
        return Err(if is_there { ApiError::no_right() } else { ApiError::no_item() });
    };
    let mut members = object(asked.flows, of, values, has_links(asked));
    complete(asked, of, std::slice::from_mut(&mut members)).await?;
    let modified = members.get("date_mod").and_then(Value::as_str).and_then(moment);
    let mut response = answer(StatusCode::OK, &Value::Object(members));
    if let Some(date) = modified.and_then(|it| HeaderValue::try_from(it.http()).ok()) {
        response.headers_mut().insert(header::LAST_MODIFIED, date);
    }
    Ok(response)
}

pub async fn list(asked: &Asked<'_>, of: &'static ItemType) -> Result<Response, ApiError> {
    asked.must(of, Verb::Read)?;
    listed(asked, of, Wanted::default()).await
}

pub async fn list_below(
    asked: &Asked<'_>,
    above: &'static ItemType,
    of: &'static ItemType,
) -> Result<Response, ApiError> {
    asked.must(above, Verb::Read)?;
    asked.must(of, Verb::Read)?;
    let id = asked.id()?.unwrap_or_default();
    let Some((_, column)) = of.parents.iter().find(|it| it.0 == above.name) else {
        return Err(ApiError::bad_request());
    };
    if asked.flows.store.item(above, &asked.sight(Purpose::Looking), id).await?.is_none() {
        return Err(ApiError::no_item());
    }
    listed(asked, of, Wanted { below: Some((*column, id)), ..Wanted::default() }).await
}

async fn listed(asked: &Asked<'_>, of: &'static ItemType, mut wanted: Wanted) -> Result<Response, ApiError> {
    let request = asked.request;
    let window = params::window(request)?;
    wanted.is_descending = params::is_descending(request);
    let sort = request.text("sort");
    if let Some(field) = of.fields.iter().find(|it| it.name == sort) {
        wanted.sort_by(field);
    }
    for (name, text) in params::texts(request, "searchText") {
        let field = of.fields.iter().find(|it| it.name == name).ok_or_else(ApiError::bad_request)?;
        wanted.texts.push((field, text.to_owned()));
    }
    // Nothing is ever in a trash.
    let window = if request.is_on("is_deleted") { crate::store::items::Window { count: 0, ..window } } else { window };
    let page = asked.flows.store.items(of, &asked.sight(Purpose::Looking), &wanted, window).await?;
    let range = params::content_range(window, &page)?;
    let is_whole = i64::try_from(page.rows.len()).is_ok_and(|it| it == page.total) || window.count == 0;
    let has_links = has_links(asked);
    let rows = page.rows.into_iter().map(|values| object(asked.flows, of, values, has_links));
    let mut rows: Vec<_> = rows.collect();
    complete(asked, of, &mut rows).await?;
    Ok(piece(of, &rows.into_iter().map(Value::Object).collect(), &range, is_whole))
}

/// Adds what does not stand in the rows themselves.
async fn complete(asked: &Asked<'_>, of: &ItemType, page: &mut [Map<String, Value>]) -> Result<(), ApiError> {
    if of.name == "PluginFlyvemdmEntityConfig" {
        settings::complete(asked, page).await?;
    }
    if asked.request.is_on("expand_dropdowns") { name_links(asked, of, page).await } else { Ok(()) }
}

/// Puts names in the place of numbers of other items, with one question per member that is one. As in GLPI, 0 stays 0 where it is
/// nothing, and what is gone or has no name is an empty text.
async fn name_links(asked: &Asked<'_>, of: &ItemType, page: &mut [Map<String, Value>]) -> Result<(), ApiError> {
    for field in of.fields {
        let Some(linked) = item_type(field.link) else { continue };
        let number = |value: &Value| value.as_i64().filter(|it| *it != 0 || field.link == "Entity");
        let numbers = page.iter().filter_map(|members| members.get(field.name).and_then(number)).collect();
        let names = asked.flows.store.names(linked, &numbers, asked.flows.clock.now()).await?;
        for value in page.iter_mut().filter_map(|members| members.get_mut(field.name)) {
            if let Some(id) = number(value) {
                *value = names.get(&id).cloned().unwrap_or_default().into();
            }
        }
    }
    Ok(())
}

fn has_links(asked: &Asked<'_>) -> bool {
    !asked.request.params.contains_key("get_hateoas") || asked.request.is_on("get_hateoas")
}
