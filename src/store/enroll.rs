//! Invitations, enrollments and what a device must know afterwards, as SQL. Decides nothing.

use crate::{
    clock::Timestamp,
    ids::{AgentId, ComputerId, EntityId, FleetId, InvitationId, PersonId, Serial},
    mdm::enroll::{Accepted, Attempt, Invitation, Place, is_same_device},
};

use super::{
    StoreError,
    db::{Row, Statement, Tx, Value},
};

/// Rows of one address that are looked at to find a device.
const SAME_ADDRESS_MAX: i64 = 100;
/// MQTT passwords that one agent may have at once: every settings GET adds one until the device connects.
pub const CREDENTIALS_PER_AGENT_MAX: i64 = 8;
/// Log lines of one invitation; a device that is refused for ever does not fill the disk.
pub const LOG_LINES_PER_INVITATION_MAX: i64 = 100;

/// Everything the settings of an agent show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// Key.
    pub id: AgentId,
    /// Tenant.
    pub entity: EntityId,
    /// The tenant in its topic.
    pub topic_entity: EntityId,
    /// MQTT user name.
    pub serial: String,
    /// Inventory record.
    pub computer: ComputerId,
    /// Group.
    pub fleet: FleetId,
    /// Who was invited; none for imported agents.
    pub person: Option<PersonId>,
    /// With what it enrolled.
    pub invitation: Option<InvitationId>,
    /// Address of the person.
    pub name: String,
    /// Version of the agent software.
    pub version: String,
    /// `android` or `apple`.
    pub mdm_type: String,
    /// As the device said.
    pub has_system_permission: bool,
    /// `enrolled` or `unenrolling`.
    pub enroll_status: String,
    /// Whether it should be locked now.
    pub lock: bool,
    /// Whether it should be wiped.
    pub wipe: bool,
    /// As last heard.
    pub is_online: bool,
    /// When last heard.
    pub last_contact: Option<Timestamp>,
    /// `mqtt` or `fcm`.
    pub notification_type: String,
    /// For FCM.
    pub notification_token: String,
    /// Signed certificate, if any.
    pub certificate: String,
    /// When it enrolled.
    pub created_at: Timestamp,
}

const AGENT_COLUMNS: &str = "select agent_id, entity_id, coalesce(topic_entity_id, entity_id) as topic_entity_id, serial, computer_id, fleet_id, person_id, name, version, mdm_type, \
     has_system_permission, enroll_status, lock_wish, wipe, is_online, last_contact, notification_type, notification_token, \
     certificate, created_at, invitation_id from agent";

/// Asks for one agent.
pub fn agent(agent: AgentId) -> Statement {
    Statement::new(format!("{AGENT_COLUMNS} where agent_id = $1"), [int(agent.0)])
}

/// Asks for the latest agents of a person.
pub fn agents_of(person: PersonId, limit: i64) -> Statement {
    Statement::new(
        format!("{AGENT_COLUMNS} where person_id = $1 order by agent_id desc limit $2"),
        [int(person.0), int(limit)],
    )
}

/// Asks for the agent that enrolled with this invitation.
pub fn agent_invited(invitation: InvitationId) -> Statement {
    Statement::new(format!("{AGENT_COLUMNS} where invitation_id = $1"), [int(invitation.0)])
}

/// Reads an answer to [`agent`], [`agents_of`] or [`agent_invited`].
pub fn agent_row(row: &Row) -> AgentRow {
    AgentRow {
        id: AgentId(row.int("agent_id")),
        entity: EntityId(row.int("entity_id")),
        topic_entity: EntityId(row.int("topic_entity_id")),
        serial: row.text("serial"),
        computer: ComputerId(row.int("computer_id")),
        fleet: FleetId(row.int("fleet_id")),
        person: row.opt_int("person_id").map(PersonId),
        invitation: row.opt_int("invitation_id").map(InvitationId),
        name: row.text("name"),
        version: row.text("version"),
        mdm_type: row.text("mdm_type"),
        has_system_permission: row.flag("has_system_permission"),
        enroll_status: row.text("enroll_status"),
        lock: row.text("lock_wish") == "lock",
        wipe: row.flag("wipe"),
        is_online: row.flag("is_online"),
        last_contact: row.opt_int("last_contact").map(Timestamp),
        notification_type: row.text("notification_type"),
        notification_token: row.text("notification_token"),
        certificate: row.text("certificate"),
        created_at: Timestamp(row.int("created_at")),
    }
}

