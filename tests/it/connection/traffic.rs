//! Many requests on one socket, and many sockets on one server: order, rates, slow readers.

use std::collections::HashSet;

use futures_util::future::join_all;
use serde_json::{Value, json};
use socket2::SockRef;

use super::{assert_works, end, note};
use crate::support::{Client, TestServer, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_limit_refuses_in_turn_and_says_when_to_come_back() {
    // One a second, so that a slow machine earns no more during the test.
    let server = TestServer::with(|config| config.limits.requests_per_second = 1).await;
    assert_eq!(server.server.app().config.limits.request_burst, 100);
    let (user, mut client) = server.client("Patrick0").await;
    let kinds = ["privateMessage", "noSuchType"];
    for nth in 0..150 {
        client.send(kinds[nth % 2], note(user.id, "Hi")).await;
    }
    let mut refused = 0;
    for nth in 0..150 {
        let mut reply = client.reply_to(nth as u64 + 1).await;
        if reply["code"] != "rate_limited" {
            assert_eq!(reply["params"]["item"]["duplicate"] == false, nth % 2 == 0, "{reply}");
            continue;
        }
        let wait = reply["retryAfterMs"].take().as_u64().expect("an integer");
        assert!((1..=1000).contains(&wait), "{wait}");
        let message = format!("Too many requests; try again in {wait} ms");
        let expected = json!({ "error": true, "type": kinds[nth % 2], "message": message, "code": "rate_limited",
            "retryAfterMs": null, "id": nth + 1 });
        assert_eq!(reply, expected);
        refused += 1;
    }
    assert!((20..=50).contains(&refused), "{refused} of 150 with a burst of 100");
    assert_works(&mut server.connect(&user).await).await;
    eventually("it may ask again", async || client.call("listLastMessage", json!({})).await["success"] == true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_breaking_the_rate_limit_is_closed_4008() {
    let limit = |config: &mut hark::config::Config| {
        (config.limits.requests_per_second, config.limits.request_burst) = (1, 10);
    };
    let server = TestServer::with(limit).await;
    let (user, mut client) = server.client("Patrick0").await;
    for _ in 0..200 {
        client.send("noSuchType", json!({})).await;
    }
    assert_eq!(client.closed().await, end(4008, "Kept breaking the rate limit"));
    assert_works(&mut server.connect(&user).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_may_follow_each_other_without_waiting() {
    // Without a rate, a burst of one counts for nothing.
    for max_in_flight in [4, 64] {
        let server = TestServer::with(|config| {
            (config.limits.max_in_flight, config.limits.request_burst) = (max_in_flight, 1);
        })
        .await;
        let (user, mut client) = server.client("Patrick0").await;
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
            let reply = client.reply_to(nth + 1).await;
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
async fn what_is_sent_behind_an_addition_reaches_the_new_member() {
    let server = TestServer::start().await;
    let (_, mut client) = server.client("Patrick0").await;
    let (new, mut member) = server.client("Patrick1").await;
    let reply = client.call("newGroup", json!({ "groupName": "G" })).await;
    let group = &reply["params"]["item"]["groupId"];
    client.send("messageInGroup", json!({ "groupId": group, "content": "before" })).await;
    client.send("addUserInGroup", json!({ "groupId": group, "userId": new.id })).await;
    for nth in 0..20 {
        client.send("messageInGroup", json!({ "groupId": group, "content": nth.to_string() })).await;
    }
    let mut messages = Vec::new();
    for _ in 0..21 {
        messages.push(member.push().await["params"]["message"].take());
    }
    let expected = (0..20).map(|nth| json!(nth.to_string()));
    assert_eq!(messages, [json!("User Patrick1 added in group.")].into_iter().chain(expected).collect::<Vec<_>>());
}

/// Lets little wait in the kernel for this client, so that a test need not fill megabytes.
fn narrow(client: &mut Client) {
    SockRef::from(&*client.raw()).set_recv_buffer_size(65_536).expect("a small buffer");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_delays_nobody_and_is_told_what_it_missed() {
    const SENT: i64 = 600;
    let server = TestServer::with(|config| config.limits.outbox_bytes = 65_536).await;
    let (_, mut sender) = server.client("Patrick0").await;
    let (stuck_user, mut stuck) = server.client("Patrick1").await;
    let (neighbour_user, mut neighbour) = server.client("Patrick2").await;
    narrow(&mut stuck);
    let members = [stuck_user.id, neighbour_user.id];
    let reply = sender.call("newGroup", json!({ "groupName": "G", "userIds": members })).await;
    let group = &reply["params"]["item"]["groupId"];
    let message = json!({ "groupId": group, "content": "x".repeat(16_384) });
    neighbour.push().await;
    neighbour.push().await;
    for seq in 1..=SENT {
        assert_eq!(sender.call("messageInGroup", message.clone()).await["params"]["item"]["seq"], seq);
        assert_eq!(neighbour.push().await["params"]["item"]["seq"], seq);
    }
    // Kernel buffers and the outbox hold far less than that.
    stuck.push().await;
    stuck.push().await;
    // It may fall behind, catch up a little, and fall behind again: what it knows of goes on to the end.
    let (mut known, mut pushed) = (0, 0);
    while known < SENT {
        let push = stuck.push().await;
        let seq = push["params"]["item"]["seq"].as_i64().expect("a seq");
        if push["type"] == "behind" {
            assert_eq!(push["params"]["item"], json!({ "groupId": group, "seq": seq }));
            assert!(seq > known, "{seq} was known of");
        } else {
            assert_eq!(seq, known + 1);
            pushed += 1;
        }
        known = seq;
    }
    assert!(pushed < SENT);
    // It fetches what it missed, and then hears what comes, like everybody else.
    let mut before = SENT + 1;
    while before > 1 {
        let page = stuck.call("getlatestMessageGroup", json!({ "groupId": group, "before": before })).await;
        let rows = page["params"]["data"].as_array().expect("rows");
        assert_eq!(rows[0]["seq"], before - 1);
        before = rows.last().expect("a row")["seq"].as_i64().expect("a seq");
    }
    assert_eq!(stuck.pushes_so_far(), [] as [Value; 0]);
    sender.call("messageInGroup", message).await;
    assert_eq!(stuck.push().await["params"]["item"]["seq"], SENT + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_more_than_it_reads_is_not_read() {
    let server = TestServer::with(|config| config.limits.outbox_bytes = 65_536).await;
    let (user, mut client) = server.client("Patrick0").await;
    for _ in 0..5 {
        client.call("privateMessage", note(user.id, &"x".repeat(16_384))).await;
    }
    narrow(&mut client);
    for _ in 0..100 {
        client.send("getlatestMessageDialog", json!({ "receiverId": user.id })).await;
    }
    for id in 6..=105 {
        assert_eq!(client.reply_to(id).await["params"]["data"].as_array().map(Vec::len), Some(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_sends_each_client_back_at_its_own_moment() {
    let server = TestServer::start().await;
    let mut clients = Vec::new();
    for user in server.users("Patrick", 5).await {
        clients.push(server.connect(&user).await);
    }
    let ends = join_all(clients.into_iter().map(Client::closed));
    let (ends, ()) = tokio::join!(ends, server.server.stop());
    let mut waits = HashSet::new();
    for end in ends {
        assert_eq!(end.code, 1001);
        waits.insert(end.reason.parse::<u64>().expect("milliseconds"));
    }
    assert!(waits.len() == 5 && waits.iter().all(|wait| *wait < 5_000), "{waits:?}");
}
