-- Who did what to whom, and tokens of administrators. Same file name and same columns as in ../postgres.

-- A chain: each entry carries the hash of the one before. Kept by triggers, and checked by `mdmq audit verify`.
create table audit (
    number integer primary key,
    at integer not null,
    actor_kind text not null,
    actor text not null,
    peer text not null,
    action text not null,
    subject_kind text not null,
    subject text not null,
    serial text not null,
    -- Null: no tenant is concerned. No reference: the entry outlives its subject.
    entity_id integer,
    detail text not null,
    previous text not null,
    hash text not null
);
create index audit_serial on audit (serial, number) where serial <> '';

-- The last of the entries that were forgotten, sealed with the key of the server. Only what it covers may be deleted.
create table audit_anchor (
    audit_anchor_id integer primary key check (audit_anchor_id = 1),
    number integer not null,
    hash text not null,
    seal text not null
);

create trigger audit_is_never_changed before update on audit
begin
    select raise(abort, 'the audit is append-only');
end;
create trigger audit_is_never_shortened before delete on audit
when old.number > coalesce((select number from audit_anchor), 0)
begin
    select raise(abort, 'the audit is append-only');
end;

create table admin_token (
    admin_token_id integer primary key autoincrement,
    name text not null unique,
    token_hash text not null unique,
    role text not null check (role in ('viewer', 'operator', 'administrator')),
    -- Null: all tenants; else this one and those below it.
    entity_id integer references entity (entity_id) on delete cascade,
    created_at integer not null,
    -- Null: it does not end by itself.
    expires_at integer,
    -- Null: it was never used.
    last_used_at integer
);
