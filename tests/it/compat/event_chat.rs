//! Clients of an event-based group chat: each item of that server's documentation in its order, through the
//! frames and routes that replace it here.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, answer};

const NOTHING: [&str; 0] = [];

/// Returns one key of each row.
fn column<'a>(page: &'a Value, key: &str) -> Vec<&'a Value> {
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("rows: {page}"));
    rows.iter().map(|row| &row[key]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn session_conversation_and_message_events_work() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (_, mut outsider) = server.connect_user("Cleo").await;
    let bob = server.create_user("Bob").await;
    outsider.subscribe(&["all"]).await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let mut watcher = server.connect(&ann).await;
    watcher.subscribe(&["presence"]).await;
    watcher.call_ok("openConversation", to_bob.clone()).await;

    // Sessions: connection, disconnect.
    let session = server.connect(&bob).await;
    let online = watcher.expect_push("onlineInfo").await["item"].take();
    assert_eq!((&online["userId"], &online["isOnline"]), (&json!(bob.id), &json!(true)), "connection");
    session.close().await;
    let gone = watcher.expect_push("onlineInfo").await["item"].take();
    assert_eq!((&gone["userId"], &gone["isOnline"]), (&json!(bob.id), &json!(false)), "disconnect");
    let mut bob_client = server.connect(&bob).await;

    // Conversations: create. Two users have one dialog, whoever creates it, and nobody is notified.
    bob_client.subscribe(&["all"]).await;
    let created = ann_client.call_ok("openConversation", to_bob.clone()).await;
    assert_eq!((&created["item"]["kind"], &created["item"]["memberCount"]), (&json!("dialog"), &json!(2)));
    ann_client.discard_pushes().await;
    assert_eq!(bob_client.drain_push_types().await, NOTHING, "conversation create");
    // remove: for the user only, until the next message.
    bob_client.send_content(&to_ann, "old").await;
    ann_client.expect_push("privateMessage").await;
    let removed = ann_client.call_ok("removeConversation", to_bob.clone()).await;
    assert_eq!(removed["item"]["receiverId"], bob.id, "conversation remove");
    assert_eq!(ann_client.call_ok("listConversations", json!({})).await["data"], json!([]), "conversation remove");
    assert_eq!(ann_client.call_ok("getlatestMessageDialog", to_bob.clone()).await["data"], json!([]));
    let bobs = bob_client.call_ok("getlatestMessageDialog", to_ann.clone()).await;
    assert_eq!(column(&bobs, "content"), ["old"], "conversation remove: not for the other side");
    bob_client.send_content(&to_ann, "new").await;
    ann_client.expect_push("privateMessage").await;
    let back = ann_client.call_ok("getlatestMessageDialog", to_bob.clone()).await;
    assert_eq!(column(&back, "content"), ["new"], "conversation remove: it comes back with the next message");
    // spam: for the user only, and nobody is notified.
    for spam in [true, false] {
        let item = ann_client.call_ok("markSpam", json!({ "receiverId": bob.id, "spam": spam })).await["item"].take();
        assert_eq!(item, json!({ "receiverId": bob.id, "spam": spam }), "conversation spam");
        let listed = ann_client.call_ok("listConversations", json!({})).await;
        assert_eq!(column(&listed, "spam").is_empty(), spam, "conversation spam");
        let spams = ann_client.call_ok("listConversations", json!({ "filter": "spam" })).await;
        assert_eq!(column(&spams, "receiverId").is_empty(), !spam, "conversation spam");
    }
    assert_eq!(bob_client.drain_push_types().await, NOTHING, "conversation remove, conversation spam: never pushed");
    // open: returns the messages, and turns on typing.
    ann_client.subscribe(&["typing"]).await;
    let opened = ann_client.call_ok("openConversation", to_bob.clone()).await;
    assert_eq!(column(&opened, "content"), ["new"], "conversation open");
    bob_client.call_ok("typing", json!({ "receiverId": ann.id, "isTyping": true })).await;
    assert_eq!(ann_client.expect_push("typing").await["item"]["isTyping"], true, "conversation open");
    bob_client.call_ok("typing", json!({ "receiverId": ann.id, "isTyping": false })).await;
    assert_eq!(ann_client.expect_push("typing").await["item"]["isTyping"], false, "conversation open");
    // close: turns typing off; messages still arrive.
    ann_client.call_ok("closeConversation", to_bob.clone()).await;
    for is_typing in [true, false] {
        bob_client.call_ok("typing", json!({ "receiverId": ann.id, "isTyping": is_typing })).await;
    }
    bob_client.send_content(&to_ann, "newer").await;
    assert_eq!(ann_client.expect_push("privateMessage").await["message"], "newer", "conversation close");
    // list: one's own, once each.
    let group = ann_client.new_group(&[bob.id]).await;
    bob_client.expect_push("addUserInGroup").await;
    let listed = ann_client.call_ok("listConversations", json!({})).await;
    for (key, id) in [("receiverId", bob.id), ("groupId", group)] {
        let mut ids = column(&listed, key);
        ids.retain(|id| !id.is_null());
        assert_eq!(ids, [id], "conversation list");
    }
    assert_eq!(outsider.call_ok("listConversations", json!({})).await["data"], json!([]), "conversation list");
    // data: to its members.
    let data = bob_client.call_ok("getConversation", json!({ "groupId": group })).await["item"].take();
    let members: Vec<_> = data["members"].as_array().expect("members").iter().map(|member| &member["name"]).collect();
    assert_eq!(members, ["Ann", "Bob"], "conversation data");
    assert_eq!((&data["admins"], &data["groupName"]), (&json!([ann.id]), &json!("Book club")), "conversation data");
    for kind in ["openConversation", "getConversation", "removeConversation", "markSpam"] {
        let params = json!({ "groupId": group, "spam": true });
        assert_eq!(outsider.call_refused(kind, params).await, "not_a_member", "{kind} of a conversation of others");
    }

    // Messages: add, to the members.
    let question = bob_client.send_content(&json!({ "groupId": group }), "¿vamos?").await;
    assert_eq!(ann_client.expect_push("messageInGroup").await["message"], "¿vamos?", "message add");
    assert_eq!(outsider.drain_push_types().await, NOTHING, "message add: not to every connected socket");
    assert_eq!(
        outsider.call_refused("messageInGroup", json!({ "groupId": group, "content": "x" })).await,
        "not_a_member"
    );
    // reply
    ann_client.call_ok("replyMessage", json!({ "messageId": question, "content": "sí" })).await;
    ann_client.discard_pushes().await;
    let mut received = bob_client.drain_pushes().await;
    received.retain(|push| push["type"] == "messageInGroup");
    let quoted = json!({ "messageId": question, "senderId": bob.id, "senderName": "Bob", "content": "¿vamos?" });
    assert_eq!((received.len(), &received[0]["params"]["item"]["replyTo"]), (1, &quoted), "message reply");
    let foreign = json!({ "messageId": question, "content": "y yo" });
    assert_eq!(outsider.call_refused("replyMessage", foreign).await, "not_a_member", "message reply");
    assert_eq!(outsider.drain_push_types().await, NOTHING, "message reply");
}

