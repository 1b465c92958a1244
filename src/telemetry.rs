//! What an operator sees: the log, and the metrics under their names.

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

/// Unless the filter asks for them: what the HTTP library says of broken requests, which clients could
/// fill the log with, and of its threads.
const QUIET: &str = "actix_http=off,actix_server=warn";

/// Starts the log of this process, on standard error. Once a process.
pub fn start_log(filter: &str, format: LogFormat) {
    let log = tracing_subscriber::fmt()
        // Errors are logged whatever targets the filter names; a level in it takes their place.
        .with_env_filter(EnvFilter::new(format!("error,{QUIET},{filter}")))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// The counts of one server.
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
    other_nodes: Gauge,
    missed: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("hark");
        let sockets = Gauge::default();
        registry.register("sockets", "Open sockets", sockets.clone());
        let request_memory = Gauge::default();
        let help = "Bytes that requests and their replies take";
        registry.register_with_unit("request_memory", help, Unit::Bytes, request_memory.clone());
        let sockets_closed = Family::default();
        registry.register("sockets_closed", "Sockets that the server closed, by close code", sockets_closed.clone());
        let requests = Counter::default();
        registry.register("requests", "Frames received on sockets", requests.clone());
        let messages_stored = Counter::default();
        registry.register("messages_stored", "Messages committed", messages_stored.clone());
        let batch_messages = Histogram::new(exponential_buckets(1.0, 2.0, 9));
        registry.register("batch_messages", "Messages of one write transaction", batch_messages.clone());
        let batch_seconds = Histogram::new(exponential_buckets(0.000_25, 2.0, 14));
        registry.register_with_unit("batch", "Time of one write transaction", Unit::Seconds, batch_seconds.clone());
        let pushes = Counter::default();
        registry.register("pushes", "Frames pushed to sockets of this node", pushes.clone());
        let other_nodes = Gauge::default();
        registry.register("other_nodes", "Other nodes that this one hears", other_nodes.clone());
        let missed = Counter::default();
        registry.register("missed", "Times that something of what another node said was missed", missed.clone());
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
            other_nodes,
            missed,
        }
    }
}

impl Metrics {
    /// A socket was opened.
    pub fn socket_opened(&self) {
        self.sockets.inc();
    }

    /// A socket has ended.
    pub fn socket_ended(&self) {
        self.sockets.dec();
    }

    /// Of the bytes that requests and their replies take.
    #[must_use]
    pub fn request_memory(&self) -> Gauge {
        self.request_memory.clone()
    }

    /// The server closed a socket with this code.
    pub fn socket_closed(&self, code: u16) {
        self.sockets_closed.get_or_create(&[("code", code.to_string())]).inc();
    }

    /// A frame came in.
    pub fn request(&self) {
        self.requests.inc();
    }

    /// A write transaction of so many messages took so long.
    pub fn batch_written(&self, messages: usize, took: Duration) {
        self.batch_messages.observe(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
        self.batch_seconds.observe(took.as_secs_f64());
    }

    /// So many messages are committed.
    pub fn messages_stored(&self, messages: usize) {
        self.messages_stored.inc_by(messages as u64);
    }

    /// So many frames went to sockets.
    pub fn pushed(&self, frames: usize) {
        self.pushes.inc_by(frames as u64);
    }

    /// Another node is there.
    pub fn node_came(&self) {
        self.other_nodes.inc();
    }

    /// Another node has stopped or is silent.
    pub fn node_went(&self) {
        self.other_nodes.dec();
    }

    /// Something that another node said was not heard.
    pub fn missed(&self) {
        self.missed.inc();
    }

    /// All of it, in the text form that Prometheus reads.
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
