//! Changing the password.

use serde_json::{Value, json};

use super::{
    LOGIN, ME, MY_PASSWORD, PASSWORD, assert_closed_4001, assert_open, assert_refused_everywhere, log_in, post,
    sign_up, with_token,
};
use crate::support::{Client, TestServer, eventually};

const EMAIL: &str = "patrick@example.org";
const NEW: &str = "battery staple";

async fn assert_password_is(server: &TestServer, good: &str, bad: &str) {
    log_in(server, EMAIL, good).await;
    post(server, LOGIN, &json!({ "email": EMAIL, "password": bad })).await.refused(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn change_password_ends_the_other_sessions_and_keeps_this_one() {
    let server = TestServer::start().await;
    let other_node = server.second_node().await;
    sign_up(&server, EMAIL).await;
    let (mine, other) = (log_in(&server, EMAIL, PASSWORD).await, log_in(&server, EMAIL, PASSWORD).await);
    let mut own_socket = Client::connect(server.server.address(), &mine).await;
    let sockets = [
        Client::connect(server.server.address(), &other).await,
        Client::connect(other_node.server.address(), &other).await,
    ];
    let body = json!({ "oldPassword": PASSWORD, "newPassword": NEW });
    with_token(&server, "PUT", MY_PASSWORD, &mine, body).await.no_content();
    for socket in sockets {
        assert_closed_4001(socket).await;
    }
    assert_refused_everywhere(&server, &other).await;
    assert_open(&mut own_socket).await;
    with_token(&server, "GET", ME, &mine, Value::Null).await.ok(200);
    assert_password_is(&server, NEW, PASSWORD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_password_at_the_compatibility_path_needs_a_repetition() {
    let server = TestServer::start().await;
    sign_up(&server, EMAIL).await;
    let token = log_in(&server, EMAIL, PASSWORD).await;
    let body = json!({ "oldPassword": PASSWORD, "newPassword": NEW, "repeatNewPassword": NEW });
    with_token(&server, "PATCH", "/profile/change-password", &token, body).await.ok(201);
    assert_password_is(&server, NEW, PASSWORD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_password_with_a_wrong_old_or_a_bad_new_one_changes_nothing() {
    let server = TestServer::start().await;
    sign_up(&server, EMAIL).await;
    let (mine, other) = (log_in(&server, EMAIL, PASSWORD).await, log_in(&server, EMAIL, PASSWORD).await);
    let wrong = with_token(&server, "PUT", MY_PASSWORD, &mine, json!({ "oldPassword": NEW, "newPassword": NEW })).await;
    assert_eq!(wrong.refused(401, "unauthorized"), "oldPassword is wrong");

    let all = json!({ "oldPassword": PASSWORD, "newPassword": NEW, "repeatNewPassword": NEW });
    for (field, value) in [
        ("oldPassword", Value::Null),
        ("oldPassword", json!(7)),
        ("newPassword", Value::Null),
        ("newPassword", json!("1234567")),
        ("newPassword", json!("a".repeat(129))),
        ("newPassword", json!([])),
        ("repeatNewPassword", json!("battery staples")),
        ("repeatNewPassword", json!("")),
        ("repeatNewPassword", json!(7)),
    ] {
        let mut body = all.clone();
        body[field] = value;
        let message = with_token(&server, "PUT", MY_PASSWORD, &mine, body.clone()).await.refused(400, "bad_params");
        assert!(message.starts_with(&format!("{field} ")), "{message:?} for {body}");
    }
    with_token(&server, "GET", ME, &other, Value::Null).await.ok(200);
    assert_password_is(&server, PASSWORD, NEW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_password_twice_at_once_lets_one_win() {
    let server = TestServer::start().await;
    sign_up(&server, EMAIL).await;
    let (first, second) = (log_in(&server, EMAIL, PASSWORD).await, log_in(&server, EMAIL, PASSWORD).await);
    let change = async |token: &str, new: &str| {
        with_token(&server, "PUT", MY_PASSWORD, token, json!({ "oldPassword": PASSWORD, "newPassword": new })).await
    };
    let (a, b) = tokio::join!(change(&first, "the first new one"), change(&second, "the second new one"));
    let (winner, loser) = if a.status == 204 { (a, b) } else { (b, a) };
    winner.no_content();
    loser.refused(401, "unauthorized");
    let passwords = ["the first new one", "the second new one"];
    let mut good = 0;
    for password in passwords {
        let login = post(&server, LOGIN, &json!({ "email": EMAIL, "password": password })).await;
        good += i32::from(login.status == 200);
    }
    assert_eq!(good, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn change_password_overtaking_a_login_leaves_no_session() {
    let server = TestServer::start().await;
    sign_up(&server, EMAIL).await;
    // Another node changes the password, and commits after the login has checked the old one.
    let (mut change, mut watch) = (server.sql().await, server.sql().await);
    sqlx::raw_sql("begin; update users set password_hash = 'new'; delete from sessions")
        .execute(&mut change)
        .await
        .expect("it runs");
    let commit = async {
        eventually("the login waits for the change", async || {
            let waiting = "select exists (select from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock')";
            sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut watch).await.expect("an answer")
        })
        .await;
        sqlx::raw_sql("commit").execute(&mut change).await.expect("it commits");
    };
    let login = json!({ "email": EMAIL, "password": PASSWORD });
    let (refusal, ()) = tokio::join!(post(&server, LOGIN, &login), commit);
    refusal.refused(401, "unauthorized");
    let sessions = sqlx::query_scalar::<_, i64>("select count(*) from sessions").fetch_one(&mut change).await;
    assert_eq!(sessions.expect("a count"), 0);
}
