//! Who is asking: passwords, tokens, and how often somebody may try. Sessions are rows and live in
//! the store; [`crate::app::App::identify`] puts the two together.

pub mod hash_queue;
pub mod known_places;
pub mod passwords;
pub mod tokens;
