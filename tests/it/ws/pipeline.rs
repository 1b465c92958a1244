//! Pipelining: requests that follow each other on one socket without waiting.

use serde_json::json;

use super::note;
use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_replies_in_the_order_of_requests() {
    // A burst of one has no effect without a rate limit.
    for max_in_flight in [4, 64] {
        let server = TestServer::start_with(|config| {
            (config.limits.max_in_flight, config.limits.request_burst) = (max_in_flight, 1);
        })
        .await;
        let (user, mut client) = server.connect_user("Patrick0").await;
        for nth in 0..300 {
            match nth % 10 {
                3 => client.send("getlatestMessageDialog", json!({ "receiverId": user.id, "limit": 1 })).await,
                6 => client.send("noSuchType", json!({})).await,
                8 => client.send("privateMessage", note(user.id + 1, "To nobody")).await,
                _ => client.send("privateMessage", note(user.id, &nth.to_string())).await,
            };
        }
        let mut seq = 0;
        for nth in 0..300 {
            let reply = client.wait_for_reply_to(nth + 1).await;
            match nth % 10 {
                3 => assert_eq!(reply["params"]["data"][0]["content"], (nth - 1).to_string(), "{reply}"),
                6 => assert_eq!(reply["code"], "unknown_type", "{reply}"),
                8 => assert_eq!(reply["code"], "not_found", "{reply}"),
                _ => {
                    seq += 1;
                    assert_eq!(reply["params"]["item"]["seq"], seq, "{reply}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_runs_a_send_after_the_add_user_in_group_before_it() {
    let server = TestServer::start().await;
    let (_, mut client) = server.connect_user("Patrick0").await;
    let (new, mut member) = server.connect_user("Patrick1").await;
    let reply = client.call("newGroup", json!({ "groupName": "G" })).await;
    let group = &reply["params"]["item"]["groupId"];
    client.send("messageInGroup", json!({ "groupId": group, "content": "before" })).await;
    client.send("addUserInGroup", json!({ "groupId": group, "userId": new.id })).await;
    for nth in 0..20 {
        client.send("messageInGroup", json!({ "groupId": group, "content": nth.to_string() })).await;
    }
    let mut messages = Vec::new();
    for _ in 0..21 {
        messages.push(member.wait_for_push().await["params"]["message"].take());
    }
    let expected = (0..20).map(|nth| json!(nth.to_string()));
    assert_eq!(messages, [json!("User Patrick1 added in group.")].into_iter().chain(expected).collect::<Vec<_>>());
}
