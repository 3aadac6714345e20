//! Who may enroll: what a device sends, and the checks of spec/http.md §4.2 in their order. Looks nothing up and writes nothing.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    ids::{BadSerial, EntityId, FleetId, InvitationId, PersonId, Serial},
    mdm::{
        inventory::{self, Inventory},
        version,
    },
};

/// The certificate request in `input`; empty without one. What is no text is none that can be signed, and is refused as such later.
pub fn certificate_request(input: &Map<String, Value>) -> String {
    match input.get("csr") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Longest name, address, phone number or identifier that is kept, in characters.
pub const FIELD_CHARS_MAX: usize = 255;

const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// What a device sent to enroll, read but not judged. Both contracts: v1 has no `type`, `_uuid` and `inventory`.
#[derive(Clone, PartialEq)]
pub struct Attempt {
    /// Address that the person was invited under, lower case.
    pub email: String,
    /// The right to enroll.
    pub invitation_token: String,
    /// What the person typed.
    pub firstname: String,
    /// What the person typed.
    pub lastname: String,
    /// What the person typed.
    pub phone: String,
    /// Version of the agent.
    pub version: String,
    /// Whether the agent has the permissions of a system app.
    pub has_system_permission: bool,
    /// The inventory.
    pub inventory: SentInventory,
    /// What it wants to have signed, as it was sent; may be empty.
    pub csr: String,
    serial: String,
    uuid: String,
    mdm_type: String,
    notification_type: String,
    notification_token: String,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let it = &mut f.debug_struct("Attempt");
        it.field("email", &self.email).field("serial", &self.serial).field("invitation_token", &format_args!("***"));
        it.finish_non_exhaustive()
    }
}

/// The `inventory` member.
#[derive(Debug, Clone, PartialEq)]
pub enum SentInventory {
    /// The v1 contract: it comes later by MQTT.
    Absent,
    /// Nothing in it.
    Empty,
    /// Not XML.
    Malformed,
    /// As it should be.
    Read(Box<Inventory>),
}

/// The invitation that the token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Key.
    pub id: InvitationId,
    /// Who was invited.
    pub person: PersonId,
    /// The person's address, lower case.
    pub email: String,
    /// Where the agent will belong.
    pub entity: EntityId,
    /// Whether nobody enrolled with it.
    pub is_pending: bool,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What the database says about the place where the agent would land.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Agents in the entity, without those that this one would replace.
    pub agents: i64,
    /// Its default fleet.
    pub fleet: Option<FleetId>,
}

/// What the operator demands.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Lowest Android agent; "" is any.
    pub android_version_min: &'a str,
    /// Lowest iOS agent; "" is any.
    pub apple_version_min: &'a str,
    /// Agents in one entity; 0 is no limit.
    pub agents_per_entity_max: u32,
}

/// An attempt that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// With what right.
    pub invitation: Invitation,
    /// MQTT user name and part of the topic.
    pub serial: Serial,
    /// May be empty.
    pub uuid: String,
    /// `android` or `apple`.
    pub mdm_type: &'static str,
    /// Where it lands.
    pub fleet: FleetId,
}

/// Why a device may not enroll. The texts are Flyve's, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum Refusal {
    #[error("Too many devices")]
    TooMany,
    #[error("Unable to find a enrollment method")]
    NoMethod,
    #[error("Invitation token invalid")]
    NoInvitation,
    #[error("FCM service is not available")]
    NoFcm,
    #[error("Notification settings are invalid")]
    BadNotification,
    #[error("One of serial and uuid is mandatory")]
    NoIdentity,
    /// Ours: Flyve would have built a topic from it that other topics can be mistaken for.
    #[error("{0}")]
    BadSerial(BadSerial),
    #[error("Device inventory XML is mandatory")]
    NoInventory,
    #[error("Inventory XML is not well formed")]
    BadInventory,
    #[error("Agent version missing")]
    NoVersion,
    #[error("unknown MDM type")]
    UnknownType,
    #[error("Bad agent version")]
    BadVersion,
    #[error("The agent version is too low")]
    LowVersion,
    #[error("Invitation is not pending")]
    NotPending,
    #[error("Invitation token expired")]
    Expired,
    #[error("Wrong email address")]
    WrongEmail,
    #[error("Failed to sign the certificate: {0}")]
    NotSigned(&'static str),
    #[error("No default fleet available for the device")]
    NoFleet,
}

