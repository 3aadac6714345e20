//! Every policy, one row each (spec/admin.md §7.3). Numbers are for ever: they stand in rows and requests of others.

use super::{Category, Kind, Policy};

/// The categories: number, parent, name.
#[rustfmt::skip]
pub const CATEGORIES: &[Category] = &[
    Category { id: 1,  parent: None,     name: "Deployment" },
    Category { id: 2,  parent: None,     name: "Security" },
    Category { id: 3,  parent: Some(2),  name: "Encryption" },
    Category { id: 4,  parent: None,     name: "MDM" },
    Category { id: 5,  parent: Some(4),  name: "Geolocation" },
    Category { id: 6,  parent: Some(2),  name: "Authentication" },
    Category { id: 7,  parent: Some(6),  name: "Password" },
    Category { id: 8,  parent: Some(2),  name: "Peripherals" },
    Category { id: 9,  parent: Some(2),  name: "USB" },
    Category { id: 10, parent: Some(2),  name: "User interface" },
    Category { id: 11, parent: None,     name: "Configuration" },
    Category { id: 12, parent: Some(11), name: "User interface" },
];

const COUNT: Kind = Kind::Int { min: 0 };
const ENABLED: Kind =
    Kind::Dropdown(&[("PASSWORD_NONE", "No"), ("PASSWORD_PIN", "Pin"), ("PASSWORD_PASSWD", "Password")]);
const QUALITY: Kind = Kind::Dropdown(&[
    ("PASSWORD_QUALITY_UNSPECIFIED", "Unspecified"),
    ("PASSWORD_QUALITY_SOMETHING", "Something"),
    ("PASSWORD_QUALITY_NUMERIC", "Numeric"),
    ("PASSWORD_QUALITY_ALPHABETIC", "Alphabetic"),
    ("PASSWORD_QUALITY_ALPHANUMERIC", "Alphanumeric"),
    ("PASSWORD_QUALITY_COMPLEX", "Complex"),
]);
const RINGER: Kind = Kind::Dropdown(&[
    ("RINGER_MODE_NORMAL", "Normal"),
    ("RINGER_MODE_SILENT", "Silent"),
    ("RINGER_MODE_VIBRATE", "Vibrate"),
]);

