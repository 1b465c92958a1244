//! The AsyncAPI document agrees with the server and with the file in the repository.

use std::fs;
use std::path::Path;

use clap::Parser as _;
use hark::config::Cli;
use serde_json::Value;

use super::openapi::document;
use crate::support::{TestServer, answer};

fn asyncapi() -> Value {
    let config = Cli::parse_from(["hark"]).config;
    hark::http::asyncapi(&config.limits)
}

#[test]
fn asyncapi_file_is_the_document_of_this_build() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/asyncapi.json");
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(file == format!("{:#}\n", asyncapi()), "it is old; run: cargo run -- asyncapi > openapi/asyncapi.json");
}

/// Returns every `$ref` of a document.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(values) => values.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn asyncapi_and_openapi_references_resolve() {
    for document in [asyncapi(), document()] {
        let references = references(&document);
        assert!(references.len() > 20, "the references are somewhere else: {references:?}");
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("a place in the same document");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncapi_document_is_served() {
    let server = TestServer::start().await;
    let shown = answer(server.http("GET", "/api/asyncapi.json")).await.ok(200);
    assert_eq!(shown, asyncapi());
}
