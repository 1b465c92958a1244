//! The OpenAPI document agrees with the routes of the server and with the file in the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{TestServer, answer, default_limits};

/// Returns the document as the command line prints it and the repository has it.
pub fn printed() -> String {
    hark::http::openapi(&default_limits()).to_pretty_json().expect("JSON") + "\n"
}

pub fn document() -> Value {
    serde_json::from_str(&printed()).expect("JSON")
}

/// Returns `GET /path` and so on, as a set.
fn documented_routes() -> BTreeSet<String> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().expect("methods").keys().map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

/// Returns the `route(…)` lines of `src/http/mod.rs` and `src/http/compat.rs`, with the path of their scope.
fn routes_in_the_source() -> BTreeSet<String> {
    let source = concat!(include_str!("../../../src/http/mod.rs"), include_str!("../../../src/http/compat.rs"));
    let mut scope = "";
    let mut routes = BTreeSet::new();
    for line in source.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("web::scope(\"") {
            scope = rest.split('"').next().expect("its path");
        } else if let Some(rest) = line.strip_prefix(".route(\"") {
            let (path, rest) = rest.split_once("\", web::").expect("a path and a method");
            let method = rest.split('(').next().expect("a method").to_uppercase();
            routes.insert(format!("{method} {scope}{path}"));
        } else if line == ")" {
            scope = "";
        }
    }
    routes
}

/// Routes of pages for people, which the document leaves out on purpose.
const UNDOCUMENTED: [&str; 2] = ["GET /", "GET /api"];

#[test]
fn openapi_file_is_the_document_of_this_build() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(file == printed(), "it is old; run: cargo run -- openapi > openapi/openapi.json");
}

#[test]
fn openapi_document_has_every_route_but_the_pages() {
    let mut expected = documented_routes();
    expected.extend(UNDOCUMENTED.map(str::to_owned));
    assert_eq!(routes_in_the_source(), expected);
}

#[test]
fn openapi_document_has_every_route_of_the_contract() {
    let routes: Vec<_> = documented_routes().into_iter().collect();
    insta::assert_json_snapshot!(routes, @r#"
    [
      "DELETE /api/v1/auth/logout",
      "DELETE /api/v1/auth/sessions/{id}",
      "DELETE /api/v1/users/me",
      "DELETE /profile/destroy",
      "GET /api/asyncapi.json",
      "GET /api/v1/auth/sessions",
      "GET /api/v1/conversations",
      "GET /api/v1/conversations/{kind}/{id}",
      "GET /api/v1/conversations/{kind}/{id}/messages",
      "GET /api/v1/messages/search",
      "GET /api/v1/users",
      "GET /api/v1/users/me",
      "GET /api/v1/users/me/export",
      "GET /api/v1/users/{id}",
      "GET /healthz",
      "GET /metrics",
      "GET /readyz",
      "GET /users/list",
      "PATCH /api/v1/users/me",
      "PATCH /profile/change-password",
      "PATCH /profile/update",
      "POST /api/v1/auth/login",
      "POST /api/v1/auth/refresh",
      "POST /api/v1/auth/sign-up",
      "POST /api/v1/conversations/{kind}/{id}/messages",
      "POST /auth/login",
      "POST /auth/sing-up",
      "PUT /api/v1/users/me/password"
    ]
    "#);
}

#[test]
fn openapi_operations_have_summaries_and_refusals() {
    let document = document();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let place = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{place}");
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{place}");
            assert_eq!(
                operation.get("security").is_some() || path == "/api/v1/auth/login",
                responses.contains_key("401"),
                "{place}"
            );
            assert!(!path.contains("{id}") || responses.contains_key("404"), "{place}");
            assert!(operation.get("requestBody").is_none() || responses.contains_key("413"), "{place}");
        }
    }
}

#[test]
fn openapi_references_resolve() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("inside the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_routes_exist_and_no_other_method_at_their_paths() {
    let server = TestServer::start().await;
    let routes = documented_routes();
    let paths: BTreeSet<_> = routes.iter().map(|route| route.split_once(' ').expect("two words").1).collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            // The requests have no token and no body: 401 and 400 are answers of the route.
            let status =
                answer(server.http(method, &path.replace("{kind}", "groups").replace("{id}", "1"))).await.status;
            let exists = ![404, 405].contains(&status);
            assert!(status < 500, "{method} {path}: {status}");
            assert_eq!(exists, routes.contains(&format!("{method} {path}")), "{method} {path}: {status}");
        }
    }
    for route in UNDOCUMENTED {
        let (method, path) = route.split_once(' ').expect("two words");
        let status = answer(server.http(method, path)).await.status;
        assert!(![404, 405].contains(&status) && status < 500, "{route}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swagger_ui_shows_the_served_document() {
    let server = TestServer::start().await;
    let get = async |path: &str| answer(server.http("GET", path)).await;
    let redirect = get("/api").await;
    assert_eq!((redirect.status, redirect.header("location")), (308, "/api/"));

    let page = get("/api/").await;
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    assert!(page.text.contains("swagger-ui"), "{page:?}");
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        assert!(page.text.contains(file), "{file} in {}", page.text);
        assert_eq!(get(&format!("/api/{file}")).await.status, 200, "{file}");
    }
    assert!(get("/api/swagger-initializer.js").await.text.contains("/api/openapi.json"));
    assert_eq!(get("/api/openapi.json").await.ok(200), document());
}
