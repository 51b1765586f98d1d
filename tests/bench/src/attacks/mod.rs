//! Measures what a tenant notices of another tenant's attacks: its latency during each attack, and in quiet windows in
//! between.
//!
//! The tenant `default` has ten clients in five rooms that post at a steady pace. Every message must arrive everywhere,
//! exactly once. Each attack has its own tenant, whose clients send events to the guest that attacks. Limits are the
//! defaults.

mod attacker;
mod report;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tokio::time::sleep;

use crate::args::{Args, AttacksArgs, Subject, Timing};
use crate::client;
use crate::group::{ClientGroup, Paced};
use crate::machine::{self, Machine};
use crate::measure::connect_all;
use crate::on_this_thread;
use crate::scenario::{Layout, Mix, Pace};
use crate::server::{Launcher, Target};
use attacker::{Attackers, Plan};
use report::Report;

/// Messages a second of the measured tenant.
const PER_SECOND: u32 = 200;
/// The measured tenant's clients: in each room one posts and one reads.
const LAYOUT: Layout = Layout {
    clients: 10,
    rooms: 5,
    senders: 5,
    tenants: 1,
    pace: Pace::Open {
        per_second: PER_SECOND,
        mix: Mix::MESSAGES,
    },
};
/// Messages before the first window.
const WARM_UP: Duration = Duration::from_secs(4);
/// Pause after an attack, so that its remains do not affect the next window.
const RECOVERY_PAUSE: Duration = Duration::from_secs(1);

/// An entry of `tests/attacks.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Attack {
    /// Its name in the report.
    name: String,
    /// The component that attacks at any event. The tenant has its name.
    #[serde(default)]
    guest: Option<String>,
    /// The tenant's name, if there is no guest.
    #[serde(default)]
    tenant: String,
    /// The event, if there is no guest: the host answers it itself.
    #[serde(default)]
    event: Vec<serde_json::Value>,
    /// Messages that each attacker posts to the room before the attack.
    #[serde(default)]
    messages: u32,
    /// Number of user ids in the event's argument.
    #[serde(default)]
    users: u16,
}

impl Attack {
    fn tenant(&self) -> &str {
        self.guest.as_deref().unwrap_or(&self.tenant)
    }

    /// The JSON array that the clients send. A guest handles any event, so this one is named after the tenant, which
    /// makes the log easier to read.
    fn packet(&self) -> String {
        let mut event = self.event.clone();
        if event.is_empty() {
            event.push(self.tenant().into());
        }
        if self.users > 0 {
            event.push((0..self.users).map(client::user).collect());
        }
        serde_json::Value::from(event).to_string()
    }
}

/// Runs the measurement. Returns `true` if it completes.
///
/// # Errors
/// When the server refused, lost or repeated something of the measured tenant, or closed one of its connections.
pub(crate) fn run(all: &Args, args: &AttacksArgs) -> Result<bool> {
    let attacks = chosen(&args.attack)?;
    let secret = "of the tenants that attack, longer than 32 bytes";
    let config = config(&attacks, &args.guests, secret)?;
    machine::raise_open_files(LAYOUT.clients)?;
    let machine = Machine::prepare(!args.together)?;
    let launcher = Launcher::of_parlance(all, &machine)?;
    println!("{}", report::preface(&machine, &launcher, args));
    let server = launcher.start(Subject::Parlance, &config)?;
    let report = on_this_thread(measure(server.target(), args, secret, &attacks));
    let stopped = server.stop();
    println!("\n{}", report?);
    stopped?;
    Ok(true)
}

/// The attacks with these names, or all if there are none.
fn chosen(names: &[String]) -> Result<Vec<Attack>> {
    let all: Vec<Attack> = serde_json::from_str(include_str!("../../../attacks.json"))?;
    if names.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        all.iter()
            .find(|attack| attack.name == *name)
            .cloned()
            .with_context(|| {
                let known = all.iter().map(|attack| attack.name.as_str()).collect::<Vec<_>>();
                format!("there is no attack `{name}`; there are: {}", known.join(", "))
            })
    };
    names.iter().map(find).collect()
}

/// There is a tenant for each attack, since a tenant has one configured handler for custom events.
fn config(attacks: &[Attack], guests: &Path, secret: &str) -> Result<String> {
    let mut text = String::new();
    for attack in attacks {
        let tenant = attack.tenant();
        writeln!(
            text,
            "[[tenants.{tenant}.auth.keys]]\nalgorithm = \"HS256\"\nsecret = {secret:?}"
        )?;
        let Some(guest) = &attack.guest else { continue };
        let component = std::path::absolute(guests.join(format!("{guest}.wasm")))?;
        ensure!(
            component.exists(),
            "{} is missing: `make test` or `make measure` builds it",
            component.display()
        );
        writeln!(text, "[tenants.{guest}.handlers.event]\ncomponent = {component:?}")?;
    }
    Ok(text)
}

async fn measure(target: &Target, args: &AttacksArgs, secret: &str, attacks: &[Attack]) -> Result<Report> {
    let (sockets, _) = connect_all(target, LAYOUT).await?;
    let mut clients = ClientGroup::join(sockets, LAYOUT).await?;
    let pace = Duration::from_millis(args.every_ms);
    let window = Timing {
        warm_up: Duration::ZERO,
        window: Duration::from_secs(args.seconds),
    };
    clients
        .paced(
            target.pid,
            Timing {
                window: WARM_UP,
                ..window
            },
        )
        .await?;
    let mut report = Report::default();
    for round in 1..=args.rounds {
        for attack in attacks {
            let attackers = Attackers::connect(Plan {
                address: target.address,
                tenant: attack.tenant().to_owned(),
                event: attack.packet(),
                messages: attack.messages,
                secret: secret.to_owned(),
                count: args.attackers,
                pace,
            })
            .await?;
            let quiet = clients.paced(target.pid, window).await?;
            report.quiet(quiet)?;
            attackers.begin();
            let attacked = clients.paced(target.pid, window).await;
            let answers = attackers.end();
            let attacked: Paced = attacked.with_context(|| format!("during {}", attack.name))?;
            eprintln!(
                "round {round} of {}: {}: {}",
                args.rounds,
                attack.name,
                report::one_line(&attacked, &answers)
            );
            report.attacked(&attack.name, attacked, answers)?;
            sleep(RECOVERY_PAUSE).await;
            attackers.finish()?;
        }
    }
    clients.finish().await?;
    Ok(report)
}
