//! What is shipped around the program: the unit for systemd keeps the promises that are made of it.

use std::{fs, process::Command};

use crate::support::server::MDMQ;

const UNIT: &str = "packaging/mdmq.service";
/// Ten times the exposure that `systemd-analyze security` may count: 14 now, and 96 without a sandbox.
const EXPOSURE_MAX: u32 = 20;

/// What packaging/README.md says, and the directives that make it true.
#[rustfmt::skip]
const PROMISES: &[(&str, &[(&str, &str)])] = &[
    ("systemd makes a user for the service (`DynamicUser=yes`)", &[("DynamicUser", "yes")]),
    ("takes every right from it before the program starts", &[
        ("NoNewPrivileges", "yes"), ("CapabilityBoundingSet", ""), ("AmbientCapabilities", ""), ("PrivateUsers", "yes"), ("RestrictSUIDSGID", "yes"),
        ("RestrictNamespaces", "yes"), ("RestrictRealtime", "yes"), ("SystemCallArchitectures", "native"),
    ]),
    ("Read the system", &[
        ("ProtectSystem", "strict"), ("PrivateDevices", "yes"), ("PrivateTmp", "yes"), ("PrivateIPC", "yes"), ("ProtectClock", "yes"), ("ProtectHostname", "yes"),
        ("ProtectKernelLogs", "yes"), ("ProtectKernelModules", "yes"), ("ProtectKernelTunables", "yes"), ("ProtectControlGroups", "yes"),
    ]),
    ("write its data directory", &[("StateDirectory", "mdmq"), ("Environment", "MDMQ_DATA_DIR=/var/lib/mdmq")]),
    ("The data directory is `/var/lib/mdmq` (mode 0700)", &[("StateDirectoryMode", "0700"), ("UMask", "0077")]),
    ("speak TCP", &[("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX")]),
    ("makes no memory\nexecutable", &[("MemoryDenyWriteExecute", "yes"), ("LockPersonality", "yes")]),
    ("sees no other process", &[("ProtectProc", "invisible"), ("ProcSubset", "pid")]),
    ("no home directory", &[("ProtectHome", "yes")]),
    ("Nothing of a crash lands on the disk", &[("LimitCORE", "0"), ("MemorySwapMax", "0"), ("KeyringMode", "private"), ("RemoveIPC", "yes")]),
    ("**Stopping** takes at most ten seconds", &[("KillSignal", "SIGTERM"), ("TimeoutStopSec", "30")]),
];

/// The directives of `[Service]`, in their order.
fn directives() -> Vec<(String, String)> {
    let unit = fs::read_to_string(UNIT).unwrap();
    let section = unit.lines().skip_while(|it| *it != "[Service]").skip(1).take_while(|it| !it.starts_with('['));
    let settings = section.filter(|it| !it.starts_with('#') && !it.is_empty());
    settings.map(|it| it.split_once('=').unwrap_or_else(|| panic!("no directive: {it}"))).map(owned).collect()
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn the_unit_does_what_its_readme_promises() {
    let (readme, directives) = (fs::read_to_string("packaging/README.md").unwrap(), directives());
    let values = |key: &str| directives.iter().filter(|it| it.0 == key).map(|it| it.1.as_str()).collect::<Vec<_>>();
    for (promise, kept_by) in PROMISES {
        assert!(readme.contains(promise), "packaging/README.md no longer says \"{promise}\"");
        for (key, value) in *kept_by {
            assert_eq!(values(key), [*value], "{key}: \"{promise}\"; a second line would replace the first");
        }
    }
    let calls = values("SystemCallFilter");
    assert_eq!(calls[..2], ["@system-service", "~@privileged @resources @obsolete"]);
    // Whatever is allowed again, nobody becomes another user, mounts, debugs or loads by it.
    let again: Vec<&str> = calls[2..].iter().flat_map(|it| it.split(' ')).collect();
    assert_eq!(again, ["prlimit64", "setrlimit", "getpriority", "setpriority", "sched_setaffinity"]);
    let opening = ["ReadWritePaths", "BindPaths", "ExecPaths", "ExecStartPre", "ExecStartPost", "PermissionsStartOnly"];
    assert!(opening.iter().all(|it| values(it).is_empty()), "{directives:?}");
    let rows = fs::read_to_string("SECURITY.md").unwrap();
    assert!(rows.contains("| Sandbox | `packaging/mdmq.service` | no rights, no writing outside the data directory |"));
}

/// What systemd itself says, where it is installed: the directives above are checked everywhere.
#[test]
fn systemd_understands_the_unit_and_counts_a_small_exposure() {
    let unit = fs::read_to_string(UNIT).unwrap();
    assert_eq!(unit.matches("/usr/bin/mdmq").count(), 1);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mdmq.service");
    // The program is not installed here.
    fs::write(&file, unit.replace("/usr/bin/mdmq", MDMQ)).unwrap();
    let analyzed = |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(&file).output();
    let Ok(verified) = analyzed(&["verify", "--man=no"]) else { return };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("mdmq.service"), "{said}");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let counted = analyzed(&["security", "--offline=true", "--no-pager", &threshold]).unwrap();
    assert!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stdout));
}
