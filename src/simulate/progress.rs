//! How far the simulation got: a bar on a terminal, a line now and then elsewhere, silence for scripts.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::Clock;

const LINE_EVERY: Duration = Duration::from_secs(5);

/// One phase.
pub enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// Into a file or pipe.
    Lines {
        /// Name of the phase.
        phase: &'static str,
        /// How far it goes.
        end: u64,
        /// When the last line was printed.
        printed_at: Instant,
    },
    /// With `--json`.
    Silence,
}

impl Progress {
    /// Begins a phase that goes to `end`.
    pub fn begin(phase: &'static str, end: u64, json: bool) -> Progress {
        if json {
            return Progress::Silence;
        }
        if !std::io::stderr().is_terminal() {
            return Progress::Lines { phase, end, printed_at: Clock::System.instant() };
        }
        let bar = ProgressBar::new(end).with_message(phase);
        if let Ok(style) = ProgressStyle::with_template("{msg:<12} {wide_bar} {pos}/{len} {elapsed}") {
            bar.set_style(style);
        }
        Progress::Bar(bar)
    }

    /// Shows how far it got.
    pub fn at(&mut self, position: u64) {
        match self {
            Progress::Bar(bar) => bar.set_position(position),
            Progress::Lines { phase, end, printed_at } => {
                let now = Clock::System.instant();
                if now.duration_since(*printed_at) >= LINE_EVERY {
                    eprintln!("{phase}: {position} of {end}");
                    *printed_at = now;
                }
            }
            Progress::Silence => {}
        }
    }

    /// Ends the phase.
    pub fn finish(self, position: u64) {
        match self {
            Progress::Bar(bar) => {
                bar.set_position(position);
                bar.finish();
            }
            Progress::Lines { phase, end, .. } => eprintln!("{phase}: {position} of {end}, done"),
            Progress::Silence => {}
        }
    }
}
