//! Telemetry: the log and the Prometheus metrics.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// The filter of libraries, which `HARK_LOG` can override: clients could fill the log with broken requests.
const LIBRARY_FILTER: &str = "actix_http=off,actix_server=warn";

/// Starts the log of the process, on standard error. It can be called once.
pub fn start_log(filter: &str, format: LogFormat) {
    let log = tracing_subscriber::fmt()
        // Errors of every target are logged, unless the filter has a level of its own.
        .with_env_filter(EnvFilter::new(format!("error,{LIBRARY_FILTER},{filter}")))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// The metrics of one server.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    sockets: Gauge,
    request_memory: Gauge,
    sockets_closed: Family<[(&'static str, String); 1], Counter>,
    requests: Counter,
    messages_stored: Counter,
    batch_messages: Histogram,
    batch_seconds: Histogram,
    pushes: Counter<u64, AtomicU64>,
    cluster_peers: Gauge,
    cluster_gaps: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hark");
        let sockets = Gauge::default();
        registry.register("sockets", "Open sockets", sockets.clone());
        let request_memory = Gauge::default();
        let help = "Bytes of memory in use by requests and their replies";
        registry.register_with_unit("request_memory", help, Unit::Bytes, request_memory.clone());
        let sockets_closed = Family::default();
        registry.register("sockets_closed", "Sockets closed by the server, by close code", sockets_closed.clone());
        let requests = Counter::default();
        registry.register("requests", "Frames received on sockets", requests.clone());
        let messages_stored = Counter::default();
        registry.register("messages_stored", "Messages committed", messages_stored.clone());
        let batch_messages = Histogram::new(exponential_buckets(1.0, 2.0, 9));
        registry.register("batch_messages", "Messages per write transaction", batch_messages.clone());
        let batch_seconds = Histogram::new(exponential_buckets(0.000_25, 2.0, 14));
        registry.register_with_unit("batch", "Duration of a write transaction", Unit::Seconds, batch_seconds.clone());
        let pushes = Counter::default();
        registry.register("pushes", "Frames pushed to the sockets of this node (fan-out)", pushes.clone());
        let cluster_peers = Gauge::default();
        registry.register("cluster_peers", "Other nodes that this one receives from", cluster_peers.clone());
        let cluster_gaps = Counter::default();
        registry.register("cluster_gaps", "Gaps detected in what another node sent", cluster_gaps.clone());
        Self {
            registry: Arc::new(registry),
            sockets,
            request_memory,
            sockets_closed,
            requests,
            messages_stored,
            batch_messages,
            batch_seconds,
            pushes,
            cluster_peers,
            cluster_gaps,
        }
    }
}

impl Metrics {
    /// Counts an opened socket.
    pub fn socket_opened(&self) {
        self.sockets.inc();
    }

    /// Counts an ended socket.
    pub fn socket_ended(&self) {
        self.sockets.dec();
    }

    /// The gauge of the memory in use by requests and their replies.
    #[must_use]
    pub fn request_memory(&self) -> Gauge {
        self.request_memory.clone()
    }

    /// Counts a socket that the server closed, by close code.
    pub fn socket_closed(&self, code: u16) {
        self.sockets_closed.get_or_create(&[("code", code.to_string())]).inc();
    }

    /// Counts a request of a socket.
    pub fn request_received(&self) {
        self.requests.inc();
    }

    /// Records a write transaction.
    pub fn batch_written(&self, messages: usize, duration: Duration) {
        self.batch_messages.observe(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
        self.batch_seconds.observe(duration.as_secs_f64());
    }

    /// Counts committed messages.
    pub fn messages_stored(&self, messages: usize) {
        self.messages_stored.inc_by(messages as u64);
    }

    /// Counts pushed frames.
    pub fn pushed(&self, frames: usize) {
        self.pushes.inc_by(frames as u64);
    }

    /// Counts a peer that has joined the cluster.
    pub fn peer_joined(&self) {
        self.cluster_peers.inc();
    }

    /// Counts a peer that has left the cluster or was lost.
    pub fn peer_left(&self) {
        self.cluster_peers.dec();
    }

    /// Counts a gap in what another node sent.
    pub fn gap_detected(&self) {
        self.cluster_gaps.inc();
    }

    /// The metrics in the text format of Prometheus.
    ///
    /// # Panics
    /// Never: a `String` takes every write.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("a String takes every write");
        text
    }
}
