//! Seed 004, a group chat made of events: each item of its document in its order, through the
//! frames and routes that stand for it here.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, answer};

const NOTHING: [&str; 0] = [];

/// One key of each row.
fn column<'a>(page: &'a Value, key: &str) -> Vec<&'a Value> {
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("rows: {page}"));
    rows.iter().map(|row| &row[key]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_sessions_conversations_and_messages() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (_, mut outsider) = server.client("Cleo").await;
    let bob = server.user("Bob").await;
    outsider.subscribe(&["all"]).await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let mut watcher = server.connect(&ann).await;
    watcher.subscribe(&["presence"]).await;
    watcher.done("openConversation", to_bob.clone()).await;

    // Sessions: connection, disconnect.
    let session = server.connect(&bob).await;
    let online = watcher.pushed("onlineInfo").await["item"].take();
    assert_eq!((&online["userId"], &online["isOnline"]), (&json!(bob.id), &json!(true)), "connection");
    session.close().await;
    let gone = watcher.pushed("onlineInfo").await["item"].take();
    assert_eq!((&gone["userId"], &gone["isOnline"]), (&json!(bob.id), &json!(false)), "disconnect");
    let mut bob_client = server.connect(&bob).await;

    // Conversations: create. There is one for two people, whoever begins, and nobody hears of it.
    bob_client.subscribe(&["all"]).await;
    let created = ann_client.done("openConversation", to_bob.clone()).await;
    assert_eq!((&created["item"]["kind"], &created["item"]["memberCount"]), (&json!("dialog"), &json!(2)));
    ann_client.forget().await;
    assert_eq!(bob_client.kinds_told().await, NOTHING, "conversation create");
    // remove: for me alone, until the next message.
    bob_client.say(&to_ann, "old").await;
    ann_client.pushed("privateMessage").await;
    let removed = ann_client.done("removeConversation", to_bob.clone()).await;
    assert_eq!(removed["item"]["receiverId"], bob.id, "conversation remove");
    assert_eq!(ann_client.done("listConversations", json!({})).await["data"], json!([]), "conversation remove");
    assert_eq!(ann_client.done("getlatestMessageDialog", to_bob.clone()).await["data"], json!([]));
    let bobs = bob_client.done("getlatestMessageDialog", to_ann.clone()).await;
    assert_eq!(column(&bobs, "content"), ["old"], "conversation remove: not for the other side");
    bob_client.say(&to_ann, "new").await;
    ann_client.pushed("privateMessage").await;
    let back = ann_client.done("getlatestMessageDialog", to_bob.clone()).await;
    assert_eq!(column(&back, "content"), ["new"], "conversation remove: it comes back with the next message");
    // spam: for me alone and silent.
    for spam in [true, false] {
        let item = ann_client.done("markSpam", json!({ "receiverId": bob.id, "spam": spam })).await["item"].take();
        assert_eq!(item, json!({ "receiverId": bob.id, "spam": spam }), "conversation spam");
        let listed = ann_client.done("listConversations", json!({})).await;
        assert_eq!(column(&listed, "spam").is_empty(), spam, "conversation spam");
        let spams = ann_client.done("listConversations", json!({ "filter": "spam" })).await;
        assert_eq!(column(&spams, "receiverId").is_empty(), !spam, "conversation spam");
    }
    assert_eq!(bob_client.kinds_told().await, NOTHING, "conversation remove, conversation spam: never told");
    // open: lists its messages, and shows who writes.
    ann_client.subscribe(&["typing"]).await;
    let opened = ann_client.done("openConversation", to_bob.clone()).await;
    assert_eq!(column(&opened, "content"), ["new"], "conversation open");
    bob_client.done("typing", json!({ "receiverId": ann.id, "isTyping": true })).await;
    assert_eq!(ann_client.pushed("typing").await["item"]["isTyping"], true, "conversation open");
    bob_client.done("typing", json!({ "receiverId": ann.id, "isTyping": false })).await;
    assert_eq!(ann_client.pushed("typing").await["item"]["isTyping"], false, "conversation open");
    // close: no longer; messages still arrive.
    ann_client.done("closeConversation", to_bob.clone()).await;
    for is_typing in [true, false] {
        bob_client.done("typing", json!({ "receiverId": ann.id, "isTyping": is_typing })).await;
    }
    bob_client.say(&to_ann, "newer").await;
    assert_eq!(ann_client.pushed("privateMessage").await["message"], "newer", "conversation close");
    // list: one's own, once each.
    let group = ann_client.new_group(&[bob.id]).await;
    bob_client.pushed("addUserInGroup").await;
    let listed = ann_client.done("listConversations", json!({})).await;
    for (key, id) in [("receiverId", bob.id), ("groupId", group)] {
        let mut ids = column(&listed, key);
        ids.retain(|id| !id.is_null());
        assert_eq!(ids, [id], "conversation list");
    }
    assert_eq!(outsider.done("listConversations", json!({})).await["data"], json!([]), "conversation list");
    // data: to its members.
    let data = bob_client.done("getConversation", json!({ "groupId": group })).await["item"].take();
    let members: Vec<_> = data["members"].as_array().expect("members").iter().map(|member| &member["name"]).collect();
    assert_eq!(members, ["Ann", "Bob"], "conversation data");
    assert_eq!((&data["admins"], &data["groupName"]), (&json!([ann.id]), &json!("Book club")), "conversation data");
    for kind in ["openConversation", "getConversation", "removeConversation", "markSpam"] {
        let params = json!({ "groupId": group, "spam": true });
        assert_eq!(outsider.refused(kind, params).await, "not_a_member", "{kind} of a conversation of others");
    }

    // Messages: add, to who is in it.
    let question = bob_client.say(&json!({ "groupId": group }), "¿vamos?").await;
    assert_eq!(ann_client.pushed("messageInGroup").await["message"], "¿vamos?", "message add");
    assert_eq!(outsider.kinds_told().await, NOTHING, "message add: not to everybody who is connected");
    assert_eq!(outsider.refused("messageInGroup", json!({ "groupId": group, "content": "x" })).await, "not_a_member");
    // reply
    ann_client.done("replyMessage", json!({ "messageId": question, "content": "sí" })).await;
    ann_client.forget().await;
    let mut told = bob_client.told().await;
    told.retain(|push| push["type"] == "messageInGroup");
    let quoted = json!({ "messageId": question, "senderId": bob.id, "senderName": "Bob", "content": "¿vamos?" });
    assert_eq!((told.len(), &told[0]["params"]["item"]["replyTo"]), (1, &quoted), "message reply");
    let foreign = json!({ "messageId": question, "content": "y yo" });
    assert_eq!(outsider.refused("replyMessage", foreign).await, "not_a_member", "message reply");
    assert_eq!(outsider.kinds_told().await, NOTHING, "message reply");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_groups_and_who_is_in_them() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    let (_, mut outsider) = server.client("Eve").await;
    for client in [&mut ann_client, &mut bob_client, &mut cleo_client, &mut outsider] {
        client.subscribe(&["groups"]).await;
    }

    // group create: its creator learns its id, and is its admin; who is in it is told.
    let other = ann_client.new_group(&[bob.id]).await;
    let group = ann_client.new_group(&[bob.id]).await;
    for id in [other, group] {
        let told = bob_client.pushed("addUserInGroup").await;
        assert_eq!((&told["item"]["groupId"], &told["item"]["userId"]), (&json!(id), &json!(bob.id)), "group create");
    }
    let of = |user: i64| json!({ "groupId": group, "userId": user });
    // group delete: by an admin.
    assert_eq!(bob_client.refused("dropGroup", json!({ "groupId": other })).await, "not_admin", "group delete");
    assert_eq!(outsider.refused("dropGroup", json!({ "groupId": other })).await, "not_a_member", "group delete");
    ann_client.done("dropGroup", json!({ "groupId": other })).await;
    assert_eq!(bob_client.pushed("dropGroup").await["item"]["groupId"], other, "group delete");
    assert_eq!(bob_client.refused("messageInGroup", json!({ "groupId": other, "content": "x" })).await, "not_found");
    // group user add: by any member.
    assert_eq!(outsider.refused("addUserInGroup", of(cleo.id)).await, "not_a_member", "group user add");
    bob_client.done("addUserInGroup", of(cleo.id)).await;
    for client in [&mut ann_client, &mut cleo_client] {
        let told = client.pushed("addUserInGroup").await;
        assert_eq!(told["message"], "User Cleo added in group.", "group user add");
    }
    assert_eq!(ann_client.refused("addUserInGroup", of(cleo.id)).await, "already_a_member", "group user add");
    // group user remove: by an admin; who is out hears and reads nothing more.
    assert_eq!(bob_client.refused("removeUserFromGroup", of(cleo.id)).await, "not_admin", "group user remove");
    ann_client.done("removeUserFromGroup", of(cleo.id)).await;
    for client in [&mut bob_client, &mut cleo_client] {
        let item = client.pushed("removeUserFromGroup").await["item"].take();
        assert_eq!((&item["groupId"], &item["userId"]), (&json!(group), &json!(cleo.id)), "group user remove");
    }
    ann_client.say(&json!({ "groupId": group }), "entre nosotros").await;
    assert_eq!(bob_client.pushed("messageInGroup").await["message"], "entre nosotros");
    assert_eq!(cleo_client.kinds_told().await, NOTHING, "group user remove");
    assert_eq!(cleo_client.refused("getlatestMessageGroup", json!({ "groupId": group })).await, "not_a_member");
    // group user admin add
    assert_eq!(bob_client.refused("addGroupAdmin", of(bob.id)).await, "not_admin", "group user admin add");
    ann_client.done("addGroupAdmin", of(bob.id)).await;
    assert_eq!(bob_client.pushed("addGroupAdmin").await["item"]["userId"], bob.id, "group user admin add");
    // group user admin remove: by another admin, and never the last.
    bob_client.done("removeGroupAdmin", of(ann.id)).await;
    assert_eq!(ann_client.pushed("removeGroupAdmin").await["item"]["userId"], ann.id, "group user admin remove");
    assert_eq!(ann_client.refused("removeGroupAdmin", of(bob.id)).await, "not_admin", "group user admin remove");
    assert_eq!(bob_client.refused("removeGroupAdmin", of(bob.id)).await, "conflict", "group user admin remove");
    // group user list
    let list = ann_client.done("listGroupUsers", json!({ "groupId": group })).await;
    assert_eq!(column(&list, "id"), [ann.id, bob.id], "group user list");
    assert_eq!(column(&list, "isAdmin"), [false, true], "group user list");
    assert!(column(&list, "joinedAt").iter().all(|at| at.is_string()), "group user list");
    for client in [&mut cleo_client, &mut outsider] {
        assert_eq!(client.refused("listGroupUsers", json!({ "groupId": group })).await, "not_a_member");
        assert_eq!(client.kinds_told().await, NOTHING, "who is not in a group hears nothing of it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_users_contacts_and_api() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    // user register
    let account = json!({ "username": "chat", "password": "a good one" });
    let user = answer(server.http("POST", "/api/v1/auth/sign-up").json(&account)).await.ok(201);
    let login = answer(server.http("POST", "/api/v1/auth/login").json(&account)).await.ok(200);
    let token = login["token"].as_str().expect("a token");
    assert_eq!(login["id"], user["id"], "user register");
    // user unregister: what others were told stays theirs.
    let mut leaving = Client::connect(server.server.address(), token).await;
    leaving.say(&json!({ "receiverId": ann.id }), "adiós").await;
    ann_client.pushed("privateMessage").await;
    answer(server.http("DELETE", "/api/v1/users/me")).await.refused(401, "unauthorized");
    server.as_user(token, "DELETE", "/api/v1/users/me", Value::Null).await.no_content();
    assert_eq!(leaving.closed().await.code, 4001, "user unregister");
    answer(server.http("POST", "/api/v1/auth/login").json(&account)).await.refused(401, "unauthorized");
    let history = ann_client.done("getlatestMessageDialog", json!({ "receiverId": user["id"] })).await;
    assert_eq!(column(&history, "content"), ["adiós"], "user unregister");
    assert_eq!(column(&history, "senderName"), ["Deleted user"], "user unregister");
    // user list
    assert_eq!(column(&ann_client.done("listUsers", json!({})).await, "id"), [ann.id, bob.id], "user list");
    // user data: anybody's names, and one's own where nobody is named.
    for (params, name) in [(json!({ "userId": bob.id }), "Bob"), (json!({}), "Ann")] {
        assert_eq!(ann_client.done("getUser", params).await["item"]["firstName"], name, "user data");
    }
    assert_eq!(ann_client.refused("getUser", json!({ "userId": user["id"] })).await, "not_found", "user data");

    // contact user add: the other is told who asked for that; the list stays mine.
    let (mut bob_client, mut bobs_other) = (server.connect(&bob).await, server.connect(&bob).await);
    bob_client.subscribe(&["contacts"]).await;
    for _ in 0..2 {
        ann_client.done("addContact", json!({ "userId": bob.id })).await;
    }
    assert_eq!(bob_client.pushed("addContact").await["item"], json!({ "userId": ann.id, "userName": "Ann" }));
    assert_eq!(column(&ann_client.done("listContacts", json!({})).await, "id"), [bob.id], "contact user add");
    assert_eq!(bob_client.done("listContacts", json!({})).await["data"], json!([]), "contact user add");
    assert_eq!(ann_client.refused("addContact", json!({ "userId": 404 })).await, "not_found", "contact user add");
    // contact user remote, which is remove; contact list.
    ann_client.done("removeContact", json!({ "userId": bob.id })).await;
    assert_eq!(ann_client.done("listContacts", json!({})).await["data"], json!([]), "contact list");
    for client in [&mut bob_client, &mut bobs_other] {
        assert_eq!(client.kinds_told().await, NOTHING, "contact user remote, and a second contact user add");
    }

    // API: users, conversations, messages, each with a token.
    ann_client.say(&json!({ "receiverId": bob.id }), "buscar esto").await;
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
    assert_eq!(ann_client.pushed("privateMessage").await["message"], "encontrado", "POST {dialog}");
}
