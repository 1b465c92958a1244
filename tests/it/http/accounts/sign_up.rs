//! Signing up: what is accepted and what is refused, and that a refused sign-up stores nothing.

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{LOGIN, ME, PASSWORD, SIGN_UP, log_in, post, with_token};
use crate::support::{TestServer, answer, steady};

async fn users_stored(server: &TestServer) -> i64 {
    sqlx::query("select count(*) from users").fetch_one(&mut server.sql().await).await.expect("a count").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_by_email_returns_the_user_and_no_secret() {
    let server = TestServer::start().await;
    let body =
        json!({ "email": "patrick@example.org", "password": PASSWORD, "firstName": "Patrick", "lastName": "Star" });
    let user = post(&server, SIGN_UP, &body).await.ok(201);
    insta::assert_json_snapshot!(steady(user), @r#"
    {
      "createdAt": "[time]",
      "email": "patrick@example.org",
      "firstName": "Patrick",
      "id": 1,
      "lastName": "Star",
      "updatedAt": "[time]",
      "username": null
    }
    "#);
    let stored =
        sqlx::query("select password_hash from users").fetch_one(&mut server.sql().await).await.expect("a row");
    let hash: String = stored.get(0);
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_by_username_needs_no_email() {
    let server = TestServer::start().await;
    let user = post(&server, SIGN_UP, &json!({ "username": "patrick", "password": PASSWORD })).await.ok(201);
    insta::assert_json_snapshot!(steady(user), @r#"
    {
      "createdAt": "[time]",
      "email": null,
      "firstName": null,
      "id": 1,
      "lastName": null,
      "updatedAt": "[time]",
      "username": "patrick"
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_at_the_compatibility_path_takes_user_email() {
    let server = TestServer::start().await;
    let body = json!({ "userEmail": "patrick@example.org", "password": PASSWORD, "firstName": "Patrick" });
    let user = post(&server, "/auth/sing-up", &body).await.ok(201);
    assert_eq!(user["email"], "patrick@example.org");
    log_in(&server, "patrick@example.org", PASSWORD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_ignores_a_form_content_type_as_curl_sends() {
    let server = TestServer::start().await;
    let body = json!({ "username": "patrick", "password": PASSWORD }).to_string();
    let request = server.http("POST", SIGN_UP).header("content-type", "application/x-www-form-urlencoded");
    answer(request.body(body)).await.ok(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_with_a_bad_field_names_it_and_stores_nothing() {
    let server = TestServer::start().await;
    let long_email = format!("{}@b.cd", "a".repeat(250));
    let both = |field: &str, value: Value| {
        let mut body = json!({ "email": "a@b", "username": "a", "password": PASSWORD });
        body[field] = value;
        (field.to_owned(), body)
    };
    let mut cases = vec![
        ("password".to_owned(), json!({})),
        ("password".to_owned(), json!({ "email": "a@b" })),
        ("email or username".to_owned(), json!({ "password": PASSWORD })),
        ("email or username".to_owned(), json!({ "password": PASSWORD, "email": null, "username": null })),
        ("userEmail".to_owned(), json!({ "password": PASSWORD, "userEmail": "nobody" })),
    ];
    let texts = |values: &[&str]| values.iter().map(|text| json!(text)).collect::<Vec<_>>();
    let wrong_types = [json!(7), json!(true), json!(["a"]), json!({ "a": "b" })];
    let bad = [
        ("email", texts(&["", "nobody", "@b", "a@", "a b@c", "a@b\0", "a@b\nc", "\u{3164}@b", &long_email])),
        (
            "username",
            texts(&[
                "",
                "a b",
                "a@b",
                "a\0b",
                "a\tb",
                &"a".repeat(65),
                "ann\u{200b}",
                "\u{202e}nna",
                "\u{3164}",
                "аnn",
                "🐧",
            ]),
        ),
        ("password", texts(&["", "1234567", "🐧🐧🐧🐧🐧🐧🐧", &"a".repeat(129)])),
        ("firstName", texts(&["a\0b", "a\nb", &"a".repeat(101), "\u{3164}", "a\u{202e}b"])),
        ("lastName", texts(&["a\0b", "a\u{7f}b", &"é".repeat(101)])),
    ];
    for (field, values) in bad {
        cases.extend(values.into_iter().chain(wrong_types.clone()).map(|value| both(field, value)));
    }
    cases.push(both("password", Value::Null));
    for (field, body) in cases {
        let message = post(&server, SIGN_UP, &body).await.refused(400, "bad_params");
        assert!(message.starts_with(&format!("{field} ")), "{message:?} for {body}");
    }
    assert_eq!(users_stored(&server).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_limits_count_characters() {
    let server = TestServer::start().await;
    let long = json!({
        "email": format!("{}@b.cd", "a".repeat(249)),
        "username": "é".repeat(64),
        "password": "🐧".repeat(128),
        "firstName": "é".repeat(100),
        "lastName": "🐧".repeat(100),
    });
    let user = post(&server, SIGN_UP, &long).await.ok(201);
    for field in ["email", "username", "firstName", "lastName"] {
        assert_eq!(user[field], long[field]);
    }
    post(&server, LOGIN, &long).await.ok(200);
    post(&server, SIGN_UP, &json!({ "email": "a@b", "username": "x", "password": "🐧 é'\"\\\0x" })).await.ok(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_takes_an_empty_name_as_none_and_ignores_unknown_fields() {
    let server = TestServer::start().await;
    let body =
        json!({ "username": "a", "password": PASSWORD, "firstName": "", "lastName": "  ", "id": 77, "admin": true });
    let user = post(&server, SIGN_UP, &body).await.ok(201);
    assert_eq!((&user["id"], &user["firstName"], &user["lastName"]), (&json!(1), &Value::Null, &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_body_that_is_not_a_json_object_is_refused() {
    let server = TestServer::start().await;
    let not_json: [&[u8]; 8] = [
        b"",
        b" ",
        b"{",
        b"email=a@b",
        br#"{"email":"a@b",}"#,
        br#"{"email":"a@b"} {}"#,
        b"{\"email\":\"\xff\"}",
        b"\0",
    ];
    for body in not_json {
        answer(server.http("POST", SIGN_UP).body(body)).await.refused(400, "bad_json");
    }
    for body in ["null", "[]", "7", "\"text\"", r#"[{"email":"a@b"}]"#] {
        let message = answer(server.http("POST", SIGN_UP).body(body)).await.refused(400, "bad_params");
        assert_eq!(message, "The body must be an object");
    }
    assert_eq!(users_stored(&server).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_body_of_64_kib_is_read_and_one_byte_more_is_refused() {
    let server = TestServer::start().await;
    let padded = |name: &str, length: usize| {
        let body = json!({ "username": name, "password": PASSWORD }).to_string();
        body.clone() + &" ".repeat(length - body.len())
    };
    answer(server.http("POST", SIGN_UP).body(padded("a", 65_536))).await.ok(201);
    let message = answer(server.http("POST", SIGN_UP).body(padded("b", 65_537))).await.refused(413, "too_large");
    assert!(message.contains("65536"), "{message}");

    // The request has no Content-Length, so that the server itself has to count.
    let mut raw = TcpStream::connect(server.server.address()).await.expect("a connection");
    let head = format!("POST {SIGN_UP} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n10001\r\n");
    raw.write_all(format!("{head}{}\r\n0\r\n\r\n", padded("c", 65_537)).as_bytes()).await.expect("it is read");
    let mut status = [0; 12];
    raw.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 413");
    assert_eq!(users_stored(&server).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_keeps_names_unchanged() {
    let server = TestServer::start().await;
    let names = ["O'Hara", r#""quoted" \ back"#, "'; drop table users; --", "<b>&amp;</b>", "🐧 Пётр 中文", " padded "];
    for (nth, name) in names.into_iter().enumerate() {
        let email = format!("o'hara+{nth}\"🐧@example.org");
        let body = json!({ "email": email, "password": PASSWORD, "firstName": name, "lastName": name });
        post(&server, SIGN_UP, &body).await.ok(201);
        let token = log_in(&server, &email, PASSWORD).await;
        let me = with_token(&server, "GET", ME, &token, Value::Null).await.ok(200);
        assert_eq!((&me["email"], &me["firstName"], &me["lastName"]), (&json!(email), &json!(name), &json!(name)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_with_a_name_in_use_in_any_case_is_a_conflict() {
    let server = TestServer::start().await;
    post(&server, SIGN_UP, &json!({ "email": "Émile@example.org", "username": "Émile", "password": PASSWORD }))
        .await
        .ok(201);
    let again = |field: &str, value: &str| {
        let mut body = json!({ "email": "other@example.org", "username": "other", "password": PASSWORD });
        body[field] = json!(value);
        body
    };
    for (field, value) in [("email", "éMILE@Example.ORG"), ("username", "ÉMILE"), ("username", "émile")] {
        let message = post(&server, SIGN_UP, &again(field, value)).await.refused(409, "conflict");
        assert_eq!(message, format!("{field} is taken"));
    }
    assert_eq!(users_stored(&server).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_fifty_times_at_once_with_one_email_succeeds_once() {
    let server = TestServer::start().await;
    let body = json!({ "email": "patrick@example.org", "password": PASSWORD });
    let answers = join_all((0..50).map(|_| post(&server, SIGN_UP, &body))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (1, 49));
    for refusal in refused {
        refusal.refused(409, "conflict");
    }
    assert_eq!(users_stored(&server).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_with_a_confusable_username_is_a_conflict() {
    let server = TestServer::start().await;
    for name in ["ann", "\u{441}\u{43e}\u{440}", "Paul", "E\u{301}mile"] {
        post(&server, SIGN_UP, &json!({ "username": name, "password": PASSWORD })).await.ok(201);
    }
    // The twins use full width, bold, Latin for Cyrillic, a capital I for an l, and composed for decomposed
    // letters.
    let twins = ["ａｎｎ", "𝐚𝐧𝐧", "cop", "PauI", "Pau1", "\u{c9}mile", "ÉMILE"];
    for name in twins {
        let message =
            post(&server, SIGN_UP, &json!({ "username": name, "password": PASSWORD })).await.refused(409, "conflict");
        assert_eq!(message, "username is taken", "{name}");
    }
    let user = server.create_user("Other").await;
    for name in twins {
        let change = with_token(&server, "PATCH", ME, &user.token, json!({ "username": name })).await;
        assert_eq!(change.refused(409, "conflict"), "username is taken", "{name}");
    }
    // A user logs in with any spelling of the name, and is shown under its normal form.
    let login = post(&server, LOGIN, &json!({ "username": "e\u{301}MILE", "password": PASSWORD })).await.ok(200);
    assert_eq!(login["username"], "\u{c9}mile");
}

/// Usernames that are older than the uniqueness rules: both users log in as before, and nobody else gets
/// either name.
#[tokio::test(flavor = "multi_thread")]
async fn start_fills_in_the_username_keys_of_older_rows() {
    let server = TestServer::start().await;
    for name in ["ann", "other"] {
        post(&server, SIGN_UP, &json!({ "username": name, "password": PASSWORD })).await.ok(201);
    }
    let before = "alter table users drop constraint usernames_have_a_key;
                  update users set username_key = null, username_skeleton = null;
                  update users set username = '\u{430}nn' where id = 2";
    sqlx::raw_sql(before).execute(&mut server.sql().await).await.expect("the rows are as they were");
    let server = server.restarted().await;
    for (name, id) in [("Ann", 1), ("\u{430}nn", 2)] {
        let login = post(&server, LOGIN, &json!({ "username": name, "password": PASSWORD })).await.ok(200);
        assert_eq!(login["id"], id, "{name}");
    }
    post(&server, SIGN_UP, &json!({ "username": "ANN", "password": PASSWORD })).await.refused(409, "conflict");
}
