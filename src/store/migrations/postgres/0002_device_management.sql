-- Policies, files, packages, people with rights, settings of tenants. Same file name and same columns as in ../sqlite.

-- Settings of a tenant (GLPI: PluginFlyvemdmEntityConfig). Empty texts are inherited from the nearest ancestor, at the
-- root from the configuration; token life and device limit are not inherited (spec/admin.md §5).
alter table entity add column support_name text not null default '';
alter table entity add column support_phone text not null default '';
alter table entity add column support_website text not null default '';
alter table entity add column support_email text not null default '';
alter table entity add column support_address text not null default '';
alter table entity add column download_url text not null default '';
alter table entity add column token_life_days bigint; -- null: as configured
alter table entity add column device_limit bigint not null default 0; -- 0: unlimited

alter table fleet add column is_recursive boolean not null default false;

-- People: `email` stays the default address; further ones are in person_email.
alter table person add column name text not null default ''; -- login name; empty: the e-mail address
alter table person add column secret text; -- argon2id of the password; null: only tokens open a session
alter table person add column is_active boolean not null default true;
create unique index person_name on person (name) where name <> '';
create table person_email (
    person_id bigint not null references person (person_id) on delete cascade,
    email text not null, -- lower case
    primary key (person_id, email)
);
create index person_email_email on person_email (email);

-- What people may do, on an entity and, when recursive, below it.
create table person_profile (
    person_id bigint not null references person (person_id) on delete cascade,
    profile text not null check (profile in ('guest', 'viewer', 'operator', 'administrator')),
    entity_id bigint not null references entity (entity_id),
    is_recursive boolean not null default true,
    primary key (person_id, profile, entity_id)
);
insert into person_profile (person_id, profile, entity_id, is_recursive)
    select distinct person_id, 'guest', entity_id, false from invitation;

-- The profile and entity that a session works in; null: the guest's, and all entities of the profile.
alter table http_session add column profile text;
alter table http_session add column entity_id bigint;
alter table http_session add column is_recursive boolean not null default true;
alter table http_session add column limited_to text; -- as in api_token, which opened it

-- Tokens in deeplinks travel by mail: they open sessions of guests only, whatever else their owner may do.
alter table api_token add column limited_to text default 'guest'; -- null: every profile of the owner

create index entity_parent on entity (parent_id);
create index person_profile_entity on person_profile (entity_id);

-- Delivery of invitations by mail: the rows with state 'queued' are the queue.
alter table invitation add column name text not null default 'Invitation';
alter table invitation add column invited_by text not null default ''; -- shown to the invited person
alter table invitation add column mail_state text not null default 'none'
    check (mail_state in ('none', 'queued', 'sent', 'failed'));
alter table invitation add column mail_attempts bigint not null default 0;
alter table invitation add column mail_next_at bigint; -- when to try (again)
alter table invitation add column mail_error text not null default '';
create index invitation_mail on invitation (mail_next_at) where mail_state = 'queued';
create index invitation_person on invitation (person_id);

-- The entity in the topic that the device was told, once the agent was moved to another one; null: entity_id.
alter table agent add column topic_entity_id bigint;

-- Agents that an administrator deleted while their device was away. Their passwords still open a connection, but only for the one
-- message that asks the device to unenroll (spec/mqtt.md §7.6); nothing else knows them any more.
create table tombstone (
    agent_id bigint primary key, -- of the agent that is gone
    topic_entity_id bigint not null,
    serial text not null,
    expires_at bigint not null
);
create index tombstone_expiry on tombstone (expires_at);
create table tombstone_credential (
    agent_id bigint not null references tombstone (agent_id) on delete cascade,
    username text not null,
    secret text not null,
    primary key (agent_id, secret)
);
create index tombstone_credential_username on tombstone_credential (username);

create index agent_person on agent (person_id);

-- Contents of files and packages, by their SHA-256; stored in the data directory once each.
create table blob (
    blob_id text primary key, -- SHA-256, 64 hexadecimal digits
    size_bytes bigint not null,
    created_at bigint not null
);

-- Files for devices (GLPI: PluginFlyvemdmFile).
create table file (
    file_id bigint generated by default as identity primary key,
    entity_id bigint not null references entity (entity_id),
    name text not null,
    comment text not null default '',
    version bigint not null default 1, -- grows with each upload
    blob_id text not null references blob (blob_id),
    mime_type text not null default 'application/octet-stream',
    created_at bigint not null,
    updated_at bigint not null
);
create index file_entity on file (entity_id);
create index file_blob on file (blob_id);

-- Applications for devices (GLPI: PluginFlyvemdmPackage).
create table package (
    package_id bigint generated by default as identity primary key,
    entity_id bigint not null references entity (entity_id),
    name text not null,
    alias text not null default '', -- the label of the application
    package_name text not null default '', -- of the manifest, e.g. org.fdroid.fdroid
    version text not null default '',
    version_code text not null default '',
    icon text not null default '', -- PNG, base64
    dl_filename text not null, -- as it was uploaded; its ending tells devices what it is
    blob_id text not null references blob (blob_id),
    parse_status text not null default 'pending' check (parse_status in ('pending', 'parsed', 'failed')),
    parse_error text not null default '',
    created_at bigint not null,
    updated_at bigint not null
);
create index package_entity on package (entity_id);
create index package_blob on package (blob_id);

-- One policy applied to one fleet or one agent. Policies themselves are not rows: mdm/policy.rs lists them.
create table task (
    task_id bigint generated by default as identity primary key,
    fleet_id bigint references fleet (fleet_id) on delete cascade,
    agent_id bigint references agent (agent_id) on delete cascade,
    policy text not null, -- symbol, e.g. disableWifi
    value text not null default '', -- as published; JSON for deployments
    file_id bigint references file (file_id),
    package_id bigint references package (package_id),
    created_at bigint not null,
    updated_at bigint not null,
    check ((fleet_id is null) <> (agent_id is null)),
    check (file_id is null or package_id is null)
);
create index task_fleet on task (fleet_id);
create index task_agent on task (agent_id);
create index task_file on task (file_id);
create index task_package on task (package_id);

-- Who must still be told that a task was taken back; a row goes when its device heard it, or after its time.
create table task_removal (
    agent_id bigint not null references agent (agent_id) on delete cascade,
    task_id bigint not null, -- gone
    policy text not null,
    fleet_id bigint, -- null: the task was the agent's own
    expires_at bigint not null,
    primary key (agent_id, task_id)
);
create index task_removal_expiry on task_removal (expires_at);

-- Beginnings of paths that files may be deployed to (GLPI: PluginFlyvemdmWellKnownPath).
create table well_known_path (
    well_known_path_id bigint generated by default as identity primary key,
    name text not null unique,
    comment text not null default '',
    is_default boolean not null default false
);
insert into well_known_path (name, is_default) values
    ('%SDCARD%', true), ('%DOCUMENTS%', true), ('%PHOTOS%', true), ('%MUSIC%', true);

-- What was said and heard, for people who look for a fault (GLPI: PluginFlyvemdmMqttlog). Rotated.
create table message_log (
    message_log_id bigint generated by default as identity primary key,
    at bigint not null,
    direction text not null check (direction in ('I', 'O')),
    topic text not null,
    message text not null, -- cut
    agent_id bigint, -- no reference: the log outlives its subjects
    fleet_id bigint
);
create index message_log_agent on message_log (agent_id, message_log_id);

-- What was taken over from another system, so that a second run changes instead of adding.
create table imported (
    source text not null,
    kind text not null,
    their_id bigint not null,
    our_id bigint not null,
    primary key (source, kind, their_id)
);
