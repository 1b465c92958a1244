//! The schemas of the AsyncAPI and OpenAPI documents describe what a server really writes: every reply, every
//! push and every row of `sync`, strictly. Clients are generated from these schemas, so a key that is always
//! written has to be required, and alternatives have to be told apart by a constant.

use std::collections::{BTreeMap, BTreeSet};

use hark::commands::{Command, pushes};
use hark::model::{GroupId, Target, UserId};
use hark::wire::items::BehindItem;
use serde_json::{Value, json};

use super::openapi::document;
use crate::support::{Answer, Client, TestServer, answer, default_limits};

/// A document, and how often each key that a schema does not require was written or left out.
struct Schemas {
    document: Value,
    /// By the name of the schema and the key: how often it was written and left out.
    optional_keys: BTreeMap<(String, String), (usize, usize)>,
}

/// The keys of an object: their schemas, and whether each is required.
type Keys = BTreeMap<String, (Value, bool)>;

impl Schemas {
    fn new(document: Value) -> Self {
        Self { document, optional_keys: BTreeMap::new() }
    }

    /// Checks a value against the schema at a place of the document.
    fn check(&mut self, pointer: &str, value: &Value) -> Result<(), String> {
        let schema = self.document.pointer(pointer).unwrap_or_else(|| panic!("no schema at {pointer}")).clone();
        self.check_schema(pointer, &schema, value)
    }

    fn check_schema(&mut self, name: &str, schema: &Value, value: &Value) -> Result<(), String> {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.check(&reference[1..], value);
        }
        if let Some(alternatives) = schema["oneOf"].as_array() {
            let results: Vec<_> = alternatives.iter().map(|part| self.check_schema(name, part, value)).collect();
            return match results.iter().filter(|result| result.is_ok()).count() {
                1 => Ok(()),
                0 => Err(format!("{name}: no alternative fits {value}: {results:?}")),
                more => Err(format!("{name}: {more} alternatives fit {value}")),
            };
        }
        if schema.get("const").is_some_and(|constant| constant != value) {
            return Err(format!("{name}: {value} is not {}", schema["const"]));
        }
        if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
            return Err(format!("{name}: {value} is not one of {}", schema["enum"]));
        }
        if !has_type(schema, value) {
            return Err(format!("{name}: {value} is not of type {}", schema["type"]));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.check_schema(name, &schema["items"], item)),
            Value::Object(fields) => self.check_object(name, schema, fields),
            _ => Ok(()),
        }
    }

    fn check_object(
        &mut self,
        name: &str,
        schema: &Value,
        fields: &serde_json::Map<String, Value>,
    ) -> Result<(), String> {
        let keys = self.keys(schema);
        if keys.is_empty() {
            // Data that clients give each other has no schema.
            return Ok(());
        }
        if let Some(unknown) = fields.keys().find(|key| !keys.contains_key(*key)) {
            return Err(format!("{name} does not know the key {unknown}"));
        }
        for (key, (schema, is_required)) in keys {
            match fields.get(&key) {
                Some(value) => self.check_schema(&format!("{name}.{key}"), &schema, value)?,
                None if is_required => return Err(format!("{name} requires the key {key}")),
                None => {}
            }
            if !is_required {
                let (written, left_out) = self.optional_keys.entry((name.to_owned(), key.clone())).or_default();
                *if fields.contains_key(&key) { written } else { left_out } += 1;
            }
        }
        Ok(())
    }

    /// The keys of an object, with those of the objects that are part of it.
    fn keys(&self, schema: &Value) -> Keys {
        let mut keys = Keys::new();
        if let Some(reference) = schema["$ref"].as_str() {
            keys.extend(self.keys(self.document.pointer(&reference[1..]).expect("a reference that resolves")));
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            keys.extend(self.keys(part));
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let required: BTreeSet<_> = required.collect();
        let own = schema["properties"].as_object().into_iter().flatten();
        keys.extend(own.map(|(key, schema)| (key.clone(), (schema.clone(), required.contains(key.as_str())))));
        keys
    }

    /// Every key that is not required was left out of some value; else it is always written.
    fn assert_optional_keys_are_left_out(&self) {
        let always: Vec<_> = self.optional_keys.iter().filter(|(_, (_, left_out))| *left_out == 0).collect();
        assert!(always.is_empty(), "always written and not required: {always:?}");
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    let is_named = |name: &Value| match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => name == "number" || (name == "integer" && number.is_i64()),
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    };
    match &schema["type"] {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is_named),
        name => is_named(name),
    }
}

