//! The command line. Everything but `serve`, `check-config` and `certs` asks the running server over its admin API.
//! Exit codes: 0 done, 1 refused or failed, 2 wrong usage.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::config::Config;

mod agents;
mod api;
mod audit;
mod certs;
mod files;
mod import;
mod invitations;
mod people;
mod secret_file;
mod show;
mod sure;
mod tasks;
mod tenants;

/// The server side of Flyve-style mobile device management in one binary.
#[derive(Debug, Parser)]
#[command(name = "mdmq", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Start with:\n  mdmq serve\n  mdmq invite --email ann@example.org\n  mdmq agent list")]
struct Line {
    /// Directory of the database, certificates and admin token [default: mdmq-data]
    #[arg(long, global = true, env = "MDMQ_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Base of the admin API [default: as the running server wrote into the data directory]
    #[arg(long, global = true, env = "MDMQ_SERVER", value_name = "URL")]
    server: Option<String>,
    /// File with an admin token [default: admin-token in the data directory]
    #[arg(long, global = true, env = "MDMQ_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Print JSON for scripts
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server; without a file every default applies
    #[command(after_help = "Example:\n  mdmq serve --config /etc/mdmq/server.toml")]
    Serve {
        /// Settings (config/server.toml shows them all)
        #[arg(long, env = "MDMQ_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Say whether a configuration file works, and what in it is unwise
    #[command(after_help = "Example:\n  mdmq check-config config/server.toml")]
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Invite a person to enroll one device; prints the link, the token and a QR code, and sends a mail where mail is on
    #[command(
        after_help = "Examples:\n  mdmq invite --email ann@example.org --entity 76\n  mdmq invite --csv people.csv"
    )]
    Invite(invitations::Invite),
    /// What became of invitations
    #[command(subcommand)]
    Invitation(invitations::Invitation),
    /// Tenants
    #[command(subcommand)]
    Entity(tenants::Entity),
    /// Groups of agents
    #[command(subcommand)]
    Fleet(tenants::Fleet),
    /// Enrolled devices, and what to ask of them
    #[command(subcommand)]
    Agent(agents::Agent),
    /// What was asked of devices, and what became of it
    #[command(subcommand)]
    Command(agents::Command),
    /// Policies applied to fleets and agents, and how far each device got
    #[command(subcommand)]
    Task(tasks::Task),
    /// What can be applied
    #[command(subcommand)]
    Policy(tasks::Policy),
    /// People: what they may do, and how they log in to the HTTP API
    #[command(subcommand)]
    User(people::User),
    /// Files for devices
    #[command(subcommand)]
    File(files::File),
    /// Applications for devices
    #[command(subcommand)]
    Package(files::Package),
    /// Beginnings of paths that files may be deployed to
    #[command(subcommand)]
    Path(files::WellKnownPath),
    /// MQTT accounts of back ends and monitoring
    #[command(subcommand)]
    Account(tenants::Account),
    /// Who did what to which device
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Admin tokens: who may use the admin API and this command line, for what and where
    #[command(subcommand)]
    Token(audit::Token),
    /// Move in from another server
    #[command(subcommand)]
    Import(import::Import),
    /// The built-in certificate authority, and certificates of devices
    #[command(subcommand)]
    Certs(certs::Certs),
    /// Enroll simulated agents and let them live on MQTT
    Simulate(crate::simulate::Args),
}

/// Why a command did not do what it was told. Printed on stderr; the exit code is 1.
#[derive(Debug)]
struct Failure(String);

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(error.to_string())
    }
}

type Done = Result<(), Failure>;

/// Where and how a command works.
struct Place {
    data_dir: PathBuf,
    server: Option<String>,
    token_file: Option<PathBuf>,
    json: bool,
}

