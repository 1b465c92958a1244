//! Signing in, and the token that comes of it.

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
async fn a_login_answers_with_the_token_and_whose_it_is() {
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
async fn email_and_username_are_both_good_for_a_login_in_any_letter_case() {
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
async fn a_wrong_password_and_an_unknown_user_hear_the_very_same() {
    let server = TestServer::start().await;
    patrick(&server).await;
    let mut heard = Vec::new();
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
        heard.push((refusal.text, refusal.headers));
    }
    assert!(heard.iter().all(|other| *other == heard[0]), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_is_refused_after_the_same_work() {
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
    // Without a hash to check it takes less than a tenth.
    let [known, unknown] = fastest;
    assert!(unknown > known / 4 && known > unknown / 4, "{known:?} {unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_names_nobody_or_no_password_is_told_so() {
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
async fn a_token_says_who_and_which_session_and_lives_for_24_hours() {
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

    // Digits of the session's random number, in a string: JavaScript would round it.
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
async fn the_hours_of_a_token_are_a_setting() {
    let server = TestServer::with(|config| config.limits.token_hours = 2).await;
    sign_up(&server, "patrick@example.org").await;
    let token = log_in(&server, "patrick@example.org", PASSWORD).await;
    let claims = server.server.app().tokens.read(&token).expect("our own token");
    assert!((7199..=7200).contains(&(claims.exp - claims.iat)), "{claims:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_login_is_a_session_of_its_own() {
    let server = TestServer::start().await;
    sign_up(&server, "patrick@example.org").await;
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let token = log_in(&server, "patrick@example.org", PASSWORD).await;
        sessions.push(server.server.app().tokens.read(&token).expect("our own token").sid);
    }
    assert_ne!(sessions[0], sessions[1]);
}
