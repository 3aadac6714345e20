//! Everything of a Flyve database that is taken over, table by table. Positions are not here: there may be millions of them.

use super::source::{Line, Source, SourceError};

macro_rules! tables {
    ($($(#[$doc:meta])* $field:ident: $table:literal [$($column:literal),+];)+) => {
        /// The rows, as they were read.
        #[derive(Debug, Clone, Default)]
        pub struct Tables {
            $($(#[$doc])* pub $field: Vec<Line>,)+
            /// Number of the profile that invited people have.
            pub guest_profile: i64,
            /// Number of the profile that the accounts of agents have.
            pub agent_profile: i64,
        }

        impl Tables {
            /// Reads all of them.
            ///
            /// # Errors
            /// The other database failed.
            pub async fn read(source: &mut Source) -> Result<Tables, SourceError> {
                let guest_profile = number(source.setting("guest_profiles_id").await?);
                let agent_profile = number(source.setting("agent_profiles_id").await?);
                Ok(Tables { $($field: source.table($table, &[$($column),+]).await?,)+ guest_profile, agent_profile })
            }
        }
    };
}

tables! {
    /// Tenants.
    entities: "glpi_entities" ["id", "name", "entities_id"];
    /// Their settings.
    settings: "glpi_plugin_flyvemdm_entityconfigs" ["id", "agent_token_life", "support_name", "support_phone",
        "support_website", "support_email", "support_address", "download_url", "device_limit"];
    /// People, and the accounts of agents.
    users: "glpi_users" ["id", "name", "realname", "firstname", "phone", "phone2", "is_active", "is_deleted", "api_token",
        "password", "authtype"];
    /// Their addresses.
    emails: "glpi_useremails" ["id", "users_id", "email", "is_default"];
    /// What they may do where.
    profiles: "glpi_profiles_users" ["id", "users_id", "profiles_id", "entities_id", "is_recursive"];
    /// What profiles allow.
    rights: "glpi_profilerights" ["id", "profiles_id", "name", "rights"];
    /// Inventory records.
    computers: "glpi_computers" ["id", "entities_id", "name", "serial", "uuid", "users_id", "computermodels_id",
        "manufacturers_id", "@date_creation"];
    /// Names of models.
    models: "glpi_computermodels" ["id", "name"];
    /// Names of manufacturers.
    manufacturers: "glpi_manufacturers" ["id", "name"];
    /// Groups of agents.
    fleets: "glpi_plugin_flyvemdm_fleets" ["id", "name", "entities_id", "is_recursive", "is_default"];
    /// Enrollments.
    agents: "glpi_plugin_flyvemdm_agents" ["id", "name", "version", "computers_id", "users_id", "wipe", "lock",
        "enroll_status", "entities_id", "plugin_flyvemdm_fleets_id", "@last_contact", "mdm_type", "has_system_permission",
        "notification_type", "notification_token", "certificate"];
    /// MQTT accounts.
    mqtt_users: "glpi_plugin_flyvemdm_mqttusers" ["id", "user", "password", "enabled"];
    /// What they may read and write.
    mqtt_acls: "glpi_plugin_flyvemdm_mqttacls" ["id", "plugin_flyvemdm_mqttusers_id", "topic", "access_level"];
    /// Names of policies.
    policies: "glpi_plugin_flyvemdm_policies" ["id", "symbol"];
    /// Policies applied.
    tasks: "glpi_plugin_flyvemdm_tasks" ["id", "itemtype_applied", "items_id_applied", "plugin_flyvemdm_policies_id", "value",
        "itemtype", "items_id"];
    /// How far they got.
    statuses: "glpi_plugin_flyvemdm_taskstatuses" ["id", "plugin_flyvemdm_agents_id", "plugin_flyvemdm_tasks_id", "status",
        "@date_mod"];
    /// Files for devices.
    files: "glpi_plugin_flyvemdm_files" ["id", "name", "source", "comment", "entities_id", "version"];
    /// Applications for devices.
    packages: "glpi_plugin_flyvemdm_packages" ["id", "name", "package_name", "alias", "version", "version_code", "icon",
        "filename", "entities_id", "dl_filename", "parse_status"];
    /// Invitations.
    invitations: "glpi_plugin_flyvemdm_invitations" ["id", "name", "invitation_token", "users_id", "entities_id", "status",
        "@expiration_date"];
    /// What happened to them.
    invitation_logs: "glpi_plugin_flyvemdm_invitationlogs" ["id", "plugin_flyvemdm_invitations_id", "@date_creation", "event"];
    /// Beginnings of paths that files may go to.
    paths: "glpi_plugin_flyvemdm_wellknownpaths" ["id", "name", "comment", "is_default"];
}

fn number(setting: Option<String>) -> i64 {
    setting.and_then(|it| it.trim().parse().ok()).unwrap_or(0)
}
