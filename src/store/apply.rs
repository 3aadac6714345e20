//! `Change` → statements, without a database. Facts of one kind travel together as rows of one statement.

use std::sync::OnceLock;

use super::{
    db::{Statement, Value},
    merge::{Merged, Position, Touch},
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, ComputerId, CredentialId, TaskId},
    mdm::{
        change::{Direction, LogLine},
        inventory::Inventory,
    },
};

/// Longest text that is taken from an inventory into a column of its own, in characters.
const COLUMN_CHARS_MAX: usize = 255;
/// How many rows a statement may carry. Few sizes, so that prepared statements are found again; the rest is filled with
/// rows that match nothing.
const SIZES: [usize; 5] = [1, 4, 16, 64, 256];

/// A statement over a list of rows: `with v (columns) as (values …) rest`.
struct Family {
    columns: &'static str,
    width: usize,
    rest: &'static str,
    made: [OnceLock<[String; 2]>; SIZES.len()],
}

impl Family {
    const fn new(columns: &'static str, width: usize, rest: &'static str) -> Self {
        Self { columns, width, rest, made: [const { OnceLock::new() }; SIZES.len()] }
    }

    /// The statement for a size with its arguments, in both ways to write the placeholders.
    fn statement(&'static self, size: usize, args: Vec<Value>) -> Statement {
        let [numbered, unnumbered] = self.made[size].get_or_init(|| {
            [self.sql(SIZES[size], |place| format!("${place}")), self.sql(SIZES[size], |_| "?".to_owned())]
        });
        Statement { unnumbered: Some(unnumbered), ..Statement::new(numbered.as_str(), args) }
    }

    fn sql(&self, rows: usize, placeholder: impl Fn(usize) -> String) -> String {
        let tuple = |row: usize| {
            let places: Vec<_> = (1..=self.width).map(|n| placeholder(row * self.width + n)).collect();
            format!("({})", places.join(","))
        };
        let values: Vec<_> = (0..rows).map(tuple).collect();
        format!("with v ({}) as (values {}) {}", self.columns, values.join(","), self.rest)
    }

    /// Cuts the rows into statements. `nothing` is a row that matches nothing.
    fn statements<const N: usize>(&'static self, rows: Vec<[Value; N]>, nothing: [Value; N]) -> Vec<Statement> {
        assert_eq!(N, self.width, "a row has as many values as the family has columns");
        let mut statements = Vec::new();
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let size = SIZES.iter().position(|size| *size >= rows.len()).unwrap_or(SIZES.len() - 1);
            let mut args = Vec::with_capacity(SIZES[size] * N);
            args.extend(rows.by_ref().take(SIZES[size]).flatten());
            while args.len() < SIZES[size] * N {
                args.extend(nothing.iter().cloned());
            }
            statements.push(self.statement(size, args));
        }
        statements
    }
}

static SEEN: Family = Family::new(
    "agent_id, seen_at",
    2,
    "update agent set last_contact = v.seen_at from v \
     where agent.agent_id = v.agent_id and (agent.last_contact is null or agent.last_contact < v.seen_at)",
);
static PRESENCE: Family = Family::new(
    "agent_id, is_online, connection, says_online, seen_at",
    5,
    "update agent set \
     is_online = case when v.connection >= agent.connection then v.is_online \
                 else coalesce(v.says_online, agent.is_online) end, \
     connection = case when v.connection > agent.connection then v.connection else agent.connection end, \
     last_contact = case when agent.last_contact is null or agent.last_contact < v.seen_at then v.seen_at \
                    else agent.last_contact end \
     from v where agent.agent_id = v.agent_id",
);
static POSITION: Family = Family::new(
    "computer_id, at, latitude, longitude, received_at",
    5,
    "insert into geolocation (computer_id, at, latitude, longitude, received_at) \
     select v.computer_id, v.at, v.latitude, v.longitude, v.received_at from v \
     where exists (select 1 from computer where computer.computer_id = v.computer_id) \
     and not exists (select 1 from geolocation g where g.computer_id = v.computer_id and g.at = v.at \
         and g.latitude = v.latitude and g.longitude = v.longitude)",
);
// The checks of spec/mqtt.md §4.6: the task is for the agent itself or its current fleet, only what moves something waits for the user;
// and what the agent overrides by a task of its own it does not carry out, whatever it says.
static TASK_STATUS: Family = Family::new(
    "agent_id, task_id, status, updated_at",
    4,
    "update task_status set status = v.status, updated_at = v.updated_at from v, task t, agent a \
     where task_status.agent_id = v.agent_id and task_status.task_id = v.task_id \
     and t.task_id = v.task_id and a.agent_id = v.agent_id \
     and (t.agent_id = a.agent_id or t.fleet_id = a.fleet_id) \
     and (v.status <> 'waiting' or t.policy in ('deployApp', 'removeApp', 'deployFile', 'removeFile')) \
     and (t.agent_id is not null or not exists (select 1 from task o \
         where o.agent_id = a.agent_id and o.policy = t.policy and o.subject = t.subject))",
);
static REMOVAL_HEARD: Family = Family::new(
    "agent_id, task_id",
    2,
    "delete from task_removal where (agent_id, task_id) in (select v.agent_id, v.task_id from v)",
);
static VERSION: Family = Family::new(
    "agent_id, version",
    2,
    "update agent set version = v.version from v where agent.agent_id = v.agent_id and agent.version <> v.version",
);
static SENT: Family = Family::new(
    "command_id, connection, at",
    3,
    "update command set state = 'sent', sent_at = v.at, sent_to = v.connection from v \
     where command.command_id = v.command_id and command.state in ('queued', 'sent')",
);
static DELIVERED: Family = Family::new(
    "command_id, at",
    2,
    "update command set state = 'delivered', delivered_at = v.at from v \
     where command.command_id = v.command_id and command.state in ('queued', 'sent')",
);
static ANSWERED: Family = Family::new(
    "agent_id, name, at",
    3,
    "update command set state = 'answered', finished_at = v.at from v \
     where command.agent_id = v.agent_id and command.name = v.name \
     and command.state in ('queued', 'sent', 'delivered')",
);