/// Asks whether an unenroll command reached this agent and waits for its answer.
pub fn unenroll_on_its_way(agent: AgentId) -> Statement {
    Statement::new(
        "select command_id from command where agent_id = $1 and name = 'unenroll' and state in ('sent', 'delivered') limit 1",
        [int(agent.0)],
    )
}

/// The invitation with this token.
///
/// # Errors
/// The database failed.
pub async fn invitation(tx: &mut Tx, token_hash: &str) -> Result<Option<Invitation>, StoreError> {
    let question = Statement::new(
        "select i.invitation_id, i.person_id, p.email, i.entity_id, i.status, i.expires_at \
         from invitation i join person p on p.person_id = i.person_id where i.token_hash = $1",
        [text(token_hash)],
    );
    Ok(tx.row(question).await?.map(|row| Invitation {
        id: InvitationId(row.int("invitation_id")),
        person: PersonId(row.int("person_id")),
        email: row.text("email"),
        entity: EntityId(row.int("entity_id")),
        is_pending: row.text("status") == "pending",
        expires_at: Timestamp(row.int("expires_at")),
    }))
}

/// Whether the person has this address besides the default one.
///
/// # Errors
/// The database failed.
pub async fn is_further_address(tx: &mut Tx, person: PersonId, email: &str) -> Result<bool, StoreError> {
    let question = "select 1 as n from person_email where person_id = $1 and email = $2";
    Ok(tx.row(Statement::new(question, [int(person.0), text(email)])).await?.is_some())
}

/// What the entity has room for, and how many agents it may have: its own limit, or else the configured one; 0 is no limit.
/// `replaced` agents do not count; agents are counted only when there is a limit.
///
/// # Errors
/// The database failed.
pub async fn place(tx: &mut Tx, entity: EntityId, replaced: i64, configured: u32) -> Result<(Place, u32), StoreError> {
    let question = "select e.device_limit, f.fleet_id from entity e \
                    left join fleet f on f.entity_id = e.entity_id and f.is_default where e.entity_id = $1";
    let row = tx.row(Statement::new(question, [int(entity.0)])).await?;
    let own = row.as_ref().and_then(|row| u32::try_from(row.int("device_limit")).ok()).filter(|it| *it > 0);
    let limit = own.unwrap_or(configured);
    let agents = if limit > 0 {
        let count = Statement::new("select count(*) as agents from agent where entity_id = $1", [int(entity.0)]);
        tx.row(count).await?.map_or(0, |row| row.int("agents")) - replaced
    } else {
        0
    };
    let fleet = row.and_then(|row| row.opt_int("fleet_id")).map(FleetId);
    Ok((Place { agents, fleet }, limit))
}

/// Earlier enrollments of the same device.
///
/// # Errors
/// The database failed.
pub async fn earlier_agents(
    tx: &mut Tx,
    entity: EntityId,
    serial: &Serial,
    uuid: &str,
) -> Result<Vec<AgentId>, StoreError> {
    let question = Statement::new(
        "select a.agent_id, c.uuid from agent a join computer c on c.computer_id = a.computer_id \
         where a.serial = $1 and a.entity_id = $2 and (c.uuid = '' or $3 = '' or lower(c.uuid) = lower($3)) \
         order by lower(c.uuid) = lower($3) desc, a.agent_id desc limit $4",
        [text(serial.as_str()), int(entity.0), text(uuid), int(SAME_ADDRESS_MAX)],
    );
    let rows = tx.rows(question).await?;
    let same = rows.iter().filter(|row| is_same_device(serial, uuid, &row.text("uuid")));
    Ok(same.map(|row| AgentId(row.int("agent_id"))).collect())
}

