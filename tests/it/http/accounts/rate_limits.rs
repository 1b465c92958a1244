//! Rate limits of sign-up and login for each address, and how the address is found behind a proxy.

use serde_json::{Value, json};

use super::{LOGIN, PASSWORD, SIGN_UP, post};
use crate::support::{Answer, TestServer, answer};

/// Makes an attempt that fails cheaply, with the headers that a proxy would have added.
async fn attempt(server: &TestServer, path: &str, forwarded_for: &[&str]) -> Answer {
    let request = server.http("POST", path).json(&json!({ "email": "nobody@example.org", "password": PASSWORD }));
    let request = forwarded_for.iter().fold(request, |request, entry| request.header("x-forwarded-for", *entry));
    answer(request).await
}

fn assert_limited(refusal: &Answer) {
    let message = refusal.refused(429, "rate_limited");
    assert!(message.starts_with("Too many requests"), "{message}");
    let seconds: u64 = refusal.header("retry-after").parse().expect("whole seconds");
    assert!((1..=61).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_of_login_returns_retry_after() {
    let server = TestServer::start_with(|config| config.limits.logins_per_minute = 2).await;
    for _ in 0..2 {
        attempt(&server, LOGIN, &[]).await.refused(401, "unauthorized");
    }
    assert_limited(&attempt(&server, LOGIN, &[]).await);
    assert_limited(&attempt(&server, "/auth/login", &[]).await);
    attempt(&server, SIGN_UP, &[]).await.ok(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_of_sign_up_stores_nothing() {
    let server = TestServer::start_with(|config| config.limits.sign_ups_per_minute = 2).await;
    for name in ["a", "b"] {
        post(&server, SIGN_UP, &json!({ "username": name, "password": PASSWORD })).await.ok(201);
    }
    for path in [SIGN_UP, "/auth/sing-up"] {
        assert_limited(&post(&server, path, &json!({ "username": "c", "password": PASSWORD })).await);
    }
    post(&server, LOGIN, &json!({ "username": "c", "password": PASSWORD })).await.refused(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_of_zero_is_off() {
    let server = TestServer::start_with(|config| {
        config.limits.logins_per_minute = 0;
        config.limits.sign_ups_per_minute = 0;
    })
    .await;
    // These are more than the defaults of 30 and 10.
    for nth in 0..31 {
        attempt(&server, LOGIN, &[]).await.refused(401, "unauthorized");
        if nth < 11 {
            let name = format!("user{nth}");
            post(&server, SIGN_UP, &json!({ "username": name, "password": PASSWORD })).await.ok(201);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_address_that_counts_behind_a_proxy_is_the_last_one() {
    let server = TestServer::start_with(|config| {
        config.limits.logins_per_minute = 1;
        config.trust_proxy = true;
    })
    .await;
    let free = |refusal: Answer| refusal.refused(401, "unauthorized");
    free(attempt(&server, LOGIN, &["203.0.113.1"]).await);
    free(attempt(&server, LOGIN, &["203.0.113.2"]).await);
    // Entries that a client writes before the proxy's own are not trusted.
    assert_limited(&attempt(&server, LOGIN, &["198.51.100.7, 203.0.113.1"]).await);
    assert_limited(&attempt(&server, LOGIN, &["198.51.100.7", " 203.0.113.2 "]).await);
    // A /64 network counts as one address, and an IPv4 address in IPv6 counts as that IPv4 address.
    free(attempt(&server, LOGIN, &["2001:db8:1:2::1"]).await);
    assert_limited(&attempt(&server, LOGIN, &["2001:db8:1:2:ffff::9"]).await);
    free(attempt(&server, LOGIN, &["2001:db8:1:3::1"]).await);
    assert_limited(&attempt(&server, LOGIN, &["::ffff:203.0.113.1"]).await);
    // Without a readable entry, the address of the connection counts.
    free(attempt(&server, LOGIN, &[]).await);
    assert_limited(&attempt(&server, LOGIN, &["nonsense"]).await);
    assert_limited(&attempt(&server, LOGIN, &["127.0.0.1"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_address_is_ignored_without_a_proxy() {
    let server = TestServer::start_with(|config| config.limits.logins_per_minute = 1).await;
    attempt(&server, LOGIN, &["203.0.113.1"]).await.refused(401, "unauthorized");
    assert_limited(&attempt(&server, LOGIN, &["203.0.113.2"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_address_is_stored_in_the_session() {
    let server = TestServer::start_with(|config| config.trust_proxy = true).await;
    super::sign_up(&server, "patrick@example.org").await;
    let login = json!({ "email": "patrick@example.org", "password": PASSWORD });
    let request = server.http("POST", LOGIN).header("x-forwarded-for", "198.51.100.7, 203.0.113.1").json(&login);
    let token = answer(request).await.ok(200)["token"].as_str().expect("a token").to_owned();
    let sessions = super::with_token(&server, "GET", super::SESSIONS, &token, Value::Null).await.ok(200);
    assert_eq!(sessions["data"][0]["address"], "203.0.113.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_address_is_read_in_every_form_that_proxies_write() {
    let server = TestServer::start_with(|config| config.trust_proxy = true).await;
    super::sign_up(&server, "patrick@example.org").await;
    let login = json!({ "email": "patrick@example.org", "password": PASSWORD });
    for (forwarded, address) in [
        ("203.0.113.1:5678", "203.0.113.1"),
        ("198.51.100.7, 203.0.113.2:80", "203.0.113.2"),
        ("198.51.100.7,\t203.0.113.3 ", "203.0.113.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::2]", "2001:db8::2"),
        ("[2001:db8::3]:443", "2001:db8::3"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:203.0.113.4", "203.0.113.4"),
        ("[::ffff:203.0.113.5]:80", "203.0.113.5"),
        // None of these is an address, so the address of the connection counts.
        ("203.0.113.6:port", "127.0.0.1"),
        ("203.0.113.7:65536", "127.0.0.1"),
        ("198.51.100.7,", "127.0.0.1"),
        ("unknown", "127.0.0.1"),
        ("_hidden", "127.0.0.1"),
        ("[]", "127.0.0.1"),
        ("", "127.0.0.1"),
    ] {
        let request = server.http("POST", LOGIN).header("x-forwarded-for", forwarded).json(&login);
        let token = answer(request).await.ok(200)["token"].as_str().expect("a token").to_owned();
        let sessions = super::with_token(&server, "GET", super::SESSIONS, &token, Value::Null).await.ok(200);
        let listed = sessions["data"].as_array().expect("sessions");
        let own = listed.iter().find(|session| session["current"] == true).unwrap_or_else(|| panic!("{sessions}"));
        assert_eq!(own["address"], address, "{forwarded}");
    }
}
