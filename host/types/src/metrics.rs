//! Makes metrics and registers them, for `/metrics` in the Prometheus text format.
//!
//! Each module declares its metrics in a struct `Metrics` of its own; the wiring (`app`) registers them all with one
//! [`Registry`]. This module knows names and labels, and nothing of what is counted. A metric that events count is looked
//! up by its labels once, when the server starts or a tenant is opened: counting is an atomic addition.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::process_collector::ProcessCollector;
use prometheus::{CounterVec, GaugeVec, HistogramOpts, IntGaugeVec, Opts, TextEncoder};

pub use prometheus::{Counter, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Result};

/// Buckets for what clients wait for, in seconds: from 50 microseconds to 5 seconds.
pub const LATENCY_BUCKETS: [f64; 15] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// Every metric that `/metrics` shows. Its methods fail only when a name is taken already, or malformed.
#[derive(Clone, Default)]
pub struct Registry(prometheus::Registry);

impl Registry {
    fn add<C: Collector + Clone + 'static>(&self, made: Result<C>) -> Result<C> {
        let collector = made?;
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    /// A count that only rises.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help))
    }

    /// A number that rises and falls.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help))
    }

    /// How many observations fall into each bucket.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        self.add(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        ))
    }

    /// A counter for each value of a label.
    pub fn counters(&self, name: &str, help: &str, label: &str) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    /// A histogram for each value of a label.
    pub fn histograms(&self, name: &str, help: &str, label: &str, buckets: &[f64]) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, &[label]))
    }

    /// A counter for each tenant.
    pub fn counter_by_tenant(&self, name: &str, help: &str) -> Result<ByTenant<IntCounter>> {
        self.by_tenant(IntCounterVec::new(Opts::new(name, help), &[TENANT]))
    }

    /// A counter of fractions for each tenant.
    pub fn float_counter_by_tenant(&self, name: &str, help: &str) -> Result<ByTenant<Counter>> {
        self.by_tenant(CounterVec::new(Opts::new(name, help), &[TENANT]))
    }

    /// A gauge for each tenant.
    pub fn gauge_by_tenant(&self, name: &str, help: &str) -> Result<ByTenant<IntGauge>> {
        self.by_tenant(IntGaugeVec::new(Opts::new(name, help), &[TENANT]))
    }

    /// A gauge of fractions for each tenant.
    pub fn float_gauge_by_tenant(&self, name: &str, help: &str) -> Result<ByTenant<Gauge>> {
        self.by_tenant(GaugeVec::new(Opts::new(name, help), &[TENANT]))
    }

    fn by_tenant<B: MetricVecBuilder + 'static>(&self, made: Result<MetricVec<B>>) -> Result<ByTenant<B::M>> {
        Ok(ByTenant(Arc::new(Counted {
            series: self.add(made)?,
            handles: Mutex::default(),
        })))
    }

    /// A gauge that is always 1 and says something of the server by its labels.
    pub fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<()> {
        let options = labels.iter().fold(Opts::new(name, help), |options, (label, value)| {
            options.const_label(*label, *value)
        });
        self.add(IntGauge::with_opts(options))?.set(1);
        Ok(())
    }

    /// Metrics of the process: processor time, memory, file descriptors, threads.
    pub fn process(&self) -> Result<()> {
        self.0.register(Box::new(ProcessCollector::for_self()))
    }

    /// Every metric, in the Prometheus text format.
    pub fn render(&self) -> Result<String> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}

/// The label that tells tenants apart.
const TENANT: &str = "tenant";

/// A metric with a series for each tenant.
pub struct ByTenant<M>(Arc<dyn Family<M>>);

impl<M> Clone for ByTenant<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> ByTenant<M> {
    /// The tenant's series. Making the handle takes a look-up, so keep it.
    #[must_use]
    pub fn of(&self, tenant: &str) -> Series<M> {
        Series {
            metric: self.0.take(tenant),
            family: self.0.clone(),
            tenant: tenant.into(),
        }
    }
}

/// One tenant's series. It ends with the last handle for the tenant's name: for a while there are two tenants of a name,
/// when one was deleted and made again.
pub struct Series<M> {
    metric: M,
    family: Arc<dyn Family<M>>,
    tenant: Box<str>,
}

impl<M> Deref for Series<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.metric
    }
}

impl<M> Drop for Series<M> {
    fn drop(&mut self) {
        self.family.give_back(&self.tenant);
    }
}

/// Hides which kind of metric it is.
trait Family<M>: Send + Sync {
    fn take(&self, tenant: &str) -> M;
    fn give_back(&self, tenant: &str);
}

struct Counted<B: MetricVecBuilder> {
    series: MetricVec<B>,
    /// How many handles each series has. Held while a series begins or ends.
    handles: Mutex<HashMap<Box<str>, usize>>,
}

impl<B: MetricVecBuilder> Family<B::M> for Counted<B> {
    fn take(&self, tenant: &str) -> B::M {
        let mut handles = self.handles.lock();
        *handles.entry(tenant.into()).or_default() += 1;
        self.series.with_label_values(&[tenant])
    }

    fn give_back(&self, tenant: &str) {
        let mut handles = self.handles.lock();
        if let Some(others) = handles.get_mut(tenant) {
            *others = others.saturating_sub(1);
            if *others > 0 {
                return;
            }
        }
        handles.remove(tenant);
        // It is there: it began with the first handle.
        let _ = self.series.remove_label_values(&[tenant]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_ends_with_the_last_handle_for_its_tenant() {
        let registry = Registry::default();
        let events = registry.counter_by_tenant("events_total", "Events, by tenant").unwrap();
        let shown = || registry.render().unwrap();
        let old = events.of("acme");
        let new = events.of("acme");
        let other = events.of("globex");
        new.inc();
        other.inc();
        drop(old);
        assert!(shown().contains("events_total{tenant=\"acme\"} 1"), "{}", shown());
        drop(new);
        assert!(!shown().contains("acme"), "{}", shown());
        assert!(shown().contains("events_total{tenant=\"globex\"} 1"), "{}", shown());
        let again = events.of("acme");
        assert!(shown().contains("events_total{tenant=\"acme\"} 0"), "it begins anew");
        drop(again);
        assert!(!shown().contains("acme"), "and ends again");
    }

    #[test]
    fn a_name_is_taken_once() {
        let registry = Registry::default();
        registry.counter("events_total", "Events").unwrap();
        assert!(registry.gauge("events_total", "Events").is_err());
    }
}
