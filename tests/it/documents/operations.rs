//! Each operation of the OpenAPI document is answered by the handler that it describes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::openapi::document;
use crate::support::{Answer, TestServer, User, answer};

/// Returns path, method and id of every operation.
fn operations() -> Vec<(String, String, String)> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths").clone();
    let operations = paths.into_iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").clone();
        methods.into_iter().map(move |(method, operation)| {
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("no id: {method} {path}"));
            (path.clone(), method.to_uppercase(), id.to_owned())
        })
    });
    operations.collect()
}

#[test]
fn openapi_operation_ids_are_unique_verbs() {
    let operations = operations();
    let ids: BTreeSet<_> = operations.iter().map(|(_, _, id)| id).collect();
    assert_eq!(ids.len(), operations.len(), "{operations:?}");
    for id in ids {
        let verb = id.find(|c: char| c.is_ascii_uppercase()).map(|end| &id[..end]);
        assert!(verb.is_some_and(|verb| !verb.is_empty()), "{id} is no verb with what it is done to");
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
    }
}

/// Ann and Bob, who have written to each other, and a group of Ann's.
struct Fixture {
    server: TestServer,
    ann: User,
    bob: User,
    group: i64,
}

impl Fixture {
    async fn start() -> Self {
        let server = TestServer::start().await;
        let (ann, mut client) = server.connect_user("Ann").await;
        let bob = server.create_user("Bob").await;
        let group = client.new_group(&[]).await;
        client.send_content(&json!({ "receiverId": bob.id }), "Hello in the dialog").await;
        client.send_content(&json!({ "groupId": group }), "Hello in the group").await;
        Self { server, ann, bob, group }
    }

    /// Sends a request as Ann.
    async fn ann(&self, method: &str, path: &str, body: Value) -> Answer {
        self.server.as_user(&self.ann.token, method, path, body).await
    }

    /// Opens a new session and returns its token.
    async fn session_of(&self, user: &User) -> String {
        self.server.sign_in(user.id, self.server.server.app().tokens.expiry()).await.0
    }

    async fn without_token(&self, method: &str, path: &str, body: Value) -> Answer {
        answer(self.server.http(method, path).json(&body)).await
    }
}

/// Checks an operation of one conversation, for a dialog and for a group.
async fn is_for_its_conversation(fixture: &Fixture, id: &str, method: &str, path: &str) -> bool {
    let (bob, group) = (&fixture.bob, fixture.group);
    for (kind, target, said) in [("users", bob.id, "Hello in the dialog"), ("groups", group, "Hello in the group")] {
        let path = path.replace("{kind}", kind).replace("{id}", &target.to_string());
        let is_right = match id {
            "readConversation" => {
                let conversation = fixture.ann(method, &path, Value::Null).await.ok(200);
                conversation["memberCount"].is_number()
                    && conversation["kind"] == kind.replace("users", "dialog").replace("groups", "group")
            }
            "listMessages" => {
                let page = fixture.ann(method, &path, Value::Null).await.ok(200);
                page["data"].as_array().and_then(|rows| rows.last()).is_some_and(|row| row["content"] == said)
            }
            _ => fixture.ann(method, &path, json!({ "content": "Hi" })).await.ok(201)["seq"].is_number(),
        };
        if !is_right {
            return false;
        }
    }
    true
}

/// Checks that another user's session cannot be ended, and one's own can.
async fn ends_one_session(fixture: &Fixture, method: &str, path: &str) -> bool {
    let (server, bob) = (&fixture.server, &fixture.bob);
    let token = fixture.session_of(bob).await;
    let sessions = server.as_user(&token, "GET", "/api/v1/auth/sessions", Value::Null).await.ok(200);
    let sessions = sessions["data"].as_array().expect("rows").clone();
    let this = sessions.iter().find(|session| session["current"] == true).expect("this one");
    let path = path.replace("{id}", &this["id"].to_string());
    fixture.ann(method, &path, Value::Null).await.refused(404, "not_found");
    server.as_user(&token, method, &path, Value::Null).await.no_content();
    server.as_user(&token, "GET", "/api/v1/users/me", Value::Null).await.status == 401
}

