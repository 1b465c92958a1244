//! The HTTP routes, and what all of them have in common.

pub mod accounts;
mod connection;
mod conventions;
mod conversations;
mod cors;
mod export;
mod health;
mod limits;
