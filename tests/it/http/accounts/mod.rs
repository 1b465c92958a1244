//! Accounts over HTTP, from sign-up to deletion.

mod deletion;
mod deletion_in_batches;
mod deletion_races;
mod login;
mod login_flood;
mod password;
mod profile;
mod rate_limits;
mod sessions;
mod sign_up;
mod tokens;

use serde_json::{Value, json};

use crate::documents::openapi::document;
use crate::support::{Answer, Client, TestServer, answer};

const SIGN_UP: &str = "/api/v1/auth/sign-up";
pub const LOGIN: &str = "/api/v1/auth/login";
const REFRESH: &str = "/api/v1/auth/refresh";
const LOGOUT: &str = "/api/v1/auth/logout";
const SESSIONS: &str = "/api/v1/auth/sessions";
pub const ME: &str = "/api/v1/users/me";
const MY_PASSWORD: &str = "/api/v1/users/me/password";
const PASSWORD: &str = "correct horse";
const NOT_AUTHORIZED: &str = r#"{"message":"Not authorized","code":"unauthorized"}"#;

async fn post(server: &TestServer, path: &str, body: &Value) -> Answer {
    answer(server.http("POST", path).json(body)).await
}

/// Sends a request with a token, without a body if that is null.
pub async fn with_token(server: &TestServer, method: &str, path: &str, token: &str, body: Value) -> Answer {
    let request = server.http(method, path).bearer_auth(token);
    answer(if body.is_null() { request } else { request.json(&body) }).await
}

/// Signs up over HTTP, for tests that need a password, and returns the id of the new user.
async fn sign_up(server: &TestServer, email: &str) -> i64 {
    let body = post(server, SIGN_UP, &json!({ "email": email, "password": PASSWORD })).await.ok(201);
    body["id"].as_i64().expect("an id")
}

/// Logs in and returns the token.
async fn log_in(server: &TestServer, email: &str, password: &str) -> String {
    let body = post(server, LOGIN, &json!({ "email": email, "password": password })).await.ok(200);
    body["token"].as_str().expect("a token").to_owned()
}

/// Returns every route that needs a token: those that the OpenAPI document marks, and the compatibility
/// paths.
fn signed_in_routes() -> Vec<(String, String)> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let marked = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").iter();
        methods
            .filter(|(_, operation)| operation.get("security").is_some())
            .map(|(method, _)| (method.to_uppercase(), path.replace("{id}", "1")))
    });
    let old = [
        ("GET", "/users/list?limit=0"),
        ("PATCH", "/profile/update"),
        ("PATCH", "/profile/change-password"),
        ("DELETE", "/profile/destroy"),
        ("GET", "/users/list"),
    ];
    let routes: Vec<_> = marked.chain(old.map(|(method, path)| (method.to_owned(), path.to_owned()))).collect();
    assert!(routes.len() >= 15, "{routes:?}");
    routes
}

/// Asserts that a token is refused at every route, whatever else is sent, and at the WebSocket upgrade.
async fn assert_refused_everywhere(server: &TestServer, token: &str) {
    for (method, path) in signed_in_routes() {
        for body in [Value::Null, json!([])] {
            let refusal = with_token(server, &method, &path, token, body).await;
            assert_eq!((refusal.status, refusal.text.as_str()), (401, NOT_AUTHORIZED), "{method} {path}");
        }
    }
    assert_no_socket(server, token).await;
}

async fn assert_no_socket(server: &TestServer, token: &str) {
    let headers = [("authorization", format!("Bearer {token}"))];
    let error = Client::try_connect(server.server.address(), "/", &headers).await.err().expect("no upgrade");
    let tokio_tungstenite::tungstenite::Error::Http(response) = *error else { panic!("an answer, not {error}") };
    assert_eq!(response.status(), 401);
}

/// Asserts that a socket still answers.
async fn assert_open(socket: &mut Client) {
    assert_eq!(socket.call("listLastMessage", json!({})).await["success"], true);
}

async fn assert_closed_4001(socket: Client) {
    assert_eq!(socket.wait_for_close().await.code, 4001);
}
