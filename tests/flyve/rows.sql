-- A small company: a tenant with a child, three phones of which one enrolled twice, an administrator, an invited person.

insert into glpi_configs (context, name, value) values
    ('flyvemdm', 'guest_profiles_id', '9'), ('flyvemdm', 'agent_profiles_id', '10'), ('flyvemdm', 'instance_id', 'aW5zdGFuY2U=');
insert into glpi_entities (id, name, entities_id) values (0, 'Root entity', -1), (76, 'Paris &lt;south&gt;', 0), (77, 'Office', 76);
insert into glpi_plugin_flyvemdm_entityconfigs (id, entities_id, agent_token_life, support_name, support_phone, download_url, device_limit)
    values (0, 0, 'P7D', 'Company desk', '', '', 0), (76, 76, 'P30D', '', '+33 1 23', 'https://apps.example.com/a.apk', 50),
    (77, 77, 'P7D', '', '', '', 0);
-- The password of glpi is glpi, that of olaf is an md5, Lara's is kept by LDAP.
insert into glpi_users (id, name, realname, firstname, phone, is_active, api_token, authtype, password) values
    (2, 'glpi', 'Admin', 'Gert', '', 1, 'adminadminadminadminadminadminadminadmin', 1,
        '$2y$10$rXXzbc2ShaiCldwkw4AZL.n.9QSH7c0c9XJAyyjrbL9BwmWditAYm'),
    (5, 'ann@example.com', 'Doe', 'Ann', '0123', 1, 'annannannannannannannannannannannannanna', 1, ''),
    (6, 'bob', 'Roe', 'Bob', '', 1, null, 1, '$2y$10$rXXzbc2ShaiCldwkw4AZL.n.9QSH7c0c9XJAyyjrbL9BwmWditAYm'),
    (7, 'nomail', 'Moe', 'Zoe', '', 1, null, 1, ''),
    (8, 'olaf', 'Old', 'Olaf', '', 1, null, 1, '5f4dcc3b5aa765d61d8327deb882cf99'),
    (9, 'lara', 'Ldap', 'Lara', '', 1, null, 3, ''),
    (20, 'flyvemdm-1', 'AZERTY', '', '', 1, 'agentagentagentagentagentagentagentagent', 1, ''),
    (21, 'flyvemdm-2', 'QWERTY', '', '', 1, 'otherotherotherotherotherotherotherother', 1, '');
insert into glpi_useremails (users_id, is_default, email) values
    (2, 1, 'Gert@Example.com'), (5, 0, 'ann.doe@example.com'), (5, 1, 'ann@example.com'), (6, 1, 'bob@example.com'),
    (8, 1, 'olaf@example.com'), (9, 1, 'lara@example.com');
insert into glpi_profilerights (profiles_id, name, rights) values (4, 'flyvemdm:agent', 19), (9, 'flyvemdm:agent', 4);
insert into glpi_profiles_users (users_id, profiles_id, entities_id, is_recursive) values
    (2, 4, 0, 1), (5, 9, 76, 0), (7, 4, 0, 1), (8, 4, 76, 0), (9, 4, 76, 0), (20, 10, 76, 0), (21, 10, 76, 0);
insert into glpi_computermodels (id, name) values (1, 'Pixel 2');
insert into glpi_manufacturers (id, name) values (1, 'Google');
insert into glpi_computers (id, entities_id, name, serial, uuid, users_id, computermodels_id, manufacturers_id, date_creation) values
    (30, 76, 'Ann''s phone', 'AZERTY', 'uuid-azerty', 5, 1, 1, '2018-06-01 10:00:00'),
    (31, 77, 'Bob''s phone', 'QWERTY', 'uuid-qwerty', 6, 0, 0, '2018-06-02 10:00:00'),
    (32, 76, 'No serial', '', '', 5, 0, 0, null),
    (33, 76, 'A desktop', 'DESKTOP', '', 5, 0, 0, null);
insert into glpi_plugin_flyvemdm_fleets (id, name, entities_id, is_recursive, is_default) values
    (1, 'not managed fleet', 0, 0, 1), (2, 'not managed fleet', 76, 0, 1), (3, 'Sales', 76, 1, 0), (4, 'Sales', 76, 0, 0),
    (5, 'not managed fleet', 77, 0, 1);
insert into glpi_plugin_flyvemdm_agents (id, name, version, computers_id, users_id, wipe, `lock`, enroll_status, entities_id,
    plugin_flyvemdm_fleets_id, last_contact, certificate, mdm_type) values
    (10, 'ann@example.com', '2.0.0-rc.3', 30, 20, 0, 0, 'enrolled', 76, 2, '2018-07-01 08:00:00', '', 'android'),
    (11, 'ann@example.com', '2.0.0-rc.7', 30, 20, 0, 1, 'enrolled', 76, 3, '2018-12-17 10:00:00', '', 'android'),
    (12, 'bob@example.com', '2.0.0', 31, 21, 1, 0, 'unenrolling', 77, 5, null, '', 'apple'),
    (13, 'ann@example.com', '2.0.0', 32, 0, 0, 0, 'enrolled', 76, 2, null, '', 'android');
