//! Authentication: passwords with the queue of their hashes, and tokens. Sessions are rows and live in the
//! store; [`crate::app::App::identify`] puts the two together.

pub mod hash_queue;
pub mod known_networks;
pub mod passwords;
pub mod tokens;
