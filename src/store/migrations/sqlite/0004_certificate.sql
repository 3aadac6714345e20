-- Certificates of devices: the registry that every CONNECT with a certificate is checked against. Same file name and same columns
-- as in ../postgres.

create table certificate (
    certificate_id integer primary key autoincrement,
    serial_number text not null, -- hexadecimal digits without leading zeros
    fingerprint text not null default '', -- SHA-256; '': every certificate of a foreign authority with this number
    issuer text not null default '',
    is_foreign boolean not null default false, -- of an authority of the operator: written when it was first seen, or revoked
    agent_id integer, -- no reference: what was revoked stays after its agent, until it ends
    entity_id integer,
    serial text not null default '', -- of the device
    state text not null check (state in ('valid', 'superseded', 'revoked')),
    issued_at integer not null,
    not_before integer not null,
    not_after integer not null,
    ends_at integer not null, -- not_after, or sooner: the end of the overlap after a renewal
    revoked_at integer,
    reason text not null default '',
    pem text not null default ''
);
create unique index certificate_fingerprint on certificate (fingerprint) where fingerprint <> '';
create index certificate_number on certificate (serial_number);
create index certificate_agent on certificate (agent_id);
create index certificate_serial on certificate (serial);
create index certificate_ends on certificate (ends_at);
create index certificate_not_after on certificate (not_after);
create index certificate_revoked on certificate (revoked_at) where state = 'revoked';
