//! The house rules that a program can check: who may know whom, how long a file may be, which words stay out, and that
//! documents and code agree. Each failure says what to do instead.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Lines in a source file. Aim for 400.
const LINES_MAX: usize = 600;

/// Which modules of `src/` a module may name. Downwards only; the picture is in ARCHITECTURE.md.
#[rustfmt::skip]
const MAY_USE: &[(&str, &[&str])] = &[
    // wiring
    ("cli",      &["serve", "simulate", "config", "cores", "clock", "ids", "datadir", "net", "mdm", "store", "pki", "qr"]),
    ("serve",    &["mail", "pki", "net", "http", "flows", "broker", "store", "config", "clock", "metrics", "datadir", "ids"]),
    ("simulate", &["mqtt", "mdm", "config", "clock", "ids", "datadir"]),
    // edges
    ("net",      &["flows", "broker", "mqtt", "pki", "config", "cores", "clock", "metrics", "ids", "datadir"]),
    ("http",     &["flows", "broker", "mdm", "store", "config", "clock", "metrics", "ids", "datadir", "qr"]), // of `store` only its error and its rows
    // stories
    ("flows",    &["store", "mail", "pki", "qr", "broker", "guard", "mdm", "mqtt", "config", "cores", "clock", "metrics", "ids", "datadir"]),
    // core
    ("broker",   &["mqtt", "mdm", "clock", "ids"]), // of `mdm` only the Agent; of `clock` only the Timestamp
    ("mdm",      &["mqtt", "clock", "ids"]),        // of `mqtt` only small nouns; of `clock` only the Timestamp
    ("guard",    &["ids"]),
    ("mqtt",     &[]),
    // backing
    ("store",    &["mdm", "config", "clock", "ids", "metrics"]),
    ("mail",     &["mdm", "config"]),               // of `mdm` only the help desk
    ("pki",      &["config", "clock", "ids", "datadir"]),
    // base
    ("datadir",  &[]),
    ("metrics",  &[]),
    ("qr",       &[]),
    ("config",   &[]),
    ("cores",    &[]),
    ("clock",    &[]),
    ("ids",      &[]),
];

/// A text in code, the files that may contain it, and what to do instead.
#[rustfmt::skip]
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("sqlx",             &["src/store/"], "only `store` speaks SQL; add a question or a story there"),
    ("std::env",         &["src/config.rs", "src/cli/", "src/cli.rs"], "pass settings in; only `config` and `cli` read the environment"),
    ("env::var",         &["src/config.rs", "src/cli/", "src/cli.rs"], "pass settings in; only `config` and `cli` read the environment"),
    ("SystemTime::now",  &["src/clock.rs"], "ask `Clock::now`, or take the time as an argument"),
    ("Instant::now",     &["src/clock.rs"], "ask `Clock::instant`, or take the time as an argument"),
    ("process::Command", &[], NO_PROGRAMS),
    ("process::{",       &[], NO_PROGRAMS),
    ("tokio::process",   &[], NO_PROGRAMS),
];

const NO_PROGRAMS: &str =
    "mdmq starts no programs, whoever asks (packaging/README.md); name what is meant, such as `process::ExitCode`";

/// Texts that the pure core (`mqtt`, `broker`, `mdm`, `guard`) never contains, and why.
const NOT_IN_CORE: &[(&str, &str)] = &[
    ("tokio::spawn", "the core spawns nothing"),
    ("tokio::net", "the core never touches a socket"),
    ("tokio::time", "the core never waits; a deadline is a value"),
    ("tracing::", "the core does not log; it returns values and the flow that called it logs"),
    ("async fn", "the core never waits"),
    ("std::fs", "the core never touches a file"),
    ("std::net", "the core never touches a socket"),
];

/// Words that mean that something is not finished, or that only one machine understands.
const NOWHERE: &[&str] = &[
    "TO\x44O",
    "FIX\x4dE",
    "to\x64o!(",
    "unimple\x6dented!(",
    "#[ig\x6eore",
    "d\x62g!(",
    "/tmp/\x77t",
    ".libr\x61ry",
    "/work/\x73hared",
];

