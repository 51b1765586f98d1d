//! `parlance inspect FILE`.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;

use super::{Failure, InspectArgs};
use parlance_handler::sandbox::{EngineLimits, GuestLimits, Inspection, Sandbox, inspect};

/// Prints the size, imports and exports of a component.
///
/// # Errors
/// When the file cannot be read or is not a component that handles events.
pub fn run(args: &InspectArgs, out: &mut impl Write) -> Result<(), Failure> {
    let path = args.file.display();
    let bytes = std::fs::read(&args.file).with_context(|| format!("{path} cannot be read"))?;
    // One instance is enough; more would reserve the address space of a server.
    let limits = EngineLimits {
        instances: 1,
        ..EngineLimits::default()
    };
    let sandbox = Arc::new(Sandbox::new(limits, &GuestLimits::default()).context("the sandbox")?);
    let inspection = inspect(&sandbox, &bytes).with_context(|| format!("{path}"))?;
    print(&inspection, out).context("standard output")?;
    match inspection.handles {
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow::Error::from(error)
            .context(format!("{path} would not be taken"))
            .into()),
    }
}

fn print(inspection: &Inspection, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "size     {} bytes", inspection.size)?;
    if let Some(sha256) = &inspection.sha256 {
        writeln!(out, "sha256   {sha256}")?;
    }
    list(out, "imports", &inspection.imports)?;
    list(out, "exports", &inspection.exports)?;
    if let Ok(interfaces) = &inspection.handles {
        let names: Vec<_> = interfaces.iter().map(|interface| interface.name()).collect();
        writeln!(out, "handles  {}", names.join(", "))?;
        if inspection.imports.iter().any(|import| import.starts_with("wasi:http/")) {
            let needs = "servers that it may send requests to, such as grants.http = [\"api.example.org\"]";
            writeln!(out, "needs    {needs}")?;
            return writeln!(
                out,
                "allowed  all of parlance:chat/*@0.1 within [limits] and [sandbox]; no files"
            );
        }
        writeln!(
            out,
            "allowed  all of parlance:chat/*@0.1 within [limits] and [sandbox]; no files, no network, no clock of its own"
        )?;
    }
    Ok(())
}

fn list(out: &mut impl Write, what: &str, names: &[String]) -> std::io::Result<()> {
    let none = ["none".to_owned()];
    for (at, name) in if names.is_empty() { &none } else { names }.iter().enumerate() {
        writeln!(out, "{:<8} {name}", if at == 0 { what } else { "" })?;
    }
    Ok(())
}
