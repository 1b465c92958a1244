//! `removeConversation` and `markSpam`: a user's own settings of a conversation.

use serde_json::{Value, json};

use crate::support::{Client, TestServer};

const NOTHING: [&str; 0] = [];

fn contents(page: &Value) -> Vec<&str> {
    let rows = page["data"].as_array().unwrap_or_else(|| panic!("rows: {page}"));
    rows.iter().map(|row| row["content"].as_str().expect("a content")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_conversation_hides_it_for_the_user_alone_until_the_next_message() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let mut anns_other = server.connect(&ann).await;
    anns_other.subscribe(&["own"]).await;
    bob_client.subscribe(&["all"]).await;
    let group = bob_client.new_group(&[ann.id]).await;
    let (to_bob, to_ann) = (json!({ "receiverId": bob.id }), json!({ "receiverId": ann.id }));
    let to_group = json!({ "groupId": group });
    bob_client.send_content(&to_ann, "old").await;
    bob_client.send_content(&to_group, "old").await;
    for client in [&mut ann_client, &mut anns_other] {
        client.expect_push("addUserInGroup").await;
        client.expect_push("privateMessage").await;
        client.expect_push("messageInGroup").await;
    }
    let old = bob_client.call_ok("getlatestMessageDialog", to_ann.clone()).await["data"][0]["messageId"].take();
    bob_client.discard_pushes().await;
    let history = async |client: &mut Client, target: &Value| {
        let kind = if target["groupId"].is_null() { "getlatestMessageDialog" } else { "getlatestMessageGroup" };
        let page = client.call_ok(kind, target.clone()).await;
        contents(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };

    for (target, others) in [(&to_bob, &to_ann), (&to_group, &to_group)] {
        let reply = ann_client.call_ok("removeConversation", target.clone()).await;
        let mut removed = target.clone();
        removed["clearedSeq"] = json!(1);
        assert_eq!(reply, json!({ "data": null, "message": null, "senderName": null, "item": removed }));
        assert_eq!(anns_other.expect_push("removeConversation").await["item"], removed);
        assert_eq!(history(&mut ann_client, target).await, NOTHING);
        assert_eq!(history(&mut bob_client, others).await, ["old"]);
        let item = ann_client.call_ok("getConversation", target.clone()).await["item"].take();
        assert_eq!(
            (&item["unreadCount"], &item["lastMessage"], &item["messageCount"]),
            (&json!(0), &Value::Null, &json!(0))
        );
        // Opening the conversation does not bring it back.
        assert_eq!(contents(&ann_client.call_ok("openConversation", target.clone()).await), NOTHING);
    }
    for kind in ["listConversations", "listLastMessage"] {
        assert_eq!(ann_client.call_ok(kind, json!({})).await["data"], json!([]), "{kind}");
        assert_eq!(bob_client.call_ok(kind, json!({})).await["data"].as_array().map(Vec::len), Some(2), "{kind}");
    }
    assert_eq!(bob_client.drain_push_types().await, NOTHING);
    // Changes of a message that is cleared for a user are not pushed to them.
    anns_other.subscribe(&["own", "messages"]).await;
    bob_client.call_ok("reactToMessage", json!({ "messageId": old, "reaction": "👍" })).await;
    bob_client.call_ok("editMessage", json!({ "messageId": old, "content": "old" })).await;
    assert_eq!(anns_other.drain_push_types().await, NOTHING);

    bob_client.send_content(&to_ann, "new").await;
    bob_client.send_content(&to_group, "new").await;
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
        let rows = ann_client.call_ok(kind, json!({})).await["data"].take();
        let unread: Vec<_> = rows.as_array().expect("rows").iter().map(|row| row["unreadCount"].clone()).collect();
        assert_eq!(unread, [json!(1), json!(1)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn remove_conversation_hides_a_group_without_messages_until_the_next_one() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (_, mut bob_client) = server.connect_user("Bob").await;
    let group = bob_client.new_group(&[ann.id]).await;
    let rows = async |client: &mut Client| {
        client.call_ok("listConversations", json!({})).await["data"].as_array().expect("rows").len()
    };
    assert_eq!(rows(&mut ann_client).await, 1);
    ann_client.call_ok("removeConversation", json!({ "groupId": group })).await;
    assert_eq!((rows(&mut ann_client).await, rows(&mut bob_client).await), (0, 1));
    bob_client.send_content(&json!({ "groupId": group }), "Hi").await;
    assert_eq!(rows(&mut ann_client).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mark_spam_hides_the_conversation_from_lists_and_notifies_nobody() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (mut silent, mut there) = (server.connect(&ann).await, server.connect(&ann).await);
    ann_client.subscribe(&["notifications"]).await;
    there.subscribe(&["own"]).await;
    bob_client.subscribe(&["all"]).await;
    let to_bob = json!({ "receiverId": bob.id });
    bob_client.send_content(&json!({ "receiverId": ann.id }), "Buy!").await;
    assert_eq!(ann_client.expect_push("privateMessage").await["message"], "Buy!");
    ann_client.expect_push("notification").await;
    for client in [&mut silent, &mut there] {
        client.expect_push("privateMessage").await;
    }

    let spam = json!({ "receiverId": bob.id, "spam": true });
    for _ in 0..2 {
        assert_eq!(ann_client.call_ok("markSpam", spam.clone()).await["item"], spam);
    }
    assert_eq!(there.expect_push("markSpam").await["item"], spam);
    assert_eq!(there.drain_push_types().await, NOTHING, "a second time pushes nothing");
    for kind in ["listConversations", "listLastMessage"] {
        assert_eq!(ann_client.call_ok(kind, json!({})).await["data"], json!([]), "{kind}");
        assert_eq!(bob_client.call_ok(kind, json!({})).await["data"].as_array().map(Vec::len), Some(1), "{kind}");
    }
    assert_eq!(ann_client.call_ok("getConversation", to_bob.clone()).await["item"]["spam"], true);

    // Messages of a spam conversation still arrive, without a notification, on existing sockets and on new
    // ones.
    let mut late = server.connect(&ann).await;
    late.subscribe(&["notifications"]).await;
    bob_client.send_content(&json!({ "receiverId": ann.id }), "Buy now!").await;
    for client in [&mut ann_client, &mut late] {
        client.expect_push("privateMessage").await;
        assert_eq!(client.drain_push_types().await, NOTHING);
    }
    let rows = ann_client.call_ok("listConversations", json!({ "filter": "spam" })).await["data"].take();
    assert_eq!((&rows[0]["spam"], &rows[0]["lastMessage"]["content"]), (&json!(true), &json!("Buy now!")));

    ann_client.call_ok("markSpam", json!({ "receiverId": bob.id, "spam": false })).await;
    bob_client.send_content(&json!({ "receiverId": ann.id }), "Sorry.").await;
    for client in [&mut ann_client, &mut late] {
        client.expect_push("privateMessage").await;
        client.expect_push("notification").await;
    }
    assert_eq!(ann_client.call_ok("listConversations", json!({})).await["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(silent.drain_push_types().await, ["privateMessage"; 2]);
    bob_client.call_ok("getConversation", json!({ "receiverId": ann.id })).await;
    let received = bob_client.drain_push_types().await;
    assert!(received.iter().all(|kind| kind == "onlineInfo"), "nothing of it is pushed to Bob: {received:?}");
}
