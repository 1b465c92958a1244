//! `reactToMessage`: one reaction of each user, and who is notified of it.

use serde_json::{Value, json};

use super::edits::{connect_three, newest};
use crate::support::{TestServer, steady};

#[tokio::test(flavor = "multi_thread")]
async fn react_to_message_keeps_one_reaction_a_user_and_can_be_withdrawn() {
    let server = TestServer::start().await;
    let [(ann, mut ann_client), (bob, mut bob_client), (_, mut stranger)] = connect_three(&server).await;
    let mut bobs_other = server.connect(&bob).await;
    bobs_other.subscribe(&["own"]).await;
    let message = ann_client.send_content(&json!({ "receiverId": bob.id }), "Tea?").await;
    for client in [&mut bob_client, &mut bobs_other] {
        client.expect_push("privateMessage").await;
    }
    let react = |reaction: Value| json!({ "messageId": message, "reaction": reaction });
    let reply = bob_client.call_ok("reactToMessage", react(json!("👍"))).await;
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
    assert_eq!(steady(ann_client.expect_push("reactToMessage").await["item"].take()), item(json!("👍")));
    assert_eq!(steady(bobs_other.expect_push("reactToMessage").await["item"].take()), item(json!("👍")));
    // The same reaction again pushes nothing; another one replaces it.
    bob_client.call_ok("reactToMessage", react(json!("👍"))).await;
    bob_client.call_ok("reactToMessage", react(json!("💔"))).await;
    assert_eq!(steady(ann_client.expect_push("reactToMessage").await["item"].take()), item(json!("💔")));
    ann_client.call_ok("reactToMessage", react(json!("ok"))).await;
    let both = json!([{ "userId": bob.id, "reaction": "💔" }, { "userId": ann.id, "reaction": "ok" }]);
    assert_eq!(newest(&mut bob_client, &json!({ "receiverId": ann.id })).await["reactions"], both);
    let history = bob_client.call_ok("getlatestMessageDialog", json!({ "receiverId": ann.id })).await;
    assert_eq!(history["data"][0]["reactions"], both);

    bob_client.call_ok("reactToMessage", react(Value::Null)).await;
    bob_client.call_ok("reactToMessage", react(Value::Null)).await;
    assert_eq!(steady(ann_client.expect_push("reactToMessage").await["item"].take()), item(Value::Null));
    bob_client.discard_pushes().await;
    assert_eq!((ann_client.drain_push_types().await, stranger.drain_push_types().await), (vec![], vec![]));
    assert_eq!(
        newest(&mut ann_client, &json!({ "receiverId": bob.id })).await["reactions"],
        json!([{ "userId": ann.id, "reaction": "ok" }])
    );
    // A reaction does not change `updatedAt`.
    let message = newest(&mut ann_client, &json!({ "receiverId": bob.id })).await;
    assert_eq!(message["updatedAt"], message["createdAt"]);
}
