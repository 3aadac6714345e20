//! The inventory of a device that does not exist, in FusionInventory XML.

use std::fmt::Write as _;

/// An inventory of at least so many bytes, filled up with applications.
pub fn xml(serial: &str, uuid: &str, is_apple: bool, bytes_min: usize) -> String {
    let (maker, model, system, version) =
        if is_apple { ("Apple", "iPhone 7", "iOS", "12.1") } else { ("Fairphone", "FP2", "Android", "7.1.2") };
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<REQUEST><QUERY>INVENTORY</QUERY><DEVICEID>{uuid}</DEVICEID><CONTENT>\
         <VERSIONCLIENT>simulated</VERSIONCLIENT><ACCOUNTINFO/>\
         <BIOS><SSN>{serial}</SSN><SMANUFACTURER>{maker}</SMANUFACTURER><SMODEL>{model}</SMODEL></BIOS>\
         <HARDWARE><NAME>{model} {serial}</NAME><UUID>{uuid}</UUID><OSNAME>{system}</OSNAME><OSVERSION>{version}</OSVERSION></HARDWARE>\
         <OPERATINGSYSTEM><NAME>{system}</NAME><VERSION>{version}</VERSION></OPERATINGSYSTEM>"
    );
    let mut number = 0;
    while xml.len() < bytes_min {
        number += 1;
        // Writing to a String cannot fail.
        _ = write!(
            xml,
            "<SOFTWARES><NAME>Application n\u{b0} {number}</NAME><VERSION>1.{number}</VERSION></SOFTWARES>"
        );
    }
    xml.push_str("</CONTENT></REQUEST>");
    xml
}

#[cfg(test)]
mod tests {
    #[test]
    fn inventories_grow_to_the_wished_size() {
        let xml = super::xml("S", "U", false, 20_000);
        assert!((20_000..20_200).contains(&xml.len()));
        assert!(xml.contains("<BIOS><SSN>S</SSN>") && xml.ends_with("</REQUEST>"));
    }
}
