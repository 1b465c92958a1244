//! The OpenAPI and AsyncAPI documents, the reference and the README agree with the code.

mod asyncapi;
mod examples;
pub mod openapi;
mod operations;
mod reference;
mod schemas;