-- The password of AZERTY is abcdefghijklmnopqrstuvwxyz012345.
insert into glpi_plugin_flyvemdm_mqttusers (id, user, password, enabled) values
    (1, 'flyvemdm-backend', 'PBKDF2$sha256$901$AAECAwQFBgcICQoL$qRak5VvzYwNL8Ayz/ou9K6G1EOeqzJCTikVYf1mFdixaoy0gfnnNaQKa1HzDZOLG', 1),
    (2, 'AZERTY', 'PBKDF2$sha256$901$AAECAwQFBgcICQoL$qRak5VvzYwNL8Ayz/ou9K6G1EOeqzJCTikVYf1mFdixaoy0gfnnNaQKa1HzDZOLG', 1),
    (3, 'QWERTY', 'PBKDF2$sha256$901$AAECAwQFBgcICQoL$qRak5VvzYwNL8Ayz/ou9K6G1EOeqzJCTikVYf1mFdixaoy0gfnnNaQKa1HzDZOLG', 1);
insert into glpi_plugin_flyvemdm_mqttacls (plugin_flyvemdm_mqttusers_id, topic, access_level) values
    (2, '76/agent/AZERTY/Command/#', 1), (2, '76/agent/AZERTY/Status/#', 2), (2, '76/fleet/3/#', 1), (3, '77/agent/QWERTY/Command/#', 1);
insert into glpi_plugin_flyvemdm_policies (id, name, symbol, type) values
    (1, 'Disable wifi', 'disableWifi', 'bool'), (2, 'Password', 'passwordEnabled', 'dropdown'), (3, 'Deploy file', 'deployFile', 'deployfile'),
    (4, 'Deploy app', 'deployApp', 'deployapp'), (5, 'Old one', 'gone', 'bool'), (6, 'Remove app', 'removeApp', 'removeapp');
insert into glpi_plugin_flyvemdm_files (id, name, source, comment, entities_id, version) values
    (1, 'rules.pdf', '76/5b1_rules.pdf', 'House rules', 76, 3), (2, 'lost.pdf', '76/5b2_lost.pdf', '', 76, 1),
    (3, 'evil', '../../../../etc/hostname', '', 76, 1);
insert into glpi_plugin_flyvemdm_packages (id, name, package_name, alias, version, version_code, filename, entities_id, dl_filename, parse_status)
    values (1, 'fdroid.apk', 'org.fdroid.fdroid', 'F-Droid', '1.4', '1004050', '76/5b3_fdroid.apk', 76, 'fdroid.apk', 'parsed');
insert into glpi_plugin_flyvemdm_tasks (id, itemtype_applied, items_id_applied, plugin_flyvemdm_policies_id, value, itemtype, items_id) values
    (1, 'PluginFlyvemdmFleet', 3, 1, '1', null, 0),
    (2, 'PluginFlyvemdmAgent', 11, 2, 'PASSWORD_PIN', null, 0),
    (3, 'PluginFlyvemdmFleet', 3, 3, '{"destination":"%SDCARD%/","remove_on_delete":"1"}', 'PluginFlyvemdmFile', 1),
    (4, 'PluginFlyvemdmFleet', 3, 4, '{"remove_on_delete":"0"}', 'PluginFlyvemdmPackage', 1),
    (5, 'PluginFlyvemdmFleet', 3, 5, '1', null, 0),
    (6, 'PluginFlyvemdmFleet', 99, 1, '1', null, 0),
    (7, 'PluginFlyvemdmFleet', 3, 3, '{"destination":"%SDCARD%/","remove_on_delete":"1"}', 'PluginFlyvemdmFile', 2);
insert into glpi_plugin_flyvemdm_taskstatuses (id, date_creation, date_mod, plugin_flyvemdm_agents_id, plugin_flyvemdm_tasks_id, status) values
    (1, '2018-07-01 08:00:00', '2018-07-02 08:00:00', 11, 1, 'done'), (2, '2018-07-01 08:00:00', null, 11, 2, 'pending'),
    (3, '2018-07-01 08:00:00', null, 12, 1, 'canceled'), (4, '2018-07-01 08:00:00', null, 99, 1, 'done');
insert into glpi_plugin_flyvemdm_invitations (id, name, invitation_token, users_id, entities_id, status, expiration_date) values
    (1, 'Invitation', '6f1ed002ab5595859014ebf0951522d9c0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f', 5, 76, 'pending', '2099-01-01 00:00:00'),
    (2, 'Invitation', '7f1ed002ab5595859014ebf0951522d9c0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f', 5, 76, 'done', '0000-00-00 00:00:00'),
    (3, 'Invitation', '8f1ed002ab5595859014ebf0951522d9c0d1e2f3a4b5c6d7e8f90a1b2c3d4e5f', 7, 76, 'pending', '2099-01-01 00:00:00');
insert into glpi_plugin_flyvemdm_invitationlogs (plugin_flyvemdm_invitations_id, date_creation, event) values
    (1, '2018-07-01 08:00:00', 'Wrong email address');
insert into glpi_plugin_flyvemdm_wellknownpaths (name, comment, is_default) values ('%SDCARD%', '', 1), ('%BOOKS%', 'Books', 0);
insert into glpi_plugin_flyvemdm_geolocations (id, computers_id, latitude, longitude, date) values
    (1, 30, '10.2485486', '-67.5904498', '2017-07-06 18:10:42'), (2, 30, 'na', 'na', '2017-07-06 19:10:42'),
    (3, 33, '1', '2', '2017-07-06 19:10:42');
