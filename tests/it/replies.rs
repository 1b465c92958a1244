//! `replyMessage`: a send into the conversation of another message.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, steady};

async fn newest(client: &mut Client, target: &Value) -> Value {
    client.done("getConversation", target.clone()).await["item"]["lastMessage"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_goes_to_the_other_side_with_what_it_replies_to() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let question = ann_client.say(&json!({ "receiverId": bob.id }), "Tea?").await;
    bob_client.pushed("privateMessage").await;
    let params = json!({ "messageId": question, "content": "Yes!", "clientMessageId": "r1" });
    let reply = bob_client.done("replyMessage", params.clone()).await;
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
    let pushed = ann_client.pushed("privateMessage").await;
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
    let history = ann_client.done("getlatestMessageDialog", json!({ "receiverId": bob.id })).await;
    assert_eq!(history["data"][0]["replyTo"], pushed["item"]["replyTo"]);
    assert_eq!(history["data"][1]["replyTo"], Value::Null);

    // A repeat is one message; to one's own message, too.
    let again = bob_client.done("replyMessage", params).await;
    assert_eq!((&again["item"]["messageId"], &again["item"]["duplicate"]), (&receipt["messageId"], &json!(true)));
    bob_client.done("replyMessage", json!({ "messageId": 2, "content": "With milk." })).await;
    assert_eq!(ann_client.pushed("privateMessage").await["item"]["replyTo"]["content"], "Yes!");
    // What it replies to is shown as it is now.
    ann_client.done("editMessage", json!({ "messageId": question, "content": "Coffee?" })).await;
    bob_client.done("deleteMessage", json!({ "messageId": 2 })).await;
    let history = ann_client.done("getlatestMessageDialog", json!({ "receiverId": bob.id })).await;
    assert_eq!(history["data"][0]["replyTo"]["content"], "");
    assert_eq!(history["data"][1]["replyTo"]["content"], "Coffee?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_in_a_group_goes_to_its_members() {
    let server = TestServer::start().await;
    let (_, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    let (_, mut stranger) = server.client("Dan").await;
    let group = ann_client.new_group(&[bob.id, cleo.id]).await;
    let first = ann_client.say(&json!({ "groupId": group }), "Who reads?").await;
    bob_client.done("replyMessage", json!({ "messageId": first, "content": "I do." })).await;
    let pushed = ann_client.pushed("messageInGroup").await;
    assert_eq!((&pushed["message"], &pushed["item"]["groupId"]), (&json!("I do."), &json!(group)));
    assert_eq!(pushed["item"]["replyTo"]["content"], "Who reads?");
    for _ in 0..2 {
        cleo_client.pushed("addUserInGroup").await;
    }
    cleo_client.pushed("messageInGroup").await;
    assert_eq!(cleo_client.pushed("messageInGroup").await["item"]["replyTo"]["messageId"], first);

    let params = json!({ "messageId": first, "content": "Me too.", "clientMessageId": "c" });
    cleo_client.done("replyMessage", params.clone()).await;
    assert_eq!(stranger.refused("replyMessage", params.clone()).await, "not_a_member");
    cleo_client.done("leaveGroup", json!({ "groupId": group })).await;
    let fresh = json!({ "messageId": first, "content": "And now?" });
    assert_eq!(cleo_client.refused("replyMessage", fresh).await, "not_a_member");
    // What was sent before is still known.
    assert_eq!(cleo_client.done("replyMessage", params).await["item"]["duplicate"], true);
    assert_eq!(stranger.kinds_told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_i_may_not_read_i_cannot_reply_to() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (_, mut stranger) = server.client("Cleo").await;
    let (to_ann, to_bob) = (json!({ "receiverId": ann.id }), json!({ "receiverId": bob.id }));
    let old = ann_client.say(&to_bob, "old").await;
    let reply = |message: i64| json!({ "messageId": message, "content": "x" });
    assert_eq!(stranger.refused("replyMessage", reply(old)).await, "not_found");
    assert_eq!(stranger.refused("replyMessage", reply(99)).await, "not_found");

    let sent = json!({ "messageId": old, "content": "sent", "clientMessageId": "s" });
    bob_client.done("replyMessage", sent.clone()).await;
    bob_client.done("removeConversation", to_ann.clone()).await;
    assert_eq!(bob_client.refused("replyMessage", reply(old)).await, "not_found", "cleared");
    assert_eq!(bob_client.done("replyMessage", sent).await["item"]["duplicate"], true);
    ann_client.done("replyMessage", reply(old)).await;
    ann_client.done("deleteMessage", json!({ "messageId": old })).await;
    assert_eq!(ann_client.refused("replyMessage", reply(old)).await, "not_found", "deleted");

    let last = bob_client.say(&to_ann, "last").await;
    server.block(&bob, &ann).await;
    assert_eq!(ann_client.refused("replyMessage", reply(last)).await, "blocked");
    bob_client.done("replyMessage", reply(last)).await;

    for params in [
        json!({ "messageId": last }),
        json!({ "content": "x" }),
        json!({ "messageId": 0, "content": "x" }),
        json!({ "messageId": "1", "content": "x" }),
        json!({ "messageId": last, "content": "" }),
        json!({ "messageId": last, "content": "x".repeat(16_385) }),
        json!({ "messageId": last, "content": "x", "clientMessageId": "" }),
    ] {
        assert_eq!(bob_client.refused("replyMessage", params).await, "bad_params");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_can_be_replied_to() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let mut there = server.connect(&ann).await;
    there.subscribe(&["own"]).await;
    let note = client.say(&json!({ "receiverId": ann.id }), "milk").await;
    client.done("replyMessage", json!({ "messageId": note, "content": "bought" })).await;
    there.pushed("privateMessage").await;
    assert_eq!(there.pushed("privateMessage").await["item"]["replyTo"]["content"], "milk");
}
