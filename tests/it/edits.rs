//! `editMessage`, `deleteMessage`, `reactToMessage`: who may, who is told, and what stays.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, User, steady};

const NOTHING: [&str; 0] = [];

/// Two people in a dialog and a third who is not in it; all ask for what becomes of messages.
async fn three(server: &TestServer) -> [(User, Client); 3] {
    let mut people = [server.client("Ann").await, server.client("Bob").await, server.client("Cleo").await];
    for (_, client) in &mut people {
        client.subscribe(&["messages"]).await;
    }
    people
}

async fn newest(client: &mut Client, target: &Value) -> Value {
    client.done("getConversation", target.clone()).await["item"]["lastMessage"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_reaches_both_sides() {
    let server = TestServer::start().await;
    let [(ann, mut ann_client), (bob, mut bob_client), (_, mut stranger)] = three(&server).await;
    let mut anns_other = server.connect(&ann).await;
    anns_other.subscribe(&["own"]).await;
    let message = ann_client.say(&json!({ "receiverId": bob.id }), "Helo").await;
    for client in [&mut bob_client, &mut anns_other] {
        client.pushed("privateMessage").await;
    }
    let reply = ann_client.done("editMessage", json!({ "messageId": message, "content": "Hello" })).await;
    let item = &reply["item"];
    assert_eq!(
        steady(reply.clone()),
        json!({
            "data": null,
            "message": null,
            "senderName": null,
            "item": {
                "messageId": message,
                "seq": 1,
                "senderId": ann.id,
                "senderName": "Ann",
                "receiverId": bob.id,
                "receiverName": "Bob",
                "groupId": null,
                "groupName": null,
                "content": "Hello",
                "replyTo": null,
                "reactions": [],
                "createdAt": "[time]",
                "updatedAt": "[time]",
                "deletedAt": null,
                "clientMessageId": null,
            },
        })
    );
    assert!(item["updatedAt"].as_str() > item["createdAt"].as_str(), "{item}");
    assert_eq!(bob_client.pushed("editMessage").await, reply);
    assert_eq!(anns_other.pushed("editMessage").await, reply);
    assert_eq!(newest(&mut bob_client, &json!({ "receiverId": ann.id })).await, *item);
    let again = ann_client.done("editMessage", json!({ "messageId": message, "content": "Hello!" })).await;
    assert!(again["item"]["updatedAt"].as_str() > item["updatedAt"].as_str(), "{again}");
    assert_eq!((ann_client.kinds_told().await, stranger.kinds_told().await), (vec![], vec![]));
    // Who did not ask hears nothing; the history has it.
    bob_client.forget().await;
    bob_client.subscribe(&[]).await;
    ann_client.done("editMessage", json!({ "messageId": message, "content": "Bye" })).await;
    ann_client.forget().await;
    assert_eq!(bob_client.kinds_told().await, NOTHING);
    let history = bob_client.done("getlatestMessageDialog", json!({ "receiverId": ann.id })).await;
    assert_eq!((&history["data"][0]["content"], history["data"].as_array().map(Vec::len)), (&json!("Bye"), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_message_keeps_its_place_and_nothing_else() {
    let server = TestServer::start().await;
    let [(ann, mut ann_client), (bob, mut bob_client), (_, mut stranger)] = three(&server).await;
    let first = ann_client.say(&json!({ "receiverId": bob.id }), "secret").await;
    ann_client.say(&json!({ "receiverId": bob.id }), "next").await;
    bob_client.done("reactToMessage", json!({ "messageId": first, "reaction": "👍" })).await;
    bob_client.forget().await;
    ann_client.forget().await;
    let reply = ann_client.done("deleteMessage", json!({ "messageId": first })).await;
    let item = &reply["item"];
    assert_eq!((&item["content"], &item["seq"], &item["reactions"]), (&json!(""), &json!(1), &json!([])));
    assert_eq!(item["deletedAt"], item["updatedAt"]);
    assert!(item["deletedAt"].is_string(), "{item}");
    assert_eq!(bob_client.pushed("deleteMessage").await, reply);
    let history = bob_client.done("getlatestMessageDialog", json!({ "receiverId": ann.id })).await;
    assert_eq!((&history["data"][1]["content"], &history["data"][1]["deletedAt"]), (&json!(""), &item["deletedAt"]));
    // Once more is done already, and no news.
    ann_client.done("deleteMessage", json!({ "messageId": first })).await;
    ann_client.forget().await;
    assert_eq!((bob_client.kinds_told().await, stranger.kinds_told().await), (vec![], vec![]));
    for (kind, params) in [
        ("editMessage", json!({ "messageId": first, "content": "x" })),
        ("reactToMessage", json!({ "messageId": first, "reaction": "x" })),
        ("reactToMessage", json!({ "messageId": first, "reaction": null })),
    ] {
        assert_eq!(ann_client.refused(kind, params).await, "not_found", "{kind}");
    }
    let rows: i64 = sqlx::query_scalar("select count(*) from messages where content = 'secret'")
        .fetch_one(&mut server.sql().await)
        .await
        .expect("a count");
    assert_eq!(rows, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reaction_is_one_a_user_and_can_be_taken_back() {
    let server = TestServer::start().await;
    let [(ann, mut ann_client), (bob, mut bob_client), (_, mut stranger)] = three(&server).await;
    let mut bobs_other = server.connect(&bob).await;
    bobs_other.subscribe(&["own"]).await;
    let message = ann_client.say(&json!({ "receiverId": bob.id }), "Tea?").await;
    for client in [&mut bob_client, &mut bobs_other] {
        client.pushed("privateMessage").await;
    }
    let react = |reaction: Value| json!({ "messageId": message, "reaction": reaction });
    let reply = bob_client.done("reactToMessage", react(json!("👍"))).await;
    let item = |reaction: Value| {
        json!({
            "messageId": message,
            "seq": 1,
            "senderId": ann.id,
            "receiverId": bob.id,
            "groupId": null,
            "userId": bob.id,
            "reaction": reaction,
            "at": "[time]",
        })
    };
    assert_eq!(steady(reply["item"].clone()), item(json!("👍")));
    assert_eq!(steady(ann_client.pushed("reactToMessage").await["item"].take()), item(json!("👍")));
    assert_eq!(steady(bobs_other.pushed("reactToMessage").await["item"].take()), item(json!("👍")));
    // The same again is no news; another one takes its place.
    bob_client.done("reactToMessage", react(json!("👍"))).await;
    bob_client.done("reactToMessage", react(json!("💔"))).await;
    assert_eq!(steady(ann_client.pushed("reactToMessage").await["item"].take()), item(json!("💔")));
    ann_client.done("reactToMessage", react(json!("ok"))).await;
    let both = json!([{ "userId": bob.id, "reaction": "💔" }, { "userId": ann.id, "reaction": "ok" }]);
    assert_eq!(newest(&mut bob_client, &json!({ "receiverId": ann.id })).await["reactions"], both);
    let history = bob_client.done("getlatestMessageDialog", json!({ "receiverId": ann.id })).await;
    assert_eq!(history["data"][0]["reactions"], both);

    bob_client.done("reactToMessage", react(Value::Null)).await;
    bob_client.done("reactToMessage", react(Value::Null)).await;
    assert_eq!(steady(ann_client.pushed("reactToMessage").await["item"].take()), item(Value::Null));
    bob_client.forget().await;
    assert_eq!((ann_client.kinds_told().await, stranger.kinds_told().await), (vec![], vec![]));
    assert_eq!(
        newest(&mut ann_client, &json!({ "receiverId": bob.id })).await["reactions"],
        json!([{ "userId": ann.id, "reaction": "ok" }])
    );
    // A reaction is no change of what was written.
    let message = newest(&mut ann_client, &json!({ "receiverId": bob.id })).await;
    assert_eq!(message["updatedAt"], message["createdAt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_group_authors_edit_and_admins_delete() {
    let server = TestServer::start().await;
    let [(ann, mut admin), (bob, mut author), (cleo, mut member)] = three(&server).await;
    let (_, mut stranger) = server.client("Dan").await;
    stranger.subscribe(&["messages"]).await;
    let group = admin.new_group(&[bob.id, cleo.id]).await;
    let target = json!({ "groupId": group });
    let message = author.say(&target, "mine").await;
    let edit = json!({ "messageId": message, "content": "yours" });
    let delete = json!({ "messageId": message });
    let react = json!({ "messageId": message, "reaction": "👍" });
    for client in [&mut admin, &mut member] {
        assert_eq!(client.refused("editMessage", edit.clone()).await, "not_author");
    }
    assert_eq!(member.refused("deleteMessage", delete.clone()).await, "not_author");
    for (kind, params) in [("editMessage", &edit), ("deleteMessage", &delete), ("reactToMessage", &react)] {
        assert_eq!(stranger.refused(kind, params.clone()).await, "not_a_member", "{kind}");
    }
    for client in [&mut admin, &mut author, &mut member, &mut stranger] {
        client.forget().await;
    }
    author.done("editMessage", edit.clone()).await;
    member.done("reactToMessage", react.clone()).await;
    admin.done("deleteMessage", delete.clone()).await;
    admin.forget().await;
    assert_eq!(author.kinds_told().await, ["reactToMessage", "deleteMessage"]);
    assert_eq!(member.kinds_told().await, ["editMessage", "deleteMessage"]);
    assert_eq!(stranger.kinds_told().await, NOTHING);

    // Who has left may do nothing any more, to their own messages neither, and hears of nothing.
    let message = author.say(&target, "last words").await;
    author.done("leaveGroup", target.clone()).await;
    author.forget().await;
    for (kind, mut params) in [("editMessage", edit), ("deleteMessage", delete), ("reactToMessage", react)] {
        params["messageId"] = json!(message);
        assert_eq!(author.refused(kind, params).await, "not_a_member", "{kind}");
    }
    admin.done("reactToMessage", json!({ "messageId": message, "reaction": "👋" })).await;
    admin.done("deleteMessage", json!({ "messageId": message })).await;
    admin.forget().await;
    assert_eq!(author.kinds_told().await, NOTHING);
    assert!(newest(&mut member, &target).await["deletedAt"].is_string());

    // With its last member the group ends, and so does all that can be done in it.
    let message = admin.say(&target, "x").await;
    member.done("leaveGroup", target.clone()).await;
    admin.done("leaveGroup", target).await;
    assert_eq!(admin.refused("editMessage", json!({ "messageId": message, "content": "y" })).await, "not_found");
    assert_eq!(ann.name, "Ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_others_and_those_that_were_cleared_are_not_there() {
    let server = TestServer::start().await;
    let [(ann, mut ann_client), (bob, mut bob_client), (_, mut stranger)] = three(&server).await;
    let (to_bob, to_ann) = (json!({ "receiverId": bob.id }), json!({ "receiverId": ann.id }));
    let message = ann_client.say(&to_bob, "Hi").await;
    let changes = |message: i64| {
        [
            ("editMessage", json!({ "messageId": message, "content": "x" })),
            ("deleteMessage", json!({ "messageId": message })),
            ("reactToMessage", json!({ "messageId": message, "reaction": "x" })),
        ]
    };
    for (kind, params) in changes(message).into_iter().chain(changes(99)) {
        assert_eq!(stranger.refused(kind, params).await, "not_found", "{kind}");
    }
    for (kind, params) in &changes(message)[..2] {
        assert_eq!(bob_client.refused(kind, params.clone()).await, "not_author", "{kind}");
    }
    ann_client.done("removeConversation", to_bob.clone()).await;
    for (kind, params) in changes(message) {
        assert_eq!(ann_client.refused(kind, params).await, "not_found", "{kind}");
    }
    // To the other side it is there.
    bob_client.done("reactToMessage", changes(message)[2].1.clone()).await;

    // Who is blocked gets no word through, and may still take one back.
    let message = ann_client.say(&to_bob, "Hi again").await;
    let bobs = bob_client.say(&to_ann, "Go away").await;
    server.block(&bob, &ann).await;
    bob_client.forget().await;
    for (kind, params) in [&changes(message)[0], &changes(message)[2], &changes(bobs)[2]] {
        assert_eq!(ann_client.refused(kind, params.clone()).await, "blocked", "{kind}");
    }
    assert_eq!(bob_client.kinds_told().await, NOTHING);
    ann_client.done("reactToMessage", json!({ "messageId": bobs, "reaction": null })).await;
    ann_client.done("deleteMessage", json!({ "messageId": message })).await;
    bob_client.done("reactToMessage", changes(bobs)[2].1.clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_changes_are_refused() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let message = client.say(&json!({ "receiverId": ann.id }), "note").await;
    for (kind, params) in [
        ("editMessage", json!({ "messageId": message })),
        ("editMessage", json!({ "messageId": message, "content": "" })),
        ("editMessage", json!({ "messageId": message, "content": "x".repeat(16_385) })),
        ("editMessage", json!({ "messageId": message, "content": "a\u{0}b" })),
        ("editMessage", json!({ "content": "x" })),
        ("deleteMessage", json!({})),
        ("deleteMessage", json!({ "messageId": "1" })),
        ("deleteMessage", json!({ "messageId": 0 })),
        ("reactToMessage", json!({ "messageId": message })),
        ("reactToMessage", json!({ "messageId": message, "reaction": "" })),
        ("reactToMessage", json!({ "messageId": message, "reaction": "x".repeat(33) })),
        ("reactToMessage", json!({ "messageId": message, "reaction": 1 })),
        ("reactToMessage", json!({ "messageId": message, "reaction": "a\u{0}" })),
    ] {
        assert_eq!(client.refused(kind, params.clone()).await, "bad_params", "{kind} {params}");
    }
    client.done("reactToMessage", json!({ "messageId": message, "reaction": "é".repeat(32) })).await;
    client.done("editMessage", json!({ "messageId": message, "content": " '\"👍 " })).await;
    assert_eq!(newest(&mut client, &json!({ "receiverId": ann.id })).await["content"], " '\"👍 ");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_leave_one_of_them_and_no_deadlock() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    let group = ann_client.new_group(&[bob.id]).await;
    let message = ann_client.say(&json!({ "groupId": group }), "0").await;
    let mut sockets = [
        (server.connect(&ann).await, true),
        (second.connect(&ann).await, true),
        (server.connect(&bob).await, false),
        (second.connect(&bob).await, false),
    ];
    futures_util::future::join_all(sockets.iter_mut().map(async |(client, is_ann)| {
        for nth in 1..=10 {
            if *is_ann {
                client.done("editMessage", json!({ "messageId": message, "content": format!("{nth}") })).await;
            }
            let reaction = if nth % 3 == 0 { Value::Null } else { json!(format!("{nth}")) };
            client.done("reactToMessage", json!({ "messageId": message, "reaction": reaction })).await;
            client.say(&json!({ "groupId": group }), "x").await;
        }
    }))
    .await;
    let history = ann_client.done("getlatestMessageGroup", json!({ "groupId": group, "before": 2 })).await;
    assert_eq!(history["data"][0]["content"], "10");
    let mut reactions = history["data"][0]["reactions"].as_array().expect("reactions").clone();
    reactions.sort_by_key(|reaction| reaction["userId"].as_i64());
    assert_eq!(
        json!(reactions),
        json!([{ "userId": ann.id, "reaction": "10" }, { "userId": bob.id, "reaction": "10" }])
    );
}