#[test]
fn modules_know_only_what_lies_below_them() {
    let mut broken = Vec::new();
    for file in rust_files("src") {
        let module = module_of(&file);
        let Some((_, may)) = MAY_USE.iter().find(|(name, _)| *name == module) else { continue };
        for used in used_modules(&code_of(&file)) {
            if used != module && !may.contains(&used.as_str()) && MAY_USE.iter().any(|(name, _)| *name == used) {
                broken.push(format!("{}: {module} may not use {used}", file.display()));
            }
        }
    }
    assert_none(broken, "Move the code to a layer that may know both, or pass the value in; the table is MAY_USE.");
}

#[test]
fn what_belongs_to_one_module_stays_there() {
    let mut broken = Vec::new();
    for file in rust_files("src") {
        let (path, code) = (file.display().to_string(), code_of(&file));
        for (text, homes, advice) in ONLY_IN {
            if code.contains(text) && !homes.iter().any(|home| path.starts_with(home)) {
                broken.push(format!("{path}: `{text}`: {advice}"));
            }
        }
        for (text, advice) in NOT_IN_CORE {
            if ["mqtt", "broker", "mdm", "guard"].contains(&module_of(&file).as_str()) && code.contains(text) {
                broken.push(format!("{path}: `{text}`: {advice}"));
            }
        }
    }
    assert_none(broken, "");
}

#[test]
fn files_are_short_and_begin_with_what_they_are_for() {
    let mut broken = Vec::new();
    for file in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        if lines > LINES_MAX {
            broken.push(format!("{}: {lines} lines; split it by what a reader looks for", file.display()));
        }
        if !text.starts_with("//!") {
            broken
                .push(format!("{}: begin with a `//!` line: what it is for and what it refuses to do", file.display()));
        }
    }
    assert_none(broken, "");
}

#[test]
fn nothing_unfinished_is_left() {
    let mut broken = Vec::new();
    for file in ["src", "tests", "benches", "scripts", "config", "certs", ".ci"].into_iter().flat_map(all_files) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for word in NOWHERE.iter().filter(|word| text.contains(*word)) {
            broken.push(format!("{}: {word}", file.display()));
        }
    }
    assert_none(broken, "Finish it, delete it, or write down what is known to be wrong in ARCHITECTURE.md.");
}

#[test]
fn nothing_outside_tests_unwraps() {
    let mut broken = Vec::new();
    for file in rust_files("src") {
        for (number, line) in code_of(&file).lines().enumerate().filter(|(_, line)| line.contains(".unwrap()")) {
            broken.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
        }
    }
    assert_none(broken, "Return the error, or write `expect(\"reason it cannot happen\")`.");
}

#[test]
fn modules_are_listed_alike_in_lib_rs_in_this_file_and_in_the_architecture() {
    let code = fs::read_to_string("src/lib.rs").unwrap();
    let in_lib: BTreeSet<String> =
        code.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect();
    let in_table: BTreeSet<String> = MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect();
    let map = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let in_map: BTreeSet<String> = map
        .lines()
        .skip_while(|line| !line.starts_with("## Modules"))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(|name| name.split(['/', '.', ':']).next().unwrap().to_owned())
        .collect();
    assert_eq!(in_lib, in_table, "src/lib.rs and MAY_USE in tests/tidy.rs");
    assert_eq!(in_lib, in_map, "src/lib.rs and the table under \"Modules\" in ARCHITECTURE.md");
}

#[test]
fn every_story_file_is_listed_in_main() {
    let main = fs::read_to_string("tests/it/main.rs").unwrap();
    let missing: Vec<String> = fs::read_dir("tests/it")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "rs") && !path.ends_with("main.rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !main.contains(&format!("mod {name};")))
        .collect();
    assert_none(missing, "Add `mod …;` to tests/it/main.rs.");
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |engine: &str| -> BTreeSet<String> {
        fs::read_dir(format!("src/store/migrations/{engine}"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(names("sqlite"), names("postgres"), "write the migration for the other engine too, under the same name");
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let dependencies =
        manifest.lines().skip_while(|line| *line != "[dependencies]").take_while(|line| *line != "[lints.rust]");
    let silent: Vec<String> = dependencies
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '[']) && !line.contains(" # "))
        .map(str::to_owned)
        .collect();
    assert_none(silent, "End the line with a comment that says what the crate is for.");
}

