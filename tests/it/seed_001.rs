//! Seed 001, a private chat in rooms of two: each item of its document in its order, through the
//! frames and routes that stand for it here.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, User, answer, steady};

const NOTHING: [&str; 0] = [];

fn info(user: &User, is_online: bool, active: bool) -> Value {
    json!({ "userId": user.id, "isOnline": is_online, "active": active, "lastSeenAt": "[time]" })
}

/// The next news of somebody's presence, without its moment.
async fn news(client: &mut Client) -> Value {
    steady(client.pushed("onlineInfo").await["item"].take())
}

fn contents(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("rows: {page}"));
    rows.iter().map(|row| row["content"].as_str().expect("a content")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_socket_does_all_thirteen_things() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, cleo) = (server.user("Bob").await, server.user("Cleo").await);
    let (_, mut outsider) = server.client("Eve").await;
    outsider.subscribe(&["all"]).await;
    ann_client.subscribe(&["typing", "presence"]).await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    // Ann and Bob are in their room, and Bob's coming has been told.
    ann_client.done("openConversation", to_bob.clone()).await;
    let mut bob_client = server.connect(&bob).await;
    bob_client.subscribe(&["receipts"]).await;
    assert_eq!(news(&mut ann_client).await, info(&bob, true, true));

    // 1. notify typing
    let typing = |is_typing: bool| json!({ "receiverId": ann.id, "isTyping": is_typing });
    bob_client.done("typing", typing(true)).await;
    let seen = ann_client.pushed("typing").await;
    assert_eq!(seen["item"], json!({ "receiverId": bob.id, "userId": bob.id, "isTyping": true }), "notify typing");
    bob_client.done("typing", typing(false)).await;
    assert_eq!(ann_client.pushed("typing").await["item"]["isTyping"], false, "notify typing");
    // 2. get online info, of a friend and not of strangers.
    let ask = json!({ "userIds": [bob.id, cleo.id] });
    let rows = ann_client.done("getOnlineInfo", ask.clone()).await["data"].take();
    assert_eq!(steady(rows), json!([info(&bob, true, true)]), "get online info");
    assert_eq!(outsider.done("getOnlineInfo", ask).await["data"], json!([]), "get online info: of no friend");
    // 3. notify online
    ann_client.done("openConversation", json!({ "receiverId": cleo.id })).await;
    let mut cleo_client = server.connect(&cleo).await;
    assert_eq!(news(&mut ann_client).await, info(&cleo, true, true), "notify online");
    // 4. init chat, from the list of friends.
    cleo_client.done("addContact", json!({ "userId": bob.id })).await;
    let friend = cleo_client.done("listContacts", json!({})).await["data"][0]["id"].take();
    let begun = cleo_client.done("openConversation", json!({ "receiverId": friend })).await;
    assert_eq!((&begun["item"]["receiverId"], &begun["data"]), (&json!(bob.id), &json!([])), "init chat");
    // 5. join room: one's own alone.
    let joined = bob_client.done("openConversation", to_ann.clone()).await;
    let members = joined["item"]["members"].as_array().expect("members");
    let members: Vec<_> = members.iter().map(|member| member["id"].clone()).collect();
    assert_eq!(members, [json!(ann.id), json!(bob.id)], "join room");
    let room = ann_client.new_group(&[bob.id]).await;
    bob_client.pushed("addUserInGroup").await;
    let not_hers = json!({ "groupId": room });
    assert_eq!(outsider.refused("openConversation", not_hers).await, "not_a_member", "join room");
    // 6. leave room: what goes on in it is not seen any more, and messages are not lost.
    ann_client.done("closeConversation", to_bob.clone()).await;
    for is_typing in [true, false] {
        bob_client.done("typing", typing(is_typing)).await;
        bob_client.forget().await;
    }
    assert_eq!(ann_client.kinds_told().await, NOTHING, "leave room");
    // 7. send message
    for content in ["one", "it's two"] {
        bob_client.say(&to_ann, content).await;
        let push = ann_client.pushed("privateMessage").await;
        assert_eq!((&push["message"], &push["senderName"]), (&json!(content), &json!("Bob")), "send message");
    }
    for client in [&mut outsider, &mut cleo_client] {
        assert_eq!(client.kinds_told().await, NOTHING, "send message: to the room and not to everybody");
    }
    // 8. read messages: the friend gets the receipt, who asked for receipts.
    let mut bobs_other = server.connect(&bob).await;
    let mine = ann_client.done("readMessages", to_bob.clone()).await;
    assert_eq!((&mine["item"]["seq"], &mine["item"]["unreadCount"]), (&json!(2), &json!(0)), "read messages");
    let receipt = steady(bob_client.pushed("readMessages").await["item"].take());
    let expected = json!({ "receiverId": ann.id, "userId": ann.id, "seq": 2, "at": "[time]" });
    assert_eq!(receipt, expected, "read messages");
    for client in [&mut outsider, &mut cleo_client, &mut bobs_other] {
        assert_eq!(client.kinds_told().await, NOTHING, "read messages: nobody's business, or not asked for");
    }
    // 9. get active chats
    let chats = ann_client.done("listConversations", json!({ "filter": "dialogs" })).await["data"].take();
    assert_eq!(chats.as_array().map(Vec::len), Some(1), "get active chats: {chats}");
    let row = &chats[0];
    assert_eq!(
        (&row["receiverId"], &row["lastMessage"]["content"], &row["unreadCount"], &row["readSeq"]),
        (&json!(bob.id), &json!("it's two"), &json!(0), &json!(2)),
        "get active chats"
    );
    assert_eq!(outsider.done("listConversations", json!({})).await["data"], json!([]), "get active chats");
    // 11. fetch messages. (Its document has no 10.)
    let messages = ann_client.done("getlatestMessageDialog", to_bob.clone()).await;
    assert_eq!(contents(&messages), ["it's two", "one"], "fetch messages");
    for target in [&to_ann, &to_bob] {
        let others = outsider.done("getlatestMessageDialog", target.clone()).await;
        assert_eq!(contents(&others), NOTHING, "fetch messages: not of other people");
    }
    assert_eq!(outsider.refused("getlatestMessageGroup", json!({ "groupId": room })).await, "not_a_member");

    // 12. active app, and 13. background app: the app, and not one of its two devices.
    ann_client.done("openConversation", to_bob).await;
    for client in [&mut bob_client, &mut bobs_other] {
        client.done("setPresence", json!({ "active": false })).await;
    }
    assert_eq!(news(&mut ann_client).await, info(&bob, true, false), "background app, on both");
    bob_client.done("setPresence", json!({ "active": true })).await;
    assert_eq!(news(&mut ann_client).await, info(&bob, true, true), "active app");
    bobs_other.done("setPresence", json!({ "active": false })).await;
    bob_client.done("setPresence", json!({ "active": false })).await;
    assert_eq!(news(&mut ann_client).await, info(&bob, true, false), "background app, once and after the last one");
    for client in [&mut outsider, &mut cleo_client] {
        assert_eq!(client.kinds_told().await, NOTHING, "active app, background app: to friends alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_rest_signs_up_signs_in_and_finds_people() {
    let server = TestServer::start().await;
    let bob = server.user("Bob").await;
    // 1. POST /user/
    let account =
        json!({ "email": "tyo@example.org", "username": "tyo", "password": "a good one", "firstName": "Tyo" });
    let tyo = answer(server.http("POST", "/api/v1/auth/sign-up").json(&account)).await.ok(201);
    assert_eq!((&tyo["username"], tyo.get("password")), (&json!("tyo"), None), "POST /user/");
    // 2. POST /user/signin, with what a front end shows first: who I am, and my conversations.
    let wrong = json!({ "username": "tyo", "password": "a bad one" });
    answer(server.http("POST", "/api/v1/auth/login").json(&wrong)).await.refused(401, "unauthorized");
    let login = answer(server.http("POST", "/api/v1/auth/login").json(&account)).await.ok(200);
    assert_eq!((&login["id"], &login["firstName"]), (&tyo["id"], &json!("Tyo")), "POST /user/signin");
    let token = login["token"].as_str().expect("a token");
    let mut client = Client::connect(server.server.address(), token).await;
    client.say(&json!({ "receiverId": bob.id }), "halo").await;
    let chats = client.done("listConversations", json!({})).await["data"].take();
    assert_eq!(chats[0]["receiverName"], "Bob", "POST /user/signin: its payload");
    // 3. GET /user/search?q=: new friends, and so never myself.
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
