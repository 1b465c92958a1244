//! `newGroup`, `addUserInGroup`, `leaveGroup`: who may, who is told, who goes on.

mod abuse;

use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::support::{Client, TestServer, answer};

async fn new_group(client: &mut Client, user_ids: &[i64]) -> i64 {
    let reply = client.call("newGroup", json!({ "groupName": "Book club", "userIds": user_ids })).await;
    reply["params"]["item"]["groupId"].as_i64().unwrap_or_else(|| panic!("a group: {reply}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_says_its_id() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Ann").await;
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
async fn everybody_named_in_a_new_group_is_added_and_told() {
    let server = TestServer::start().await;
    let (ann, mut creator) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    // Doubled, and oneself: neither is an error.
    let group = new_group(&mut creator, &[cleo.id, bob.id, bob.id, ann.id]).await;
    for client in [&mut bob_client, &mut cleo_client] {
        let told = [client.push().await, client.push().await];
        assert_eq!(told[0]["params"]["message"], "User Bob added in group.");
        assert_eq!(told[1]["params"]["message"], "User Cleo added in group.");
        assert_eq!(
            told[1]["params"]["item"],
            json!({ "groupId": group, "groupName": "Book club", "userId": cleo.id, "userName": "Cleo" })
        );
        assert_eq!(client.call("messageInGroup", json!({ "groupId": group, "content": "hi" })).await["success"], true);
    }
    creator.call("listLastMessage", json!({})).await;
    let told: Vec<_> = creator.pushes_so_far().iter().map(|push| push["type"].clone()).collect();
    assert_eq!(json!(told), json!(["messageInGroup", "messageInGroup"]), "the creator hears of nobody that he added");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_unknown_people_is_not_made() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Ann").await;
    let bob = server.user("Bob").await;
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
async fn group_names_and_lists_of_users_are_checked() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Ann").await;
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
async fn any_member_adds_and_every_other_member_is_told() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (_, mut stranger) = server.client("Stranger").await;
    let (patrick, mut patrick_client) = server.client("Patrick1").await;
    let group = new_group(&mut ann, &[bob.id]).await;
    bob_client.push().await;

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
    let told = patrick_client.push().await;
    assert_eq!(ann.push().await, told);
    assert_json_snapshot!(told, @r#"
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
    assert!(ann.pushes_so_far().is_empty(), "refusals are told to nobody else");
}

#[tokio::test(flavor = "multi_thread")]
async fn add_user_in_group_and_leave_group_name_who_caused_them() {
    let server = TestServer::start().await;
    let (ann, mut creator) = server.client("Ann").await;
    let (bob, mut witness) = server.client("Bob").await;
    let (cleo, mut leaving) = server.client("Cleo").await;
    let [dan, eve] = [server.user("Dan").await, server.user("Eve").await];
    let about = |group: i64, user: i64| json!({ "groupId": group, "userId": user });

    let group = new_group(&mut creator, &[bob.id, cleo.id]).await;
    leaving.done("addUserInGroup", about(group, dan.id)).await;
    leaving.done("leaveGroup", json!({ "groupId": group })).await;
    // With the name of now, not with the one that the creator signed in with.
    creator.done("addUserInGroup", about(group, eve.id)).await;
    server.as_user(&ann.token, "PATCH", "/api/v1/users/me", json!({ "firstName": "Anna" })).await.ok(200);
    creator.done("addUserInGroup", about(group, cleo.id)).await;
    server.as_user(&eve.token, "DELETE", "/api/v1/users/me", Value::Null).await.no_content();
    // Of an admin's removals the contract says nothing.
    witness.subscribe(&["groups"]).await;
    creator.done("removeUserFromGroup", about(group, dan.id)).await;

    let told = witness.told().await;
    let told: Vec<_> = told.iter().map(|push| (&push["params"]["message"], &push["params"]["senderName"])).collect();
    assert_eq!(
        json!(told),
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
async fn who_leaves_is_out_and_those_who_stay_are_told() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let group = new_group(&mut ann, &[bob.id]).await;
    bob_client.push().await;

    let reply = bob_client.call("leaveGroup", json!({ "groupId": group })).await;
    assert_eq!(reply["params"], json!({ "data": null, "message": null, "senderName": null }));
    let told = ann.push().await;
    assert_eq!(
        (&told["type"], &told["params"]["message"]),
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
    assert!(bob_client.pushes_so_far().is_empty());
    let list = bob_client.call("listLastMessage", json!({})).await;
    assert_eq!(list["params"]["data"], json!([]));

    // Back again: nothing of the time away is unread.
    ann.call("addUserInGroup", json!({ "groupId": group, "userId": bob.id })).await;
    let list = bob_client.call("listLastMessage", json!({})).await;
    assert_eq!(
        (&list["params"]["data"][0]["seq"], &list["params"]["data"][0]["unreadCount"]),
        (&json!(1), &json!(0)),
        "{list}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_standing_member_becomes_admin_after_the_last_one() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let cleo = server.user("Cleo").await;
    let group = new_group(&mut ann, &[cleo.id]).await;
    ann.call("addUserInGroup", json!({ "groupId": group, "userId": bob.id })).await;
    bob_client.push().await;
    assert_eq!(admins(&server, group).await, [1]);
    ann.call("leaveGroup", json!({ "groupId": group })).await;
    assert_eq!(bob_client.push().await["type"], "leaveGroup");
    assert_eq!(admins(&server, group).await, [cleo.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_deletes_the_account_leaves_the_groups_and_they_are_told() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let group = new_group(&mut ann_client, &[bob.id]).await;
    bob_client.push().await;
    answer(server.http("DELETE", "/api/v1/users/me").bearer_auth(&ann.token)).await.no_content();
    let told = bob_client.push().await;
    assert_eq!(
        (&told["type"], &told["params"]["message"]),
        (&json!("leaveGroup"), &json!("User Ann has left the group."))
    );
    assert_eq!(admins(&server, group).await, [bob.id]);
    let sent = bob_client.call("messageInGroup", json!({ "groupId": group, "content": "alone" })).await;
    assert_eq!(sent["success"], true, "{sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_ends_with_its_last_member() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.client("Ann").await;
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
async fn members_who_leave_all_at_once_end_the_group_once() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let users = server.users("U", 8).await;
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
