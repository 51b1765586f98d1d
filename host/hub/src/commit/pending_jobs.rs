//! Jobs that wait for a transaction. A deficit round-robin over tenants decides which go into the next batch.

use std::collections::{HashMap, VecDeque};

use super::CommitJob;
use parlance_types::id::TenantId;

/// A batch takes no more jobs once it has this many bytes, because a long transaction delays all tenants.
const BATCH_BYTES: usize = 256 * 1024;
/// The bytes that a tenant may add to a batch in each of its turns.
const QUANTUM_BYTES: usize = 32 * 1024;

/// The queues of all tenants that have jobs.
#[derive(Default)]
pub(super) struct PendingJobs {
    jobs: HashMap<TenantId, TenantQueue>,
    /// The tenants in the order of their turns.
    rotation: VecDeque<TenantId>,
    len: usize,
}

#[derive(Default)]
struct TenantQueue {
    jobs: VecDeque<CommitJob>,
    /// The bytes that the tenant has added beyond its turns so far. Its next turns are shorter by them.
    debt: usize,
}

impl PendingJobs {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push(&mut self, job: CommitJob) {
        let identity = job.delivery.connection.identity.load();
        let tenant = identity.tenant();
        self.len += 1;
        if let Some(queue) = self.jobs.get_mut(tenant) {
            return queue.jobs.push_back(job);
        }
        let tenant = tenant.clone();
        drop(identity);
        self.rotation.push_back(tenant.clone());
        self.jobs.entry(tenant).or_default().jobs.push_back(job);
    }

    /// Moves jobs into the batch, tenant by tenant, until the batch is full or has `most` jobs. Moves at least one job
    /// if there is any.
    pub(super) fn fill(&mut self, batch: &mut Vec<CommitJob>, most: usize) {
        let mut bytes = 0;
        while batch.len() < most
            && bytes < BATCH_BYTES
            && let Some(tenant) = self.rotation.pop_front()
        {
            let Some(queue) = self.jobs.get_mut(&tenant) else {
                continue;
            };
            let mut left = QUANTUM_BYTES.saturating_sub(queue.debt);
            queue.debt = queue.debt.saturating_sub(QUANTUM_BYTES);
            while left > 0
                && batch.len() < most
                && bytes < BATCH_BYTES
                && let Some(job) = queue.jobs.pop_front()
            {
                let size = job.delivery.effects_weight();
                bytes = bytes.saturating_add(size);
                queue.debt = queue.debt.saturating_add(size.saturating_sub(left));
                left = left.saturating_sub(size);
                self.len = self.len.saturating_sub(1);
                batch.push(job);
            }
            if queue.jobs.is_empty() {
                self.jobs.remove(&tenant);
            } else {
                self.rotation.push_back(tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tests::{Inbox, delivery};
    use crate::{Connection, Fleet, HubHandle};
    use parlance_handler::capability::Effect;
    use parlance_store::memory::MemoryStore;
    use parlance_store::{KvKey, StorageQuota, Write};
    use parlance_types::auth::Identity;
    use parlance_types::id::ConnectionId;
    use parlance_types::metrics::Registry;

    /// A job of the tenant that sets a key to a value of this size. The key is the job's number.
    fn job(tenant: &str, number: usize, bytes: usize) -> CommitJob {
        let identity = Arc::new(Identity::for_tests(tenant, "alice").unwrap());
        let hub = HubHandle::open(
            identity.tenant().clone(),
            &crate::Metrics::register(&Registry::default()).unwrap(),
            Fleet::single_node(Arc::new(MemoryStore::default())),
            Arc::default(),
        );
        let key = KvKey {
            handler: "h".into(),
            key: number.to_string(),
        };
        let connection = Connection::new(ConnectionId::from_bits(1), identity, Box::new(Inbox::default()));
        let write = Write::KvSet {
            key,
            value: vec![0; bytes],
            expires_at: None,
        };
        CommitJob {
            hub,
            quota: StorageQuota::UNLIMITED,
            delivery: delivery(&Arc::new(connection), vec![Effect::Write(Arc::new(write))], Vec::new()),
        }
    }

    /// The tenants and numbers of the jobs.
    fn names(batch: &[CommitJob]) -> Vec<(String, String)> {
        let name = |job: &CommitJob| {
            let tenant = job.delivery.connection.identity.load().tenant().to_string();
            match job.delivery.effects[0].write().map(|write| &**write) {
                Some(Write::KvSet { key, .. }) => (tenant, key.key.clone()),
                other => panic!("{other:?}"),
            }
        };
        batch.iter().map(name).collect()
    }

    fn of(tenant: &str, batch: &[CommitJob]) -> Vec<usize> {
        let own = names(batch).into_iter().filter(|(owner, _)| owner == tenant);
        own.map(|(_, number)| number.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_tenant_with_a_thousand_jobs_does_not_delay_one_with_a_single_job() {
        let mut pending = PendingJobs::default();
        for number in 0..1000 {
            pending.push(job("many", number, 100));
        }
        pending.push(job("few", 0, 100));
        let mut batch = Vec::new();
        pending.fill(&mut batch, 100);
        assert_eq!(batch.len(), 100);
        assert_eq!(of("few", &batch), [0]);
        assert_eq!(of("many", &batch), (0..99).collect::<Vec<_>>(), "in their order");
        while !pending.is_empty() {
            let before = batch.len();
            pending.fill(&mut batch, 2000);
            assert!(batch.len() > before);
        }
        assert_eq!(of("many", &batch), (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes_and_a_large_job_costs_later_turns() {
        let mut pending = PendingJobs::default();
        for number in 0..10 {
            pending.push(job("large", number, BATCH_BYTES));
        }
        for number in 0..200 {
            pending.push(job("small", number, QUANTUM_BYTES / 4));
        }
        let mut batch = Vec::new();
        pending.fill(&mut batch, 512);
        assert_eq!(of("large", &batch), [0], "one job fills a batch");
        batch.clear();
        pending.fill(&mut batch, 20);
        assert_eq!(of("large", &batch), [0_usize; 0], "its turns are used up meanwhile");
        assert_eq!(of("small", &batch), (0..20).collect::<Vec<_>>());
        // Once it is alone, its debt delays it no longer.
        while !pending.is_empty() {
            batch.clear();
            pending.fill(&mut batch, 512);
            assert!(!batch.is_empty());
        }
    }
}
