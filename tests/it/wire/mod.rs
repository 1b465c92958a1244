//! Requests, replies, pushes and errors as JSON, whatever their type.

mod arbitrary_input;
mod envelope;
mod parsers;
