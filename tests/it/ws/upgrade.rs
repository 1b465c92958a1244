//! The WebSocket upgrade: who may open a socket, and how a refusal looks to programs and to pages.

use hark::auth::tokens::{Tokens, now};
use hark::config::{Cli, Secret};
use hark::model::UserId;
use serde_json::{Value, json};

use super::assert_works;
use crate::support::{Answer, Client, SocketEnd, TestServer, answer};

type Header = (&'static str, String);

/// Returns the header in which programs send their token.
pub fn bearer(token: &str) -> Header {
    ("authorization", format!("Bearer {token}"))
}

/// Returns the header in which pages send it: `new WebSocket(url, ["auth", token])`.
pub fn protocol(token: &str) -> Header {
    ("sec-websocket-protocol", format!("auth, {token}"))
}

fn origin(origin: &str) -> Header {
    ("origin", origin.to_owned())
}

/// Requests an upgrade as plain HTTP, and returns the status and the body of the refusal.
async fn refusal(server: &TestServer, path: &str, headers: &[Header]) -> (u16, Value) {
    let upgrade = [
        ("connection", "Upgrade".to_owned()),
        ("upgrade", "websocket".to_owned()),
        ("sec-websocket-version", "13".to_owned()),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
    ];
    let refused = get(server, path, &[&upgrade, headers].concat()).await;
    (refused.status, refused.ok(refused.status))
}

async fn get(server: &TestServer, path: &str, headers: &[Header]) -> Answer {
    let request = headers.iter().fold(server.http("GET", path), |request, (name, value)| request.header(*name, value));
    answer(request).await
}

/// Sends a DELETE request over HTTP.
pub async fn delete(server: &TestServer, path: &str, token: &str) {
    answer(server.http("DELETE", path).bearer_auth(token)).await.no_content();
}

pub async fn log_out(server: &TestServer, token: &str) {
    delete(server, "/api/v1/auth/logout", token).await;
}

pub async fn open(server: &TestServer, headers: &[Header]) -> Client {
    let connected = Client::try_connect(server.server.address(), "/", headers).await;
    connected.unwrap_or_else(|error| panic!("no upgrade: {error}")).0
}

pub fn not_authorized() -> SocketEnd {
    SocketEnd { code: 4001, reason: "Not authorized".to_owned() }
}

/// Returns tokens that are invalid, each for a different reason.
pub async fn bad_tokens(server: &TestServer) -> Vec<(&'static str, String)> {
    let user = server.create_user("Patrick0").await;
    let (expired, _) = server.sign_in(user.id, now() - 1).await;
    let revoked = server.create_user("Patrick1").await.token;
    log_out(server, &revoked).await;
    let gone = server.create_user("Patrick2").await.token;
    delete(server, "/api/v1/users/me", &gone).await;
    let foreign = Tokens::new(&Secret::from("another secret, also 32 bytes long"), 1);
    let session = server.session_of(&user.token);
    let foreign = foreign.sign(UserId(user.id), None, None, session, foreign.expiry()).expect("a token");
    let others_session = server.server.app().tokens.sign(UserId(user.id + 1), None, None, session, now() + 60);
    vec![
        ("garbage", "garbage".to_owned()),
        ("cut", user.token[..user.token.len() - 5].to_owned()),
        ("expired", expired),
        ("revoked", revoked),
        ("account gone", gone),
        ("another secret", foreign),
        ("session of another user", others_session.expect("a token")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_with_a_token_in_the_header_works_at_both_paths() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    for path in ["/", "/ws"] {
        for scheme in ["Bearer", "bearer"] {
            let header = ("authorization", format!("{scheme} {}", user.token));
            let connected = Client::try_connect(server.server.address(), path, &[header]).await;
            let (mut client, response) = connected.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(response.headers().get("sec-websocket-protocol").is_none());
            assert_works(&mut client).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_of_a_program_without_a_valid_token_is_refused_with_401() {
    let server = TestServer::start().await;
    let good = server.create_user("Bob").await.token;
    let mut cases: Vec<(&str, Vec<Header>)> =
        bad_tokens(&server).await.into_iter().map(|(why, token)| (why, vec![bearer(&token)])).collect();
    cases.push(("no token", vec![]));
    for value in ["Bearer", "Bearer ", &format!("Basic {good}"), &good, &format!("Bearer{good}")] {
        cases.push(("malformed header", vec![("authorization", value.to_owned())]));
    }
    // A subprotocol is a token only after `auth`.
    cases.push(("a token without auth", vec![("sec-websocket-protocol", good.clone())]));
    cases.push(("the header wins", vec![bearer("garbage"), protocol(&good)]));
    for path in ["/", "/ws"] {
        for (why, headers) in &cases {
            let (status, body) = refusal(&server, path, headers).await;
            assert_eq!((status, body), (401, json!({ "message": "Not authorized" })), "{path} {why}");
        }
    }
    assert_eq!(server.server.app().delivery.hub.open_sockets(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_with_a_token_as_subprotocol_works() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let token = &user.token;
    let ways = [
        vec![protocol(token)],
        vec![("sec-websocket-protocol", format!("auth,{token}"))],
        vec![("sec-websocket-protocol", "auth".to_owned()), ("sec-websocket-protocol", token.clone())],
        // The header takes precedence over the subprotocol, here a valid one over an invalid one.
        vec![bearer(token), protocol("garbage")],
    ];
    for headers in ways {
        let connected = Client::try_connect(server.server.address(), "/", &headers).await;
        let (mut client, response) = connected.unwrap_or_else(|error| panic!("{headers:?}: {error}"));
        assert_eq!(response.headers()["sec-websocket-protocol"], "auth");
        assert_works(&mut client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_of_a_page_without_a_valid_token_is_closed_with_4001() {
    let server = TestServer::start().await;
    let cases: Vec<(&str, Header)> =
        bad_tokens(&server).await.into_iter().map(|(why, token)| (why, protocol(&token))).collect();
    for path in ["/", "/ws"] {
        for (why, header) in &cases {
            let headers = std::slice::from_ref(header);
            let connected = Client::try_connect(server.server.address(), path, headers).await;
            let (client, response) = connected.unwrap_or_else(|error| panic!("{path} {why}: {error}"));
            assert_eq!(response.headers()["sec-websocket-protocol"], "auth", "{path} {why}");
            assert_eq!(client.wait_for_close().await, not_authorized(), "{path} {why}");
        }
    }
    assert_eq!(server.server.app().delivery.hub.open_sockets(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_that_is_incomplete_is_refused_with_400() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let header = |name, value: &str| (name, value.to_owned());
    let half = [header("connection", "Upgrade"), header("upgrade", "websocket"), bearer(&user.token)];
    let old = [header("sec-websocket-version", "12"), header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    for headers in [vec![bearer(&user.token)], half.to_vec(), [&half[..], &old].concat()] {
        assert_eq!(get(&server, "/ws", &headers).await.status, 400, "{headers:?}");
    }
    assert_eq!(get(&server, "/ws", &[]).await.status, 400);
    assert_eq!(answer(server.http("POST", "/ws").bearer_auth(&user.token)).await.status, 404);
    // Without an upgrade the root is the landing page, with a token or without.
    assert_eq!(get(&server, "/", &[]).await.status, 200);
    assert_eq!(server.server.app().delivery.hub.open_sockets(), 0);
    assert_works(&mut server.connect(&user).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_header_is_case_insensitive() {
    let server = TestServer::start().await;
    for path in ["/", "/ws"] {
        // An upgrade that is recognized is refused because it lacks a token.
        let upgrade = [
            ("connection", "Upgrade".to_owned()),
            ("upgrade", "WebSocket".to_owned()),
            ("sec-websocket-version", "13".to_owned()),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
        ];
        assert_eq!(get(&server, path, &upgrade).await.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_of_a_page_of_another_origin_is_refused_with_403() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick0").await;
    let own = server.server.address();
    assert_works(&mut open(&server, &[bearer(&user.token)]).await).await;
    assert_works(&mut open(&server, &[protocol(&user.token), origin(&format!("http://{own}"))]).await).await;
    let others = ["https://evil.example", "null", "", "http://127.0.0.1:1", &format!("http://{own}.evil.example")];
    for other in others {
        for token in [bearer(&user.token), protocol(&user.token), protocol("garbage")] {
            let (status, body) = refusal(&server, "/", &[token, origin(other)]).await;
            let expected = json!({ "message": "Pages of this origin may not connect", "code": "unauthorized" });
            assert_eq!((status, body), (403, expected), "{other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_of_an_allowed_origin_works() {
    let named = |config: &mut hark::config::Config| {
        let hark = <Cli as clap::Parser>::parse_from(["hark", "--allowed-origins", "https://Chat.example,http://b:81"]);
        config.allowed_origins = hark.config.allowed_origins;
    };
    let server = TestServer::start_with(named).await;
    let user = server.create_user("Patrick0").await;
    for allowed in ["https://chat.example", "http://b:81"] {
        assert_works(&mut open(&server, &[protocol(&user.token), origin(allowed)]).await).await;
    }
    for other in ["http://chat.example", "https://chat.example:444", "http://b", "https://evil.example"] {
        assert_eq!(refusal(&server, "/", &[protocol(&user.token), origin(other)]).await.0, 403, "{other}");
    }

    let server = TestServer::start_with(|config| config.allowed_origins = vec!["*".to_owned()]).await;
    let user = server.create_user("Patrick0").await;
    for any in ["https://evil.example", "null"] {
        assert_works(&mut open(&server, &[protocol(&user.token), origin(any)]).await).await;
    }
}