fn asyncapi() -> Value {
    hark::http::asyncapi(&default_limits())
}

/// Users whose sockets have received all kinds of frames, which were checked.
struct Conversation {
    schemas: Schemas,
    replies: BTreeSet<String>,
    pushes: BTreeSet<String>,
    rows: BTreeSet<String>,
}

impl Conversation {
    /// Sends a request, checks its reply, and returns what is in it.
    async fn call(&mut self, client: &mut Client, kind: &str, params: Value) -> Value {
        let mut reply = client.call(kind, params).await;
        assert_eq!(reply["success"], true, "{reply}");
        self.check(&format!("{kind}.reply"), &reply);
        self.replies.insert(kind.to_owned());
        if kind == "sync" {
            let rows = reply["params"]["data"].as_array().into_iter().flatten();
            self.rows.extend(rows.map(|row| row["type"].as_str().expect("a type").to_owned()));
        }
        reply["params"].take()
    }

    fn check(&mut self, message: &str, frame: &Value) {
        let checked = self.schemas.check(&format!("/components/messages/{message}/payload"), frame);
        assert_eq!(checked, Ok(()), "{message}: {frame}");
    }

    /// Checks pushes until one of this type has come.
    async fn wait_for_push(&mut self, client: &mut Client, kind: &str) -> Value {
        println!("waiting for {kind}");
        loop {
            let push = client.wait_for_push().await;
            let received = push["type"].as_str().expect("a type").to_owned();
            self.check(&format!("{received}.push"), &push);
            self.pushes.insert(received.clone());
            if received == kind {
                return push;
            }
        }
    }
}

/// Calls the frames of messages in a conversation, each reply and push of which is checked.
async fn write_and_read(talk: &mut Conversation, ann: &mut Client, bob: &mut Client, to: &Value, from: &Value) {
    let with = |target: &Value, more: Value| {
        let mut params = target.clone();
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        params
    };
    let (send, list) = match to.get("groupId") {
        Some(_) => ("messageInGroup", "getlatestMessageGroup"),
        None => ("privateMessage", "getlatestMessageDialog"),
    };
    talk.call(bob, "openConversation", from.clone()).await;
    let sent = talk.call(ann, send, with(to, json!({ "content": "Tea?", "clientMessageId": send }))).await;
    let message = sent["item"]["messageId"].clone();
    talk.wait_for_push(bob, send).await;
    talk.call(bob, "deliveredMessages", with(from, json!({ "seq": sent["item"]["seq"] }))).await;
    talk.wait_for_push(ann, "deliveredMessages").await;
    talk.call(bob, "readMessages", with(from, json!({ "seq": sent["item"]["seq"] }))).await;
    talk.wait_for_push(ann, "readMessages").await;
    talk.call(bob, "replyMessage", json!({ "messageId": message, "content": "Yes" })).await;
    talk.wait_for_push(ann, send).await;
    talk.call(bob, "reactToMessage", json!({ "messageId": message, "reaction": "👍" })).await;
    talk.wait_for_push(ann, "reactToMessage").await;
    talk.call(ann, list, with(to, json!({}))).await;
    talk.call(ann, "editMessage", json!({ "messageId": message, "content": "Coffee?" })).await;
    talk.wait_for_push(bob, "editMessage").await;
    let second = talk.call(ann, send, with(to, json!({ "content": "Oh" }))).await["item"]["messageId"].clone();
    talk.call(ann, "deleteMessage", json!({ "messageId": second })).await;
    talk.wait_for_push(bob, "deleteMessage").await;
    talk.call(ann, "typing", with(to, json!({ "isTyping": true }))).await;
    talk.wait_for_push(bob, "typing").await;
    for kind in ["openConversation", "getConversation", "searchMessages"] {
        let more = if kind == "searchMessages" { json!({ "query": "coffee" }) } else { json!({}) };
        talk.call(ann, kind, with(to, more)).await;
    }
    talk.call(ann, "listConversations", json!({})).await;
    talk.call(ann, "listLastMessage", json!({})).await;
    talk.call(ann, list, with(to, json!({}))).await;
}

