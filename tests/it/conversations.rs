//! `openConversation`, `closeConversation` and `getConversation`: who may, what they show, what they begin.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{TestServer, steady};

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