#[test]
fn every_shipped_setting_is_explained() {
    let text = fs::read_to_string("config/server.toml").unwrap();
    let mut explained = false;
    let mut silent = Vec::new();
    for line in text.lines().map(str::trim) {
        let is_setting = !line.is_empty() && !line.starts_with(['#', '[']);
        if is_setting && !explained && !line.contains(" # ") {
            silent.push(line.to_owned());
        }
        explained = line.starts_with('#');
    }
    assert_none(silent, "Write a comment above the key in config/server.toml that an operator understands.");
}

#[test]
fn the_readme_names_only_commands_that_exist() {
    let readme = fs::read_to_string("README.md").unwrap();
    let mut broken = Vec::new();
    for script in words_after(&readme, "./scripts/") {
        if !Path::new("scripts").join(&script).exists() {
            broken.push(format!("scripts/{script} does not exist"));
        }
    }
    for command in words_after(&readme, "mdmq ")
        .into_iter()
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
    {
        let help = Command::new(env!("CARGO_BIN_EXE_mdmq")).args([&command, "--help"]).output().unwrap();
        if !help.status.success() {
            broken.push(format!("`mdmq {command}` does not exist"));
        }
    }
    assert_none(broken, "The README is copied and pasted; every command in it must work.");
}

#[test]
fn the_readme_and_the_build_run_the_same_test_command() {
    for file in ["README.md", ".ci/run"] {
        assert!(
            fs::read_to_string(file).unwrap().lines().any(|line| line == "./scripts/test"),
            "{file} runs ./scripts/test"
        );
    }
}

fn assert_none(broken: Vec<String>, advice: &str) {
    assert!(broken.is_empty(), "\n{}\n{advice}\n", broken.join("\n"));
}

/// `src/mdm/inbound.rs` and `src/mdm.rs` belong to `mdm`; `main.rs` and `lib.rs` to nobody.
fn module_of(file: &Path) -> String {
    file.components().nth(1).unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The part of a source file that is not test code, without comments.
fn code_of(file: &Path) -> String {
    let name = file.file_name().unwrap().to_str().unwrap();
    if name.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests") {
        return String::new();
    }
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_test_module =
        |at: usize| lines[at] == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|it| it.contains("mod "));
    let tests_at = (0..lines.len()).find(|at| is_test_module(*at)).unwrap_or(lines.len());
    let without_comment =
        |line: &str| if line.trim_start().starts_with("//") { String::new() } else { line.to_owned() };
    lines[..tests_at].iter().copied().map(without_comment).collect::<Vec<_>>().join("\n")
}

/// Modules named as `crate::name` or inside `use crate::{…}`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => {
                used.insert(first_name(after));
            }
            Some(list) => used.extend(top_level_names(list)),
        }
    }
    used.remove("");
    used
}

/// The names at depth one of `a::{b, c}, d::e}`.
fn top_level_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(first_name(list[start..at].trim()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn first_name(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn words_after(text: &str, start: &str) -> BTreeSet<String> {
    let commands = text.split("```").skip(1).step_by(2).flat_map(str::lines).filter(|line| !line.starts_with('#'));
    commands
        .flat_map(|line| line.split(start).skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_/".contains(*c)).collect())
        .filter(|word: &String| !word.is_empty())
        .collect()
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    all_files(folder).into_iter().filter(|path| path.extension().is_some_and(|it| it == "rs")).collect()
}

fn all_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

#[test]
fn the_threat_model_names_only_tests_that_exist() {
    let code: String =
        ["src", "tests"].into_iter().flat_map(rust_files).map(|file| fs::read_to_string(file).unwrap()).collect();
    let model = fs::read_to_string("docs/threat-model.md").unwrap();
    // Names of tests are sentences: no other word in backticks has so many underscores.
    let named = model.split('`').skip(1).step_by(2).filter(|it| it.matches('_').count() >= 4 && !it.contains(' '));
    let absent: Vec<_> = named.filter(|it| !code.contains(&format!("fn {it}("))).map(str::to_owned).collect();
    assert_none(absent, "Name the test that shows it now, or say under \"What is not defended\" that nothing does.");
}
