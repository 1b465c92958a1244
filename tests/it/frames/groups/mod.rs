//! `newGroup`, `addUserInGroup` and `leaveGroup`: permissions, pushes, and who becomes admin.

pub mod admins;
mod limits;
mod members;

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer, answer};

async fn new_group(client: &mut Client, user_ids: &[i64]) -> i64 {
    let reply = client.call("newGroup", json!({ "groupName": "Book club", "userIds": user_ids })).await;
    reply["params"]["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("a group: {reply}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_returns_its_id() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Ann").await;
    let reply = client.call("newGroup", json!({ "groupName": "new name" })).await;
    assert_json_snapshot!(reply, @r#"
    {
      "id": 1,
      "params": {
        "data": null,
        "item": {
          "groupId": 1,
          "groupName": "new name"
        },
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "newGroup"
    }
    "#);
    let sent = client.call("messageInGroup", json!({ "groupId": 1, "content": "alone" })).await;
    assert_eq!(sent["params"]["item"]["seq"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_adds_and_notifies_the_given_users() {
    let server = TestServer::start().await;
    let (ann, mut creator) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    // Neither a repeated id nor the creator's own is an error.
    let group = new_group(&mut creator, &[cleo.id, bob.id, bob.id, ann.id]).await;
    for client in [&mut bob_client, &mut cleo_client] {
        let received = [client.wait_for_push().await, client.wait_for_push().await];
        assert_eq!(received[0]["params"]["message"], "User Bob added in group.");
        assert_eq!(received[1]["params"]["message"], "User Cleo added in group.");
        assert_eq!(
            received[1]["params"]["item"],
            json!({ "groupId": group, "groupName": "Book club", "userId": cleo.id, "userName": "Cleo" })
        );
        assert_eq!(client.call("messageInGroup", json!({ "groupId": group, "content": "hi" })).await["success"], true);
    }
    creator.call("listLastMessage", json!({})).await;
    let received: Vec<_> = creator.take_buffered_pushes().iter().map(|push| push["type"].clone()).collect();
    assert_eq!(
        json!(received),
        json!(["messageInGroup", "messageInGroup"]),
        "the creator gets no push about the users he added"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_with_unknown_users_is_refused() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Ann").await;
    let bob = server.create_user("Bob").await;
    let error = client.call("newGroup", json!({ "groupName": "G", "userIds": [bob.id, 404] })).await;
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("not_found"), &json!("params.userIds: there is no user 404"))
    );
    let row =
        sqlx::query("select count(*) from conversations").fetch_one(&mut server.sql().await).await.expect("a count");
    assert_eq!(row.get::<i64, _>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_checks_its_name_and_users() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Ann").await;
    let cases = [
        (json!({}), "params.groupName is required"),
        (json!({ "groupName": "" }), "params.groupName must be 1 to 100 characters"),
        (json!({ "groupName": "é".repeat(101) }), "params.groupName must be 1 to 100 characters"),
        (json!({ "groupName": "a\0" }), "params.groupName must not contain U+0000"),
        (json!({ "groupName": ["x"] }), "params.groupName must be a string"),
        (json!({ "groupName": "x", "userIds": 3 }), "params.userIds must be a list of at most 1000 user ids"),
        (json!({ "groupName": "x", "userIds": ["3"] }), "params.userIds must be a list of at most 1000 user ids"),
        (
            json!({ "groupName": "x", "userIds": vec![1; 1001] }),
            "params.userIds must be a list of at most 1000 user ids",
        ),
    ];
    for (params, sentence) in cases {
        let error = client.call("newGroup", params).await;
        assert_eq!((&error["code"], &error["message"]), (&json!("bad_params"), &json!(sentence)));
    }
    let longest = client.call("newGroup", json!({ "groupName": "é".repeat(100), "userIds": null })).await;
    assert_eq!(longest["success"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn add_user_in_group_by_any_member_notifies_every_other_member() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (_, mut stranger) = server.connect_user("Stranger").await;
    let (patrick, mut patrick_client) = server.connect_user("Patrick1").await;
    let group = new_group(&mut ann, &[bob.id]).await;
    bob_client.wait_for_push().await;

    let reply = bob_client.call("addUserInGroup", json!({ "groupId": group, "userId": patrick.id })).await;
    assert_json_snapshot!(reply, @r#"
    {
      "id": 1,
      "params": {
        "data": null,
        "message": null,
        "senderName": null
      },
      "success": true,
      "type": "addUserInGroup"
    }
    "#);
    let received = patrick_client.wait_for_push().await;
    assert_eq!(ann.wait_for_push().await, received);
    assert_json_snapshot!(received, @r#"
    {
      "params": {
        "data": null,
        "item": {
          "groupId": 1,
          "groupName": "Book club",
          "userId": 4,
          "userName": "Patrick1"
        },
        "message": "User Patrick1 added in group.",
        "senderName": "Bob"
      },
      "success": true,
      "type": "addUserInGroup"
    }
    "#);

    let add = async |client: &mut Client, group: i64, user: i64| {
        let error = client.call("addUserInGroup", json!({ "groupId": group, "userId": user })).await;
        (error["code"].clone(), error["message"].clone())
    };
    let answers = [
        add(&mut bob_client, group, patrick.id).await,
        add(&mut stranger, group, patrick.id).await,
        add(&mut bob_client, group, 404).await,
        add(&mut bob_client, 404, patrick.id).await,
    ];
    assert_eq!(
        json!(answers),
        json!([
            ["already_a_member", "User is already a member of this group"],
            ["not_a_member", "User is not a member of this group"],
            ["not_found", "params.userId: there is no such user"],
            ["not_found", "params.groupId: there is no such group"],
        ])
    );
    ann.call("listLastMessage", json!({})).await;
    assert!(ann.take_buffered_pushes().is_empty(), "a refusal pushes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn add_user_in_group_and_leave_group_pushes_name_who_caused_them() {
    let server = TestServer::start().await;
    let (ann, mut creator) = server.connect_user("Ann").await;
    let (bob, mut witness) = server.connect_user("Bob").await;
    let (cleo, mut leaving) = server.connect_user("Cleo").await;
    let [dan, eve] = [server.create_user("Dan").await, server.create_user("Eve").await];
    let about = |group: i64, user: i64| json!({ "groupId": group, "userId": user });

    let group = new_group(&mut creator, &[bob.id, cleo.id]).await;
    leaving.call_ok("addUserInGroup", about(group, dan.id)).await;
    leaving.call_ok("leaveGroup", json!({ "groupId": group })).await;
    // The push carries the current name, not the one in the creator's token.
    creator.call_ok("addUserInGroup", about(group, eve.id)).await;
    server.as_user(&ann.token, "PATCH", "/api/v1/users/me", json!({ "firstName": "Anna" })).await.ok(200);
    creator.call_ok("addUserInGroup", about(group, cleo.id)).await;
    server.as_user(&eve.token, "DELETE", "/api/v1/users/me", Value::Null).await.no_content();
    // docs/frames.md has no rule for removals by an admin.
    witness.subscribe(&["groups"]).await;
    creator.call_ok("removeUserFromGroup", about(group, dan.id)).await;

    let received = witness.drain_pushes().await;
    let received: Vec<_> =
        received.iter().map(|push| (&push["params"]["message"], &push["params"]["senderName"])).collect();
    assert_eq!(
        json!(received),
        json!([
            ["User Bob added in group.", "Ann"],
            ["User Cleo added in group.", "Ann"],
            ["User Dan added in group.", "Cleo"],
            ["User Cleo has left the group.", "Cleo"],
            ["User Eve added in group.", "Ann"],
            ["User Cleo added in group.", "Anna"],
            ["User Eve has left the group.", "Eve"],
            ["User Dan has been removed from the group.", null],
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_group_ends_the_membership_and_notifies_the_others() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let group = new_group(&mut ann, &[bob.id]).await;
    bob_client.wait_for_push().await;

    let reply = bob_client.call("leaveGroup", json!({ "groupId": group })).await;
    assert_eq!(reply["params"], json!({ "data": null, "message": null, "senderName": null }));
    let received = ann.wait_for_push().await;
    assert_eq!(
        (&received["type"], &received["params"]["message"]),
        (&json!("leaveGroup"), &json!("User Bob has left the group."))
    );

    ann.call("messageInGroup", json!({ "groupId": group, "content": "gone?" })).await;
    for (kind, params) in [
        ("messageInGroup", json!({ "groupId": group, "content": "x" })),
        ("getlatestMessageGroup", json!({ "groupId": group })),
        ("addUserInGroup", json!({ "groupId": group, "userId": bob.id })),
        ("leaveGroup", json!({ "groupId": group })),
    ] {
        assert_eq!(bob_client.call(kind, params).await["code"], "not_a_member", "{kind}");
    }
    assert!(bob_client.take_buffered_pushes().is_empty());
    let list = bob_client.call("listLastMessage", json!({})).await;
    assert_eq!(list["params"]["data"], json!([]));

    // A member who joins again has no unread messages from the time in between.
    ann.call("addUserInGroup", json!({ "groupId": group, "userId": bob.id })).await;
    let list = bob_client.call("listLastMessage", json!({})).await;
    assert_eq!(
        (&list["params"]["data"][0]["seq"], &list["params"]["data"][0]["unreadCount"]),
        (&json!(1), &json!(0)),
        "{list}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_group_of_the_last_admin_promotes_the_longest_standing_member() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let cleo = server.create_user("Cleo").await;
    let group = new_group(&mut ann, &[cleo.id]).await;
    ann.call("addUserInGroup", json!({ "groupId": group, "userId": bob.id })).await;
    bob_client.wait_for_push().await;
    assert_eq!(admins(&server, group).await, [1]);
    ann.call("leaveGroup", json!({ "groupId": group })).await;
    assert_eq!(bob_client.wait_for_push().await["type"], "leaveGroup");
    assert_eq!(admins(&server, group).await, [cleo.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_me_leaves_all_groups_and_notifies_them() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let group = new_group(&mut ann_client, &[bob.id]).await;
    bob_client.wait_for_push().await;
    answer(server.http("DELETE", "/api/v1/users/me").bearer_auth(&ann.token)).await.no_content();
    let received = bob_client.wait_for_push().await;
    assert_eq!(
        (&received["type"], &received["params"]["message"]),
        (&json!("leaveGroup"), &json!("User Ann has left the group."))
    );
    assert_eq!(admins(&server, group).await, [bob.id]);
    let sent = bob_client.call("messageInGroup", json!({ "groupId": group, "content": "alone" })).await;
    assert_eq!(sent["success"], true, "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_group_of_the_last_member_ends_the_group() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let group = new_group(&mut client, &[]).await;
    client.call("leaveGroup", json!({ "groupId": group })).await;
    for (kind, params) in [
        ("messageInGroup", json!({ "groupId": group, "content": "x" })),
        ("getlatestMessageGroup", json!({ "groupId": group })),
        ("addUserInGroup", json!({ "groupId": group, "userId": ann.id })),
        ("leaveGroup", json!({ "groupId": group })),
    ] {
        let error = client.call(kind, params).await;
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!("not_found"), &json!("params.groupId: there is no such group")),
            "{kind}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_group_of_all_members_at_once_ends_the_group_once() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let users = server.create_users("U", 8).await;
    let mut clients = Vec::new();
    for (nth, user) in users.iter().enumerate() {
        clients.push(if nth % 2 == 0 { &server } else { &second }.connect(user).await);
    }
    let others: Vec<i64> = users[1..].iter().map(|user| user.id).collect();
    let group = new_group(&mut clients[0], &others).await;
    let replies: Vec<Value> = futures_util::future::join_all(
        clients.iter_mut().map(|client| client.call("leaveGroup", json!({ "groupId": group }))),
    )
    .await;
    assert!(replies.iter().all(|reply| reply["success"] == true), "{replies:?}");
    let ended = sqlx::query("select ended_at is not null from conversations")
        .fetch_one(&mut server.sql().await)
        .await
        .expect("a row");
    assert!(ended.get::<bool, _>(0));
}

async fn admins(server: &TestServer, group: i64) -> Vec<i64> {
    let rows = sqlx::query("select user_id from members where conversation_id = $1 and is_admin")
        .bind(group)
        .fetch_all(&mut server.sql().await)
        .await
        .expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_of_many_notifies_each_member_of_the_own_joining_alone() {
    let server = TestServer::start().await;
    let (_, mut creator) = server.connect_user("Creator").await;
    let others = server.create_users("U", 101).await;
    let mut listener = server.connect(&others[7]).await;
    let ids: Vec<i64> = others.iter().map(|user| user.id).collect();
    let group = creator.call("newGroup", json!({ "groupName": "Many", "userIds": ids })).await;
    assert_eq!(group["success"], true, "{group}");
    assert_eq!(listener.wait_for_push().await["params"]["message"], "User U7 added in group.");
    creator.call("messageInGroup", json!({ "groupId": group["params"]["item"]["groupId"], "content": "hi" })).await;
    assert_eq!(listener.wait_for_push().await["params"]["message"], "hi");
}
