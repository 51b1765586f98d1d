//! Checks a history that a test wrote to a file; see the library.

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader};
use std::process::ExitCode;

use parlance_history::History;

const USAGE: &str = "\
Checks what clients of a chat server saw against what the server stored.

Usage: parlance-history [FILE]

Reads a history, one JSON object a line, from FILE or else from the standard input. tests/history/src/record.rs says
what the objects are.

Exit codes:
  0  all is well; a line of JSON says how much was checked
  1  something is wrong: the first violations are on the standard error, one a line
  2  the history cannot be read";

fn read(file: Option<OsString>) -> Result<History, Box<dyn Error>> {
    Ok(match file {
        Some(file) => {
            let opened = File::open(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            History::read(BufReader::new(opened))?
        }
        None => History::read(io::stdin().lock())?,
    })
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (file, more) = (args.next(), args.next());
    if file.as_deref().is_some_and(|file| file == "--help" || file == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if more.is_some()
        || file
            .as_ref()
            .is_some_and(|file| file.as_encoded_bytes().starts_with(b"-"))
    {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let history = match read(file) {
        Ok(history) => history,
        Err(error) => {
            eprintln!("parlance-history: {error}");
            return ExitCode::from(2);
        }
    };
    match history.check() {
        Ok(summary) => {
            println!("{}", serde_json::json!(summary));
            ExitCode::SUCCESS
        }
        Err(violations) => {
            for violation in violations {
                eprintln!("{violation}");
            }
            ExitCode::FAILURE
        }
    }
}
