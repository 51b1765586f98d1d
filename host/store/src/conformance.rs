//! The rules that every store keeps, one function for each. [`tests_of`] makes tests of one store out of them; each test
//! begins with an empty store.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

pub(crate) mod catalog;
pub(crate) mod history;
pub(crate) mod kv;
pub(crate) mod messages;
pub(crate) mod people;
pub(crate) mod quota;
pub(crate) mod raise;
pub(crate) mod repetition;
pub(crate) mod retention;
pub(crate) mod revisions;
pub(crate) mod rooms_of;
pub(crate) mod timers;

use std::sync::Arc;

use super::{
    ClientRef, Draft, End, FirstPost, Health, KvKey, KvRange, Maintenance, Message, Page, Range, ReadSet, Reader,
    Rejected, RequestDigest, Schedule, StorageQuota, Write, WriteSet, Writer, Written,
};
use parlance_types::id::{MessageId, RoomId, TenantId, UserId};

/// A store in all of its roles but the catalog.
pub(crate) trait Store: Reader + Writer + Maintenance + Schedule + Health {}

impl<S: Reader + Writer + Maintenance + Schedule + Health> Store for S {}

/// Makes a test of each rule. The argument is an async function that makes an empty store, and a guard that must live as
/// long as the store: `async fn make() -> (Arc<dyn Store>, Guard)`. The compiler reports a rule that is missing in this
/// list, as dead code.
macro_rules! tests_of {
    ($make:path) => {
        $crate::conformance::tests_of! {
            $make =>
            messages::an_append_is_read_back_as_it_was_written,
            messages::an_id_posted_twice_is_appended_once,
            messages::an_id_posted_twice_in_one_write_set_is_appended_once,
            repetition::a_client_id_of_another_message_is_rejected,
            repetition::an_event_that_only_repeats_its_message_does_nothing,
            repetition::a_repetition_is_one_of_what_was_asked_for,
            repetition::a_client_id_raced_for_is_one_message,
            messages::seq_has_no_gaps_after_a_duplicate,
            messages::seq_has_no_gaps_after_a_rejected_write_set,
            messages::seq_has_no_gaps_when_batches_race,
            messages::rooms_count_for_themselves,
            messages::a_large_batch_keeps_its_order,
            messages::a_rejected_write_set_leaves_no_trace,
            messages::a_rejected_write_set_leaves_its_neighbours_alone,
            messages::a_room_made_by_a_rejected_write_set_can_be_made_again,
            messages::an_empty_batch_and_an_empty_write_set_are_fine,
            messages::a_tenant_never_sees_anothers_messages,
            messages::one_id_in_two_tenants_is_two_messages,
            messages::any_text_comes_back_unchanged,
            messages::times_have_no_edges,
            messages::the_first_receipt_counts,
            messages::a_receipt_follows_its_message_in_one_write_set,
            messages::a_receipt_for_no_message_is_rejected,
            messages::a_receipt_never_reaches_another_tenant,
            messages::a_ping_changes_nothing,
            history::a_room_without_messages_is_empty_and_complete,
            history::history_pages_backwards_without_gap_or_overlap,
            history::history_after_gives_what_was_missed,
            history::history_pages_forwards_without_gap_or_overlap,
            history::incomplete_pages_say_so,
            history::bounds_beyond_all_numbers_are_fine,
            revisions::an_edit_changes_the_text_and_keeps_the_place,
            revisions::text_is_added_to_the_end,
            revisions::text_is_added_in_the_batch_that_posts_it,
            revisions::a_deleted_message_is_a_tombstone,
            revisions::a_message_that_is_not_there_cannot_change,
            revisions::marks_are_counted_and_named,
            revisions::a_mark_that_is_there_changes_nothing,
            revisions::a_message_has_so_many_marks,
            revisions::changes_have_numbers_without_gaps,
            revisions::changes_since_a_number_come_once_each,
            revisions::a_read_of_changes_looks_at_so_many,
            revisions::changes_of_a_rejected_write_set_leave_no_trace,
            revisions::a_message_changes_in_the_batch_that_appends_it,
            revisions::usage_follows_the_text,
            revisions::changes_that_race_are_all_made,
            rooms_of::rooms_come_page_by_page_with_how_far_each_has_come,
            rooms_of::a_room_without_a_message_is_not_listed,
            kv::a_key_keeps_its_last_value,
            kv::kv_parts_do_not_run_together,
            kv::a_tenant_never_sees_anothers_keys,
            kv::any_bytes_are_a_value_and_any_text_a_key,
            kv::a_deleted_key_is_absent,
            kv::an_expired_key_is_absent,
            kv::a_new_value_brings_its_own_expiry,
            kv::increments_of_one_batch_add_up,
            kv::increments_add_up_when_batches_race,
            kv::an_increment_keeps_the_expiry_of_what_it_adds_to,
            kv::an_increment_of_an_expired_key_starts_from_zero_for_good,
            kv::an_increment_of_a_value_that_is_not_a_number_is_rejected,
            kv::a_key_that_needs_a_number_and_gets_a_text_is_taken_once,
            kv::an_increment_beyond_64_bits_is_rejected,
            kv::writes_of_a_rejected_write_set_are_undone_in_order,
            kv::several_keys_are_read_in_the_order_asked_for,
            kv::a_scan_has_the_live_keys_of_a_range_in_the_order_of_their_bytes,
            kv::a_page_says_where_it_ends_and_looks_at_so_many_keys,
            kv::an_event_whose_reads_have_changed_is_rejected,
            kv::an_event_whose_range_has_changed_is_rejected,
            kv::reads_see_the_earlier_write_sets_of_their_batch,
            kv::two_events_that_read_what_the_other_writes_do_not_both_commit,
            raise::a_number_is_raised_and_never_lowered,
            raise::of_raises_that_race_the_highest_counts,
            quota::usage_follows_what_is_written_and_removed,
            quota::a_write_may_reach_the_quota_and_not_exceed_it,
            timers::a_handler_has_so_many_timers_and_no_more,
            timers::due_keys_come_in_their_order,
            quota::deleting_a_tenants_data_leaves_other_tenants_alone,
            retention::a_room_begins_with_its_oldest_message_whichever_has_changed,
            retention::old_messages_go_with_receipts_marks_and_usage,
            retention::what_belongs_to_a_message_goes_first_in_steps_as_small,
            retention::messages_go_from_the_oldest_up_to_the_first_that_is_kept,
            retention::no_number_is_given_again_when_all_messages_are_removed,
            retention::a_client_that_was_away_learns_where_a_room_begins,
            retention::removal_goes_on_beside_new_messages,
            people::all_that_a_tenant_stores_is_listed_in_order,
            people::a_user_is_forgotten_in_a_span_of_a_room,
            people::what_was_listed_can_be_imported_under_another_tenant,
            people::an_import_is_stored_whole_or_not_at_all,
        }
    };
    ($make:path => $($part:ident::$rule:ident),* $(,)?) => {$(
        // Several threads, because in some rules batches race.
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            let (store, _home) = $make().await;
            $crate::conformance::$part::$rule(store).await;
        }
    )*};
}
pub(crate) use tests_of;

