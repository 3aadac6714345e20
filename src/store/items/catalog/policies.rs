//! What devices must do: policies with their categories, which are constants, and tasks with their statuses, which are rows.

use std::{fmt::Write, sync::LazyLock};

use super::{OPERATED, flag, int, link, option, text, time};
use crate::{
    mdm::{
        policy::{self, CATEGORIES, POLICIES},
        rights::{Profile, Rights},
    },
    store::items::{ItemType, Kind},
};

/// Policies as a table that a question can join: they are constants of the program, not rows.
pub static POLICY_TABLE: LazyLock<String> = LazyLock::new(|| {
    let mut sql = String::new();
    for it in POLICIES {
        let union = if sql.is_empty() { "" } else { " union all " };
        let category = CATEGORIES.iter().find(|category| category.id == it.category);
        let _ = write!(
            sql,
            "{union}select {} as policy_id, {} as symbol, {} as name, {} as group_name, {} as type, {} as type_data, {} as is_unique, \
             {} as category_id, {} as category, {} as default_value, {} as recommended_value, {} as is_system, {} as android_min",
            it.id,
            quoted(it.symbol),
            quoted(it.name),
            quoted(it.group),
            quoted(it.kind.as_str()),
            quoted(&type_data(it.kind)),
            it.is_unique(),
            it.category,
            quoted(&category.map_or(String::new(), complete_name)),
            quoted(it.default),
            quoted(it.recommended),
            it.needs_system_app,
            quoted(it.android_min),
        );
    }
    format!("({sql})")
});

/// The same for their categories.
pub static CATEGORY_TABLE: LazyLock<String> = LazyLock::new(|| {
    let mut sql = String::new();
    for it in CATEGORIES {
        let union = if sql.is_empty() { "" } else { " union all " };
        let (parent, depth) = (it.parent.unwrap_or(0), complete_name(it).matches(" > ").count() + 1);
        let (name, complete) = (quoted(it.name), quoted(&complete_name(it)));
        let _ = write!(
            sql,
            "{union}select {} as category_id, {parent} as parent_id, {name} as name, {complete} as completename, {depth} as depth",
            it.id
        );
    }
    format!("({sql})")
});

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Security > Authentication > Password.
fn complete_name(of: &policy::Category) -> String {
    let above = of.parent.and_then(|parent| CATEGORIES.iter().find(|it| it.id == parent));
    above.map_or(of.name.to_owned(), |above| format!("{} > {}", complete_name(above), of.name))
}

/// What dashboards need to offer values.
fn type_data(kind: policy::Kind) -> String {
    match kind {
        policy::Kind::Int { min } => serde_json::json!({"min": min}).to_string(),
        policy::Kind::Dropdown(keys) => {
            let keys = keys.iter().map(|(key, title)| ((*key).to_owned(), (*title).into()));
            serde_json::Value::Object(keys.collect()).to_string()
        }
        _ => String::new(),
    }
}

#[rustfmt::skip]
pub static POLICY: ItemType = ItemType {
    name: "PluginFlyvemdmPolicy",
    title: "Policy",
    rights: Rights::READ_ONLY,
    from: "{policies} p",
    key: "p.policy_id",
    visible: "",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "p.policy_id"),
        text("name", "p.name"),
        text("group", "p.group_name"),
        text("symbol", "p.symbol"),
        text("type", "p.type"),
        text("type_data", "p.type_data"),
        flag("unicity", "p.is_unique"),
        link("plugin_flyvemdm_policycategories_id", "p.category_id", "PluginFlyvemdmPolicyCategory"),
        text("comment", "''"),
        text("default_value", "p.default_value"),
        text("recommended_value", "p.recommended_value"),
        flag("is_android_system", "p.is_system"),
        text("android_min_version", "p.android_min"),
        text("android_max_version", "'0'"),
        text("apple_min_version", "'0'"),
        text("apple_max_version", "'0'"),
    ],
    options: &[
        option(1, "Name", "name", "p.name", Kind::Text),
        option(2, "ID", "id", "p.policy_id", Kind::Int),
        option(3, "Policy category", "PluginFlyvemdmPolicyCategory.completename", "p.category", Kind::Text),
        option(4, "Type", "type", "p.type", Kind::Text),
        option(5, "Enumeration data", "type_data", "p.type_data", Kind::Text),
        option(6, "Group", "group", "p.group_name", Kind::Text),
        option(7, "Default value", "default_value", "p.default_value", Kind::Text),
        option(8, "Recommended value", "recommended_value", "p.recommended_value", Kind::Text),
        option(9, "Symbol", "symbol", "p.symbol", Kind::Text),
        option(10, "System application only", "is_android_system", "p.is_system", Kind::Flag),
        option(11, "Least Android version", "android_min_version", "p.android_min", Kind::Text),
    ],
    parents: &[("PluginFlyvemdmPolicyCategory", "p.category_id")],
};

