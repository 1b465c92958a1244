//! `readMessages` and `deliveredMessages`: markers that only move forward, and who is told of them.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, steady};

const NOTHING: [&str; 0] = [];

/// The `seq` of a marker, and what is unread.
async fn moved(client: &mut Client, kind: &str, params: Value) -> (Value, Value) {
    let mut item = client.done(kind, params).await["item"].take();
    (item["seq"].take(), item["unreadCount"].take())
}

/// How far a member is, as everybody sees it.
async fn markers(client: &mut Client, target: &Value, user: i64) -> (Value, Value) {
    let details = client.done("getConversation", target.clone()).await;
    let members = details["item"]["members"].as_array().expect("members").clone();
    let mut member = members.into_iter().find(|member| member["id"] == user).expect("a member");
    (member["readSeq"].take(), member["deliveredSeq"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_names_the_dialog_as_its_receiver_does() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let mut bobs_other = server.connect(&bob).await;
    let (_, mut cleo_client) = server.client("Cleo").await;
    for client in [&mut ann_client, &mut bob_client, &mut cleo_client] {
        client.subscribe(&["receipts"]).await;
    }
    bobs_other.subscribe(&["own"]).await;
    for _ in 0..3 {
        ann_client.say(&json!({ "receiverId": bob.id }), "Hi").await;
    }
    for client in [&mut bob_client, &mut bobs_other] {
        for _ in 0..3 {
            client.pushed("privateMessage").await;
        }
    }

    let reply = bob_client.call("readMessages", json!({ "receiverId": ann.id, "seq": 2 })).await;
    let at = reply["params"]["item"]["at"].clone();
    assert_eq!(
        steady(reply),
        json!({
            "type": "readMessages",
            "success": true,
            "params": {
                "data": null,
                "message": null,
                "senderName": null,
                "item": { "receiverId": ann.id, "userId": bob.id, "seq": 2, "at": "[time]", "unreadCount": 1 },
            },
            "id": 2,
        })
    );
    assert_eq!(
        ann_client.push().await,
        json!({
            "type": "readMessages",
            "success": true,
            "params": {
                "data": null,
                "message": null,
                "senderName": null,
                "item": { "receiverId": bob.id, "userId": bob.id, "seq": 2, "at": at },
            },
        })
    );
    let seen = bobs_other.pushed("readMessages").await;
    assert_eq!(seen["item"], json!({ "receiverId": ann.id, "userId": bob.id, "seq": 2, "at": at }));

    bob_client.done("deliveredMessages", json!({ "receiverId": ann.id })).await;
    let told = ann_client.pushed("deliveredMessages").await;
    assert_eq!(
        steady(told["item"].clone()),
        json!({ "receiverId": bob.id, "userId": bob.id, "seq": 3, "at": "[time]" })
    );
    assert_eq!(bobs_other.pushed("deliveredMessages").await["item"]["receiverId"], ann.id);
    assert_eq!(bob_client.kinds_told().await, NOTHING, "not the socket that said so");
    assert_eq!(cleo_client.kinds_told().await, NOTHING, "nobody else's business");
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_only_move_forward_and_tell_only_when_they_do() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    ann_client.subscribe(&["receipts"]).await;
    for _ in 0..4 {
        ann_client.say(&json!({ "receiverId": bob.id }), "Hi").await;
    }
    let to_ann = |seq: i64| json!({ "receiverId": ann.id, "seq": seq });
    assert_eq!(moved(&mut bob_client, "deliveredMessages", to_ann(1)).await, (json!(1), json!(4)));
    assert_eq!(moved(&mut bob_client, "readMessages", to_ann(3)).await, (json!(3), json!(1)));
    assert_eq!(
        markers(&mut ann_client, &json!({ "receiverId": bob.id }), bob.id).await,
        (json!(3), json!(3)),
        "what was read has arrived"
    );
    // Backwards, once more, and what read has moved already.
    assert_eq!(moved(&mut bob_client, "readMessages", to_ann(1)).await, (json!(3), json!(1)));
    assert_eq!(moved(&mut bob_client, "readMessages", to_ann(3)).await, (json!(3), json!(1)));
    assert_eq!(moved(&mut bob_client, "deliveredMessages", to_ann(2)).await, (json!(3), json!(1)));
    assert_eq!(moved(&mut bob_client, "deliveredMessages", to_ann(3)).await, (json!(3), json!(1)));
    // Beyond the end is the end, and does not read what is still to come.
    assert_eq!(moved(&mut bob_client, "readMessages", to_ann(9_007_199_254_740_991)).await, (json!(4), json!(0)));
    ann_client.say(&json!({ "receiverId": bob.id }), "one more").await;
    let to_ann_all = json!({ "receiverId": ann.id });
    assert_eq!(moved(&mut bob_client, "readMessages", to_ann(4)).await, (json!(4), json!(1)));
    assert_eq!(moved(&mut bob_client, "deliveredMessages", to_ann_all.clone()).await, (json!(5), json!(1)));
    assert_eq!(moved(&mut bob_client, "readMessages", to_ann_all.clone()).await, (json!(5), json!(0)));
    assert_eq!(moved(&mut bob_client, "readMessages", to_ann_all).await, (json!(5), json!(0)));
    bob_client.forget().await;

    let told: Vec<Value> = ann_client.told().await;
    let told: Vec<(&str, i64)> = told
        .iter()
        .map(|push| (push["type"].as_str().expect("a type"), push["params"]["item"]["seq"].as_i64().expect("a seq")))
        .collect();
    assert_eq!(
        told,
        [
            ("deliveredMessages", 1),
            ("readMessages", 3),
            ("readMessages", 4),
            ("deliveredMessages", 5),
            ("readMessages", 5),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_hears_of_its_readers() {
    let server = TestServer::start().await;
    let users = server.users("U", 4).await;
    let mut clients = Vec::new();
    for user in &users {
        clients.push(server.connect(user).await);
    }
    let [ann, bob, cleo, stranger] = clients.as_mut_slice() else { unreachable!("four") };
    let group = ann.new_group(&[users[1].id, users[2].id]).await;
    let target = json!({ "groupId": group });
    // Cleo has not asked; the stranger is not in it.
    for client in [&mut *ann, &mut *bob, &mut *stranger] {
        client.subscribe(&["receipts"]).await;
    }
    ann.say(&target, "one").await;
    bob.say(&target, "two").await;
    cleo.say(&target, "three").await;
    for client in [&mut *ann, &mut *bob, &mut *cleo] {
        client.forget().await;
    }
    let mut item = cleo.done("readMessages", target.clone()).await["item"].take();
    assert_eq!(item["unreadCount"].take(), 0);
    let mut expected = json!({ "groupId": group, "userId": users[2].id, "seq": 3, "at": item["at"].take() });
    for client in [&mut *ann, &mut *bob] {
        assert_eq!(client.pushed("readMessages").await["item"], expected);
    }
    assert_eq!(ann.done("readMessages", json!({ "groupId": group, "seq": 2 })).await["item"]["unreadCount"], 1);
    expected = bob.pushed("readMessages").await["item"].take();
    assert_eq!((&expected["userId"], &expected["seq"]), (&json!(users[0].id), &json!(2)));
    ann.forget().await;
    assert_eq!(cleo.kinds_told().await, NOTHING);
    assert_eq!(stranger.kinds_told().await, NOTHING);

    assert_eq!(stranger.refused("readMessages", target.clone()).await, "not_a_member");
    assert_eq!(stranger.refused("deliveredMessages", target.clone()).await, "not_a_member");
    cleo.done("leaveGroup", target.clone()).await;
    bob.pushed("leaveGroup").await;
    assert_eq!(cleo.refused("readMessages", target.clone()).await, "not_a_member");
    cleo.subscribe(&["receipts"]).await;
    bob.done("readMessages", target).await;
    bob.forget().await;
    assert_eq!(cleo.kinds_told().await, NOTHING, "who has left hears no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_was_said_nothing_is_read() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    bob_client.subscribe(&["receipts"]).await;
    let group = client.new_group(&[bob.id]).await;
    bob_client.pushed("addUserInGroup").await;
    for kind in ["readMessages", "deliveredMessages"] {
        for target in [json!({ "receiverId": bob.id }), json!({ "receiverId": ann.id }), json!({ "groupId": group })] {
            let item = client.done(kind, target.clone()).await["item"].take();
            let mut expected = json!({ "userId": ann.id, "seq": 0, "at": null, "unreadCount": 0 });
            expected.as_object_mut().expect("an object").extend(target.as_object().expect("an object").clone());
            assert_eq!(item, expected);
        }
    }
    client.forget().await;
    assert_eq!(bob_client.kinds_told().await, NOTHING);
    // Asking has begun no dialog.
    assert_eq!(client.refused("getConversation", json!({ "receiverId": bob.id })).await, "not_found");

    client.say(&json!({ "receiverId": ann.id }), "a note").await;
    let mut other = server.connect(&ann).await;
    other.subscribe(&["own"]).await;
    let (seq, unread) = moved(&mut client, "readMessages", json!({ "receiverId": ann.id })).await;
    assert_eq!((seq, unread), (json!(1), json!(0)), "notes are read like anything");
    assert_eq!(other.pushed("readMessages").await["item"]["receiverId"], ann.id);
    assert_eq!(other.kinds_told().await, NOTHING, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Ann").await;
    let bob = server.user("Bob").await;
    for kind in ["readMessages", "deliveredMessages"] {
        for params in [
            json!({}),
            json!({ "receiverId": bob.id, "groupId": 1 }),
            json!({ "receiverId": "2" }),
            json!({ "receiverId": 0 }),
            json!({ "receiverId": bob.id, "seq": 0 }),
            json!({ "receiverId": bob.id, "seq": -1 }),
            json!({ "receiverId": bob.id, "seq": 1.5 }),
            json!({ "receiverId": bob.id, "seq": "1" }),
        ] {
            assert_eq!(client.refused(kind, params.clone()).await, "bad_params", "{params}");
        }
        assert_eq!(client.refused(kind, json!({ "receiverId": 99 })).await, "not_found");
        assert_eq!(client.refused(kind, json!({ "groupId": 99 })).await, "not_found");
    }
}