/// Makes a test of each rule for catalogs. The argument is `async fn make() -> (Arc<dyn Catalog>, Guard)`.
macro_rules! catalog_tests_of {
    ($make:path) => {
        $crate::conformance::tests_of! {
            $make =>
            catalog::an_empty_catalog_has_no_revision,
            catalog::a_document_is_read_back_as_it_was_put,
            catalog::a_put_checks_the_expected_revision,
            catalog::a_deleted_document_leaves_a_tombstone,
            catalog::changes_of_one_put_are_all_made_or_none,
            catalog::revisions_only_grow_when_puts_race,
            catalog::of_rivals_with_one_expectation_one_wins,
            catalog::parts_of_a_key_do_not_run_together,
            catalog::components_are_stored_by_tenant_and_hash,
            catalog::a_component_goes_with_the_last_document_that_names_it,
            catalog::a_hash_in_a_setting_keeps_no_component,
            catalog::a_component_of_a_rejected_change_is_not_stored,
            catalog::components_that_no_document_names_are_deleted,
            catalog::the_audit_log_is_read_newest_first,
            catalog::old_audit_entries_are_deleted_a_few_at_a_time,
        }
    };
}
pub(crate) use catalog_tests_of;

type Subject = Arc<dyn Store>;

/// The time at which these tests begin. It is later than any machine's clock, so a store that removes expired keys by its
/// clock finds none.
const NOW: u64 = 32_503_680_000_000;