#[rustfmt::skip]
pub static CATEGORY: ItemType = ItemType {
    name: "PluginFlyvemdmPolicyCategory",
    title: "Policy category",
    rights: Rights::READ_ONLY,
    from: "{categories} c",
    key: "c.category_id",
    visible: "",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "c.category_id"),
        text("name", "c.name"),
        link("plugin_flyvemdm_policycategories_id", "c.parent_id", "PluginFlyvemdmPolicyCategory"),
        text("completename", "c.completename"),
        text("comment", "''"),
        int("level", "c.depth"),
    ],
    options: &[
        option(1, "Complete name", "completename", "c.completename", Kind::Text),
        option(2, "ID", "id", "c.category_id", Kind::Int),
        option(14, "Name", "name", "c.name", Kind::Text),
    ],
    parents: &[("PluginFlyvemdmPolicyCategory", "c.parent_id")],
};

const APPLIED_TO: &str = "case when t.fleet_id is null then 'PluginFlyvemdmAgent' else 'PluginFlyvemdmFleet' end";
const ITEM: &str = "case when t.file_id is not null then 'PluginFlyvemdmFile' when t.package_id is not null then 'PluginFlyvemdmPackage' end";

#[rustfmt::skip]
pub static TASK: ItemType = ItemType {
    name: "PluginFlyvemdmTask",
    title: "Task",
    rights: OPERATED,
    from: "task t left join fleet f on f.fleet_id = t.fleet_id left join agent a on a.agent_id = t.agent_id \
           left join {policies} p on p.symbol = t.policy",
    key: "t.task_id",
    visible: "coalesce(f.entity_id, a.entity_id) in {scope}",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "t.task_id"),
        text("itemtype_applied", APPLIED_TO),
        int("items_id_applied", "coalesce(t.fleet_id, t.agent_id)"),
        link("plugin_flyvemdm_policies_id", "p.policy_id", "PluginFlyvemdmPolicy"),
        text("value", "t.value"),
        text("itemtype", ITEM),
        int("items_id", "coalesce(t.file_id, t.package_id, 0)"),
        time("date_creation", "t.created_at"),
        time("date_mod", "t.updated_at"),
    ],
    options: &[
        option(1, "Policy", "PluginFlyvemdmPolicy.name", "p.name", Kind::Text),
        option(2, "ID", "id", "t.task_id", Kind::Int),
        option(3, "Applied to", "itemtype_applied", APPLIED_TO, Kind::Text),
        option(4, "Applied to ID", "items_id_applied", "coalesce(t.fleet_id, t.agent_id)", Kind::Int),
        option(5, "Policy ID", "PluginFlyvemdmPolicy.id", "p.policy_id", Kind::Int),
        option(6, "Value", "value", "t.value", Kind::Text),
        option(7, "Item type", "itemtype", ITEM, Kind::Text),
        option(8, "Item ID", "items_id", "coalesce(t.file_id, t.package_id, 0)", Kind::Int),
        option(9, "Symbol", "PluginFlyvemdmPolicy.symbol", "t.policy", Kind::Text),
        option(19, "Last update", "date_mod", "t.updated_at", Kind::Time),
        option(121, "Creation date", "date_creation", "t.created_at", Kind::Time),
    ],
    parents: &[
        ("PluginFlyvemdmFleet", "t.fleet_id"),
        ("PluginFlyvemdmAgent", "t.agent_id"),
        ("PluginFlyvemdmPolicy", "p.policy_id"),
        ("PluginFlyvemdmFile", "t.file_id"),
        ("PluginFlyvemdmPackage", "t.package_id"),
    ],
};

#[rustfmt::skip]
pub static TASK_STATUS: ItemType = ItemType {
    name: "PluginFlyvemdmTaskstatus",
    title: "Task status",
    // Devices say how far they got; nobody else does.
    rights: Rights { read: Profile::Viewer, ..Rights::READ_ONLY },
    from: "task_status s join agent a on a.agent_id = s.agent_id join task t on t.task_id = s.task_id \
           left join {policies} p on p.symbol = t.policy",
    key: "s.task_status_id",
    visible: "a.entity_id in {scope}",
    visible_below: "",
    own: "s.agent_id = {agent}",
    fields: &[
        int("id", "s.task_status_id"),
        text("name", "p.name"),
        time("date_creation", "s.created_at"),
        time("date_mod", "s.updated_at"),
        link("plugin_flyvemdm_agents_id", "s.agent_id", "PluginFlyvemdmAgent"),
        link("plugin_flyvemdm_tasks_id", "s.task_id", "PluginFlyvemdmTask"),
        text("status", "s.status"),
    ],
    options: &[
        option(1, "Policy", "PluginFlyvemdmTask.PluginFlyvemdmPolicy.name", "p.name", Kind::Text),
        option(2, "ID", "id", "s.task_status_id", Kind::Int),
        option(3, "Creation date", "date_creation", "s.created_at", Kind::Time),
        option(4, "Last update", "date_mod", "s.updated_at", Kind::Time),
        option(5, "Agent", "PluginFlyvemdmAgent.id", "s.agent_id", Kind::Int),
        option(6, "Task", "PluginFlyvemdmTask.id", "s.task_id", Kind::Int),
        option(7, "Status", "status", "s.status", Kind::Text),
    ],
    parents: &[("PluginFlyvemdmAgent", "s.agent_id"), ("PluginFlyvemdmTask", "s.task_id")],
};
