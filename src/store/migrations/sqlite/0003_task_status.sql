-- Statuses belong to tasks and begin as 'pending'; versions of policies, so that nobody reads them without need. Same file name
-- and same columns as in ../postgres.

-- Until now devices reported about tasks that nobody had given; those rows mean nothing.
drop table task_status;
create table task_status (
    task_status_id integer primary key autoincrement,
    agent_id integer not null references agent (agent_id) on delete cascade,
    task_id integer not null references task (task_id) on delete cascade,
    status text not null,
    created_at integer not null,
    updated_at integer not null,
    unique (agent_id, task_id)
);
create index task_status_task on task_status (task_id);

-- What a task is about, where a target may have several of one policy; else empty.
alter table task add column subject text not null default '';
create unique index task_fleet_policy on task (fleet_id, policy, subject) where fleet_id is not null;
create unique index task_agent_policy on task (agent_id, policy, subject) where agent_id is not null;

-- Grows with each change of the tasks of this agent or fleet; 0: it never had one.
alter table agent add column policy_version integer not null default 0;
alter table fleet add column policy_version integer not null default 0;
