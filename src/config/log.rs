//! Settings of what is printed.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// From silence to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `off`, `error`, `warn`, `info`, `debug`, `trace`, or directives such as `mdmq::net=debug`, separated by commas.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

impl Log {
    /// What to print.
    ///
    /// # Errors
    /// A level that is none, or a directive that cannot be read. The library takes a misspelt level for the name of a module and then
    /// prints of that module alone: nothing.
    pub fn filter(&self) -> Result<EnvFilter, String> {
        let words: Vec<&str> = self.level.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
        let is_directive = |it: &str| it.contains(['=', '[', ':']);
        let is_level = |it: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(it));
        let complain = |what: &str| {
            format!(
                "log.level: \"{what}\" is neither one of {} nor a directive like mdmq::net=debug",
                LEVELS.join(", ")
            )
        };
        match words.iter().find(|it| !is_directive(it) && !is_level(it)) {
            Some(unknown) => Err(complain(unknown)),
            None if words.is_empty() => Err(complain(&self.level)),
            None => EnvFilter::try_new(words.join(",")).map_err(|_| complain(&self.level)),
        }
    }

    /// # Errors
    /// The level cannot work.
    pub(super) fn check(&self) -> Result<(), String> {
        self.filter().map(drop)
    }
}
