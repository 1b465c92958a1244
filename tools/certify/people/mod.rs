//! People: clients that write, read, join and leave, come back, and repeat what was not confirmed.

mod choices;
mod device;
pub(crate) mod link;
mod setup;
pub(crate) mod truth;
mod world;

pub(crate) use device::{Device, Stage};
pub(crate) use setup::{client, set_up, signed_up};
pub(crate) use world::{World, world_of};
