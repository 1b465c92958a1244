//! Hark is a messenger server: one binary and PostgreSQL, plain JSON frames over a raw WebSocket.
//!
//! Read the code along the way of one `privateMessage`: `ws/connection` receives the bytes, [`wire::frame`] parses
//! the envelope, [`commands`] parse the parameters and run the command, [`store::writer`] commits the message in a
//! batch with others. The reply goes back through `ws/connection`; the push goes through [`delivery`] to the
//! outboxes of the receiver's sockets.
//!
//! Imports run one way, and tests/it/architecture/ checks that: `main → server → http | ws → commands → app →
//! cluster → delivery | store | auth → wire | limits → model, error, config, telemetry`. Names joined by `|` do not
//! import each other, and the store does not import the wire. ARCHITECTURE.md gives the reasons.

pub mod app;
pub mod auth;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod delivery;
pub mod embedded_postgres;
pub mod error;
pub mod http;
pub mod limits;
pub mod model;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod wire;
pub mod ws;

pub use store::MIGRATOR;
