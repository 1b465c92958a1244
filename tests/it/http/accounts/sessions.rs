//! Sessions: listing them, refreshing the token of one, and ending one.

use hark::auth::tokens;
use serde_json::{Value, json};

use super::{
    LOGIN, LOGOUT, ME, PASSWORD, REFRESH, SESSIONS, assert_closed_4001, assert_no_socket, assert_open,
    assert_refused_everywhere, sign_up, with_token,
};
use crate::support::{Client, TestServer, User, answer, steady};

/// Returns the ids in a user's list of sessions.
async fn listed(server: &TestServer, token: &str) -> Vec<i64> {
    let body = with_token(server, "GET", SESSIONS, token, Value::Null).await.ok(200);
    body["data"].as_array().expect("rows").iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

/// Signs the same user in again, as from another device.
async fn elsewhere(server: &TestServer, user: &User) -> User {
    let (token, session) = server.sign_in(user.id, server.server.app().tokens.expiry()).await;
    User { token, session, ..user.clone() }
}

fn session_path(session: i64) -> String {
    format!("{SESSIONS}/{session}")
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_returns_a_longer_lived_token_of_the_same_session() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick").await;
    let (old, session) = server.sign_in(user.id, tokens::now() + 600).await;
    let body = with_token(&server, "POST", REFRESH, &old, Value::Null).await.ok(200);
    let new = body["token"].as_str().expect("a token").to_owned();
    insta::assert_json_snapshot!(steady(body), { ".username" => "[username]" }, @r#"
    {
      "email": null,
      "expiresAt": "[time]",
      "firstName": "Patrick",
      "id": 1,
      "lastName": null,
      "message": "Refreshed",
      "token": "[token]",
      "username": "[username]"
    }
    "#);
    let claims = server.server.app().tokens.read(&new).expect("our own token");
    assert_eq!(claims.sid, session);
    assert!(claims.exp > tokens::now() + 23 * 3600, "{claims:?}");
    assert_eq!(with_token(&server, "GET", ME, &new, Value::Null).await.ok(200)["id"], user.id);
    assert_open(&mut Client::connect(server.server.address(), &new).await).await;

    let sessions = with_token(&server, "GET", SESSIONS, &new, Value::Null).await.ok(200);
    let row = sessions["data"].as_array().expect("rows").iter().find(|row| row["current"] == true).expect("its row");
    let ends = chrono::DateTime::parse_from_rfc3339(row["expiresAt"].as_str().expect("a time")).expect("a time");
    assert_eq!(ends.timestamp(), claims.exp);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_returns_a_token_with_the_current_name() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick").await;
    with_token(&server, "PATCH", ME, &user.token, json!({ "firstName": "Pat", "email": "p@example.org" }))
        .await
        .ok(200);
    let body = with_token(&server, "POST", REFRESH, &user.token, Value::Null).await.ok(200);
    let claims = server.server.app().tokens.read(body["token"].as_str().expect("a token")).expect("our own token");
    assert_eq!((claims.first_name.as_deref(), claims.email.as_deref()), (Some("Pat"), Some("p@example.org")));
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_revokes_the_token_and_closes_the_sockets_of_its_session_only() {
    let server = TestServer::start().await;
    let other_node = server.second_node().await;
    let here = server.create_user("Patrick").await;
    let there = elsewhere(&server, &here).await;
    let (mut first, second) = (server.connect(&here).await, other_node.connect(&here).await);
    let mut other_session = server.connect(&there).await;
    assert_open(&mut first).await;

    with_token(&server, "DELETE", LOGOUT, &here.token, Value::Null).await.no_content();
    assert_closed_4001(first).await;
    assert_closed_4001(second).await;
    assert_refused_everywhere(&server, &here.token).await;
    assert_refused_everywhere(&other_node, &here.token).await;

    assert_open(&mut other_session).await;
    assert_eq!(listed(&server, &there.token).await, [there.session]);
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_revokes_all_tokens_of_the_session() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick").await;
    let (old, _) = server.sign_in(user.id, tokens::now() + 600).await;
    let body = with_token(&server, "POST", REFRESH, &old, Value::Null).await.ok(200);
    let new = body["token"].as_str().expect("a token");
    with_token(&server, "DELETE", LOGOUT, &old, Value::Null).await.no_content();
    for token in [new, &old] {
        with_token(&server, "POST", REFRESH, token, Value::Null).await.refused(401, "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_sessions_marks_the_current_one_and_describes_the_others() {
    let server = TestServer::start().await;
    sign_up(&server, "patrick@example.org").await;
    let mut tokens = Vec::new();
    for agent in ["old phone", "new phone"] {
        let login = json!({ "email": "patrick@example.org", "password": PASSWORD });
        let body = answer(server.http("POST", LOGIN).header("user-agent", agent).json(&login)).await.ok(200);
        tokens.push(body["token"].as_str().expect("a token").to_owned());
    }
    let stranger = server.create_user("Bob").await;
    let sessions = with_token(&server, "GET", SESSIONS, &tokens[0], Value::Null).await.ok(200);
    insta::assert_json_snapshot!(steady(sessions), @r#"
    {
      "data": [
        {
          "address": "127.0.0.1",
          "createdAt": "[time]",
          "current": false,
          "expiresAt": "[time]",
          "id": 2,
          "userAgent": "new phone"
        },
        {
          "address": "127.0.0.1",
          "createdAt": "[time]",
          "current": true,
          "expiresAt": "[time]",
          "id": 1,
          "userAgent": "old phone"
        }
      ]
    }
    "#);
    assert_eq!(listed(&server, &stranger.token).await, [stranger.session]);
}

#[tokio::test(flavor = "multi_thread")]
async fn list_sessions_shortens_a_long_or_unreadable_user_agent() {
    let server = TestServer::start().await;
    sign_up(&server, "patrick@example.org").await;
    let login = json!({ "email": "patrick@example.org", "password": PASSWORD });
    for (agent, kept) in [(&b"\xff\xfe"[..], Value::Null), (&[b'x'; 1000], json!("x".repeat(200)))] {
        let body = answer(server.http("POST", LOGIN).header("user-agent", agent).json(&login)).await.ok(200);
        let token = body["token"].as_str().expect("a token");
        let sessions = with_token(&server, "GET", SESSIONS, token, Value::Null).await.ok(200);
        assert_eq!(sessions["data"][0]["userAgent"], kept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_sessions_leaves_out_an_expired_session() {
    let server = TestServer::start().await;
    let user = server.create_user("Patrick").await;
    let (ended, _) = server.sign_in(user.id, tokens::now() - 1).await;
    assert_eq!(listed(&server, &user.token).await, [user.session]);
    assert_refused_everywhere(&server, &ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_session_closes_the_sockets_of_that_session_only() {
    let server = TestServer::start().await;
    let here = server.create_user("Patrick").await;
    let there = elsewhere(&server, &here).await;
    let (mut mine, theirs) = (server.connect(&here).await, server.connect(&there).await);
    with_token(&server, "DELETE", &session_path(there.session), &here.token, Value::Null).await.no_content();
    assert_closed_4001(theirs).await;
    assert_no_socket(&server, &there.token).await;
    assert_open(&mut mine).await;
    assert_eq!(listed(&server, &here.token).await, [here.session]);
    // There is nothing left to end the second time.
    let again = with_token(&server, "DELETE", &session_path(there.session), &here.token, Value::Null).await;
    again.refused(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_session_may_end_the_current_one() {
    let server = TestServer::start().await;
    let (user, socket) = server.connect_user("Patrick").await;
    with_token(&server, "DELETE", &session_path(user.session), &user.token, Value::Null).await.no_content();
    assert_closed_4001(socket).await;
    assert_refused_everywhere(&server, &user.token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_session_of_another_user_is_not_found() {
    let server = TestServer::start().await;
    let patrick = server.create_user("Patrick").await;
    let (bob, mut socket) = server.connect_user("Bob").await;
    let path = |id: &str| format!("{SESSIONS}/{id}");
    let theirs = bob.session.to_string();
    for id in [theirs.as_str(), "0", "-1", "999", "x", "1.0", "%00", "9223372036854775808"] {
        let refusal = with_token(&server, "DELETE", &path(id), &patrick.token, Value::Null).await;
        assert_eq!(refusal.refused(404, "not_found"), "id: there is no such session", "{id}");
    }
    assert_open(&mut socket).await;
    assert_eq!(listed(&server, &bob.token).await, [bob.session]);
    assert_eq!(listed(&server, &patrick.token).await, [patrick.session]);
}

#[tokio::test(flavor = "multi_thread")]
async fn session_with_a_reused_id_does_not_accept_old_tokens() {
    let server = TestServer::start().await;
    let (user, client) = server.connect_user("Patrick").await;
    let mut other = server.connect(&elsewhere(&server, &user).await).await;
    // As after a restore, the id is given again, here even to a session of the same user.
    let put_back = "update sessions set nonce = default where id = $1";
    sqlx::query(put_back).bind(user.session).execute(&mut server.sql().await).await.expect("another session");
    for (method, path) in [("GET", ME), ("POST", REFRESH), ("DELETE", LOGOUT)] {
        with_token(&server, method, path, &user.token, Value::Null).await.refused(401, "unauthorized");
    }
    assert_eq!(other.call_refused("authenticate", json!({ "token": user.token })).await, "unauthorized");
    assert_eq!(client.wait_for_close().await.code, 4001, "the look at open sockets finds it");
    other.call_ok("getUser", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn max_sessions_per_user_ends_the_oldest_session() {
    let server = TestServer::start().await;
    let user = server.create_user("Collector").await;
    let exp = server.server.app().tokens.expiry();
    for _ in 0..99 {
        server.sign_in(user.id, exp).await;
    }
    assert!(server.server.app().identify(&user.token).await.is_ok());
    server.sign_in(user.id, exp).await;
    assert!(server.server.app().identify(&user.token).await.is_err());
}
