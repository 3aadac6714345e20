-- The tables of a GLPI 9.3 with Flyve MDM 2.0 that a move reads, as their installers make them (columns that no move reads are left out
-- of GLPI's own tables).

create table glpi_configs (
    id int not null auto_increment primary key, context varchar(150), name varchar(150), value text,
    unique key unicity (context, name)
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_entities (
    id int not null default 0 primary key, name varchar(255), entities_id int not null default 0,
    completename text, comment text, level int not null default 0
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_users (
    id int not null auto_increment primary key, name varchar(255), password varchar(255), phone varchar(255), phone2 varchar(255),
    mobile varchar(255), realname varchar(255), firstname varchar(255), is_active tinyint(1) not null default 1,
    is_deleted tinyint(1) not null default 0, entities_id int not null default 0, profiles_id int not null default 0,
    api_token varchar(255), authtype int not null default 0, unique key unicity (name)
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_useremails (
    id int not null auto_increment primary key, users_id int not null default 0, is_default tinyint(1) not null default 0,
    is_dynamic tinyint(1) not null default 0, email varchar(255)
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_profiles_users (
    id int not null auto_increment primary key, users_id int not null default 0, profiles_id int not null default 0,
    entities_id int not null default 0, is_recursive tinyint(1) not null default 1, is_dynamic tinyint(1) not null default 0
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_profilerights (
    id int not null auto_increment primary key, profiles_id int not null default 0, name varchar(255), rights int not null default 0
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_computers (
    id int not null auto_increment primary key, entities_id int not null default 0, name varchar(255), serial varchar(255),
    uuid varchar(255), users_id int not null default 0, computermodels_id int not null default 0,
    manufacturers_id int not null default 0, is_deleted tinyint(1) not null default 0, date_creation datetime
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_computermodels (
    id int not null auto_increment primary key, name varchar(255)
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_manufacturers (
    id int not null auto_increment primary key, name varchar(255)
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;

create table glpi_plugin_flyvemdm_agents (
    id int not null auto_increment primary key, name varchar(255) not null default '', version varchar(255) not null default '',
    computers_id int not null default 0, users_id int not null default 0, wipe tinyint(1) not null default 0,
    `lock` tinyint(1) not null default 0, enroll_status enum('enrolled','unenrolling','unenrolled') not null default 'enrolled',
    entities_id int not null default 0, plugin_flyvemdm_fleets_id int default null, last_report datetime default null,
    last_contact datetime default null, is_online tinyint(1) not null default 0, certificate text not null,
    mdm_type enum('android','apple') not null default 'android', has_system_permission tinyint(1) not null default 0,
    notification_type varchar(255) not null default 'mqtt', notification_token varchar(255) not null default '',
    key computers_id (computers_id), key users_id (users_id), key entities_id (entities_id)
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_entityconfigs (
    id int not null default 0 primary key, entities_id int not null default 0, enroll_token varchar(255) default null,
    agent_token_life varchar(255) default 'P7D', support_name varchar(255) not null default '',
    support_phone varchar(255) not null default '', support_website varchar(255) not null default '',
    support_email varchar(255) default null, support_address text, managed int not null default 0,
    download_url varchar(255) not null default '', device_limit int not null default 0
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_files (
    id int not null auto_increment primary key, name varchar(255) not null default '', source varchar(255) not null default '',
    comment text, entities_id int not null default 0, version int not null default 0
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_packages (
    id int not null auto_increment primary key, name varchar(255) not null default '', package_name varchar(255) not null default '',
    alias varchar(255) not null default '', version varchar(255) not null default '', version_code varchar(255) not null default '',
    icon text, filename varchar(255) not null default '', entities_id int not null default 0,
    dl_filename varchar(255) not null default '', parse_status enum('pending','parsed','failed') not null default 'pending'
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_fleets (
    id int not null auto_increment primary key, name varchar(255) not null default '', entities_id int not null default 0,
    is_recursive int not null default 0, is_default int not null default 0
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_geolocations (
    id int not null auto_increment primary key, computers_id int not null default 0, latitude varchar(255) not null default '',
    longitude varchar(255) not null default '', date timestamp null default null
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_mqttusers (
    id int not null auto_increment primary key, user varchar(255) not null default '', password varchar(255) not null default '',
    enabled tinyint(1) not null default 0, unique key unicity (user)
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_mqttacls (
    id int not null auto_increment primary key, plugin_flyvemdm_mqttusers_id int not null default 0,
    topic varchar(255) not null default '', access_level int not null default 0,
    unique key unicity (plugin_flyvemdm_mqttusers_id, topic)
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_policycategories (
    id int not null auto_increment primary key, name varchar(255) not null default '',
    plugin_flyvemdm_policycategories_id int not null default 0, completename text, comment text, level int not null default 0
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_policies (
    id int not null auto_increment primary key, name varchar(255) not null default '', `group` varchar(255) not null default '',
    symbol varchar(255) not null default '', type varchar(255) not null default '', type_data text,
    unicity tinyint(1) not null default 1, plugin_flyvemdm_policycategories_id int not null default 0, comment text,
    default_value varchar(255) not null default '', recommended_value varchar(255) not null default '',
    is_android_system tinyint(1) not null default 0, android_min_version varchar(255) not null default '0'
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_tasks (
    id int not null auto_increment primary key, itemtype_applied varchar(255) not null default '', items_id_applied int not null default 0,
    plugin_flyvemdm_policies_id int not null default 0, value varchar(255) not null default '', itemtype varchar(255) default null,
    items_id int not null default 0
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_taskstatuses (
    id int not null auto_increment primary key, name varchar(255) not null default '', date_creation datetime, date_mod datetime,
    plugin_flyvemdm_agents_id int not null default 0, plugin_flyvemdm_tasks_id int not null default 0,
    status varchar(255) not null default ''
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_invitations (
    id int not null auto_increment primary key, name varchar(255) not null default '', invitation_token varchar(255) not null default '',
    users_id int not null default 0, entities_id int not null default 0, documents_id int not null default 0,
    status enum('pending','done') not null default 'pending', expiration_date datetime not null default '0000-00-00 00:00:00'
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_invitationlogs (
    id int not null auto_increment primary key, plugin_flyvemdm_invitations_id int not null default 0, date_creation datetime,
    event varchar(255) not null default ''
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
create table glpi_plugin_flyvemdm_wellknownpaths (
    id int not null auto_increment primary key, name varchar(255) not null default '', comment text, is_default tinyint(1) not null default 0
) engine=InnoDB default charset=utf8 collate=utf8_unicode_ci;
