//! The Authorization header and the token in it, over every route.

use hark::auth::tokens::{self, Tokens};
use hark::config::Secret;
use hark::model::{SessionId, SessionKey, UserId};
use reqwest::header::HeaderValue;
use serde_json::Value;

use super::{ME, NOT_AUTHORIZED, assert_refused_everywhere, with_token};
use crate::support::{TestServer, answer};

#[tokio::test(flavor = "multi_thread")]
async fn authorization_header_that_is_malformed_is_refused() {
    let server = TestServer::start().await;
    let token = server.create_user("Patrick").await.token;
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
async fn token_that_is_well_formed_and_invalid_is_refused_everywhere() {
    let server = TestServer::start().await;
    let (patrick, bob) = (server.create_user("Patrick").await, server.create_user("Bob").await);
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
        // The header of this token is {"alg":"none"}.
        format!("eyJhbGciOiJub25lIn0.{claims}."),
    ] {
        assert_refused_everywhere(&server, &bad).await;
    }
}
