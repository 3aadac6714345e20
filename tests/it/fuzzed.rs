//! The fuzz targets over their seeds and a bounded number of mutations, always the same ones. For more, see fuzz/README.md.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::{collections::BTreeSet, fs};

use targets::TARGETS;

/// Mutations of each seed.
const ROUNDS: u64 = 1500;
/// Bytes of a mutation.
const BYTES_MAX: usize = 4096;

/// A generator that begins at the same place each time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

/// Flips, removes, repeats, overwrites and splices, once or several times.
fn mutated(seed: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    const ODD: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'/', b'#', b'+', b'"', b'<', b'&', b'-'];
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(bytes.len() + 1);
        let until = (at + dice.roll(24)).min(bytes.len());
        match dice.roll(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            1 if at < bytes.len() => bytes[at] = ODD[dice.roll(ODD.len())],
            2 => drop(bytes.drain(at..until)),
            3 => {
                let again = bytes[at..until].repeat(1 + dice.roll(40));
                bytes.splice(at..at, again);
            }
            4 => bytes.insert(at, ODD[dice.roll(ODD.len())]),
            _ => {
                let from = dice.roll(other.len());
                bytes.splice(at..until, other[from..].iter().copied());
            }
        }
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

#[test]
fn no_target_panics_on_mutations_of_its_seeds() {
    for target in TARGETS {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let archive = crate::support::apk::apk("org.example.probe", "1.2.3", 10_203);
        let mut seeds: Vec<&[u8]> = target.seeds.to_vec();
        if target.name == "package_archive" {
            seeds.push(&archive);
        }
        for (at, seed) in seeds.iter().enumerate() {
            (target.run)(seed);
            for round in 0..ROUNDS {
                let bytes = mutated(seed, seeds[(at + 1) % seeds.len()], &mut dice);
                let outcome = std::panic::catch_unwind(|| targets::run(target.name, &bytes));
                assert!(outcome.is_ok(), "{} seed {at} round {round}: {}", target.name, bytes.escape_ascii());
            }
        }
    }
}

#[test]
fn every_target_is_built_for_cargo_fuzz() {
    let table: BTreeSet<String> = TARGETS.iter().map(|it| it.name.to_owned()).collect();
    let files: BTreeSet<String> = fs::read_dir("fuzz/fuzz_targets")
        .unwrap()
        .map(|it| it.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(table, files, "fuzz/targets.rs and fuzz/fuzz_targets");
    for name in &table {
        let source = fs::read_to_string(format!("fuzz/fuzz_targets/{name}.rs")).unwrap();
        let call = format!("libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::run(\"{name}\", data));");
        assert_eq!(source.lines().filter(|it| it.contains("fuzz_target!")).collect::<Vec<_>>(), [call], "{name}");
    }
    let manifest = fs::read_to_string("fuzz/Cargo.toml").unwrap();
    let bins: BTreeSet<&str> = manifest.split("[[bin]]").skip(1).map(str::trim).collect();
    let expected: Vec<String> = table
        .iter()
        .map(|it| format!("name = \"{it}\"\npath = \"fuzz_targets/{it}.rs\"\ntest = false\ndoc = false\nbench = false"))
        .collect();
    assert_eq!(bins, expected.iter().map(String::as_str).collect(), "fuzz/targets.rs and fuzz/Cargo.toml");
}

/// What is only mutated never gets far: the signatures are gone. So the seeds themselves must get where it matters.
#[test]
fn seeds_of_certificates_reach_what_their_targets_are_for() {
    let seeds = |name: &str| TARGETS.iter().find(|it| it.name == name).unwrap().seeds;
    let read = |it: &&[u8]| mdmq::pki::request::read(std::str::from_utf8(it).unwrap());
    let accepted = seeds("certificate_request").iter().filter(|it| matches!(read(it), Ok(Some(_)))).count();
    assert_eq!(accepted, 3, "RSA, P-256 and Ed25519");
    let ways: Vec<_> = seeds("certificate_mapping").iter().map(|it| targets::certificates::way(it)).collect();
    let lengths: Vec<_> = ways.iter().map(|it| (it.between.len(), it.anchors.len())).collect();
    assert_eq!(lengths, [(0, 0), (0, 1), (1, 1), (0, 0), (0, 0)], "a stranger, near, one between, a circle, too deep");
    let lists: Vec<_> = seeds("revocation_list").iter().map(|it| targets::certificates::is_taken(it)).collect();
    assert_eq!(lists, [true, true, false]);
}