fn tenant(name: &str) -> TenantId {
    TenantId::for_tests(name).unwrap()
}

fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn id(n: u128) -> MessageId {
    MessageId::from_bytes(n.to_be_bytes())
}

/// A message with a client id.
fn draft(n: u128, to: &str) -> Draft {
    let content = format!("message {n}");
    Draft {
        id: id(n),
        room: room(to),
        sender: user("ann"),
        username: "Ann".into(),
        client: Some(ClientRef {
            id: n.to_string().into(),
            request: RequestDigest::of(to, &content, None),
        }),
        content,
        metadata: None,
        sent_at: NOW + n as u64,
        reject_repeated: false,
    }
}

fn append(n: u128, to: &str) -> Write {
    Write::Append(draft(n, to))
}

fn read(n: u128, by: &str, at: u64) -> Write {
    Write::MarkRead {
        id: id(n),
        room: room("any"),
        seq: 1,
        user: user(by),
        at,
    }
}

fn key(name: &str) -> KvKey {
    KvKey {
        handler: "handler".into(),
        key: name.to_owned(),
    }
}

fn set(name: &str, value: &str) -> Write {
    Write::KvSet {
        key: key(name),
        value: value.into(),
        expires_at: None,
    }
}

fn increment(name: &str, by: i64) -> Write {
    Write::KvIncrement {
        key: key(name),
        by,
        at: NOW,
    }
}

fn write_set(of: &str, writes: Vec<Write>) -> WriteSet {
    WriteSet {
        tenant: tenant(of),
        reads: crate::ReadSet::default(),
        writes: writes.into_iter().map(Arc::new).collect(),
        quota: StorageQuota::UNLIMITED,
    }
}

/// A write set that its last write rejects.
fn rejected(of: &str, mut writes: Vec<Write>) -> WriteSet {
    writes.push(read(u128::MAX, "ann", NOW));
    write_set(of, writes)
}

/// Commits a write set of the tenant `acme`, which must be accepted.
async fn commit(store: &Subject, writes: Vec<Write>) -> Vec<Written> {
    store
        .commit(vec![write_set("acme", writes)])
        .await
        .unwrap()
        .remove(0)
        .unwrap()
}

/// Commits a write set of the tenant `acme`, which must be rejected.
async fn rejection(store: &Subject, writes: Vec<Write>) -> Rejected {
    store
        .commit(vec![write_set("acme", writes)])
        .await
        .unwrap()
        .remove(0)
        .unwrap_err()
}

fn appended(seq: u64, n: u64) -> Written {
    Written::Appended {
        seq,
        sent_at: NOW + n,
        duplicate: false,
    }
}

fn duplicate(seq: u64, n: u64) -> Written {
    Written::Appended {
        seq,
        sent_at: NOW + n,
        duplicate: true,
    }
}

const ALL: Range = Range {
    after: 0,
    before: None,
    limit: u32::MAX,
    from: End::Newest,
};

async fn page(store: &Subject, of: &str, name: &str, range: Range) -> Page {
    store.history(&tenant(of), &room(name), range).await.unwrap()
}

/// The contents of a room's messages in order. Checks that their `seq` is 1, 2, 3 … and that the page is complete.
async fn contents(store: &Subject, of: &str, name: &str) -> Vec<String> {
    let page = page(store, of, name, ALL).await;
    assert!(page.complete);
    let seqs: Vec<u64> = page.messages.iter().map(|message| message.seq).collect();
    assert_eq!(seqs, (1..=page.messages.len() as u64).collect::<Vec<_>>());
    assert_eq!(
        store.place(&tenant(of), &room(name)).await.unwrap().seq,
        page.messages.len() as u64
    );
    page.messages.into_iter().map(|message| message.content).collect()
}

async fn value(store: &Subject, name: &str) -> Option<String> {
    value_at(store, name, NOW).await
}

async fn value_at(store: &Subject, name: &str, now: u64) -> Option<String> {
    let bytes = store.kv_get(&tenant("acme"), &key(name), now).await.unwrap();
    bytes.map(|bytes| String::from_utf8(bytes).unwrap())
}
