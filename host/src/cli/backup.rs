//! `parlance backup` and `parlance restore`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Error};

use super::{BackupArgs, Failure, RestoreArgs};
use crate::app::{self, BackupUnsupported};
use crate::config::{Config, Environment};

/// Copies the database into a file, and prints its size.
///
/// # Errors
/// The configuration is wrong, the database is not in a file, or why copying failed.
pub fn backup(args: &BackupArgs, env: &Environment, out: &mut impl Write) -> Result<(), Failure> {
    let config = Config::load(args.config.path.as_deref(), env)?;
    let (database, bytes) = app::backup(&config.store, &args.file, args.force).map_err(failure)?;
    let (database, file) = (shown(&database), shown(&args.file));
    writeln!(out, "{file} is a backup of {database} ({bytes} bytes).").context("cannot write to standard output")?;
    Ok(())
}

/// Replaces the database by a backup, and prints where the database before is.
///
/// # Errors
/// The configuration is wrong, the database is not in a file, or why nothing was replaced.
pub fn restore(args: &RestoreArgs, env: &Environment, out: &mut impl Write) -> Result<(), Failure> {
    let config = Config::load(args.config.path.as_deref(), env)?;
    let (database, restored) = app::restore(&config.store, &args.file, args.force).map_err(failure)?;
    let mut text = format!(
        "{} is restored from {} ({} bytes).",
        shown(&database),
        shown(&args.file),
        restored.bytes
    );
    if let Some(aside) = restored.aside {
        text.push_str(&format!(" The database before is {}.", shown(&aside)));
    }
    writeln!(out, "{text}").context("cannot write to standard output")?;
    Ok(())
}

fn failure(error: Error) -> Failure {
    match error.downcast::<BackupUnsupported>() {
        Ok(not_here) => Failure::Usage(not_here.to_string()),
        Err(error) => Failure::Runtime(error),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
