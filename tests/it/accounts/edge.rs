//! What every route has in common: the token, other origins, unknown paths, and what operators ask.

use clap::Parser as _;
use hark::auth::tokens::{self, Tokens};
use hark::config::{Cli, Secret};
use hark::model::{SessionId, SessionKey, UserId};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use super::{LOGIN, ME, NOT_AUTHORIZED, assert_refused_everywhere, with_token};
use crate::support::{Answer, TestServer, answer};

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_header_that_is_not_quite_right_is_refused() {
    let server = TestServer::start().await;
    let token = server.user("Patrick").await.token;
    let headers = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer null".to_owned(),
        format!("Bearer{token}"),
        format!("Bearer: {token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {token} {token}"),
        format!("Bearer {token},"),
        format!("Bearer {token}="),
        format!("Bearer {}", &token[..token.len() - 1]),
        format!("Bearer {}.", token.rsplit_once('.').expect("three parts").0),
        format!("Bearer {}", token.rsplit_once('.').expect("three parts").0),
        format!("Bearer {}", "a".repeat(10_000)),
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("\t{token}"),
        token.clone(),
        "Basic cGF0cmljazpzdGFy".to_owned(),
    ];
    let unreadable = HeaderValue::from_bytes(b"Bearer \xff\xfe").expect("bytes that HTTP lets pass");
    let headers = headers.iter().map(|text| HeaderValue::from_str(text).expect("a header"));
    for header in headers.chain([unreadable]) {
        let refusal = answer(server.http("GET", ME).header("authorization", header.clone())).await;
        assert_eq!((refusal.status, refusal.text.as_str()), (401, NOT_AUTHORIZED), "{header:?}");
    }
    let without = answer(server.http("GET", ME)).await;
    assert_eq!((without.status, without.text.as_str()), (401, NOT_AUTHORIZED));
    for scheme in ["bearer", "BEARER", "Bearer "] {
        answer(server.http("GET", ME).header("authorization", format!("{scheme} {token}"))).await.ok(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_well_formed_token_that_is_not_good_is_refused_everywhere() {
    let server = TestServer::start().await;
    let (patrick, bob) = (server.user("Patrick").await, server.user("Bob").await);
    let ours = &server.server.app().tokens;
    let theirs = Tokens::new(&Secret::from("another secret, also 32 bytes long"), 24);
    let sign = |tokens: &Tokens, user: i64, session: SessionKey, exp: i64| {
        tokens.sign(UserId(user), None, None, session, exp).expect("a token")
    };
    let (session, of_bob) = (server.session_of(&patrick.token), server.session_of(&bob.token));
    let later = ours.expiry();
    let good = sign(ours, patrick.id, session, later);
    with_token(&server, "GET", ME, &good, Value::Null).await.ok(200);
    let claims = good.split('.').nth(1).expect("three parts");
    for bad in [
        sign(&theirs, patrick.id, session, later),
        sign(ours, patrick.id, session, tokens::now()),
        sign(ours, patrick.id, of_bob, later),
        sign(ours, bob.id, session, later),
        sign(ours, patrick.id, SessionKey { id: SessionId(999), ..session }, later),
        sign(ours, patrick.id, SessionKey { nonce: session.nonce - 1, ..session }, later),
        sign(ours, patrick.id, SessionKey { nonce: of_bob.nonce, ..session }, later),
        sign(ours, 999, session, later),
        // {"alg":"none"}
        format!("eyJhbGciOiJub25lIn0.{claims}."),
    ] {
        assert_refused_everywhere(&server, &bad).await;
    }
}

const PAGE: &str = "https://chat.example.org";

async fn preflight(server: &TestServer, origin: &str) -> Answer {
    let request = server.http("OPTIONS", LOGIN).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    answer(request.header("access-control-request-headers", "authorization,content-type")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_an_allowed_origin_are_let_in_and_others_are_not() {
    let server = TestServer::with(|config| config.allowed_origins = vec![PAGE.to_owned()]).await;
    let allowed = preflight(&server, PAGE).await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, PAGE), "{allowed:?}");
    assert!(allowed.header("access-control-allow-methods").contains("POST"), "{allowed:?}");
    let headers = allowed.header("access-control-allow-headers").to_lowercase();
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");

    for origin in ["https://evil.example.org", "http://chat.example.org", "https://chat.example.org:8443", "null"] {
        let refused = preflight(&server, origin).await;
        assert_eq!(refused.header("access-control-allow-origin"), "", "{origin}");
        assert_ne!(refused.status, 200, "{origin}");
    }
    let from = async |origin: &str| answer(server.http("GET", "/healthz").header("origin", origin)).await;
    assert_eq!(from(PAGE).await.header("access-control-allow-origin"), PAGE);
    assert_eq!(from("https://evil.example.org").await.header("access-control-allow-origin"), "");
    // A refusal is readable to the page as well.
    let refused = answer(server.http("GET", ME).header("origin", PAGE)).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, PAGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_origin_is_let_in_by_default_and_a_star_lets_in_all() {
    let closed = TestServer::start().await;
    assert_eq!(preflight(&closed, PAGE).await.header("access-control-allow-origin"), "");
    let own = format!("http://{}", closed.server.address());
    assert_eq!(answer(closed.http("GET", "/healthz").header("origin", own)).await.status, 200);

    let open = TestServer::with(|config| config.allowed_origins = vec!["*".to_owned()]).await;
    let any = preflight(&open, PAGE).await;
    assert!(["*", PAGE].contains(&any.header("access-control-allow-origin")), "{any:?}");
    assert_eq!(any.header("access-control-allow-credentials"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_of_origins_is_as_good_as_none() {
    let cli = Cli::try_parse_from(["hark", "--allowed-origins", ""]).expect("files of settings leave it out so");
    let server = TestServer::with(|config| config.allowed_origins = cli.config.allowed_origins).await;
    answer(server.http("GET", "/healthz")).await.ok(200);
    assert_eq!(preflight(&server, PAGE).await.header("access-control-allow-origin"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_that_it_is_alive_and_ready() {
    let server = TestServer::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(answer(server.http("GET", path)).await.ok(200), json!({ "status": "ok" }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_database_it_is_alive_but_not_ready() {
    let server = TestServer::start().await;
    let user = server.user("Patrick").await;
    server.server.app().db.close().await;
    answer(server.http("GET", "/healthz")).await.ok(200);
    for path in ["/readyz", ME] {
        let message = with_token(&server, "GET", path, &user.token, Value::Null).await.refused(503, "overloaded");
        assert_eq!(message, "The database cannot be reached; nothing was confirmed, try again later");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_counts_that_move() {
    let server = TestServer::start().await;
    let counts = async || {
        let metrics = answer(server.http("GET", "/metrics")).await;
        assert_eq!(metrics.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(metrics.text.ends_with("# EOF\n"), "{metrics:?}");
        let value = |name: &str| {
            let line = metrics.text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.rsplit_once(' '))
                .map_or_else(|| panic!("no {name}"), |(_, count)| count.to_owned())
        };
        ["hark_sockets", "hark_requests_total", "hark_messages_stored_total", "hark_pushes_total"].map(value)
    };
    assert_eq!(counts().await, ["0", "0", "0", "0"]);
    let ((_, mut sender), (bob, mut receiver)) = (server.client("Patrick").await, server.client("Bob").await);
    sender.call("privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })).await;
    receiver.push().await;
    assert_eq!(counts().await, ["2", "1", "1", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_or_method_is_not_found_in_json() {
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
async fn without_an_upgrade_the_root_is_a_page_that_points_to_the_document() {
    let server = TestServer::start().await;
    let page = answer(server.http("GET", "/")).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text.contains("/api/"), "{}", page.text);
}
