//! What somebody is told of a group that they are no longer in.

use serde_json::{Value, json};

use super::contents;
use super::support::{Behind, cursor, missed, missed_by};
use crate::support::{TestServer, User};

#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_that_one_has_left_one_hears_no_more_than_that() {
    let server = TestServer::start().await;
    let (_, mut ann) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let cleo = server.user("Cleo").await;
    let group = ann.call("newGroup", json!({ "groupName": "G", "userIds": [bob.id] })).await;
    let group = group["params"]["item"]["groupId"].as_i64().expect("a group");
    let before = cursor(&mut bob_client).await;
    let mut behind = Behind::of(&server).await;
    ann.call("messageInGroup", json!({ "groupId": group, "content": "before" })).await;
    behind.event(group, "addGroupAdmin", Some(cleo.id)).await;
    bob_client.call("leaveGroup", json!({ "groupId": group })).await;
    behind.event(group, "removeUserFromGroup", Some(bob.id)).await;
    ann.call("messageInGroup", json!({ "groupId": group, "content": "behind his back" })).await;
    behind.event(group, "removeGroupAdmin", Some(cleo.id)).await;
    behind.edit(group, 1, "edited").await;

    let mut rows = missed(&mut bob_client, &before, 1).await.0;
    rows.retain(|row| row["type"] != "leaveGroup");
    let item = json!({ "groupId": group, "groupName": "G", "userId": bob.id, "userName": "Bob" });
    assert_eq!(rows, [json!({ "type": "removeUserFromGroup", "item": item })]);
    // Back again, it is a conversation like any other.
    ann.call("addUserInGroup", json!({ "groupId": group, "userId": bob.id })).await;
    let rows = missed(&mut bob_client, &before, 1).await.0;
    assert_eq!(contents(&rows), ["edited", "behind his back"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_longer_in_a_group_reads_the_name_that_it_had_then() {
    let server = TestServer::start().await;
    let (ann, mut ann_client) = server.client("Ann").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    let before = cursor(&mut bob_client).await;
    let group = ann_client.new_group(&[bob.id, cleo.id]).await;
    ann_client.done("removeUserFromGroup", json!({ "groupId": group, "userId": bob.id })).await;
    ann_client.done("renameGroup", json!({ "groupId": group, "groupName": "Behind his back" })).await;
    cleo_client.done("leaveGroup", json!({ "groupId": group })).await;
    ann_client.done("renameGroup", json!({ "groupId": group, "groupName": "Behind her back too" })).await;
    let names = async |user: &User| -> Vec<Value> {
        let rows = missed_by(&server, user, &before).await;
        rows.iter().map(|row| json!([row["type"], row["item"]["groupName"]])).collect()
    };
    assert_eq!(
        names(&bob).await,
        [json!(["addUserInGroup", "Book club"]), json!(["removeUserFromGroup", "Book club"])]
    );
    assert_eq!(names(&cleo).await, [json!(["addUserInGroup", "Book club"]), json!(["leaveGroup", "Behind his back"])]);
    assert!(names(&ann).await.iter().all(|row| row[1] == "Behind her back too"));
    // Back again, it is called what it is called.
    ann_client.done("addUserInGroup", json!({ "groupId": group, "userId": bob.id })).await;
    assert!(names(&bob).await.iter().all(|row| row[1] == "Behind her back too"));
    ann_client.done("dropGroup", json!({ "groupId": group })).await;
    assert_eq!(names(&bob).await.last(), Some(&json!(["dropGroup", "Behind her back too"])));
    assert_eq!(names(&cleo).await.last(), Some(&json!(["leaveGroup", "Behind his back"])));
}
