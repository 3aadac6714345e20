//! What devices are and say: agents, computers, positions, messages.

use super::{ARRANGED, flag, int, link, option, text, time};
use crate::{
    mdm::rights::{Profile, Rights},
    store::items::{ItemType, Kind},
};

#[rustfmt::skip]
pub static AGENT: ItemType = ItemType {
    name: "PluginFlyvemdmAgent",
    title: "Agent",
    // Only guests make agents, by enrolling.
    rights: Rights { create: None, update: Some(Profile::Operator), ..ARRANGED },
    from: "agent a join fleet f on f.fleet_id = a.fleet_id join entity e on e.entity_id = a.entity_id \
           join computer c on c.computer_id = a.computer_id",
    key: "a.agent_id",
    visible: "a.entity_id in {scope}",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "a.agent_id"),
        text("name", "a.name"),
        text("version", "a.version"),
        link("computers_id", "a.computer_id", "Computer"),
        link("users_id", "coalesce(a.person_id, 0)", "User"),
        flag("wipe", "a.wipe"),
        flag("lock", "a.lock_wish = 'lock'"),
        text("enroll_status", "a.enroll_status"),
        link("entities_id", "a.entity_id", "Entity"),
        link("plugin_flyvemdm_fleets_id", "a.fleet_id", "PluginFlyvemdmFleet"),
        time("last_report", "null"),
        time("last_contact", "a.last_contact"),
        flag("is_online", "a.is_online"),
        text("certificate", "a.certificate"),
        text("mdm_type", "a.mdm_type"),
        flag("has_system_permission", "a.has_system_permission"),
        text("notification_type", "a.notification_type"),
        text("notification_token", "a.notification_token"),
    ],
    options: &[
        option(1, "Name", "name", "a.name", Kind::Text),
        option(2, "ID", "id", "a.agent_id", Kind::Int),
        option(3, "Fleet", "PluginFlyvemdmFleet.name", "f.name", Kind::Text),
        option(4, "Computer", "Computer.id", "a.computer_id", Kind::Int),
        option(5, "Serial number", "Computer.serial", "a.serial", Kind::Text),
        option(6, "User", "User.id", "coalesce(a.person_id, 0)", Kind::Int),
        option(7, "Fleet ID", "PluginFlyvemdmFleet.id", "a.fleet_id", Kind::Int),
        option(8, "Last contact", "last_contact", "a.last_contact", Kind::Time),
        option(10, "Version", "version", "a.version", Kind::Text),
        option(11, "Is online", "is_online", "a.is_online", Kind::Flag),
        option(12, "MDM type", "mdm_type", "a.mdm_type", Kind::Text),
        option(13, "Has system permission", "has_system_permission", "a.has_system_permission", Kind::Flag),
        option(14, "Enroll status", "enroll_status", "a.enroll_status", Kind::Text),
        option(15, "Wipe", "wipe", "a.wipe", Kind::Flag),
        option(16, "Lock", "lock", "a.lock_wish = 'lock'", Kind::Flag),
        option(17, "Entity", "Entity.name", "e.name", Kind::Text),
        option(18, "Applied policy", "PluginFlyvemdmTask.policy",
               "(select string_agg(t.policy, ', ') from task t where t.agent_id = a.agent_id or t.fleet_id = a.fleet_id)", Kind::Text),
        option(19, "Operating system", "Computer.OperatingSystem.name", "c.os_name || ' ' || c.os_version", Kind::Text),
        option(80, "Entity ID", "Entity.id", "a.entity_id", Kind::Int),
    ],
    parents: &[
        ("PluginFlyvemdmFleet", "a.fleet_id"),
        ("Computer", "a.computer_id"),
        ("User", "a.person_id"),
        ("Entity", "a.entity_id"),
    ],
};

