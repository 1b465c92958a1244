//! `GET` and `PATCH /api/v1/users/me`: a user's own profile, and that others see a change at once.

use serde_json::{Value, json};

use super::{ME, PASSWORD, log_in, sign_up, with_token};
use crate::support::{TestServer, User, steady};

async fn change(server: &TestServer, user: &User, body: Value) -> Value {
    with_token(server, "PATCH", ME, &user.token, body).await.ok(200)
}

/// Creates a user with an e-mail address and both names.
async fn patrick(server: &TestServer) -> User {
    let user = server.create_user("Patrick").await;
    let data = json!({ "email": "patrick@example.org", "username": "patrick", "lastName": "Star" });
    change(server, &user, data).await;
    user
}

#[tokio::test(flavor = "multi_thread")]
async fn get_me_returns_the_profile_without_the_hash() {
    let server = TestServer::start().await;
    let user = patrick(&server).await;
    let me = with_token(&server, "GET", ME, &user.token, Value::Null).await.ok(200);
    insta::assert_json_snapshot!(steady(me), @r#"
    {
      "createdAt": "[time]",
      "email": "patrick@example.org",
      "firstName": "Patrick",
      "id": 1,
      "lastName": "Star",
      "updatedAt": "[time]",
      "username": "patrick"
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_me_changes_only_the_given_fields() {
    let server = TestServer::start().await;
    let (user, bob) = (patrick(&server).await, server.create_user("Bob").await);
    let changed = change(&server, &user, json!({ "firstName": "O'Pat 🐧" })).await;
    insta::assert_json_snapshot!(steady(changed.clone()), @r#"
    {
      "createdAt": "[time]",
      "email": "patrick@example.org",
      "firstName": "O'Pat 🐧",
      "id": 1,
      "lastName": "Star",
      "updatedAt": "[time]",
      "username": "patrick"
    }
    "#);
    assert_eq!(with_token(&server, "GET", ME, &user.token, Value::Null).await.ok(200), changed);
    assert_eq!(with_token(&server, "GET", ME, &bob.token, Value::Null).await.ok(200)["firstName"], "Bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_me_with_an_unknown_field_changes_nothing() {
    let server = TestServer::start().await;
    let (user, bob) = (patrick(&server).await, server.create_user("Bob").await);
    for (field, value) in [
        ("firstname", json!("Pat")),
        ("first_name", json!("Pat")),
        ("nickname", Value::Null),
        ("id", json!(bob.id)),
        ("password", json!("battery staple")),
        ("", json!("Pat")),
    ] {
        for path in [ME, "/profile/update"] {
            let body = json!({ "lastName": "changed", field: value });
            let message = with_token(&server, "PATCH", path, &user.token, body).await.refused(400, "bad_params");
            assert!(message.starts_with(&format!("{field} is no field of this request")), "{message:?}");
            assert!(message.contains("firstName") && message.contains("username"), "{message:?}");
        }
    }
    let long = with_token(&server, "PATCH", ME, &user.token, json!({ "é".repeat(5_000): 1 })).await;
    assert!(long.refused(400, "bad_params").len() < 400, "{long:?}");
    let me = with_token(&server, "GET", ME, &user.token, Value::Null).await.ok(200);
    assert_eq!((&me["firstName"], &me["lastName"]), (&json!("Patrick"), &json!("Star")));
}

/// A misspelt `repeatNewPassword` would silently skip a check, so it is refused. A sign-up answers with the
/// account that it made, a login has no optional field, and a send follows its frame: these three ignore
/// unknown fields.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_field_is_refused_where_ignoring_it_would_do_harm() {
    let server = TestServer::start().await;
    let account = json!({ "username": "eve", "password": PASSWORD, "confirmPassword": PASSWORD, "remember": true });
    super::post(&server, super::SIGN_UP, &account).await.ok(201);
    let eve = super::post(&server, super::LOGIN, &account).await.ok(200);
    let token = eve["token"].as_str().expect("a token");
    for path in [super::MY_PASSWORD, "/profile/change-password"] {
        let method = if path == super::MY_PASSWORD { "PUT" } else { "PATCH" };
        let passwords =
            json!({ "oldPassword": PASSWORD, "newPassword": "battery staple", "repeatPassword": "battery" });
        let message = with_token(&server, method, path, token, passwords).await.refused(400, "bad_params");
        assert!(message.starts_with("repeatPassword is no field of this request"), "{message:?}");
    }
    super::post(&server, super::LOGIN, &account).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_me_removes_a_field_by_null_or_an_empty_name() {
    let server = TestServer::start().await;
    let user = patrick(&server).await;
    let changed = change(&server, &user, json!({ "firstName": null, "lastName": "", "username": null })).await;
    for field in ["firstName", "lastName", "username"] {
        assert_eq!(changed[field], Value::Null, "{field}");
    }
    assert_eq!(changed["email"], "patrick@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_me_requires_an_email_or_a_username() {
    let server = TestServer::start().await;
    let user = patrick(&server).await;
    let both = json!({ "email": null, "username": null, "firstName": "Pat" });
    let refusal = with_token(&server, "PATCH", ME, &user.token, both).await;
    assert_eq!(refusal.refused(400, "bad_params"), "email or username must stay");
    let me = change(&server, &user, json!({ "email": null })).await;
    assert_eq!((&me["email"], &me["username"], &me["firstName"]), (&Value::Null, &json!("patrick"), &json!("Patrick")));
    with_token(&server, "PATCH", ME, &user.token, json!({ "username": null })).await.refused(400, "bad_params");
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_me_to_an_email_or_username_in_use_is_a_conflict() {
    let server = TestServer::start().await;
    let (user, bob) = (patrick(&server).await, server.create_user("Bob").await);
    for (field, value) in [("email", "PATRICK@example.org"), ("username", "PATRICK")] {
        let refusal = with_token(&server, "PATCH", ME, &bob.token, json!({ field: value, "firstName": "Pat" })).await;
        assert_eq!(refusal.refused(409, "conflict"), format!("{field} is taken"));
        assert_eq!(change(&server, &user, json!({ field: value })).await[field], value);
    }
    assert_eq!(with_token(&server, "GET", ME, &bob.token, Value::Null).await.ok(200)["firstName"], "Bob");
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_me_with_a_bad_field_changes_nothing() {
    let server = TestServer::start().await;
    let user = patrick(&server).await;
    for (field, value) in [
        ("email", json!("nobody")),
        ("email", json!("")),
        ("email", json!(5)),
        ("userEmail", json!("nobody")),
        ("username", json!("")),
        ("username", json!("a b")),
        ("username", json!("a".repeat(65))),
        ("firstName", json!("a\0b")),
        ("firstName", json!("a".repeat(101))),
        ("firstName", json!(["Pat"])),
        ("lastName", json!(false)),
        ("lastName", json!({})),
    ] {
        let body = json!({ "lastName": "changed", field: value });
        let message = with_token(&server, "PATCH", ME, &user.token, body).await.refused(400, "bad_params");
        assert!(message.starts_with(&format!("{field} must")), "{message:?} for {field} {value}");
    }
    for (body, code) in [("", "bad_json"), ("{", "bad_json"), ("[]", "bad_params"), ("null", "bad_params")] {
        let request = server.http("PATCH", ME).bearer_auth(&user.token).body(body);
        crate::support::answer(request).await.refused(400, code);
    }
    let me = with_token(&server, "GET", ME, &user.token, Value::Null).await.ok(200);
    assert_eq!((&me["lastName"], &me["email"]), (&json!("Star"), &json!("patrick@example.org")));
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_me_of_a_name_shows_in_the_next_push_and_in_the_history() {
    let server = TestServer::start().await;
    let user = patrick(&server).await;
    let mut sender = server.connect(&user).await;
    let (bob, mut receiver) = server.connect_user("Bob").await;
    // The display name is the first name, else the username, else the part of the e-mail address before the
    // @.
    let steps = [
        (json!({}), "Patrick"),
        (json!({ "firstName": "Pat's 🐧" }), "Pat's 🐧"),
        (json!({ "firstName": null }), "patrick"),
        (json!({ "username": "pat" }), "pat"),
        (json!({ "username": null, "email": "p.star@example.org" }), "p.star"),
        (json!({ "firstName": "Patrick again" }), "Patrick again"),
    ];
    for (nth, (body, name)) in steps.into_iter().enumerate() {
        change(&server, &user, body).await;
        sender.call("privateMessage", json!({ "receiverId": bob.id, "content": "Hi" })).await;
        let push = receiver.wait_for_push().await;
        assert_eq!(push["params"]["senderName"], name);
        let history = receiver.call("getlatestMessageDialog", json!({ "receiverId": user.id })).await;
        let rows = history["params"]["data"].as_array().expect("rows").clone();
        assert_eq!(rows.len(), nth + 1);
        assert!(rows.iter().all(|row| row["senderName"] == name && row["receverName"] == "Bob"), "{rows:?}");
        let list = receiver.call("listLastMessage", json!({})).await;
        assert_eq!(list["params"]["data"][0]["senderName"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn patch_me_of_the_email_changes_the_login() {
    let server = TestServer::start().await;
    sign_up(&server, "old@example.org").await;
    let token = log_in(&server, "old@example.org", PASSWORD).await;
    with_token(&server, "PATCH", "/profile/update", &token, json!({ "userEmail": "new@example.org" })).await.ok(201);
    log_in(&server, "new@example.org", PASSWORD).await;
    let old = super::post(&server, super::LOGIN, &json!({ "email": "old@example.org", "password": PASSWORD })).await;
    old.refused(401, "unauthorized");
    sign_up(&server, "old@example.org").await;
}
