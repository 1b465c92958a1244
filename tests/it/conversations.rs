//! `openConversation`, `closeConversation`, `getConversation`, `removeConversation`, `markSpam`.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Client, TestServer, steady};

const NOTHING: [&str; 0] = [];

fn contents(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("rows: {page}"));
    rows.iter().map(|row| row["content"].as_str().expect("a content")).collect()
}

async fn count(server: &TestServer, table: &str) -> i64 {
    let count = match table {
        "members" => "select count(*) from members",
        _ => "select count(*) from conversations",
    };
    sqlx::query_scalar(count).fetch_one(&mut server.sql().await).await.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_starts_a_dialog_and_tells_nobody() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    bob_client.subscribe(&["all"]).await;
    let opened = ann_client.done("openConversation", json!({ "receiverId": bob.id })).await;
    assert_eq!(
        steady(opened),
        json!({
            "data": [],
            "message": null,
            "senderName": null,
            "item": {
                "kind": "dialog",
                "receiverId": bob.id,
                "receiverName": "Bob",
                "groupId": null,
                "groupName": null,
                "lastSeq": 0,
                "readSeq": 0,
                "unreadCount": 0,
                "spam": false,
                "role": "member",
                "lastMessage": null,
                "members": [
                    { "id": ann.id, "name": "Ann", "isAdmin": false, "joinedAt": "[time]", "readSeq": 0, "deliveredSeq": 0 },
                    { "id": bob.id, "name": "Bob", "isAdmin": false, "joinedAt": "[time]", "readSeq": 0, "deliveredSeq": 0 },
                ],
                "admins": [],
                "memberCount": 2,
                "messageCount": 0,
            },
        })
    );
    assert_eq!(bob_client.kinds_told().await, NOTHING);
    // A dialog without a message is on no list.
    for client in [&mut ann_client, &mut bob_client] {
        assert_eq!(client.done("listConversations", json!({})).await["data"], json!([]));
        assert_eq!(client.done("listLastMessage", json!({})).await["data"], json!([]));
    }
    ann_client.say(&json!({ "receiverId": bob.id }), "Hi").await;
    bob_client.done("openConversation", json!({ "receiverId": ann.id })).await;
    assert_eq!((count(&server, "conversations").await, count(&server, "members").await), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_shows_the_newest_messages() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    for nth in 1..=25 {
        ann_client.say(&json!({ "receiverId": bob.id }), &format!("{nth}")).await;
    }
    let opened = bob_client.done("openConversation", json!({ "receiverId": ann.id, "limit": 2 })).await;
    assert_eq!(contents(&opened), ["25", "24"]);
    assert_eq!(opened["item"]["lastMessage"], opened["data"][0]);
    assert_eq!((&opened["item"]["unreadCount"], &opened["item"]["messageCount"]), (&json!(25), &json!(25)));
    assert_eq!(
        steady(opened["data"][0].clone()),
        json!({
            "messageId": 25,
            "seq": 25,
            "senderId": ann.id,
            "senderName": "Ann",
            "receiverId": bob.id,
            "receiverName": "Bob",
            "groupId": null,
            "groupName": null,
            "content": "25",
            "replyTo": null,
            "reactions": [],
            "createdAt": "[time]",
            "updatedAt": "[time]",
            "deletedAt": null,
            "clientMessageId": null,
        })
    );
    assert_eq!(contents(&bob_client.done("openConversation", json!({ "receiverId": ann.id })).await).len(), 20);
    // To look is not to read.
    assert_eq!(bob_client.done("getConversation", json!({ "receiverId": ann.id })).await["item"]["readSeq"], 0);
    for limit in [json!(0), json!(101), json!("2"), json!(-1)] {
        let params = json!({ "receiverId": ann.id, "limit": limit });
        assert_eq!(bob_client.refused("openConversation", params).await, "bad_params");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_and_two_sockets_start_one_dialog() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    for _ in 0..10 {
        let (ann, bob) = (server.user("Ann").await, server.user("Bob").await);
        let mut sockets = Vec::new();
        for node in [&server, &second] {
            sockets.push((node.connect(&ann).await, bob.id));
            sockets.push((node.connect(&bob).await, ann.id));
        }
        let before = (count(&server, "conversations").await, count(&server, "members").await);
        join_all(sockets.iter_mut().enumerate().map(async |(nth, (client, other))| {
            let target = json!({ "receiverId": *other });
            if nth == 3 {
                client.say(&target, "Hi").await;
            }
            client.done("openConversation", target).await;
        }))
        .await;
        assert_eq!(
            (count(&server, "conversations").await, count(&server, "members").await),
            (before.0 + 1, before.1 + 2)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_are_a_dialog_with_oneself() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let opened = client.done("openConversation", json!({ "receiverId": ann.id })).await;
    assert_eq!((&opened["item"]["receiverId"], &opened["item"]["memberCount"]), (&json!(ann.id), &json!(1)));
    client.say(&json!({ "receiverId": ann.id }), "milk").await;
    let opened = client.done("openConversation", json!({ "receiverId": ann.id })).await;
    assert_eq!(contents(&opened), ["milk"]);
    assert_eq!(opened["item"]["unreadCount"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_starts_no_dialog_but_opens_the_one_there_is() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let cleo = server.user("Cleo").await;
    bob_client.say(&json!({ "receiverId": ann.id }), "Hi").await;
    server.block(&bob, &ann).await;
    server.block(&cleo, &ann).await;
    assert_eq!(ann_client.refused("openConversation", json!({ "receiverId": cleo.id })).await, "blocked");
    assert_eq!(contents(&ann_client.done("openConversation", json!({ "receiverId": bob.id })).await), ["Hi"]);
    assert_eq!(count(&server, "conversations").await, 1);
    // Who blocks may open.
    let mut cleo_client = server.connect(&cleo).await;
    cleo_client.done("openConversation", json!({ "receiverId": ann.id })).await;
    ann_client.done("openConversation", json!({ "receiverId": cleo.id })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_of_nobody_and_of_others_are_refused() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let cleo = server.user("Cleo").await;
    let group = bob_client.new_group(&[cleo.id]).await;
    for kind in ["openConversation", "getConversation", "removeConversation", "markSpam"] {
        let with = |mut target: Value| {
            target["spam"] = json!(true);
            target
        };
        assert_eq!(client.refused(kind, with(json!({ "groupId": group }))).await, "not_a_member", "{kind}");
        assert_eq!(client.refused(kind, with(json!({ "groupId": 99 }))).await, "not_found", "{kind}");
        assert_eq!(client.refused(kind, with(json!({ "receiverId": 99 }))).await, "not_found", "{kind}");
        for target in [json!({}), json!({ "receiverId": bob.id, "groupId": group }), json!({ "receiverId": "Bob" })] {
            assert_eq!(client.refused(kind, with(target)).await, "bad_params", "{kind}");
        }
    }
    for kind in ["getConversation", "removeConversation", "markSpam"] {
        let refusal = client.call(kind, json!({ "receiverId": bob.id, "spam": true })).await;
        assert_eq!(refusal["code"], "not_found");
        assert_eq!(refusal["message"], "params.receiverId: there is no conversation with this user yet");
    }
    for params in [
        json!({ "groupId": group }),
        json!({ "groupId": group, "spam": "yes" }),
        json!({ "groupId": group, "spam": null }),
    ] {
        assert_eq!(bob_client.refused("markSpam", params).await, "bad_params");
    }
    assert_eq!(client.refused("closeConversation", json!({})).await, "bad_params");
    // What is not open is as closed as can be.
    client.done("closeConversation", json!({ "groupId": 99 })).await;
    assert_eq!(count(&server, "conversations").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shows_its_admins_and_its_first_hundred_members() {
    let server = TestServer::start().await;
    let users = server.users("U", 120).await;
    let ids: Vec<i64> = users.iter().map(|user| user.id).collect();
    let mut client = server.connect(&users[0]).await;
    let mut last = server.connect(&users[119]).await;
    let group = client.new_group(&ids[1..119]).await;
    client.done("addUserInGroup", json!({ "groupId": group, "userId": ids[119] })).await;
    client.say(&json!({ "groupId": group }), "Hi all").await;
    let item = last.done("getConversation", json!({ "groupId": group })).await["item"].take();
    assert_eq!(
        (&item["kind"], &item["groupId"], &item["groupName"]),
        (&json!("group"), &json!(group), &json!("Book club"))
    );
    assert_eq!(
        (&item["receiverId"], &item["receiverName"], &item["role"]),
        (&Value::Null, &Value::Null, &json!("member"))
    );
    assert_eq!((&item["admins"], &item["memberCount"]), (&json!([ids[0]]), &json!(120)));
    let members: Vec<_> =
        item["members"].as_array().expect("members").iter().map(|member| member["id"].clone()).collect();
    assert_eq!(json!(members), json!(ids[..100]), "the longest-standing of them");
    assert_eq!(item["members"][0]["isAdmin"], true);
    assert_eq!(item["lastMessage"]["content"], "Hi all");
    let item = client.done("getConversation", json!({ "groupId": group })).await["item"].take();
    assert_eq!(item["role"], "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_conversation_is_gone_for_me_alone_until_the_next_message() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let mut anns_other = server.connect(&ann).await;
    anns_other.subscribe(&["own"]).await;
    bob_client.subscribe(&["all"]).await;
    let group = bob_client.new_group(&[ann.id]).await;
    let (to_bob, to_ann) = (json!({ "receiverId": bob.id }), json!({ "receiverId": ann.id }));
    let to_group = json!({ "groupId": group });
    bob_client.say(&to_ann, "old").await;
    bob_client.say(&to_group, "old").await;
    for client in [&mut ann_client, &mut anns_other] {
        client.pushed("addUserInGroup").await;
        client.pushed("privateMessage").await;
        client.pushed("messageInGroup").await;
    }
    bob_client.forget().await;
    let history = async |client: &mut Client, target: &Value| {
        let kind = if target["groupId"].is_null() { "getlatestMessageDialog" } else { "getlatestMessageGroup" };
        let page = client.done(kind, target.clone()).await;
        contents(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };

    for (target, others) in [(&to_bob, &to_ann), (&to_group, &to_group)] {
        let reply = ann_client.done("removeConversation", target.clone()).await;
        assert_eq!(reply, json!({ "data": null, "message": null, "senderName": null, "item": target }));
        assert_eq!(anns_other.pushed("removeConversation").await["item"], *target);
        assert_eq!(history(&mut ann_client, target).await, NOTHING);
        assert_eq!(history(&mut bob_client, others).await, ["old"]);
        let item = ann_client.done("getConversation", target.clone()).await["item"].take();
        assert_eq!(
            (&item["unreadCount"], &item["lastMessage"], &item["messageCount"]),
            (&json!(0), &Value::Null, &json!(0))
        );
        // Opening it does not bring it back.
        assert_eq!(contents(&ann_client.done("openConversation", target.clone()).await), NOTHING);
    }
    for kind in ["listConversations", "listLastMessage"] {
        assert_eq!(ann_client.done(kind, json!({})).await["data"], json!([]), "{kind}");
        assert_eq!(bob_client.done(kind, json!({})).await["data"].as_array().map(Vec::len), Some(2), "{kind}");
    }
    assert_eq!(bob_client.kinds_told().await, NOTHING);

    bob_client.say(&to_ann, "new").await;
    bob_client.say(&to_group, "new").await;
    for (target, others) in [(&to_bob, &to_ann), (&to_group, &to_group)] {
        assert_eq!(history(&mut ann_client, target).await, ["new"]);
        assert_eq!(history(&mut bob_client, others).await, ["new", "old"]);
        let mut before = target.clone();
        before["before"] = json!(2);
        assert_eq!(history(&mut ann_client, &before).await, NOTHING);
        before = target.clone();
        (before["page"], before["limit"]) = (json!(2), json!(1));
        assert_eq!(history(&mut ann_client, &before).await, NOTHING);
    }
    for kind in ["listConversations", "listLastMessage"] {
        let rows = ann_client.done(kind, json!({})).await["data"].take();
        let unread: Vec<_> = rows.as_array().expect("rows").iter().map(|row| row["unreadCount"].clone()).collect();
        assert_eq!(unread, [json!(1), json!(1)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_messages_can_be_removed_and_comes_back() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (_, mut bob_client) = server.client("Bob").await;
    let group = bob_client.new_group(&[ann.id]).await;
    let rows = async |client: &mut Client| {
        client.done("listConversations", json!({})).await["data"].as_array().expect("rows").len()
    };
    assert_eq!(rows(&mut ann_client).await, 1);
    ann_client.done("removeConversation", json!({ "groupId": group })).await;
    assert_eq!((rows(&mut ann_client).await, rows(&mut bob_client).await), (0, 1));
    bob_client.say(&json!({ "groupId": group }), "Hi").await;
    assert_eq!(rows(&mut ann_client).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn spam_is_silent_and_for_me_alone() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (mut silent, mut there) = (server.connect(&ann).await, server.connect(&ann).await);
    ann_client.subscribe(&["notifications"]).await;
    there.subscribe(&["own"]).await;
    bob_client.subscribe(&["all"]).await;
    let to_bob = json!({ "receiverId": bob.id });
    bob_client.say(&json!({ "receiverId": ann.id }), "Buy!").await;
    assert_eq!(ann_client.pushed("privateMessage").await["message"], "Buy!");
    ann_client.pushed("notification").await;
    for client in [&mut silent, &mut there] {
        client.pushed("privateMessage").await;
    }

    let spam = json!({ "receiverId": bob.id, "spam": true });
    for _ in 0..2 {
        assert_eq!(ann_client.done("markSpam", spam.clone()).await["item"], spam);
    }
    assert_eq!(there.pushed("markSpam").await["item"], spam);
    assert_eq!(there.kinds_told().await, NOTHING, "the second time is no news");
    for kind in ["listConversations", "listLastMessage"] {
        assert_eq!(ann_client.done(kind, json!({})).await["data"], json!([]), "{kind}");
        assert_eq!(bob_client.done(kind, json!({})).await["data"].as_array().map(Vec::len), Some(1), "{kind}");
    }
    assert_eq!(ann_client.done("getConversation", to_bob.clone()).await["item"]["spam"], true);

    // It still arrives, without a notification, on sockets that were there and on new ones.
    let mut late = server.connect(&ann).await;
    late.subscribe(&["notifications"]).await;
    bob_client.say(&json!({ "receiverId": ann.id }), "Buy now!").await;
    for client in [&mut ann_client, &mut late] {
        client.pushed("privateMessage").await;
        assert_eq!(client.kinds_told().await, NOTHING);
    }
    let rows = ann_client.done("listConversations", json!({ "filter": "spam" })).await["data"].take();
    assert_eq!((&rows[0]["spam"], &rows[0]["lastMessage"]["content"]), (&json!(true), &json!("Buy now!")));

    ann_client.done("markSpam", json!({ "receiverId": bob.id, "spam": false })).await;
    bob_client.say(&json!({ "receiverId": ann.id }), "Sorry.").await;
    for client in [&mut ann_client, &mut late] {
        client.pushed("privateMessage").await;
        client.pushed("notification").await;
    }
    assert_eq!(ann_client.done("listConversations", json!({})).await["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(silent.kinds_told().await, ["privateMessage"; 2]);
    bob_client.done("getConversation", json!({ "receiverId": ann.id })).await;
    let told = bob_client.kinds_told().await;
    assert!(told.iter().all(|kind| kind == "onlineInfo"), "Bob is told nothing of it: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_for_who_does_not_have_it_open() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let mut there = server.connect(&ann).await;
    for client in [&mut ann_client, &mut there] {
        client.subscribe(&["notifications"]).await;
    }
    ann_client.done("openConversation", json!({ "receiverId": bob.id })).await;
    let message = bob_client.say(&json!({ "receiverId": ann.id }), "Hi").await;
    ann_client.pushed("privateMessage").await;
    there.pushed("privateMessage").await;
    assert_eq!(
        steady(there.pushed("notification").await["item"].take()),
        json!({
            "notificationId": null,
            "kind": "message",
            "userId": bob.id,
            "userName": "Bob",
            "data": { "receiverId": bob.id, "messageId": message, "seq": 1 },
            "createdAt": "[time]",
            "readAt": null,
        })
    );
    assert_eq!(ann_client.kinds_told().await, NOTHING);
    ann_client.done("closeConversation", json!({ "receiverId": bob.id })).await;
    bob_client.say(&json!({ "receiverId": ann.id }), "Hi?").await;
    ann_client.pushed("privateMessage").await;
    ann_client.pushed("notification").await;
    // What I say myself is no news to me.
    ann_client.say(&json!({ "receiverId": bob.id }), "Hello").await;
    bob_client.push().await;
    there.pushed("privateMessage").await;
    there.pushed("notification").await;
    assert_eq!(there.kinds_told().await, NOTHING);
}
