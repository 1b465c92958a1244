//! `readMessages` and `deliveredMessages`: markers that only move forward, and who is notified of them.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, steady};

const NOTHING: [&str; 0] = [];

/// Moves a marker, and returns its `seq` and the unread count.
async fn set_marker(client: &mut Client, kind: &str, params: Value) -> (Value, Value) {
    let mut item = client.call_ok(kind, params).await["item"].take();
    (item["seq"].take(), item["unreadCount"].take())
}

/// Returns the markers of a member, as all members see them.
async fn markers(client: &mut Client, target: &Value, user: i64) -> (Value, Value) {
    let details = client.call_ok("getConversation", target.clone()).await;
    let members = details["item"]["members"].as_array().expect("members").clone();
    let mut member = members.into_iter().find(|member| member["id"] == user).expect("a member");
    (member["readSeq"].take(), member["deliveredSeq"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn read_messages_push_names_the_dialog_from_its_receivers_side() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let mut bobs_other = server.connect(&bob).await;
    let (_, mut cleo_client) = server.connect_user("Cleo").await;
    for client in [&mut ann_client, &mut bob_client, &mut cleo_client] {
        client.subscribe(&["receipts"]).await;
    }
    bobs_other.subscribe(&["own"]).await;
    for _ in 0..3 {
        ann_client.send_content(&json!({ "receiverId": bob.id }), "Hi").await;
    }
    for client in [&mut bob_client, &mut bobs_other] {
        for _ in 0..3 {
            client.expect_push("privateMessage").await;
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
        ann_client.wait_for_push().await,
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
    let seen = bobs_other.expect_push("readMessages").await;
    assert_eq!(seen["item"], json!({ "receiverId": ann.id, "userId": bob.id, "seq": 2, "at": at }));

    bob_client.call_ok("deliveredMessages", json!({ "receiverId": ann.id })).await;
    let received = ann_client.expect_push("deliveredMessages").await;
    assert_eq!(
        steady(received["item"].clone()),
        json!({ "receiverId": bob.id, "userId": bob.id, "seq": 3, "at": "[time]" })
    );
    assert_eq!(bobs_other.expect_push("deliveredMessages").await["item"]["receiverId"], ann.id);
    assert_eq!(bob_client.drain_push_types().await, NOTHING, "not the socket that caused it");
    assert_eq!(cleo_client.drain_push_types().await, NOTHING, "not a third user");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_messages_and_delivered_messages_move_markers_forward_only() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    ann_client.subscribe(&["receipts"]).await;
    for _ in 0..4 {
        ann_client.send_content(&json!({ "receiverId": bob.id }), "Hi").await;
    }
    let to_ann = |seq: i64| json!({ "receiverId": ann.id, "seq": seq });
    assert_eq!(set_marker(&mut bob_client, "deliveredMessages", to_ann(1)).await, (json!(1), json!(4)));
    assert_eq!(set_marker(&mut bob_client, "readMessages", to_ann(3)).await, (json!(3), json!(1)));
    assert_eq!(
        markers(&mut ann_client, &json!({ "receiverId": bob.id }), bob.id).await,
        (json!(3), json!(3)),
        "what was read has arrived"
    );
    // The marker does not move backwards, to the same place, or to where reading has moved it already.
    assert_eq!(set_marker(&mut bob_client, "readMessages", to_ann(1)).await, (json!(3), json!(1)));
    assert_eq!(set_marker(&mut bob_client, "readMessages", to_ann(3)).await, (json!(3), json!(1)));
    assert_eq!(set_marker(&mut bob_client, "deliveredMessages", to_ann(2)).await, (json!(3), json!(1)));
    assert_eq!(set_marker(&mut bob_client, "deliveredMessages", to_ann(3)).await, (json!(3), json!(1)));
    // A marker past the end stops at the end, and does not cover later messages.
    assert_eq!(set_marker(&mut bob_client, "readMessages", to_ann(9_007_199_254_740_991)).await, (json!(4), json!(0)));
    ann_client.send_content(&json!({ "receiverId": bob.id }), "one more").await;
    let to_ann_all = json!({ "receiverId": ann.id });
    assert_eq!(set_marker(&mut bob_client, "readMessages", to_ann(4)).await, (json!(4), json!(1)));
    assert_eq!(set_marker(&mut bob_client, "deliveredMessages", to_ann_all.clone()).await, (json!(5), json!(1)));
    assert_eq!(set_marker(&mut bob_client, "readMessages", to_ann_all.clone()).await, (json!(5), json!(0)));
    assert_eq!(set_marker(&mut bob_client, "readMessages", to_ann_all).await, (json!(5), json!(0)));
    bob_client.discard_pushes().await;

    let received: Vec<Value> = ann_client.drain_pushes().await;
    let received: Vec<(&str, i64)> = received
        .iter()
        .map(|push| (push["type"].as_str().expect("a type"), push["params"]["item"]["seq"].as_i64().expect("a seq")))
        .collect();
    assert_eq!(
        received,
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
async fn read_messages_in_a_group_is_pushed_to_subscribed_members() {
    let server = TestServer::start().await;
    let users = server.create_users("U", 4).await;
    let mut clients = Vec::new();
    for user in &users {
        clients.push(server.connect(user).await);
    }
    let [ann, bob, cleo, stranger] = clients.as_mut_slice() else { unreachable!("four") };
    let group = ann.new_group(&[users[1].id, users[2].id]).await;
    let target = json!({ "groupId": group });
    // Cleo has not subscribed, and the stranger is not a member.
    for client in [&mut *ann, &mut *bob, &mut *stranger] {
        client.subscribe(&["receipts"]).await;
    }
    ann.send_content(&target, "one").await;
    bob.send_content(&target, "two").await;
    cleo.send_content(&target, "three").await;
    for client in [&mut *ann, &mut *bob, &mut *cleo] {
        client.discard_pushes().await;
    }
    let mut item = cleo.call_ok("readMessages", target.clone()).await["item"].take();
    assert_eq!(item["unreadCount"].take(), 0);
    let mut expected = json!({ "groupId": group, "userId": users[2].id, "seq": 3, "at": item["at"].take() });
    for client in [&mut *ann, &mut *bob] {
        assert_eq!(client.expect_push("readMessages").await["item"], expected);
    }
    assert_eq!(ann.call_ok("readMessages", json!({ "groupId": group, "seq": 2 })).await["item"]["unreadCount"], 1);
    expected = bob.expect_push("readMessages").await["item"].take();
    assert_eq!((&expected["userId"], &expected["seq"]), (&json!(users[0].id), &json!(2)));
    ann.discard_pushes().await;
    assert_eq!(cleo.drain_push_types().await, NOTHING);
    assert_eq!(stranger.drain_push_types().await, NOTHING);

    assert_eq!(stranger.call_refused("readMessages", target.clone()).await, "not_a_member");
    assert_eq!(stranger.call_refused("deliveredMessages", target.clone()).await, "not_a_member");
    cleo.call_ok("leaveGroup", target.clone()).await;
    bob.expect_push("leaveGroup").await;
    assert_eq!(cleo.call_refused("readMessages", target.clone()).await, "not_a_member");
    cleo.subscribe(&["receipts"]).await;
    bob.call_ok("readMessages", target).await;
    bob.discard_pushes().await;
    assert_eq!(cleo.drain_push_types().await, NOTHING, "a former member gets no pushes");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_messages_and_delivered_messages_without_messages_change_nothing() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    bob_client.subscribe(&["receipts"]).await;
    let group = client.new_group(&[bob.id]).await;
    bob_client.expect_push("addUserInGroup").await;
    for kind in ["readMessages", "deliveredMessages"] {
        for target in [json!({ "receiverId": bob.id }), json!({ "receiverId": ann.id }), json!({ "groupId": group })] {
            let item = client.call_ok(kind, target.clone()).await["item"].take();
            let mut expected = json!({ "userId": ann.id, "seq": 0, "at": null, "unreadCount": 0 });
            expected.as_object_mut().expect("an object").extend(target.as_object().expect("an object").clone());
            assert_eq!(item, expected);
        }
    }
    client.discard_pushes().await;
    assert_eq!(bob_client.drain_push_types().await, NOTHING);
    // The request has created no dialog.
    assert_eq!(client.call_refused("getConversation", json!({ "receiverId": bob.id })).await, "not_found");

    client.send_content(&json!({ "receiverId": ann.id }), "a note").await;
    let mut other = server.connect(&ann).await;
    other.subscribe(&["own"]).await;
    let (seq, unread) = set_marker(&mut client, "readMessages", json!({ "receiverId": ann.id })).await;
    assert_eq!((seq, unread), (json!(1), json!(0)), "notes are marked as read like any dialog");
    assert_eq!(other.expect_push("readMessages").await["item"]["receiverId"], ann.id);
    assert_eq!(other.drain_push_types().await, NOTHING, "once");
}

/// Asserts that a frame refuses bad params, and unknown users and groups.
async fn assert_params_are_checked(kind: &str) {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
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
        assert_eq!(client.call_refused(kind, params.clone()).await, "bad_params", "{params}");
    }
    assert_eq!(client.call_refused(kind, json!({ "receiverId": 99 })).await, "not_found");
    assert_eq!(client.call_refused(kind, json!({ "groupId": 99 })).await, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_messages_checks_its_params() {
    assert_params_are_checked("readMessages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_messages_checks_its_params() {
    assert_params_are_checked("deliveredMessages").await;
}
