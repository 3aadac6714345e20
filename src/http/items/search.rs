//! GLPI's search: columns and criteria by the numbers of search options.

use axum::{http::StatusCode, response::Response};
use serde_json::{Map, Value, json};

use super::{Asked, answer, params, piece};
use crate::{
    http::error::ApiError,
    mdm::rights::Verb,
    store::items::{Comparison, ItemType, Kind, Purpose, Wanted},
};

pub async fn search(asked: &Asked<'_>, of: &'static ItemType) -> Result<Response, ApiError> {
    asked.must(of, Verb::Read)?;
    let request = asked.request;
    let window = params::window(request)?;
    let shown = params::columns(request, of)?;
    let mut wanted = Wanted {
        criteria: params::criteria(request, of)?,
        is_descending: params::is_descending(request),
        ..Wanted::default()
    };
    let sort = request.text("sort").parse().ok().and_then(|number| of.option(number));
    let sort = sort.or_else(|| shown.first().copied());
    if let Some(option) = sort {
        wanted.sort_by_option(option);
    }
    let page = asked.flows.store.search(of, &asked.sight(Purpose::Looking), &wanted, window, &shown).await?;
    let range = params::content_range(window, &page)?;
    let has_names = request.params.contains_key("uid_cols");
    let name = |at: usize| match has_names {
        true => format!("{}.{}", of.name, shown[at].uid),
        false => shown[at].number.to_string(),
    };
    let row = |values: Vec<Value>| -> Map<String, Value> {
        values.into_iter().enumerate().map(|(at, value)| (name(at), value)).collect()
    };
    let count = page.rows.len();
    let mut body = json!({
        "totalcount": page.total,
        "count": count,
        "sort": sort.map_or(1, |it| it.number),
        "order": if wanted.is_descending { "DESC" } else { "ASC" },
        "content-range": range,
    });
    if count > 0 {
        let id_at = shown.iter().position(|it| it.number == 2);
        body["data"] = if request.is_on("withindexes")
            && let Some(id_at) = id_at
        {
            let keyed = page.rows.into_iter().map(|values| (values[id_at].to_string(), Value::Object(row(values))));
            Value::Object(keyed.collect())
        } else {
            page.rows.into_iter().map(|values| Value::Object(row(values))).collect()
        };
    }
    let is_whole = i64::try_from(count).is_ok_and(|it| it == page.total);
    Ok(piece(of, &body, &range, is_whole))
}

/// What can be searched for, and under which numbers.
pub fn list_options(asked: &Asked<'_>, of: &'static ItemType) -> Result<Response, ApiError> {
    asked.must(of, Verb::Read)?;
    let mut body = Map::new();
    body.insert("common".into(), json!({"name": of.title}));
    for option in of.options {
        let (table, field) = option.uid.rsplit_once('.').unwrap_or((of.name, option.uid));
        let datatype = match option.kind {
            Kind::Int => "number",
            Kind::Flag => "bool",
            Kind::Text => "string",
            Kind::Time => "datetime",
        };
        let mut searchtypes = Comparison::of(option.kind).to_vec();
        if option.is_tree() {
            searchtypes.extend(["under", "notunder"]);
        }
        let described = json!({
            "name": option.title,
            "table": table_of(table.rsplit('.').next().unwrap_or(table)),
            "field": field,
            "datatype": datatype,
            "available_searchtypes": searchtypes,
            "uid": format!("{}.{}", of.name, option.uid),
        });
        body.insert(option.number.to_string(), described);
    }
    Ok(answer(StatusCode::OK, &Value::Object(body)))
}

/// GLPI's name of the table, as far as dashboards look at it.
fn table_of(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("pluginflyvemdm") {
        Some(rest) => format!("glpi_plugin_flyvemdm_{}", plural(rest)),
        None => format!("glpi_{}", plural(&name)),
    }
}

fn plural(name: &str) -> String {
    match name.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if name.ends_with('s') => format!("{name}es"),
        None => format!("{name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_names_of_glpi() {
        let check = |name: &str, expected: &str| assert_eq!(table_of(name), expected);
        check("PluginFlyvemdmAgent", "glpi_plugin_flyvemdm_agents");
        check("PluginFlyvemdmPolicy", "glpi_plugin_flyvemdm_policies");
        check("PluginFlyvemdmTaskstatus", "glpi_plugin_flyvemdm_taskstatuses");
        check("Entity", "glpi_entities");
        check("User", "glpi_users");
    }
}