/// Calls the frames of groups.
async fn change_a_group(talk: &mut Conversation, ann: &mut Client, bob: &mut Client, cleo: &mut Client, ids: [i64; 3]) {
    let [_, bob_id, cleo_id] = ids;
    let group = talk.call(ann, "newGroup", json!({ "groupName": "Book club", "userIds": [bob_id] })).await;
    let group = group["item"]["groupId"].clone();
    let of = |user: i64| json!({ "groupId": group, "userId": user });
    write_and_read(talk, ann, bob, &json!({ "groupId": group }), &json!({ "groupId": group })).await;
    talk.call(ann, "addUserInGroup", of(cleo_id)).await;
    talk.wait_for_push(bob, "addUserInGroup").await;
    talk.call(ann, "addGroupAdmin", of(bob_id)).await;
    talk.wait_for_push(cleo, "addGroupAdmin").await;
    talk.call(ann, "listGroupUsers", json!({ "groupId": group })).await;
    talk.call(ann, "removeGroupAdmin", of(bob_id)).await;
    talk.wait_for_push(cleo, "removeGroupAdmin").await;
    talk.call(ann, "renameGroup", json!({ "groupId": group, "groupName": "Tea club" })).await;
    talk.wait_for_push(cleo, "renameGroup").await;
    talk.call(ann, "removeUserFromGroup", of(cleo_id)).await;
    talk.wait_for_push(bob, "removeUserFromGroup").await;
    talk.call(ann, "addUserInGroup", of(cleo_id)).await;
    talk.call(cleo, "leaveGroup", json!({ "groupId": group })).await;
    talk.wait_for_push(bob, "leaveGroup").await;
    let other = talk.call(ann, "newGroup", json!({ "groupName": "Short", "userIds": [bob_id] })).await;
    talk.call(ann, "dropGroup", json!({ "groupId": other["item"]["groupId"] })).await;
    talk.wait_for_push(bob, "dropGroup").await;
    talk.call(ann, "markSpam", json!({ "groupId": group, "spam": true })).await;
    talk.call(ann, "removeConversation", json!({ "groupId": group })).await;
}

/// Calls the frames of users, contacts, blocks and notifications.
async fn meet(talk: &mut Conversation, ann: &mut Client, phone: &mut Client, bob: &mut Client, ids: [i64; 3]) {
    let [ann_id, bob_id, cleo_id] = ids;
    for (kind, own_push, user) in [
        ("addContact", false, bob_id),
        ("listContacts", false, 0),
        ("removeContact", true, bob_id),
        ("blockUser", true, cleo_id),
        ("listBlocked", false, 0),
        ("unblockUser", true, cleo_id),
    ] {
        let params = if user == 0 { json!({}) } else { json!({ "userId": user }) };
        talk.call(ann, kind, params).await;
        if own_push {
            talk.wait_for_push(phone, kind).await;
        }
    }
    talk.wait_for_push(bob, "addContact").await;
    talk.call(bob, "sendNotification", json!({ "userId": ann_id, "kind": "like", "data": { "photo": 3 } })).await;
    talk.call(bob, "sendNotification", json!({ "userId": ann_id, "kind": "wave" })).await;
    talk.wait_for_push(ann, "notification").await;
    talk.call(ann, "listNotifications", json!({})).await;
    talk.call(ann, "readNotifications", json!({})).await;
    talk.wait_for_push(phone, "readNotifications").await;
    talk.call(ann, "listNotifications", json!({})).await;
    talk.call(ann, "listUsers", json!({})).await;
    talk.call(ann, "getUser", json!({})).await;
    talk.call(ann, "getUser", json!({ "userId": bob_id })).await;
    talk.call(ann, "searchUsers", json!({ "query": "bob" })).await;
    talk.call(ann, "getOnlineInfo", json!({ "userIds": [bob_id, cleo_id] })).await;
}

/// Changes messages that are older than a cursor: in `sync` they are rows of their own types.
async fn change_known_messages(talk: &mut Conversation, client: &mut Client, to: &Value) {
    let mut ids = Vec::new();
    for content in ["one", "two", "three"] {
        let params = json!({ "receiverId": to["receiverId"], "content": content });
        ids.push(talk.call(client, "privateMessage", params).await["item"]["messageId"].clone());
    }
    let cursor = talk.call(client, "sync", json!({})).await["item"]["cursor"].clone();
    talk.call(client, "editMessage", json!({ "messageId": ids[0], "content": "once" })).await;
    talk.call(client, "deleteMessage", json!({ "messageId": ids[1] })).await;
    talk.call(client, "reactToMessage", json!({ "messageId": ids[2], "reaction": "👍" })).await;
    sync_all(talk, client, cursor).await;
}

