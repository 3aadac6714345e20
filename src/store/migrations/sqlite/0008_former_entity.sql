-- Numbers of tenants that are gone. Topics and certificates of devices outlive their tenant, so no number is given twice. Same file
-- name and same columns as in ../postgres.
create table former_entity (
    entity_id integer primary key
);
-- Those of earlier removals, as far as something still tells of them.
insert into former_entity (entity_id)
    select it.entity_id from (
        select topic_entity_id as entity_id from agent union select topic_entity_id from tombstone
        union select entity_id from certificate union select entity_id from audit
    ) it where it.entity_id is not null and it.entity_id not in (select entity_id from entity);

-- Where a removed agent was in the end; null: where its topic says.
alter table tombstone add column entity_id integer;