/// Sends one operation to its path, and returns whether the answer is one that no other handler gives.
async fn is_answered_by_its_own(fixture: &Fixture, id: &str, method: &str, path: &str) -> bool {
    let Fixture { server, ann, bob, .. } = fixture;
    let ids = |ids: &Value| ids.as_array().map(|rows| rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>());
    let account = json!({ "username": id, "password": "correct horse" });
    match id {
        "signUp" => fixture.without_token(method, path, account).await.ok(201)["username"] == id,
        "compatSignUp" => {
            let made = fixture.without_token(method, path, account).await.ok(201);
            made["username"] == id && made["message"] == "User registered!"
        }
        "logIn" | "compatLogIn" => {
            fixture.without_token("POST", "/api/v1/auth/sign-up", account.clone()).await.ok(201);
            let login = fixture.without_token(method, path, account).await.ok(if id == "logIn" { 200 } else { 201 });
            login["username"] == id && login["message"] == "Signed in"
        }
        "refreshToken" => {
            let token = fixture.ann(method, path, Value::Null).await.ok(200);
            token["message"] == "Refreshed" && token["id"] == ann.id
        }
        "logOut" => {
            let token = fixture.session_of(bob).await;
            server.as_user(&token, method, path, Value::Null).await.no_content();
            server.as_user(&token, "GET", "/api/v1/users/me", Value::Null).await.status == 401
        }
        "listSessions" => fixture.ann(method, path, Value::Null).await.ok(200)["data"][0]["current"] == true,
        "endSession" => ends_one_session(fixture, method, path).await,
        "readMe" => {
            let me = fixture.ann(method, path, Value::Null).await.ok(200);
            me["id"] == ann.id && me["createdAt"].is_string()
        }
        "changeMe" => fixture.ann(method, path, json!({ "lastName": id })).await.ok(200)["lastName"] == id,
        "compatUpdateProfile" => {
            let changed = fixture.ann(method, path, json!({ "lastName": id })).await.ok(201);
            changed["lastName"] == id && changed["message"] == "User updated."
        }
        "changeMyPassword" | "compatChangePassword" => {
            fixture.without_token("POST", "/api/v1/auth/sign-up", account.clone()).await.ok(201);
            let login = fixture.without_token("POST", "/api/v1/auth/login", account).await.ok(200);
            let token = login["token"].as_str().expect("a token");
            let body = json!({ "oldPassword": "correct horse", "newPassword": "battery staple" });
            let status = server.as_user(token, method, path, body.clone()).await.status;
            let again = server.as_user(token, method, path, body).await;
            let expected = if id == "changeMyPassword" { (204, 401) } else { (201, 400) };
            (status, again.status) == expected && again.text.contains("oldPassword is wrong")
        }
        "deleteMe" | "compatDestroyProfile" => {
            let gone = server.create_user(id).await;
            let status = server.as_user(&gone.token, method, path, Value::Null).await.status;
            let lookup = format!("/api/v1/users/{}", gone.id);
            fixture.ann("GET", &lookup, Value::Null).await.refused(404, "not_found");
            status == if id == "deleteMe" { 204 } else { 200 }
        }
        "exportMe" => fixture.ann(method, path, Value::Null).await.ok(200)["account"]["id"] == ann.id,
        "listUsers" => {
            let page = fixture.ann(method, &format!("{path}?limit=2"), Value::Null).await.ok(200);
            ids(&page["data"]) == Some(vec![json!(ann.id), json!(bob.id)])
        }
        "compatListUsers" => {
            let page = fixture.ann(method, &format!("{path}?limit=2"), Value::Null).await.ok(200);
            ids(&page) == Some(vec![json!(ann.id), json!(bob.id)])
        }
        "readUser" => {
            let user = fixture.ann(method, &path.replace("{id}", &bob.id.to_string()), Value::Null).await.ok(200);
            user["firstName"] == "Bob" && user.get("createdAt").is_none()
        }
        "listConversations" => {
            let page = fixture.ann(method, path, Value::Null).await.ok(200);
            page["data"][0]["kind"].is_string() && page["data"][0].get("memberCount").is_none()
        }
        "readConversation" | "listMessages" | "sendMessage" => is_for_its_conversation(fixture, id, method, path).await,
        "searchMessages" => {
            let path = format!("{path}?q=dialog");
            fixture.ann(method, &path, Value::Null).await.ok(200)["data"][0]["content"] == "Hello in the dialog"
        }
        "readHealth" | "readReadiness" => {
            // Only one of them needs the database.
            let lonely = TestServer::start().await;
            let before = answer(lonely.http(method, path)).await.ok(200);
            lonely.server.app().db.close().await;
            let after = answer(lonely.http(method, path)).await.status;
            before == json!({ "status": "ok" }) && (after == 200) == (id == "readHealth")
        }
        "readMetrics" => fixture.without_token(method, path, Value::Null).await.text.contains("# TYPE hark_"),
        "readAsyncapi" => fixture.without_token(method, path, Value::Null).await.ok(200)["asyncapi"].is_string(),
        _ => panic!("{id} is new: add how its answer is recognized"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_operations_are_answered_by_their_own_handlers() {
    let fixture = Fixture::start().await;
    for (path, method, id) in operations() {
        assert!(is_answered_by_its_own(&fixture, &id, &method, &path).await, "{id}: {method} {path}");
    }
}
