//! `removeConversation`, `markSpam`, and what else one wants of a conversation for oneself alone.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, steady};

const NOTHING: [&str; 0] = [];

fn contents(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("rows: {page}"));
    rows.iter().map(|row| row["content"].as_str().expect("a content")).collect()
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
    let old = bob_client.done("getlatestMessageDialog", to_ann.clone()).await["data"][0]["messageId"].take();
    bob_client.forget().await;
    let history = async |client: &mut Client, target: &Value| {
        let kind = if target["groupId"].is_null() { "getlatestMessageDialog" } else { "getlatestMessageGroup" };
        let page = client.done(kind, target.clone()).await;
        contents(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };

    for (target, others) in [(&to_bob, &to_ann), (&to_group, &to_group)] {
        let reply = ann_client.done("removeConversation", target.clone()).await;
        let mut removed = target.clone();
        removed["clearedSeq"] = json!(1);
        assert_eq!(reply, json!({ "data": null, "message": null, "senderName": null, "item": removed }));
        assert_eq!(anns_other.pushed("removeConversation").await["item"], removed);
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
    // What becomes of a message that is gone for somebody is not told to them.
    anns_other.subscribe(&["own", "messages"]).await;
    bob_client.done("reactToMessage", json!({ "messageId": old, "reaction": "👍" })).await;
    bob_client.done("editMessage", json!({ "messageId": old, "content": "old" })).await;
    assert_eq!(anns_other.kinds_told().await, NOTHING);

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
