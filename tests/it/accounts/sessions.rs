//! Sessions: where somebody is signed in, a new token for one, and the end of one.

use hark::auth::tokens;
use serde_json::{Value, json};

use super::{
    LOGIN, LOGOUT, ME, PASSWORD, REFRESH, SESSIONS, assert_closed_4001, assert_no_socket, assert_open,
    assert_refused_everywhere, sign_up, with_token,
};
use crate::support::{Client, TestServer, User, answer, steady};

/// The ids that a user's list of sessions holds.
async fn listed(server: &TestServer, token: &str) -> Vec<i64> {
    let body = with_token(server, "GET", SESSIONS, token, Value::Null).await.ok(200);
    body["data"].as_array().expect("rows").iter().map(|row| row["id"].as_i64().expect("an id")).collect()
}

/// The same user, signed in somewhere else.
async fn elsewhere(server: &TestServer, user: &User) -> User {
    let (token, session) = server.sign_in(user.id, server.server.app().tokens.expiry()).await;
    User { token, session, ..user.clone() }
}

fn session_path(session: i64) -> String {
    format!("{SESSIONS}/{session}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_gives_a_token_of_the_same_session_that_lives_longer() {
    let server = TestServer::start().await;
    let user = server.user("Patrick").await;
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
async fn a_refreshed_token_carries_the_current_name() {
    let server = TestServer::start().await;
    let user = server.user("Patrick").await;
    with_token(&server, "PATCH", ME, &user.token, json!({ "firstName": "Pat", "email": "p@example.org" }))
        .await
        .ok(200);
    let body = with_token(&server, "POST", REFRESH, &user.token, Value::Null).await.ok(200);
    let claims = server.server.app().tokens.read(body["token"].as_str().expect("a token")).expect("our own token");
    assert_eq!((claims.first_name.as_deref(), claims.email.as_deref()), (Some("Pat"), Some("p@example.org")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_the_token_everywhere_and_the_sockets_of_that_session_alone() {
    let server = TestServer::start().await;
    let other_node = server.second_node().await;
    let here = server.user("Patrick").await;
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
async fn tokens_of_a_session_all_end_with_it() {
    let server = TestServer::start().await;
    let user = server.user("Patrick").await;
    let (old, _) = server.sign_in(user.id, tokens::now() + 600).await;
    let body = with_token(&server, "POST", REFRESH, &old, Value::Null).await.ok(200);
    let new = body["token"].as_str().expect("a token");
    with_token(&server, "DELETE", LOGOUT, &old, Value::Null).await.no_content();
    for token in [new, &old] {
        with_token(&server, "POST", REFRESH, token, Value::Null).await.refused(401, "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_sessions_says_which_is_mine_and_what_the_others_are() {
    let server = TestServer::start().await;
    sign_up(&server, "patrick@example.org").await;
    let mut tokens = Vec::new();
    for agent in ["old phone", "new phone"] {
        let login = json!({ "email": "patrick@example.org", "password": PASSWORD });
        let body = answer(server.http("POST", LOGIN).header("user-agent", agent).json(&login)).await.ok(200);
        tokens.push(body["token"].as_str().expect("a token").to_owned());
    }
    let stranger = server.user("Bob").await;
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
async fn a_very_long_or_unreadable_user_agent_spoils_no_login() {
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
async fn a_session_that_has_run_out_is_not_listed() {
    let server = TestServer::start().await;
    let user = server.user("Patrick").await;
    let (ended, _) = server.sign_in(user.id, tokens::now() - 1).await;
    assert_eq!(listed(&server, &user.token).await, [user.session]);
    assert_refused_everywhere(&server, &ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_another_session_closes_its_sockets_and_not_mine() {
    let server = TestServer::start().await;
    let here = server.user("Patrick").await;
    let there = elsewhere(&server, &here).await;
    let (mut mine, theirs) = (server.connect(&here).await, server.connect(&there).await);
    with_token(&server, "DELETE", &session_path(there.session), &here.token, Value::Null).await.no_content();
    assert_closed_4001(theirs).await;
    assert_no_socket(&server, &there.token).await;
    assert_open(&mut mine).await;
    assert_eq!(listed(&server, &here.token).await, [here.session]);
    // A second time there is nothing to end.
    let again = with_token(&server, "DELETE", &session_path(there.session), &here.token, Value::Null).await;
    again.refused(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn my_own_session_can_be_ended_by_its_id_too() {
    let server = TestServer::start().await;
    let (user, socket) = server.client("Patrick").await;
    with_token(&server, "DELETE", &session_path(user.session), &user.token, Value::Null).await.no_content();
    assert_closed_4001(socket).await;
    assert_refused_everywhere(&server, &user.token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_session_is_not_found_and_goes_on() {
    let server = TestServer::start().await;
    let patrick = server.user("Patrick").await;
    let (bob, mut socket) = server.client("Bob").await;
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
async fn a_session_with_the_number_of_another_one_is_another_one() {
    let server = TestServer::start().await;
    let (user, client) = server.client("Patrick").await;
    let mut other = server.connect(&elsewhere(&server, &user).await).await;
    // As after a restore: the number is given again, and to make it worse to the same person.
    let put_back = "update sessions set nonce = default where id = $1";
    sqlx::query(put_back).bind(user.session).execute(&mut server.sql().await).await.expect("another session");
    for (method, path) in [("GET", ME), ("POST", REFRESH), ("DELETE", LOGOUT)] {
        with_token(&server, method, path, &user.token, Value::Null).await.refused(401, "unauthorized");
    }
    assert_eq!(other.refused("authenticate", json!({ "token": user.token })).await, "unauthorized");
    assert_eq!(client.closed().await.code, 4001, "the look at open sockets finds it");
    other.done("getUser", json!({})).await;
}
