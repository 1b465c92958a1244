//! The frames of a client, with a file for each file of `src/commands`.

mod chat_list;
mod contacts;
mod conversation_settings;
mod conversations;
mod edits;
mod groups;
mod history;
mod messages;
mod notifications;
mod presence;
mod reactions;
mod receipts;
mod replies;
pub mod search;
mod session;
mod sync;
mod typing;
mod unread_counts;
mod users;
