//! Logging in, and the token that a login returns.

use std::time::{Duration, Instant};

use hark::auth::tokens;
use serde_json::{Value, json};

use super::{LOGIN, ME, PASSWORD, SIGN_UP, log_in, post, sign_up, with_token};
use crate::support::{TestServer, steady};

async fn patrick(server: &TestServer) {
    let body =
        json!({ "email": "Patrick@example.org", "username": "patrick", "password": PASSWORD, "firstName": "Patrick" });
    post(server, SIGN_UP, &body).await.ok(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_returns_a_token_and_its_user() {
    let server = TestServer::start().await;
    patrick(&server).await;
    let body = post(&server, LOGIN, &json!({ "email": "Patrick@example.org", "password": PASSWORD })).await.ok(200);
    let token = body["token"].as_str().expect("a token").to_owned();
    insta::assert_json_snapshot!(steady(body), @r#"
    {
      "email": "Patrick@example.org",
      "expiresAt": "[time]",
      "firstName": "Patrick",
      "id": 1,
      "lastName": null,
      "message": "Signed in",
      "token": "[token]",
      "username": "patrick"
    }
    "#);
    assert_eq!(with_token(&server, "GET", ME, &token, Value::Null).await.ok(200)["id"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_accepts_email_and_username_in_any_case() {
    let server = TestServer::start().await;
    patrick(&server).await;
    for (field, value) in [
        ("email", "Patrick@example.org"),
        ("email", "PATRICK@EXAMPLE.org"),
        ("userEmail", "patrick@example.org"),
        ("username", "patrick"),
        ("username", "PaTrIcK"),
    ] {
        for (path, status) in [(LOGIN, 200), ("/auth/login", 201)] {
            assert_eq!(post(&server, path, &json!({ field: value, "password": PASSWORD })).await.ok(status)["id"], 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn login_refuses_a_wrong_password_and_an_unknown_user_alike() {
    let server = TestServer::start().await;
    patrick(&server).await;
    let mut answers = Vec::new();
    for body in [
        json!({ "email": "patrick@example.org", "password": "wrong horse" }),
        json!({ "email": "patrick@example.org", "password": "CORRECT HORSE" }),
        json!({ "email": "patrick@example.org", "password": "" }),
        json!({ "email": "patrick@example.org", "password": "x".repeat(1000) }),
        json!({ "email": "nobody@example.org", "password": PASSWORD }),
        json!({ "username": "patrick", "password": "wrong horse" }),
        json!({ "username": "nobody", "password": PASSWORD }),
        json!({ "username": "'or''='", "password": PASSWORD }),
    ] {
        let mut refusal = post(&server, LOGIN, &body).await;
        refusal.refused(401, "unauthorized");
        refusal.headers.remove("date");
        answers.push((refusal.text, refusal.headers));
    }
    assert!(answers.iter().all(|other| *other == answers[0]), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn login_of_an_unknown_user_costs_the_same_work() {
    let server = TestServer::start().await;
    patrick(&server).await;
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..5 {
        for (fastest, name) in fastest.iter_mut().zip(["patrick", "nobody"]) {
            let begun = Instant::now();
            post(&server, LOGIN, &json!({ "username": name, "password": "wrong horse" })).await;
            *fastest = begun.elapsed().min(*fastest);
        }
    }
    // Without a hash to check, an answer would take less than a tenth of the time.
    let [known, unknown] = fastest;
    assert!(unknown > known / 4 && known > unknown / 4, "{known:?} {unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn login_without_a_name_or_a_password_is_refused() {
    let server = TestServer::start().await;
    for (field, body) in [
        ("password", json!({})),
        ("password", json!({ "email": "a@b", "password": null })),
        ("password", json!({ "email": "a@b", "password": 12_345_678 })),
        ("email or username", json!({ "password": PASSWORD })),
        ("email", json!({ "email": "nobody", "password": PASSWORD })),
        ("email", json!({ "email": ["a@b"], "password": PASSWORD })),
        ("username", json!({ "username": "a b", "password": PASSWORD })),
        ("username", json!({ "username": "a\0", "password": PASSWORD })),
        ("username", json!({ "username": {}, "password": PASSWORD })),
    ] {
        let message = post(&server, LOGIN, &body).await.refused(400, "bad_params");
        assert!(message.starts_with(&format!("{field} ")), "{message:?} for {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn login_token_names_user_and_session_and_lives_for_24_hours() {
    let server = TestServer::start().await;
    patrick(&server).await;
    let before = tokens::now();
    let body = post(&server, LOGIN, &json!({ "username": "patrick", "password": PASSWORD })).await.ok(200);
    let token = body["token"].as_str().expect("a token");
    assert!(server.server.app().tokens.read(token).is_some(), "the signature is ours");

    let read = jsonwebtoken::dangerous::insecure_decode::<Value>(token).expect("a JSON web token");
    assert_eq!(read.header.alg, jsonwebtoken::Algorithm::HS256);
    let claims = read.claims.as_object().expect("claims");
    let iat = claims["iat"].as_i64().expect("seconds");
    assert!((before..=tokens::now()).contains(&iat), "{claims:?}");
    let exp = iat + 24 * 3600;
    assert!((exp - 1..=exp).contains(&claims["exp"].as_i64().expect("seconds")), "{claims:?}");
    let expires_at = chrono::DateTime::parse_from_rfc3339(body["expiresAt"].as_str().expect("a time")).expect("a time");
    assert_eq!(claims["exp"], expires_at.timestamp());

    // The nonce is the session's random number, as a string of digits: JavaScript would round a number.
    let nonce: i64 = claims["nonce"].as_str().and_then(|nonce| nonce.parse().ok()).expect("a nonce");
    assert!((0..1 << 60).contains(&nonce), "{claims:?}");
    let mut rest = read.claims.clone();
    for varies in ["iat", "exp", "nonce"] {
        rest.as_object_mut().expect("claims").remove(varies);
    }
    insta::assert_json_snapshot!(rest, @r#"
    {
      "email": "Patrick@example.org",
      "firstName": "Patrick",
      "id": 1,
      "sid": 1
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_token_lifetime_is_a_setting() {
    let server = TestServer::start_with(|config| config.limits.token_hours = 2).await;
    sign_up(&server, "patrick@example.org").await;
    let token = log_in(&server, "patrick@example.org", PASSWORD).await;
    let claims = server.server.app().tokens.read(&token).expect("our own token");
    assert!((7199..=7200).contains(&(claims.exp - claims.iat)), "{claims:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn login_opens_a_session_of_its_own() {
    let server = TestServer::start().await;
    sign_up(&server, "patrick@example.org").await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let token = log_in(&server, "patrick@example.org", PASSWORD).await;
        sessions.push(server.server.app().tokens.read(&token).expect("our own token").sid);
    }
    assert_ne!(sessions[0], sessions[1]);
}
