-- Times are milliseconds since 1970 UTC. Secrets are stored hashed. Same file name and same columns as in ../postgres.

-- Facts about this database itself, e.g. 'starts': how often a server was started on it.
create table meta (
    name text primary key,
    value integer not null
);

-- Tenants. 0 is the root and always exists.
create table entity (
    entity_id integer primary key,
    parent_id integer references entity (entity_id), -- null only for the root
    name text not null,
    created_at integer not null
);
insert into entity (entity_id, parent_id, name, created_at) values (0, null, 'Root', 0);

-- Exactly one default fleet per entity: where agents land, and which grants nothing.
create table fleet (
    fleet_id integer primary key autoincrement,
    entity_id integer not null references entity (entity_id),
    name text not null,
    is_default boolean not null default false,
    created_at integer not null,
    unique (entity_id, name)
);
create unique index fleet_default on fleet (entity_id) where is_default;
insert into fleet (entity_id, name, is_default, created_at) values (0, 'not managed fleet', true, 0);

-- Human beings (GLPI: User).
create table person (
    person_id integer primary key autoincrement,
    email text not null unique, -- lower case; also the login name
    firstname text not null default '',
    realname text not null default '',
    phone text not null default '',
    phone2 text not null default '',
    created_at integer not null
);

-- The right to enroll once. "Expired" is computed: pending and past expires_at.
create table invitation (
    invitation_id integer primary key autoincrement,
    person_id integer not null references person (person_id),
    entity_id integer not null references entity (entity_id),
    token_hash text not null unique,
    status text not null default 'pending' check (status in ('pending', 'done')),
    created_at integer not null,
    expires_at integer not null,
    agent_id integer -- who enrolled with it; kept after the agent is gone, so no reference
);
create table invitation_log (
    invitation_log_id integer primary key autoincrement,
    invitation_id integer not null references invitation (invitation_id) on delete cascade,
    created_at integer not null,
    event text not null
);
create index invitation_log_invitation on invitation_log (invitation_id);

-- The inventory record of a device; outlives its agents.
create table computer (
    computer_id integer primary key autoincrement,
    entity_id integer not null references entity (entity_id),
    serial text not null,
    uuid text not null default '',
    name text not null default '',
    manufacturer text not null default '',
    model text not null default '',
    os_name text not null default '',
    os_version text not null default '',
    person_id integer references person (person_id), -- the owner, null when imported
    inventory text, -- the XML, null until the first one came
    inventory_at integer,
    created_at integer not null
);
create index computer_serial on computer (entity_id, serial, uuid);

-- One enrollment of one device. entity_id and serial are the topic it was told, frozen.
create table agent (
    agent_id integer primary key autoincrement,
    entity_id integer not null references entity (entity_id),
    serial text not null,
    computer_id integer not null references computer (computer_id),
    fleet_id integer not null references fleet (fleet_id),
    person_id integer references person (person_id), -- who was invited, null when imported
    name text not null default '',
    version text not null default '',
    mdm_type text not null default 'android' check (mdm_type in ('android', 'apple')),
    has_system_permission boolean not null default false,
    enroll_status text not null default 'enrolled' check (enroll_status in ('enrolled', 'unenrolling')),
    lock_wish text not null default 'never' check (lock_wish in ('never', 'lock', 'unlock')),
    wipe boolean not null default false,
    is_online boolean not null default false,
    connection integer not null default 0, -- number of the latest connection; older ones do not overwrite
    last_contact integer, -- null until first heard
    notification_type text not null default 'mqtt' check (notification_type in ('mqtt', 'fcm')),
    notification_token text not null default '',
    certificate text not null default '',
    created_at integer not null
);
create index agent_address on agent (serial, entity_id);
create index agent_entity on agent (entity_id);
create index agent_fleet on agent (fleet_id);
create index agent_computer on agent (computer_id);

-- MQTT passwords of agents. Several may be valid for one agent until it connects with the newest (lost answers),
-- and several agents may share a user name (placeholder serials).
create table credential (
    credential_id integer primary key autoincrement,
    agent_id integer not null references agent (agent_id) on delete cascade,
    username text not null,
    secret text not null, -- 'hmac$<hex>' or an imported 'PBKDF2$sha256$…'
    created_at integer not null
);
create index credential_username on credential (username);
create index credential_agent on credential (agent_id);

-- MQTT accounts of back ends.
create table service_account (
    account_id integer primary key autoincrement,
    name text not null unique,
    secret text not null,
    entity_id integer references entity (entity_id), -- scope with its sub-tree; null is everything
    created_at integer not null
);
create table service_access (
    account_id integer not null references service_account (account_id) on delete cascade,
    position integer not null,
    filter text not null,
    access text not null check (access in ('r', 'w', 'rw', 'deny')),
    primary key (account_id, position)
);

-- API tokens that open HTTP sessions: of persons (in deeplinks) and of agents (api_token).
create table api_token (
    token_hash text primary key,
    person_id integer references person (person_id) on delete cascade,
    agent_id integer references agent (agent_id) on delete cascade,
    created_at integer not null,
    expires_at integer, -- null: as long as its owner
    check ((person_id is null) <> (agent_id is null))
);
create index api_token_person on api_token (person_id);
create index api_token_agent on api_token (agent_id);

-- HTTP sessions (GLPI: session_token).
create table http_session (
    token_hash text primary key,
    person_id integer references person (person_id) on delete cascade,
    agent_id integer references agent (agent_id) on delete cascade,
    created_at integer not null,
    used_at integer not null,
    check ((person_id is null) <> (agent_id is null))
);
create index http_session_person on http_session (person_id);
create index http_session_agent on http_session (agent_id);

-- What administrators wanted of devices. Kept after the agent is gone, so agent_id is no reference.
create table command (
    command_id integer primary key autoincrement,
    agent_id integer not null,
    serial text not null,
    name text not null,
    state text not null default 'queued'
        check (state in ('queued', 'sent', 'delivered', 'answered', 'expired', 'failed', 'cancelled')),
    requested_by text not null default '',
    created_at integer not null,
    expires_at integer, -- null: never
    sent_at integer,
    sent_to integer, -- number of the connection it was handed to
    delivered_at integer,
    finished_at integer,
    detail text not null default '' -- why it failed, expired or was cancelled
);
create index command_open on command (agent_id, command_id) where state in ('queued', 'sent', 'delivered');
create index command_expiry on command (expires_at) where state in ('queued', 'sent', 'delivered') and expires_at is not null;

-- Where devices were.
create table geolocation (
    geolocation_id integer primary key autoincrement,
    computer_id integer not null references computer (computer_id) on delete cascade,
    at integer, -- as the device said; null when it did not
    latitude text not null, -- decimal, or 'na'
    longitude text not null,
    received_at integer not null
);
create index geolocation_computer on geolocation (computer_id, at);

-- How far tasks got.
create table task_status (
    agent_id integer not null references agent (agent_id) on delete cascade,
    task_id integer not null,
    status text not null,
    updated_at integer not null,
    primary key (agent_id, task_id)
);
