//! What all HTTP responses have in common, whichever layer makes them.

use serde_json::{Value, json};

use crate::documents::openapi::document;
use crate::support::{Client, SocketEnd, TestServer, answer};

/// Returns every path of the document that GET answers, with a user in the place of its parameters, and the
/// pages.
fn paths_of_get(user: i64) -> Vec<String> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths").iter();
    let documented = paths.filter(|(_, methods)| methods.get("get").is_some()).map(|(path, _)| {
        let path = path.replace("{kind}", "users").replace("{id}", &user.to_string());
        if path.ends_with("search") { format!("{path}?q=x") } else { path }
    });
    let pages = ["/", "/api", "/api/", "/api/swagger-ui.css", "/api/openapi.json", "/users/list", "/ws", "/nothing"];
    documented.chain(pages.map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn head_request_is_answered_like_get_without_a_body() {
    let server = TestServer::start().await;
    let user = server.create_user("Header").await;
    let paths = paths_of_get(user.id);
    assert!(paths.len() > 18, "{paths:?}");
    // Reading notes needs a message in them.
    server.connect(&user).await.send_content(&json!({ "receiverId": user.id }), "x").await;
    for path in paths {
        let get = server.as_user(&user.token, "GET", &path, Value::Null).await;
        let head = server.as_user(&user.token, "HEAD", &path, Value::Null).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        for header in ["content-type", "content-length", "content-security-policy", "x-content-type-options"] {
            // Counts move between the two requests, and a streamed document has no length.
            if header != "content-length" || path != "/metrics" {
                assert_eq!(head.header(header), get.header(header), "{header} of {path}");
            }
        }
        // The same holds without a token.
        let without = answer(server.http("HEAD", &path)).await;
        assert_eq!(without.status, answer(server.http("GET", &path)).await.status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_request_is_no_upgrade() {
    let server = TestServer::start().await;
    let user = server.create_user("Header").await;
    let request = server.http("HEAD", "/ws").bearer_auth(&user.token);
    let request = request.header("connection", "upgrade").header("upgrade", "websocket");
    let request = request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert!([400, 404].contains(&answer(request).await.status));
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_path_without_an_upgrade_is_400_with_any_token() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    for request in [
        server.http("GET", "/ws"),
        server.http("GET", "/ws").bearer_auth(&user.token),
        server.http("GET", "/ws").bearer_auth("bad"),
        server.http("GET", "/ws").header("origin", "https://evil.example.org"),
        server.http("GET", "/ws").header("connection", "upgrade").header("upgrade", "websocket"),
    ] {
        let message = answer(request).await.refused(400, "bad_params");
        assert!(message.contains("WebSocket"), "{message}");
    }
    // With an upgrade, a missing token is 401.
    let Err(refused) = Client::try_connect(server.server.address(), "/ws", &[]).await else { panic!("an upgrade") };
    assert!(refused.to_string().contains("401"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_subprotocols_in_another_order_are_refused_with_the_right_one() {
    let server = TestServer::start().await;
    let token = server.create_user("Patrick0").await.token;
    for (offered, reason) in [
        (format!("{token}, auth"), "Not authorized: the subprotocols must be [\"auth\", token], in this order"),
        ("auth".to_owned(), "Not authorized: the subprotocols must be [\"auth\", token], in this order"),
        ("auth, bad".to_owned(), "Not authorized"),
    ] {
        let headers = [("sec-websocket-protocol", offered.clone())];
        let (client, _) = Client::try_connect(server.server.address(), "/", &headers).await.expect("an upgrade");
        assert_eq!(client.wait_for_close().await, SocketEnd { code: 4001, reason: reason.to_owned() }, "{offered}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_json_also_those_of_libraries() {
    let server =
        TestServer::start_with(|config| config.allowed_origins = vec!["https://chat.example.org".to_owned()]).await;
    let preflight = |origin: &'static str, method: &'static str| {
        let request = server.http("OPTIONS", "/api/v1/auth/login").header("origin", origin);
        request.header("access-control-request-method", method)
    };
    for refused in [
        preflight("https://evil.example.org", "POST"),
        preflight("null", "POST"),
        preflight("https://chat.example.org", "TRACE"),
        server.http("OPTIONS", "/api/v1/auth/login").header("origin", "https://chat.example.org"),
    ] {
        let refused = answer(refused).await;
        if refused.status != 404 {
            let message = refused.refused(403, "unauthorized");
            assert!(!message.is_empty());
        }
        assert_eq!(refused.header("content-type"), "application/json");
    }
    let user = server.create_user("Asker").await;
    for (request, status) in [
        (server.http("POST", "/api/v1/auth/login").body("x".repeat(70_000)), 413),
        (server.http("POST", "/api/v1/auth/login").header("content-type", "text/plain").body("{"), 400),
        (server.http("POST", "/api/v1/auth/login").header("content-encoding", "gzip").body("{}"), 400),
        (server.http("PUT", "/healthz"), 404),
        (server.http("GET", "/api/v1/users/x").bearer_auth(&user.token), 404),
        (server.http("GET", "/api/v1/users/99999999999999999999").bearer_auth(&user.token), 404),
        (server.http("GET", "/api/v1/conversations/x/1").bearer_auth(&user.token), 404),
        (server.http("GET", "/api/v1/users?limit=%ff").bearer_auth(&user.token), 400),
        (server.http("GET", "/api/nothing.js"), 404),
        (server.http("GET", &format!("/{}", "x".repeat(10_000))), 404),
        (server.http("GET", "/api/v1/users/me"), 401),
    ] {
        let refused = answer(request).await;
        assert_eq!(refused.header("content-type"), "application/json", "{refused:?}");
        let body: Value = serde_json::from_str(&refused.text).expect("JSON");
        assert!(body["message"].is_string(), "{refused:?}");
        assert_eq!(refused.status, status, "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn security_headers_are_on_every_response() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    for path in paths_of_get(user.id) {
        let shown = server.as_user(&user.token, "GET", &path, Value::Null).await;
        assert_eq!(shown.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(shown.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(shown.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(shown.header("cross-origin-opener-policy"), "same-origin", "{path}");
        let policy = shown.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("script-src 'unsafe") && !policy.contains('*'), "{path}: {policy}");
        let is_page = shown.header("content-type").starts_with("text/html");
        assert_eq!(policy.contains("script-src"), is_page || path.starts_with("/api/swagger"), "{path}: {policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_path_or_method_is_404_in_json() {
    let server = TestServer::start().await;
    for (method, path) in [
        ("GET", "/nothing"),
        ("GET", "/api/v1"),
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/nothing"),
        ("GET", "/api/v2/users"),
        ("GET", "/api/v1/auth/login"),
        ("POST", "/api/v1/users/me"),
        ("DELETE", "/healthz"),
        ("GET", "//etc/passwd"),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "/api/v1/users/1/2"),
    ] {
        let message = answer(server.http(method, path)).await.refused(404, "not_found");
        assert!(message.starts_with("There is nothing at this path"), "{method} {path}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn root_without_an_upgrade_is_the_landing_page() {
    let server = TestServer::start().await;
    let page = answer(server.http("GET", "/")).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text.contains("/api/"), "{}", page.text);
}
