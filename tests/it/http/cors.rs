//! CORS: which origins may read responses.

use clap::Parser as _;
use hark::config::Cli;

use super::accounts::{LOGIN, ME};
use crate::support::{Answer, TestServer, answer};

const PAGE: &str = "https://chat.example.org";

async fn preflight(server: &TestServer, origin: &str) -> Answer {
    let request = server.http("OPTIONS", LOGIN).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    answer(request.header("access-control-request-headers", "authorization,content-type")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_allows_the_configured_origin_only() {
    let server = TestServer::start_with(|config| config.allowed_origins = vec![PAGE.to_owned()]).await;
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
    // A page can read a refusal as well.
    let refused = answer(server.http("GET", ME).header("origin", PAGE)).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, PAGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_allows_no_origin_by_default_and_all_by_a_star() {
    let closed = TestServer::start().await;
    assert_eq!(preflight(&closed, PAGE).await.header("access-control-allow-origin"), "");
    let own = format!("http://{}", closed.server.address());
    assert_eq!(answer(closed.http("GET", "/healthz").header("origin", own)).await.status, 200);

    let open = TestServer::start_with(|config| config.allowed_origins = vec!["*".to_owned()]).await;
    let any = preflight(&open, PAGE).await;
    assert!(["*", PAGE].contains(&any.header("access-control-allow-origin")), "{any:?}");
    assert_eq!(any.header("access-control-allow-credentials"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_with_an_empty_list_of_origins_allows_none() {
    let cli = Cli::try_parse_from(["hark", "--allowed-origins", ""]).expect("files of settings leave it out so");
    let server = TestServer::start_with(|config| config.allowed_origins = cli.config.allowed_origins).await;
    answer(server.http("GET", "/healthz")).await.ok(200);
    assert_eq!(preflight(&server, PAGE).await.header("access-control-allow-origin"), "");
}
