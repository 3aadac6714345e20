//! Asks before what cannot be taken back. Where nobody can be asked, only `--yes` goes on.

use std::io::{BufRead, IsTerminal, Write};

use super::{Done, Failure, Place};

/// Goes on with `--yes`, or when a person types the word. `what` says what would happen, as a sentence without its end.
pub fn sure(yes: bool, what: &str, word: &str, place: &Place) -> Done {
    if yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if place.json || !stdin.is_terminal() {
        return Err(Failure(format!("{what}, and nobody can be asked here: say --yes if that is meant")));
    }
    eprint!("mdmq: {what}. Type {word} to go on: ");
    std::io::stderr().flush()?;
    let mut typed = String::new();
    stdin.lock().read_line(&mut typed)?;
    if typed.trim() == word { Ok(()) } else { Err(Failure("nothing was done".into())) }
}
