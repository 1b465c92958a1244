//! `privateMessage` and `messageInGroup`: the receipt of the sender and the pushes of the others.

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::support::{TestServer, User};

#[tokio::test(flavor = "multi_thread")]
async fn private_message_is_pushed_to_its_receiver_with_all_fields() {
    let server = TestServer::start().await;
    let (_, mut sender) = server.connect_user("Patrick0").await;
    let (receiver_user, mut receiver) = server.connect_user("Patrick1").await;

    let reply = sender
        .call("privateMessage", json!({ "receiverId": receiver_user.id, "content": "Hi", "clientMessageId": "a1" }))
        .await;
    assert_json_snapshot!(reply, { ".params.item.createdAt" => "[time]" }, @r#"
    {
      "id": 1,
      "params": {
        "data": null,
        "item": {
          "clientMessageId": "a1",
          "createdAt": "[time]",
          "duplicate": false,
          "messageId": 1,
          "seq": 1
        },
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "privateMessage"
    }
    "#);

    let push = receiver.wait_for_push().await;
    assert_eq!(push["params"]["item"]["createdAt"], reply["params"]["item"]["createdAt"]);
    assert_json_snapshot!(push, { ".params.item.createdAt" => "[time]", ".params.item.updatedAt" => "[time]" }, @r#"
    {
      "params": {
        "data": null,
        "item": {
          "clientMessageId": "a1",
          "content": "Hi",
          "createdAt": "[time]",
          "deletedAt": null,
          "groupId": null,
          "groupName": null,
          "messageId": 1,
          "reactions": [],
          "receiverId": 2,
          "receiverName": "Patrick1",
          "replyTo": null,
          "senderId": 1,
          "senderName": "Patrick0",
          "seq": 1,
          "updatedAt": "[time]"
        },
        "message": "Hi",
        "senderName": "Patrick0"
      },
      "success": true,
      "type": "privateMessage"
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn message_in_group_is_pushed_to_every_other_member() {
    let server = TestServer::start().await;
    let (_, mut admin) = server.connect_user("Ann").await;
    let (bob_user, mut bob) = server.connect_user("Bob").await;
    let group = admin.call("newGroup", json!({ "groupName": "Book club", "userIds": [bob_user.id] })).await;
    let group_id = &group["params"]["item"]["groupId"];
    bob.wait_for_push().await;

    let reply = admin.call("messageInGroup", json!({ "groupId": group_id, "content": "lol" })).await;
    assert_eq!(reply["params"]["item"]["seq"], 1, "{reply}");
    assert_eq!(reply["params"]["item"]["clientMessageId"], Value::Null);
    let push = bob.wait_for_push().await;
    assert_json_snapshot!(push, { ".params.item.createdAt" => "[time]", ".params.item.updatedAt" => "[time]" }, @r#"
    {
      "params": {
        "data": null,
        "item": {
          "clientMessageId": null,
          "content": "lol",
          "createdAt": "[time]",
          "deletedAt": null,
          "groupId": 1,
          "groupName": "Book club",
          "messageId": 1,
          "reactions": [],
          "receiverId": null,
          "receiverName": null,
          "replyTo": null,
          "senderId": 1,
          "senderName": "Ann",
          "seq": 1,
          "updatedAt": "[time]"
        },
        "message": "lol",
        "senderName": "Ann"
      },
      "success": true,
      "type": "messageInGroup"
    }
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_to_oneself_is_stored_and_pushed_to_nobody() {
    let server = TestServer::start().await;
    let (me, mut client) = server.connect_user("Me").await;
    let mut other_device = server.connect(&me).await;
    let reply = client.call("privateMessage", json!({ "receiverId": me.id, "content": "milk" })).await;
    assert_eq!(reply["params"]["item"]["seq"], 1, "{reply}");
    let history = client.call("getlatestMessageDialog", json!({ "receiverId": me.id })).await;
    assert_eq!(history["params"]["data"][0]["content"], "milk");
    assert_eq!(history["params"]["data"][0]["receiver_id"], me.id);
    let list = client.call("listLastMessage", json!({})).await;
    assert_eq!(list["params"]["data"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["params"]["data"][0]["unreadCount"], 0);
    other_device.call("listLastMessage", json!({})).await;
    assert!(client.take_buffered_pushes().is_empty() && other_device.take_buffered_pushes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_that_is_refused_does_not_affect_others_of_its_batch() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob_user, mut bob) = server.connect_user("Bob").await;
    let group = ann.call("newGroup", json!({ "groupName": "G" })).await["params"]["item"]["groupId"].clone();
    let dialog = bob.call("privateMessage", json!({ "receiverId": bob_user.id, "content": "note" })).await;
    assert_eq!(dialog["success"], true);

    // All are sent at once, so that they share batches.
    let requests = [
        ("privateMessage", json!({ "receiverId": bob_user.id, "content": "good" })),
        ("privateMessage", json!({ "receiverId": 9_999, "content": "x" })),
        ("messageInGroup", json!({ "groupId": group, "content": "x" })),
        ("messageInGroup", json!({ "groupId": 9_999, "content": "x" })),
        // This id is not a group's, though a conversation has it.
        ("messageInGroup", json!({ "groupId": 2, "content": "x" })),
        ("privateMessage", json!({ "receiverId": bob_user.id, "content": "good too" })),
    ];
    let mut ids = Vec::new();
    for (kind, params) in requests {
        ids.push(bob.send(kind, params).await);
    }
    let mut answers = Vec::new();
    for id in ids {
        let reply = bob.wait_for_reply_to(id).await;
        answers.push((reply["params"]["item"]["seq"].clone(), reply["code"].clone(), reply["message"].clone()));
    }
    assert_eq!(
        json!(answers),
        json!([
            [2, null, null],
            [null, "not_found", "params.receiverId: there is no such user"],
            [null, "not_a_member", "User is not a member of this group"],
            [null, "not_found", "params.groupId: there is no such group"],
            [null, "not_found", "params.groupId: there is no such group"],
            [3, null, null],
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_checks_its_params_and_names_the_field() {
    let server = TestServer::start_with(|config| config.limits.max_content_bytes = 10).await;
    let (_, mut client) = server.connect_user("A").await;
    let b = server.create_user("B").await;
    let cases = [
        (json!({ "content": "x" }), "params.receiverId is required"),
        (json!({ "receiverId": "2", "content": "x" }), "params.receiverId must be an integer from 1"),
        (json!({ "receiverId": 0, "content": "x" }), "params.receiverId must be an integer from 1"),
        (json!({ "receiverId": 1.5, "content": "x" }), "params.receiverId must be an integer from 1"),
        (
            json!({ "receiverId": 9_007_199_254_740_992_i64, "content": "x" }),
            "params.receiverId must be an integer from 1",
        ),
        (json!({ "receiverId": b.id }), "params.content is required"),
        (json!({ "receiverId": b.id, "content": null }), "params.content is required"),
        (json!({ "receiverId": b.id, "content": 7 }), "params.content must be a string"),
        (json!({ "receiverId": b.id, "content": "" }), "params.content must be 1 to 10 bytes"),
        (json!({ "receiverId": b.id, "content": "ééééé+" }), "params.content must be 1 to 10 bytes"),
        (json!({ "receiverId": b.id, "content": "a\0b" }), "params.content must not contain U+0000"),
        (
            json!({ "receiverId": b.id, "content": "x", "clientMessageId": "" }),
            "params.clientMessageId must be 1 to 64 characters",
        ),
        (
            json!({ "receiverId": b.id, "content": "x", "clientMessageId": "i".repeat(65) }),
            "params.clientMessageId must be 1 to 64 characters",
        ),
        (
            json!({ "receiverId": b.id, "content": "x", "clientMessageId": 7 }),
            "params.clientMessageId must be a string",
        ),
    ];
    for (params, sentence) in cases {
        let error = client.call("privateMessage", params).await;
        assert_eq!((&error["code"], &error["message"]), (&json!("bad_params"), &json!(sentence)));
    }
    let limits = json!({ "receiverId": b.id, "content": "ééééé", "clientMessageId": "💡".repeat(64) });
    assert_eq!(client.call("privateMessage", limits).await["success"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_keeps_every_character() {
    let server = TestServer::start().await;
    let (_, mut sender) = server.connect_user("O'Brien \"Bob\" 🙂").await;
    let (to, mut receiver) = server.connect_user("R").await;
    let texts = [
        "it's; drop table messages; --",
        "\"quotes\" 'and' \\backslashes\\ %like_ $1",
        "👩‍👩‍👧‍👦 é e\u{301} \u{200f}עברית 日本語",
        "  leading, trailing, \t tab, \n newline  ",
        "\u{1}\u{7f}\u{2028}\u{feff}",
        "{\"type\":\"privateMessage\"}",
    ];
    for text in texts {
        assert_eq!(
            sender.call("privateMessage", json!({ "receiverId": to.id, "content": text })).await["success"],
            true
        );
        let push = receiver.wait_for_push().await;
        assert_eq!(push["params"]["message"], text);
        assert_eq!(push["params"]["item"]["content"], text);
        assert_eq!(push["params"]["senderName"], "O'Brien \"Bob\" 🙂");
    }
    let history = receiver.call("getlatestMessageDialog", json!({ "receiverId": 1 })).await;
    let stored: Vec<_> =
        history["params"]["data"].as_array().expect("rows").iter().rev().map(|row| row["content"].clone()).collect();
    assert_eq!(json!(stored), json!(texts));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_of_the_largest_content_is_stored_and_pushed() {
    let server = TestServer::start().await;
    let (_, mut sender) = server.connect_user("A").await;
    let (to, mut receiver) = server.connect_user("B").await;
    let largest = "x".repeat(16_384);
    let sent = sender.call("privateMessage", json!({ "receiverId": to.id, "content": largest })).await;
    assert_eq!(sent["success"], true);
    assert_eq!(receiver.wait_for_push().await["params"]["message"], largest.as_str());
    let error = sender.call("privateMessage", json!({ "receiverId": to.id, "content": format!("{largest}x") })).await;
    assert_eq!(error["message"], "params.content must be 1 to 16384 bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_takes_its_sender_from_the_token() {
    let server = TestServer::start().await;
    let (a, mut sender) = server.connect_user("A").await;
    let (b, mut receiver) = server.connect_user("B").await;
    let forged = json!({ "receiverId": b.id, "content": "x", "senderId": 77, "senderName": "Somebody", "user": 77 });
    sender.call("privateMessage", forged).await;
    let push = receiver.wait_for_push().await;
    assert_eq!((&push["params"]["item"]["senderId"], &push["params"]["senderName"]), (&json!(a.id), &json!(a.name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_shows_the_current_name_of_its_sender() {
    let server = TestServer::start().await;
    let (a, mut sender): (User, _) = server.connect_user("Before").await;
    let (b, mut receiver) = server.connect_user("B").await;
    sender.call("privateMessage", json!({ "receiverId": b.id, "content": "one" })).await;
    assert_eq!(receiver.wait_for_push().await["params"]["senderName"], "Before");
    let renamed = reqwest::Client::new()
        .patch(server.url("/profile/update"))
        .bearer_auth(&a.token)
        .body(r#"{"firstName":"After"}"#)
        .send()
        .await
        .expect("an answer");
    assert_eq!(renamed.status(), 201);
    sender.call("privateMessage", json!({ "receiverId": b.id, "content": "two" })).await;
    assert_eq!(receiver.wait_for_push().await["params"]["senderName"], "After");
    let history = receiver.call("getlatestMessageDialog", json!({ "receiverId": a.id })).await;
    assert!(
        history["params"]["data"].as_array().expect("rows").iter().all(|row| row["senderName"] == "After"),
        "{history}"
    );
}
