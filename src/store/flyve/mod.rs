//! Moving in from a GLPI database with the Flyve plugin. Everything is read and understood first, outside any transaction; then one story
//! writes all of it or nothing; positions, which may be millions, follow in pieces and go on where they stopped.

mod contents;
mod plan;
mod plan_devices;
mod positions;
mod report;
mod source;
mod tables;
mod write;
mod write_devices;
mod write_files;
mod write_tasks;

use sha2::{Digest, Sha256};

pub use contents::{Contents, Stored};
pub use report::{Count, Report, Skipped};
pub use source::{Source, SourceError};
use tables::Tables;
pub use write::{Moved, Secrets, move_in};

/// Everything that was read, understood, and not yet written.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    /// Which database it is, in the table `imported`.
    pub source: String,
    /// What is known about the move so far.
    pub report: Report,
    tables: Tables,
    entities: Vec<plan::Entity>,
    people: Vec<plan::Person>,
    fleets: Vec<plan::Fleet>,
    computers: Vec<plan_devices::Computer>,
    agents: Vec<plan_devices::Agent>,
}

/// Which stored passwords can be verified here.
#[derive(Debug, Clone, Copy)]
pub struct Hashes {
    /// Of devices.
    pub of_device: fn(&str) -> bool,
    /// Of people; a refusal says why, behind "the password".
    pub of_person: fn(&str) -> Result<(), &'static str>,
}

/// Reads everything but positions.
///
/// # Errors
/// The other database failed.
pub async fn prepare(source: &mut Source, hashes: Hashes, dry_run: bool) -> Result<Prepared, SourceError> {
    let tables = Tables::read(source).await?;
    // The plugin's own name for its installation holds when the database is reached another way.
    let instance = source.setting("instance_id").await?.filter(|it| !it.is_empty());
    let name = instance.unwrap_or_else(|| source.name().to_owned());
    let digits: String = Sha256::digest(name).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let mut report = Report { source: source.name().to_owned(), dry_run, ..Report::default() };
    let entities = plan::entities(&tables, &mut report);
    let people = plan::people(&tables, hashes.of_person, &mut report);
    let fleets = plan::fleets(&tables);
    let computers = plan_devices::computers(&tables);
    let agents = plan_devices::agents(&tables, &computers, hashes.of_device, &mut report);
    Ok(Prepared { source: format!("flyve:{digits}"), report, tables, entities, people, fleets, computers, agents })
}
