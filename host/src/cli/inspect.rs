//! `parlance inspect FILE`.

use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;

use anyhow::Context;

use super::oci::{Fetched, Source, fetch};
use super::{Failure, InspectArgs};
use crate::config::Environment;
use parlance_handler::sandbox::{EngineLimits, GuestLimits, Inspection, Sandbox, inspect};
use parlance_types::text::escape;

/// Prints the size, imports and exports of a component, and where it lies if that is a registry.
///
/// # Errors
/// When the component cannot be read or is not one that handles events.
pub fn run(args: &InspectArgs, env: &Environment, out: &mut impl Write) -> Result<(), Failure> {
    let (bytes, name) = match &args.component {
        Source::File(path) => {
            let name = path.display().to_string();
            (
                std::fs::read(path).with_context(|| format!("{name} cannot be read"))?,
                name,
            )
        }
        Source::Registry(address) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.context("the runtime for the network")?;
            let fetched = runtime.block_on(fetch(address, &args.registry, env))?;
            print_artefact(&fetched, out).context("standard output")?;
            (fetched.bytes, address.to_string())
        }
    };
    let inspection = inspection(&bytes, &name)?;
    print(&inspection, out).context("standard output")?;
    would_be_taken(inspection, &name)
}

/// Checks that a server would take a component. `name` is for messages.
///
/// # Errors
/// When it would not.
pub(super) fn check(bytes: &[u8], name: &impl Display) -> Result<(), Failure> {
    would_be_taken(inspection(bytes, name)?, name)
}

fn inspection(bytes: &[u8], name: &impl Display) -> Result<Inspection, Failure> {
    // One instance is enough; more would reserve the address space of a server.
    let limits = EngineLimits {
        instances: 1,
        ..EngineLimits::default()
    };
    let sandbox = Arc::new(Sandbox::new(limits, &GuestLimits::default()).context("the sandbox")?);
    Ok(inspect(&sandbox, bytes).with_context(|| format!("{name}"))?)
}

fn would_be_taken(inspection: Inspection, name: &impl Display) -> Result<(), Failure> {
    match inspection.handles {
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow::Error::from(error)
            .context(format!("{name} would not be taken"))
            .into()),
    }
}

fn print_artefact(artefact: &Fetched, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "artefact {}", artefact.pinned)?;
    writeln!(out, "layer    {}", artefact.layer)?;
    // From the registry, and must not move the cursor.
    writeln!(out, "created  {}", escape::line(&artefact.created))?;
    if let Some(author) = &artefact.author {
        writeln!(out, "author   {}", escape::line(author))?;
    }
    Ok(())
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
