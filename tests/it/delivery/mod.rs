//! Delivery of pushes: order, fan-out and slow consumers.

mod fan_out;
pub mod ordering;
mod slow_consumer;
