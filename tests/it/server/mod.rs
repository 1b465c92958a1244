//! The process: settings, start, shutdown, container files and the private PostgreSQL.

mod container;
mod private_postgres;
pub mod settings;
mod shutdown;
