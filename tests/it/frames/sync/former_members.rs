//! What `sync` returns to a former member of a group.

use serde_json::{Value, json};

use super::contents;
use super::helpers::{DatabaseWriter, changes_for_user_since, changes_since, cursor};
use crate::support::{TestServer, User};

#[tokio::test(flavor = "multi_thread")]
async fn sync_returns_only_the_leaving_to_a_former_member() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let cleo = server.create_user("Cleo").await;
    let group = ann.call("newGroup", json!({ "groupName": "G", "userIds": [bob.id] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("a group");
    let before = cursor(&mut bob_client).await;
    let mut database = DatabaseWriter::of(&server).await;
    ann.call("messageInGroup", json!({ "groupId": group, "content": "before" })).await;
    database.event(group, "addGroupAdmin", Some(cleo.id)).await;
    bob_client.call("leaveGroup", json!({ "groupId": group })).await;
    database.event(group, "removeUserFromGroup", Some(bob.id)).await;
    ann.call("messageInGroup", json!({ "groupId": group, "content": "behind his back" })).await;
    database.event(group, "removeGroupAdmin", Some(cleo.id)).await;
    database.edit(group, 1, "edited").await;

    let mut rows = changes_since(&mut bob_client, &before, 1).await.0;
    rows.retain(|row| row["type"] != "leaveGroup");
    let item = json!({ "groupId": group, "groupName": "G", "userId": bob.id, "userName": "Bob" });
    assert_eq!(rows, [json!({ "type": "removeUserFromGroup", "item": item })]);
    // A member who joins again gets it like any other conversation.
    ann.call("addUserInGroup", json!({ "groupId": group, "userId": bob.id })).await;
    let rows = changes_since(&mut bob_client, &before, 1).await.0;
    assert_eq!(contents(&rows), ["edited", "behind his back"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_returns_the_groups_name_of_then_to_a_former_member() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.connect_user("Ann").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let before = cursor(&mut bob_client).await;
    let group = ann_client.new_group(&[bob.id, cleo.id]).await;
    ann_client.call_ok("removeUserFromGroup", json!({ "groupId": group, "userId": bob.id })).await;
    ann_client.call_ok("renameGroup", json!({ "groupId": group, "groupName": "Behind his back" })).await;
    cleo_client.call_ok("leaveGroup", json!({ "groupId": group })).await;
    ann_client.call_ok("renameGroup", json!({ "groupId": group, "groupName": "Behind her back too" })).await;
    let names = async |user: &User| -> Vec<Value> {
        let rows = changes_for_user_since(&server, user, &before).await;
        rows.iter().map(|row| json!([row["type"], row["item"]["groupName"]])).collect()
    };
    assert_eq!(
        names(&bob).await,
        [json!(["addUserInGroup", "Book club"]), json!(["removeUserFromGroup", "Book club"])]
    );
    assert_eq!(names(&cleo).await, [json!(["addUserInGroup", "Book club"]), json!(["leaveGroup", "Behind his back"])]);
    assert!(names(&ann).await.iter().all(|row| row[1] == "Behind her back too"));
    // A member who joins again sees its current name.
    ann_client.call_ok("addUserInGroup", json!({ "groupId": group, "userId": bob.id })).await;
    assert!(names(&bob).await.iter().all(|row| row[1] == "Behind her back too"));
    ann_client.call_ok("dropGroup", json!({ "groupId": group })).await;
    assert_eq!(names(&bob).await.last(), Some(&json!(["dropGroup", "Behind her back too"])));
    assert_eq!(names(&cleo).await.last(), Some(&json!(["leaveGroup", "Behind his back"])));
}
