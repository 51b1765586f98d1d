//! `parlance-js`: builds handler components of JavaScript and TypeScript.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use lexopt::{Arg, Parser, ValueExt as _};
use parlance_js::Built;

const USAGE: &str = "\
Builds Parlance handler components of JavaScript and TypeScript.

Usage:
  parlance-js build FILE -o OUT.wasm [--wit DIR]   builds a component of FILE (.js, .mjs, .ts, .mts) and its imports
  parlance-js kit DIR                              writes the package parlance-handlers, with its types, into DIR

Options of build:
  -o, --output FILE   the component
  --wit DIR           the WIT of another version of Parlance than this program's
  --no-cache          keeps no compiled code in the user's cache directory
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = Parser::from_env();
    match arguments.next()? {
        Some(Arg::Value(command)) if command == "build" => build(arguments),
        Some(Arg::Value(command)) if command == "kit" => kit(arguments),
        Some(Arg::Long("help") | Arg::Short('h')) => {
            print!("{USAGE}");
            Ok(())
        }
        Some(Arg::Long("version") | Arg::Short('V')) => {
            println!("parlance-js {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Some(argument) => Err(argument.unexpected().into()),
        None => bail!("a command is missing\n\n{USAGE}"),
    }
}

fn build(mut arguments: Parser) -> Result<()> {
    let (mut file, mut output, mut wit, mut uses_cache) = (None, None, None, true);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Value(value) if file.is_none() => file = Some(PathBuf::from(value)),
            Arg::Short('o') | Arg::Long("output") => output = Some(arguments.value()?.parse::<PathBuf>()?),
            Arg::Long("wit") => wit = Some(arguments.value()?.parse::<PathBuf>()?),
            Arg::Long("no-cache") => uses_cache = false,
            argument => return Err(argument.unexpected().into()),
        }
    }
    let file = file.context("name the source file: parlance-js build FILE -o OUT.wasm")?;
    let output = output.context("name the component with -o: parlance-js build FILE -o OUT.wasm")?;
    let cache = cache_directory().filter(|_| uses_cache);
    let Built { component, warnings } = parlance_js::build(&file, wit.as_deref(), cache.as_deref())?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    fs::write(&output, component).with_context(|| format!("{} cannot be written", output.display()))
}

fn kit(mut arguments: Parser) -> Result<()> {
    let directory = PathBuf::from(arguments.value().context("name the directory: parlance-js kit DIR")?);
    if let Some(argument) = arguments.next()? {
        return Err(argument.unexpected().into());
    }
    parlance_js::write_kit(&directory).with_context(|| format!("{} cannot be written", directory.display()))
}

/// The directory for compiled code: `parlance/js` in the user's cache directory.
fn cache_directory() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(directory.join("parlance/js"))
}