// The filler rows name nobody.
static LOGGED: Family = Family::new(
    "at, direction, topic, message, agent_id",
    5,
    "insert into message_log (at, direction, topic, message, agent_id) \
     select v.at, v.direction, v.topic, v.message, v.agent_id from v where v.agent_id >= 0",
);

/// An id that no row has.
const NOBODY: Value = Value::Int(Some(-1));
const NO_NUMBER: Value = Value::Int(None);
const NO_FLAG: Value = Value::Bool(None);

fn no_text() -> Value {
    Value::Text(Some(String::new()))
}

/// The statements for what was gathered, in the order in which they must run.
pub(super) fn statements(merged: Merged, received_at: Timestamp) -> Vec<Statement> {
    let (mut seen, mut presence) = (Vec::new(), Vec::new());
    for (agent, touch) in merged.touches {
        match touch {
            Touch { numbered: None, says: None, seen: Some(at) } => seen.push([agent.0.into(), at.0.into()]),
            Touch { numbered, says, seen } => presence.push([
                agent.0.into(),
                numbered.map(|it| it.0).into(),
                numbered.map(|it| it.1.0).into(),
                says.into(),
                seen.map(|at| at.0).into(),
            ]),
        }
    }
    let positions = merged.positions.into_iter().map(|Position { computer, at, latitude, longitude }| {
        [computer.0.into(), at.0.into(), latitude.into(), longitude.into(), received_at.0.into()]
    });
    let of_status = |((agent, task), (status, at)): ((AgentId, TaskId), (&'static str, Timestamp))| {
        [agent.0.into(), task.0.into(), status.into(), at.0.into()]
    };
    let statuses = merged.task_statuses.into_iter().map(of_status);
    let waiting = merged.waiting.into_iter().map(of_status);
    let removals = merged.removals_heard.into_iter().map(|(agent, task)| [agent.0.into(), task.0.into()]);
    let versions = merged.versions.into_iter().map(|(agent, version)| [agent.0.into(), version.into()]);
    let sent = merged.sent.into_iter().map(|(command, (to, at))| [command.0.into(), to.0.into(), at.0.into()]);
    let delivered = merged.delivered.into_iter().map(|(command, at)| [command.0.into(), at.0.into()]);
    let answered = merged.answered.into_iter().map(|((agent, name), at)| [agent.0.into(), name.into(), at.0.into()]);

    let mut all = SEEN.statements(seen, [NOBODY, NO_NUMBER]);
    all.extend(PRESENCE.statements(presence, [NOBODY, NO_FLAG, NO_NUMBER, NO_FLAG, NO_NUMBER]));
    all.extend(POSITION.statements(positions.collect(), [NOBODY, NO_NUMBER, no_text(), no_text(), NO_NUMBER]));
    for statuses in [statuses.collect(), waiting.collect()] {
        all.extend(TASK_STATUS.statements(statuses, [NOBODY, NO_NUMBER, no_text(), NO_NUMBER]));
    }
    all.extend(REMOVAL_HEARD.statements(removals.collect(), [NOBODY, NO_NUMBER]));
    all.extend(VERSION.statements(versions.collect(), [NOBODY, no_text()]));
    all.extend(merged.inventories.into_iter().map(|(computer, (at, it))| inventory(computer, at, *it)));
    all.extend(SENT.statements(sent.collect(), [NOBODY, NO_NUMBER, NO_NUMBER]));
    all.extend(DELIVERED.statements(delivered.collect(), [NOBODY, NO_NUMBER]));
    all.extend(ANSWERED.statements(answered.collect(), [NOBODY, no_text(), NO_NUMBER]));
    all.extend(LOGGED.statements(log_rows(merged.log), [NO_NUMBER, no_text(), no_text(), no_text(), NOBODY]));
    all.extend(merged.credentials.into_iter().map(|(agent, credential)| older_credentials_end(agent, credential)));
    all
}

fn log_rows(lines: Vec<LogLine>) -> Vec<[Value; 5]> {
    let row = |line: LogLine| {
        let direction = match line.direction {
            Direction::In => "I",
            Direction::Out => "O",
        };
        [line.at.0.into(), direction.into(), Value::from(&*line.topic), line.message.into(), line.agent.0.into()]
    };
    lines.into_iter().map(row).collect()
}

/// An older inventory does not replace a newer one. The topic of the agent stays what it was, whatever the serial says now.
fn inventory(computer: ComputerId, at: Timestamp, it: Inventory) -> Statement {
    let column = |text: Option<String>| Value::from(clipped(text.unwrap_or_default(), COLUMN_CHARS_MAX));
    Statement::new(
        "update computer set inventory = $3, inventory_at = $2, \
         serial = case when $4 = '' then serial else $4 end, uuid = case when $5 = '' then uuid else $5 end, \
         name = case when $6 = '' then name else $6 end, \
         manufacturer = case when $7 = '' then manufacturer else $7 end, \
         model = case when $8 = '' then model else $8 end, os_name = case when $9 = '' then os_name else $9 end, \
         os_version = case when $10 = '' then os_version else $10 end \
         where computer_id = $1 and (inventory_at is null or inventory_at <= $2)",
        [
            computer.0.into(),
            at.0.into(),
            it.xml.into(),
            column(it.serial),
            column(it.uuid),
            column(it.name),
            column(it.manufacturer),
            column(it.model),
            column(it.os_name),
            column(it.os_version),
        ],
    )
}

fn older_credentials_end(agent: AgentId, credential: CredentialId) -> Statement {
    Statement::new(
        "delete from credential where agent_id = $1 and credential_id < $2",
        [agent.0.into(), credential.0.into()],
    )
}

/// The device left: its open commands end, then its row goes and takes credentials, tokens and sessions along.
pub(super) fn unenrolled(agent: AgentId, at: Timestamp) -> [Statement; 4] {
    [
        Statement::new(
            "update command set finished_at = $2, \
             state = case when name = 'unenroll' then 'answered' else 'cancelled' end, \
             detail = case when name = 'unenroll' then '' else 'unenrolled' end \
             where agent_id = $1 and state in ('queued', 'sent', 'delivered')",
            [agent.0.into(), at.0.into()],
        ),
        super::certificate::revoked_with(agent, at),
        Statement::new("delete from agent where agent_id = $1", [agent.0.into()]),
        super::farewell::forgotten(agent),
    ]
}

/// At most so many characters of the text.
pub(super) fn clipped(mut text: String, chars_max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdm::change::Change;

    fn seen(count: i64) -> Vec<Statement> {
        let mut merged = Merged::default();
        for agent in 0..count {
            merged.add(Change::Seen { agent: AgentId(agent), at: Timestamp(7) });
        }
        statements(merged, Timestamp(0))
    }

    #[test]
    fn rows_travel_in_statements_of_few_sizes() {
        let check = |count, want: &[usize]| {
            let rows: Vec<_> = seen(count).iter().map(|it| it.args.len() / 2).collect();
            assert_eq!(rows, want, "{count} rows");
        };
        check(0, &[]);
        check(1, &[1]);
        check(2, &[4]);
        check(50, &[64]);
        check(256, &[256]);
        check(300, &[256, 64]);
    }

    #[test]
    fn every_family_has_as_many_arguments_as_placeholders() {
        // `Statement::new` counts them in debug builds.
        for family in
            [&SEEN, &PRESENCE, &POSITION, &TASK_STATUS, &REMOVAL_HEARD, &VERSION, &SENT, &DELIVERED, &ANSWERED]
        {
            assert_eq!(family.columns.split(',').count(), family.width, "{}", family.columns);
            for (size, rows) in SIZES.iter().enumerate() {
                family.statement(size, vec![NOBODY; family.width * rows]);
            }
        }
        unenrolled(AgentId(1), Timestamp(1));
        older_credentials_end(AgentId(1), CredentialId(1));
        inventory(ComputerId(1), Timestamp(1), Inventory::default());
    }

    #[test]
    fn clipping_counts_characters() {
        assert_eq!(clipped("äöü".into(), 2), "äö");
        assert_eq!(clipped("äöü".into(), 3), "äöü");
    }
}
