//! The fixed schedule of an open-loop load: a message's due time does not depend on the server.

use std::cell::Cell;
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;

use crate::load::SendOrder;
use crate::scenario::Mix;

/// Sends orders to the senders in turn, `per_second` a second, of the kinds in `mix`. A late order keeps its due time,
/// and `lag` records the longest delay.
///
/// Uses the kernel's timer, since the runtime's has a resolution of milliseconds, which is more than the latencies to
/// measure.
pub(crate) async fn keep(
    senders: &[UnboundedSender<SendOrder>],
    per_second: u32,
    mix: Mix,
    lag: &Cell<Duration>,
) -> Result<Infallible> {
    let period = Duration::from_secs(1) / per_second;
    #[expect(deprecated, reason = "what is wrong with `new` cannot happen to an `OwnedFd`")]
    let timer = AsyncFd::new(periodic(period)?)?;
    let began = Instant::now();
    let mut turn = senders.iter().cycle();
    let mut ticks = 0_u32;
    loop {
        let mut ready = timer.readable().await?;
        let mut expired = [0_u8; 8];
        match read(timer.get_ref(), &mut expired) {
            Ok(_) => {}
            Err(Errno::AGAIN) => {
                ready.clear_ready();
                continue;
            }
            Err(error) => return Err(error).context("timer"),
        }
        ready.clear_ready();
        for _ in 0..u64::from_ne_bytes(expired) {
            ticks += 1;
            let intended = began + period * ticks;
            lag.set(lag.get().max(intended.elapsed()));
            let sender = turn.next().context("an open loop needs senders")?;
            // If the client has ended, its task reports why.
            let _ = sender.send(SendOrder {
                intended,
                kind: mix.kind(ticks),
            });
        }
    }
}

/// A timer that expires every `period`, first in one period.
fn periodic(period: Duration) -> Result<OwnedFd> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let period = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(period.subsec_nanos()),
    };
    let schedule = Itimerspec {
        it_interval: period,
        it_value: period,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &schedule)?;
    Ok(timer)
}
