//! Clients of the servers that Hark replaces, and of off-the-shelf libraries.

mod chat_rooms;
mod client_libraries;
mod dating_site;
mod event_chat;
mod first_protocol;
mod predecessor_faults;
mod private_chat;
