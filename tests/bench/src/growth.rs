//! Measures what a message costs while one number grows: connections, rooms, tenants, or stored messages.
//!
//! Each sender is alone in a room, so that a message has one delivery in every row. A row has a server and a database of
//! its own.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::args::{Args, GrowthArgs, Subject, Timing};
use crate::group::ClientGroup;
use crate::machine::{self, Machine};
use crate::measure::connect_all;
use crate::metric::{Metric, milliseconds};
use crate::on_server;
use crate::report::median;
use crate::scenario::{Layout, Mix, Pace, tenant};
use crate::server::{Launcher, Target, UNLIMITED_CONFIG};

/// Load before a window.
const WARM_UP: Duration = Duration::from_secs(3);

/// A row of the table.
struct Row {
    /// What grows.
    what: &'static str,
    /// How many there are.
    count: u32,
    clients: u16,
    senders: u16,
    tenants: u16,
    /// Messages that are stored before the measurement.
    stored: u32,
}

/// What a row has measured.
struct Figures {
    /// Processor time of the server for each message, in microseconds.
    cpu: f64,
    p50: f64,
    p99: f64,
}

fn rows() -> Vec<Row> {
    let row = |what, count, clients, senders, tenants, stored| Row {
        what,
        count,
        clients,
        senders,
        tenants,
        stored,
    };
    let mut rows = Vec::new();
    for clients in [100, 1_000, 10_000] {
        rows.push(row(
            "connections, 100 of which send",
            u32::from(clients),
            clients,
            100,
            1,
            0,
        ));
    }
    for rooms in [10, 100, 1_000, 10_000] {
        rows.push(row(
            "rooms with a message each in turn",
            u32::from(rooms),
            rooms,
            rooms,
            1,
            0,
        ));
    }
    for tenants in [1, 20, 200] {
        rows.push(row(
            "tenants of 200 connections",
            u32::from(tenants),
            200,
            200,
            tenants,
            0,
        ));
    }
    for stored in [0, 100_000, 1_000_000] {
        rows.push(row("stored messages", stored, 100, 100, 1, stored));
    }
    rows
}

/// Runs the measurement. Returns `true` if it completes.
///
/// # Errors
/// When the server refused, lost or repeated something, or closed a connection.
pub(crate) fn run(all: &Args, args: &GrowthArgs) -> Result<bool> {
    let rows = rows();
    machine::raise_open_files(rows.iter().map(|row| row.clients).max().unwrap_or(0))?;
    let machine = Machine::prepare(true)?;
    let launcher = Launcher::of_parlance(all, &machine)?;
    let mut figures: Vec<Vec<Figures>> = rows.iter().map(|_| Vec::new()).collect();
    for round in 1..=args.rounds {
        for (row, figures) in rows.iter().zip(&mut figures) {
            let measured = one(&launcher, args, row).with_context(|| format!("{} {}", row.count, row.what))?;
            eprintln!(
                "round {round} of {}: {} {}: {:.1} µs, p99 {:.2} ms",
                args.rounds, row.count, row.what, measured.cpu, measured.p99
            );
            figures.push(measured);
        }
    }
    println!("\n| what grows | number | processor time a message, µs | p50, ms | p99, ms |");
    println!("| --- | --- | --- | --- | --- |");
    for (row, figures) in rows.iter().zip(&figures) {
        let median = |value: fn(&Figures) -> f64| median(figures.iter().map(value).collect()).unwrap_or(f64::NAN);
        println!(
            "| {} | {} | {:.1} | {:.2} | {:.2} |",
            row.what,
            row.count,
            median(|figures| figures.cpu),
            median(|figures| figures.p50),
            median(|figures| figures.p99),
        );
    }
    Ok(true)
}

fn one(launcher: &Launcher, args: &GrowthArgs, row: &Row) -> Result<Figures> {
    let config = config(row, launcher.secret())?;
    on_server(launcher, Subject::Parlance, &config, async |target| {
        measure(target, args, row).await
    })
}

/// All tenants have the same secret.
fn config(row: &Row, secret: &str) -> Result<String> {
    let mut text = UNLIMITED_CONFIG.to_owned();
    for number in 1..row.tenants {
        let name = tenant(number);
        writeln!(
            text,
            "[[tenants.{name}.auth.keys]]\nalgorithm = \"HS256\"\nsecret = {secret:?}"
        )?;
    }
    Ok(text)
}

async fn measure(target: &Target, args: &GrowthArgs, row: &Row) -> Result<Figures> {
    let layout = Layout {
        clients: row.clients,
        rooms: row.clients,
        senders: row.senders,
        tenants: row.tenants,
        pace: Pace::Open {
            per_second: args.per_second,
            mix: Mix::MESSAGES,
        },
    };
    let (sockets, _) = connect_all(target, layout).await?;
    let mut clients = ClientGroup::join(sockets, layout).await?;
    if row.stored > 0 {
        clients.post(u64::from(row.stored)).await?;
    }
    let timing = Timing {
        warm_up: WARM_UP,
        window: Duration::from_secs(args.seconds),
    };
    let paced = clients.paced(target.pid, timing).await?;
    let cpu = paced.metrics.get(&Metric::ServerCpuMicrosecondsPerEvent);
    let figures = Figures {
        cpu: cpu.copied().context("no processor time was read")?,
        p50: milliseconds(&paced.latency, 0.5),
        p99: milliseconds(&paced.latency, 0.99),
    };
    clients.finish().await?;
    Ok(figures)
}