/// The policies, in the order of their numbers.
#[rustfmt::skip]
pub const POLICIES: &[Policy] = &[
    //     id  category  symbol                          group           kind              default  recommended  Android
    policy( 1, 1,  "deployApp",                     "application",  Kind::DeployApp,  "", "",   "4.3", "Deploy application"),
    policy( 2, 1,  "removeApp",                     "application",  Kind::RemoveApp,  "", "",   "4.3", "Remove application"),
    policy( 3, 1,  "deployFile",                    "file",         Kind::DeployFile, "", "",   "4.2", "Deploy file"),
    policy( 4, 1,  "removeFile",                    "file",         Kind::RemoveFile, "", "",   "4.2", "Remove file"),
    policy( 5, 1,  "disableUnknownAppSources",      "phone",        Kind::Bool,  "0", "0", "2.3", "Disable unknown sources").system(),
    policy( 6, 3,  "storageEncryption",             "encryption",   Kind::Bool,  "0", "0", "3.0", "Internal storage encryption"),
    policy( 7, 5,  "periodicGeolocation",           "encryption",   COUNT,       "0", "0", "3.0", "Periodic geolocation"),
    policy( 8, 7,  "passwordEnabled",               "policies",     ENABLED,     "PASSWORD_NONE", "PASSWORD_PIN", "3.0", "Password enabled"),
    policy( 9, 7,  "passwordMinLength",             "policies",     COUNT,       "0", "6", "3.0", "Minimum password length"),
    policy(10, 7,  "passwordQuality",               "policies",     QUALITY,     "PASSWORD_QUALITY_UNSPECIFIED", "PASSWORD_QUALITY_UNSPECIFIED", "3.0", "Password quality"),
    policy(11, 7,  "passwordMinLetters",            "policies",     COUNT,       "0", "0", "3.0", "Minimum letters required in password"),
    policy(12, 7,  "passwordMinLowerCase",          "policies",     COUNT,       "0", "1", "3.0", "Minimum lowercase letters required in password"),
    policy(13, 7,  "passwordMinNonLetter",          "policies",     COUNT,       "0", "0", "3.0", "Minimum non-letter characters required in password"),
    policy(14, 7,  "passwordMinNumeric",            "policies",     COUNT,       "0", "1", "3.0", "Minimum numerical digits required in password"),
    policy(15, 7,  "passwordMinSymbols",            "policies",     COUNT,       "0", "0", "3.0", "Minimum symbols required in password"),
    policy(16, 7,  "passwordMinUpperCase",          "policies",     COUNT,       "0", "1", "3.0", "Minimum uppercase letters required in password"),
    policy(17, 7,  "maximumFailedPasswordsForWipe", "policies",     COUNT,       "0", "5", "3.0", "Maximum failed password attempts for wipe"),
    policy(18, 7,  "maximumTimeToLock",             "policies",     COUNT,       "60000", "60000", "3.0", "Maximum time to lock (milliseconds)"),
    policy(19, 8,  "disableCamera",                 "camera",       Kind::Bool,  "0", "0", "4.0", "Disable Camera"),
    policy(20, 8,  "disableWifi",                   "connectivity", Kind::Bool,  "0", "0", "1.0", "Disable Wifi"),
    policy(21, 8,  "disableBluetooth",              "connectivity", Kind::Bool,  "0", "0", "2.0", "Disable Bluetooth"),
    policy(22, 8,  "disableRoaming",                "connectivity", Kind::Bool,  "0", "0", "5.0", "Disable roaming"),
    policy(23, 8,  "disableGPS",                    "connectivity", Kind::Bool,  "0", "0", "1.5", "Disable GPS").system(),
    policy(24, 8,  "disableMobileLine",             "connectivity", Kind::Bool,  "0", "0", "5.0", "Disable Mobile line").system(),
    policy(25, 8,  "disableNfc",                    "connectivity", Kind::Bool,  "0", "0", "4.3", "Disable NFC").system(),
    policy(26, 8,  "disableHostpotTethering",       "connectivity", Kind::Bool,  "0", "0", "5.0", "Disable hotspot and tethering"),
    policy(27, 8,  "disableAirplaneMode",           "connectivity", Kind::Bool,  "0", "0", "4.2", "Disable airplane mode").system(),
    policy(28, 8,  "disableSpeakerphone",           "connectivity", Kind::Bool,  "0", "0", "5.0", "Disable speakerphone"),
    policy(29, 9,  "disableUsbMtp",                 "connectivity", Kind::Bool,  "0", "0", "3.1", "Disable USB MTP").system(),
    policy(30, 9,  "disableUsbPtp",                 "connectivity", Kind::Bool,  "0", "0", "3.1", "Disable USB PTP").system(),
    policy(31, 9,  "disableUsbAdb",                 "connectivity", Kind::Bool,  "1", "0", "4.2", "Disable USB ADB").system(),
    policy(32, 10, "disableStatusBar",              "ui",           Kind::Bool,  "0", "0", "4.3", "Disable status bar").system(),
    policy(33, 10, "disableScreenCapture",          "ui",           Kind::Bool,  "0", "0", "5.0", "Disable screen capture").system(),
    policy(34, 12, "disableStreamMusic",            "ui",           Kind::Bool,  "0", "0", "5.0", "Disable media sounds"),
    policy(35, 12, "disableStreamRing",             "ui",           Kind::Bool,  "0", "0", "5.0", "Disable ringer sounds"),
    policy(36, 12, "disableStreamAlarm",            "ui",           Kind::Bool,  "0", "0", "5.0", "Disable alarm sounds"),
    policy(37, 12, "disableStreamNotification",     "ui",           Kind::Bool,  "0", "0", "5.0", "Disable notifications sounds"),
    policy(38, 12, "disableStreamAccessibility",    "ui",           Kind::Bool,  "0", "0", "5.0", "Disable accessibility sounds").system(),
    policy(39, 12, "disableStreamDTMF",             "ui",           Kind::Bool,  "0", "0", "5.0", "Disable DTMF sounds"),
    policy(40, 12, "disableStreamSystem",           "ui",           Kind::Bool,  "0", "0", "5.0", "Disable system sounds").system(),
    policy(41, 12, "defaultStreamType",             "ui",           RINGER,      "RINGER_MODE_NORMAL", "RINGER_MODE_NORMAL", "5.0", "Audio profile mode").system(),
];

#[expect(clippy::too_many_arguments, reason = "a row of the table above, which is read as a table")]
const fn policy(
    id: i64,
    category: i64,
    symbol: &'static str,
    group: &'static str,
    kind: Kind,
    default: &'static str,
    recommended: &'static str,
    android_min: &'static str,
    name: &'static str,
) -> Policy {
    Policy { id, symbol, name, group, category, kind, default, recommended, android_min, needs_system_app: false }
}

impl Policy {
    /// The agent must be a system application to carry it out.
    const fn system(self) -> Policy {
        Policy { needs_system_app: true, ..self }
    }
}
