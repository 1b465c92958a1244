//! The recorded history of a round. In the order of imports, the lowest first: `event`, then `recorder` and `file`.

pub(crate) mod event;
pub(crate) mod file;
pub(crate) mod recorder;