/// Pages through what has changed since a cursor.
async fn sync_all(talk: &mut Conversation, client: &mut Client, mut cursor: Value) {
    loop {
        let reply = talk.call(client, "sync", json!({ "cursor": cursor, "limit": 100 })).await;
        if reply["item"]["more"] == false {
            return;
        }
        cursor = reply["item"]["cursor"].clone();
    }
}

/// Searches on a server that stops a search after a few messages: the reply says where it continues.
async fn stop_a_search_early(talk: &mut Conversation) {
    let server = TestServer::start_with(|config| config.limits.search_bytes = 20_000).await;
    let (ann, mut client) = server.connect_user("Ann").await;
    for _ in 0..10 {
        let content = format!("京都、東京 {}", "長い文、".repeat(600));
        client.call("privateMessage", json!({ "receiverId": ann.id, "content": content })).await;
    }
    let reply = talk.call(&mut client, "searchMessages", json!({ "query": "東京都" })).await;
    assert!(reply["item"]["before"].is_i64(), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncapi_describes_every_reply_push_and_sync_row_of_a_server() {
    let server = TestServer::start().await;
    let schemas = Schemas::new(asyncapi());
    let mut talk = Conversation { schemas, replies: BTreeSet::new(), pushes: BTreeSet::new(), rows: BTreeSet::new() };
    let (ann_user, mut ann) = server.connect_user("Ann").await;
    let (bob_user, mut bob) = server.connect_user("Bob").await;
    let (cleo_user, mut cleo) = server.connect_user("Cleo").await;
    let ids = [ann_user.id, bob_user.id, cleo_user.id];
    // Keys that may be null are null for some users and not for others.
    let with_email = sqlx::query("update users set email = 'ann@example.org', last_name = 'Star' where id = $1");
    with_email.bind(ann_user.id).execute(&mut server.sql().await).await.expect("Ann is there");
    let mut phone = server.connect(&ann_user).await;
    for client in [&mut ann, &mut phone, &mut bob, &mut cleo] {
        talk.call(client, "subscribe", json!({ "events": ["all"] })).await;
    }
    talk.call(&mut ann, "authenticate", json!({ "token": ann_user.token })).await;
    let cursor = talk.call(&mut ann, "sync", json!({})).await["item"]["cursor"].clone();
    let bobs_cursor = talk.call(&mut bob, "sync", json!({})).await["item"]["cursor"].clone();

    let (to_bob, to_ann) = (json!({ "receiverId": bob_user.id }), json!({ "receiverId": ann_user.id }));
    write_and_read(&mut talk, &mut ann, &mut bob, &to_bob, &to_ann).await;
    change_known_messages(&mut talk, &mut ann, &to_bob).await;
    // What is read is delivered too; a row of its own is only for what is not read yet.
    talk.call(&mut bob, "deliveredMessages", to_ann.clone()).await;
    talk.call(&mut bob, "setPresence", json!({ "active": false })).await;
    talk.wait_for_push(&mut ann, "onlineInfo").await;
    change_a_group(&mut talk, &mut ann, &mut bob, &mut cleo, ids).await;
    talk.wait_for_push(&mut phone, "newGroup").await;
    meet(&mut talk, &mut ann, &mut phone, &mut bob, ids).await;
    talk.call(&mut ann, "closeConversation", to_bob.clone()).await;
    let to_cleo = json!({ "receiverId": cleo_user.id });
    talk.call(&mut ann, "privateMessage", json!({ "receiverId": cleo_user.id, "content": "Hi" })).await;
    talk.call(&mut ann, "markSpam", json!({ "receiverId": cleo_user.id, "spam": true })).await;
    talk.wait_for_push(&mut phone, "markSpam").await;
    sync_all(&mut talk, &mut ann, cursor.clone()).await;
    sync_all(&mut talk, &mut bob, bobs_cursor).await;
    talk.call(&mut ann, "removeConversation", to_cleo).await;
    talk.wait_for_push(&mut phone, "removeConversation").await;
    sync_all(&mut talk, &mut ann, cursor).await;
    let error = ann.call("getConversation", json!({})).await;
    talk.check("error", &error);
    stop_a_search_early(&mut talk).await;
    // A push of this type needs a socket that reads too slowly.
    for target in [Target::User(UserId(bob_user.id)), Target::Group(GroupId(1))] {
        let item = BehindItem { target: target.into(), seq: 57 };
        let params = json!({ "data": null, "message": null, "senderName": null, "item": item });
        talk.check("behind.push", &json!({ "type": "behind", "success": true, "params": params }));
    }

    let frames = Command::frames(&default_limits());
    let missing: Vec<_> = frames.iter().map(|frame| frame.kind).filter(|kind| !talk.replies.contains(*kind)).collect();
    assert!(missing.is_empty(), "no reply of {missing:?} was checked");
    let kinds = pushes().into_iter().map(|(kind, ..)| kind).filter(|kind| *kind != "behind");
    let missing: Vec<_> = kinds.filter(|kind| !talk.pushes.contains(*kind)).collect();
    assert!(missing.is_empty(), "no push of {missing:?} was checked");
    let documented: BTreeSet<_> = sync_rows(&talk.schemas.document).into_keys().collect();
    assert_eq!(talk.rows, documented, "the rows of sync that were checked");
    // `id` is written if the request has one, and `retryAfterMs` with one error code.
    talk.schemas.optional_keys.retain(|(name, _), _| !name.ends_with("/payload"));
    talk.schemas.assert_optional_keys_are_left_out();
}

/// The schemas of the rows of `sync`, by the constant that is the `type` of each.
fn sync_rows(document: &Value) -> BTreeMap<String, Value> {
    let rows = document["components"]["schemas"]["ChangeRow"]["oneOf"].as_array().expect("one schema for each type");
    let by_type = rows.iter().map(|row| {
        let required: BTreeSet<_> =
            row["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert_eq!((&row["type"], required), (&json!("object"), BTreeSet::from(["item", "type"])), "{row}");
        let kind = &row["properties"]["type"];
        let kind =
            kind["const"].as_str().or_else(|| kind["enum"].as_array().filter(|values| values.len() == 1)?[0].as_str());
        (kind.unwrap_or_else(|| panic!("a constant: {row}")).to_owned(), row["properties"]["item"].clone())
    });
    by_type.collect()
}

#[test]
fn asyncapi_tells_the_rows_of_sync_apart_by_a_constant_type() {
    let document = asyncapi();
    let rows = sync_rows(&document);
    assert_eq!(rows.len(), document["components"]["schemas"]["ChangeRow"]["oneOf"].as_array().map_or(0, Vec::len));
    for (kind, item) in [
        ("privateMessage", "MessageItem"),
        ("leaveGroup", "MemberItem"),
        ("dropGroup", "GroupItem"),
        ("readMessages", "MarkerItem"),
        ("markSpam", "SpamItem"),
        ("removeConversation", "RemovedItem"),
    ] {
        assert_eq!(rows[kind], json!({ "$ref": format!("#/components/schemas/{item}") }), "{kind}");
    }
}

#[test]
fn asyncapi_requires_the_keys_of_a_message_that_may_be_null() {
    let document = asyncapi();
    let message = &document["components"]["schemas"]["MessageItem"];
    let required = message["required"].as_array().expect("keys");
    for key in ["clientMessageId", "deletedAt", "groupId", "groupName", "receiverId", "receiverName", "replyTo"] {
        assert!(required.contains(&json!(key)), "{key} is not required");
    }
    assert_eq!(message["properties"]["groupId"]["type"], json!(["integer", "null"]));
}

/// Checks the JSON body of a response, and returns it.
fn check_response(schemas: &mut Schemas, method: &str, path: &str, response: &Answer) -> Value {
    assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
    let path = path.replace('/', "~1");
    let pointer = format!("/paths/{path}/{method}/responses/{}/content/application~1json/schema", response.status);
    let body = response.ok(response.status);
    assert_eq!(schemas.check(&pointer, &body), Ok(()), "{method} {path}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn openapi_describes_every_json_response_of_a_server() {
    let server = TestServer::start().await;
    let mut schemas = Schemas::new(document());
    let account = |name: &str| json!({ "username": name, "password": "correct horse", "firstName": "Ann" });
    let mut checked = BTreeSet::new();
    let mut token = String::new();
    for (path, login) in [("/api/v1/auth/sign-up", "/api/v1/auth/login"), ("/auth/sing-up", "/auth/login")] {
        let account = account(&path.replace(['/', '-'], ""));
        for path in [path, login] {
            let response = answer(server.http("POST", path).json(&account)).await;
            let body = check_response(&mut schemas, "post", path, &response);
            token = body["token"].as_str().unwrap_or_default().to_owned();
            checked.insert(format!("post {path}"));
        }
    }
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let me = server.as_user(&token, "GET", "/api/v1/users/me", Value::Null).await.ok(200)["id"].as_i64();
    let me = me.expect("an id");
    bob_client.call("privateMessage", json!({ "receiverId": me, "content": "Hi Ann" })).await;
    bob_client.call("sendNotification", json!({ "userId": me, "kind": "like" })).await;
    let group = bob_client.new_group(&[me]).await;
    bob_client.call("messageInGroup", json!({ "groupId": group, "content": "Hi all" })).await;
    let (bob_id, group_id) = (bob.id.to_string(), group.to_string());
    let add = server.as_user(&token, "PATCH", "/api/v1/users/me", json!({ "email": "ann@example.org" })).await;
    check_response(&mut schemas, "patch", "/api/v1/users/me", &add);
    for (method, path, kind, id, query, body) in [
        ("post", "/api/v1/auth/refresh", "", "", "", Value::Null),
        ("get", "/api/v1/auth/sessions", "", "", "", Value::Null),
        ("get", "/api/v1/users/me", "", "", "", Value::Null),
        ("patch", "/api/v1/users/me", "", "", "", json!({ "lastName": "Star" })),
        ("patch", "/profile/update", "", "", "", json!({ "firstName": "" })),
        ("get", "/api/v1/users", "", "", "", Value::Null),
        ("get", "/users/list", "", "", "", Value::Null),
        ("get", "/api/v1/users/{id}", "", bob_id.as_str(), "", Value::Null),
        ("get", "/api/v1/conversations", "", "", "", Value::Null),
        ("get", "/api/v1/conversations/{kind}/{id}", "users", &bob_id, "", Value::Null),
        ("get", "/api/v1/conversations/{kind}/{id}", "groups", &group_id, "", Value::Null),
        ("post", "/api/v1/conversations/{kind}/{id}/messages", "users", &bob_id, "", json!({ "content": "Tea?" })),
        ("get", "/api/v1/conversations/{kind}/{id}/messages", "users", &bob_id, "", Value::Null),
        ("get", "/api/v1/conversations/{kind}/{id}/messages", "groups", &group_id, "", Value::Null),
        ("get", "/api/v1/messages/search", "", "", "?q=tea", Value::Null),
        ("get", "/api/v1/users/me/export", "", "", "", Value::Null),
        ("get", "/healthz", "", "", "", Value::Null),
        ("get", "/readyz", "", "", "", Value::Null),
        (
            "patch",
            "/profile/change-password",
            "",
            "",
            "",
            json!({ "oldPassword": "correct horse", "newPassword": "battery staple" }),
        ),
        ("delete", "/profile/destroy", "", "", "", Value::Null),
    ] {
        let url = path.replace("{kind}", kind).replace("{id}", id) + query;
        let response = server.as_user(&token, &method.to_uppercase(), &url, body).await;
        check_response(&mut schemas, method, path, &response);
        checked.insert(format!("{method} {path}"));
    }
    let documented = json_operations(&schemas.document);
    assert_eq!(checked, documented.into_iter().filter(|operation| !operation.ends_with("asyncapi.json")).collect());
    // A search that has stopped early is in the tests of searches.
    schemas.optional_keys.retain(|(_, key), _| key != "before");
    schemas.assert_optional_keys_are_left_out();
}

/// The operations whose success has a JSON body.
fn json_operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths").iter();
    let operations = paths.flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").iter();
        let with_body = methods.filter(|(_, operation)| {
            let mut responses = operation["responses"].as_object().expect("responses").iter();
            responses.any(|(status, response)| {
                status.starts_with('2') && response["content"].get("application/json").is_some()
            })
        });
        with_body.map(move |(method, _)| format!("{method} {path}"))
    });
    operations.collect()
}