#[tokio::test(flavor = "multi_thread")]
async fn group_and_group_user_events_work() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let (_, mut outsider) = server.connect_user("Eve").await;
    for client in [&mut ann_client, &mut bob_client, &mut cleo_client, &mut outsider] {
        client.subscribe(&["groups"]).await;
    }

    // group create: its creator gets its id and is its admin; members are notified.
    let other = ann_client.new_group(&[bob.id]).await;
    let group = ann_client.new_group(&[bob.id]).await;
    for id in [other, group] {
        let received = bob_client.expect_push("addUserInGroup").await;
        assert_eq!(
            (&received["item"]["groupId"], &received["item"]["userId"]),
            (&json!(id), &json!(bob.id)),
            "group create"
        );
    }
    let of = |user: i64| json!({ "groupId": group, "userId": user });
    // group delete: by an admin.
    assert_eq!(bob_client.call_refused("dropGroup", json!({ "groupId": other })).await, "not_admin", "group delete");
    assert_eq!(outsider.call_refused("dropGroup", json!({ "groupId": other })).await, "not_a_member", "group delete");
    ann_client.call_ok("dropGroup", json!({ "groupId": other })).await;
    assert_eq!(bob_client.expect_push("dropGroup").await["item"]["groupId"], other, "group delete");
    assert_eq!(
        bob_client.call_refused("messageInGroup", json!({ "groupId": other, "content": "x" })).await,
        "not_found"
    );
    // group user add: by any member.
    assert_eq!(outsider.call_refused("addUserInGroup", of(cleo.id)).await, "not_a_member", "group user add");
    bob_client.call_ok("addUserInGroup", of(cleo.id)).await;
    for client in [&mut ann_client, &mut cleo_client] {
        let received = client.expect_push("addUserInGroup").await;
        assert_eq!(received["message"], "User Cleo added in group.", "group user add");
    }
    assert_eq!(ann_client.call_refused("addUserInGroup", of(cleo.id)).await, "already_a_member", "group user add");
    // group user remove: by an admin; a removed user gets and reads nothing more.
    assert_eq!(bob_client.call_refused("removeUserFromGroup", of(cleo.id)).await, "not_admin", "group user remove");
    ann_client.call_ok("removeUserFromGroup", of(cleo.id)).await;
    for client in [&mut bob_client, &mut cleo_client] {
        let item = client.expect_push("removeUserFromGroup").await["item"].take();
        assert_eq!((&item["groupId"], &item["userId"]), (&json!(group), &json!(cleo.id)), "group user remove");
    }
    ann_client.send_content(&json!({ "groupId": group }), "entre nosotros").await;
    assert_eq!(bob_client.expect_push("messageInGroup").await["message"], "entre nosotros");
    assert_eq!(cleo_client.drain_push_types().await, NOTHING, "group user remove");
    assert_eq!(cleo_client.call_refused("getlatestMessageGroup", json!({ "groupId": group })).await, "not_a_member");
    // group user admin add
    assert_eq!(bob_client.call_refused("addGroupAdmin", of(bob.id)).await, "not_admin", "group user admin add");
    ann_client.call_ok("addGroupAdmin", of(bob.id)).await;
    assert_eq!(bob_client.expect_push("addGroupAdmin").await["item"]["userId"], bob.id, "group user admin add");
    // group user admin remove: by another admin, and never the last one.
    bob_client.call_ok("removeGroupAdmin", of(ann.id)).await;
    assert_eq!(ann_client.expect_push("removeGroupAdmin").await["item"]["userId"], ann.id, "group user admin remove");
    assert_eq!(ann_client.call_refused("removeGroupAdmin", of(bob.id)).await, "not_admin", "group user admin remove");
    assert_eq!(bob_client.call_refused("removeGroupAdmin", of(bob.id)).await, "conflict", "group user admin remove");
    // group user list
    let list = ann_client.call_ok("listGroupUsers", json!({ "groupId": group })).await;
    assert_eq!(column(&list, "id"), [ann.id, bob.id], "group user list");
    assert_eq!(column(&list, "isAdmin"), [false, true], "group user list");
    assert!(column(&list, "joinedAt").iter().all(|at| at.is_string()), "group user list");
    for client in [&mut cleo_client, &mut outsider] {
        assert_eq!(client.call_refused("listGroupUsers", json!({ "groupId": group })).await, "not_a_member");
        assert_eq!(client.drain_push_types().await, NOTHING, "a user outside a group gets no pushes of it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_contact_events_and_the_api_work() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    // user register
    let account = json!({ "username": "chat", "password": "a good one" });
    let user = answer(server.http("POST", "/api/v1/auth/sign-up").json(&account)).await.ok(201);
    let login = answer(server.http("POST", "/api/v1/auth/login").json(&account)).await.ok(200);
    let token = login["token"].as_str().expect("a token");
    assert_eq!(login["id"], user["id"], "user register");
    // user unregister: others keep the messages that they were sent.
    let mut leaving = Client::connect(server.server.address(), token).await;
    leaving.send_content(&json!({ "receiverId": ann.id }), "adiós").await;
    ann_client.expect_push("privateMessage").await;
    answer(server.http("DELETE", "/api/v1/users/me")).await.refused(401, "unauthorized");
    server.as_user(token, "DELETE", "/api/v1/users/me", Value::Null).await.no_content();
    assert_eq!(leaving.wait_for_close().await.code, 4001, "user unregister");
    answer(server.http("POST", "/api/v1/auth/login").json(&account)).await.refused(401, "unauthorized");
    let history = ann_client.call_ok("getlatestMessageDialog", json!({ "receiverId": user["id"] })).await;
    assert_eq!(column(&history, "content"), ["adiós"], "user unregister");
    assert_eq!(column(&history, "senderName"), ["Deleted user"], "user unregister");
    // user list
    assert_eq!(column(&ann_client.call_ok("listUsers", json!({})).await, "id"), [ann.id, bob.id], "user list");
    // user data: the names of any user, and one's own where no user is given.
    for (params, name) in [(json!({ "userId": bob.id }), "Bob"), (json!({}), "Ann")] {
        assert_eq!(ann_client.call_ok("getUser", params).await["item"]["firstName"], name, "user data");
    }
    assert_eq!(ann_client.call_refused("getUser", json!({ "userId": user["id"] })).await, "not_found", "user data");

    // contact user add: the other user is notified if subscribed; the list stays private.
    let (mut bob_client, mut bobs_other) = (server.connect(&bob).await, server.connect(&bob).await);
    bob_client.subscribe(&["contacts"]).await;
    for _ in 0..2 {
        ann_client.call_ok("addContact", json!({ "userId": bob.id })).await;
    }
    assert_eq!(bob_client.expect_push("addContact").await["item"], json!({ "userId": ann.id, "userName": "Ann" }));
    assert_eq!(column(&ann_client.call_ok("listContacts", json!({})).await, "id"), [bob.id], "contact user add");
    assert_eq!(bob_client.call_ok("listContacts", json!({})).await["data"], json!([]), "contact user add");
    assert_eq!(ann_client.call_refused("addContact", json!({ "userId": 404 })).await, "not_found", "contact user add");
    // contact user remote, which means remove; contact list.
    ann_client.call_ok("removeContact", json!({ "userId": bob.id })).await;
    assert_eq!(ann_client.call_ok("listContacts", json!({})).await["data"], json!([]), "contact list");
    for client in [&mut bob_client, &mut bobs_other] {
        assert_eq!(client.drain_push_types().await, NOTHING, "contact user remote, and a second contact user add");
    }

    // API: users, conversations, messages, each with a token.
    ann_client.send_content(&json!({ "receiverId": bob.id }), "buscar esto").await;
    let dialog = format!("/api/v1/conversations/users/{}/messages", ann.id);
    for (path, key, value) in [
        ("/api/v1/users", "firstName", "Ann"),
        ("/api/v1/conversations", "receiverName", "Ann"),
        (&dialog, "content", "buscar esto"),
        ("/api/v1/messages/search?q=buscar", "content", "buscar esto"),
    ] {
        answer(server.http("GET", path)).await.refused(401, "unauthorized");
        let page = server.as_user(&bob.token, "GET", path, Value::Null).await.ok(200);
        assert_eq!(column(&page, key)[0], value, "{path}");
    }
    let sent = server.as_user(&bob.token, "POST", &dialog, json!({ "content": "encontrado" })).await.ok(201);
    assert_eq!(sent["seq"], 2, "POST {dialog}");
    assert_eq!(ann_client.expect_push("privateMessage").await["message"], "encontrado", "POST {dialog}");
}