impl Refusal {
    /// Whether somebody may be trying out tokens or addresses. Everything else is said to people whom we invited.
    pub fn is_wrong_secret(self) -> bool {
        matches!(self, Refusal::NoInvitation | Refusal::WrongEmail)
    }
}

impl Attempt {
    /// Reads the members of `input`. Nothing is refused yet: what has the wrong type counts as absent, but for a certificate request.
    pub fn read(input: &Map<String, Value>) -> Attempt {
        Attempt {
            email: field(input, "_email").to_lowercase(),
            invitation_token: field(input, "_invitation_token"),
            firstname: field(input, "firstname"),
            lastname: field(input, "lastname"),
            phone: field(input, "phone"),
            version: field(input, "version"),
            has_system_permission: is_set(input.get("has_system_permission")),
            inventory: sent_inventory(input.get("inventory")),
            csr: certificate_request(input),
            serial: identity(input, "_serial"),
            uuid: field(input, "_uuid"),
            mdm_type: field(input, "type"),
            notification_type: field(input, "notification_type"),
            notification_token: field(input, "notification_token"),
        }
    }

    /// What the device is called: the inventory's serial, `_serial`, `_uuid`, a real one before a placeholder (spec/http.md §4.3).
    ///
    /// # Errors
    /// There is none, or topics cannot carry it.
    pub fn serial(&self) -> Result<Serial, Refusal> {
        let from_inventory = self.read_inventory().and_then(|it| it.serial.as_deref()).unwrap_or_default().trim();
        let mut named = [from_inventory, &self.serial].into_iter().filter(|it| !it.is_empty()).map(Serial::parse);
        let chosen = match (named.next(), named.next()) {
            (Some(Ok(first)), Some(Ok(second))) if first.is_placeholder() && !second.is_placeholder() => Ok(second),
            (Some(first), _) => first,
            (None, _) => Serial::parse(&self.uuid()),
        };
        chosen.map_err(|e| if e == BadSerial::Empty { Refusal::NoIdentity } else { Refusal::BadSerial(e) })
    }

    /// `_uuid`, or that of the inventory; may be empty. Kept as sent, because it may become the MQTT user name.
    pub fn uuid(&self) -> String {
        if self.uuid.is_empty() {
            self.read_inventory().and_then(|it| it.uuid.as_deref()).map(cleaned).unwrap_or_default()
        } else {
            self.uuid.clone()
        }
    }

    /// The inventory, if there is one.
    pub fn read_inventory(&self) -> Option<&Inventory> {
        match &self.inventory {
            SentInventory::Read(inventory) => Some(inventory),
            _ => None,
        }
    }

    /// Check 3, which needs no database.
    ///
    /// # Errors
    /// No address or no invitation.
    pub fn check_method(&self) -> Result<(), Refusal> {
        if self.email.is_empty() || self.invitation_token.is_empty() { Err(Refusal::NoMethod) } else { Ok(()) }
    }

    fn check_notification(&self) -> Result<(), Refusal> {
        // Agents before rc.7 and iOS send none: that is MQTT (spec/http.md §4.1).
        match self.notification_type.as_str() {
            "" | "mqtt" => Ok(()),
            "fcm" => Err(Refusal::NoFcm),
            _ => Err(Refusal::BadNotification),
        }
    }

    fn check_inventory(&self) -> Result<(), Refusal> {
        match self.inventory {
            SentInventory::Absent | SentInventory::Read(_) => Ok(()),
            SentInventory::Empty => Err(Refusal::NoInventory),
            SentInventory::Malformed => Err(Refusal::BadInventory),
        }
    }

