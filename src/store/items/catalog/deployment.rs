//! What devices are given: fleets, files, applications, paths.

use super::{ARRANGED, OPERATED, flag, int, link, option, text, time};
use crate::store::{
    administer::{FLEET_FROM_BELOW, FLEET_WITHIN},
    items::{ItemType, Kind},
};

#[rustfmt::skip]
pub static FLEET: ItemType = ItemType {
    name: "PluginFlyvemdmFleet",
    title: "Fleet",
    rights: ARRANGED,
    from: "fleet f join entity e on e.entity_id = f.entity_id",
    key: "f.fleet_id",
    visible: FLEET_WITHIN,
    visible_below: FLEET_FROM_BELOW,
    own: "",
    fields: &[
        int("id", "f.fleet_id"),
        text("name", "f.name"),
        link("entities_id", "f.entity_id", "Entity"),
        flag("is_recursive", "f.is_recursive"),
        flag("is_default", "f.is_default"),
    ],
    options: &[
        option(1, "Name", "name", "f.name", Kind::Text),
        option(2, "ID", "id", "f.fleet_id", Kind::Int),
        option(3, "Not managed", "is_default", "f.is_default", Kind::Flag),
        option(4, "Agents", "agents", "(select count(*) from agent a where a.fleet_id = f.fleet_id)", Kind::Int),
        option(80, "Entity", "Entity.name", "e.name", Kind::Text),
        option(86, "Sub-entities", "is_recursive", "f.is_recursive", Kind::Flag),
    ],
    parents: &[("Entity", "f.entity_id")],
};

#[rustfmt::skip]
pub static FILE: ItemType = ItemType {
    name: "PluginFlyvemdmFile",
    title: "File",
    rights: OPERATED,
    from: "file x join entity e on e.entity_id = x.entity_id join blob b on b.blob_id = x.blob_id",
    key: "x.file_id",
    visible: "x.entity_id in {scope}",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "x.file_id"),
        text("name", "x.name"),
        text("source", "cast(x.entity_id as text) || '/' || x.blob_id || '_' || x.name"),
        text("comment", "x.comment"),
        link("entities_id", "x.entity_id", "Entity"),
        int("version", "x.version"),
        int("filesize", "b.size_bytes"),
        text("mime_type", "x.mime_type"),
        time("date_creation", "x.created_at"),
        time("date_mod", "x.updated_at"),
    ],
    options: &[
        option(1, "Name", "name", "x.name", Kind::Text),
        option(2, "ID", "id", "x.file_id", Kind::Int),
        option(3, "Source", "source", "cast(x.entity_id as text) || '/' || x.blob_id || '_' || x.name", Kind::Text),
        option(4, "Version", "version", "x.version", Kind::Int),
        option(5, "Comment", "comment", "x.comment", Kind::Text),
        option(6, "Size", "filesize", "b.size_bytes", Kind::Int),
        option(19, "Last update", "date_mod", "x.updated_at", Kind::Time),
        option(80, "Entity", "Entity.name", "e.name", Kind::Text),
    ],
    parents: &[("Entity", "x.entity_id")],
};

#[rustfmt::skip]
pub static PACKAGE: ItemType = ItemType {
    name: "PluginFlyvemdmPackage",
    title: "Package",
    rights: OPERATED,
    from: "package x join entity e on e.entity_id = x.entity_id join blob b on b.blob_id = x.blob_id",
    key: "x.package_id",
    visible: "x.entity_id in {scope}",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "x.package_id"),
        text("name", "x.name"),
        text("package_name", "x.package_name"),
        text("alias", "x.alias"),
        text("version", "x.version"),
        text("version_code", "x.version_code"),
        text("icon", "x.icon"),
        text("filename", "'flyvemdm/package/' || cast(x.entity_id as text) || '/' || x.blob_id || '_' || x.dl_filename"),
        link("entities_id", "x.entity_id", "Entity"),
        text("dl_filename", "x.dl_filename"),
        text("parse_status", "x.parse_status"),
        int("filesize", "b.size_bytes"),
        text("mime_type", "case when lower(x.dl_filename) like '%.apk' then 'application/vnd.android.package-archive' \
                           else 'application/octet-stream' end"),
        time("date_creation", "x.created_at"),
        time("date_mod", "x.updated_at"),
    ],
    options: &[
        option(1, "Name", "name", "x.name", Kind::Text),
        option(2, "ID", "id", "x.package_id", Kind::Int),
        option(3, "Alias", "alias", "x.alias", Kind::Text),
        option(4, "Version", "version", "x.version", Kind::Text),
        option(5, "Icon", "icon", "x.icon", Kind::Text),
        option(6, "Package name", "package_name", "x.package_name", Kind::Text),
        option(7, "Version code", "version_code", "x.version_code", Kind::Text),
        option(8, "Parsing", "parse_status", "x.parse_status", Kind::Text),
        option(9, "File", "dl_filename", "x.dl_filename", Kind::Text),
        option(10, "Size", "filesize", "b.size_bytes", Kind::Int),
        option(19, "Last update", "date_mod", "x.updated_at", Kind::Time),
        option(80, "Entity", "Entity.name", "e.name", Kind::Text),
    ],
    parents: &[("Entity", "x.entity_id")],
};

#[rustfmt::skip]
pub static PATH: ItemType = ItemType {
    name: "PluginFlyvemdmWellKnownPath",
    title: "Well-known path",
    rights: ARRANGED,
    from: "well_known_path w",
    key: "w.well_known_path_id",
    visible: "",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "w.well_known_path_id"),
        text("name", "w.name"),
        text("comment", "w.comment"),
        flag("is_default", "w.is_default"),
    ],
    options: &[
        option(1, "Name", "name", "w.name", Kind::Text),
        option(2, "ID", "id", "w.well_known_path_id", Kind::Int),
        option(3, "Comment", "comment", "w.comment", Kind::Text),
        option(4, "Default", "is_default", "w.is_default", Kind::Flag),
    ],
    parents: &[],
};
