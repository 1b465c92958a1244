//! `replyMessage`: a send into the conversation of another message.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, steady};

async fn newest(client: &mut Client, target: &Value) -> Value {
    client.call_ok("getConversation", target.clone()).await["item"]["lastMessage"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_message_is_pushed_with_the_message_it_replies_to() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let question = ann_client.send_content(&json!({ "receiverId": bob.id }), "Tea?").await;
    bob_client.expect_push("privateMessage").await;
    let params = json!({ "messageId": question, "content": "Yes!", "clientMessageId": "r1" });
    let reply = bob_client.call_ok("replyMessage", params.clone()).await;
    let receipt = reply["item"].clone();
    assert_eq!(
        steady(reply),
        json!({
            "data": null,
            "message": null,
            "senderName": null,
            "item": { "messageId": 2, "seq": 2, "createdAt": "[time]", "clientMessageId": "r1", "duplicate": false },
        })
    );
    let pushed = ann_client.expect_push("privateMessage").await;
    assert_eq!(
        steady(pushed.clone()),
        json!({
            "data": null,
            "message": "Yes!",
            "senderName": "Bob",
            "item": {
                "messageId": 2,
                "seq": 2,
                "senderId": bob.id,
                "senderName": "Bob",
                "receiverId": ann.id,
                "receiverName": "Ann",
                "groupId": null,
                "groupName": null,
                "content": "Yes!",
                "replyTo": { "messageId": question, "senderId": ann.id, "senderName": "Ann", "content": "Tea?" },
                "reactions": [],
                "createdAt": "[time]",
                "updatedAt": "[time]",
                "deletedAt": null,
                "clientMessageId": "r1",
            },
        })
    );
    assert_eq!(newest(&mut ann_client, &json!({ "receiverId": bob.id })).await, pushed["item"]);
    let history = ann_client.call_ok("getlatestMessageDialog", json!({ "receiverId": bob.id })).await;
    assert_eq!(history["data"][0]["replyTo"], pushed["item"]["replyTo"]);
    assert_eq!(history["data"][1]["replyTo"], Value::Null);

    // A repeat is one message; a reply to one's own message is possible, too.
    let again = bob_client.call_ok("replyMessage", params).await;
    assert_eq!((&again["item"]["messageId"], &again["item"]["duplicate"]), (&receipt["messageId"], &json!(true)));
    bob_client.call_ok("replyMessage", json!({ "messageId": 2, "content": "With milk." })).await;
    assert_eq!(ann_client.expect_push("privateMessage").await["item"]["replyTo"]["content"], "Yes!");
    // The quoted message is shown as it is now.
    ann_client.call_ok("editMessage", json!({ "messageId": question, "content": "Coffee?" })).await;
    bob_client.call_ok("deleteMessage", json!({ "messageId": 2 })).await;
    let history = ann_client.call_ok("getlatestMessageDialog", json!({ "receiverId": bob.id })).await;
    assert_eq!(history["data"][0]["replyTo"]["content"], "");
    assert_eq!(history["data"][1]["replyTo"]["content"], "Coffee?");
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_message_in_a_group_is_pushed_to_its_members() {
    let server = TestServer::start().await;
    let (_, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let (_, mut stranger) = server.connect_user("Dan").await;
    let group = ann_client.new_group(&[bob.id, cleo.id]).await;
    let first = ann_client.send_content(&json!({ "groupId": group }), "Who reads?").await;
    bob_client.call_ok("replyMessage", json!({ "messageId": first, "content": "I do." })).await;
    let pushed = ann_client.expect_push("messageInGroup").await;
    assert_eq!((&pushed["message"], &pushed["item"]["groupId"]), (&json!("I do."), &json!(group)));
    assert_eq!(pushed["item"]["replyTo"]["content"], "Who reads?");
    for _ in 0..2 {
        cleo_client.expect_push("addUserInGroup").await;
    }
    cleo_client.expect_push("messageInGroup").await;
    assert_eq!(cleo_client.expect_push("messageInGroup").await["item"]["replyTo"]["messageId"], first);

    let params = json!({ "messageId": first, "content": "Me too.", "clientMessageId": "c" });
    cleo_client.call_ok("replyMessage", params.clone()).await;
    assert_eq!(stranger.call_refused("replyMessage", params.clone()).await, "not_a_member");
    cleo_client.call_ok("leaveGroup", json!({ "groupId": group })).await;
    let fresh = json!({ "messageId": first, "content": "And now?" });
    assert_eq!(cleo_client.call_refused("replyMessage", fresh).await, "not_a_member");
    // An earlier send is still known.
    assert_eq!(cleo_client.call_ok("replyMessage", params).await["item"]["duplicate"], true);
    assert_eq!(stranger.drain_push_types().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_message_to_an_unreadable_message_is_refused() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (_, mut stranger) = server.connect_user("Cleo").await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let old = ann_client.send_content(&to_bob, "old").await;
    let reply = |message: i64| json!({ "messageId": message, "content": "x" });
    assert_eq!(stranger.call_refused("replyMessage", reply(old)).await, "not_found");
    assert_eq!(stranger.call_refused("replyMessage", reply(99)).await, "not_found");

    let sent = json!({ "messageId": old, "content": "sent", "clientMessageId": "s" });
    bob_client.call_ok("replyMessage", sent.clone()).await;
    bob_client.call_ok("removeConversation", to_ann.clone()).await;
    assert_eq!(bob_client.call_refused("replyMessage", reply(old)).await, "not_found", "cleared");
    assert_eq!(bob_client.call_ok("replyMessage", sent).await["item"]["duplicate"], true);
    ann_client.call_ok("replyMessage", reply(old)).await;
    ann_client.call_ok("deleteMessage", json!({ "messageId": old })).await;
    assert_eq!(ann_client.call_refused("replyMessage", reply(old)).await, "not_found", "deleted");

    let last = bob_client.send_content(&to_ann, "last").await;
    server.block(&bob, &ann).await;
    assert_eq!(ann_client.call_refused("replyMessage", reply(last)).await, "blocked");
    bob_client.call_ok("replyMessage", reply(last)).await;

    for params in [
        json!({ "messageId": last }),
        json!({ "content": "x" }),
        json!({ "messageId": 0, "content": "x" }),
        json!({ "messageId": "1", "content": "x" }),
        json!({ "messageId": last, "content": "" }),
        json!({ "messageId": last, "content": "x".repeat(16_385) }),
        json!({ "messageId": last, "content": "x", "clientMessageId": "" }),
    ] {
        assert_eq!(bob_client.call_refused("replyMessage", params).await, "bad_params");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_message_works_in_notes() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let mut there = server.connect(&ann).await;
    there.subscribe(&["own"]).await;
    let note = client.send_content(&json!({ "receiverId": ann.id }), "milk").await;
    client.call_ok("replyMessage", json!({ "messageId": note, "content": "bought" })).await;
    there.expect_push("privateMessage").await;
    assert_eq!(there.expect_push("privateMessage").await["item"]["replyTo"]["content"], "milk");
}
