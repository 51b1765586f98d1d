//! `parlance-build`: builds guest crates into handler components.

use std::path::PathBuf;

use anyhow::Result;
use lexopt::prelude::{Long, Short, Value, ValueExt as _};
use parlance_build::{Options, build, encode_wit};

const HELP: &str = "\
Builds guest crates into handler components.

Usage: parlance-build [OPTION]... [PACKAGE]...
       parlance-build --wit DIR [--out DIR]

PACKAGE: a package of the workspace [default: every one that has a cdylib]

Options:
  --workspace DIR   the guests' cargo workspace [default: guest-handlers]
  --root DIR        a directory that contains the workspace and every crate it refers to by path;
                    its path is removed from the components [default: the directory above the workspace]
  --target-dir DIR  cargo's target directory [default: target/guests]
  --out DIR         where the components go [default: target/components]
  --wit DIR         encode the WIT package in DIR in its binary form, and build nothing
  --locked          fail if the workspace's Cargo.lock is out of date, as cargo's --locked does
  --lines           keep debug information, so that backtraces in the server's log name files and lines
  -h, --help        print this text";

fn main() -> Result<()> {
    let all = match parse(lexopt::Parser::from_env())? {
        Task::Help => {
            println!("{HELP}");
            return Ok(());
        }
        Task::Build(options) => build(&options)?,
        Task::EncodeWit { directory, out_dir } => vec![encode_wit(&directory, &out_dir)?],
    };
    for built in all {
        let note = if built.changed { "" } else { " (unchanged)" };
        println!("{} {} bytes{note}", built.path.display(), built.size);
    }
    Ok(())
}

/// What the command line asks for.
enum Task {
    Help,
    Build(Options),
    EncodeWit { directory: PathBuf, out_dir: PathBuf },
}

fn parse(mut arguments: lexopt::Parser) -> Result<Task> {
    let mut wit = None;
    let mut options = Options {
        workspace: "guest-handlers".into(),
        root: None,
        packages: Vec::new(),
        target_dir: "target/guests".into(),
        out_dir: "target/components".into(),
        locked: false,
        lines: false,
    };
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("workspace") => options.workspace = directory(&mut arguments)?,
            Long("root") => options.root = Some(directory(&mut arguments)?),
            Long("target-dir") => options.target_dir = directory(&mut arguments)?,
            Long("out") => options.out_dir = directory(&mut arguments)?,
            Long("locked") => options.locked = true,
            Long("lines") => options.lines = true,
            Long("wit") => wit = Some(directory(&mut arguments)?),
            Short('h') | Long("help") => return Ok(Task::Help),
            Value(package) => options.packages.push(package.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(match wit {
        Some(directory) => Task::EncodeWit {
            directory,
            out_dir: options.out_dir,
        },
        None => Task::Build(options),
    })
}

fn directory(arguments: &mut lexopt::Parser) -> Result<PathBuf> {
    Ok(arguments.value()?.into())
}
