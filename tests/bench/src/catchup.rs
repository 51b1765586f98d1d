//! Clients that read a room's whole history again and again, as after a long absence.

use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::client::{self, Socket};
use crate::group::ClientGroup;
use crate::load::{self, Shared};
use crate::packet::{self, Incoming};
use crate::scenario::Layout;

/// Messages of a page.
const PAGE: u64 = 50;

/// Fills each room with this many messages, then lets every client read.
///
/// # Errors
/// When the server refuses a client or a message, or does not answer.
pub(crate) async fn start(mut sockets: Vec<Socket>, layout: Layout, messages: u64) -> Result<ClientGroup> {
    for (number, socket) in (0..layout.rooms).zip(&mut sockets) {
        let room = layout.room(number);
        client::join(socket, "/", &room).await?;
        for stamp in 1..=messages {
            let message = packet::send_message("/", 0, &room, stamp);
            let posted = client::ask(socket, message).await?;
            ensure!(
                packet::read(&posted) == Incoming::Accepted,
                "message {stamp} was refused: {posted:.300}"
            );
        }
    }
    let shared = Rc::new(Shared::new());
    shared.sending.set(true);
    let mut tasks = JoinSet::new();
    for (number, mut socket) in (0_u16..).zip(sockets) {
        let (shared, room) = (Rc::clone(&shared), layout.room(number));
        tasks.spawn_local(async move {
            while shared.sending.get() {
                let began = shared.now();
                let read = read_all(&mut socket, &room, messages, &shared).await;
                read.with_context(|| format!("client {number}"))?;
                shared.record_time_since(began);
            }
            // The measurement is over, so it is not an error if the server closes first.
            let _ = socket.close(None).await;
            Ok(())
        });
    }
    Ok(ClientGroup::of_tasks(tasks, shared, layout.pace))
}

/// Joins the room and reads its messages, the newest page first. Each message must come once, in order.
async fn read_all(socket: &mut Socket, room: &str, messages: u64, shared: &Shared) -> Result<()> {
    // Messages from this one on have been read.
    let mut next = messages + 1;
    let mut request = packet::rejoin(room, PAGE);
    while next > 1 {
        let page = client::ask(socket, request).await?;
        let first = first_of_page(&page, next)?;
        for counter in [&shared.sent, &shared.accepted, &shared.due, &shared.delivered] {
            load::count(counter, next - first);
        }
        next = first;
        request = packet::history(room, next, PAGE);
    }
    Ok(())
}

/// The number of the page's first message. The page must end before `before`, and have no gap and at most [`PAGE`]
/// messages.
fn first_of_page(page: &str, before: u64) -> Result<u64> {
    ensure!(packet::read(page) == Incoming::Accepted, "refused: {page:.300}");
    let stamps = packet::stamps(page).context("a message of a page is not whole")?;
    let first = *stamps.first().context("a page before the last one is empty")?;
    ensure!(
        stamps.iter().copied().eq(first..before) && before - first <= PAGE,
        "the page before message {before} has others: {stamps:?}"
    );
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(stamps: &[u64]) -> String {
        let messages = stamps.iter().map(|&stamp| packet::send_message("/", 1, "r", stamp));
        format!(r#"430[{{"ok":true,"messages":[{}]}}]"#, messages.collect::<String>())
    }

    #[test]
    fn a_page_must_be_whole_and_in_order() {
        assert_eq!(first_of_page(&page(&[8, 9, 10]), 11).expect("a whole page"), 8);
        for wrong in [&[8, 10][..], &[9, 8, 10], &[8, 9], &[8, 9, 9, 10], &[]] {
            assert!(first_of_page(&page(wrong), 11).is_err(), "{wrong:?}");
        }
        let long = (1..=PAGE + 1).collect::<Vec<_>>();
        assert!(first_of_page(&page(&long), PAGE + 2).is_err());
    }
}