#[rustfmt::skip]
pub static COMPUTER: ItemType = ItemType {
    name: "Computer",
    title: "Computer",
    rights: Rights { create: None, update: None, ..ARRANGED },
    from: "computer c join entity e on e.entity_id = c.entity_id left join person p on p.person_id = c.person_id",
    key: "c.computer_id",
    visible: "c.entity_id in {scope}",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "c.computer_id"),
        link("entities_id", "c.entity_id", "Entity"),
        text("name", "c.name"),
        text("serial", "c.serial"),
        text("uuid", "c.uuid"),
        link("users_id", "coalesce(c.person_id, 0)", "User"),
        text("manufacturer", "c.manufacturer"),
        text("model", "c.model"),
        text("operating_system", "c.os_name"),
        text("operating_system_version", "c.os_version"),
        int("is_deleted", "0"),
        int("is_template", "0"),
        time("date_creation", "c.created_at"),
        time("date_mod", "coalesce(c.inventory_at, c.created_at)"),
        time("last_inventory", "c.inventory_at"),
    ],
    options: &[
        option(1, "Name", "name", "c.name", Kind::Text),
        option(2, "ID", "id", "c.computer_id", Kind::Int),
        option(5, "Serial number", "serial", "c.serial", Kind::Text),
        option(19, "Last update", "date_mod", "coalesce(c.inventory_at, c.created_at)", Kind::Time),
        option(23, "Manufacturer", "Manufacturer.name", "c.manufacturer", Kind::Text),
        option(40, "Model", "ComputerModel.name", "c.model", Kind::Text),
        option(45, "Operating system", "OperatingSystem.name", "c.os_name", Kind::Text),
        option(46, "Version of the operating system", "OperatingSystemVersion.name", "c.os_version", Kind::Text),
        option(47, "UUID", "uuid", "c.uuid", Kind::Text),
        option(70, "User", "User.name", "coalesce(nullif(p.name, ''), p.email)", Kind::Text),
        option(80, "Entity", "Entity.name", "e.name", Kind::Text),
        option(121, "Creation date", "date_creation", "c.created_at", Kind::Time),
    ],
    parents: &[("User", "c.person_id"), ("Entity", "c.entity_id")],
};

#[rustfmt::skip]
pub static GEOLOCATION: ItemType = ItemType {
    name: "PluginFlyvemdmGeolocation",
    title: "Geolocation",
    // Only devices say where they are.
    rights: Rights { create: None, update: None, ..ARRANGED },
    from: "geolocation g join computer c on c.computer_id = g.computer_id",
    key: "g.geolocation_id",
    visible: "c.entity_id in {scope}",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "g.geolocation_id"),
        link("computers_id", "g.computer_id", "Computer"),
        text("latitude", "g.latitude"),
        text("longitude", "g.longitude"),
        time("date", "g.at"),
    ],
    options: &[
        option(1, "Computer", "Computer.name", "c.name", Kind::Text),
        option(2, "ID", "id", "g.geolocation_id", Kind::Int),
        option(3, "Computer ID", "Computer.id", "g.computer_id", Kind::Int),
        option(4, "Latitude", "latitude", "g.latitude", Kind::Text),
        option(5, "Longitude", "longitude", "g.longitude", Kind::Text),
        option(6, "Date", "date", "g.at", Kind::Time),
    ],
    parents: &[("Computer", "g.computer_id")],
};

#[rustfmt::skip]
pub static MESSAGE: ItemType = ItemType {
    name: "PluginFlyvemdmMqttlog",
    title: "MQTT log",
    rights: Rights::READ_ONLY,
    from: "message_log m left join agent a on a.agent_id = m.agent_id left join fleet f on f.fleet_id = m.fleet_id",
    key: "m.message_log_id",
    // What outlives its subject is seen by those who see everything.
    visible: "coalesce(a.entity_id, f.entity_id) in {scope}",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "m.message_log_id"),
        time("date", "m.at"),
        text("direction", "m.direction"),
        text("topic", "m.topic"),
        text("message", "m.message"),
        text("itemtype", "case when m.agent_id is not null then 'PluginFlyvemdmAgent' \
                          when m.fleet_id is not null then 'PluginFlyvemdmFleet' end"),
        int("items_id", "coalesce(m.agent_id, m.fleet_id, 0)"),
    ],
    options: &[
        option(1, "Topic", "topic", "m.topic", Kind::Text),
        option(2, "ID", "id", "m.message_log_id", Kind::Int),
        option(3, "Date", "date", "m.at", Kind::Time),
        option(4, "Direction", "direction", "m.direction", Kind::Text),
        option(5, "Message", "message", "m.message", Kind::Text),
        option(6, "Agent", "PluginFlyvemdmAgent.id", "m.agent_id", Kind::Int),
        option(7, "Fleet", "PluginFlyvemdmFleet.id", "m.fleet_id", Kind::Int),
    ],
    parents: &[("PluginFlyvemdmAgent", "m.agent_id"), ("PluginFlyvemdmFleet", "m.fleet_id")],
};
