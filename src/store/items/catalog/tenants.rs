//! Tenants and people: entities with their settings, users, invitations.

use super::{ARRANGED, OPERATED, flag, int, link, option, text, time};
use crate::{
    mdm::rights::Rights,
    store::items::{ItemType, Kind},
};

#[rustfmt::skip]
pub static ENTITY: ItemType = ItemType {
    name: "Entity",
    title: "Entity",
    rights: ARRANGED,
    from: "(with recursive tree (entity_id, parent_id, name, completename, depth, created_at) as \
             (select entity_id, parent_id, name, name, 1, created_at from entity where parent_id is null union all \
              select s.entity_id, s.parent_id, s.name, t.completename || ' > ' || s.name, t.depth + 1, s.created_at \
              from entity s join tree t on s.parent_id = t.entity_id) \
           select * from tree) e",
    key: "e.entity_id",
    visible: "e.entity_id in {scope}",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "e.entity_id"),
        text("name", "e.name"),
        link("entities_id", "coalesce(e.parent_id, -1)", "Entity"),
        text("completename", "e.completename"),
        int("level", "e.depth"),
        time("date_creation", "e.created_at"),
    ],
    options: &[
        option(1, "Complete name", "completename", "e.completename", Kind::Text),
        option(2, "ID", "id", "e.entity_id", Kind::Int),
        option(14, "Name", "name", "e.name", Kind::Text),
        option(80, "Parent", "Entity.id", "coalesce(e.parent_id, -1)", Kind::Int),
        option(121, "Creation date", "date_creation", "e.created_at", Kind::Time),
    ],
    parents: &[("Entity", "e.parent_id")],
};

#[rustfmt::skip]
pub static SETTINGS: ItemType = ItemType {
    name: "PluginFlyvemdmEntityConfig",
    title: "Settings of an entity",
    rights: Rights { create: None, delete: None, ..ARRANGED },
    from: "entity e",
    key: "e.entity_id",
    visible: "e.entity_id in {scope}",
    visible_below: "",
    own: "true",
    fields: &[
        int("id", "e.entity_id"),
        link("entities_id", "e.entity_id", "Entity"),
        text("support_name", "e.support_name"),
        text("support_phone", "e.support_phone"),
        text("support_website", "e.support_website"),
        text("support_email", "e.support_email"),
        text("support_address", "e.support_address"),
        text("download_url", "e.download_url"),
        text("agent_token_life", "'P' || cast(e.token_life_days as text) || 'D'"),
        int("device_limit", "e.device_limit"),
        int("managed", "1"),
    ],
    options: &[
        option(1, "Entity", "Entity.name", "e.name", Kind::Text),
        option(2, "ID", "id", "e.entity_id", Kind::Int),
        option(3, "Support name", "support_name", "e.support_name", Kind::Text),
        option(4, "Support phone", "support_phone", "e.support_phone", Kind::Text),
        option(5, "Support website", "support_website", "e.support_website", Kind::Text),
        option(6, "Support e-mail", "support_email", "e.support_email", Kind::Text),
        option(7, "Support address", "support_address", "e.support_address", Kind::Text),
        option(8, "Download URL", "download_url", "e.download_url", Kind::Text),
        option(9, "Days that an invitation is valid", "agent_token_life", "e.token_life_days", Kind::Int),
        option(10, "Device limit", "device_limit", "e.device_limit", Kind::Int),
    ],
    parents: &[("Entity", "e.entity_id")],
};

/// Whoever has a profile there, or was invited there.
const OF_PERSON: &str = "exists (select 1 from person_profile g where g.person_id = p.person_id and g.entity_id in {scope}) \
     or exists (select 1 from invitation i where i.person_id = p.person_id and i.entity_id in {scope})";

#[rustfmt::skip]
pub static PERSON: ItemType = ItemType {
    name: "User",
    title: "User",
    rights: ARRANGED,
    from: "person p",
    key: "p.person_id",
    visible: OF_PERSON,
    visible_below: "",
    own: "",
    fields: &[
        int("id", "p.person_id"),
        text("name", "coalesce(nullif(p.name, ''), p.email)"),
        text("realname", "p.realname"),
        text("firstname", "p.firstname"),
        text("phone", "p.phone"),
        text("phone2", "p.phone2"),
        flag("is_active", "p.is_active"),
        int("is_deleted", "0"),
        int("entities_id", "0"),
        text("_default_email", "p.email"),
        time("date_creation", "p.created_at"),
    ],
    options: &[
        option(1, "Login", "name", "coalesce(nullif(p.name, ''), p.email)", Kind::Text),
        option(2, "ID", "id", "p.person_id", Kind::Int),
        option(5, "E-mails", "UserEmail.email",
               "p.email || coalesce((select ', ' || string_agg(m.email, ', ') from person_email m where m.person_id = p.person_id), '')",
               Kind::Text),
        option(6, "Phone", "phone", "p.phone", Kind::Text),
        option(8, "Active", "is_active", "p.is_active", Kind::Flag),
        option(9, "First name", "firstname", "p.firstname", Kind::Text),
        option(10, "Phone 2", "phone2", "p.phone2", Kind::Text),
        option(20, "Profiles", "Profile_User.Profile.name",
               "(select string_agg(g.profile, ', ') from person_profile g where g.person_id = p.person_id)", Kind::Text),
        option(34, "Last name", "realname", "p.realname", Kind::Text),
        option(121, "Creation date", "date_creation", "p.created_at", Kind::Time),
    ],
    parents: &[],
};

