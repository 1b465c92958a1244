//! The store: PostgreSQL, which is the source of truth. SQL is known here and nowhere else.
//!
//! Each aggregate has a file or a folder: a function runs the queries of one use case and returns rows and
//! outcomes of its own types; `commands/` turns them into items of the wire. If a constraint decides
//! (a username that is taken, a contact that is oneself), its violation becomes the caller's error in the file of the
//! query.

mod columns;
pub mod contacts;
pub mod conversations;
pub mod database;
mod db;
pub mod export;
pub mod groups;
pub mod messages;
pub mod notifications;
pub mod notify;
mod pool;
pub mod presence;
pub mod search;
mod session_settings;
pub mod sync;
mod target;
pub mod users;
pub mod writer;

pub use self::database::migrations::MIGRATOR;
pub use self::db::Db;
pub use self::target::DatabaseTarget;
use crate::error::Error;

/// Maps the violation of a constraint against references to oneself (a contact, a block, a notification) to the
/// error `self`.
fn self_reference_error(error: sqlx::Error) -> Error {
    match error.as_database_error().and_then(|error| error.constraint()) {
        Some("contacts_are_others" | "blocked_users_are_others" | "notifications_are_for_others") => Error::oneself(),
        _ => error.into(),
    }
}