    fn check_version(&self, rules: Rules<'_>) -> Result<&'static str, Refusal> {
        if self.version.is_empty() {
            return Err(Refusal::NoVersion);
        }
        let (mdm_type, minimum) = match self.mdm_type.as_str() {
            "" | "android" => ("android", rules.android_version_min),
            "apple" => ("apple", rules.apple_version_min),
            _ => return Err(Refusal::UnknownType),
        };
        let version = version::find(&self.version).ok_or(Refusal::BadVersion)?;
        if !minimum.is_empty() && version::compare(version, minimum).is_lt() {
            return Err(Refusal::LowVersion);
        }
        Ok(mdm_type)
    }
}

/// Checks 4 to 24, in the order of spec/http.md §4.2. Deviation: Flyve spent the invitation before it imported the inventory;
/// here it is spent only when everything else was found right, so a mended retry succeeds. The limit of an entity (2) comes
/// after the invitation (4), because only that says which entity it is.
///
/// # Errors
/// The first check that failed.
pub fn check(
    attempt: &Attempt,
    invitation: Option<Invitation>,
    place: Place,
    rules: Rules<'_>,
    now: Timestamp,
) -> Result<Accepted, Refusal> {
    attempt.check_method()?;
    let invitation = invitation.ok_or(Refusal::NoInvitation)?;
    if rules.agents_per_entity_max > 0 && place.agents >= i64::from(rules.agents_per_entity_max) {
        return Err(Refusal::TooMany);
    }
    attempt.check_notification()?;
    let serial = attempt.serial()?;
    attempt.check_inventory()?;
    let mdm_type = attempt.check_version(rules)?;
    if !invitation.is_pending {
        return Err(Refusal::NotPending);
    }
    if now >= invitation.expires_at {
        return Err(Refusal::Expired);
    }
    if attempt.email != invitation.email {
        return Err(Refusal::WrongEmail);
    }
    let fleet = place.fleet.ok_or(Refusal::NoFleet)?;
    Ok(Accepted { invitation, serial, uuid: attempt.uuid(), mdm_type, fleet })
}

/// Whether an agent or computer with this serial and `theirs` as UUID is the device that now says `ours`. Devices that hide their
/// serial share a placeholder: only a UUID tells them apart. A real serial is enough where one side never said its UUID.
pub fn is_same_device(serial: &Serial, ours: &str, theirs: &str) -> bool {
    if ours.is_empty() || theirs.is_empty() { !serial.is_placeholder() } else { ours.eq_ignore_ascii_case(theirs) }
}

/// `inventory`: base64 of XML, whose markup some agents sent as entities. Also what an agent sends as `_inventory`.
pub fn sent_inventory(member: Option<&Value>) -> SentInventory {
    let Some(text) = member.filter(|it| !it.is_null()) else { return SentInventory::Absent };
    let letters: Vec<u8> = text.as_str().unwrap_or_default().bytes().filter(|it| !it.is_ascii_whitespace()).collect();
    if letters.is_empty() {
        return SentInventory::Empty;
    }
    let Ok(mut xml) = TOLERANT.decode(letters) else { return SentInventory::Malformed };
    if xml.iter().all(u8::is_ascii_whitespace) {
        return SentInventory::Empty;
    }
    if !xml.contains(&b'<') {
        let latin: String = xml.iter().map(|it| char::from(*it)).collect();
        let markup = latin.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        xml = markup.chars().map(|it| u8::try_from(it).expect("every character came from one byte")).collect();
    }
    match inventory::parse(&xml) {
        Ok(inventory) => SentInventory::Read(Box::new(inventory)),
        Err(_) => SentInventory::Malformed,
    }
}

/// A text member, without what databases and topics cannot carry.
fn field(input: &Map<String, Value>, name: &str) -> String {
    cleaned(&text(input, name))
}

/// A text member that names the device. What topics cannot carry stays in it and is refused: without it, it would name another one.
fn identity(input: &Map<String, Value>, name: &str) -> String {
    text(input, name).trim().chars().take(FIELD_CHARS_MAX).collect()
}

fn text(input: &Map<String, Value>, name: &str) -> String {
    match input.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn cleaned(text: &str) -> String {
    text.trim().chars().filter(|it| !it.is_control()).take(FIELD_CHARS_MAX).collect()
}

/// `"1"`, `1` and `true`.
fn is_set(member: Option<&Value>) -> bool {
    match member {
        Some(Value::String(text)) => text == "1" || text == "true",
        Some(Value::Number(number)) => number.as_i64() == Some(1),
        Some(Value::Bool(flag)) => *flag,
        _ => false,
    }
}

#[cfg(test)]
#[path = "enroll_tests.rs"]
mod tests;
