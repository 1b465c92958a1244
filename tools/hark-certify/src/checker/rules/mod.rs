//! The rules of the contract. `cursors` and `restores` use `members`; the others stand alone.

pub(super) mod availability;
pub(super) mod changes;
pub(super) mod cursors;
pub(super) mod isolation;
pub(super) mod members;
pub(super) mod messages;
pub(super) mod order;
pub(super) mod pings;
pub(super) mod restores;
pub(super) mod search;
pub(super) mod unread;