/// Takes the invitation, if it can still be taken: the one place where "used once" is decided.
///
/// # Errors
/// The database failed.
pub async fn consume(tx: &mut Tx, invitation: InvitationId, now: Timestamp) -> Result<bool, StoreError> {
    let update = Statement::new(
        "update invitation set status = 'done' where invitation_id = $1 and status = 'pending' and expires_at > $2 \
         returning invitation_id",
        [int(invitation.0), int(now.0)],
    );
    Ok(tx.row(update).await?.is_some())
}

/// Ends an earlier enrollment: what it was owed is cancelled, its passwords, tokens and sessions go with its row.
///
/// # Errors
/// The database failed.
pub async fn end_agent(tx: &mut Tx, agent: AgentId, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "update command set state = 'cancelled', finished_at = $2, detail = 'the device enrolled again' \
         where agent_id = $1 and state in ('queued', 'sent', 'delivered')",
        [int(agent.0), int(now.0)],
    ))
    .await?;
    tx.execute(super::certificate::revoked_with(agent, now)).await?;
    tx.execute(Statement::new("delete from agent where agent_id = $1", [int(agent.0)])).await?;
    Ok(())
}

/// The inventory record of this device, found or made, owned by the invited person.
///
/// # Errors
/// The database failed.
pub async fn computer(
    tx: &mut Tx,
    accepted: &Accepted,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<ComputerId, StoreError> {
    let (entity, serial) = (accepted.invitation.entity, &accepted.serial);
    let known = Statement::new(
        "select computer_id, uuid from computer where entity_id = $1 and serial = $2 \
         and (uuid = '' or $3 = '' or lower(uuid) = lower($3)) order by lower(uuid) = lower($3) desc, computer_id desc limit $4",
        [int(entity.0), text(serial.as_str()), text(&accepted.uuid), int(SAME_ADDRESS_MAX)],
    );
    let known = tx.rows(known).await?.into_iter().find(|row| is_same_device(serial, &accepted.uuid, &row.text("uuid")));
    let computer = match known {
        Some(row) => ComputerId(row.int("computer_id")),
        None => new_computer(tx, entity, serial, &accepted.invitation.email, now).await?,
    };
    tx.execute(Statement::new(
        "update computer set person_id = $2, uuid = case when $3 = '' then uuid else $3 end where computer_id = $1",
        [int(computer.0), int(accepted.invitation.person.0), text(&accepted.uuid)],
    ))
    .await?;
    if let Some(inventory) = attempt.read_inventory() {
        let kept = |it: &Option<String>| text(it.as_deref().unwrap_or_default());
        tx.execute(Statement::new(
            "update computer set inventory = $2, inventory_at = $3, \
             name = case when $4 = '' then name else $4 end, \
             manufacturer = case when $5 = '' then manufacturer else $5 end, \
             model = case when $6 = '' then model else $6 end, \
             os_name = case when $7 = '' then os_name else $7 end, \
             os_version = case when $8 = '' then os_version else $8 end where computer_id = $1",
            [
                int(computer.0),
                text(&inventory.xml),
                int(now.0),
                kept(&inventory.name),
                kept(&inventory.manufacturer),
                kept(&inventory.model),
                kept(&inventory.os_name),
                kept(&inventory.os_version),
            ],
        ))
        .await?;
    }
    Ok(computer)
}

async fn new_computer(
    tx: &mut Tx,
    entity: EntityId,
    serial: &Serial,
    name: &str,
    now: Timestamp,
) -> Result<ComputerId, StoreError> {
    let insert = Statement::new(
        "insert into computer (entity_id, serial, name, created_at) values ($1, $2, $3, $4) returning computer_id",
        [int(entity.0), text(serial.as_str()), text(name), int(now.0)],
    );
    returned(tx, insert).await.map(|row| ComputerId(row.int("computer_id")))
}

/// The new enrollment, and who used the invitation.
///
/// # Errors
/// The database failed.
pub async fn new_agent(
    tx: &mut Tx,
    accepted: &Accepted,
    attempt: &Attempt,
    computer: ComputerId,
    now: Timestamp,
) -> Result<AgentId, StoreError> {
    let invitation = &accepted.invitation;
    let insert = Statement::new(
        "insert into agent (entity_id, serial, computer_id, fleet_id, person_id, name, version, mdm_type, \
         has_system_permission, created_at, invitation_id) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         returning agent_id",
        [
            int(invitation.entity.0),
            text(accepted.serial.as_str()),
            int(computer.0),
            int(accepted.fleet.0),
            int(invitation.person.0),
            text(&invitation.email),
            text(&attempt.version),
            text(accepted.mdm_type),
            Value::Bool(Some(attempt.has_system_permission)),
            int(now.0),
            int(invitation.id.0),
        ],
    );
    let agent = returned(tx, insert).await.map(|row| AgentId(row.int("agent_id")))?;
    if !accepted.serial.is_placeholder() {
        // What was meant for an earlier life of the device must not reach this one.
        let forget = "delete from tombstone where serial = $1 and topic_entity_id = $2";
        tx.execute(Statement::new(forget, [text(accepted.serial.as_str()), int(invitation.entity.0)])).await?;
    }
    tx.execute(Statement::new(
        "update invitation set agent_id = $2 where invitation_id = $1",
        [int(invitation.id.0), int(agent.0)],
    ))
    .await?;
    tx.execute(Statement::new(
        "update person set firstname = case when $2 = '' then firstname else $2 end, \
         realname = case when $3 = '' then realname else $3 end, phone = case when $4 = '' then phone else $4 end \
         where person_id = $1",
        [int(invitation.person.0), text(&attempt.firstname), text(&attempt.lastname), text(&attempt.phone)],
    ))
    .await?;
    Ok(agent)
}

/// One line in the log of an invitation. False: it has as many as it may, and the oldest went.
///
/// # Errors
/// The database failed.
pub async fn log(tx: &mut Tx, invitation: InvitationId, now: Timestamp, event: &str) -> Result<bool, StoreError> {
    tx.execute(Statement::new(
        "insert into invitation_log (invitation_id, created_at, event) values ($1, $2, $3)",
        [int(invitation.0), int(now.0), text(event)],
    ))
    .await?;
    let rotated = Statement::new(
        "delete from invitation_log where invitation_id = $1 and invitation_log_id not in \
         (select invitation_log_id from invitation_log where invitation_id = $1 order by invitation_log_id desc limit $2)",
        [int(invitation.0), int(LOG_LINES_PER_INVITATION_MAX)],
    );
    Ok(tx.execute(rotated).await? == 0)
}

/// Another password for the agent; the earlier ones stay until it connects, up to [`CREDENTIALS_PER_AGENT_MAX`].
/// `false`: there is no such agent any more.
///
/// # Errors
/// The database failed.
pub async fn add_credential(tx: &mut Tx, agent: AgentId, secret: &str, now: Timestamp) -> Result<bool, StoreError> {
    let inserted = tx
        .execute(Statement::new(
            "insert into credential (agent_id, username, secret, created_at) \
             select agent_id, serial, $2, $3 from agent where agent_id = $1",
            [int(agent.0), text(secret), int(now.0)],
        ))
        .await?;
    tx.execute(Statement::new(
        "delete from credential where agent_id = $1 and credential_id not in \
         (select credential_id from credential where agent_id = $1 order by credential_id desc limit $2)",
        [int(agent.0), int(CREDENTIALS_PER_AGENT_MAX)],
    ))
    .await?;
    Ok(inserted > 0)
}

async fn returned(tx: &mut Tx, statement: Statement) -> Result<Row, StoreError> {
    tx.row(statement).await?.ok_or_else(|| StoreError::Database("a row that was just written is missing".into()))
}

fn int(value: i64) -> Value {
    Value::Int(Some(value))
}

fn text(value: &str) -> Value {
    Value::Text(Some(value.into()))
}
