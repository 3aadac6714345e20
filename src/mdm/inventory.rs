//! FusionInventory XML: stored whole, with what identifies a device pulled out.

/// An inventory as it came, and what we read in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// The XML, as UTF-8.
    pub xml: String,
    /// `HARDWARE/NAME`.
    pub name: Option<String>,
    /// `BIOS/SSN`.
    pub serial: Option<String>,
    /// `HARDWARE/UUID`.
    pub uuid: Option<String>,
    /// `BIOS/SMANUFACTURER`.
    pub manufacturer: Option<String>,
    /// `BIOS/SMODEL`.
    pub model: Option<String>,
    /// `OPERATINGSYSTEM/NAME` or `HARDWARE/OSNAME`.
    pub os_name: Option<String>,
    /// `OPERATINGSYSTEM/VERSION` or `HARDWARE/OSVERSION`.
    pub os_version: Option<String>,
}
