//! The load: who sends, receives, or only holds a socket. In the order of imports, the lowest first: `open_loop`,
//! `group` and `sender`, then `message_load`, `virtual_user` and `idle_sockets`.

pub(crate) mod group;
pub(crate) mod idle_sockets;
pub(crate) mod message_load;
pub(crate) mod open_loop;
pub(crate) mod sender;
pub(crate) mod virtual_user;
