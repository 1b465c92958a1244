//! Limits of searches: what one user may cost the others, and a search that stops after it has looked at
//! enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{contents, find, send_private, wait_until_indexed};
use crate::support::{Client, TestServer, answer};

/// The index takes this for a match and the text does not match: the two pairs are apart.
const QUERY: &str = "東京都";
const NO_MATCH: &str = "京都、東京";

async fn note(client: &mut Client, own: i64, padding: usize) -> i64 {
    send_private(client, own, &format!("{NO_MATCH} {}", "長い文、".repeat(padding))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_answers_others_while_one_user_searches_on_all_sockets() {
    let server = TestServer::start().await;
    let (mallory, mut notes) = server.connect_user("Mallory").await;
    let (ann, mut client) = server.connect_user("Ann").await;
    send_private(&mut client, ann.id, QUERY).await;
    for _ in 0..40 {
        note(&mut notes, mallory.id, 1_000).await;
    }
    wait_until_indexed(&server).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = if sockets.is_empty() {
            std::mem::replace(&mut notes, server.connect(&ann).await)
        } else {
            server.connect(&mallory).await
        };
        let id = socket.send("searchMessages", json!({ "query": QUERY })).await;
        let answered = Arc::clone(&answered);
        sockets.push(tokio::spawn(async move {
            let reply = socket.wait_for_reply_to(id).await;
            answered.fetch_add(1, Ordering::SeqCst);
            reply
        }));
    }
    assert_eq!(find(&mut client, QUERY).await, [QUERY]);
    let before_her = answered.load(Ordering::SeqCst);
    assert!(before_her < 10, "{before_her} searches of another user were answered first");
    for socket in sockets {
        let reply = socket.await.expect("an answer");
        assert!(reply["success"] == true || reply["code"] == "overloaded", "{reply}");
    }
}

/// Returns where the search continues.
fn before(reply: &Value) -> Option<i64> {
    reply["params"]["item"]["before"].as_i64()
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_stops_after_its_byte_budget_and_continues_from_there() {
    let server = TestServer::start_with(|config| config.limits.search_bytes = 20_000).await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let oldest = send_private(&mut client, ann.id, &format!("{QUERY} the oldest")).await;
    for _ in 0..10 {
        note(&mut client, ann.id, 600).await;
    }
    let newest = send_private(&mut client, ann.id, &format!("{QUERY} the newest")).await;
    for is_indexed in [false, true] {
        if is_indexed {
            wait_until_indexed(&server).await;
        }
        // With `before`, one request follows the other.
        let mut reply = client.call("searchMessages", json!({ "query": QUERY })).await;
        assert_eq!(contents(&reply), [format!("{QUERY} the newest")], "what was found so far");
        let (mut requests, mut last) = (1, newest);
        while let Some(next) = before(&reply) {
            assert!(next < last, "it goes on");
            (last, requests) = (next, requests + 1);
            reply = client.call("searchMessages", json!({ "query": QUERY, "before": next })).await;
            assert_eq!(reply["success"], true, "{reply}");
        }
        assert_eq!(contents(&reply), [format!("{QUERY} the oldest")]);
        assert!((3..=12).contains(&requests), "{requests} requests");
        // The pages are read one after another on one socket.
        let mut pages = Vec::new();
        for page in 1..=requests {
            let reply = client.call("searchMessages", json!({ "query": QUERY, "page": page })).await;
            pages.extend(contents(&reply));
            assert_eq!(before(&reply).is_none(), page == requests, "{reply}");
        }
        assert_eq!(pages, [format!("{QUERY} the newest"), format!("{QUERY} the oldest")]);
        // The same goes over HTTP.
        let get = async |query: String| {
            let path = format!("/api/v1/messages/search?q={QUERY}&{query}");
            answer(server.http("GET", &path).bearer_auth(&ann.token)).await.ok(200)
        };
        let mut page = get("limit=5".to_owned()).await;
        while let Some(next) = page["before"].as_i64() {
            page = get(format!("before={next}")).await;
        }
        assert_eq!(page["data"][0]["messageId"], oldest);
    }
    let both = json!({ "query": QUERY, "before": 3, "page": 2 });
    assert_eq!(client.call_refused("searchMessages", both).await, "bad_params");
    // A page that was not reached has no rows, and the next one is counted from the start again.
    let mut other = server.connect(&ann).await;
    let reply = other.call("searchMessages", json!({ "query": QUERY, "limit": 1, "page": 2 })).await;
    assert!(contents(&reply).is_empty() && before(&reply).is_some(), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn search_messages_within_its_byte_budget_reports_no_more() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    send_private(&mut client, ann.id, "tea").await;
    let reply = client.call("searchMessages", json!({ "query": "tea" })).await;
    assert_eq!(reply["params"].get("item"), None, "{reply}");
}