#[rustfmt::skip]
pub static EMAIL: ItemType = ItemType {
    name: "UserEmail",
    title: "E-mail address",
    // They are changed with their user.
    rights: Rights::READ_ONLY,
    // Addresses have no numbers of their own: the n-th of a person has one that is made of both, the default one first.
    from: "(select person_id, email, is_default, \
             person_id * 100 + row_number() over (partition by person_id order by is_default desc, email) as email_id from \
             (select person_id, email, true as is_default from person union all \
              select person_id, email, false from person_email) each_one) m join person p on p.person_id = m.person_id",
    key: "m.email_id",
    visible: OF_PERSON,
    visible_below: "",
    own: "",
    fields: &[
        int("id", "m.email_id"),
        link("users_id", "m.person_id", "User"),
        flag("is_default", "m.is_default"),
        int("is_dynamic", "0"),
        text("email", "m.email"),
    ],
    options: &[
        option(1, "E-mail", "email", "m.email", Kind::Text),
        option(2, "ID", "id", "m.email_id", Kind::Int),
        option(3, "Default", "is_default", "m.is_default", Kind::Flag),
        option(4, "User", "User.name", "coalesce(nullif(p.name, ''), p.email)", Kind::Text),
    ],
    parents: &[("User", "m.person_id")],
};

/// What `status` says: "expired" is computed.
const STATUS: &str = "case when i.status = 'pending' and i.expires_at <= {now} then 'expired' else i.status end";

#[rustfmt::skip]
pub static INVITATION: ItemType = ItemType {
    name: "PluginFlyvemdmInvitation",
    title: "Invitation",
    rights: OPERATED,
    from: "invitation i join person p on p.person_id = i.person_id join entity e on e.entity_id = i.entity_id",
    key: "i.invitation_id",
    visible: "i.entity_id in {scope}",
    visible_below: "",
    own: "",
    // The token is stored hashed; nobody can be shown it again.
    fields: &[
        int("id", "i.invitation_id"),
        text("name", "i.name"),
        link("users_id", "i.person_id", "User"),
        link("entities_id", "i.entity_id", "Entity"),
        int("documents_id", "0"),
        text("status", STATUS),
        time("expiration_date", "i.expires_at"),
        time("date_creation", "i.created_at"),
        text("mail_state", "i.mail_state"),
        text("mail_error", "i.mail_error"),
    ],
    options: &[
        option(1, "User", "User.name", "coalesce(nullif(p.name, ''), p.email)", Kind::Text),
        option(2, "ID", "id", "i.invitation_id", Kind::Int),
        option(3, "Status", "status", STATUS, Kind::Text),
        option(4, "Expiration date", "expiration_date", "i.expires_at", Kind::Time),
        option(5, "Mail", "mail_state", "i.mail_state", Kind::Text),
        option(6, "User ID", "User.id", "i.person_id", Kind::Int),
        option(80, "Entity", "Entity.name", "e.name", Kind::Text),
        option(121, "Creation date", "date_creation", "i.created_at", Kind::Time),
    ],
    parents: &[("User", "i.person_id"), ("Entity", "i.entity_id")],
};

#[rustfmt::skip]
pub static INVITATION_LOG: ItemType = ItemType {
    name: "PluginFlyvemdmInvitationlog",
    title: "Invitation log",
    rights: Rights::READ_ONLY,
    from: "invitation_log l join invitation i on i.invitation_id = l.invitation_id join person p on p.person_id = i.person_id",
    key: "l.invitation_log_id",
    visible: "i.entity_id in {scope}",
    visible_below: "",
    own: "",
    fields: &[
        int("id", "l.invitation_log_id"),
        link("plugin_flyvemdm_invitations_id", "l.invitation_id", "PluginFlyvemdmInvitation"),
        time("date_creation", "l.created_at"),
        text("event", "l.event"),
    ],
    options: &[
        option(1, "User", "PluginFlyvemdmInvitation.User.name", "coalesce(nullif(p.name, ''), p.email)", Kind::Text),
        option(2, "ID", "id", "l.invitation_log_id", Kind::Int),
        option(3, "Invitation", "PluginFlyvemdmInvitation.id", "l.invitation_id", Kind::Int),
        option(4, "Date", "date_creation", "l.created_at", Kind::Time),
        option(5, "Event", "event", "l.event", Kind::Text),
    ],
    parents: &[("PluginFlyvemdmInvitation", "l.invitation_id")],
};
