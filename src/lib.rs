//! Hark is a messenger server: one binary and PostgreSQL, plain JSON frames over a raw WebSocket.
//!
//! The story of one `privateMessage`, and the order in which to read: bytes arrive in
//! `ws/connection`, [`wire::frame`] finds the type, [`commands`] read the parameters and carry it
//! out, [`store::writer`] commits it in a batch with others. The reply goes back through
//! `ws/connection`; the push goes through [`delivery`] to the receiver's outbox.
//!
//! Imports run one way: `main → server → http | ws → commands → app → store | delivery | auth →
//! wire → model, error, config, telemetry`; names joined by `|` never import each other. A test
//! holds this. ARCHITECTURE.md says why things are as they are.

pub mod app;
pub mod auth;
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
