//! Clients of a private chat with rooms of two users: each item of that server's documentation in its
//! order, through the frames and routes that replace it here.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, User, answer, steady};

const NOTHING: [&str; 0] = [];

fn info(user: &User, is_online: bool, active: bool) -> Value {
    json!({ "userId": user.id, "isOnline": is_online, "active": active, "lastSeenAt": "[time]" })
}

/// Returns the next presence push, without its time.
async fn next_presence(client: &mut Client) -> Value {
    steady(client.expect_push("onlineInfo").await["item"].take())
}

fn contents(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("rows: {page}"));
    rows.iter().map(|row| row["content"].as_str().expect("a content")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_events_of_the_documentation_work() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, cleo) = (server.create_user("Bob").await, server.create_user("Cleo").await);
    let (_, mut outsider) = server.connect_user("Eve").await;
    outsider.subscribe(&["all"]).await;
    ann_client.subscribe(&["typing", "presence"]).await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    // Ann and Bob have opened their dialog, and Bob's coming has been pushed.
    ann_client.call_ok("openConversation", to_bob.clone()).await;
    let mut bob_client = server.connect(&bob).await;
    bob_client.subscribe(&["receipts"]).await;
    assert_eq!(next_presence(&mut ann_client).await, info(&bob, true, true));

    // 1. notify typing
    let typing = |is_typing: bool| json!({ "receiverId": ann.id, "isTyping": is_typing });
    bob_client.call_ok("typing", typing(true)).await;
    let seen = ann_client.expect_push("typing").await;
    assert_eq!(seen["item"], json!({ "receiverId": bob.id, "userId": bob.id, "isTyping": true }), "notify typing");
    bob_client.call_ok("typing", typing(false)).await;
    assert_eq!(ann_client.expect_push("typing").await["item"]["isTyping"], false, "notify typing");
    // 2. get online info, of a contact and not of strangers.
    let ask = json!({ "userIds": [bob.id, cleo.id] });
    let rows = ann_client.call_ok("getOnlineInfo", ask.clone()).await["data"].take();
    assert_eq!(steady(rows), json!([info(&bob, true, true)]), "get online info");
    assert_eq!(outsider.call_ok("getOnlineInfo", ask).await["data"], json!([]), "get online info: of no friend");
    // 3. notify online
    ann_client.call_ok("openConversation", json!({ "receiverId": cleo.id })).await;
    let mut cleo_client = server.connect(&cleo).await;
    assert_eq!(next_presence(&mut ann_client).await, info(&cleo, true, true), "notify online");
    // 4. init chat, from the list of contacts.
    cleo_client.call_ok("addContact", json!({ "userId": bob.id })).await;
    let friend = cleo_client.call_ok("listContacts", json!({})).await["data"][0]["id"].take();
    let begun = cleo_client.call_ok("openConversation", json!({ "receiverId": friend })).await;
    assert_eq!((&begun["item"]["receiverId"], &begun["data"]), (&json!(bob.id), &json!([])), "init chat");
    // 5. join room: one's own only.
    let joined = bob_client.call_ok("openConversation", to_ann.clone()).await;
    let members = joined["item"]["members"].as_array().expect("members");
    let members: Vec<_> = members.iter().map(|member| member["id"].clone()).collect();
    assert_eq!(members, [json!(ann.id), json!(bob.id)], "join room");
    let room = ann_client.new_group(&[bob.id]).await;
    bob_client.expect_push("addUserInGroup").await;
    let not_hers = json!({ "groupId": room });
    assert_eq!(outsider.call_refused("openConversation", not_hers).await, "not_a_member", "join room");
    // 6. leave room: typing and presence there are no longer pushed, and messages still are.
    ann_client.call_ok("closeConversation", to_bob.clone()).await;
    for is_typing in [true, false] {
        bob_client.call_ok("typing", typing(is_typing)).await;
        bob_client.discard_pushes().await;
    }
    assert_eq!(ann_client.drain_push_types().await, NOTHING, "leave room");
    // 7. send message
    for content in ["one", "it's two"] {
        bob_client.send_content(&to_ann, content).await;
        let push = ann_client.expect_push("privateMessage").await;
        assert_eq!((&push["message"], &push["senderName"]), (&json!(content), &json!("Bob")), "send message");
    }
    for client in [&mut outsider, &mut cleo_client] {
        assert_eq!(client.drain_push_types().await, NOTHING, "send message: to the room and not to every socket");
    }
    // 8. read messages: the other side gets the receipt if it subscribed to receipts.
    let mut bobs_other = server.connect(&bob).await;
    let mine = ann_client.call_ok("readMessages", to_bob.clone()).await;
    assert_eq!((&mine["item"]["seq"], &mine["item"]["unreadCount"]), (&json!(2), &json!(0)), "read messages");
    let receipt = steady(bob_client.expect_push("readMessages").await["item"].take());
    let expected = json!({ "receiverId": ann.id, "userId": ann.id, "seq": 2, "at": "[time]" });
    assert_eq!(receipt, expected, "read messages");
    for client in [&mut outsider, &mut cleo_client, &mut bobs_other] {
        assert_eq!(
            client.drain_push_types().await,
            NOTHING,
            "read messages: not to third users, nor without a subscription"
        );
    }
    // 9. get active chats
    let chats = ann_client.call_ok("listConversations", json!({ "filter": "dialogs" })).await["data"].take();
    assert_eq!(chats.as_array().map(Vec::len), Some(1), "get active chats: {chats}");
    let row = &chats[0];
    assert_eq!(
        (&row["receiverId"], &row["lastMessage"]["content"], &row["unreadCount"], &row["readSeq"]),
        (&json!(bob.id), &json!("it's two"), &json!(0), &json!(2)),
        "get active chats"
    );
    assert_eq!(outsider.call_ok("listConversations", json!({})).await["data"], json!([]), "get active chats");
    // 11. fetch messages. (That documentation has no item 10.)
    let messages = ann_client.call_ok("getlatestMessageDialog", to_bob.clone()).await;
    assert_eq!(contents(&messages), ["it's two", "one"], "fetch messages");
    for target in [&to_ann, &to_bob] {
        let others = outsider.call_ok("getlatestMessageDialog", target.clone()).await;
        assert_eq!(contents(&others), NOTHING, "fetch messages: not of other users");
    }
    assert_eq!(outsider.call_refused("getlatestMessageGroup", json!({ "groupId": room })).await, "not_a_member");

    // 12. active app, and 13. background app: the state is that of the user, and not of one of two devices.
    ann_client.call_ok("openConversation", to_bob).await;
    for client in [&mut bob_client, &mut bobs_other] {
        client.call_ok("setPresence", json!({ "active": false })).await;
    }
    assert_eq!(next_presence(&mut ann_client).await, info(&bob, true, false), "background app, on both");
    bob_client.call_ok("setPresence", json!({ "active": true })).await;
    assert_eq!(next_presence(&mut ann_client).await, info(&bob, true, true), "active app");
    bobs_other.call_ok("setPresence", json!({ "active": false })).await;
    bob_client.call_ok("setPresence", json!({ "active": false })).await;
    assert_eq!(
        next_presence(&mut ann_client).await,
        info(&bob, true, false),
        "background app, once and after the last one"
    );
    for client in [&mut outsider, &mut cleo_client] {
        assert_eq!(client.drain_push_types().await, NOTHING, "active app, background app: to friends alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_routes_sign_up_sign_in_and_find_users() {
    let server = TestServer::start().await;
    let bob = server.create_user("Bob").await;
    // 1. POST /user/
    let account =
        json!({ "email": "tyo@example.org", "username": "tyo", "password": "a good one", "firstName": "Tyo" });
    let tyo = answer(server.http("POST", "/api/v1/auth/sign-up").json(&account)).await.ok(201);
    assert_eq!((&tyo["username"], tyo.get("password")), (&json!("tyo"), None), "POST /user/");
    // 2. POST /user/signin, with what a front end shows first: the own user and the conversations.
    let wrong = json!({ "username": "tyo", "password": "a bad one" });
    answer(server.http("POST", "/api/v1/auth/login").json(&wrong)).await.refused(401, "unauthorized");
    let login = answer(server.http("POST", "/api/v1/auth/login").json(&account)).await.ok(200);
    assert_eq!((&login["id"], &login["firstName"]), (&tyo["id"], &json!("Tyo")), "POST /user/signin");
    let token = login["token"].as_str().expect("a token");
    let mut client = Client::connect(server.server.address(), token).await;
    client.send_content(&json!({ "receiverId": bob.id }), "halo").await;
    let chats = client.call_ok("listConversations", json!({})).await["data"].take();
    assert_eq!(chats[0]["receiverName"], "Bob", "POST /user/signin: its payload");
    // 3. GET /user/search?q=: other users, and so never the user who searches.
    let search = async |token: &str, query: &str| {
        server.as_user(token, "GET", &format!("/api/v1/users?q={query}"), Value::Null).await.ok(200)["data"].take()
    };
    assert_eq!(search(&bob.token, "ty").await[0]["id"], tyo["id"], "GET /user/search");
    assert_eq!(search(token, "ty").await, json!([]), "GET /user/search");
    assert_eq!(search(&bob.token, "%25").await, json!([]), "GET /user/search: what is looked for is text");
    answer(server.http("GET", "/api/v1/users?q=ty")).await.refused(401, "unauthorized");
    // 4. GET /user/:userId
    let path = format!("/api/v1/users/{}", tyo["id"]);
    let shown = json!({ "id": tyo["id"], "username": "tyo", "firstName": "Tyo", "lastName": null });
    let seen = server.as_user(&bob.token, "GET", &path, Value::Null).await.ok(200);
    assert_eq!(seen, shown, "GET /user/:userId: the address is its owner's");
    let own = server.as_user(token, "GET", &path, Value::Null).await.ok(200);
    assert_eq!(own["email"], "tyo@example.org", "GET /user/:userId");
    server.as_user(token, "GET", "/api/v1/users/404", Value::Null).await.refused(404, "not_found");
    answer(server.http("GET", &path)).await.refused(401, "unauthorized");
}