impl Line {
    fn place(&self) -> Place {
        Place {
            data_dir: self.data_dir.clone().unwrap_or_else(|| "mdmq-data".into()),
            server: self.server.clone(),
            token_file: self.admin_token_file.clone(),
            json: self.json,
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    // clap ends the program with 2 on wrong usage.
    let line = Line::parse();
    if let Verb::Simulate(args) = &line.verb {
        // It tells its own story, failures included.
        return crate::simulate::run(args, &line.place().data_dir, line.json);
    }
    match run(line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(why)) => {
            eprintln!("mdmq: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: Line) -> Done {
    let place = line.place();
    match line.verb {
        Verb::Serve { config } => {
            let mut config = Config::load(config.as_deref())?;
            if let Some(data_dir) = line.data_dir {
                config.data_dir = data_dir;
            }
            let threads = crate::cores::device_threads();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
            Ok(runtime.block_on(crate::serve::run(config))?)
        }
        Verb::CheckConfig { file } => check_config(&file, &place),
        Verb::Certs(verb) => certs::run(verb, &place),
        Verb::Simulate(_) => Ok(()), // was run by `main`
        Verb::Invite(wish) => ask(invitations::invite(wish, &place)),
        Verb::Invitation(verb) => ask(invitations::invitation(verb, &place)),
        Verb::Import(verb) => ask(import::import(verb, &place)),
        Verb::Entity(verb) => ask(tenants::entity(verb, &place)),
        Verb::Fleet(verb) => ask(tenants::fleet(verb, &place)),
        Verb::User(verb) => ask(people::user(verb, &place)),
        Verb::Audit(verb) => ask(audit::audit(verb, &place)),
        Verb::Token(verb) => ask(audit::token(verb, &place)),
        Verb::Account(verb) => ask(tenants::account(verb, &place)),
        Verb::Agent(verb) => ask(agents::agent(verb, &place)),
        Verb::File(verb) => ask(files::file(verb, &place)),
        Verb::Package(verb) => ask(files::package(verb, &place)),
        Verb::Path(verb) => ask(files::path(verb, &place)),
        Verb::Command(verb) => ask(agents::command(verb, &place)),
        Verb::Task(verb) => ask(tasks::task(verb, &place)),
        Verb::Policy(verb) => ask(tasks::policy(verb, &place)),
    }
}

/// Runs what only talks HTTP, on this thread.
fn ask<T>(story: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(story)
}

fn check_config(file: &Path, place: &Place) -> Done {
    let config = Config::load(Some(file))?;
    // What is checked may want to wait for something; nothing of it is started.
    let unwise = ask(async { Ok(crate::serve::check(&config)) })?;
    let unwise = unwise.map_err(|why| Failure(format!("{}: {why}", file.display())))?;
    if place.json {
        show::json(&serde_json::json!({ "ok": true, "unwise": unwise }));
    } else {
        show::say(&format!("{} works\n", file.display()));
        unwise.iter().for_each(|sentence| show::say(&format!("  note: {sentence}\n")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_sentence_of_help() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{} {}", command.get_name(), sub.get_name());
                check(sub);
            }
        }
        check(&Line::command());
    }

    #[test]
    fn whoever_leaves_out_one_of_two_hears_of_both() {
        for (line, both) in [
            ("invite", "<--email <A@B>|--csv <FILE>>"),
            ("task add --policy disableWifi --value 1", "<--fleet <ID>|--agent <SERIAL>>"),
            ("certs revoke", "<SERIAL|--all>"),
            ("agent show", "<SERIAL|--id <ID>>"),
            ("agent move AZERTY", "<--fleet <ID>|--to-entity <N>>"),
        ] {
            let words = std::iter::once("mdmq").chain(line.split_whitespace());
            let said = Line::try_parse_from(words).unwrap_err().to_string();
            assert!(said.contains(both), "{line}: {said}");
        }
    }

    fn usage(line: &str, is_fine: bool) {
        let words = std::iter::once("mdmq").chain(line.split_whitespace());
        assert_eq!(Line::try_parse_from(words).is_ok(), is_fine, "{line}");
    }

    #[test]
    fn the_names_that_others_build_on_are_understood() {
        usage("serve", true);
        usage("serve --config FILE --data-dir DIR", true);
        usage("check-config FILE", true);
        usage("check-config", false);
        usage("invite --email a@b --entity 3 --json", true);
        usage("invite", false);
        usage("invite --csv FILE --entity 3 --no-mail --invited-by Ann", true);
        usage("invite --csv FILE --email a@b", false);
        usage("invitation list --status expired --email a@b", true);
        usage("invitation resend 3", true);
        usage("invitation remove 3 --json", true);
        usage("entity add Paris --parent 0 --id 76", true);
        usage("fleet add Sales --entity 76", true);
        usage("agent show AZERTY --json", true);
        usage("agent import FILE.csv", true);
        usage("agent move AZERTY --fleet 3", true);
        for name in ["ping", "geolocate", "inventory", "lock", "unlock", "wipe", "unenroll"] {
            usage(&format!("agent {name} AZERTY --entity 76 --wait 10 --json"), true);
        }
        usage("agent wipe AZERTY --yes", true);
        usage("agent explode AZERTY", false);
        usage("command list --serial S --state queued", true);
        usage("command cancel 3", true);
        usage("task add --fleet 3 --policy disableWifi --value 1 --json", true);
        usage("task add --agent AZERTY --policy deployFile --value %SDCARD% --file 5 --remove-on-delete", true);
        usage("task add --agent AZERTY --policy deployApp --value {} --package 5", true);
        usage("task add --policy disableWifi --value 1", false);
        usage("task add --fleet 3 --agent AZERTY --policy disableWifi --value 1", false);
        usage("task change 3 --value 1", true);
        usage("task remove 3", true);
        usage("task show 3 --json", true);
        usage("task list --agent AZERTY", true);
        usage("policy list", true);
        usage("policy show disableWifi", true);
        usage("account add monitor --acl +/agent/+/Status/#:r --acl #:deny --entity 0", true);
        usage("account add monitor", false);
        usage("import flyve --from mysql://user@host/db --files DIR --dry-run --json", true);
        usage("import flyve", false);
        usage("user add ann --email ann@example.org --profile operator --entity 76 --only-here", true);
        usage("user add ann --profile king", false);
        usage("user change ann --profile viewer --entity 3", true);
        usage("user change ann --take viewer --entity 3", true);
        usage("user change ann --disable", true);
        usage("user token ann", true);
        usage("user list --json", true);
        usage("file add PATH --entity 76 --name N --comment C --json", true);
        usage("file update 3 PATH", true);
        usage("file change 3", false);
        usage("package add PATH --entity 76 --name N", true);
        usage("package remove 3", true);
        usage("path add %SDCARD%/Manuals", true);
        usage("audit list --serial AZERTY --action command. --actor device --days 7 --json", true);
        usage("audit verify --json", true);
        usage("audit export --format csv --days 31", true);
        usage("token add help --role operator --entity 76 --days 90 --out FILE", true);
        usage("token add help", false);
        usage("--server http://h:1 --admin-token-file F agent list", true);
        usage("certs show", true);
        usage("certs show AZERTY --json", true);
        usage("certs list --state valid --expiring-days 14", true);
        usage("certs revoke 4f1a --reason key_compromise", true);
        usage("certs revoke --all", true);
        usage("certs revoke 4f1a --all", false);
        usage("certs revoke", false);
        usage("certs revoke AZERTY --entity 76", true);
        usage("certs revoke --all --yes", true);
        usage("certs revoke --all --entity 76", false);
        usage("agent move AZERTY", false);
        usage("agent show", false);
        usage("backup FILE", false);
    }
}
